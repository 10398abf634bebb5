"""A thousand bad days: whatever happens, the promises hold."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from campaign.crew import campaign
from campaign.draw import draw
from campaign.mutants import MUTANTS, Mutant
from campaign.play import play
from campaign.promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Callable

    from campaign.play import Played

SCHEDULES = 1000
JOBS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 0  # with pytest-xdist the other cores are busy
LEAST = 10  # times that each story and each verdict has to come up, lest the campaign prove nothing about it

# Measuring coverage would double the campaign's time, and code that only the campaign runs needs a test of its own.
pytestmark = pytest.mark.no_cover


def test_every_promise_holds_under_a_thousand_schedules(tell: Callable[[object], None]) -> None:
    tally = campaign(range(SCHEDULES), jobs=JOBS)
    tell(tally)
    assert not tally.failures, "\n\n".join(each.account for each in tally.failures[:5])
    assert min(tally.stories.values()) >= LEAST, tally.stories
    for verdict in ("passed", "failed", "error", "timed_out", "cancelled", "killed"):
        assert tally.verdicts[verdict] >= LEAST, tally.verdicts


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_a_seed_replays(seed: int) -> None:
    assert _essence(play(draw(seed))) == _essence(play(draw(seed)))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_up_to_date(mutant: Mutant) -> None:
    for each in mutant.breaks:
        each.prepare()
    assert set(mutant.promises) <= {promise.__name__ for promise in PROMISES}


def _essence(played: Played) -> str:
    """All that a play comes to, but for what is meant to be different each time: nonces and the log's stop tokens."""
    told = []
    for taken in played.taken:
        told += [str(taken.exit_code), str(taken.began), str(taken.ended), *map(str, taken.sent), taken.log]
        told += [f"{name}: {content!r}" for name, content in taken.files.items() if name != "event.json"]
    told += [f"{record.run_id} {record.create_time} {record.cancel_time}" for record in played.world.runs]
    return re.sub(r"[0-9a-f]{16,}|[0-9a-f-]{36}|/dev/shm/\S+|ghadelimiter_\S+|127\.0\.0\.1:\d+", "…", "\n".join(told))
