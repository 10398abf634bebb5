"""Ends runs, and never deletes a finished one.

Coval has one call for both, `DELETE /runs/{id}`: it ends a run that is not finished and deletes one that is. So the run
is looked at before each try, also before a repeated one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.coval.errors import unavailable
from coval_gate.errors import CovalError, NotFound, Unavailable
from coval_gate.model.statuses import CANCELLED, DELETED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run

ENDED: Final = (CANCELLED, DELETED)  # what a run shows that was ended
OLD: Final = 2.0  # s after which an answer that says that a run is not over may be wrong
GONE: Final = "the run is not there any more"
ENDING: Final = 30.0  # s for ending a run
PAUSE: Final = 2.0  # s between two tries


class Ending(NamedTuple):
    """What came of it: the run as it was before, None if Coval has no such run; and whether we ended it."""

    run: Run | None
    by_us: bool

    @property
    def fate(self) -> str:
        """What became of the run, as a part of a sentence."""
        if self.by_us:
            return "the run was ended"
        return f"the run was over already ({self.run.status})" if self.run else GONE


def end_runs(client: Client, run_ids: Iterable[str], *, clock: Clock, tell: Callable[[str], None]) -> list[str]:
    """End every one of the runs, and tell each in a sentence. Raises the first error once all were tried."""
    told, errors = [], []
    for run_id in run_ids:
        try:
            ending = end_run(client, run_id, clock=clock, until=clock.now() + ENDING)
            told.append(f"Run {run_id}: {ending.fate}.")
            tell(told[-1])
        except CovalError as error:
            tell(f"Run {run_id}: {error.what}")
            errors.append(error)
    if errors:
        raise errors[0]
    return told


def end_run(client: Client, run_id: str, *, clock: Clock, until: float, fresh_until: float = 0.0) -> Ending:
    """End a run unless it is over; one that is not there is over.

    `fresh_until`: the run was launched a moment ago, so that Coval may not know it before that time on the clock.
    Raises CovalError if it cannot be ended `until` then.
    """
    run: Run | None = None
    sent = False  # a try whose answer was lost may have ended it all the same
    while True:
        try:
            asked = clock.now()
            run = client.get_run(run_id, until=until)
            if run.is_over:
                return Ending(run, by_us=sent and run.status in ENDED)
            if clock.now() - asked > OLD:
                raise unavailable("The look at the run", "took so long that the run may be over by now.", arrived=False)
            sent = True
            client.end_run(run_id, until=until)
            return Ending(run, by_us=True)
        except NotFound:
            if sent or clock.now() >= fresh_until:
                return Ending(run, by_us=sent)
            if clock.now() >= until:
                raise
        except Unavailable:
            if clock.now() >= until:
                raise
        clock.sleep(max(0.0, min(PAUSE, until - clock.now())))
