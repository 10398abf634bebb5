"""The chart of drift: how far runs fell short of a reference, added up from run to run (CUSUM). Pure.

A single comparison misses small and slow changes. So the chart adds up the shortfall z of each run, less an allowance:
S = max(0, S + z - 0.5) (Page, "Continuous Inspection Schemes", Biometrika 41, 1954). It alarms while S is above a level
that one in twenty unchanged agents reaches within thirty nights.

z is in units of the spread between runs, whether that comes from few conversations or from a provider's bad day. The
spread shows in the runs of the reference, and in the differences from each later run to the next, which a lasting
change does not widen. The reference has few runs, and its own error is in every z; `Spread.factor` makes up for both.
That error adds up from run to run, so the factor may grow. The factors and levels were found by simulation;
`make statistics` measures their effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.judge import statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Cases = Mapping[str, Sequence[float]]  # the values of each test case

ALLOWANCE: Final = 0.5  # of z, that each run may fall short
LONGEST_STEP: Final = 3.0  # of z: no single run reaches the level
CAP: Final = 2.0  # levels that S may reach; an agent that was fixed is soon below one
ODD: Final = 12.0  # variances, the most that one squared difference counts: one bad day must not blind the chart
EXPLAINED: Final = 3.0  # variances within runs: chance explains up to so much between them
# Factors of `Spread`. The percentile of a run is less regular than its mean.
RATE, MEAN, PERCENTILE = 2.6, 3.3, 3.6
MEAN_EARLY: Final = 4.0  # subtracted from the factor, divided by the number of differences between runs
# The spread within cases weighs as much as so many differences between runs. Few misses leave the spread of a rate
# between runs uncertain; the spread of a mean shows best between the runs themselves.
RATE_WEIGHT, MEAN_WEIGHT = 9.0, 1.0
RATE_LEAST: Final = 0.1  # of the squared share of one conversation
ROUNDING: Final = 1e-12  # of the size of values: smaller differences count as none
# The level by the number of charts, which share the error; in between, linear in the logarithm of the number.
LEVELS: Final = (
    *((1, 2.82), (2, 3.85), (3, 4.6), (4, 5.2), (5, 5.7), (6, 6.1), (8, 6.8)),
    *((10, 7.4), (15, 8.5), (20, 9.3), (30, 10.4), (50, 11.9)),
)


class Within(NamedTuple):
    """The spread between runs that the test cases of a run explain: the `variance` of a run's value.

    It weighs as much as `weight` differences between runs; `factor` replaces the factor of the spread. It is not used
    if runs differ far more than their cases explain.
    """

    variance: float
    weight: float
    factor: float

    def explains(self, observed: float) -> bool:
        """Return whether this explains the variance observed between runs."""
        return observed <= EXPLAINED * self.variance


class SpreadRule(NamedTuple):
    """How to compute the spread between runs from their values.

    The variance is multiplied by `factor` minus `early` divided by the number of differences between runs. Before that,
    `least` is added, for values that rarely differ.
    """

    factor: float
    least: float = 0.0
    within: Within | None = None
    early: float = 0.0

    def variance(self, squares: float, degrees: float) -> float:
        """Return the variance of z if so many differences between runs (`degrees`) have this sum of squares."""
        observed, within, less = squares / degrees, self.within, self.early / degrees
        if within is None or not within.explains(observed):
            return (self.factor - less) * (observed + self.least)
        weighed = (squares + within.weight * within.variance) / (degrees + within.weight)
        return (within.factor - less) * (weighed + self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The later runs: their `values`, the `sums` of their shortfalls, and the `level` above which a sum alarms.

    `reference` is the mean of the reference.
    """

    reference: float
    values: tuple[float, ...]
    sums: tuple[float, ...]
    level: float

    @property
    def since(self) -> int:
        """The index of the run with which the last rise began; of the last run if the sum is not rising."""
        zeros = (place for place in range(len(self.sums) - 1, -1, -1) if self.sums[place] <= 0.0)
        return min(next(zeros, -1) + 1, len(self.sums) - 1)

    @property
    def risen(self) -> tuple[float, ...]:
        """The values since the last rise began."""
        return self.values[self.since :]

    @property
    def mean(self) -> float:
        """The mean of the values since the last rise began."""
        return math.fsum(self.risen) / len(self.risen)


def chart_of(
    reference: Sequence[float], later: Sequence[float], *, falls: bool, spread: SpreadRule, level: float
) -> Chart:
    """Return the chart of `later` runs, the oldest first, compared with the runs of the `reference`.

    `falls`: lower values are worse. There is at least one later value, and at least two of the reference.
    """
    mean = _mean(reference)
    squares, degrees = math.fsum((run_value - mean) ** 2 for run_value in reference), len(reference) - 1
    sums: list[float] = []
    for place, value in enumerate(later):
        if place:
            half = (value - later[place - 1]) ** 2 / 2.0  # the mean of this is the variance
            squares += min(half, ODD * spread.variance(squares, degrees) / spread.factor)
            degrees += 1
        variance = spread.variance(squares, degrees) * (1.0 + 1.0 / len(reference))
        z = _step(mean - value if falls else value - mean, variance, max(abs(mean), abs(value)))
        before = sums[-1] if sums else 0.0
        sums.append(min(CAP * level, max(0.0, before + z - ALLOWANCE)))
    return Chart(reference=mean, values=tuple(later), sums=tuple(sums), level=level)


def rate_chart(
    cases: Sequence[str], reference: Sequence[Cases], later: Sequence[Cases], *, falls: bool, level: float
) -> Chart:
    """Return the chart of a rate over test cases; each run has most of them."""
    before, after, within = _means(cases, reference, later)
    conversations = sum(len(run[case]) for run in reference for case in cases if case in run) / len(reference)
    spread = SpreadRule(MEAN, RATE_LEAST / conversations**2, Within(within, RATE_WEIGHT, RATE))
    return chart_of(before, after, falls=falls, spread=spread, level=level)


def mean_chart(
    cases: Sequence[str], reference: Sequence[Cases], later: Sequence[Cases], *, falls: bool, level: float
) -> Chart:
    """Return the chart of a mean over test cases; each run has most of them."""
    before, after, within = _means(cases, reference, later)
    spread = SpreadRule(MEAN, within=Within(within, MEAN_WEIGHT, MEAN), early=MEAN_EARLY)
    return chart_of(before, after, falls=falls, spread=spread, level=level)


def percentile_chart(
    n: float, cases: Sequence[str], reference: Sequence[Cases], later: Sequence[Cases], *, falls: bool, level: float
) -> Chart:
    """Return the chart of the `n`-th percentile over test cases; each run has most of them."""
    before, after = (
        [statistics.even_percentile([run[case] for case in cases if case in run], n) for run in runs]
        for runs in (reference, later)
    )
    return chart_of(before, after, falls=falls, spread=SpreadRule(PERCENTILE), level=level)


def level_for(charts: int) -> float:
    """Return the level for so many charts: together, they alarm no more often than a single one does."""
    charts = max(charts, 1)
    pairs = pairwise(LEVELS)
    (few, low), (many, high) = next((pair for pair in pairs if charts <= pair[1][0]), LEVELS[-2:])
    return low + (high - low) * math.log(charts / few) / math.log(many / few)


def _step(shortfall: float, variance: float, size: float) -> float:
    """Return z, a shortfall in standard deviations; 0 for one that rounding explains."""
    if abs(shortfall) <= ROUNDING * size:
        return 0.0
    deviation = math.sqrt(variance)
    if abs(shortfall) >= LONGEST_STEP * deviation:
        return math.copysign(LONGEST_STEP, shortfall)
    return shortfall / deviation


def _means(
    cases: Sequence[str], reference: Sequence[Cases], later: Sequence[Cases]
) -> tuple[list[float], list[float], float]:
    """Return the means of the reference's runs and of later ones, and the variance of a run's mean within cases."""
    by_case = {case: [_mean(run[case]) for run in reference if case in run] for case in cases}
    means = {case: _mean(values) for case, values in by_case.items()}
    mean = _mean([*means.values()])
    before, after = ([mean + _deviation(run, means) for run in runs] for runs in (reference, later))
    within = math.fsum(statistics.stdev(sorted(values)) ** 2 for values in by_case.values()) / len(cases) ** 2
    return before, after, within


def _deviation(run: Cases, means: Mapping[str, float]) -> float:
    """Return by how much the test cases of a run are above their means in the reference, on average."""
    return _mean([_mean(run[case]) - mean for case, mean in means.items() if case in run])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
