"""Launches a leg exactly once: adopts a run whose response was lost, resumes that of an earlier attempt.

A launch starts phone calls that cost money, so it is sent again only if it surely had no effect: if it never left, if
Coval itself said so, or if Coval has not listed the run for a while after the connection was closed without a response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.errors import CovalError, InputError, LaunchUncertain, RunnerError
from coval_gate.runs.earlier import EarlierRuns
from coval_gate.runs.find import find_launched
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run
    from coval_gate.runs.guard import RunGuard
    from coval_gate.runs.leg import Leg
    from coval_gate.runs.tags import Tags
    from coval_gate.waiting import Procedure

SETTLING: Final = 60.0  # s after the end of a launch; a run that Coval does not list by then was not launched
CHECKING: Final = 30.0  # s to check for a second run right after the launch; the step checks again at its end
MOST_LAUNCHES: Final = 3  # of one leg, each of which was lost without a trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What the launch of a leg needs; `until` bounds all of it.

    `check` raises InputError where a launch would be in vain. `record` writes the id of the run down, and may raise
    RunnerError. `log` and `warn` take a sentence for people.
    """

    client: Client
    leg: Leg
    tags: Tags
    clock: Clock
    until: float
    check: Callable[[], Procedure[None]]
    record: Callable[[str], None]
    log: Callable[[str], None]
    warn: Callable[[str], None]

    def launch_guarded(self, guard: RunGuard, *, resume: bool, supersede: bool, cancel: bool) -> Procedure[bool]:
        """Launch the run with `guard` armed from just before, and return whether it is one of an earlier attempt.

        `resume` allows to take over such a run, `supersede` cancels older ones first; `cancel` says whether the post
        step may cancel this one. Raises as `launch`, RunnerError, and InputError (nothing was launched).
        """
        runs = self._earlier_runs()
        earlier = (yield from runs.to_resume()) if resume else None
        if earlier:
            self.leg.identify(earlier.run_id, at=self.clock.now())
            self.leg.resumed = True
            guard.arm(cancel=cancel)
            self.record(earlier.run_id)
        else:
            yield from self._check(guard)
        if supersede:
            yield from runs.supersede(keep=earlier.run_id if earlier else "")
        if earlier:
            return True
        try:
            guard.arm(cancel=cancel)
        except RunnerError:
            guard.release()  # nothing was launched
            raise
        try:
            run = yield from self.launch(guard)
        except LaunchUncertain:
            raise
        except CovalError:
            guard.release()  # nothing was launched
            raise
        self.leg.identify(run.run_id, at=self.clock.now())
        self.record(run.run_id)
        yield from self._end_other_launches(guard)
        return False

    def launch_instead(self, guard: RunGuard, *, gone: bool, cancel: bool) -> Procedure[bool]:
        """Launch a run in place of one that was taken over, and turned out to be cancelled. Raises as `launch_guarded`.

        `gone`: Coval answers 404. Returns False, without a launch, if it lists that run as unfinished all the same.
        """
        if gone:
            listed = yield from self._earlier_runs().to_resume()
            if listed and listed.run_id == self.leg.run_id:
                return False
        self.log(f"An earlier attempt had cancelled run {self.leg.run_id}, so the step launches another.")
        self.leg.forget()
        yield from self.launch_guarded(guard, resume=False, supersede=False, cancel=cancel)
        return True

    def launch(self, guard: RunGuard) -> Procedure[Run]:
        """Launch the run. Raises Rejected, Unavailable (no run exists), RunnerError or LaunchUncertain (one may)."""
        since = self.clock.time()
        for left in reversed(range(MOST_LAUNCHES)):
            try:
                return (
                    yield from self.client.launch_run(self.leg.body, until=self.until, sent=self.leg.launches.append)
                )
            except LaunchUncertain as lost:
                self.log(f"{lost.what} {self._what_to_check()}")
                if run := (yield from self._find_lost(lost, since)):
                    self.log("The run began, so the step takes it over.")
                    return run
                if lost.rejection:
                    raise lost.rejection from None
                if not left:
                    raise
                self.log("The run did not begin, so the step launches it again.")
                guard.expect_another()
        raise AssertionError  # the last round returns or raises

    def _check(self, guard: RunGuard) -> Procedure[None]:
        try:
            yield from self.check()
        except InputError:
            guard.release()  # nothing was launched
            raise

    def _end_other_launches(self, guard: RunGuard) -> Procedure[None]:
        try:
            until = min(self.until, self.clock.now() + CHECKING)
            yield from guard.end_other_launches(self.client, until=until, log=self.log)
        except CovalError as error:
            self.log(f"Could not check whether another launch began a run: {error.what} The step checks again later.")

    def _earlier_runs(self) -> EarlierRuns:
        return EarlierRuns(
            client=self.client,
            tags=self.tags,
            body=self.leg.body,
            clock=self.clock,
            until=self.until,
            log=self.log,
            warn=self.warn,
        )

    def _what_to_check(self) -> str:
        if self.leg.open_calls:
            return "The connection stays open. Checking meanwhile whether the run began."
        left = self.until - self.clock.now()
        return f"Checking for up to {duration(min(SETTLING, left))} whether the run began."

    def _find_lost(self, lost: LaunchUncertain, since: float) -> Procedure[Run | None]:
        """Return the run of a launch whose response was lost; None if it surely had no effect.

        Raises LaunchUncertain, or the rejection of the launch if whatever sent it rejects the search in the same way.
        """
        try:
            return (
                yield from find_launched(
                    self.client, self.leg, clock=self.clock, until=self.until, settling=SETTLING, since=since
                )
            )
        except LaunchUncertain as error:
            launch, search = lost.rejection, error.rejection
            if launch and search and launch.status == search.status:
                raise launch from None
            what = f"{lost.what} {error.what}"
            advice = "\n".join(each for each in (lost.advice, error.advice) if each)
            raise LaunchUncertain(lost.title, what, advice=advice, link=error.link) from None
