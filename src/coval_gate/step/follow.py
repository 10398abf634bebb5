"""Follows a run to its end, and replaces one that an earlier attempt had cancelled.

Coval may show a run as in progress for a while after its cancellation. So the step watches a run that it took over, and
replaces it if the earlier attempt was still cancelling it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from coval_gate.base.errors import NotFound, Unavailable
from coval_gate.base.schedule import Procedure
from coval_gate.coval.model import CANCELLED
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.verdict import Aborted, NotCompleted, Outcome, TimedOut
from coval_gate.step.announce import announce
from coval_gate.step.attached import refuse_unanswered
from coval_gate.step.cancel import ENDED
from coval_gate.step.collect import collect, most_common_error
from coval_gate.step.launch import Launcher
from coval_gate.step.seen import not_shown
from coval_gate.step.step import LegRun
from coval_gate.step.trial import Trial
from coval_gate.step.watch import waiting_title, watch

T = TypeVar("T")

DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over


def criteria_of(session: LegRun) -> Criteria:
    return Criteria.from_inputs(session.inputs, legs=len(session.step.legs))


def follow_trial(session: LegRun, trial: Trial) -> Procedure[Outcome]:
    """Watch the trial's run to its end, and collect its result. Raises GateError."""
    yield from refuse_unanswered(session, trial)
    left = max(0.0, session.deadline - session.clock.now()) if trial.repetition else session.inputs.max_wait_time
    with session.group(waiting_title(left)):
        try:
            outcome = yield from _unless_cancelled(session, trial, _follow(session, trial))
            outcome = outcome or (yield from _follow(session, trial))
        except NotFound as error:
            if error.by_coval and trial.run is None and trial.is_given:
                trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_given_up = isinstance(outcome, Aborted)
    if trial.is_given and trial.run and (text := not_shown(session.leg, trial.run)):
        session.warn(text)
    return outcome


def _follow(session: LegRun, trial: Trial) -> Procedure[Outcome]:
    """Raises CovalError as `watch` and `collect`."""
    ended = yield from watch(session, trial)
    if isinstance(ended, TimedOut | NotCompleted):
        return ended
    if isinstance(ended, Aborted):
        return ended._replace(error=(yield from most_common_error(session, trial.run_id)))
    return (yield from collect(session, trial, ended, criteria_of(session)))


def confirm(session: LegRun) -> Procedure[None]:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch`."""
    trial, briefly = session.leg.first, session.within(CONFIRMING)
    briefly.inputs = session.inputs._replace(
        max_wait_time=CONFIRMING, max_queue_time=None, check_interval=None, abort_after_failures=None
    )
    try:
        yield from _unless_cancelled(session, trial, watch(briefly, trial))
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


def _unless_cancelled(session: LegRun, trial: Trial, watching: Procedure[T]) -> Procedure[T | None]:
    """Return None if an earlier attempt was cancelling the run, and another one replaces it."""
    if not trial.resumed:
        return (yield from watching)
    clock, doubtful_until = session.clock, trial.known_since + DOUBT
    try:
        ended = yield from watching
    except NotFound:
        if clock.now() <= doubtful_until and (yield from _replaced(session, trial, gone=True)):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in ENDED or clock.now() > doubtful_until:
        return ended
    is_replaced = yield from _replaced(session, trial, gone=ended.run.status != CANCELLED)
    return None if is_replaced else ended


def _replaced(session: LegRun, trial: Trial, *, gone: bool) -> Procedure[bool]:
    if not (yield from Launcher(session, trial).launch_instead(gone=gone, cancel=session.inputs.cancel_on_interrupt)):
        return False
    session.log(f"Launched run {trial.run_id}: {session.step.run_url(trial.run_id)}")
    yield from announce(session.step)
    return True
