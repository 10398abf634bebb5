"""Each aggregate as a class: its value, and which simulations are to blame.

The grammar's facts about an aggregate are in the row of the same name in `inputs.aggregates`. Pure and total.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from coval_gate.coval.model import Metric
from coval_gate.gate import statistics
from coval_gate.gate.checks import Problem
from coval_gate.gate.measure import Measure, Requirement, Weighed, margin
from coval_gate.gate.problems import CASES_UNKNOWN, NO_VALUES, ONE_EACH, ONE_VALUE, ONLY_SUMMARY, not_numbers, unlike
from coval_gate.gate.variants import Sample, Variant
from coval_gate.inputs.thresholds import Threshold


class Aggregation:
    """An aggregate with its threshold, which defines whether high or low values are good, and the `metric` that it
    names.

    `needs_equal_counts`: the number of simulations alone moves it, so it compares only between equal numbers of them.
    `demanded_share`: of conversations that must be as the threshold wants; None if the spread of values decides.
    `fewest_cases`: that show anything.
    """

    needs_equal_counts: ClassVar[bool] = True
    fewest_cases: ClassVar[int] = statistics.FEWEST_CASES

    def __init__(self, threshold: Threshold, metric: Metric | None) -> None:
        self.threshold, self.aggregate, self.metric = threshold, threshold.aggregate, metric

    def measured(self, variant: Variant) -> Measure | Problem:
        """Measure it for a threshold against a number."""
        if self.metric is None:
            return self._measure(self.value(variant), len(variant.simulations), variant.unlisted)
        sample = variant.sample(self.metric)
        if (summary := sample.metric.summary) is None:
            return self.obstacle(sample) or self._measured(variant, sample)
        value = {"avg": summary.mean, "min": summary.min, "max": summary.max}.get(self.aggregate.name)
        # Coval's own mean mixes the agent and its mutations.
        if value is None or not variant.alone:
            return ONLY_SUMMARY.of(metric=sample.metric.name)
        return self._measure(Weighed(value), sample.count, sample.missing)

    def _measured(self, variant: Variant, sample: Sample) -> Measure | Problem:
        return self._measure(self.value(variant), sample.count, sample.missing)

    def _measure(self, value: Weighed, count: int, missing: int, assumed: int = 0) -> Measure:
        unit = self.aggregate.kind.unit
        return Measure(value=value.value, pooled=value.pooled, unit=unit, count=count, missing=missing, assumed=assumed)

    def failing(self, variant: Variant, measure: Measure) -> Iterable[str]:
        return self.missing_it(variant, measure.value)

    def value(self, variant: Variant) -> Weighed:
        """Return its value in a comparison: a rate counts missing values as misses; numeric aggregates need numbers."""
        raise NotImplementedError

    def missing_it(self, variant: Variant, value: float | None) -> Iterable[str]:
        """Return the ids to blame. `value`: of this variant, or another that must meet the same; None if unknown."""
        return ()

    def obstacle(self, sample: Sample) -> Problem | None:
        if not sample.count:
            return NO_VALUES.of(metric=sample.metric.name)
        if not self.aggregate.is_numeric:
            return unlike(sample, self.aggregate.values)
        lacks_spread = self.aggregate.kind.is_spread and sample.count == 1
        return not_numbers(sample) or (ONE_VALUE.of(metric=sample.metric.name) if lacks_spread else None)

    @property
    def demanded_share(self) -> float | None:
        return None

    def _wants_more(self, value: float | None) -> bool:
        threshold, number = self.threshold, self.threshold.bound.number
        if value is None or (threshold.is_about_none_or_all and number > 0.0):
            return True
        return threshold.wants_more or (threshold.operator == "==" and value < number)


class Share(Aggregation):
    needs_equal_counts = False

    def hits(self, variant: Variant) -> Collection[str]:
        raise NotImplementedError

    def value(self, variant: Variant) -> Weighed:
        return _share(variant, self.hits(variant))

    def missing_it(self, variant: Variant, value: float | None) -> Iterator[str]:
        hits = self.hits(variant)
        return (simulation.id for simulation in variant.simulations if simulation.id not in hits)

    def unknown(self, variant: Variant) -> Collection[str]:
        """Return the ids of the simulations that may be hits or not."""
        return ()

    @property
    def demanded_share(self) -> float:
        bound = self.threshold.bound.number
        return 1.0 - bound if self.threshold.wants_less else bound


class PassRate(Share):
    def hits(self, variant: Variant) -> Collection[str]:
        return variant.passing


class CompletedRate(Share):
    def hits(self, variant: Variant) -> Collection[str]:
        return frozenset(simulation.id for simulation in variant.completed)


class Failed(Aggregation):
    def value(self, variant: Variant) -> Weighed:
        return Weighed(float(variant.failed))

    def missing_it(self, variant: Variant, value: float | None) -> Iterator[str]:
        return (simulation.id for simulation in variant.simulations if not simulation.completed)


class Total(Aggregation):
    def value(self, variant: Variant) -> Weighed:
        return Weighed(float(variant.total))


class _HavingValues(Aggregation):
    def missing_it(self, variant: Variant, value: float | None) -> Iterator[str]:
        """Return the simulations without any of the values if more should have one, otherwise those with one."""
        hits, wants_more = self._having(variant), self._wants_more(value)
        return (simulation.id for simulation in variant.simulations if (simulation.id in hits) is not wants_more)

    def _having(self, variant: Variant) -> frozenset[str]:
        return variant.sample(self.metric).having(self.aggregate.values)


class Rate(_HavingValues, Share):
    def hits(self, variant: Variant) -> Collection[str]:
        hits = self._having(variant)  # a simulation without a value counts against the threshold
        return hits.union(self.unknown(variant)) if self.threshold.wants_less else hits

    def unknown(self, variant: Variant) -> Collection[str]:
        return variant.without_value(self.metric)

    def _measured(self, variant: Variant, sample: Sample) -> Measure:
        if variant.even:
            share, assumed = self.value(variant), sample.missing if self.threshold.wants_less else 0
        else:
            # So many missing values count as hits that the threshold is met only if all possible values would meet it.
            hits, bound, missing = len(self._having(variant)), self.threshold.bound.number, sample.missing
            closest = round(bound * variant.total) - hits  # only in between can a rate equal the bound of !=
            requirement = Requirement(self.threshold.operator, bound)
            numbers = (0, missing, min(max(closest, 0), missing))
            assumed = min(numbers, key=lambda number: margin((hits + number) / variant.total, requirement))
            share = Weighed((hits + assumed) / variant.total)
        return self._measure(share, sample.count, sample.missing, assumed)

    def failing(self, variant: Variant, measure: Measure) -> Iterator[str]:
        """Return the simulations without a hit if there are too few hits, otherwise those that have one, or may."""
        if not measure.assumed or self._wants_more(measure.value):
            return self.missing_it(variant, measure.value)
        hits, unknown = self._having(variant), frozenset(self.unknown(variant))
        blamed = unknown if self.threshold.holds(_share(variant, hits).value) else unknown | hits
        return (simulation.id for simulation in variant.simulations if simulation.id in blamed)


class Count(_HavingValues):
    def value(self, variant: Variant) -> Weighed:
        return Weighed(float(len(self._having(variant))))


class Worst(_HavingValues):
    """The lowest share of any test case. All conversations of those that miss the bound are to blame."""

    def _measured(self, variant: Variant, sample: Sample) -> Measure | Problem:
        if "" in variant.by_case:
            return CASES_UNKNOWN
        if all(len(ids) == 1 for ids in variant.by_case.values()):
            return ONE_EACH.of(instead=self.aggregate.if_called_once)
        hits = self._having(variant)
        shares = {case: len(hits.intersection(ids)) / len(ids) for case, ids in variant.by_case.items()}
        worst, *others = sorted(shares, key=lambda case: shares[case])
        ids = variant.by_case[worst]
        count = sum(simulation in sample.values for simulation in ids)
        low = tuple(case for case in (worst, *others) if not self.threshold.holds(shares[case]))
        return replace(self._measure(Weighed(shares[worst]), count, len(ids) - count), low_cases=low)

    def failing(self, variant: Variant, measure: Measure) -> Iterator[str]:
        return (simulation for case in measure.low_cases for simulation in variant.by_case[case])


class Missing(Aggregation):
    """How many simulations have no value. A metric without any value can be measured, too."""

    def obstacle(self, sample: Sample) -> None:
        """Accept any values, even none."""

    def value(self, variant: Variant) -> Weighed:
        return Weighed(variant.sample(self.metric).missing)

    def missing_it(self, variant: Variant, value: float | None) -> list[str]:
        return variant.without_value(self.metric)


class Figure(Aggregation):
    """Any other aggregate of numbers. Those that miss the bound are to blame."""

    def value(self, variant: Variant) -> Weighed:
        pooled = self._pooled(variant.sample(self.metric).numbers)
        if not variant.even:
            return Weighed(pooled)
        return Weighed.of(self._even([*variant.numbers(self.metric).values()], pooled), pooled)

    def missing_it(self, variant: Variant, value: float | None) -> Iterator[str]:
        # Without a bound on the scale of the numbers, or with an unknown one, no simulation is to blame by itself.
        if self.threshold.bound.reference or not self.aggregate.kind.is_on_scale:
            return
        values, holds = variant.sample(self.metric).values, self.threshold.holds
        for simulation in variant.completed:
            if isinstance(number := values.get(simulation.id), float) and not holds(number):
                yield simulation.id

    def _pooled(self, numbers: Sequence[float]) -> float:
        figure = self.aggregate.kind.figure
        if figure is None:
            raise ValueError(f"no class measures {self.aggregate.name}")
        return figure(numbers)

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        """Return the aggregate where all test cases weigh the same: `pooled` if weights make no difference."""
        return pooled


class Average(Figure):
    """The mean. All numbers contribute to it, so no simulation is to blame by itself."""

    needs_equal_counts = False
    fewest_cases = statistics.FEWEST_FOR_MEAN

    def missing_it(self, variant: Variant, value: float | None) -> Iterator[str]:
        yield from ()

    def _pooled(self, numbers: Sequence[float]) -> float:
        return statistics.mean(numbers)

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        return statistics.even_mean(cases)


class Percentile(Figure):
    needs_equal_counts = False

    @property
    def n(self) -> float:
        return 50.0 if self.aggregate.percentile is None else self.aggregate.percentile

    @property
    def demanded_share(self) -> float:
        return (self.n if self.threshold.wants_less else 100.0 - self.n) / 100.0

    def _pooled(self, numbers: Sequence[float]) -> float:
        return statistics.percentile(numbers, self.n)

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        if len(set(map(len, cases))) == 1:
            return pooled
        return statistics.weighted_percentile(
            sorted((value, 1.0 / len(values)) for values in cases for value in values), self.n
        )


class Spread(Figure):
    needs_equal_counts = False

    def _pooled(self, numbers: Sequence[float]) -> float:
        return statistics.stdev(numbers)

    def _even(self, cases: Sequence[Sequence[float]], pooled: float) -> float:
        """Return the root of the unbiased weighted variance; for test cases of one size, the plain deviation."""
        centre, total = statistics.even_mean(cases), float(len(cases))
        squares = math.fsum((value - centre) ** 2 / len(values) for values in cases for value in values)
        return math.sqrt(squares / (total - math.fsum(1.0 / len(values) for values in cases) / total))


CLASSES: Final[Mapping[str, type[Aggregation]]] = {  # other aggregates are figures
    "avg": Average,
    "med": Percentile,
    "stdev": Spread,
    "p": Percentile,
    "rate": Rate,
    "count": Count,
    "worst": Worst,
    "missing": Missing,
    "pass_rate": PassRate,
    "completed_rate": CompletedRate,
    "failed": Failed,
    "total": Total,
}


def aggregation_of(threshold: Threshold, metric: Metric | None = None) -> Aggregation:
    return CLASSES.get(threshold.aggregate.name, Figure)(threshold, metric)


def _share(variant: Variant, hits: Collection[str]) -> Weighed:
    """Return the share of hits among the simulations or, if test cases weigh the same, the mean of their shares."""
    pooled = len(hits) / variant.total
    if not variant.even:
        return Weighed(pooled)
    shares = [sum(simulation in hits for simulation in ids) / len(ids) for ids in variant.by_case.values()]
    return Weighed.of(math.fsum(shares) / len(shares), pooled)
