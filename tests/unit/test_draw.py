"""The draw of slices: every test case once, as many as the cap allows, spread over the test set, by the seed alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.step.slices import dealt


def cases_of(number: int) -> list[str]:
    return [f"case{place:04}" for place in range(number)]


@given(st.integers(10, 600), st.integers(10, 501), st.text())
def test_slices_hold_every_drawn_case_once_and_end_where_looks_are_taken(number: int, cap: int, seed: str) -> None:
    slices = dealt(cases_of(number), cap, seed)
    drawn = [case for cases in slices for case in cases]
    count = min(number, cap)
    assert len(drawn) == len(set(drawn)) == count
    ends = [sum(map(len, slices[: place + 1])) for place in range(len(slices))]
    assert ends == [round(count * place / 5) for place in range(1, 6)]


@pytest.mark.parametrize(("number", "cap"), [(100, 501), (200, 100), (37, 501), (500, 23), (50, 50)])
@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_each_slice_takes_from_all_parts_of_the_set(number: int, cap: int, seed: str) -> None:
    order = cases_of(number)
    slices = dealt(order, cap, seed)
    for cases in slices:
        places = [order.index(case) / number for case in cases]
        widest = max(later - earlier for earlier, later in zip([0.0, *places], [*places, 1.0], strict=True))
        assert widest <= 2.0 / len(cases), "no part of the set is left out"
        assert places == sorted(places)


def test_seed_decides_alone() -> None:
    order = cases_of(100)
    draws = {seed: dealt(order, 501, seed) for seed in ("one", "other")}
    assert draws["one"] == dealt(order, 501, "one")
    assert draws["one"] != draws["other"]
    first = [dealt(order, 501, f"commit {seed}")[0] for seed in range(500)]
    for case in order:
        share = sum(case in cases for cases in first) / len(first)
        assert math.isclose(share, 0.2, abs_tol=0.07), "each case may come first"
