"""The normal, beta and t distributions, and sums of many numbers. Pure; the order of the numbers never matters.

The standard library has only the normal distribution. NumPy and SciPy would triple the image and the start. The
distributions are accurate to a billionth or better. The other functions take one or more numbers, in ascending order
unless they say otherwise, each at most LARGEST either way; the result has the unit of the numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from operator import itemgetter
from statistics import NormalDist
from typing import Final

normal_quantile: Final = NormalDist().inv_cdf  # of a standard normal variable
_TINY: Final = 1e-300  # replaces a zero divisor in a continued fraction
_ROUNDS: Final = 10_000  # of a continued fraction, which takes about sqrt(max(a, b)) of them
_PRECISION: Final = 1e-15  # relative; a series or a search stops there


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the probability that a beta variable with the shapes `a` and `b`, both above 0, is at most `x`.

    This is the regularized incomplete beta function I_x(a, b), from its continued fraction (NIST Digital Library of
    Mathematical Functions, 8.17.22) by Lentz's method (Applied Optics 15, 1976).
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast below this point; above it, mirror the variable
        return 1.0 - _lower_tail(1.0 - x, b, a)
    return _lower_tail(x, a, b)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Newton's method, kept inside a bracket that each step narrows; 0 <= p <= 1, both shapes above 0."""
    low, high = 0.0, 1.0
    if p <= 0.0 or p >= 1.0:
        return high if p >= 1.0 else low
    x = a / (a + b)
    for _ in range(200):
        error = beta_cdf(x, a, b) - p
        low, high = (x, high) if error < 0.0 else (low, x)
        density = _front(x, a, b) / (x * (1.0 - x)) if 0.0 < x < 1.0 else 0.0
        step = error / density if density > 0.0 else math.inf
        following = x - step
        if not low < following < high:
            following = (low + high) / 2.0
        if abs(following - x) <= _PRECISION * x:
            return following
        x = following
    return x


@lru_cache(maxsize=256)  # the thresholds of a step need the same few again and again
def t_quantile(p: float, degrees: float) -> float:
    """Return it for 0 < p < 1, degrees >= 1: degrees / (degrees + t²) is beta with the shapes degrees/2 and 1/2."""
    rest = beta_quantile(2.0 * min(p, 1.0 - p), degrees / 2.0, 0.5)
    return math.copysign(math.sqrt(degrees * (1.0 - rest) / rest), p - 0.5)


def _lower_tail(x: float, a: float, b: float) -> float:
    return min(1.0, _front(x, a, b) / a * _fraction(x, a, b))


def _front(x: float, a: float, b: float) -> float:
    """Return x^a (1 - x)^b / B(a, b)."""
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm)


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function."""
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


def mean(ordered: Sequence[float]) -> float:
    """Round the exact sum once, and stay within the values, so equal values have exactly that mean."""
    return min(max(math.fsum(ordered) / len(ordered), ordered[0]), ordered[-1])


def percentile(ordered: Sequence[float], n: float) -> float:
    """Return the `n`-th percentile, 0 to 100, by linear interpolation between the closest ranks.

    It is at rank `n / 100 * (count - 1)`, counted from 0: definition 7 of Hyndman and Fan, "Sample Quantiles in
    Statistical Packages" (The American Statistician 50, 1996), as in NumPy and k6. It never falls as `n` rises.
    """
    rank = n * (len(ordered) - 1) / 100  # in this order, whole numbers stay exact: 29 of 101 values is rank 29
    below = math.floor(rank)
    low, high = ordered[below], ordered[math.ceil(rank)]
    return low + (high - low) * (rank - below)


def weighted_percentile(ordered: Sequence[tuple[float, float]], n: float) -> float:
    """As `percentile`, but each value is in the middle of its weight (above 0); the smallest is 0, the largest 100."""
    ends: list[float] = list(accumulate(map(itemgetter(1), ordered)))

    def middle(place: int) -> float:
        return ends[place] - ordered[place][1] / 2

    last = len(ordered) - 1
    position = middle(0) + (middle(last) - middle(0)) * n / 100
    below = bisect_right(range(last + 1), position, key=middle) - 1
    if n == 100 or below == last:
        return ordered[last][0]
    low, high = ordered[below][0], ordered[below + 1][0]
    return low + (high - low) * (position - middle(below)) / (middle(below + 1) - middle(below))


def even_mean(cases: Sequence[Sequence[float]]) -> float:
    """Return the mean of values, with the same weight for each test case; the values are in any order."""
    return mean(sorted(math.fsum(values) / len(values) for values in cases))


def even_percentile(cases: Sequence[Sequence[float]], n: float) -> float:
    """Return the `n`-th percentile, with the same weight for each test case; the values are in any order."""
    if len(set(map(len, cases))) == 1:
        return percentile(sorted(chain.from_iterable(cases)), n)
    return weighted_percentile(sorted((value, 1.0 / len(values)) for values in cases for value in values), n)


def stdev(ordered: Sequence[float]) -> float:
    """Return the sample standard deviation (divisor `count - 1`); 0.0 for one value.

    The standard library's takes 20 times as long. The corrected two-pass algorithm of Chan, Golub and LeVeque,
    "Algorithms for Computing the Sample Variance" (The American Statistician 37, 1983), corrects for the rounding of
    the mean, which matters for nearly equal values.
    """
    count, centre = len(ordered), mean(ordered)
    if count == 1:
        return 0.0
    deviations = [value - centre for value in ordered]
    squares = math.fsum(deviation * deviation for deviation in deviations) - math.fsum(deviations) ** 2 / count
    return math.sqrt(max(squares, 0.0) / (count - 1))
