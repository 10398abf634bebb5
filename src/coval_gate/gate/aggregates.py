"""Each aggregate as a class: its value, its interval, its change from a baseline, and which simulations are to blame.

The grammar's facts about an aggregate are in the row of the same name in `inputs.aggregates`. Pure and total.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from coval_gate.coval.model import Metric
from coval_gate.gate.aggregation import Aggregation, Greatest, OfMetric, measure_of, sample_of
from coval_gate.gate.changes import HitPair, MeanChange, PairedRates, PercentileChange, RateChange, ValuePair
from coval_gate.gate.checks import Problem
from coval_gate.gate.measure import Interval, Measure, Requirement, Weighed, margin
from coval_gate.gate.problems import ONE_VALUE
from coval_gate.gate.statistics import (
    NOTHING,
    Bounds,
    Hits,
    even_mean,
    even_percentile,
    hits_of,
    mean_bounds,
    percentile_bounds,
    rate_bounds,
)
from coval_gate.gate.variants import Sample, Variant
from coval_gate.inputs.thresholds import Threshold


class _Share(Aggregation):
    needs_equal_counts = False

    def hits(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        raise NotImplementedError

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        return _share(variant, self.hits(variant, metric))

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterator[str]:
        hits = self.hits(variant, metric)
        return (simulation.id for simulation in variant.simulations if simulation.id not in hits)

    def unknown(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        """Return the ids of the simulations that may be hits or not."""
        return ()

    def interval(self, variant: Variant, metric: Metric | None, confidence: float) -> Interval:
        """It holds for every possible value of the unknown simulations; if some are not listed, it claims nothing."""
        unknown = self.unknown(variant, metric)
        hits = frozenset(self.hits(variant, metric)).difference(unknown)
        cases = () if variant.unlisted else variant.known_cases
        least, most = (
            rate_bounds([hits_of(case, counted) for case in cases], confidence)
            for counted in (hits, hits.union(unknown))
        )
        return Interval(least.lower, most.upper, confidence, len(cases))

    def change(self, now: Variant, then: Variant, metric: Metric | None) -> RateChange:
        hits, earlier = self.hits(now, metric), self.hits(then, metric)
        cases = now.by_case.items()
        return RateChange(
            [HitPair(hits_of(ids, hits), hits_of(then.by_case[case], earlier), case) for case, ids in cases]
        )

    @property
    def demanded_share(self) -> float:
        bound = self.threshold.bound.number
        return 1.0 - bound if self.threshold.wants_less else bound

    def shows(self, greatest: Greatest) -> bool:
        """Return whether a fall from all hits to none, or a rise, shows as a regression or required improvement."""
        threshold, asks = self.threshold, self.threshold.asks_for_improvement
        rises = threshold.wants_less is not asks
        every, none = Hits(greatest.iterations, greatest.iterations), Hits(0, greatest.iterations)
        rates = PairedRates.of([HitPair(every, none) if rises else HitPair(none, every)] * greatest.cases)
        if asks:
            bound = rates.difference(greatest.confidence, threshold.bound.factor)
            return bound.lower > threshold.bound.number if rises else bound.upper < threshold.bound.number
        change, (before, now) = rates.difference(greatest.strictest), (0.0, 1.0) if rises else (1.0, 0.0)
        is_shown = change.lower > 0.0 if rises else change.upper < 0.0
        return is_shown and not threshold.against(before).holds(now)


class _OfRun(Aggregation):
    """An aggregate that needs no metric."""

    def measured(self, variant: Variant, metric: Metric | None) -> Measure:
        value = self.value(variant, metric)
        return measure_of(value, self.aggregate.kind.unit, len(variant.simulations), variant.unlisted)


class PassRate(_Share, _OfRun):
    """The share of simulations that completed and met every target."""

    def hits(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        return variant.passing


class CompletedRate(_Share, _OfRun):
    def hits(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        return frozenset(simulation.id for simulation in variant.completed)


class Failed(_OfRun):
    """How many simulations did not complete."""

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        return Weighed(float(variant.failed))

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterator[str]:
        return (simulation.id for simulation in variant.simulations if not simulation.completed)


class Total(_OfRun):
    """How many simulations there are."""

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        return Weighed(float(variant.total))


class _OfValues(OfMetric):
    """An aggregate of the simulations that have one of some values."""

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterator[str]:
        """Yield the simulations without any of the values if more should have one, otherwise those with one."""
        hits, wants_more = sample_of(variant, metric).having(self.aggregate.values), self._wants_more(value)
        yield from (simulation.id for simulation in variant.simulations if (simulation.id in hits) is not wants_more)


class Rate(_OfValues, _Share):
    def hits(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        """Return the hits; a simulation without a value counts against the threshold."""
        sample = sample_of(variant, metric)
        hits = sample.having(self.aggregate.values)
        return hits | frozenset(_unknown_ids(variant, sample)) if self.threshold.wants_less else hits

    def unknown(self, variant: Variant, metric: Metric | None) -> Collection[str]:
        return _unknown_ids(variant, sample_of(variant, metric))

    def _measured(self, variant: Variant, sample: Sample) -> Measure:
        hits = sample.having(self.aggregate.values)
        if variant.even:
            share, assumed = self.value(variant, sample.metric), sample.missing if self.threshold.wants_less else 0
        else:
            assumed = _assumed(self.threshold, len(hits), sample.missing, variant.total)
            share = Weighed((len(hits) + assumed) / variant.total)
        return measure_of(share, "share", sample.count, sample.missing, assumed)

    def failing(self, variant: Variant, metric: Metric | None, measure: Measure) -> Iterator[str]:
        """Yield the simulations without a hit if there are too few hits, otherwise those that have one, or may."""
        if not measure.assumed or self._wants_more(measure.value):
            yield from self.missing_it(variant, metric, measure.value)
            return
        sample = sample_of(variant, metric)
        hits = sample.having(self.aggregate.values)
        hits_alone = not self.threshold.holds(_share(variant, hits).value)
        for simulation in variant.simulations:
            if (hits_alone and simulation.id in hits) or simulation.id not in sample.values:
                yield simulation.id


class Count(_OfValues):
    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        return Weighed(float(len(sample_of(variant, metric).having(self.aggregate.values))))


class Missing(OfMetric):
    """How many simulations have no value. A metric without any value can be measured, too."""

    def obstacle(self, sample: Sample) -> None:
        """Accept any values, even none."""

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        return Weighed(sample_of(variant, metric).missing)

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> list[str]:
        return _unknown_ids(variant, sample_of(variant, metric))


class _OfNumbers(OfMetric):
    """An aggregate of numbers; the simulations whose own number misses the bound are to blame."""

    def value(self, variant: Variant, metric: Metric | None) -> Weighed:
        sample = sample_of(variant, metric)
        pooled = self._pooled(sample)
        if not variant.even:
            return Weighed(pooled)
        return _weighed(self._even([*variant.numbers(sample.metric).values()], pooled), pooled)

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterator[str]:
        # Without a bound on the scale of the numbers, or with an unknown one, no simulation is to blame by itself.
        if self.threshold.bound.reference or not self.aggregate.kind.is_on_scale:
            return
        values, holds = sample_of(variant, metric).values, self.threshold.holds
        for simulation in variant.completed:
            if isinstance(number := values.get(simulation.id), float) and not holds(number):
                yield simulation.id

    def interval(self, variant: Variant, metric: Metric | None, confidence: float) -> Interval:
        """Leave missing values out; claim nothing if Coval does not report the test case of each conversation."""
        are_known = all(simulation.test_case_id for simulation in variant.completed)
        cases = [*variant.numbers(sample_of(variant, metric).metric).values()] if are_known else []
        return Interval(*self._bounds(cases, confidence), confidence, len(cases))

    def _pooled(self, sample: Sample) -> float:
        raise NotImplementedError

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        """Return the aggregate where all test cases weigh the same: `pooled` if weights make no difference."""
        return pooled

    def _bounds(self, cases: Sequence[Sequence[float]], confidence: float) -> Bounds:
        """Return the bounds that the numbers of test cases show for the agent: none, unless a subclass knows some."""
        return NOTHING


class Average(_OfNumbers):
    """The mean. All numbers contribute to it, so no simulation is to blame by itself."""

    needs_equal_counts = False

    def missing_it(self, variant: Variant, metric: Metric | None, value: float | None) -> Iterator[str]:
        yield from ()

    def contributing(self, variant: Variant, metric: Metric | None) -> dict[str, float]:
        values = sample_of(variant, metric).values
        return {id_: number for id_, number in values.items() if isinstance(number, float)}

    def change(self, now: Variant, then: Variant, metric: Metric | None) -> MeanChange | None:
        return MeanChange(_value_pairs(now, then, metric)) if metric else None

    def _pooled(self, sample: Sample) -> float:
        return sample.mean

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        return even_mean(cases)

    def _bounds(self, cases: Sequence[Sequence[float]], confidence: float) -> Bounds:
        return mean_bounds(cases, confidence)


class Percentile(_OfNumbers):
    """The median or another percentile."""

    needs_equal_counts = False

    @property
    def n(self) -> float:
        return 50.0 if self.aggregate.percentile is None else self.aggregate.percentile

    def change(self, now: Variant, then: Variant, metric: Metric | None) -> PercentileChange | None:
        return PercentileChange(_value_pairs(now, then, metric), self.n) if metric else None

    @property
    def demanded_share(self) -> float:
        return (self.n if self.threshold.wants_less else 100.0 - self.n) / 100.0

    def shows(self, greatest: Greatest) -> bool:
        """Return whether a rise of all values far above all earlier ones shows."""
        places = range(greatest.iterations)
        low = [[float(place * greatest.cases + case) for place in places] for case in range(greatest.cases)]
        high = [[value + 2.0 * greatest.cases * greatest.iterations for value in values] for values in low]
        return PercentileChange(list(map(ValuePair, high, low)), self.n).excess(greatest.strictest).lower > 0.0

    def _pooled(self, sample: Sample) -> float:
        return sample.percentile(self.n)

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        return even_percentile(cases, self.n)

    def _bounds(self, cases: Sequence[Sequence[float]], confidence: float) -> Bounds:
        return percentile_bounds(cases, self.n, confidence)


class Figure(_OfNumbers):
    """A plain function of the numbers."""

    def _pooled(self, sample: Sample) -> float:
        figure = self.aggregate.kind.figure
        if figure is None:
            raise ValueError(f"nothing says how {self.aggregate.name} is measured")
        return figure(sample.numbers)


class Spread(_OfNumbers):
    """The sample standard deviation."""

    needs_equal_counts = False

    def obstacle(self, sample: Sample) -> Problem | None:
        """Return the problem if there are fewer than two numbers: one number must not pass as a small spread."""
        return super().obstacle(sample) or (ONE_VALUE.of(metric=sample.metric.name) if sample.count == 1 else None)

    def _pooled(self, sample: Sample) -> float:
        return sample.stdev

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        """Return the root of the unbiased weighted variance; for test cases of one size, the plain deviation."""
        centre, total = even_mean(cases), float(len(cases))
        squares = math.fsum((value - centre) ** 2 / len(values) for values in cases for value in values)
        return math.sqrt(squares / (total - math.fsum(1.0 / len(values) for values in cases) / total))


CLASSES: Final[Mapping[str, type[Aggregation]]] = {  # other aggregates are figures
    "avg": Average,
    "med": Percentile,
    "stdev": Spread,
    "p": Percentile,
    "rate": Rate,
    "count": Count,
    "missing": Missing,
    "pass_rate": PassRate,
    "completed_rate": CompletedRate,
    "failed": Failed,
    "total": Total,
}


def aggregation_of(threshold: Threshold) -> Aggregation:
    return CLASSES.get(threshold.aggregate.name, Figure)(threshold)


def _value_pairs(now: Variant, then: Variant, metric: Metric) -> list[ValuePair]:
    """Return the numbers of each test case in two variants, both of which have numbers on the same test cases."""
    earlier = then.numbers(metric)
    return [ValuePair(numbers, earlier[case]) for case, numbers in now.numbers(metric).items()]


def _unknown_ids(variant: Variant, sample: Sample) -> list[str]:
    return [simulation.id for simulation in variant.simulations if simulation.id not in sample.values]


def _share(variant: Variant, hits: Collection[str]) -> Weighed:
    """Return the share of hits among the simulations or, if test cases weigh the same, the mean of their shares."""
    pooled = len(hits) / variant.total
    if not variant.even:
        return Weighed(pooled)
    shares = [sum(simulation in hits for simulation in ids) / len(ids) for ids in variant.by_case.values()]
    return _weighed(math.fsum(shares) / len(shares), pooled)


def _weighed(value: float, pooled: float) -> Weighed:
    return Weighed(pooled) if math.isclose(value, pooled, abs_tol=1e-12) else Weighed(value, pooled)


def _assumed(threshold: Threshold, hits: int, missing: int, total: int) -> int:
    """Return how many missing values count as hits, so that a rate holds only if it would for all possible values."""
    requirement = Requirement(threshold.operator, threshold.bound.number)
    closest = round(threshold.bound.number * total) - hits  # only in between can a rate equal the bound of !=
    numbers = (0, missing, min(max(closest, 0), missing))
    return min(numbers, key=lambda number: margin((hits + number) / total, requirement))
