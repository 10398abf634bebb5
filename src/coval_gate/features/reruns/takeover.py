"""Takes over the run of an earlier attempt, and replaces it if that attempt was still cancelling it.

Coval may show a run as in progress for a while after its cancellation.
"""

from typing import Final, TypeVar

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound, Unavailable
from coval_gate.base.schedule import Procedure
from coval_gate.coval.model import CANCELLED, Run
from coval_gate.features.reruns.step import RESUMING, find_unfinished, unknown_text
from coval_gate.gate.verdict import NotCompleted
from coval_gate.history.search import may_have_ids
from coval_gate.history.tags import attempt_of
from coval_gate.step.cancel import AFTER_CANCELLING
from coval_gate.step.launch import log_launch, take_over_or_launch
from coval_gate.step.leg import Trial
from coval_gate.step.report import announce
from coval_gate.step.step import LegRun
from coval_gate.step.watch import watch

T = TypeVar("T")
DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over


def take_over(session: LegRun, trial: Trial) -> Run | None:
    """Give the trial the run of an earlier attempt that stands for it, if there is one.

    Raises CovalError if one may be hidden, RunnerError.
    """
    step = session.step
    if (run := run_for(session, trial)) is None:
        _refuse_hidden(session, trial)
        return None
    trial.identify(run.run_id, at=session.clock.now())
    trial.resumed = True
    if run.is_over:  # it is never cancelled, so it needs no guard
        trial.kept_from = step.attempts.get(attempt_of(run))
        trial.release()
    else:
        trial.guard(cancel=session.inputs.cancel_on_interrupt)
    if until_now := step.leftovers.get(run.run_id):
        until_now.release()
    step.record_id(run.run_id)
    return run


def run_for(session: LegRun, trial: Trial) -> Run | None:
    taken = session.leg.taken_over
    return taken[trial.number] if trial.number < len(taken) else None


def _refuse_hidden(session: LegRun, trial: Trial) -> None:
    if unknown := unknown_text(run for run in session.step.unidentified if may_have_ids(run, trial.ids)):
        raise CovalError(
            titles.NOT_LAUNCHED,
            f"Coval shows neither tags nor metadata, so the step does not know whether {unknown}, which is not over, "
            "is from an earlier attempt.",
            advice="Wait until it is over, or set resume to false to launch another run.",
        )


async def confirm(session: LegRun) -> None:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch_trial`."""
    trial, briefly = session.leg.first, session.within(CONFIRMING)
    briefly.inputs = session.inputs._replace(
        max_wait_time=CONFIRMING, max_queue_time=None, check_interval=None, abort_after_failures=None
    )
    try:
        await unless_cancelled(session, trial, watch(briefly, trial))
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


async def unless_cancelled(session: LegRun, trial: Trial, watching: Procedure[T]) -> T | None:
    """Return None if an earlier attempt was cancelling the run, and another one replaces it."""
    if not trial.resumed:
        return await watching
    clock, doubtful_until = session.clock, trial.known_since + DOUBT
    try:
        ended = await watching
    except NotFound:
        if clock.now() <= doubtful_until and await _replace_cancelled(session, trial, gone=True):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in AFTER_CANCELLING or clock.now() > doubtful_until:
        return ended
    return None if await _replace_cancelled(session, trial, gone=ended.run.status != CANCELLED) else ended


async def _replace_cancelled(session: LegRun, trial: Trial, *, gone: bool) -> bool:
    """Launch a run in place of one that was taken over, and turned out to be cancelled.

    `gone`: Coval answers 404. Returns False, without a launch, if it lists that run as unfinished all the same. Raises
    as `take_over_or_launch`.
    """
    if gone and await _is_listed_as_unfinished(session, trial):
        return False
    session.log(f"An earlier attempt had cancelled run {trial.run_id}, so the step launches another.")
    trial.forget()
    await take_over_or_launch(session, trial, instead=True)
    log_launch(session, trial)
    await announce(session.step)
    return True


async def _is_listed_as_unfinished(session: LegRun, trial: Trial) -> bool:
    """Raises CovalError."""
    listed = await find_unfinished(session, trial.tags, trial.ids, *RESUMING)
    found = (run for run in (*listed.runs, *listed.hidden) if run.run_id == trial.run_id)
    return any(not (run.is_over or run.is_ending) for run in found)
