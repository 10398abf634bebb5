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
from coval_gate.runs.find import find_launched, runs_with
from coval_gate.text import json_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.runs.leg import Leg
    from coval_gate.waiting import Procedure

LEGS: Final = "legs"  # the name of the state
FRESH_TIME: Final = 60.0  # s for which Coval may not know a run that was just launched; Coval documents no figure


class LegState(NamedTuple):
    """What the post step knows of a leg.

    `cancel`: it has to cancel the run. `launched_again`: it has to end other runs with the leg's key. `failed`: it has
    to mark the run as failed.
    """

    name: str
    key: str
    run_id: str
    cancel: bool
    launched_again: bool = False
    failed: bool = False

    @property
    def needs_post_step(self) -> bool:
        return self.cancel or self.launched_again or self.failed


class RunGuard:
    """Tracks the run of one leg. `save` hands the state of all legs to the post step; it may raise RunnerError."""

    def __init__(self, leg: Leg, clock: Clock, save: Callable[[], None]) -> None:
        self.leg = leg
        self.is_active = False  # from just before the launch until the run needs no cancelling
        self.is_cancelling = False
        self.owes_mark = False  # the gate failed the run, and the run does not have the mark yet
        self.ended: Cancellation | None = None  # what became of a run that the step stopped waiting for
        self._clock = clock
        self._save = save
        self._post_cancels = False

    @property
    def state(self) -> LegState:
        """What the post step has to know."""
        leg = self.leg
        key = leg.tags.key if leg.tags else ""
        return LegState(leg.name, key, leg.run_id, self._post_cancels, leg.launched_again, self.owes_mark)

    def arm(self, *, cancel: bool) -> None:
        """Begin to guard the run; `cancel` says whether the post step has to cancel it. Raises RunnerError."""
        self.is_active, self._post_cancels = True, cancel
        self._save()

    def release(self) -> None:
        """Stop guarding: the run needs no cancelling. If the runner misses it, the post step finds that out."""
        self.is_active = self._post_cancels = False
        with suppress(RunnerError):
            self._save()

    def end_other_launches(
        self, client: Client, *, until: float, log: Callable[[str], None], keep_newest: bool = False
    ) -> Procedure[None]:
        """Cancel the runs of launches that were given up for lost and had an effect after all. Raises CovalError.

        `keep_newest`: where the id of the run is not known, the newest one is that run.
        """
        leg, clock = self.leg, self._clock
        if not (leg.launched_again and leg.tags):
            return
        runs = (yield from runs_with(client, leg.tags.key, leg.body, clock=clock, until=until)).runs
        if runs and keep_newest and not leg.run_id:
            leg.identify(runs[0].run_id, at=clock.now())
        for run in runs:
            if run.run_id != leg.run_id and not run.is_over:
                # It is listed, so a 404 means that Coval does not know it yet.
                yield from cancel_run(client, run.run_id, clock=clock, until=until, fresh_until=until)
                log(f"Cancelled run {run.run_id}: the step launched another in its place.")

    def expect_another(self) -> None:
        """Note that the leg is launched again, so that a second run may turn up. Raises RunnerError."""
        self.leg.launched_again = True
        self._save()

    def expect_no_other(self) -> None:
        """Note that no second run will turn up. If the runner misses it, the post step checks."""
        self.leg.launched_again = False
        with suppress(RunnerError):
            self._save()

    def owe_mark(self, *, owed: bool) -> None:
        """Note whether the run still needs the mark of a failed run. The post step adds a mark that is owed."""
        if owed != self.owes_mark:
            self.owes_mark = owed
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
    entries = json_in(text)
    states = [_leg_state(each) for each in entries] if isinstance(entries, list) else []
    return () if None in states else tuple(each for each in states if each)


def _leg_state(entry: object) -> LegState | None:
    try:
        state = LegState(**entry) if isinstance(entry, dict) else None
    except TypeError:
        return None
    is_whole = state is not None and all(isinstance(each, str) for each in (state.name, state.key, state.run_id))
    return state if is_whole else None
