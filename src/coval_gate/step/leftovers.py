"""Ends what earlier attempts of a step left unfinished, and this one does not take over."""

from collections.abc import Sequence
from itertools import compress

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Procedure
from coval_gate.base.times import CANCELLING
from coval_gate.history.tags import Tags, tags_of
from coval_gate.inputs.inputs import WAITING_MODES
from coval_gate.step.cancel import EarlierRuns
from coval_gate.step.launch import request_of
from coval_gate.step.leg import Leg
from coval_gate.step.step import LegRun, Step, StepRun


def end_changed(session: StepRun) -> Procedure[None]:
    """End the unfinished runs of earlier attempts that no launch of this one takes over: their requests have changed.

    Those with other inputs go on, because they may be of another call of the workflow. Raises CovalError if Coval lists
    no runs.
    """
    step = session.step
    launches = [tags for leg in step.all_legs for tags in _launches_of(session.of(leg))]
    earlier = EarlierRuns(session=session, tags=launches[0], ids={})
    listed = yield from earlier.unfinished()
    own, others = (
        [run for run in runs if not (run.is_over or run.is_ending)] for runs in launches[0].earlier_of(listed.runs)
    )
    kept = {next((run.run_id for run in (*own, *others) if tags.continues(tags_of(run))), "") for tags in launches}
    for run in others:
        if run.run_id not in kept:
            session.log(
                f"Run {run.run_id} goes on: an earlier attempt launched it with other inputs, perhaps in another call "
                "of this workflow."
            )
    changed = [run.run_id for run in own if run.run_id not in kept]
    yield from _end_earlier(session.of(step.legs[0]), earlier, changed, "its request has changed since it was launched")


def _launches_of(session: LegRun) -> list[Tags]:
    """Return the tags of all runs that a leg may launch."""
    slices, inputs = session.leg.slices, session.leg.inputs
    return [request_of(session, number)[1] for number in range(len(slices) or 1 + inputs.repeat_on_failure)]


def _end_earlier(session: LegRun, earlier: EarlierRuns, run_ids: Sequence[str], why: str) -> Procedure[None]:
    """The post step cancels what fails here."""
    left = [session.step.guard_leftover(session.leg, run_id) for run_id in run_ids]
    for trial in compress(left, (yield from earlier.cancel(run_ids, why))):
        trial.release()


def may_have_leftovers(step: Step, leg: Leg) -> bool:
    inputs = leg.inputs
    goes_on = bool(inputs.repeat_on_failure or leg.slices) and inputs.mode in WAITING_MODES
    return step.is_re_run and goes_on and inputs.resume and inputs.api_key is not None


def end_leftovers(session: LegRun) -> Procedure[None]:
    """Cancel the repetitions or slices that an earlier attempt left unfinished and this one did not take over."""
    leg = session.leg
    what = "slice" if leg.slices else "repetition"
    request, own = request_of(session, 0)
    earlier = EarlierRuns(session=session, tags=own, ids=request.ids)
    try:
        listed = yield from earlier.listed(CANCELLING)
    except CovalError as error:
        session.warn(f"Could not check for {what}s that an earlier attempt left unfinished: {error.what}")
        return
    launches = _launches_of(session)[0 if leg.slices else 1 :]
    taken = {trial.run_id for trial in leg.trials}
    left = [
        run.run_id
        for run in listed.runs
        if not (run.is_over or run.run_id in taken) and any(tags.continues(tags_of(run)) for tags in launches)
    ]
    yield from _end_earlier(session, earlier, left, f"a {what} of an earlier attempt, which nothing needs now")
