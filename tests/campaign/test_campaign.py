"""All invariants hold in many schedules of faults, signals and kills: five hundred in CI, and the first few always."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from campaign.attached import ATTACHED, OF_ATTACH
from campaign.generate import generate
from campaign.invariants import INVARIANTS
from campaign.legs import OF_LEGS, SEVERAL_LEGS
from campaign.legs_beside import LEGS_BESIDE, OF_BOTH
from campaign.mutants import MUTANTS
from campaign.newest import NEWEST, OF_FOUND
from campaign.options import OF_OPTIONS
from campaign.pool import Rules, Tally, run_campaign
from campaign.simulate import History, simulate
from selection import shares

SCHEDULES = 500
FIRST = 20  # of them are part of `make test`
JOBS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 0  # with pytest-xdist the other cores are busy
LEAST = 5  # occurrences of each verdict in each half of the campaign
LEAST_OF_WORKFLOW = 3
BLOCK = 50  # seeds of one half, then of the other: rare workflows are in both

# Measuring coverage would double the campaign's time, and code that only the campaign runs needs a test of its own.
pytestmark = pytest.mark.untraced


def test_all_invariants_hold_in_the_first_schedules(print_tally: Callable[[object], None]) -> None:
    tally = run_campaign(range(FIRST), jobs=JOBS)
    print_tally(tally)
    assert_no_failures(tally)
    assert min(tally.workflows.values()) >= 1, tally.workflows


@pytest.mark.long
@pytest.mark.parametrize("half", [0, 1])  # each on a core
def test_all_invariants_hold_in_five_hundred_schedules(half: int, print_tally: Callable[[object], None]) -> None:
    tally = run_campaign([seed for seed in range(SCHEDULES) if seed // BLOCK % 2 == half], jobs=JOBS)
    print_tally(tally)
    assert_no_failures(tally)
    assert min(tally.workflows.values()) >= LEAST_OF_WORKFLOW, tally.workflows
    assert tally.repeated >= LEAST
    for verdict in ("passed", "failed", "error", "timed_out", "cancelled", "killed"):
        assert tally.verdicts[verdict] >= LEAST, tally.verdicts


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 60), marks=pytest.mark.long)])
@pytest.mark.parametrize("rules", [SEVERAL_LEGS, LEGS_BESIDE, NEWEST], ids=["legs", "base", "newest"])
def test_invariants_hold_for_other_kinds_of_schedules(rules: Rules, seeds: range) -> None:
    tally = run_campaign(seeds, jobs=JOBS, rules=rules)
    assert_no_failures(tally)


@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 108), marks=pytest.mark.long)])
def test_invariants_hold_for_runs_that_a_process_answers(seeds: range, print_tally: Callable[[object], None]) -> None:
    tally = run_campaign(seeds, jobs=JOBS, rules=ATTACHED)
    print_tally(tally)
    assert_no_failures(tally)
    if len(seeds) > FIRST:
        assert min(tally.verdicts["passed"], tally.verdicts["error"]) >= LEAST, tally.verdicts
        assert tally.verdicts["failed"], tally.verdicts


@pytest.mark.parametrize("seeds", shares(range(0, 60, 3), one_of=5))
def test_same_seed_gives_same_history(seeds: list[int]) -> None:
    for seed in seeds:
        assert _fingerprint(simulate(generate(seed))) == _fingerprint(simulate(generate(seed))), seed


def test_mutants_apply_and_name_known_invariants() -> None:
    names = {invariant.__name__ for invariant in (*INVARIANTS, *OF_LEGS, *OF_OPTIONS, *OF_BOTH, *OF_FOUND, *OF_ATTACH)}
    for mutant in MUTANTS:
        assert set(mutant.invariants) <= names, mutant.name
        for sabotage in mutant.breaks:
            try:
                sabotage.prepare()
            except LookupError as error:
                raise AssertionError(f"{mutant.name} does not apply") from error


def assert_no_failures(tally: Tally) -> None:
    """Assert that no schedule failed, or describe the first that did."""
    assert not tally.failures, "\n\n".join(failure.description for failure in tally.failures[:5])


def _fingerprint(history: History) -> str:
    """Return everything that happened, without random values such as nonces and delimiters."""
    lines = []
    for result in history.results:
        lines += [str(result.exit_code), str(result.began), str(result.ended), *map(str, result.requests), result.log]
        lines += [f"{name}: {content!r}" for name, content in result.files.items() if name != "event.json"]
    lines += [f"{record.run_id} {record.create_time} {record.cancel_time}" for record in history.world.runs]
    return re.sub(r"[0-9a-f]{16,}|[0-9a-f-]{36}|/dev/shm/\S+|ghadelimiter_\S+|127\.0\.0\.1:\d+", "…", "\n".join(lines))
