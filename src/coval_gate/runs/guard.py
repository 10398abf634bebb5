"""Guards the runs that a step owns: the post step learns which of them it has to cancel if this process cannot.

Each guard keeps one leg, from just before its launch until the run needs no cancelling any more. The state that the
post step reads is a JSON list with an entry for each leg.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.errors import RunnerError
from coval_gate.model.outcomes import Cancellation
from coval_gate.runs.cancel import cancel_run
from coval_gate.runs.find import find_launched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.runs.leg import Leg
    from coval_gate.waiting import Procedure

LEGS: Final = "legs"  # the name of the state
FRESH_TIME: Final = 60.0  # s for which Coval may not know a run that was just launched; Coval documents no figure


class LegState(NamedTuple):
    """What the post step knows of a leg; `cancel` says whether it has to cancel the run."""

    name: str
    key: str
    run_id: str
    cancel: bool


class RunGuard:
    """Tracks the run of one leg. `save` hands the state of all legs to the post step; it may raise RunnerError."""

    def __init__(self, leg: Leg, clock: Clock, save: Callable[[], None]) -> None:
        self.leg = leg
        self.is_active = False  # from just before the launch until the run needs no cancelling
        self.is_cancelling = False
        self._clock = clock
        self._save = save
        self._post_cancels = False

    @property
    def state(self) -> LegState:
        """What the post step has to know."""
        key = self.leg.tags.key if self.leg.tags else ""
        return LegState(self.leg.name, key, self.leg.run_id, self._post_cancels)

    def arm(self, *, cancel: bool) -> None:
        """Begin to guard the run; `cancel` says whether the post step has to cancel it. Raises RunnerError."""
        self.is_active, self._post_cancels = True, cancel
        self._save()

    def release(self) -> None:
        """Stop guarding: the run needs no cancelling. If the runner misses it, the post step finds that out."""
        self.is_active = self._post_cancels = False
        with suppress(RunnerError):
            self._save()

    def cancel(self, client: Client, *, until: float) -> Procedure[Cancellation]:
        """Find the run if its id is not known, and cancel it unless it is over.

        Raises CovalError if it cannot be found or cancelled `until` then.
        """
        self.is_cancelling = True
        leg, clock = self.leg, self._clock
        if not leg.run_id:
            run = yield from find_launched(client, leg, clock=clock, until=until)
            if run is None:
                return Cancellation(outcome="not_launched")
            leg.identify(run.run_id, at=clock.now())
        fresh_until = leg.known_since + FRESH_TIME
        return (yield from cancel_run(client, leg.run_id, clock=clock, until=until, fresh_until=fresh_until))


def write_state(guards: Sequence[RunGuard]) -> str:
    """Return the state of all legs as JSON."""
    return json.dumps([guard.state._asdict() for guard in guards])


def read_state(text: str) -> tuple[LegState, ...]:
    """Read the state of all legs; empty where the main step wrote none, or it cannot be read."""
    try:
        return tuple(LegState(**each) for each in json.loads(text))
    except (ValueError, TypeError):
        return ()
