"""What an aggregate in a threshold tells: value, interval, change, and which simulations are to blame. Pure.

An aggregation is an aggregate in a threshold, which says in which direction it is good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from coval_gate.judge.claims import unknown_interval
from coval_gate.judge.measure import Measure, Weighed
from coval_gate.judge.problems import NoValues, OnlySummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.changes import Change
    from coval_gate.judge.chart import Cases, Chart
    from coval_gate.judge.measure import Interval, Unit
    from coval_gate.judge.problems import Problem, ValueProblem
    from coval_gate.judge.sample import Sample
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, Summary


class Measured(NamedTuple):
    """A measure, the simulations that are to blame if it does not do, and its interval for a confidence, a share."""

    measure: Measure
    failing: Iterable[str] = ()
    interval: Callable[[float], Interval] | None = None


class Greatest(NamedTuple):
    """The greatest change that there is from a baseline, over so many test cases with so many iterations.

    `strictest`: the confidence with which a regression has to show; `confidence`: with which an improvement has to.
    """

    cases: int
    iterations: int
    confidence: float
    strictest: float


class Aggregation:
    """What all aggregates have in common: they are of one run, and no confidence says more about the agent.

    `needs_equal_counts`: the number of simulations alone moves it, so that only equal numbers of them compare.
    """

    needs_equal_counts: ClassVar[bool] = True

    def __init__(self, threshold: Threshold) -> None:
        self.threshold, self.aggregate = threshold, threshold.aggregate

    def measured(self, variant: Variant, metric: Metric | None) -> Measured | Problem:
        """Measure it for a threshold against a number; `metric` is the one that the threshold names, if any."""
        raise NotImplementedError

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        """Return what it is in a comparison, as counted.

        A rate counts simulations without a value as misses; numeric aggregates leave them out, and need numbers.
        """
        raise NotImplementedError

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterable[str]:
        """Return the ids of the simulations that keep a variant from meeting the threshold.

        `value`: what it is, of this variant or of another that is held to the same; None if that is not known.
        """
        raise NotImplementedError

    def obstacle(self, sample: Sample) -> ValueProblem | None:
        """Return the problem if the values are not of the kind that it needs."""
        if not sample.count:
            return NoValues(metric=sample.metric.name)
        return sample.not_numbers() if self.aggregate.is_numeric else sample.obstacle(self.aggregate.values)

    def change(self, now: Variant, then: Variant, metric: Metric | None) -> Change | None:
        """Return what shows how it changed, over variants with the same test cases; None where nothing does."""
        del now, then, metric
        return None

    def cases(self, variant: Variant, metric: Metric | None) -> Cases:
        """Return by test case the values that it is made of: numbers or, for a rate, 1 for a hit and otherwise 0."""
        raise NotImplementedError

    def chart(self, cases: Sequence[str], reference: Sequence[Cases], later: Sequence[Cases], level: float) -> Chart:
        """Return its chart over test cases, which each run has for the most part."""
        raise NotImplementedError

    @property
    def demanded_share(self) -> float | None:
        """The share of conversations that must be as the threshold wants; None where the spread of values decides."""
        return None

    def shows(self, greatest: Greatest) -> bool:
        """Tell whether the greatest change shows: a regression, unless the threshold asks for an improvement."""
        raise NotImplementedError

    def _wants_more(self, value: float | None) -> bool:
        """Tell whether it is missed because it is too small."""
        threshold = self.threshold
        return threshold.wants_more or value is None or (threshold.operator == "==" and value < threshold.bound.number)


class OfMetric(Aggregation):
    """An aggregate of the values of one metric."""

    def measured(self, variant: Variant, metric: Metric | None) -> Measured | Problem:
        sample = sample_of(variant, metric)
        if (summary := sample.metric.summary) is None:
            return self.obstacle(sample) or self._measured(variant, sample)
        known = self._summarized(summary)
        # Coval's own mean mixes the agent and its mutations.
        if known is None or not variant.alone:
            return OnlySummary(metric=sample.metric.name)
        return Measured(measure_of_values(sample, Weighed(known), "metric"), (), unknown_interval)

    def _measured(self, variant: Variant, sample: Sample) -> Measured:
        """Measure values that are of the kind that it needs."""
        raise NotImplementedError

    def _summarized(self, summary: Summary) -> float | None:
        """Return what it is by a summary in place of single values; None if that does not say."""
        del summary
        return None


def sample_of(variant: Variant, metric: Metric | None) -> Sample:
    """Return the values of the metric that a threshold names."""
    if metric is None:
        raise ValueError("an aggregate of values needs a metric")
    return variant.sample(metric)


def measure_of_run(variant: Variant, value: float, unit: Unit) -> Measure:
    """Return a value over all simulations of a variant."""
    return Measure(value=value, unit=unit, count=len(variant.simulations), missing=variant.unlisted)


def measure_of_values(sample: Sample, found: Weighed, unit: Unit) -> Measure:
    """Return a value over the simulations of which some have a value of a metric."""
    return Measure(value=found.value, pooled=found.pooled, unit=unit, count=sample.count, missing=sample.missing)
