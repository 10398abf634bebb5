"""Doubts about criteria that were judged, in English."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.doubts import FAR, FarBound, Unseen
from coval_gate.report.wording.clauses import VALUE_SHOWN
from coval_gate.report.wording.value_problems import seen_text
from coval_gate.text import number, quoted

if TYPE_CHECKING:
    from coval_gate.judge.criteria import ValueAbsent
    from coval_gate.judge.doubts import Doubt


def doubt_text(doubt: Doubt) -> str:
    """Return a doubt as a sentence, and what to look at."""
    match doubt:
        case Unseen(metric=metric, wanted=wanted, seen=seen, different=different):
            values = " or ".join(quoted(value, VALUE_SHOWN) for value in wanted)
            others = f"; the values seen are {seen_text(seen, different)}" if seen else ""
            where = _where(doubt.criterion)
            return f"{where}: no simulation has the value {values} for {metric}{others}. Is it spelt correctly?"
        case FarBound(criterion=criterion, metric=metric, farthest=farthest):
            largest = f"the largest{'' if farthest > 0 else ' in size'} is {number(farthest)}"
            return (
                f"{_where(criterion)}: the bound is more than {FAR} times every value of {metric} ({largest}). "
                "Is it in the metric's unit?"
            )
    assert_never(doubt)


def _where(criterion: ThresholdHolds | ValueAbsent) -> str:
    """Return what the user wrote."""
    if isinstance(criterion, ThresholdHolds):
        return f"{criterion.threshold.text} (thresholds, line {criterion.threshold.line})"
    return "fail_on_metric_value"
