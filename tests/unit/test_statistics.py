from __future__ import annotations

import math
import random
import statistics as oracle
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.judge.statistics import LARGEST, mean, median, percentile, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.lists(FINITE, min_size=1, max_size=30)
MEASURED = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=30)
PERCENT = st.floats(0, 100)
TWO_HUGE = [1e308, 1e308]
OPPOSITES = [-LARGEST, LARGEST]


def exact_percentile(values: Sequence[float], n: float) -> Fraction:
    """Definition 7 of Hyndman and Fan, without rounding."""
    ordered = sorted(Fraction(value) for value in values)
    rank = Fraction(n) * (len(ordered) - 1) / 100
    below = math.floor(rank)
    return ordered[below] + (ordered[math.ceil(rank)] - ordered[below]) * (rank - below)


def exact_spread(values: Sequence[float]) -> float:
    """By fractions of the largest value, so that the square root is taken of a number of ordinary size."""
    size = Fraction(max(abs(value) for value in values)) or Fraction(1)
    fractions = [Fraction(value) / size for value in values]
    centre = sum(fractions) / len(fractions)
    variance = sum((value - centre) ** 2 for value in fractions) / (len(fractions) - 1)
    return float(size) * math.sqrt(variance)


@pytest.mark.parametrize(
    ("values", "n", "found"),
    [
        ([15, 20, 35, 40, 50], 40, 29),  # the example of many textbooks: 20 + 0.6 * (35 - 20)
        ([15, 20, 35, 40, 50], 0, 15),
        ([15, 20, 35, 40, 50], 100, 50),
        ([15, 20, 35, 40, 50], 50, 35),
        ([1, 2, 3, 4], 25, 1.75),  # as numpy.percentile([1, 2, 3, 4], 25)
        ([10, 7, 4, 3, 2, 1], 50, 3.5),  # the example of NumPy's documentation
        (range(101), 29, 29),  # 0.29 * 100 is 28.999999999999996; no rank may suffer from that
        ([7], 99.9, 7),
    ],
)
def test_a_percentile_lies_between_the_closest_ranks(values: Sequence[float], n: float, found: float) -> None:
    assert percentile(values, n) == found


def test_means_medians_and_spreads_of_a_few_values() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    assert (mean(values), median(values)) == (5, 4.5)
    assert spread(values) == pytest.approx(math.sqrt(32 / 7), rel=1e-15)
    assert mean([0.651592972722763] * 53) == 0.651592972722763, "not 0.6515929727227631"
    assert mean([1e16, 1.0, -1e16]) == pytest.approx(1 / 3)
    assert spread([3.5]) == 0


def test_nothing_overflows() -> None:
    assert mean(TWO_HUGE) == median(TWO_HUGE) == 1e308
    assert mean(OPPOSITES) == median(OPPOSITES) == 0
    assert percentile(OPPOSITES, 75) == pytest.approx(LARGEST / 2, rel=1e-15)
    assert mean([LARGEST] * 1000) == LARGEST
    assert spread([1e308, -1e308]) == pytest.approx(math.sqrt(2) * 1e308)
    assert spread(OPPOSITES) == LARGEST, "beyond the largest float, which is the nearest answer"


def test_nothing_vanishes_either() -> None:
    assert spread([1e-300, 3e-300]) == pytest.approx(math.sqrt(2) * 1e-300)
    assert spread([1e9, 1e9 + 1, 1e9 + 2]) == 1, "no cancellation far from zero"


@pytest.mark.parametrize("function", [mean, median, spread, lambda values: percentile(values, 95)])
@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [-math.inf, 1.0]])
def test_no_values_and_no_numbers_are_refused(
    function: Callable[[Sequence[float]], float], values: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"^(no values|a value is not finite)$"):
        function(values)


@pytest.mark.parametrize("n", [-0.1, 100.1, math.nan, math.inf])
def test_a_percentile_is_between_0_and_100(n: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], n)


@given(VALUES)
@example(TWO_HUGE)
@example(OPPOSITES)
@example([5e-324, 5e-324, 0.0])
def test_the_mean_is_that_of_the_standard_library(values: list[float]) -> None:
    """The oracle works with fractions; a sum that is rounded once is at most one step away from it."""
    wanted, found = oracle.mean(values), mean(values)
    assert abs(found - wanted) <= 2 * math.ulp(wanted)
    assert min(values) <= found <= max(values)


@given(VALUES, PERCENT)
@example(OPPOSITES, 99.9)
def test_a_percentile_is_the_exact_one_but_for_rounding(values: list[float], n: float) -> None:
    tolerated = Fraction(max(abs(value) for value in values)) / 10**13 + Fraction(5e-324)
    assert abs(Fraction(percentile(values, n)) - exact_percentile(values, n)) <= tolerated


@given(VALUES, PERCENT, PERCENT)
@example([-0.75, 1e-17], math.nextafter(100, 0), 100.0)
@example([-LARGEST, LARGEST, LARGEST], 49.99999999999999, math.nextafter(100, 0))
def test_percentiles_rise_from_the_smallest_to_the_largest_value(values: list[float], n: float, m: float) -> None:
    low, high = sorted((n, m))
    assert min(values) <= percentile(values, low) <= percentile(values, high) <= max(values)
    assert (percentile(values, 0), percentile(values, 100)) == (min(values), max(values))
    assert percentile(values, 50) == median(values)


@given(MEASURED)
def test_the_median_is_that_of_the_standard_library(values: list[float]) -> None:
    assert median(values) == pytest.approx(oracle.median(values), rel=1e-12, abs=1e-9)


@given(st.lists(st.floats(-1e100, 1e100, allow_subnormal=False), min_size=2, max_size=30))
@example([1.0, math.nextafter(1.0, 2.0)])
@example([1.0, 1.0, math.nextafter(1.0, 2.0)])
def test_the_spread_is_the_exact_one_but_for_rounding(values: list[float]) -> None:
    assert spread(values) == pytest.approx(exact_spread(values), rel=1e-12, abs=1e-300)


@given(VALUES)
def test_a_spread_is_never_negative_and_zero_for_equal_values(values: list[float]) -> None:
    assert 0 <= spread(values) <= LARGEST
    assert spread([values[0]] * len(values)) == 0


@given(VALUES, st.randoms(use_true_random=False))
@example([1e308, 1e308, -1e308, -1e308, 1.0], random.Random(1))
def test_the_order_of_values_never_matters(values: list[float], shuffled: random.Random) -> None:
    other = values.copy()
    shuffled.shuffle(other)
    for function in (mean, median, spread, lambda each: percentile(each, 95)):
        assert function(other) == function(values)
