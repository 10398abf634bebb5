"""Statistics agree with exact ones of other libraries; bounds enclose what is measured, and few cases claim nothing."""

import math
import random
import statistics as oracle
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import mpmath
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST_VALUE
from coval_gate.features.comparisons.changes import MeanChange, PairedRates, PercentileChange, ValuePair
from coval_gate.features.comparisons.family import holm
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.features.confidence.bounds import (
    ENOUGH_EQUAL,
    NOTHING,
    Bounds,
    beta_cdf,
    beta_quantile,
    effective_size,
    even_rate,
    mean_bounds,
    percentile_bounds,
    pooled_mean,
    pooled_rate,
    rate_bounds,
    t_quantile,
)
from coval_gate.gate import statistics
from coval_gate.gate.statistics import FEWEST_FOR_MEAN, Hits

NUMBERS = st.floats(-LARGEST_VALUE, LARGEST_VALUE)
LIST = st.lists(NUMBERS, min_size=1, max_size=30)
PERCENT = st.floats(0, 100)
OPPOSITES = [-LARGEST_VALUE, LARGEST_VALUE]
SHAPES, SHARES = st.floats(0.5, 300), st.floats(0.001, 0.999)
LEVELS = st.floats(0.6, 0.999)
HITS = st.integers(1, 6).flatmap(lambda n: st.builds(Hits, st.integers(0, n), st.just(n)))
CASES = st.lists(HITS, min_size=2, max_size=40)
MANY_VALUES = st.lists(st.lists(NUMBERS, min_size=1, max_size=3), min_size=FEWEST_FOR_MEAN, max_size=25)
HIT_PAIRS = st.lists(st.builds(HitPair, HITS, HITS), min_size=2, max_size=40)
FACTORS = st.floats(0.01, 2)


def percentile(values: Sequence[float], n: float) -> float:
    return statistics.percentile(sorted(values), n)


def mean(values: Sequence[float]) -> float:
    return statistics.mean(sorted(values))


def stdev(values: Sequence[float]) -> float:
    return statistics.stdev(sorted(values))


def exact_percentile(values: Sequence[float], n: float) -> Fraction:
    """Definition 7 of Hyndman and Fan, without rounding."""
    ordered = sorted(Fraction(value) for value in values)
    rank = Fraction(n) * (len(ordered) - 1) / 100
    below = math.floor(rank)
    return ordered[below] + (ordered[math.ceil(rank)] - ordered[below]) * (rank - below)


def test_mean_median_and_stdev_of_examples() -> None:
    assert mean([0.651592972722763] * 53) == 0.651592972722763, "not 0.6515929727227631"
    assert (stdev([3.5]), stdev([1e9, 1e9 + 1, 1e9 + 2])) == (0, 1)
    assert mean(OPPOSITES) == percentile(OPPOSITES, 50) == 0
    assert mean([LARGEST_VALUE] * 100_000) == percentile([LARGEST_VALUE] * 100_000, 50) == LARGEST_VALUE, "no overflow"
    assert stdev(OPPOSITES * 50_000) == pytest.approx(LARGEST_VALUE, rel=1e-4)


@given(LIST)
@example([5e-324, 5e-324, 0.0])
def test_mean_matches_standard_library(values: list[float]) -> None:
    """The oracle uses fractions; a sum that is rounded once differs by at most one step."""
    expected, actual = oracle.mean(values), mean(values)
    assert abs(actual - expected) <= 2 * math.ulp(expected)
    assert min(values) <= actual <= max(values)


@given(LIST, PERCENT)
@example(OPPOSITES, 99.9)
def test_percentile_matches_exact_fraction_within_rounding(values: list[float], n: float) -> None:
    tolerated = Fraction(max(abs(value) for value in values)) / 10**13 + Fraction(5e-324)
    assert abs(Fraction(percentile(values, n)) - exact_percentile(values, n)) <= tolerated


@given(st.lists(st.floats(-1e50, 1e50, allow_subnormal=False), min_size=2, max_size=30))
@example([1.0, math.nextafter(1.0, 2.0)])
@example([1.0, 1.0, math.nextafter(1.0, 2.0)])
def test_stdev_matches_standard_library(values: list[float]) -> None:
    assert stdev(values) == pytest.approx(oracle.stdev(values), rel=1e-12, abs=1e-150)


def exact_cdf(x: float, a: float, b: float) -> float:
    return float(mpmath.betainc(a, b, 0, x, regularized=True))


@given(st.floats(0, 1), SHAPES, SHAPES, st.integers(-3, 3))
# x is above (a + 1) / (a + b + 2), and 1 - x is above (b + 1) / (a + b + 2): rounded, both add up to less than 1
@example(0.7026852151407311, 216.2, 90.9, 0)
@example(0.09126743480897515, 29.1, 298.7, 0)
@example(0.9546769527483124, 296.0, 13.1, 0)
def test_beta_cdf_agrees_with_mpmath(x: float, a: float, b: float, steps: int) -> None:
    """Next to where the fraction is mirrored, rounding may put the variable and its image both above their limits."""
    mirror = (a + 1) / (a + b + 2)
    for _ in range(abs(steps)):
        mirror = math.nextafter(mirror, math.copysign(math.inf, steps))
    for point in (x, mirror):
        assert beta_cdf(point, a, b) == pytest.approx(exact_cdf(point, a, b), abs=1e-9)


@given(SHARES, SHAPES, SHAPES)
def test_beta_quantile_is_the_inverse_of_the_cdf(p: float, a: float, b: float) -> None:
    quantile = beta_quantile(p, a, b)
    assert 0.0 <= quantile <= 1.0
    assert exact_cdf(quantile, a, b) == pytest.approx(p, abs=1e-9)
    assert (beta_quantile(0, a, b), beta_quantile(1, a, b)) == (0, 1)
    assert (beta_cdf(-1, a, b), beta_cdf(0, a, b), beta_cdf(1, a, b), beta_cdf(2, a, b)) == (0, 0, 1, 1)


@given(SHARES, st.integers(1, 600))
def test_t_quantile_is_the_inverse_of_the_cdf(p: float, degrees: int) -> None:
    quantile = t_quantile(p, degrees)
    beyond = exact_cdf(degrees / (degrees + mpmath.mpf(quantile) ** 2), degrees / 2, 0.5)
    assert (1 - beyond / 2 if quantile > 0 else beyond / 2) == pytest.approx(p, abs=1e-9)


def once(hits: int, count: int) -> list[Hits]:
    """Return `count` cases with one conversation each, of which `hits` are hits."""
    return [Hits(int(number < hits), 1) for number in range(count)]


@given(st.integers(2, 60), st.data(), LEVELS)
def test_the_exact_interval_leaves_the_requested_error(count: int, data: st.DataObject, level: float) -> None:
    """As many hits or more are as improbable as requested at the lower bound, and as many or fewer at the upper one."""
    hits = data.draw(st.integers(0, count))
    lower, upper = rate_bounds(once(hits, count), level)
    assert lower == 0 if not hits else exact_cdf(lower, hits, count - hits + 1) == pytest.approx(1 - level)
    assert upper == 1 if hits == count else exact_cdf(upper, hits + 1, count - hits) == pytest.approx(level)


@given(CASES, LEVELS, LEVELS, st.randoms())
def test_bounds_of_a_rate_enclose_it_and_more_confidence_never_claims_more(
    cases: list[Hits], one: float, other: float, rng: random.Random
) -> None:
    less, more = (rate_bounds(cases, level) for level in sorted((one, other)))
    assert 0 <= more.lower <= less.lower + 1e-12
    assert 1 >= more.upper >= less.upper - 1e-12
    assert less.lower <= pooled_rate(Counter(cases)).share <= less.upper
    assert rate_bounds(rng.sample(cases, len(cases)), min(one, other)) == pytest.approx(less, abs=1e-12)


@pytest.mark.parametrize(
    ("cases", "size"),
    [
        pytest.param(
            [Hits(3 * (number < 8), 3) for number in range(10)], 10, id="conversations of a case always agree"
        ),
        pytest.param([Hits(3, 3)] * 10, 10, id="no case varies"),
        pytest.param([Hits(2, 3)] * 10, 30, id="cases vary alike"),
        pytest.param([Hits(15, 22)] * 2, 44, id="two cases vary alike"),
        pytest.param([Hits(0, 10), *[Hits(1, 1)] * 5], 15**2 / 105, id="a case has most of the conversations"),
        pytest.param([Hits(0, 5), *[Hits(5, 5)] * 5], 6, id="one of six cases differs"),
    ],
)
def test_effective_size(cases: list[Hits], size: float) -> None:
    assert effective_size(pooled_rate(Counter(cases)), 0.95) == pytest.approx(size)


def test_conversations_count_once_if_they_agree_and_for_more_if_they_vary_within_their_case() -> None:
    assert rate_bounds([Hits(3 * (number < 8), 3) for number in range(10)], 0.95) == rate_bounds(once(8, 10), 0.95)
    varied = [Hits(2, 3) if number % 2 else Hits(3, 3) for number in range(30)]
    assert 30 < effective_size(pooled_rate(Counter(varied)), 0.95) <= 90
    # In every case, the same share of conversations are hits but for rounding, so nothing shows that cases differ.
    assert effective_size(even_rate([Hits(1, 5), Hits(1, 5), Hits(2, 10)]), 0.95) == 18
    assert effective_size(even_rate([Hits(1, 4), Hits(1, 4), Hits(2, 8)]), 0.95) == 14.4


def runs_of(cases: int, size: int) -> list[tuple[int, ...]]:
    """Return every run of so many cases: how many of them have no miss, one miss, and so on."""
    counts = product(range(cases + 1), repeat=size)
    return [(cases - sum(others), *others) for others in counts if sum(others) <= cases]


@pytest.mark.parametrize(
    ("cases", "size", "confidence"),
    [
        (20, 3, 0.9),
        (20, 3, 0.95),
        (20, 3, 0.99),
        (12, 5, 0.95),
        (8, 4, 0.9),
        (5, 3, 0.99),
        (30, 2, 0.95),
        (60, 1, 0.95),
    ],
)
def test_one_miss_more_never_raises_a_bound(cases: int, size: int, confidence: float) -> None:
    """In every run of so many cases. So a miss more never turns a red check green, whatever the threshold."""
    bounds = {}
    for run in runs_of(cases, size):
        hits = [Hits(size - misses, size) for misses, count in enumerate(run) for _ in range(count)]
        bounds[run] = rate_bounds(hits, confidence)
    for run, (lower, upper) in bounds.items():
        for misses in (misses for misses in range(size) if run[misses]):
            worse = list(run)
            worse[misses] -= 1
            worse[misses + 1] += 1
            below = bounds[tuple(worse)]
            assert below.lower <= lower + 1e-12
            assert below.upper <= upper + 1e-12


@pytest.mark.parametrize("sizes", [(1, 1, 2, 2, 3, 3, 5), (3, 3, 3, 3, 2, 2), (1, 7, 7, 2, 3)])
def test_nor_does_it_where_cases_have_different_numbers_of_conversations(sizes: Sequence[int]) -> None:
    bounds = {run: rate_bounds([*map(Hits, run, sizes)], 0.95) for run in product(*(range(size + 1) for size in sizes))}
    for run, (lower, upper) in bounds.items():
        for place, hits in enumerate(run):
            if hits:
                below = bounds[*run[:place], hits - 1, *run[place + 1 :]]
                assert below.lower <= lower + 1e-12
                assert below.upper <= upper + 1e-12


@pytest.mark.parametrize(("cases", "size"), [(20, 1), (20, 3), (50, 3)])
def test_no_run_claims_more_than_a_perfect_one(cases: int, size: int) -> None:
    perfect, one_missed = (
        rate_bounds([Hits(hits, size), *[Hits(size, size)] * (cases - 1)], 0.95) for hits in (size, size - 1)
    )
    assert perfect.lower == pytest.approx(0.05 ** (1 / cases))
    assert one_missed.lower <= perfect.lower
    misses = rate_bounds([Hits(0, size)] * cases, 0.95)
    assert misses.upper == pytest.approx(1 - perfect.lower)


@pytest.mark.parametrize("n", [50, 90, 95])
def test_one_slower_call_never_lowers_a_bound_of_a_percentile(n: float) -> None:
    for run in runs_of(10, 3):
        cases = [[9.0] * slow + [1.0] * (3 - slow) for slow, count in enumerate(run) for _ in range(count)]
        for case in {tuple(case) for case in cases if case[-1] == 1.0}:
            slower = [*cases]
            slower[slower.index([*case])] = [9.0] * (case.count(9.0) + 1) + [1.0] * (2 - case.count(9.0))
            before, after = (percentile_bounds(calls, n, 0.95) for calls in (cases, slower))
            assert before.lower <= after.lower
            assert before.upper <= after.upper


@pytest.mark.parametrize("cases", [[], [Hits(3, 3)]])
def test_fewer_than_two_cases_claim_nothing(cases: list[Hits]) -> None:
    assert rate_bounds(cases, 0.95) == NOTHING
    assert percentile_bounds([[1.0]] * len(cases), 50, 0.95) == NOTHING
    assert mean_bounds([[1.0]] * len(cases), 0.95) == NOTHING
    assert PercentileChange([ValuePair([1.0] * 30, [2.0] * 30)] * len(cases), 50).excess(0.95) == NOTHING


def test_bounds_of_a_percentile_are_those_that_order_statistics_give() -> None:
    """Of 20 values, the 6th and the 15th bound the median with 97.9 % each, the 7th and the 14th with 94.2 %."""
    assert percentile_bounds([[float(number)] for number in range(1, 21)], 50, 0.95) == Bounds(6, 15)
    assert percentile_bounds([[2.0]] * 100, 50, 0.95) == Bounds(2, 2)


def share_below(cases: list[list[float]], limit: float) -> Bounds:
    return rate_bounds([Hits(sum(value < limit for value in case), len(case)) for case in cases], 0.95)


def share_up_to(cases: list[list[float]], limit: float) -> Bounds:
    return rate_bounds([Hits(sum(value <= limit for value in case), len(case)) for case in cases], 0.95)


@given(st.lists(NUMBERS, min_size=2, max_size=40), st.sampled_from([5, 50, 90, 95]), NUMBERS)
def test_bounds_of_a_percentile_decide_as_the_share_s_do(values: list[float], n: int, limit: float) -> None:
    """Woodruff: the percentile is below a limit where the share of values below it is surely large enough."""
    cases = [[value] for value in values]
    bounds = percentile_bounds(cases, n, 0.95)
    assert (bounds.upper < limit) == (share_below(cases, limit).lower >= n / 100)
    assert (bounds.lower > limit) == (share_up_to(cases, limit).upper < n / 100)


@given(MANY_VALUES, LEVELS)
def test_bounds_of_a_mean_enclose_it(cases: list[list[float]], level: float) -> None:
    lower, upper = mean_bounds(cases, level)
    tolerance = 1e-9 * max(abs(value) for case in cases for value in case)
    assert lower - tolerance <= pooled_mean(cases) <= upper + tolerance, "and neither is nan"


def test_bounds_of_a_mean_match_students_t_and_lean_towards_a_long_tail() -> None:
    assert pooled_mean([[1.0], [4.0, 4.0, 4.0]]) == 3.25, "cases count by their conversations"
    reach = 1.7291 * math.sqrt(35 / 20)
    even = [[float(value)] for value in range(1, 21)]
    assert mean_bounds(even, 0.95) == pytest.approx((10.5 - reach, 10.5 + reach), abs=1e-3)
    tail = [[1.0 + value / 10] for value in range(19)] + [[20.0]]
    bounds = mean_bounds(tail, 0.95)
    assert bounds.upper - pooled_mean(tail) > pooled_mean(tail) - bounds.lower
    rng = random.Random(5)
    single: Sequence[list[float]] = [[rng.gauss(3, 1)] for _ in range(20)]
    assert mean_bounds([case * 5 for case in single], 0.95) == pytest.approx(mean_bounds(single, 0.95))


def test_fewer_than_twenty_cases_claim_nothing_of_a_mean() -> None:
    """A few cases, most of them alike, do not show how far the others may be."""
    pairs = [ValuePair([2.0 + case % 3], [1.0 + case % 5]) for case in range(FEWEST_FOR_MEAN)]
    now = [pair.now for pair in pairs]
    assert (mean_bounds(now[1:], 0.95), MeanChange(pairs[1:]).excess(0.95)) == (NOTHING, NOTHING)
    assert all(map(math.isfinite, (*mean_bounds(now, 0.95), *MeanChange(pairs).excess(0.95))))


def test_equal_values_prove_that_there_is_no_spread_only_in_many_cases() -> None:
    assert mean_bounds([[5.0]] * (ENOUGH_EQUAL - 1), 0.95) == NOTHING
    assert mean_bounds([[5.0]] * ENOUGH_EQUAL, 0.95) == Bounds(5, 5)
    assert mean_bounds([[0.3, -0.1, -0.2]] * 29, 0.95) == NOTHING, "values that cancel out in each case"


@pytest.mark.parametrize("value", [0.1, 0.7, 1.1, 4.35])
@given(sizes=st.lists(st.integers(1, 9), min_size=FEWEST_FOR_MEAN, max_size=ENOUGH_EQUAL - 1))
def test_rounding_is_no_spread(value: float, sizes: list[int]) -> None:
    assert mean_bounds([[value] * size for size in sizes], 0.95) == NOTHING


@given(HIT_PAIRS, FACTORS)
def test_bounds_of_a_difference_enclose_it_and_turn_with_it(pairs: list[HitPair], factor: float) -> None:
    lower, upper = PairedRates(pairs).difference(0.95, factor=factor)
    difference = even_rate([pair.now for pair in pairs]).share - factor * even_rate([pair.base for pair in pairs]).share
    assert lower - 1e-12 <= difference <= upper + 1e-12
    lower, upper = PairedRates(pairs).difference(0.95)
    turned = [HitPair(pair.base, pair.now) for pair in pairs]
    assert PairedRates(turned).difference(0.95) == pytest.approx((-upper, -lower))


def test_a_paired_mean_sees_what_an_unpaired_one_would_miss_and_a_factor_scales_the_baseline() -> None:
    rng = random.Random(2)
    hard = [rng.uniform(0.5, 5) for _ in range(20)]
    pairs = [ValuePair([level + 0.2 + rng.gauss(0, 0.1)], [level + rng.gauss(0, 0.1)]) for level in hard]
    assert MeanChange(pairs).excess(0.95).lower > 0.05
    assert MeanChange(pairs).excess(0.95).upper < 0.3
    scaled = MeanChange([ValuePair([level * 1.3], [level]) for level in (rng.uniform(1, 2) for _ in range(30))])
    assert scaled.excess(0.95, factor=1.1).lower > 0
    assert scaled.excess(0.95, factor=1.4).upper < 0


@pytest.mark.parametrize("factor", [1.0, 1.1, 0.7])
@given(sizes=st.lists(st.integers(1, 5), min_size=FEWEST_FOR_MEAN, max_size=ENOUGH_EQUAL - 1), rng=st.randoms())
def test_few_cases_that_all_change_alike_claim_nothing(factor: float, sizes: list[int], rng: random.Random) -> None:
    """Rounding leaves a tiny spread, which does not count."""
    levels = [(rng.uniform(0.1, 5), size) for size in sizes]
    pairs = [ValuePair([level * factor + 0.3] * size, [level] * size) for level, size in levels]
    assert MeanChange(pairs).excess(0.95, factor=factor) == NOTHING


def test_a_percentile_needs_enough_values_on_both_sides() -> None:
    few, enough = ([ValuePair([n + 100.0], [float(n)]) for n in range(count)] for count in (19, 20))
    assert PercentileChange(few, 95).excess(0.95) == NOTHING
    assert PercentileChange(enough, 95).excess(0.95) != NOTHING
    median = PercentileChange(enough, 50)
    assert median.excess(0.95).lower > 0
    assert median.excess(0.95, number=200.0).upper < 0
    unchanged = PercentileChange([ValuePair(pair.now, pair.now) for pair in enough], 50)
    assert median.excess(0.95, factor=1.0, number=100.0) == pytest.approx(unchanged.excess(0.95))


@given(st.lists(st.floats(0, 0.1), max_size=12))
def test_holm_goes_from_the_clearest_change_to_the_next_one(p_values: list[float]) -> None:
    changes = [lambda level, p=p: p <= level for p in p_values]
    found = holm(changes, 0.05)
    ascending = sorted(p_values)
    steps = [p <= 0.05 / (len(ascending) - before) for before, p in enumerate(ascending)]
    stop = steps.index(False) if False in steps else len(steps)
    assert sorted(p for p, change in zip(p_values, found, strict=True) if change.is_shown) == ascending[:stop]
    for p, (is_shown, error) in zip(p_values, found, strict=True):
        assert is_shown is (p <= error)
        assert is_shown or error == 0.05 / (len(ascending) - stop)
