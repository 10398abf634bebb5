import math
import random
import statistics as oracle
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST
from coval_gate.gate import statistics

NUMBERS = st.floats(-LARGEST, LARGEST)
VALUES = st.lists(NUMBERS, min_size=1, max_size=30)
PERCENT = st.floats(0, 100)
OPPOSITES = [-LARGEST, LARGEST]


def percentile(values: Sequence[float], n: float) -> float:
    return statistics.percentile(sorted(values), n)


def mean(values: Sequence[float]) -> float:
    return statistics.mean(sorted(values))


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def stdev(values: Sequence[float]) -> float:
    return statistics.stdev(sorted(values))


def exact_percentile(values: Sequence[float], n: float) -> Fraction:
    """Definition 7 of Hyndman and Fan, without rounding."""
    ordered = sorted(Fraction(value) for value in values)
    rank = Fraction(n) * (len(ordered) - 1) / 100
    below = math.floor(rank)
    return ordered[below] + (ordered[math.ceil(rank)] - ordered[below]) * (rank - below)


def test_mean_median_and_stdev_of_examples() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    assert (mean(values), median(values)) == (5, 4.5)
    assert stdev(values) == pytest.approx(math.sqrt(32 / 7), rel=1e-15)
    assert mean([0.651592972722763] * 53) == 0.651592972722763, "not 0.6515929727227631"
    assert mean([1e16, 1.0, -1e16]) == pytest.approx(1 / 3)
    assert stdev([3.5]) == 0


def test_largest_values_do_not_overflow() -> None:
    assert mean(OPPOSITES) == median(OPPOSITES) == 0
    assert mean([LARGEST] * 100_000) == median([LARGEST] * 100_000) == LARGEST
    assert stdev(OPPOSITES * 50_000) == pytest.approx(LARGEST, rel=1e-4)


def test_stdev_far_from_zero_is_exact() -> None:
    assert stdev([1e9, 1e9 + 1, 1e9 + 2]) == 1


@given(VALUES)
@example([5e-324, 5e-324, 0.0])
def test_mean_matches_standard_library(values: list[float]) -> None:
    """The oracle uses fractions; a sum that is rounded once differs by at most one step."""
    expected, actual = oracle.mean(values), mean(values)
    assert abs(actual - expected) <= 2 * math.ulp(expected)
    assert min(values) <= actual <= max(values)


@given(VALUES, PERCENT)
@example(OPPOSITES, 99.9)
def test_percentile_matches_exact_fraction_within_rounding(values: list[float], n: float) -> None:
    tolerated = Fraction(max(abs(value) for value in values)) / 10**13 + Fraction(5e-324)
    assert abs(Fraction(percentile(values, n)) - exact_percentile(values, n)) <= tolerated


@given(VALUES, PERCENT, PERCENT)
@example([-0.75, 1e-17], math.nextafter(100, 0), 100.0)
@example([-LARGEST, LARGEST, LARGEST], 49.99999999999999, math.nextafter(100, 0))
def test_percentiles_rise_from_minimum_to_maximum(values: list[float], n: float, m: float) -> None:
    low, high = sorted((n, m))
    assert min(values) <= percentile(values, low) <= percentile(values, high) <= max(values)
    assert (percentile(values, 0), percentile(values, 100)) == (min(values), max(values))


@given(st.lists(st.floats(-1e50, 1e50, allow_subnormal=False), min_size=2, max_size=30))
@example([1.0, math.nextafter(1.0, 2.0)])
@example([1.0, 1.0, math.nextafter(1.0, 2.0)])
def test_stdev_matches_standard_library(values: list[float]) -> None:
    assert stdev(values) == pytest.approx(oracle.stdev(values), rel=1e-12, abs=1e-150)


@given(VALUES, st.randoms(use_true_random=False))
def test_statistics_do_not_depend_on_order_of_values(values: list[float], shuffled: random.Random) -> None:
    other = values.copy()
    shuffled.shuffle(other)
    functions: list[Callable[[Sequence[float]], float]] = [mean, median, stdev, lambda numbers: percentile(numbers, 95)]
    for function in functions:
        assert function(other) == function(values)
