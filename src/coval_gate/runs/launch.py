"""Launches a leg exactly once: adopts a run whose answer was lost, resumes that of an earlier attempt.

A launch starts phone calls that cost money, so it is sent again only if it surely had no effect: if it never left, if
Coval itself said so, or if Coval has not listed the run for a while after its answer was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coval_gate.errors import CovalError, LaunchUncertain
from coval_gate.runs.cancel import end_run
from coval_gate.runs.find import runs_with
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run
    from coval_gate.runs.guard import Hold
    from coval_gate.runs.tags import Identity

SETTLING: Final = 60.0  # s after which a run that Coval does not list was surely not launched
LOOK_PAUSE: Final = 5.0  # s between two looks for it
ASKING: Final = 30.0  # s for questions before the launch, which can do without the answer
MOST_LAUNCHES: Final = 3  # of one leg, each of which was lost without a trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What a launch needs. `log` and `warn` take a sentence for the people who wait, `until` bounds all of it."""

    client: Client
    body: Mapping[str, Any]
    identity: Identity
    clock: Clock
    until: float
    log: Callable[[str], None]
    warn: Callable[[str], None]

    def launch(self) -> Run:
        """Launch the run. Raises Rejected, Unavailable (no run exists) or LaunchUncertain (one may exist)."""
        since = self.clock.time()
        for left in reversed(range(MOST_LAUNCHES)):
            try:
                return self.client.launch_run(self.body, until=self.until)
            except LaunchUncertain as lost:
                self.log(f"{lost.what} Looking whether the run began, for {duration(SETTLING)} at most.")
                if run := self._lost(lost, since):
                    self.log("It did, so it is taken over.")
                    return run
                if not left:
                    raise
                self.log("It did not, so it is launched again.")
        raise AssertionError  # the last round returns or raises

    def launch_into(self, hold: Hold, *, resume: bool, supersede: bool, end: bool) -> str:
        """Have `hold` hold the run, from just before its launch on; returns how it came about, for the log.

        With `resume` it may be that of an earlier attempt, with `supersede` older ones are ended; `end` says whether
        the post step may end this one. Raises as `launch` does, and RunnerError.
        """
        earlier = self.resume() if resume else None
        if supersede:
            self.supersede(keep=earlier.run_id if earlier else "")
        if earlier:
            hold.know(earlier.run_id)
        hold.save(end=end)
        if earlier:
            return "Taking over what an earlier attempt launched, run"
        try:
            hold.know(self.launch().run_id)
        except LaunchUncertain:
            raise
        except CovalError:
            hold.release()  # nothing was launched
            raise
        return "Launched run"

    def resume(self) -> Run | None:
        """The unfinished run that an earlier attempt at this step launched; None if there is none."""
        launch = self.identity.launch
        if launch is None or launch.attempt == 1:
            return None
        runs = self._line("Whether an earlier attempt left a run cannot be found out")
        return next((run for run in runs if self.identity.continues(run.tags) and not run.is_over), None)

    def supersede(self, *, keep: str = "") -> None:
        """End the unfinished runs whose place this one takes, but for `keep`."""
        for run in self._line("Older runs cannot be found, so they go on"):
            if run.is_over or run.run_id == keep or not self.identity.supersedes(run.tags):
                continue
            try:
                until = self._soon()
                ending = end_run(self.client, run.run_id, clock=self.clock, until=until, fresh_until=until)
                if ending.by_us:
                    self.log(f"Ended run {run.run_id}, whose place this one takes.")
            except CovalError as error:
                self.warn(f"Run {run.run_id} is out of date, but cannot be ended: {error.what}")

    def _line(self, trouble: str) -> tuple[Run, ...]:
        if not self.identity.line:
            return ()
        try:
            return runs_with(self.client, self.identity.line, self.body, until=self._soon()).runs
        except CovalError as error:
            self.warn(f"{trouble}: {error.what}")
            return ()

    def _lost(self, lost: LaunchUncertain, since: float) -> Run | None:
        """The run of a launch whose answer was lost; None if it surely does not exist. Raises LaunchUncertain."""
        settled = self.clock.now() + SETTLING
        while True:
            try:
                found = runs_with(self.client, self.identity.key, self.body, until=self.until, since=since)
            except CovalError as error:
                what = f"{lost.what} Whether the run began cannot be found out: {error.what}"
                raise LaunchUncertain(lost.title, what, advice=lost.advice, link=error.link) from None
            now = self.clock.now()
            if found.runs:
                return found.runs[0]
            if now >= settled and found.bare:
                ids = " or ".join(run.run_id for run in found.bare)
                raise LaunchUncertain(lost.title, f"{lost.what} It may have become {ids}.", advice=lost.advice)
            if now >= settled:
                return None
            if now >= self.until:
                raise lost
            self.clock.sleep(min(LOOK_PAUSE, max(settled, now) - now, max(0.0, self.until - now)))

    def _soon(self) -> float:
        return min(self.until, self.clock.now() + ASKING)
