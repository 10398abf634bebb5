"""The cause of each simulation that did not do well: flakiness, or the agent, before or now. Pure.

A cause needs no data of its own. It follows from values, and from the runs that thresholds compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.coval.model import BASE, Metric, RunResult
from coval_gate.gate.baseline import Counterpart, References, metrics_about
from coval_gate.gate.changes import HALF
from coval_gate.gate.checks import Check
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.variants import Sample, Variant
from coval_gate.inputs.thresholds import Reference

MOST_PASS: Final = 0.5  # of the other conversations of a test case: with more, a failure is flaky


class Cause(StrEnum):
    """Why a simulation did not do well; where several fit, the first one here.

    FLAKY: most other conversations of its test case pass: iterations, or those of repetitions, of the same variant.
    OLD: whatever it misses, its test case mostly missed in the baseline, too.
    NEW: it misses something that its test case mostly met in the baseline.

    There is none if there is no baseline, if that lacks the test case, or if something that it misses may be new.
    """

    FLAKY = "flaky"
    OLD = "old"
    NEW = "new"


SHOWN_FIRST: Final[tuple[Cause | None, ...]] = (Cause.NEW, None, Cause.OLD, Cause.FLAKY)


def cause_of(passing: int, others: int, before: Sequence[bool | None]) -> Cause | None:
    """Return None if nothing shows a cause.

    `passing` of the `others`, the other conversations of its test case, do well. `before`: for each criterion that it
    misses, whether its test case missed that in the baseline, too; None if that is unknown.
    """
    if passing > MOST_PASS * others:
        return Cause.FLAKY
    if False in before:
        return Cause.NEW
    return Cause.OLD if before and None not in before else None


class Before(NamedTuple):
    """`missed` mostly; `mean` of its numbers, None without; `share` of its conversations that met the criterion."""

    missed: bool
    mean: float | None
    share: float


class Earlier:
    """The runs that a judgement compares with, pooled once, also for criteria that compare with a number.

    Runs with another persona, changed test cases, and metrics of another judge version are left out. `kind`: of the
    reference; empty without one.
    """

    def __init__(self, judgement: Judgement, result: RunResult, variants: Sequence[Variant]) -> None:
        self._result = result
        self._references = References(result, variants, judgement.baseline, judgement.base)
        self.kind = _reference_of(judgement)

    def by_case(self, check: Check, variant: Variant) -> dict[str, Before]:
        """Return how each test case did in the reference, by a criterion, without those of which that is unknown."""
        if not self.kind or check.problem is not None:
            return {}
        metric = next((metric for metric in self._result.metrics if metric.id == check.metric), None)
        then = self._then(check, variant, metric)
        sample = then.find_sample(metric.id) if then and metric else None
        if then is None or (metric and (sample is None or sample.metric.summary is not None)):
            return {}
        missing = frozenset(check.criterion.missing_it(then, sample, check.measure))
        completed = frozenset(simulation.id for simulation in then.completed)
        usable = completed & sample.values.keys() if sample else completed
        return {
            case: _before([simulation for simulation in ids if simulation in usable], missing, sample)
            for case, ids in then.by_case.items()
            if case and not usable.isdisjoint(ids)
        }

    def _then(self, check: Check, variant: Variant, metric: Metric | None) -> Variant | None:
        """Return the same variant in the reference, with the runs in which the criterion's metrics are comparable."""
        if self.kind == "base" and variant.name == BASE:
            return None
        aggregate = check.threshold.aggregate if check.threshold else None
        needed = metrics_about(aggregate, metric, self._result) if aggregate else (metric,) if metric else ()
        found = self._references.of(self.kind, variant, needed)
        return found.variant if isinstance(found, Counterpart) else None


def _reference_of(judgement: Judgement) -> Reference:
    """Prefer earlier runs, then another agent, then the agent beside its mutations."""
    if judgement.baseline and judgement.baseline.runs:
        return "baseline"
    if judgement.base and judgement.base.runs:
        return "base_agent"
    return "base" if any(check.reference == "base" for check in judgement.checks) else ""


def _before(ids: Sequence[str], missing: frozenset[str], sample: Sample | None) -> Before:
    share = sum(simulation not in missing for simulation in ids) / len(ids)
    values = [sample.values[simulation] for simulation in ids] if sample else []
    numbers = [value for value in values if isinstance(value, float)]
    return Before(missed=share <= HALF, mean=sum(numbers) / len(numbers) if numbers else None, share=share)
