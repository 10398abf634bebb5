"""No invariant breaks in many schedules of faults, signals and kills: two hundred in CI, and the first few always."""

import os
import re
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import get_origin

import pytest

from campaign.breaks import BREAKS
from campaign.generate import DIMENSIONS, generate, seeds_of
from campaign.pool import Tally, describe, run_campaign
from campaign.simulate import simulate
from support import TALLY

SCHEDULES = 200  # of all dimensions
FIRST = 3  # of each dimension are part of `make test`
JOBS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 0  # with pytest-xdist the other cores are busy
LEAST = 5  # occurrences of each dimension and verdict in the campaign

# Measuring coverage would double the campaign's time, and code that only the campaign runs needs a test of its own.
pytestmark = pytest.mark.untraced


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_all_invariants_hold_in_the_first_schedules(dimension: str) -> None:
    assert_no_failures(run_campaign(seeds_of([dimension], 0, FIRST), jobs=JOBS))


@pytest.mark.long
def test_all_invariants_hold_in_two_hundred_schedules(record_property: Callable[[str, object], None]) -> None:
    tally = run_campaign(range(SCHEDULES), jobs=JOBS)
    record_property(TALLY, str(tally))
    assert_no_failures(tally)
    verdicts = ("passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "killed")
    for name in (*DIMENSIONS, *verdicts, "repeated"):
        assert tally.counts[name] >= LEAST, tally


@pytest.mark.parametrize("seed", range(0, 60, 30))
def test_same_seed_gives_same_history(seed: int) -> None:
    first, second = (describe(simulate(generate(seed))) for _ in range(2))
    assert re.sub("campaign-[^/]+", "", first) == re.sub("campaign-[^/]+", "", second)


def test_breaks_reach_in_by_the_faces_of_packages(subtests: pytest.Subtests) -> None:
    for name, change in BREAKS.items():
        with subtests.test(name):
            assert "._" not in change.target
            assert ":_" not in change.target
            _, _, original = change.find()
            assert iscoroutinefunction(change.new) or not is_awaited(original)  # else a crash would catch it


def is_awaited(function: object) -> bool:
    """Return whether the caller waits for what it returns."""
    returned = getattr(function, "__annotations__", {}).get("return")
    return iscoroutinefunction(function) or get_origin(returned) is Coroutine


def assert_no_failures(tally: Tally) -> None:
    """Assert that no schedule failed, or describe the first that did."""
    assert not tally.failures, "\n\n".join(failure.description for failure in tally.failures[:5])
