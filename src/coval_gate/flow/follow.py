"""Follows a run to its end, and replaces one that an earlier attempt had cancelled."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from coval_gate.base.errors import InputError, NotFound, Unavailable
from coval_gate.ci.host import with_run_metadata
from coval_gate.flow.adopt import not_shown, problems_of
from coval_gate.flow.attached import refuse_unanswered
from coval_gate.flow.launch import announce, launcher_of
from coval_gate.flow.size import check_size
from coval_gate.gate.judgement import UNFINISHED
from coval_gate.gate.outcome import Aborted
from coval_gate.runs import earlier
from coval_gate.runs.collect import follow
from coval_gate.runs.tags import provenance_of
from coval_gate.runs.watch import ProgressLog, waiting_title

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.model import Run
    from coval_gate.flow.progress import Progress
    from coval_gate.gate.criteria import Criteria
    from coval_gate.gate.outcome import Outcome
    from coval_gate.runs.legs import Leg, Session, Trial

T = TypeVar("T")


def follow_trial(session: Session, progress: Progress, trial: Trial, criteria: Criteria) -> Procedure[Outcome]:
    """Watch the trial's run to its end, and collect its result. Raises GateError."""

    def follow_run() -> Procedure[Outcome]:
        return follow(
            session,
            trial.run_id,
            criteria=criteria,
            progress=ProgressLog(session, progress.unknown_statuses, _leg_of(progress, trial).planned),
            record=partial(see, progress, trial),
        )

    yield from refuse_unanswered(session, trial)
    left = max(0.0, session.deadline - session.clock.now()) if trial.repetition else session.inputs.max_wait_time
    with session.group(waiting_title(left)):
        watching = _unless_cancelled(session, progress, trial, follow_run())
        try:
            outcome = (yield from watching) or (yield from follow_run())
        except NotFound as error:
            if error.by_coval and trial.run is None and trial.is_given:
                trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_hopeless = isinstance(outcome, Aborted)
    if trial.is_given and trial.run and (text := not_shown(_leg_of(progress, trial), trial.run)):
        session.warn(text)
    return outcome


def confirm(session: Session, progress: Progress, leg: Leg) -> Procedure[None]:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch`."""
    trial = leg.first
    watching = earlier.confirm(
        session,
        trial.run_id,
        progress=ProgressLog(session, progress.unknown_statuses, leg.planned),
        record=partial(see, progress, trial),
    )
    try:
        yield from _unless_cancelled(session, progress, trial, watching)
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


def see(progress: Progress, trial: Trial, run: Run) -> None:
    """Raises InputError if the inputs of mode wait name another run, and GateError if it is larger than planned."""
    trial.see(run, at=progress.clock.now())
    leg = _leg_of(progress, trial)
    check_size(leg, run)
    if trial.is_given:
        if problems := problems_of(leg, run):
            trial.release()  # no run that the user means
            raise InputError(problems)
        progress.context = with_run_metadata(progress.context, provenance_of(run, progress.context.repository))
        progress.publisher.pages.owe(progress.report(UNFINISHED))


def _leg_of(progress: Progress, trial: Trial) -> Leg:
    return next(leg for leg in progress.all_legs if trial in leg.trials)


def _unless_cancelled(
    session: Session, progress: Progress, trial: Trial, watching: Procedure[T]
) -> Procedure[T | None]:
    """Return None if an earlier attempt had cancelled the run, and it was replaced."""
    if trial.tags is None or not trial.resumed:
        return (yield from watching)
    launcher = launcher_of(session, progress, trial, trial.tags)
    replace_run = partial(launcher.launch_instead, cancel=session.inputs.cancel_on_interrupt)
    ended = yield from earlier.unless_cancelled(session, trial, watching, replace_run)
    if ended is None:
        session.log(f"Launched run {trial.run_id}: {progress.run_url(trial.run_id)}")
        yield from announce(progress)
    return ended
