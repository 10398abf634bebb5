"""Confidence bounds for what one run measured. Pure, and without resampling: the same data give the same bounds.

The unit is the test case. Its conversations (iterations) are alike, so that twenty conversations of two cases say less
than one conversation of each of twenty cases. The claims are about callers like these cases.

Each bound holds with the given confidence by itself: "at least 86 %" is wrong in at most 5 % of runs at 95 %. A gate
makes one such claim at a time, so the bounds are one-sided. Every confidence is a share that `inputs.fields` allows: at
less, Hall's bounds of a mean may lie on the wrong side of it. Why these methods and no others: `docs/statistics.md`.

As counted, 9 of 10 meets `>= 90%`; but agents that solve 70 % do that well in one of seven runs. With a confidence, a
threshold passes only if the whole interval meets it, and fails only if no part of it does.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.gate.measure import Measure
from coval_gate.gate.statistics import beta_quantile, normal_quantile, t_quantile
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Threshold

Values = Sequence[float]  # of one test case, one for each of its conversations

FEWEST_CASES: Final = 2  # cases with values; one case cannot show how cases differ
ENOUGH_EQUAL: Final = 30  # cases; fewer may all be equal by chance
MOST: Final = 100_000  # conversations that a plan considers
ROUNDING: Final = 1e-13  # share of a value: above the error of sums of binary floats, below any real spread


class Bounds(NamedTuple):
    """At least `lower`, and at most `upper`, each with the requested confidence; an infinite bound claims nothing."""

    lower: float
    upper: float

    def less(self, number: float) -> Bounds:
        return Bounds(self.lower - number, self.upper - number)


class Hits(NamedTuple):
    """One test case: `hits` of its `size` conversations are hits."""

    hits: int
    size: int


NOTHING: Final = Bounds(-math.inf, math.inf)


class CaseRate(NamedTuple):
    """A share of conversations, and its `variance` between the test cases.

    It is worth `least` independent conversations if each case always behaves alike, `most` if all of them are
    independent.
    """

    share: float
    variance: float
    cases: int
    least: float
    most: float


def rate_bounds(cases: Sequence[Hits], confidence: float) -> Bounds:
    """Return bounds on a share, from 0 to 1, of conversations. Each case has at least one."""
    return bounds_of(pooled_rate(cases), confidence) if len(cases) >= FEWEST_CASES else NOTHING


def bounds_of(rate: CaseRate, confidence: float) -> Bounds:
    """Return bounds on a share, from 0 to 1, of at least two test cases.

    Clopper and Pearson's exact interval (Biometrika 26, 1934) on the effective sample size of Korn and Graubard (Survey
    Methodology 24, 1998). It is exact for one conversation a case. If all conversations agree, nothing shows how cases
    differ, so the sample size is the number of cases. At 99 % and above, with 100 cases of several conversations, a
    bound is wrong twice as often as requested.
    """
    size = effective_size(rate, confidence)
    return exact_bounds(rate.share * size, size, confidence)


@lru_cache(maxsize=4096)  # a search for a percentile's bounds counts the same hits again and again
def exact_bounds(hits: float, size: float, confidence: float) -> Bounds:
    """Return Clopper and Pearson's bounds on a share, if there are `hits` among `size` independent conversations."""
    return Bounds(
        beta_quantile(1.0 - confidence, hits, size - hits + 1.0) if hits > 0.0 else 0.0,
        beta_quantile(confidence, hits + 1.0, size - hits) if hits < size else 1.0,
    )


def needed(share: float, misses: int, confidence: float) -> int | None:
    """Return how many conversations show that a rate is at least `share`, if `misses` of them are misses.

    None if more than MOST are needed. Percentiles are rates, too: `p(95) < 1.5` is a rate of at least 95 % below 1.5.
    """
    counts = range(max(FEWEST_CASES, misses + 1), MOST + 1)
    place = bisect_left(counts, True, key=lambda count: exact_bounds(count - misses, count, confidence).lower >= share)
    return counts[place] if place < len(counts) else None


def hits_of(case: Collection[str], hits: Collection[str]) -> Hits:
    return Hits(sum(simulation in hits for simulation in case), len(case))


def share(cases: Sequence[Hits]) -> float:
    return sum(case.hits for case in cases) / sum(case.size for case in cases)


def pooled_rate(cases: Sequence[Hits]) -> CaseRate:
    """Weigh each conversation of at least two cases the same.

    Cases that always behave alike are worth their number or, if they differ in size, Kish's effective size (Survey
    Sampling, 1965).
    """
    count, conversations = len(cases), sum(case.size for case in cases)
    rate = share(cases)
    squares = math.fsum((case.hits - rate * case.size) ** 2 for case in cases)  # exact: the order must not matter
    variance = squares / conversations**2 * count / (count - 1)
    least = conversations**2 / sum(case.size**2 for case in cases)
    return CaseRate(rate, variance, count, least, float(conversations))


def even_rate(cases: Sequence[Hits]) -> CaseRate:
    """Return the rate of at least two cases, in which each case weighs the same: the mean of their rates."""
    if len({case.size for case in cases}) == 1:
        return pooled_rate(cases)
    count = len(cases)
    rates = [case.hits / case.size for case in cases]
    rate = math.fsum(rates) / count
    variance = math.fsum((case_rate - rate) ** 2 for case_rate in rates) / (count * (count - 1))
    return CaseRate(rate, variance, count, float(count), count**2 / math.fsum(1.0 / case.size for case in cases))


def effective_size(rate: CaseRate, confidence: float) -> float:
    if not 0.0 < rate.share < 1.0 or rate.variance <= ROUNDING**2:  # the cases are equal, except for rounding
        return float(rate.cases)
    # Few cases estimate their variance badly; Student's t in place of the normal quantile makes up for it.
    doubt = normal_quantile(confidence) / t_quantile(confidence, rate.cases - 1)
    return min(max(rate.share * (1.0 - rate.share) / rate.variance * doubt**2, rate.least), rate.most)


def percentile_bounds(cases: Sequence[Values], n: float, confidence: float) -> Bounds:
    """Return bounds on the `n`-th percentile, 0 to 100, in the values' unit.

    The percentile is at most x if at least n % of all values are, so its bounds follow from bounds on the share of
    values up to x (Woodruff, Journal of the American Statistical Association 47, 1952). With several conversations a
    case, another value, at most a few values away, may be supported as a bound, too.
    """
    ascending = [sorted(case) for case in cases]
    distinct = sorted({value for case in cases for value in case})
    share_below = n / 100.0

    def up_to(rank: int) -> Bounds:
        """Return bounds on the share of values up to the distinct one at `rank`, counted from 0; -1: up to none."""
        hits = [bisect_right(case, distinct[rank]) if rank >= 0 else 0 for case in ascending]
        return rate_bounds(list(map(Hits, hits, map(len, ascending))), confidence)

    ranks = range(-1, len(distinct))
    lowest = bisect_left(ranks, True, key=lambda rank: up_to(rank).upper >= share_below)
    highest = bisect_left(ranks, True, key=lambda rank: up_to(rank).lower >= share_below)
    return Bounds(
        distinct[ranks[lowest]] if 0 < lowest < len(ranks) else -math.inf,
        distinct[ranks[highest]] if 0 < highest < len(ranks) else math.inf,
    )


def mean_bounds(cases: Sequence[Values], confidence: float) -> Bounds:
    """Return bounds on the mean of all values, in their unit.

    Student's t over the cases, corrected for skewness (Hall, "On the Removal of Skewness by Transformation", Journal of
    the Royal Statistical Society B 54, 1992), because latencies have long tails. If one call in fifty is ten times
    slower, no interval for a mean holds with up to 100 cases; one for a median or `p(90)` does.
    """
    count = len(cases)
    if count < FEWEST_CASES:
        return NOTHING
    centre, scale = mean(cases), count / sum(map(len, cases))
    # How far each case moves the mean, scaled by the number of cases.
    residuals = [(math.fsum(case) - centre * len(case)) * scale for case in cases]
    error = standard_error(residuals, largest_of(cases))
    if all_equal_by_chance(count, error):
        return NOTHING
    if error == 0.0:
        return Bounds(centre, centre)
    skew = _skewness(residuals) / math.sqrt(count)
    reach = t_quantile(confidence, count - 1)
    return Bounds(centre - _unskewed(reach, skew) * error, centre - _unskewed(-reach, skew) * error)


def mean(cases: Sequence[Values]) -> float:
    return math.fsum(value for case in cases for value in case) / sum(map(len, cases))


def largest_of(cases: Sequence[Values]) -> float:
    return max(abs(value) for case in cases for value in case)


def standard_error(residuals: Sequence[float], magnitude: float) -> float:
    """Take two or more residuals around 0; return 0 if they may be rounding errors of values of this `magnitude`."""
    count = len(residuals)
    if max(map(abs, residuals)) <= ROUNDING * magnitude:
        return 0.0
    return math.hypot(*residuals) / math.sqrt(count * (count - 1))


def all_equal_by_chance(count: int, error: float) -> bool:
    """Return whether `count` cases have no spread, but are too few to show that there is none."""
    return error == 0.0 and count < ENOUGH_EQUAL


def _skewness(residuals: Sequence[float]) -> float:
    """Return the sample skewness G1 (the adjusted one that spreadsheets show); 0.0 for fewer than three residuals."""
    count = len(residuals)
    if count < 3:
        return 0.0
    largest = max(abs(residual) for residual in residuals)
    scaled = [residual / largest for residual in residuals]  # their cubes must not overflow
    second = math.fsum(value**2 for value in scaled) / count
    third = math.fsum(value**3 for value in scaled) / count
    return third / math.sqrt(second) ** 3 * math.sqrt(count * (count - 1)) / (count - 2)


def _unskewed(reach: float, skew: float) -> float:
    """Return Hall's transformed quantile: how many standard errors the bound lies below the mean."""
    if abs(skew) < 1e-9:
        return reach
    return 3.0 / skew * (float(math.cbrt(1.0 + skew * (reach - skew / 6.0))) - 1.0)


def verdict(threshold: Threshold, measure: Measure) -> Verdict:
    """Return the verdict of a measure on a threshold; a conclusive one never contradicts the value as counted."""
    holds, interval = threshold.holds(measure.value), measure.interval
    if interval is None:
        return Verdict.PASSED if holds else Verdict.FAILED
    wants_less = threshold.wants_less
    best, worst = (interval.lower, interval.upper) if wants_less else (interval.upper, interval.lower)
    if holds and threshold.holds(worst):
        return Verdict.PASSED
    if not holds and not threshold.holds(best):
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE
