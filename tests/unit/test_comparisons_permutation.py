"""The exact permutation that decides whether a rate fell or rose."""

import math
from collections.abc import Sequence
from itertools import chain, combinations, product
from statistics import NormalDist, mean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.features.comparisons.permutation import Case, HitPair, Permutation, excess_variance, weights
from coval_gate.gate.statistics import Hits


def cases_of(size: int, judged: int) -> st.SearchStrategy[Case]:
    hits = st.integers(0, size)
    runs = st.lists(hits, min_size=judged, max_size=judged).map(tuple)
    return st.builds(Case, runs, st.lists(hits, min_size=1, max_size=3).map(tuple), st.just(size))


CASES = st.tuples(st.integers(1, 2), st.integers(1, 2)).flatmap(
    lambda s: st.lists(cases_of(*s), min_size=1, max_size=3)
)


def pairs(cases: Sequence[Sequence[int]], size: int) -> list[HitPair]:
    """Return cases of which the hits of the judged run come first, then those of each run before."""
    return [
        HitPair(
            Hits(now, size),
            Hits(sum(before), size * len(before)),
            runs={f"run{place}": Hits(hits, size) for place, hits in enumerate(before)},
        )
        for now, *before in cases
    ]


def permuted(found: list[HitPair]) -> Permutation:
    permutation = Permutation.of(found)
    assert permutation
    return permutation


def outcomes(case: Case, *, blocks: bool) -> list[int]:
    """Return the hits of the judged runs in every permutation of the runs, or of their conversations."""
    runs = [[1] * hits + [0] * (case.size - hits) for hits in (*case.now, *case.before)]
    units = [sum(run) for run in runs] if blocks or len(case.before) == 1 else list(chain.from_iterable(runs))
    drawn = len(case.now) * len(units) // len(runs)
    return [sum(chosen) for chosen in combinations(units, drawn)]


@given(CASES)
def test_chances_count_all_permutations(cases: list[Case]) -> None:
    found = Permutation(cases)
    for shown, side in ((found.fewer, cases), (found.more, [case.mirrored() for case in cases])):
        weight = weights(side)
        observed = sum(w * sum(case.now) for w, case in zip(weight, side, strict=True))
        drawn = [
            [w * hits for hits in outcomes(case, blocks=found.blocks)] for w, case in zip(weight, side, strict=True)
        ]
        sums = [sum(chosen) for chosen in product(*drawn)]
        fewer = (sum(total < observed for total in sums) + sums.count(observed) / 2) / len(sums)
        assert shown == pytest.approx(widened(fewer, found.excess), abs=1e-12)


def widened(chance: float, excess: float) -> float:
    if not 0.0 < chance < 1.0:
        return chance
    return NormalDist().cdf(NormalDist().inv_cdf(chance) / math.sqrt(excess))


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (6, 1), (0, 4), (12, 12), (30, 14)])
def test_one_conversation_before_and_now_is_mcnemars_test(lost: int, won: int) -> None:
    """The mid-p value: the chance that fewer of the flipped cases are won, plus half of the chance of as many."""
    flips = lost + won
    chances = [math.comb(flips, count) / 2**flips for count in range(flips + 1)]
    found = permuted(pairs([(0, 1)] * lost + [(1, 0)] * won + [(1, 1)] * 20 + [(0, 0)] * 3, 1))
    assert found.fewer == pytest.approx(sum(chances[:won]) + chances[won] / 2)
    assert found.fewer + found.more == pytest.approx(1.0)


def test_whole_cases_that_break_show_with_several_runs_before() -> None:
    """One run before is lost in one of two permutations of each case, half of which counts for the tie."""
    before = [(3, 3, 3)] * 16 + [(3, 2, 3)]
    alone, several = ([(0, *[3] * runs)] * 3 + [(3, *case[:runs]) for case in before] for runs in (1, 3))
    assert permuted(pairs(alone, 3)).fewer == pytest.approx(1 / 16)
    assert permuted(pairs(several, 3)).fewer == pytest.approx(1e-6, rel=0.02)


def test_two_judged_runs_are_any_two() -> None:
    """Of four runs of a case, two have the only two hits in one of six pairs."""
    case = Case((1, 1), (0, 0), 1)
    assert Permutation([case]).more == pytest.approx(1 / 12)


def test_cases_weigh_the_same_whatever_their_number_of_conversations() -> None:
    """One case with a single conversation is lost, which is as much as three of three."""
    even = pairs([(0, 3), (3, 0), (3, 3)], 3)
    mixed = [*pairs([(0, 1)], 1), *even[1:]]
    assert permuted(mixed).fewer == permuted(even).fewer == permuted(even).more


@pytest.mark.parametrize(
    ("misses", "weight"),
    [(0, 5), (1, 5), (2, 3), (3, 2), (4, 1), (8, 1)],
)
def test_steady_cases_weigh_more(misses: int, weight: int) -> None:
    """With one judged run of one conversation, the weight is 5 (1 + q) / (misses + q), q the share of all misses."""
    cases = [Case((1,), (1,) * 7, 1)] * 40 + [Case((0,), (1,) * 7, 1)] * 8
    one = Case((1,), (0,) * min(misses, 7) + (1,) * (7 - min(misses, 7)), 1)
    one = one if misses < 8 else Case((0,), (0,) * 7, 1)
    assert weights([*cases, one])[-1] == weight


def test_weights_do_not_depend_on_the_judged_run() -> None:
    cases = [(1, 0, 1, 1), (1, 1, 1, 1), (0, 0, 1, 0), (1, 1, 0, 0)]
    found = [[Case((case[place],), case[:place] + case[place + 1 :], 1) for case in cases] for place in range(4)]
    assert len({tuple(weights(side)) for side in found}) == 1


@pytest.mark.parametrize(
    ("count", "of_last"),
    [pytest.param(300, [5, 1], id="weighed"), pytest.param(399, [1, 1], id="beyond 2,000 sums all weigh the same")],
)
def test_weights_keep_the_sums_few(count: int, of_last: list[int]) -> None:
    cases = [Case((1,), (1,), 1)] * count + [Case((0,), (1,), 1), Case((0,), (0,) * 9, 1)]
    assert weights(cases)[-2:] == of_last


@pytest.mark.parametrize(
    ("found", "decides"),
    [
        pytest.param(pairs([(1, 1)] * 2_000, 1), True, id="as many as it takes"),
        pytest.param(pairs([(1, 1)] * 2_001, 1), False, id="too many sums"),
        pytest.param([*pairs([(1, 1)] * 600, 1), *pairs([(1, 1)] * 600, 2)], False, id="too many sums if scaled"),
        pytest.param([HitPair(Hits(1, 1), Hits(3, 3))], False, id="other conversations before"),
        pytest.param([HitPair(Hits(1, 1), Hits(1, 1)), HitPair(Hits(2, 2), Hits(2, 2))], True, id="cases differ"),
        pytest.param([HitPair(Hits(1, 2), Hits(3, 4), "", {"a": Hits(1, 1), "b": Hits(2, 3)})], False, id="runs"),
        pytest.param([HitPair(Hits(2, 2), Hits(1, 1), judged=[Hits(1, 1)] * 2)], True, id="two judged runs"),
        pytest.param([HitPair(Hits(2, 3), Hits(1, 1), judged=[Hits(1, 1), Hits(1, 2)])], False, id="of two sizes"),
    ],
)  # fmt: skip
def test_decides_where_all_runs_have_as_many_conversations_of_a_case(found: list[HitPair], *, decides: bool) -> None:
    assert (Permutation.of(found) is not None) is decides


def test_far_tails_are_small_and_not_negative() -> None:
    found = permuted(pairs([(0, 1)] * 1_000, 1))
    assert 0.0 <= found.fewer < 1e-12
    assert found.more == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        pytest.param([Case((3,), (3,), 3)] * 9, 1.0, id="one run before"),
        pytest.param([Case((1,), (1, 0, 0), 1)] * 9, 1.0, id="one conversation a case"),
        pytest.param([Case((3,), (3, 3, 3), 3)] * 9, 1.0, id="nothing varies"),
        pytest.param([Case((3,), (2, 2, 2), 3)] * 9, 1.0, id="runs vary less"),
        pytest.param([Case((3,), (3, 0, 3), 3)] * 9, math.inf, id="conversations of a run are always alike"),
        pytest.param([Case((0,), (3, 3, 0), 3), Case((0,), (3, 1, 0), 3)], 16.0, id="a ratio of variances"),
    ],
)
def test_excess_variance_is_that_between_runs_over_that_within(cases: list[Case], expected: float) -> None:
    assert excess_variance(cases) == pytest.approx(expected)


@given(st.lists(cases_of(3, 1), min_size=1, max_size=6))
def test_excess_variance_is_the_one_of_rates(cases: list[Case]) -> None:
    several = [case for case in cases if len(case.before) > 1]
    rates = [[hits / 3 for hits in case.before] for case in several]
    between = sum(3 * variance(case) for case in rates)
    within = sum(mean(rate * (1 - rate) * 3 / 2 for rate in case) for case in rates)
    if within > 1e-9:
        assert excess_variance(cases) == pytest.approx(max(1.0, between / within))


def test_excess_variance_weakens_evidence() -> None:
    alike = [Case((1,), (3, 3, 0), 3), Case((0,), (3, 1, 3), 3), Case((0,), (0, 3, 3), 3)]
    independent = [Case((1,), (2, 2, 2), 3), Case((0,), (3, 2, 2), 3), Case((0,), (2, 2, 2), 3)]
    assert Permutation(independent).fewer < Permutation(alike).fewer < 0.5
