"""What many numbers amount to. Pure; the order of the values never matters.

Every function takes one or more finite numbers and raises ValueError for none, or for one that is not finite. The
result has the unit of the values. Nothing overflows: where a sum or a difference of very large values would, it is
taken of values scaled down by a power of two, which is exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST: Final = math.nextafter(math.inf, 0.0)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean: the exact sum, rounded once (`math.fsum`), over the number of values.

    It lies between the smallest and the largest value, so that equal values have exactly that mean.
    """
    count = len(_checked(values))
    least, most = min(values), max(values)
    # Whether to scale is decided by size alone: where fsum itself overflows depends on the order of the values.
    exponent = count.bit_length() if max(-least, most) > LARGEST / count else 0
    total = math.fsum(math.ldexp(value, -exponent) for value in values)
    return min(max(math.ldexp(total / count, exponent), least), most)


def median(values: Sequence[float]) -> float:
    """The value in the middle, or halfway between the two that are: the 50th percentile."""
    return percentile(values, 50)


def percentile(values: Sequence[float], n: float) -> float:
    """The `n`-th percentile, 0 to 100, by linear interpolation between the closest ranks.

    It stands at rank `n / 100 * (count - 1)` of the sorted values, counted from 0: definition 7 of Hyndman and Fan,
    "Sample Quantiles in Statistical Packages" (The American Statistician 50, 1996), which is NumPy's default method
    and what k6 computes from exact values. 0 is the smallest value, 100 the largest, and more is never less.
    """
    if not 0 <= n <= 100:
        raise ValueError(f"a percentile is between 0 and 100, not {n}")
    ordered = sorted(_checked(values))
    rank = n * (len(ordered) - 1) / 100  # in this order, whole numbers stay exact: 29 of 101 values is rank 29
    below = math.floor(rank)
    low, high = ordered[below], ordered[math.ceil(rank)]
    share = rank - below
    # Halves, where the whole difference overflows.
    half = 0.5 if math.isinf(high - low) else 1.0
    return (low * half + (high * half - low * half) * share) / half


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation (divisor `count - 1`); 0.0 for one value.

    The corrected two-pass algorithm of Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (The
    American Statistician 37, 1983). Where the deviation is beyond the largest float, that is the result.
    """
    count = len(_checked(values))
    if count == 1:
        return 0.0
    # With the largest value between 1/2 and 1, no square overflows, and none that matters vanishes.
    _, exponent = math.frexp(max(abs(value) for value in values))
    scaled = [math.ldexp(value, -exponent) for value in values]
    centre = mean(scaled)
    deviations = [value - centre for value in scaled]
    # The mean is rounded; without this correction, the deviations of nearly equal values would be those from another.
    rounding = math.fsum(deviations) ** 2 / count
    squares = math.fsum(deviation * deviation for deviation in deviations)
    deviation = math.sqrt(max(squares - rounding, 0.0) / (count - 1))
    try:
        return math.ldexp(deviation, exponent)
    except OverflowError:
        return LARGEST


def _checked(values: Sequence[float]) -> Sequence[float]:
    if not values:
        raise ValueError("no values")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a value is not finite")
    return values
