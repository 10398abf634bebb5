"""Measure the aggregate of a threshold: value, interval, change, and which simulations are to blame. Pure.

An aggregation is an aggregate with its threshold, which says whether high or low values are good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from coval_gate.base.records import NamedTuple
from coval_gate.coval.model import Metric
from coval_gate.gate.changes import Change
from coval_gate.gate.checks import Problem
from coval_gate.gate.measure import Interval, Measure, Unit, Weighed
from coval_gate.gate.problems import NO_VALUES, ONLY_SUMMARY, not_numbers, unlike
from coval_gate.gate.variants import Sample, Variant
from coval_gate.inputs.thresholds import Threshold


class Greatest(NamedTuple):
    """The greatest change. `strictest`: the confidence that a regression must reach; `confidence`: an improvement."""

    cases: int
    iterations: int
    confidence: float
    strictest: float


class Aggregation:
    """The base of all aggregates: by default, they describe one run, and nothing shows how they changed.

    `needs_equal_counts`: the number of simulations alone moves it, so it compares only between equal numbers of them.
    """

    needs_equal_counts: ClassVar[bool] = True

    def __init__(self, threshold: Threshold) -> None:
        self.threshold, self.aggregate = threshold, threshold.aggregate

    def measured(self, variant: Variant, metric: Metric | None) -> Measure | Problem:
        """Measure it for a threshold against a number; `metric` is the threshold's metric, if it names one."""
        raise NotImplementedError

    def failing(self, variant: Variant, metric: Metric | None, measure: Measure) -> Iterable[str]:
        """Return the ids to blame if the `measure` of this variant misses the threshold."""
        return self.missing_it(variant, metric, measure.value)

    def interval(self, variant: Variant, metric: Metric | None, confidence: float) -> Interval:
        """Return what the measured value shows for the agent, if the threshold takes a confidence."""
        raise NotImplementedError

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        """Return its value in a comparison: a rate counts missing values as misses; numeric aggregates need numbers."""
        raise NotImplementedError

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterable[str]:
        """Return the ids to blame. `value`: of this variant, or another that must meet the same; None if unknown."""
        return ()

    def contributing(self, variant: Variant, metric: Metric | None) -> Mapping[str, float]:
        """Return the numbers that move the value, by simulation id, if no simulation misses the threshold by itself."""
        return {}

    def obstacle(self, sample: Sample) -> Problem | None:
        """Return the problem if the values are not of the kind that it needs."""
        if not sample.count:
            return NO_VALUES.of(metric=sample.metric.name)
        return not_numbers(sample) if self.aggregate.is_numeric else unlike(sample, self.aggregate.values)

    def change(self, now: Variant, then: Variant, metric: Metric | None) -> Change | None:
        """Return its change between variants with the same test cases; None if nothing can show one."""
        return None

    @property
    def demanded_share(self) -> float | None:
        """The share of conversations that must be as the threshold wants; None if the spread of values decides."""
        return None

    def shows(self, greatest: Greatest) -> bool:
        """Return whether the greatest possible regression shows, or improvement if the threshold asks for one."""
        raise NotImplementedError

    def _wants_more(self, value: float | None) -> bool:
        """Return whether a missed value is too small, not too large."""
        threshold = self.threshold
        return threshold.wants_more or value is None or (threshold.operator == "==" and value < threshold.bound.number)


class OfMetric(Aggregation):
    def measured(self, variant: Variant, metric: Metric | None) -> Measure | Problem:
        sample = sample_of(variant, metric)
        if (summary := sample.metric.summary) is None:
            return self.obstacle(sample) or self._measured(variant, sample)
        value = {"avg": summary.mean, "min": summary.min, "max": summary.max}.get(self.aggregate.name)
        # Coval's own mean mixes the agent and its mutations.
        if value is None or not variant.alone:
            return ONLY_SUMMARY.of(metric=sample.metric.name)
        return measure_of(Weighed(value), "metric", sample.count, sample.missing)

    def _measured(self, variant: Variant, sample: Sample) -> Measure:
        value = self.value(variant, sample.metric)
        return measure_of(value, self.aggregate.kind.unit, sample.count, sample.missing)


def sample_of(variant: Variant, metric: Metric | None) -> Sample:
    if metric is None:
        raise ValueError("an aggregate of values needs a metric")
    return variant.sample(metric)


def measure_of(value: Weighed, unit: Unit, count: int, missing: int, assumed: int = 0) -> Measure:
    return Measure(value=value.value, pooled=value.pooled, unit=unit, count=count, missing=missing, assumed=assumed)
