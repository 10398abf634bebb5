"""A few cells of `make statistics`, with few runs, so that a broken formula is noticed at once."""

from bisect import bisect_left
from functools import partial
from math import comb
from pathlib import Path
from random import Random
from typing import Final

import pytest

from bench.agents import Size
from bench.exact import uneven
from bench.experiments import Cell, rate_error
from bench.judged import (
    calls_any_new,
    grown_rate,
    lacking,
    moved_rate,
    named,
    repeated,
)
from bench.noise import percentages

pytestmark = pytest.mark.untraced

SURE: Final = 1e-6  # the chance that a share within its limit looks too large


def most(percent: float, runs: int) -> float:
    """Return the largest percentage of `runs` that is seen, all but surely, where `percent` is true."""

    def chance_of_more(seen: int) -> float:
        from mpmath import betainc  # all of pytest's processes import this module

        return float(betainc(seen + 1, runs - seen, 0, percent / 100, regularized=True))

    return 100 * bisect_left(range(runs), True, key=lambda seen: chance_of_more(seen) < SURE) / runs


@pytest.mark.parametrize("one_of", [pytest.param(20, id="few"), pytest.param(1, id="all", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("cell", "limits", "runs"),
    [
        pytest.param(partial(rate_error, Size(20, 0, 5), 0.6, 0.95), (7, 5.5), 400, id="rate, many conversations"),
        pytest.param(partial(grown_rate, 3, 0.6), (2,), 100, id="test set that grew by harder cases"),
        pytest.param(partial(lacking, Size(100, 3, 1), 0.05, 0.05), (5,), 100, id="missing on both sides"),
        pytest.param(partial(repeated, 0.3), (-94,), 1000, id="regression is noticed after a repetition"),
        pytest.param(
            partial(moved_rate, Size(20, 3, 3, 3), 0.3, 0.95, 0.8), (-92,), 100, id="rate, three earlier runs"
        ),
        pytest.param(partial(calls_any_new, Size(50, 1, 1), 0.95), (20,), 100, id="unchanged failures are rarely new"),
        pytest.param(partial(named, Size(50, 1, 1), 1), (-70,), 100, id="change that a report names is noticed"),
    ],
)
def test_verdicts_are_rarely_wrong(cell: Cell, limits: tuple[float, ...], runs: int, one_of: int) -> None:
    """A negative limit is what must be noticed at least."""
    runs //= one_of
    for found, limit in zip(percentages(cell, runs, "quick"), limits, strict=False):
        wrong, allowed = (found, limit) if limit >= 0 else (100 - found, 100 + limit)
        assert wrong <= most(allowed, runs)


def test_page_has_the_shares_that_follow_exactly() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert f"= {0.9**29:.1%}".replace("%", " %") in page
    (uneven_share,) = uneven(24, 0.88, Random(1))
    assert f"passes wrongly in up to {100 * uneven_share:.0f} % of runs" in page
    assert f"it is {0.9**28:.1%}".replace("%", " %") in page
    # A failed test case that runs twice more passes if both do.
    red, usual = (
        sum(comb(50, hits) * rate**hits * (1 - rate) ** (50 - hits) for hits in range(45))
        for rate in (0.8 + 0.2 * 0.8**2, 0.8)
    )
    assert f"in {100 * red:.0f} % of runs, not {100 * usual:.0f} %" in page
