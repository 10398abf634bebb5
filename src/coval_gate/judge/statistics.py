"""Statistics of many numbers. Pure; the order of the numbers never matters.

Every function takes one or more numbers, in ascending order unless it says otherwise, of a magnitude up to LARGEST. The
result is in the unit of the numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def mean(ordered: Sequence[float]) -> float:
    """Return the arithmetic mean: the exact sum, rounded once, over the number of values.

    It never lies outside the values, so equal values have exactly that mean.
    """
    return min(max(math.fsum(ordered) / len(ordered), ordered[0]), ordered[-1])


def percentile(ordered: Sequence[float], n: float) -> float:
    """Return the `n`-th percentile, 0 to 100, by linear interpolation between the closest ranks.

    It is at rank `n / 100 * (count - 1)` of the sorted values, counted from 0: definition 7 of Hyndman and Fan, "Sample
    Quantiles in Statistical Packages" (The American Statistician 50, 1996), which is NumPy's default method and what k6
    computes from exact values. 0 is the smallest value, 100 the largest; the percentile never falls as `n` rises.
    """
    rank = n * (len(ordered) - 1) / 100  # in this order, whole numbers stay exact: 29 of 101 values is rank 29
    below = math.floor(rank)
    low, high = ordered[below], ordered[math.ceil(rank)]
    return low + (high - low) * (rank - below)


def weighted_percentile(ordered: Sequence[tuple[float, float]], n: float) -> float:
    """Return the `n`-th percentile, 0 to 100, of values with weights above 0, by linear interpolation.

    Each value is in the middle of its weight; the smallest is 0, the largest 100. With equal weights, this is
    `percentile`.
    """
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

    The standard library's takes 20 times as long, for digits that no report shows. This is the corrected two-pass
    algorithm of Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (The American Statistician
    37, 1983): it corrects for the rounding of the mean, which matters for nearly equal values.
    """
    count, centre = len(ordered), mean(ordered)
    if count == 1:
        return 0.0
    deviations = [value - centre for value in ordered]
    squares = math.fsum(deviation * deviation for deviation in deviations) - math.fsum(deviations) ** 2 / count
    return math.sqrt(max(squares, 0.0) / (count - 1))
