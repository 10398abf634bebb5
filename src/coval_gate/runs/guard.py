"""The run that a step is answerable for, from just before its launch until nobody needs to end it any more.

What is held is written into the runner's state as well, so that the post step can end the run should this process not
come to it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from coval_gate.errors import CovalError, LaunchUncertain, RunnerError, Unavailable
from coval_gate.runs.cancel import GONE, end_run
from coval_gate.runs.find import runs_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.ci.github.host import Runner
    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client

LATE: Final = 1.5  # s for the answer of a launch that was under way when time was up
FRESH: Final = 60.0  # s for which Coval may not know a run that was launched; how long is not documented
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # s between two looks for a run
NONE: Final = "no run was launched"
NOTHING: Final = (NONE, GONE)  # there was nothing to end
HELD, KEY, RUN_ID = "held", "launch_key", "run_id"  # in the state; `held` is "true" while the run may have to be ended


class Hold:
    """One run: by its id, or by the tag that it was launched with while its id is not known yet."""

    def __init__(
        self, runner: Runner, clock: Clock, *, key: str = "", body: Mapping[str, Any] | None = None, run_id: str = ""
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._key = key
        self._body = body or {}
        self._known = clock.now()
        self.run_id = run_id
        self.is_ending = self.is_over = False

    def know(self, run_id: str) -> None:
        """The id of the run has come to be known."""
        self.run_id = run_id
        self._known = self._clock.now()

    def save(self, *, end: bool) -> None:
        """Tell the post step; `end`: whether it is to end the run, should it come to that. Raises RunnerError."""
        self._runner.save_state({HELD: "true" if end else "false", KEY: self._key, RUN_ID: self.run_id})

    def release(self) -> None:
        """There is nothing left to end; should the runner not hear of it, the post step will find that out."""
        self.is_over = True
        with suppress(RunnerError):
            self._runner.save_state({HELD: "false"})

    def end(self, client: Client, *, until: float, launching: Client | None = None) -> str:
        """End the run unless it is over. Returns what became of it, as a part of a sentence.

        `launching` is the client that may still get the answer to the launch. Raises CovalError if the run cannot be
        ended, or found, until then.
        """
        self.is_ending = True
        if not self.run_id:
            self.know(self._find(client, until, launching))
        if not self.run_id:
            return NONE
        return end_run(client, self.run_id, clock=self._clock, until=until, fresh_until=self._known + FRESH).fate

    def _find(self, client: Client, until: float, launching: Client | None) -> str:
        """The id of the run that was launched; empty if there surely is none."""
        late = self._late(launching, min(LATE, max(0.0, until - self._clock.now())))
        pause = FIRST_PAUSE
        while late is None:
            if runs := runs_with(client, self._key, self._body, until=until).runs:
                return runs[0].run_id
            late = self._late(launching, 0.0)
            if late is None and self._clock.now() >= until:
                raise LaunchUncertain("Launch uncertain", "Coval does not list the run that may have been launched.")
            if late is None:
                self._clock.sleep(max(0.0, min(pause, until - self._clock.now())))
                pause = min(LONGEST_PAUSE, pause * 2)
        return late

    def _late(self, launching: Client | None, within: float) -> str | None:
        """The id in an answer to the launch that came too late; empty if it had no effect, None if nobody knows."""
        try:
            return launching.late_launch(within).run_id if launching else None
        except Unavailable as error:
            return None if error.arrived else ""
        except CovalError:
            return ""  # it was refused
