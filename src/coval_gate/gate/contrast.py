"""Confidence bounds for the difference between a run and its baseline, over the test cases of both. Pure.

Each bound is one-sided, as in `confidence`. Cases are paired, because both runs find the same cases hard. Each case
weighs the same, whatever its number of conversations. Otherwise, a case in three runs of a baseline would weigh three
times as much as a new one, and a test set that grows by hard cases would look like a regression (Simpson's paradox).
Every function compares the run with `factor` times the baseline, which makes `baseline * 1.1` as exact as `baseline`.
Over all factors, that is Fieller's interval for a ratio (Journal of the Royal Statistical Society B 16, 1954).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.gate.confidence import (
    FEWEST_CASES,
    NOTHING,
    ROUNDING,
    Bounds,
    CaseRate,
    Hits,
    Values,
    all_equal_by_chance,
    bounds_of,
    even_rate,
    largest_of,
    standard_error,
)
from coval_gate.gate.statistics import percentile, t_quantile, weighted_percentile

OPPOSITE: Final = 0.5  # cases that are perfect now and hopeless before, and as many of the reverse
UNEVEN: Final = 0.1  # of a case more, for each case with another number of conversations
MOST_UNEVEN: Final = 1.0


class HitPair(NamedTuple):
    now: Hits
    base: Hits


class ValuePair(NamedTuple):
    now: Values
    base: Values


class PairedRates(NamedTuple):
    """The rates of at least two cases, now and in the baseline, and the correlation of the cases' own rates."""

    now: CaseRate
    base: CaseRate
    correlation: float

    @classmethod
    def of(cls, pairs: Sequence[HitPair]) -> PairedRates:
        now, base = even_rate([pair.now for pair in pairs]), even_rate([pair.base for pair in pairs])
        return cls(now, base, _correlation(pairs))

    def difference(self, confidence: float, *, factor: float = 1.0) -> Bounds:
        """Return bounds on the share now minus `factor` times the baseline's.

        The bounds of both rates, squared and added (Newcombe, Statistics in Medicine 17, 1998, method 10; Zou and
        Donner, Statistics in Medicine 27, 2008).
        """
        now, base = bounds_of(self.now, confidence), bounds_of(self.base, confidence)
        difference = self.now.share - factor * self.base.share
        down = self._reach(self.now.share - now.lower, factor * (base.upper - self.base.share))
        up = self._reach(now.upper - self.now.share, factor * (self.base.share - base.lower))
        return Bounds(difference - down, difference + up)

    def _reach(self, arm: float, other: float) -> float:
        return math.sqrt(max(arm * arm - 2.0 * self.correlation * arm * other + other * other, 0.0))


class PairedMeans(NamedTuple):
    """The means of at least two cases' means, now and in the baseline, and each case's residuals from both."""

    now: float
    base: float
    residuals: Sequence[tuple[float, float]]
    largest: float  # magnitude of all values

    @classmethod
    def of(cls, pairs: Sequence[ValuePair]) -> PairedMeans:
        now, base = _means([pair.now for pair in pairs]), _means([pair.base for pair in pairs])
        centre, earlier = math.fsum(now) / len(now), math.fsum(base) / len(base)
        residuals = [(mine - centre, theirs - earlier) for mine, theirs in zip(now, base, strict=True)]
        largest = largest_of([values for pair in pairs for values in pair])
        return cls(centre, earlier, residuals, largest)

    def difference(self, confidence: float, *, factor: float = 1.0) -> Bounds:
        """Use Student's t over the paired cases. Hall's correction would make the bounds of a difference worse."""
        count, error = len(self.residuals), self.error(factor)
        if all_equal_by_chance(count, error) or not math.isfinite(factor * self.base + error):
            return NOTHING
        difference, reach = self.now - factor * self.base, t_quantile(confidence, count - 1) * error
        return Bounds(difference - reach, difference + reach)

    def error(self, factor: float = 1.0, *, scale: float = 1.0) -> float:
        """Return the standard error of the mean now times `scale` minus `factor` times the baseline's."""
        return standard_error([scale * mine - factor * theirs for mine, theirs in self.residuals], self.largest)


class Exceedances:
    """How many values of each test case lie above a limit. They are sorted once, for any number of limits."""

    def __init__(self, pairs: Sequence[ValuePair]) -> None:
        self._now = [sorted(pair.now) for pair in pairs]
        self._base = [sorted(pair.base) for pair in pairs]
        self._is_even = all(len(set(map(len, side))) <= 1 for side in (self._now, self._base))

    def difference(self, n: float, confidence: float, *, factor: float = 1.0, shift: float = 0.0) -> Bounds:
        """Return bounds on the share of values above a common limit now, minus the baseline's share.

        The limit is the `n`-th percentile of all values together, the baseline's times `factor` plus `shift`. If the
        share is larger, so is the percentile (Mood's test, "On the Asymptotic Efficiency of Certain Nonparametric
        Two-Sample Tests", Annals of Mathematical Statistics 25, 1954; here for paired cases). There are no bounds if
        less than one value is expected beyond the percentile.
        """
        rates = self.rates(n, factor=factor, shift=shift)
        return rates.difference(confidence) if rates else NOTHING

    def rates(self, n: float, *, factor: float = 1.0, shift: float = 0.0) -> PairedRates | None:
        """Return the shares of values above the limit; None if there are too few values."""
        now, base = self._values
        tail = min(n, 100.0 - n) / 100.0
        if len(self._now) < FEWEST_CASES or min(len(now), len(base)) * tail < 1.0 - 1e-9:
            return None
        limit = self._percentile(n, factor, shift)
        limit += ROUNDING * max(abs(limit), abs(shift))  # a value that differs by rounding is not above
        above = map(_above, self._now, [limit] * len(self._now))
        above_base = map(_above, self._base, [(limit - shift) / factor] * len(self._base))
        return PairedRates.of(list(map(HitPair, above, above_base)))

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest difference between a value now and one of the baseline."""
        now, base = self._values
        return now[0] - base[-1], now[-1] - base[0]

    def _percentile(self, n: float, factor: float, shift: float) -> float:
        """Return the percentile of all values together; within a run, cases weigh the same."""
        if self._is_even:
            now, base = self._values
            return percentile(sorted(now + [value * factor + shift for value in base]), n)
        weighted, weighted_base = self._weighted
        moved = [(value * factor + shift, weight) for value, weight in weighted_base]
        return weighted_percentile(sorted(weighted + moved), n)

    @cached_property
    def _weighted(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Both runs' values with their weights, whose average is 1 in each run."""
        return _weighted(self._now), _weighted(self._base)

    @cached_property
    def _values(self) -> tuple[list[float], list[float]]:
        return sorted(chain.from_iterable(self._now)), sorted(chain.from_iterable(self._base))


def _weighted(cases: Sequence[Values]) -> list[tuple[float, float]]:
    usual = sum(map(len, cases)) / len(cases)
    return sorted((value, usual / len(values)) for values in cases for value in values)


def _means(cases: Sequence[Values]) -> list[float]:
    return [math.fsum(values) / len(values) for values in cases]


def _above(ascending: Values, limit: float) -> Hits:
    return Hits(len(ascending) - bisect_right(ascending, limit), len(ascending))


def _correlation(pairs: Sequence[HitPair]) -> float:
    """Return the correlation of the cases' rates; never below 0.

    In few cases, agents that always behave alike look perfectly correlated. So half a case that is perfect now and
    hopeless before is added, and half a case of the reverse: more of both if cases differ in size, as in a growing test
    set, because they then differ in how certain they are, which looks like correlation.
    """
    weighted = [(1.0, pair.now.hits / pair.now.size, pair.base.hits / pair.base.size) for pair in pairs]
    ((_, usual),) = Counter((pair.now.size, pair.base.size) for pair in pairs).most_common(1)
    opposite = OPPOSITE + min(MOST_UNEVEN, UNEVEN * (len(pairs) - usual))
    weighted += [(opposite, 1.0, 0.0), (opposite, 0.0, 1.0)]
    total = math.fsum(weight for weight, _, _ in weighted)
    x = math.fsum(weight * now for weight, now, _ in weighted) / total
    y = math.fsum(weight * base for weight, _, base in weighted) / total
    xy = math.fsum(weight * (now - x) * (base - y) for weight, now, base in weighted)
    xx = math.fsum(weight * (now - x) ** 2 for weight, now, _ in weighted)
    yy = math.fsum(weight * (base - y) ** 2 for weight, _, base in weighted)
    return max(0.0, xy / math.sqrt(xx * yy))
