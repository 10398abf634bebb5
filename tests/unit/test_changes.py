import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.gate.changes import HitPair, MeanChange, PairedRates, PercentileChange, ValuePair
from coval_gate.gate.family import significant
from coval_gate.gate.statistics import ENOUGH_EQUAL, NOTHING, Hits, share

HITS = st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
HIT_PAIRS = st.lists(st.tuples(HITS, HITS), min_size=2, max_size=40)
LISTS = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=3)
VALUE_PAIRS = st.lists(st.tuples(LISTS, LISTS), min_size=2, max_size=20)
FACTORS = st.floats(0.01, 2)


def pairs_of(drawn: list[tuple[tuple[int, int], tuple[int, int]]]) -> list[HitPair]:
    return [HitPair(Hits(*now), Hits(*base)) for now, base in drawn]


def flips(better: int, worse: int, both: int, neither: int = 0) -> list[HitPair]:
    """Return one pair of single conversations for each case that became better, became worse, or stayed."""
    yes, no = Hits(1, 1), Hits(0, 1)
    return (
        [HitPair(yes, no)] * better
        + [HitPair(no, yes)] * worse
        + [HitPair(yes, yes)] * both
        + [HitPair(no, no)] * neither
    )


@given(HIT_PAIRS, FACTORS)
def test_bounds_of_a_difference_enclose_it(drawn: list[tuple[tuple[int, int], tuple[int, int]]], factor: float) -> None:
    pairs = pairs_of(drawn)
    lower, upper = PairedRates.of(pairs).difference(0.95, factor=factor)
    difference = share([pair.now for pair in pairs]) - factor * share([pair.base for pair in pairs])

    assert lower - 1e-12 <= difference <= upper + 1e-12


@given(HIT_PAIRS)
def test_the_reverse_comparison_has_the_reverse_bounds(drawn: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    pairs = pairs_of(drawn)
    lower, upper = PairedRates.of(pairs).difference(0.95)

    assert PairedRates.of([HitPair(pair.base, pair.now) for pair in pairs]).difference(0.95) == pytest.approx(
        (-upper, -lower)
    )


def test_seven_of_fifty_cases_that_break_are_a_regression_and_five_are_not() -> None:
    assert PairedRates.of(flips(better=0, worse=7, both=43)).difference(0.95).upper < 0
    assert PairedRates.of(flips(better=0, worse=2, both=48)).difference(0.95).upper >= 0
    assert PairedRates.of(flips(better=6, worse=7, both=37)).difference(0.95).upper >= 0


def test_agents_that_always_behave_alike_claim_nothing_in_few_cases() -> None:
    """Without the two half cases, ten equal pairs would prove that the rates differ by less than a point."""
    lower, upper = PairedRates.of(flips(better=0, worse=0, both=8, neither=2)).difference(0.95)

    assert lower < -0.05
    assert upper > 0.05


@given(VALUE_PAIRS, FACTORS)
def test_differences_of_means_are_numbers(drawn: list[tuple[list[float], list[float]]], factor: float) -> None:
    pairs = [ValuePair(now, base) for now, base in drawn]
    for bounds in (
        MeanChange(pairs).excess(0.95, factor=factor),
        PercentileChange(pairs, 50).excess(0.95, factor=factor),
    ):
        assert not math.isnan(bounds.lower)
        assert not math.isnan(bounds.upper)
        assert bounds.lower <= bounds.upper


def test_a_paired_mean_sees_what_an_unpaired_one_would_miss() -> None:
    rng = random.Random(2)
    hard = [rng.uniform(0.5, 5) for _ in range(20)]
    pairs = [ValuePair([level + 0.2 + rng.gauss(0, 0.1)], [level + rng.gauss(0, 0.1)]) for level in hard]

    assert MeanChange(pairs).excess(0.95).lower > 0.05
    assert MeanChange(pairs).excess(0.95).upper < 0.3


@pytest.mark.parametrize("factor", [1.0, 1.1, 0.7])
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=ENOUGH_EQUAL - 1), rng=st.randoms())
def test_few_cases_that_all_change_alike_claim_nothing(factor: float, sizes: list[int], rng: random.Random) -> None:
    """Rounding leaves a tiny spread, which does not count."""
    levels = [rng.uniform(0.1, 5) for _ in sizes]
    pairs = [
        ValuePair([level * factor + 0.3] * size, [level] * size) for level, size in zip(levels, sizes, strict=True)
    ]

    assert MeanChange(pairs).excess(0.95, factor=factor) == NOTHING


def test_a_factor_scales_the_baseline() -> None:
    rng = random.Random(3)
    pairs = [ValuePair([level * 1.3], [level]) for level in (rng.uniform(1, 2) for _ in range(30))]

    assert MeanChange(pairs).excess(0.95, factor=1.1).lower > 0
    assert MeanChange(pairs).excess(0.95, factor=1.4).upper < 0


def test_a_percentile_needs_enough_values_on_both_sides() -> None:
    few = [ValuePair([float(number + 100)], [float(number)]) for number in range(19)]
    enough = [ValuePair([float(number + 100)], [float(number)]) for number in range(20)]

    assert PercentileChange(few, 95).excess(0.95) == NOTHING
    assert PercentileChange(enough, 95).excess(0.95) != NOTHING
    assert PercentileChange(enough, 50).excess(0.95).lower > 0
    assert PercentileChange(enough, 50).excess(0.95, number=200.0).upper < 0
    assert PercentileChange(enough, 50).excess(0.95, factor=1.0, number=100.0) == pytest.approx(
        PercentileChange([ValuePair(pair.now, pair.now) for pair in enough], 50).excess(0.95)
    )


def test_fewer_than_two_shared_cases_claim_nothing() -> None:
    pair = ValuePair([1.0] * 30, [2.0] * 30)

    assert PercentileChange([pair], 50).excess(0.95) == NOTHING


@given(st.lists(st.floats(0, 0.1), max_size=12))
def test_holm_goes_from_the_clearest_change_to_the_next_one(p_values: list[float]) -> None:
    changes = [lambda level, p=p: p <= level for p in p_values]
    real = significant(changes, 0.05)
    ascending = sorted(p_values)
    steps = [p <= 0.05 / (len(ascending) - tested) for tested, p in enumerate(ascending)]
    stop = steps.index(False) if False in steps else len(steps)

    assert sorted(p for p, is_real in zip(p_values, real, strict=True) if is_real) == ascending[:stop]
