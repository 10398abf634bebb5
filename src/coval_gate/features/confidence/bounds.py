"""Distributions, sums of many numbers, and confidence bounds for what one run measured. Pure.

The same data give the same bounds, whatever their order. The standard library has only the normal distribution; NumPy
and SciPy would triple the image and the start. The distributions are accurate to a billionth or better. Numbers ascend
unless a function states another, each at most LARGEST_VALUE either way.

The unit is the test case. Its conversations (iterations) are alike, so that twenty conversations of two cases show less
than one conversation of each of twenty cases. Each bound has the given confidence by itself: "at least 86 %" is
wrong in at most 5 % of runs at 95 %. A gate makes one such claim at a time, so the bounds are one-sided. Every
confidence is a share that `inputs.fields` allows: at less, Hall's bounds of a mean may lie on the wrong side of it. Why
these methods and no others: `docs/statistics.md`.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

from coval_gate.gate.statistics import FEWEST_CASES, FEWEST_FOR_MEAN, POWER, Hits, Values

ENOUGH_EQUAL: Final = 30  # cases; fewer may all be equal by chance
MOST_PLANNED: Final = 100_000  # conversations that a plan considers
FLOAT_ERROR: Final = 1e-13  # share of a value: above the error of sums of binary floats, below any real spread
normal_quantile: Final = NormalDist().inv_cdf  # of a standard normal variable
SHORTFALL: Final = normal_quantile(POWER)  # standard errors by which one in five runs falls short
_TINY: Final = 1e-300  # replaces a zero divisor in a continued fraction
_ROUNDS: Final = 10_000  # of a continued fraction, which takes about sqrt(max(a, b)) of them
_PRECISION: Final = 1e-15  # relative; a series stops there


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the probability that a beta variable with the shapes `a` and `b`, both above 0, is at most `x`.

    This is the regularized incomplete beta function I_x(a, b), from its continued fraction (NIST Digital Library of
    Mathematical Functions, 8.17.22) by Lentz's method (Applied Optics 15, 1976).
    """
    if not 0.0 < x < 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast below this point; above it, mirror the variable
        return 1.0 - min(1.0, _front(1.0 - x, b, a) / b * _fraction(1.0 - x, b, a))
    return min(1.0, _front(x, a, b) / a * _fraction(x, a, b))


def beta_quantile(p: float, a: float, b: float) -> float:
    """Newton's method, kept inside a bracket that each step narrows; 0 <= p <= 1, both shapes above 0."""
    if not 0.0 < p < 1.0:
        return float(p >= 1.0)
    low, x, high = 0.0, a / (a + b), 1.0
    nearer = x + normal_quantile(p) * math.sqrt(x * (1.0 - x) / (a + b + 1.0))
    x = nearer if 0.0 < nearer < 1.0 else x
    for _ in range(200):
        error = beta_cdf(x, a, b) - p
        low, high = (x, high) if error < 0.0 else (low, x)
        density = _front(x, a, b) / (x * (1.0 - x)) if 0.0 < x < 1.0 else 0.0
        step = error / density if density > 0.0 else math.inf
        following = x - step
        if not low < following < high:
            following = (low + high) / 2.0
        if abs(following - x) <= FLOAT_ERROR * x:  # the next step would change far less
            return following
        x = following
    return x


def beta_binomial(count: int, a: float, b: float) -> Iterator[float]:
    """Yield the chance of each number of hits, from 0 to `count`, if their rate is distributed like Beta(a, b)."""
    chance = math.exp(math.lgamma(b + count) - math.lgamma(b) + math.lgamma(a + b) - math.lgamma(a + b + count))
    for hits in range(count + 1):
        yield chance
        chance *= (count - hits) / (hits + 1) * (a + hits) / (b + count - hits - 1)


@lru_cache(maxsize=256)  # the thresholds of a step need the same few again and again
def t_quantile(p: float, degrees: float) -> float:
    """Return it for 0 < p < 1, degrees >= 1: degrees / (degrees + t²) is beta with the shapes degrees/2 and 1/2."""
    rest = beta_quantile(2.0 * min(p, 1.0 - p), degrees / 2.0, 0.5)
    return math.copysign(math.sqrt(degrees * (1.0 - rest) / rest), p - 0.5)


def _front(x: float, a: float, b: float) -> float:
    """Return x^a (1 - x)^b / B(a, b)."""
    return math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _ROUNDS):
        before = value
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _not_zero(1.0 + numerator * d)
            c = _not_zero(1.0 + numerator / c)
            value *= c * d
        if abs(value - before) <= _PRECISION * abs(value):
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


class Bounds(NamedTuple):
    """At least `lower`, and at most `upper`, each with the requested confidence; an infinite bound claims nothing."""

    lower: float
    upper: float

    def less(self, number: float) -> "Bounds":
        return Bounds(self.lower - number, self.upper - number)


NOTHING: Final = Bounds(-math.inf, math.inf)


class CaseRate(NamedTuple):
    """A share of conversations, and its `variance` between the test cases.

    It is worth `least` independent conversations if each case always behaves alike, `most` if all are independent.
    """

    share: float
    variance: float
    cases: int
    least: float
    most: float


def rate_bounds(cases: Sequence[Hits], confidence: float) -> Bounds:
    """Return bounds on a share, from 0 to 1, in which each conversation weighs the same; none for fewer than two cases.

    A miss more never raises a bound.
    """
    if len(cases) < FEWEST_CASES:
        return NOTHING
    misses = [Hits(case.size - case.hits, case.size) for case in cases]
    return Bounds(_least(cases, confidence), 1.0 - _least(misses, confidence))


def _least(cases: Sequence[Hits], confidence: float) -> float:
    """Return the lower bound: the least one of this run and of those with some misses fewer.

    A few cases estimate badly how alike conversations are, and a further miss may make them seem less alike.
    """
    kinds = Counter(cases)
    least, beyond = lower_bound(pooled_rate(kinds), confidence), -math.log(1.0 - confidence)
    for more in range(1, sum(case.size - case.hits for case in cases)):
        rate = pooled_rate(kinds, more)
        divergence, effective = _divergence(rate.share, least), effective_size(rate, confidence)
        if rate.least * divergence > beyond:  # nor do fewer misses lead to a lower one
            break
        shapes = rate.share * effective, effective - rate.share * effective + 1.0
        if effective * divergence <= beyond and beta_cdf(least, *shapes) > 1.0 - confidence:
            least = min(least, beta_quantile(1.0 - confidence, *shapes))
    return least


def _divergence(share: float, other: float) -> float:
    """Return Kullback and Leibler's divergence of a share from a lower one; 0 if it is not lower.

    If `other` is the truth, n conversations reach `share` with at most e^(-n x divergence), by Chernoff's bound.
    """
    if not 0.0 < other < share:
        return 0.0 if other >= share else math.inf
    missed = (1.0 - share) * math.log((1.0 - share) / (1.0 - other)) if share < 1.0 else 0.0
    return share * math.log(share / other) + missed


def bounds_of(rate: CaseRate, confidence: float) -> Bounds:
    """Return bounds on a share, from 0 to 1, of at least two test cases."""
    return Bounds(lower_bound(rate, confidence), 1.0 - lower_bound(rate._replace(share=1.0 - rate.share), confidence))


def lower_bound(rate: CaseRate, confidence: float) -> float:
    """Return a lower bound on a share, from 0 to 1, of at least two test cases.

    Clopper and Pearson's exact interval (Biometrika 26, 1934) on the effective sample size of Korn and Graubard (Survey
    Methodology 24, 1998). It is exact for one conversation a case. No bound claims more than that of a run in which all
    conversations agree: nothing shows how its cases differ, so its sample size is the number of cases.
    """
    size, cases = effective_size(rate, confidence), float(rate.cases)
    return min(_exact_lower(rate.share * size, size, confidence), _exact_lower(cases, cases, confidence))


def exact_bounds(hits: float, size: float, confidence: float) -> Bounds:
    """Return Clopper and Pearson's bounds on a share, if there are `hits` among `size` independent conversations."""
    return Bounds(_exact_lower(hits, size, confidence), 1.0 - _exact_lower(size - hits, size, confidence))


@lru_cache(maxsize=4096)  # a search for a percentile's bounds counts the same hits again and again
def _exact_lower(hits: float, size: float, confidence: float) -> float:
    return beta_quantile(1.0 - confidence, hits, size - hits + 1.0) if hits > 0.0 else 0.0


def needed(share: float, misses: int, confidence: float) -> int | None:
    """Return how many conversations show that a rate is at least `share`, if `misses` of them are misses.

    None if more than MOST_PLANNED are. Percentiles are rates, too: `p(95) < 1.5` is a rate of at least 95 % below 1.5.
    """
    counts = range(max(FEWEST_CASES, misses + 1), MOST_PLANNED + 1)
    place = bisect_left(counts, True, key=lambda count: exact_bounds(count - misses, count, confidence).lower >= share)
    return counts[place] if place < len(counts) else None


def hits_of(case: Collection[str], hits: Collection[str]) -> Hits:
    return Hits(sum(simulation in hits for simulation in case), len(case))


def pooled_rate(kinds: Counter[Hits], more: int = 0) -> CaseRate:
    """Weigh each conversation the same. `least`: for cases that differ in size, Kish's (Survey Sampling, 1965).

    With `more` hits, the variance is one that no choice of them exceeds: it is convex in the hits of each case, so that
    its chord from there to all conversations lies above it. A case with fewer hits has a chord above that one.
    """
    count, conversations = kinds.total(), sum(number * case.size for case, number in kinds.items())
    rate = (sum(number * case.hits for case, number in kinds.items()) + more) / conversations
    squares = [number * (case.hits - rate * case.size) ** 2 for case, number in kinds.items()]
    slopes = {case: case.hits + case.size - 2.0 * rate * case.size for case in kinds if more}
    for case in sorted(slopes, key=lambda case: (slopes[case], case), reverse=True):
        hits = min(more, kinds[case] * (case.size - case.hits))
        squares.append(hits * slopes[case])
        more -= hits
    # Exact: the order must not matter.
    variance = math.fsum(squares) / conversations**2 * count / (count - 1)
    least = conversations**2 / sum(number * case.size**2 for case, number in kinds.items())
    return CaseRate(rate, variance, count, least, float(conversations))


def even_rate(cases: Sequence[Hits]) -> CaseRate:
    """Return the rate of at least two cases, in which each case weighs the same: the mean of their rates."""
    if len({case.size for case in cases}) == 1:
        return pooled_rate(Counter(cases))
    count = len(cases)
    rates = [case.share for case in cases]
    rate = math.fsum(rates) / count
    variance = math.fsum((case_rate - rate) ** 2 for case_rate in rates) / (count * (count - 1))
    return CaseRate(rate, variance, count, float(count), count**2 / math.fsum(1.0 / case.size for case in cases))


def effective_size(rate: CaseRate, confidence: float) -> float:
    if not 0.0 < rate.share < 1.0:
        return float(rate.cases)
    if rate.variance <= FLOAT_ERROR**2:  # the cases are equal, except for rounding, though conversations differ
        return rate.most
    # Few cases estimate their variance badly; Student's t in place of the normal quantile makes up for it.
    doubt = normal_quantile(confidence) / t_quantile(confidence, rate.cases - 1)
    return min(max(rate.share * (1.0 - rate.share) / rate.variance * doubt**2, rate.least), rate.most)


def percentile_bounds(cases: Sequence[Values], n: float, confidence: float) -> Bounds:
    """Return bounds on the `n`-th percentile, 0 to 100, in the values' unit.

    The percentile is at most x if at least n % of all values are, so its bounds follow from bounds on the share of
    values up to x (Woodruff, Journal of the American Statistical Association 47, 1952). With several conversations a
    case, another value, at most a few values away, may be supported as a bound, too.
    """
    if len(cases) < FEWEST_CASES:
        return NOTHING
    ascending = [sorted(case) for case in cases]
    distinct = sorted({value for case in cases for value in case})
    share_below = n / 100.0

    def least(rank: int, *, above: bool) -> float:
        """Return a lower bound on the share of values up to the distinct one at `rank`, -1 for none, or above it."""
        hits = [bisect_right(case, distinct[rank]) if rank >= 0 else 0 for case in ascending]
        return _least(
            [Hits(len(case) - hit if above else hit, len(case)) for hit, case in zip(hits, ascending, strict=True)],
            confidence,
        )

    ranks = range(-1, len(distinct))
    lowest = bisect_left(ranks, True, key=lambda rank: 1.0 - least(rank, above=True) >= share_below)
    highest = bisect_left(ranks, True, key=lambda rank: least(rank, above=False) >= share_below)
    return Bounds(
        distinct[ranks[lowest]] if 0 < lowest < len(ranks) else -math.inf,
        distinct[ranks[highest]] if 0 < highest < len(ranks) else math.inf,
    )


def mean_bounds(cases: Sequence[Values], confidence: float) -> Bounds:
    """Return bounds on the mean of all values, in their unit.

    Student's t over the cases, corrected for skewness (Hall, "On the Removal of Skewness by Transformation", Journal of
    the Royal Statistical Society B 54, 1992), because latencies have long tails. If one call in fifty is ten times
    slower, no interval for a mean has its confidence with up to 100 cases; one for a median or `p(90)` does.
    """
    count = len(cases)
    if count < FEWEST_FOR_MEAN:
        return NOTHING
    centre, scale = pooled_mean(cases), count / sum(map(len, cases))
    # How far each case moves the mean, scaled by the number of cases.
    residuals = [(math.fsum(case) - centre * len(case)) * scale for case in cases]
    error = standard_error(residuals, largest_of(cases))
    if error == 0.0:
        return NOTHING if count < ENOUGH_EQUAL else Bounds(centre, centre)
    skew, reach = _skewness(residuals) / math.sqrt(count), t_quantile(confidence, count - 1)
    return Bounds(centre - _unskewed(reach, skew) * error, centre - _unskewed(-reach, skew) * error)


def pooled_mean(cases: Sequence[Values]) -> float:
    return math.fsum(value for case in cases for value in case) / sum(map(len, cases))


def largest_of(cases: Sequence[Values]) -> float:
    return max(abs(value) for case in cases for value in case)


def standard_error(residuals: Sequence[float], magnitude: float) -> float:
    """Take two or more residuals around 0; return 0 if they may be rounding errors of values of this `magnitude`."""
    count = len(residuals)
    if max(map(abs, residuals)) <= FLOAT_ERROR * magnitude:
        return 0.0
    return math.hypot(*residuals) / math.sqrt(count * (count - 1))


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
