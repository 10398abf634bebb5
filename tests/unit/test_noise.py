"""A few cells of `make statistics`, with few runs, so that a broken formula is noticed at once."""

import re
import subprocess
import sys
from bisect import bisect_left
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bench.agents import Size
from bench.comparisons import grown_alike, grown_mean, grown_rate, lacking, moved_mean, moved_rate, named
from bench.experiments import (
    Cell,
    drop,
    latency_error,
    mean_change,
    percentile_change,
    percentile_error,
    rate_change,
    rate_error,
    score_error,
    slower,
)
from bench.noise import percentages
from bench.steps import contradictions, repeated, unchanged

pytestmark = pytest.mark.untraced

ROOT: Final = Path(__file__).resolve().parents[2]
SURE: Final = 1e-6  # the chance that a share within its limit looks too large


def most(percent: float, runs: int) -> float:
    """Return the largest percentage of `runs` that is seen, all but surely, where `percent` is true."""

    def chance_of_more(seen: int) -> float:
        from mpmath import betainc  # all of pytest's processes import this module

        return float(betainc(seen + 1, runs - seen, 0, percent / 100, regularized=True))

    return 100 * bisect_left(range(runs), True, key=lambda seen: chance_of_more(seen) < SURE) / runs


ONE_OF = [pytest.param(20, id="few"), pytest.param(1, id="all", marks=pytest.mark.long)]  # runs


@pytest.mark.parametrize("one_of", ONE_OF)
@pytest.mark.parametrize(
    ("cell", "limits", "runs"),
    [
        pytest.param(partial(rate_error, Size(20, 0, 1), 0.0, 0.99), (7, 5.5), 400, id="rate of 99 %"),
        pytest.param(partial(rate_error, Size(20, 0, 5), 0.6, 0.95), (7, 5.5), 400, id="rate, many conversations"),
        pytest.param(partial(percentile_error, Size(20, 0, 3), 0.3, 95.0), (6.5, 6.5), 300, id="percentile"),
        pytest.param(partial(latency_error, Size(20, 0, 1), 0.0, 0.9), (11, 11), 4000, id="mean with a long tail"),
        pytest.param(partial(score_error, Size(20, 0, 3), 0.3, 4.2), (8, 8), 400, id="mean of scores"),
        pytest.param(partial(rate_change, Size(10, 1, 1), 0.9, 0.6, -0.05), (6, 6), 400, id="agents that behave alike"),
        pytest.param(
            partial(rate_change, Size(20, 3, 3), 0.3, 0.95, -0.05), (6, 6), 400, id="rate lower by the margin"
        ),
        pytest.param(partial(rate_change, Size(50, 3, 1), 0.3, 0.9, 0.0), (6.5, 6.5), 300, id="unchanged rate"),
        pytest.param(partial(mean_change, Size(20, 3, 1), 0.3), (6.5, 9.5), 400, id="unchanged mean"),
        pytest.param(partial(percentile_change, Size(50, 3, 3), 0.3, 95.0), (6.5, 6.5), 300, id="unchanged percentile"),
        pytest.param(partial(grown_rate, 3, 0.6), (2,), 100, id="test set that grew by harder cases"),
        pytest.param(grown_alike, (2,), 50, id="test set that grew by cases that always fail"),
        pytest.param(partial(grown_mean, 3), (6.5, 6.5), 50, id="test set that grew by slower cases"),
        pytest.param(partial(lacking, Size(100, 3, 1), 0.05, 0.05), (5,), 100, id="missing on both sides"),
        pytest.param(partial(moved_rate, Size(50, 9, 3), 0.3, 0.9, 0.9), (5,), 100, id="unchanged rate with a margin"),
        pytest.param(partial(moved_mean, Size(50, 3, 1), 0.3, 1.0), (5,), 100, id="unchanged mean with a margin"),
        pytest.param(partial(unchanged, 20, True), (2, 100, 100, 5, 5), 100, id="ten thresholds with margins"),
        pytest.param(partial(unchanged, 20, False), (5, 100, 100, 5, 5), 150, id="ten thresholds without margins"),
        pytest.param(contradictions, (0, 0, 0, 0), 300, id="contradictions"),
    ],
)
def test_verdicts_are_rarely_wrong(cell: Cell, limits: tuple[float, ...], runs: int, one_of: int) -> None:
    runs //= one_of
    for found, limit in zip(percentages(cell, runs, "quick"), limits, strict=False):
        assert found <= most(limit, runs)


@pytest.mark.parametrize("one_of", ONE_OF)
@pytest.mark.parametrize(
    ("cell", "least", "runs"),
    [
        pytest.param(partial(drop, Size(50, 3, 3), 0.0, 0.3), 92, 200, id="rate"),
        pytest.param(partial(slower, Size(50, 1, 1), 1.0, 0.3), 85, 200, id="mean"),
        pytest.param(partial(repeated, 0.3), 94, 1000, id="repetition"),
        pytest.param(partial(moved_rate, Size(50, 1, 1), 0.3, 0.95, 0.8), 70, 100, id="rate beyond its margin"),
        pytest.param(partial(moved_rate, Size(50, 9, 3), 0.3, 0.95, 0.8), 95, 100, id="the same, large baseline"),
        pytest.param(partial(moved_mean, Size(50, 1, 1), 0.3, 1.2), 55, 100, id="mean beyond its margin"),
        pytest.param(partial(lacking, Size(100, 3, 3), 0.02, 0.1), 80, 100, id="more missing values"),
        pytest.param(partial(named, Size(50, 1, 1), 1), 70, 100, id="change that a report names"),
        pytest.param(partial(named, Size(20, 1, 1), 10), 70, 50, id="the same, among ten"),
    ],
)
def test_regressions_are_noticed(cell: Cell, least: float, runs: int, one_of: int) -> None:
    runs //= one_of
    assert 100 - percentages(cell, runs, "quick")[0] <= most(100 - least, runs)


def test_make_statistics_starts() -> None:
    """Run the command of the Makefile, without its experiments."""
    command = re.search(r"^statistics:.*\n\t@\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert command
    shown = subprocess.run(
        [sys.executable, *command[1].split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.stdout.startswith("usage: "), shown.stderr


def test_how_sure_is_sure() -> None:
    assert most(0, 100) == 0
    assert most(5, 400) == pytest.approx(11, abs=0.5)
