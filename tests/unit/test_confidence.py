import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST
from coval_gate.gate.statistics import (
    ENOUGH_EQUAL,
    NOTHING,
    Bounds,
    Hits,
    effective_size,
    even_rate,
    mean_bounds,
    percentile_bounds,
    pooled_mean,
    pooled_rate,
    rate_bounds,
    share,
)

CASES = st.lists(st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=40)
NUMBERS = st.floats(-LARGEST, LARGEST)
VALUES = st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=2, max_size=20)
LEVELS = st.floats(0.6, 0.999)


def once(hits: int, count: int) -> list[Hits]:
    """Return `count` cases with one conversation each, of which `hits` are hits."""
    return [Hits(int(number < hits), 1) for number in range(count)]


@given(st.integers(2, 60), st.data(), LEVELS)
def test_the_exact_interval_leaves_the_error_that_was_asked_for(count: int, data: st.DataObject, level: float) -> None:
    import mpmath  # all of pytest's processes import this module

    hits = data.draw(st.integers(0, count))
    lower, upper = rate_bounds(once(hits, count), level)

    if hits:  # as many hits or more are as improbable as asked for at the lower bound
        assert float(mpmath.betainc(hits, count - hits + 1, 0, lower, regularized=True)) == pytest.approx(1 - level)
    else:
        assert lower == 0
    if hits < count:
        assert float(mpmath.betainc(hits + 1, count - hits, upper, 1, regularized=True)) == pytest.approx(1 - level)
    else:
        assert upper == 1


@given(CASES, LEVELS)
def test_bounds_of_a_rate_enclose_it(drawn: list[tuple[int, int]], level: float) -> None:
    cases = [Hits(*counts) for counts in drawn]
    lower, upper = rate_bounds(cases, level)

    assert 0 <= lower <= share(cases) <= upper <= 1


@given(CASES, LEVELS, LEVELS, st.randoms())
def test_more_confidence_never_claims_more_and_order_does_not_matter(
    drawn: list[tuple[int, int]], one: float, other: float, rng: random.Random
) -> None:
    cases = [Hits(*counts) for counts in drawn]
    shuffled = rng.sample(cases, len(cases))
    less, more = sorted((one, other))

    assert rate_bounds(cases, more).lower <= rate_bounds(cases, less).lower + 1e-12
    assert rate_bounds(cases, more).upper >= rate_bounds(cases, less).upper - 1e-12
    assert rate_bounds(shuffled, one) == pytest.approx(rate_bounds(cases, one), abs=1e-12)


def test_conversations_of_one_case_that_always_agree_count_once() -> None:
    alike = [Hits(3 * (number < 8), 3) for number in range(10)]

    assert effective_size(pooled_rate(alike), 0.95) == 10
    assert rate_bounds(alike, 0.95) == rate_bounds(once(8, 10), 0.95)


def test_conversations_that_vary_within_their_case_count_for_more() -> None:
    varied = [Hits(2, 3) if number % 2 else Hits(3, 3) for number in range(30)]

    assert 30 < effective_size(pooled_rate(varied), 0.95) <= 90


def test_no_case_variation_counts_cases() -> None:
    assert effective_size(pooled_rate([Hits(3, 3)] * 10), 0.95) == 10
    assert effective_size(pooled_rate([Hits(2, 3)] * 10), 0.95) == 10


def test_a_case_with_most_of_the_conversations_counts_for_more_than_one_case_but_says_no_more() -> None:
    cases = [Hits(0, 10), *[Hits(1, 1)] * 5]

    assert effective_size(pooled_rate(cases), 0.95) == pytest.approx(15**2 / 105)
    assert effective_size(pooled_rate([Hits(0, 5), *[Hits(5, 5)] * 5]), 0.95) == 6


@pytest.mark.parametrize("cases", [[], [Hits(3, 3)]])
def test_fewer_than_two_cases_claim_nothing(cases: list[Hits]) -> None:
    assert rate_bounds(cases, 0.95) == NOTHING
    assert percentile_bounds([[1.0]] * len(cases), 50, 0.95) == NOTHING
    assert mean_bounds([[1.0]] * len(cases), 0.95) == NOTHING


def test_a_percentile_of_equal_values_is_that_value_once_there_are_enough() -> None:
    assert percentile_bounds([[2.0]] * 100, 50, 0.95) == Bounds(2, 2)


def test_a_median_has_the_bounds_that_order_statistics_give() -> None:
    # Of 20 values, the 6th and the 15th bound the median with 97.9 % each, the 7th and the 14th with 94.2 %.
    assert percentile_bounds([[float(number)] for number in range(1, 21)], 50, 0.95) == Bounds(6, 15)


def share_below(cases: list[list[float]], limit: float) -> Bounds:
    return rate_bounds([Hits(sum(value < limit for value in case), len(case)) for case in cases], 0.95)


def share_up_to(cases: list[list[float]], limit: float) -> Bounds:
    return rate_bounds([Hits(sum(value <= limit for value in case), len(case)) for case in cases], 0.95)


@given(st.lists(NUMBERS, min_size=2, max_size=40), st.sampled_from([5, 50, 90, 95]), NUMBERS)
def test_bounds_of_a_percentile_decide_as_those_of_the_share_do(values: list[float], n: int, limit: float) -> None:
    """Woodruff: the percentile is below a limit where the share of values below it is surely large enough."""
    cases = [[value] for value in values]
    bounds = percentile_bounds(cases, n, 0.95)

    assert (bounds.upper < limit) == (share_below(cases, limit).lower >= n / 100)
    assert (bounds.lower > limit) == (share_up_to(cases, limit).upper < n / 100)


@given(VALUES, st.sampled_from([5, 50, 90, 95]))
def test_each_bound_of_a_percentile_is_one_that_the_share_supports(cases: list[list[float]], n: int) -> None:
    """With several conversations a case, the effective sample size changes along the values, so only this is sure."""
    lower, upper = percentile_bounds(cases, n, 0.95)

    assert lower <= upper
    assert share_below(cases, lower).upper < n / 100 or lower == -math.inf
    assert share_up_to(cases, upper).lower >= n / 100 or upper == math.inf


@given(VALUES, LEVELS)
def test_bounds_of_a_mean_enclose_it(cases: list[list[float]], level: float) -> None:
    lower, upper = mean_bounds(cases, level)
    tolerance = 1e-9 * max(abs(value) for case in cases for value in case)

    assert lower - tolerance <= pooled_mean(cases) <= upper + tolerance
    assert not math.isnan(lower)
    assert not math.isnan(upper)


def test_a_mean_of_symmetric_values_has_the_bounds_of_students_t() -> None:
    lower, upper = mean_bounds([[1.0], [2.0], [3.0], [4.0], [5.0]], 0.95)

    assert (lower, upper) == pytest.approx((3 - 2.1318 * math.sqrt(0.5), 3 + 2.1318 * math.sqrt(0.5)), abs=1e-3)


def test_a_long_tail_moves_both_bounds_towards_it() -> None:
    lower, upper = mean_bounds([[1.0], [1.1], [1.2], [1.3], [6.0]], 0.95)
    centre = pooled_mean([[1.0], [1.1], [1.2], [1.3], [6.0]])

    assert upper - centre > centre - lower


def test_equal_values_prove_that_there_is_no_spread_only_in_many_cases() -> None:
    assert mean_bounds([[5.0]] * (ENOUGH_EQUAL - 1), 0.95) == NOTHING
    assert mean_bounds([[5.0]] * ENOUGH_EQUAL, 0.95) == Bounds(5, 5)


@pytest.mark.parametrize("value", [0.1, 0.7, 1.1, 4.35])
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=ENOUGH_EQUAL - 1))
def test_rounding_is_no_spread(value: float, sizes: list[int]) -> None:
    assert mean_bounds([[value] * size for size in sizes], 0.95) == NOTHING


def test_values_that_cancel_out_in_each_case_show_no_spread() -> None:
    assert mean_bounds([[0.3, -0.1, -0.2]] * 10, 0.95) == NOTHING


def test_cases_count_by_their_conversations() -> None:
    assert pooled_mean([[1.0], [4.0, 4.0, 4.0]]) == 3.25


def test_a_case_with_many_alike_conversations_does_not_narrow_the_bounds() -> None:
    rng = random.Random(5)
    single: Sequence[list[float]] = [[rng.gauss(3, 1)] for _ in range(12)]

    assert mean_bounds([case * 5 for case in single], 0.95) == pytest.approx(mean_bounds(single, 0.95))


def test_cases_that_are_alike_but_for_rounding_count_as_cases() -> None:
    """In every case, the same share of conversations are hits, so nothing shows how cases differ."""
    assert effective_size(even_rate([Hits(1, 5), Hits(1, 5), Hits(2, 10)]), 0.95) == 3
    assert effective_size(pooled_rate([Hits(15, 22)] * 2), 0.95) == 2
    assert effective_size(even_rate([Hits(1, 4), Hits(1, 4), Hits(2, 8)]), 0.95) == 3
