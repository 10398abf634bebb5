"""Finishes what the main step left: cancels its runs, and marks those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.errors import GateError
from coval_gate.report.wording.judgements import cancellation_text
from coval_gate.report.wording.promotion import not_marked_text
from coval_gate.runs.guard import cancel_trial, end_other_launches
from coval_gate.runs.retag import mark
from coval_gate.runs.schedule import together
from coval_gate.runs.tags import FAILED
from coval_gate.times import POST_CANCELLING, Times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.flow.progress import Progress
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure


def finish_trials(progress: Progress, trials: Sequence[Trial]) -> Procedure[None]:
    """Cancel the runs that the main step left unfinished, and mark those that failed."""
    if progress.inputs.api_key is None:
        _warn_of_undone(progress, trials)
        return
    now = progress.clock.now()
    session = progress.session(Times.of_post_step(now))._replace(deadline=now + POST_CANCELLING)
    legs = {leg.name: leg for leg in progress.legs}
    works = [_Work(progress.session_of(legs[trial.leg], session), trial) for trial in trials]
    results = yield from together([work.do() for work in works], session.clock)
    for work, result in zip(works, results, strict=True):
        work.report(result)


def _warn_of_undone(progress: Progress, trials: Sequence[Trial]) -> None:
    """Warn of what cannot be done without an API key."""
    left = [trial for trial in trials if trial.post_cancels or trial.launched_again]
    if left:
        runs = " and ".join(f"run {trial.run_id}" if trial.run_id else "a run" for trial in left)
        progress.warn(f"The main step may have left {runs} unfinished; cancelling needs the API key.")
    if failed := [trial.run_id for trial in trials if trial.owes_mark]:
        progress.warn(not_marked_text(failed, "there is no API key.", ""))


class _Work:
    """What the main step left of one trial."""

    def __init__(self, session: Session, trial: Trial) -> None:
        self._session = session
        self._trial = trial
        self._is_marking = False

    def do(self) -> Procedure[None]:
        """Cancel the run, and any second run, and mark one that failed. Raises CovalError."""
        session, trial = self._session, self._trial
        if trial.post_cancels:
            trial.ended = yield from cancel_trial(session, trial)
        yield from end_other_launches(session, trial)
        if trial.owes_mark:
            self._is_marking = True
            sent = (trial.key,) if trial.key else ()
            if (yield from mark(session, trial.run_id, FAILED, sent=sent)):
                session.log(f"Marked run {trial.run_id} as failed: it will not be a baseline.")

    def report(self, result: Exception | None) -> None:
        """Log what became of the run, and warn of what could not be done. Raises any other error."""
        session, trial = self._session, self._trial
        if trial.ended:
            which = f" ({trial.run_id})" if trial.run_id else ""
            session.log(f"The main step left a run behind: {cancellation_text(trial.ended)}{which}.")
        if isinstance(result, GateError):
            session.warn(self._undone_text(result))
        elif result:
            raise result

    def _undone_text(self, error: GateError) -> str:
        """Return what could not be done, and why."""
        trial = self._trial
        if self._is_marking:
            return not_marked_text([trial.run_id], error.what, error.advice)
        missed = trial.post_cancels and not trial.ended
        undone = "The run could not be cancelled" if missed else "Could not check for a second run"
        return "\n".join(filter(None, (f"{undone}: {error.what}", error.advice)))
