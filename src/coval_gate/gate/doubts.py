"""Criteria that cannot decide, or look like mistakes beside the values that a run shows. Pure and total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import number, percent, plural, quoted
from coval_gate.base.units import with_unit
from coval_gate.gate.claims import cases_needed, cases_to_compare
from coval_gate.gate.clauses import VALUE_SHOWN, threshold_text
from coval_gate.gate.problems import SAMPLES, seen_text
from coval_gate.gate.values import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coval_gate.coval.model import Metric
    from coval_gate.gate.checks import Check
    from coval_gate.gate.criteria import Criteria
    from coval_gate.gate.variants import Variant
    from coval_gate.inputs.thresholds import Threshold

FAR: Final = 100  # times the value farthest from 0; a bound beyond it is probably in another unit


class Undecidable(NamedTuple):
    """No run of this size can meet it or, if it is a guard, miss it. `needed`: cases; None: more than MOST_CASES."""

    threshold: Threshold
    confidence: float | None
    needed: int | None


def undecidable(criteria: Criteria, cases: int) -> Iterator[Undecidable]:
    """Yield each threshold that no run with so many test cases can decide as it should with the confidence."""
    guards = [guard for guard in criteria.thresholds if _is_guard(guard) and not guard.advisory]
    family = max(1, len(guards)) * (1 + criteria.mutations) * criteria.legs
    for threshold in criteria.thresholds:
        if threshold.bound.reference:
            alone = threshold.advisory or not _is_guard(threshold)
            at_once, iterations = 1 if alone else family, criteria.iterations or 1
            least = cases_to_compare(threshold, criteria.confidence, iterations=iterations, family=at_once)
        else:
            least = cases_needed(threshold, criteria.confidence)
        if least is None or least > cases:
            yield Undecidable(threshold, criteria.confidence, least)


def undecidable_text(undecidable: Undecidable, cases: int) -> str:
    """Return that a run is too small for a threshold to pass or, if it guards against a regression, to fail."""
    threshold, needed, few = undecidable.threshold, undecidable.needed, plural(cases, "test case")
    line = f"{threshold.place}:"
    confidence = f"with {percent(undecidable.confidence or 0.0)} confidence"
    if not threshold.bound.reference:
        enough = f"; {needed:,} can" if needed else ""
        return f"{line} {few} can never show {threshold.text} {confidence}, however good the agent is{enough}."
    what, how = ("pass", "good") if threshold.asks_for_improvement else ("fail", "bad")
    enough = f"; with {needed:,}, it can" if needed else ""
    return f"{line} with {few}, {threshold.text} can never {what} {confidence}, however {how} the agent is{enough}."


def _is_guard(threshold: Threshold) -> bool:
    return bool(threshold.bound.reference) and threshold.takes_confidence and not threshold.asks_for_improvement


def doubts(checks: Iterable[Check], variants: Iterable[Variant]) -> tuple[str, ...]:
    """Return the doubts about the criteria, given the values of the agent and all mutations together."""
    metrics = {sample.metric.id: sample.metric for variant in variants for sample in variant.samples}
    measured = (check for check in checks if check.measure and check.metric in metrics)
    named = {check.threshold: metrics[check.metric] for check in measured if check.threshold}
    return tuple(doubt for threshold, metric in named.items() for doubt in _doubts(threshold, metric))


def _doubts(threshold: Threshold, metric: Metric) -> Iterator[str]:
    """Doubt a bound too far from the values for their unit; one close to 0 requires that there is something."""
    where, wanted = f"{threshold_text(threshold)} ({threshold.place})", threshold.aggregate.values
    vocabulary = Vocabulary.of(metric) if wanted else None
    if vocabulary and (unseen := vocabulary.unseen(wanted)):
        values = " or ".join(quoted(value, VALUE_SHOWN) for value in unseen)
        seen = seen_text(vocabulary.seen[:SAMPLES], len(vocabulary.seen))
        others = f"; the values seen are {seen}" if seen else ""
        yield f"{where}: no simulation has the value {values} for {metric.name}{others}. Is it spelt correctly?"
    farthest = max(metric.numbers, key=abs, default=0.0)
    is_of_values = threshold.aggregate.is_numeric and not threshold.bound.reference
    if is_of_values and farthest and abs(threshold.bound.number) > FAR * abs(farthest):
        largest = f"the largest{'' if farthest > 0 else ' in size'} is {with_unit(number(farthest), metric.unit)}"
        values = f"every value of {metric.name} ({largest})"
        yield f"{where}: the bound is more than {FAR} times {values}. Is it in the metric's unit?"
