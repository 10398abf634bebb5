"""Confidence bounds for the difference between a run and its baseline, over the test cases that both have. Pure.

Each bound is one-sided, as in `confidence`. Cases are paired, because both runs find the same case hard. Every function
compares what is measured now with `factor` times the baseline, so that `baseline * 1.1` is as exact as `baseline`. Over
all factors, that is Fieller's interval for a ratio (Journal of the Royal Statistical Society B 16, 1954).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from coval_gate.judge.confidence import (
    FEWEST_CASES,
    NOTHING,
    ROUNDING,
    Bounds,
    Hits,
    all_equal_by_chance,
    case_residuals,
    largest_of,
    mean,
    rate_bounds,
    share,
    standard_error,
)
from coval_gate.judge.distributions import t_quantile
from coval_gate.judge.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.confidence import Values


class HitPair(NamedTuple):
    """One test case in both runs."""

    now: Hits
    base: Hits


class ValuePair(NamedTuple):
    """One test case in both runs."""

    now: Values
    base: Values


def rate_difference(pairs: Sequence[HitPair], confidence: float, *, factor: float = 1.0) -> Bounds:
    """Return bounds on the share now minus `factor` times the baseline's.

    The bounds of both rates, squared and added (Newcombe, Statistics in Medicine 17, 1998, method 10; Zou and Donner,
    Statistics in Medicine 27, 2008). Half a case that is perfect now and hopeless before, and half a case that is the
    reverse, keep the correlation honest: agents that always behave alike look perfectly correlated in few cases.
    """
    if len(pairs) < FEWEST_CASES:
        return NOTHING
    now, base = [pair.now for pair in pairs], [pair.base for pair in pairs]
    rate, earlier = share(now), share(base)
    bounds, earlier_bounds = rate_bounds(now, confidence), rate_bounds(base, confidence)
    correlation = _correlation(pairs)
    difference = rate - factor * earlier
    return Bounds(
        difference - _added(rate - bounds.lower, factor * (earlier_bounds.upper - earlier), correlation),
        difference + _added(bounds.upper - rate, factor * (earlier - earlier_bounds.lower), correlation),
    )


def mean_difference(pairs: Sequence[ValuePair], confidence: float, *, factor: float = 1.0) -> Bounds:
    """Return bounds on the mean now minus `factor` times the baseline's, by Student's t over the paired cases.

    Hall's correction, which helps a single mean, makes differences worse.
    """
    count = len(pairs)
    if count < FEWEST_CASES:
        return NOTHING
    now, base = [pair.now for pair in pairs], [pair.base for pair in pairs]
    centre, earlier = mean(now), mean(base)
    both = zip(case_residuals(now, centre), case_residuals(base, earlier), strict=True)
    error = standard_error([mine - factor * theirs for mine, theirs in both], largest_of([*now, *base]))
    if all_equal_by_chance(count, error) or not math.isfinite(factor * earlier + error):
        return NOTHING
    reach = t_quantile(confidence, count - 1) * error
    return Bounds(centre - factor * earlier - reach, centre - factor * earlier + reach)


class Exceedances:
    """How many values of each test case lie above a limit. They are sorted once, for any number of limits."""

    def __init__(self, pairs: Sequence[ValuePair]) -> None:
        self._now = [sorted(pair.now) for pair in pairs]
        self._base = [sorted(pair.base) for pair in pairs]

    def difference(self, n: float, confidence: float, *, factor: float = 1.0, shift: float = 0.0) -> Bounds:
        """Return bounds on how much larger the share of values above a common limit is now than in the baseline.

        The limit is the `n`-th percentile of all values together, the baseline's times `factor` plus `shift`. If the
        share is larger, so is the percentile (Mood's test, "On the Asymptotic Efficiency of Certain Nonparametric
        Two-Sample Tests", Annals of Mathematical Statistics 25, 1954; here for paired cases). With fewer values than
        one is expected to lie beyond the percentile, there are no bounds.
        """
        now, base = self._values
        tail = min(n, 100.0 - n) / 100.0
        if len(self._now) < FEWEST_CASES or min(len(now), len(base)) * tail < 1.0 - 1e-9:
            return NOTHING
        limit = percentile(sorted(now + [value * factor + shift for value in base]), n)
        limit += ROUNDING * max(abs(limit), abs(shift))  # what differs by rounding is not above
        above = map(_above, self._now, [limit] * len(self._now))
        above_base = map(_above, self._base, [(limit - shift) / factor] * len(self._base))
        return rate_difference(list(map(HitPair, above, above_base)), confidence)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most by which a value now can lie above one of the baseline."""
        now, base = self._values
        return now[0] - base[-1], now[-1] - base[0]

    @cached_property
    def _values(self) -> tuple[list[float], list[float]]:
        return sorted(chain.from_iterable(self._now)), sorted(chain.from_iterable(self._base))


def _above(ascending: Values, limit: float) -> Hits:
    return Hits(len(ascending) - bisect_right(ascending, limit), len(ascending))


def _added(arm: float, other: float, correlation: float) -> float:
    return math.sqrt(max(arm * arm - 2.0 * correlation * arm * other + other * other, 0.0))


def _correlation(pairs: Sequence[HitPair]) -> float:
    """Return the correlation of the cases' rates, with the two half cases; never below 0."""
    weighted = [(1.0, pair.now.hits / pair.now.size, pair.base.hits / pair.base.size) for pair in pairs]
    weighted += [(0.5, 1.0, 0.0), (0.5, 0.0, 1.0)]
    total = math.fsum(weight for weight, _, _ in weighted)
    x = math.fsum(weight * now for weight, now, _ in weighted) / total
    y = math.fsum(weight * base for weight, _, base in weighted) / total
    xy = math.fsum(weight * (now - x) * (base - y) for weight, now, base in weighted)
    xx = math.fsum(weight * (now - x) ** 2 for weight, now, _ in weighted)
    yy = math.fsum(weight * (base - y) ** 2 for weight, _, base in weighted)
    return max(0.0, xy / math.sqrt(xx * yy))
