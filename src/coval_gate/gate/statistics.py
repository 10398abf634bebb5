"""Figures of numbers, and how often a test case hits. Pure. Numbers ascend unless a function states another."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

Values = Sequence[float]  # of one test case, one for each of its conversations

FEWEST_CASES: Final = 2  # cases with values; one case cannot show how cases differ
FEWEST_FOR_MEAN: Final = 20  # cases; the bounds of a mean of fewer values of two kinds are too often wrong
POWER: Final = 0.8  # the usual chance with which an experiment should detect its effect
HALF: Final = 0.5  # of the conversations of a test case, which passes with more


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
    ends = accumulate(weight for _, weight in ordered)
    middles = [end - weight / 2 for end, (_, weight) in zip(ends, ordered, strict=True)]
    position = middles[0] + (middles[-1] - middles[0]) * n / 100
    below = bisect_right(middles, position) - 1
    if n == 100 or below == len(ordered) - 1:
        return ordered[-1][0]
    low, high = ordered[below][0], ordered[below + 1][0]
    return low + (high - low) * (position - middles[below]) / (middles[below + 1] - middles[below])


def even_mean(cases: Sequence[Sequence[float]]) -> float:
    return mean(sorted(math.fsum(values) / len(values) for values in cases))


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


class Hits(NamedTuple):
    """One test case: `hits` of its `size` conversations are hits."""

    hits: int
    size: int

    @property
    def share(self) -> float:
        return self.hits / self.size
