"""Guards the runs that a step owns: cancels each of them, and any second run that a lost launch began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.model.outcomes import Cancellation
from coval_gate.runs.cancel import cancel_run
from coval_gate.runs.find import find_launched, runs_with

if TYPE_CHECKING:
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure

FRESH_TIME: Final = 60.0  # s for which Coval may not know a run that was just launched; Coval documents no figure


def cancel_trial(session: Session, trial: Trial) -> Procedure[Cancellation]:
    """Find the run if its id is not known, and cancel it unless it is over.

    Raises CovalError if it cannot be found or cancelled by the deadline.
    """
    trial.is_cancelling = True
    if not trial.run_id:
        run = yield from find_launched(session, trial)
        if run is None:
            return Cancellation(outcome="not_launched")
        trial.identify(run.run_id, at=session.clock.now())
    fresh_until = trial.known_since + FRESH_TIME
    return (yield from cancel_run(session, trial.run_id, fresh_until=fresh_until))


def end_other_launches(session: Session, trial: Trial, *, keep_newest: bool = False) -> Procedure[None]:
    """Cancel the runs of launches that were given up for lost and had an effect after all. Raises CovalError.

    `keep_newest`: if the id of the run is unknown, the newest one is that run.
    """
    if not (trial.launched_again and trial.tags):
        return
    runs = (yield from runs_with(session, trial.key, trial.ids)).runs
    if runs and keep_newest and not trial.run_id:
        trial.identify(runs[0].run_id, at=session.clock.now())
    for run in runs:
        if run.run_id != trial.run_id and not run.is_over:
            # It is listed, so a 404 means that Coval does not know it yet.
            yield from cancel_run(session, run.run_id, fresh_until=session.deadline)
            session.log(f"Cancelled run {run.run_id}: the step launched another in its place.")
