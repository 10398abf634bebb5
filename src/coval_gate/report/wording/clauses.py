"""Clauses that sentences about criteria and problems share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.comparison import comparable
from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.model.results import BASE
from coval_gate.text import number, one_line, quoted

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.model.results import Value

VALUE_SHOWN: Final = 40  # characters of a value, or of an aggregate


def threshold_text(threshold: Threshold) -> str:
    """Return a threshold as the user wrote it, marked where a rate's percentage is relative, not points."""
    return f"{threshold.text} (relative)" if threshold.is_relative_rate else threshold.text


def required_text(threshold: Threshold, bound: str) -> str:
    """Return the requirement as the user wrote it, with the `bound` that it amounts to: ">= baseline - 5pp (90%)"."""
    written = threshold.text.rpartition(threshold.operator)[2].strip()
    return f"{threshold.operator} {written}" + (f" ({bound})" if bound else "")


def runs_text(check: Check) -> str:
    """Return which of several runs decided a criterion, with a space before; empty where there is only one run."""
    if check.runs == 1:
        return ""
    if not check.run_id:
        return f" over {check.runs} runs"
    return f" in the worst of {check.runs} runs" if check.passed else f" in run {check.run_id}"


def whom(check: Check) -> str:
    """Return which variant a sentence is about, with a space before; empty where there is only one."""
    if not check.several:
        return ""
    return f" for the mutation {check.variant}" if check.variant != BASE else " for the agent itself"


def aggregate_text(criterion: Criterion) -> str:
    """Return a threshold's aggregate, such as "p(95)"; "it" for other criteria."""
    return one_line(criterion.threshold.aggregate, VALUE_SHOWN) if isinstance(criterion, ThresholdHolds) else "it"


def value_text(value: Value) -> str:
    """Return a value as people read it."""
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def forbidden_text(value: str) -> str:
    """Return a value that a user wrote: text in quotation marks, since it may be a word such as "no"."""
    return one_line(value, VALUE_SHOWN) if isinstance(comparable(value), float) else quoted(value, VALUE_SHOWN)
