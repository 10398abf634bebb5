"""The exact permutation that decides whether a rate fell or rose."""

import math
from collections.abc import Sequence
from itertools import product
from statistics import NormalDist, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.gate.permutation import HitPair, Permutation, excess_variance
from coval_gate.gate.statistics import Hits

BY_CHANCE = {2: 2.303, 3: 2.084}  # the 90 % quantile of chi-square over its degrees of freedom, from tables
RUN_HITS = st.lists(st.integers(0, 2), min_size=2, max_size=4)  # the judged run's, then those before, of two each


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


@given(st.lists(RUN_HITS, min_size=1, max_size=5))
def test_chances_are_those_of_all_permutations(cases: list[list[int]]) -> None:
    observed = sum(case[0] for case in cases)
    sums = [sum(chosen) for chosen in product(*cases)]
    ties = sums.count(observed) / 2
    fewer = (sum(total < observed for total in sums) + ties) / len(sums)
    found = permuted(pairs(cases, 2))
    inflation = math.sqrt(found.excess)
    assert found.fewer == pytest.approx(widened(fewer, inflation))
    assert found.more == pytest.approx(widened(1.0 - fewer, inflation))


def widened(chance: float, inflation: float) -> float:
    return NormalDist().cdf(NormalDist().inv_cdf(chance) / inflation)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (6, 1), (0, 4), (12, 12), (30, 14)])
def test_one_conversation_before_and_now_is_mcnemars_test(lost: int, won: int) -> None:
    """The mid-p value: the chance that fewer of the flipped cases are won, plus half of the chance of as many."""
    flips = lost + won
    chances = [math.comb(flips, count) / 2**flips for count in range(flips + 1)]
    found = permuted(pairs([(0, 1)] * lost + [(1, 0)] * won + [(1, 1)] * 20 + [(0, 0)] * 3, 1))
    assert found.fewer == pytest.approx(sum(chances[:won]) + chances[won] / 2)
    assert found.fewer + found.more == pytest.approx(1.0)


def test_cases_weigh_the_same_whatever_their_number_of_conversations() -> None:
    """One case with a single conversation is lost, which is as much as three of three."""
    even = pairs([(0, 3), (3, 0), (2, 2)], 3)
    mixed = [*pairs([(0, 1)], 1), *even[1:]]
    assert permuted(mixed).fewer == permuted(even).fewer == permuted(even).more


@pytest.mark.parametrize(
    ("found", "decides"),
    [
        pytest.param(pairs([(1, 1)] * 2_000, 1), True, id="as many as it takes"),
        pytest.param(pairs([(1, 1)] * 2_001, 1), False, id="too many sums"),
        pytest.param([*pairs([(1, 1)] * 600, 1), *pairs([(1, 1)] * 600, 2)], False, id="too many sums if scaled"),
        pytest.param([HitPair(Hits(1, 1), Hits(3, 3))], False, id="other conversations before"),
        pytest.param([HitPair(Hits(1, 1), Hits(1, 1)), HitPair(Hits(2, 2), Hits(2, 2))], True, id="cases differ"),
        pytest.param([HitPair(Hits(1, 2), Hits(3, 4), "", {"a": Hits(1, 1), "b": Hits(2, 3)})], False, id="runs"),
    ],
)  # fmt: skip
def test_decides_where_all_runs_have_as_many_conversations_of_a_case(found: list[HitPair], *, decides: bool) -> None:
    assert (Permutation.of(found) is not None) is decides


def test_far_tails_are_small_and_not_negative() -> None:
    found = permuted(pairs([(0, 1)] * 1_000, 1))
    assert 0.0 <= found.fewer < 1e-12
    assert found.more == pytest.approx(1.0)


WITHOUT = {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        pytest.param([{"a": 1, "b": 0}] * 9, 1.0, id="two runs"),
        pytest.param([{"a": 1, "b": 1, "c": 1}] * 9, 1.0, id="nothing varies"),
        pytest.param([{"a": 1, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 0}, {"a": 0, "b": 0, "c": 1}], 1.0, id="alike"),
        pytest.param([{"a": 1, "b": 0, "c": 0}] * 9, 9.0 / BY_CHANCE[2], id="a run that is better in all cases"),
        pytest.param([{"a": 1, "b": 0, "c": 0}] * 9 + [WITHOUT] * 5, 9.0 / BY_CHANCE[2], id="cases of all runs only"),
        pytest.param([WITHOUT, {"b": 1, "c": 0}, {"a": 0, "c": 1}], 1.0, id="no case of all runs"),
    ],
)
def test_runs_that_vary_more_than_their_cases_explain(cases: list[dict[str, int]], expected: float) -> None:
    assert excess_variance(cases) == pytest.approx(expected, rel=0.02)


def test_excess_variance_is_a_ratio_of_variances() -> None:
    hits = [(1, 1, 1, 0), (2, 2, 2, 0), (1, 1, 1, 0), (3, 3, 2, 2)]
    totals = [sum(run) for run in zip(*hits, strict=True)]
    expected = variance(totals) / sum(variance(case) for case in hits) / BY_CHANCE[3]
    assert excess_variance([dict(zip("abcd", case, strict=True)) for case in hits]) == pytest.approx(expected, rel=0.02)


def test_excess_variance_takes_evidence_away() -> None:
    alike = [(0, 1, 1, 1), (0, 1, 1, 1), (0, 1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (1, 0, 1, 1)]
    together = [*alike[:3], *[(1, 0, 1, 1)] * 3]
    assert permuted(pairs(together, 1)).excess > 1.0
    assert permuted(pairs(alike, 1)).fewer < permuted(pairs(together, 1)).fewer < 0.5
