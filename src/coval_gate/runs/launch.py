"""Launches a run exactly once: adopts a run whose response was lost, or resumes the run of an earlier attempt.

A launch starts phone calls that cost money, so it is sent again only if it surely had no effect: if it never left, if
Coval itself said so, or if Coval has not listed the run for a while after the connection was closed without a response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.base.errors import CovalError, InputError, LaunchUncertain, RunnerError
from coval_gate.base.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.model.run import Run
    from coval_gate.runs.earlier import EarlierRuns
    from coval_gate.runs.legs import Session, Trial
    from coval_gate.runs.tags import Tags

SETTLING: Final = 60.0  # s after the end of a launch; a run that Coval does not list by then was not launched
CHECKING: Final = 30.0  # s to check for a second run right after the launch; the step checks again at its end
MOST_LAUNCHES: Final = 3  # of one run, each of which was lost without a trace


class Launcher(NamedTuple):
    """What the launch of a trial needs; the session's deadline bounds all of it.

    `check` raises InputError if a launch would be useless. `record` writes the id of the run down, and may raise
    RunnerError.
    """

    session: Session
    trial: Trial
    tags: Tags
    check: Callable[[], Procedure[None]]
    record: Callable[[str], None]

    def launch_guarded(self, *, resume: bool, supersede: bool, cancel: bool) -> Procedure[bool]:
        """Launch the run, guarded from just before, and return whether it is one of an earlier attempt.

        `resume` allows to take over such a run, `supersede` cancels older ones first; `cancel` says whether the post
        step may cancel this one. Raises as `launch`, RunnerError, and InputError (nothing was launched).
        """
        trial, clock = self.trial, self.session.clock
        resumes = resume and self.tags.has_earlier_attempt
        earlier = (yield from self._earlier_runs().to_resume()) if resumes else None
        if earlier:
            trial.identify(earlier.run_id, at=clock.now())
            trial.resumed = True
            trial.arm(cancel=cancel)
            self.record(earlier.run_id)
        else:
            yield from self._check()
        if supersede:
            yield from self._earlier_runs().supersede(keep=earlier.run_id if earlier else "")
        if earlier:
            return True
        try:
            trial.arm(cancel=cancel)
        except RunnerError:
            trial.release()  # nothing was launched
            raise
        try:
            run = yield from self.launch()
        except LaunchUncertain:
            raise
        except CovalError:
            trial.release()  # nothing was launched
            raise
        trial.identify(run.run_id, at=clock.now())
        self.record(run.run_id)
        yield from self._end_other_launches()
        return False

    def launch_instead(self, *, gone: bool, cancel: bool) -> Procedure[bool]:
        """Launch a run in place of one that was taken over, and turned out to be cancelled. Raises as `launch_guarded`.

        `gone`: Coval answers 404. Returns False, without a launch, if it lists that run as unfinished all the same.
        """
        if gone:
            listed = yield from self._earlier_runs().to_resume()
            if listed and listed.run_id == self.trial.run_id:
                return False
        self.session.log(f"An earlier attempt had cancelled run {self.trial.run_id}, so the step launches another.")
        self.trial.forget()
        yield from self.launch_guarded(resume=False, supersede=False, cancel=cancel)
        return True

    def launch(self) -> Procedure[Run]:
        """Launch the run. Raises Rejected, Unavailable (no run exists), RunnerError or LaunchUncertain (one may)."""
        session, trial = self.session, self.trial
        since = session.clock.time()
        for left in reversed(range(MOST_LAUNCHES)):
            try:
                return (
                    yield from session.client.launch_run(
                        self._request, until=session.deadline, sent=trial.launches.append
                    )
                )
            except LaunchUncertain as lost:
                session.log(f"{lost.what} {self._what_to_check()}")
                if run := (yield from self._find_lost(lost, since)):
                    session.log("The run began, so the step takes it over.")
                    return run
                if lost.rejection:
                    raise lost.rejection from None
                if not left:
                    raise
                session.log("The run did not begin, so the step launches it again.")
                trial.expect_another()
        raise AssertionError  # the last round returns or raises

    @property
    def _request(self) -> LaunchRequest:
        if self.trial.request is None:
            raise ValueError("the run was launched elsewhere")
        return self.trial.request

    def _check(self) -> Procedure[None]:
        try:
            yield from self.check()
        except InputError:
            self.trial.release()  # nothing was launched
            raise

    def _end_other_launches(self) -> Procedure[None]:
        from coval_gate.runs.cancel import end_other_launches

        session = self.session
        try:
            until = min(session.deadline, session.clock.now() + CHECKING)
            yield from end_other_launches(session._replace(deadline=until), self.trial)
        except CovalError as error:
            session.log(
                f"Could not check whether another launch began a run: {error.what} The step checks again later."
            )

    def _earlier_runs(self) -> EarlierRuns:
        from coval_gate.runs.earlier import EarlierRuns  # most launches need none, and the start is measured

        return EarlierRuns(session=self.session, tags=self.tags, ids=self.trial.ids)

    def _what_to_check(self) -> str:
        if self.trial.open_calls:
            return "The connection stays open. Checking meanwhile whether the run began."
        left = self.session.deadline - self.session.clock.now()
        return f"Checking for up to {duration(min(SETTLING, left))} whether the run began."

    def _find_lost(self, lost: LaunchUncertain, since: float) -> Procedure[Run | None]:
        """Return the run of a launch whose response was lost; None if it surely had no effect.

        Raises LaunchUncertain; if the search is rejected in the same way as the launch, the launch's rejection.
        """
        from coval_gate.runs.find import find_launched

        try:
            return (yield from find_launched(self.session, self.trial, settling=SETTLING, since=since))
        except LaunchUncertain as error:
            launch, search = lost.rejection, error.rejection
            if launch and search and launch.status == search.status:
                raise launch from None
            what = f"{lost.what} {error.what}"
            advice = "\n".join(text for text in (lost.advice, error.advice) if text)
            raise LaunchUncertain(lost.title, what, advice=advice, link=error.link) from None
