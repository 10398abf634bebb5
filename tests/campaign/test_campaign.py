"""All invariants hold in a thousand schedules of faults, signals and kills."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from campaign.fuzz import KINDS
from campaign.generate import generate
from campaign.invariants import INVARIANTS
from campaign.mutants import MUTANTS, Mutant
from campaign.pool import run_campaign
from campaign.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from campaign.simulate import History

SCHEDULES = 1000
JOBS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 0  # with pytest-xdist the other cores are busy
LEAST = 10  # occurrences of each workflow and each verdict, so that the campaign covers them all

# Measuring coverage would double the campaign's time, and code that only the campaign runs needs a test of its own.
pytestmark = pytest.mark.no_cover


def test_all_invariants_hold_in_a_thousand_schedules(print_tally: Callable[[object], None]) -> None:
    tally = run_campaign(range(SCHEDULES), jobs=JOBS)
    print_tally(tally)
    assert not tally.failures, "\n\n".join(each.description for each in tally.failures[:5])
    assert min(tally.workflows.values()) >= LEAST, tally.workflows
    assert tally.repeated >= LEAST
    for verdict in ("passed", "failed", "error", "timed_out", "cancelled", "killed"):
        assert tally.verdicts[verdict] >= LEAST, tally.verdicts


@pytest.mark.parametrize(
    ("kind", "schedules"), [("lasting", 200), ("passing", 100), ("compared_lasting", 100), ("compared_passing", 100)]
)
def test_damaged_responses_do_not_turn_a_check(kind: str, schedules: int) -> None:
    tally = run_campaign(range(schedules), jobs=JOBS, rules=KINDS[kind])
    assert not tally.failures, "\n\n".join(each.description for each in tally.failures[:5])
    assert tally.faults > schedules / 2


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_same_seed_gives_same_history(seed: int) -> None:
    assert _fingerprint(simulate(generate(seed))) == _fingerprint(simulate(generate(seed)))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_applies_and_names_known_invariants(mutant: Mutant) -> None:
    for each in mutant.breaks:
        each.prepare()
    assert set(mutant.invariants) <= {invariant.__name__ for invariant in INVARIANTS}


def _fingerprint(history: History) -> str:
    """Return everything that happened, without random values such as nonces and delimiters."""
    lines = []
    for result in history.results:
        lines += [str(result.exit_code), str(result.began), str(result.ended), *map(str, result.requests), result.log]
        lines += [f"{name}: {content!r}" for name, content in result.files.items() if name != "event.json"]
    lines += [f"{record.run_id} {record.create_time} {record.cancel_time}" for record in history.world.runs]
    return re.sub(r"[0-9a-f]{16,}|[0-9a-f-]{36}|/dev/shm/\S+|ghadelimiter_\S+|127\.0\.0\.1:\d+", "…", "\n".join(lines))
