"""Criteria that were judged, but look like mistakes, given the values of the run. Pure and total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.criteria import ThresholdHolds, ValueAbsent
from coval_gate.judge.sample import SAMPLES
from coval_gate.judge.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.results import Metric

FAR: Final = 100  # times the value farthest from 0; a bound beyond it is probably in another unit


class Unseen(NamedTuple):
    """No simulation has the `wanted` values of `metric`. `seen` are some of the `different` texts that do occur."""

    criterion: ThresholdHolds | ValueAbsent
    metric: str
    wanted: tuple[str, ...]
    seen: tuple[str, ...]
    different: int


class FarBound(NamedTuple):
    """The bound lies beyond FAR times every value of `metric`; `farthest` is the value farthest from 0."""

    criterion: ThresholdHolds
    metric: str
    farthest: float


Doubt = Unseen | FarBound


def doubts(judgement: Judgement) -> tuple[Doubt, ...]:
    """Return the doubts about the criteria, given the values of the agent and all mutations together."""
    metrics = {sample.metric.id: sample.metric for variant in judgement.variants for sample in variant.samples}
    checks = [check for check in judgement.checks if check.measure and check.metric in metrics]
    measured = {check.criterion: check.metric for check in checks}
    return tuple(doubt for criterion, metric in measured.items() for doubt in _doubts(criterion, metrics[metric]))


def _doubts(criterion: Criterion, metric: Metric) -> Iterator[Doubt]:
    if isinstance(criterion, ValueAbsent):
        yield from _unseen(criterion, metric, (criterion.value,))
    elif isinstance(criterion, ThresholdHolds):
        yield from _unseen(criterion, metric, criterion.threshold.aggregate.values)
        yield from _far(criterion, metric)


def _unseen(criterion: ThresholdHolds | ValueAbsent, metric: Metric, wanted: tuple[str, ...]) -> Iterator[Unseen]:
    vocabulary = Vocabulary.of(metric) if wanted else None
    if vocabulary and (unseen := vocabulary.unseen(wanted)):
        yield Unseen(criterion, metric.name, unseen, vocabulary.seen[:SAMPLES], len(vocabulary.seen))


def _far(criterion: ThresholdHolds, metric: Metric) -> Iterator[FarBound]:
    """Question a bound that is too far from the values to be in their unit.

    Values that are all 0 have no scale. A bound close to 0 is no mistake: it requires that there is something.
    """
    threshold = criterion.threshold
    farthest = max(metric.numbers, key=abs, default=0.0)
    is_of_values = threshold.aggregate.is_numeric and not threshold.bound.reference
    if is_of_values and farthest and abs(threshold.bound.number) > FAR * abs(farthest):
        yield FarBound(criterion, metric.name, farthest)
