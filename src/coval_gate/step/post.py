"""The action's post step: does what the main step could not do, because it was killed or a server did not respond.

It cancels the runs that the main step left unfinished, marks runs that are no baseline, and completes the commit's
pages. It never fails the job: any error is a warning. If the main step finished its work, the post step does nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, RunnerError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, run, together
from coval_gate.base.times import POST_CANCELLING, POST_LOCATING, Times
from coval_gate.ci.host import with_unknown_commit
from coval_gate.coval.client import Session
from coval_gate.gate.judgement import UNFINISHED_RUN
from coval_gate.history.tags import FAILED_TAG, with_provenance
from coval_gate.inputs.inputs import ALL_MODES, key_in, parse_inputs, token_in
from coval_gate.report.wording import cancellation_text
from coval_gate.step.cancel import cancel_trial, end_other_launches
from coval_gate.step.leg import MODE_STATE, Duty, Trial
from coval_gate.step.publish import PAGES_STATE
from coval_gate.step.report import report_of
from coval_gate.step.step import Step

if TYPE_CHECKING:
    from coval_gate.features.pages.publisher import PagePublisher


def post(runtime: Runtime) -> int:
    """Return the exit code: always 0."""
    step = Step(runtime)
    try:
        run(finish(step), runtime.clock)
    finally:
        step.host.release()
    return 0


async def finish(step: Step) -> None:
    host = step.host
    step.read_file()
    environ = step.runtime.environ
    host.take_over()
    inputs, _ = parse_inputs(environ)
    mode = host.read_state(MODE_STATE)  # a command has no mode in its variables
    inputs = inputs._replace(mode=mode if mode in ALL_MODES else inputs.mode)
    if kept := host.read_state(PAGES_STATE):
        from coval_gate.features.pages.publisher import with_owed

        inputs = with_owed(inputs, kept)
    step.inputs = inputs
    saved = step.restore()
    left = [trial for trial in step.trials if trial.duties]
    # Without any state, the main step never began, or the runner passes none to post steps, as act does.
    pages = step.publisher.pages(inputs) if saved else None
    is_open = pages and pages.is_open(inputs, host.context())
    if not (left or is_open):
        return
    for secret in (key_in(environ), token_in(environ)):
        host.mask(secret)
    step.context = host.context()._replace(matrix=inputs.matrix)
    if inputs.mode == "wait":
        step.context = with_unknown_commit(step.context)
    hurried = bool(left) and await _attempt(step, _finish_trials(step, left))
    if pages and is_open:
        await _attempt(step, _close(step, pages, hurried=hurried))


async def _attempt(step: Step, work: Procedure[None]) -> bool:
    """Turn any failure into a warning. Return whether the work was interrupted."""
    try:
        await work
    except Interrupted:
        step.host.log("The post step was interrupted.")
        return True
    except Exception:  # noqa: BLE001 - a post step that fails would fail the job
        step.report_bug()
        step.warn("The post step could not finish; the log has details for a bug report.")
    return False


async def _close(step: Step, pages: "PagePublisher", *, hurried: bool) -> None:
    """`hurried`: the runner is about to kill the step."""
    inputs, clock = step.inputs, step.clock
    if not pages.are_saved:  # so find the commit here
        if inputs.mode == "wait" and inputs.api_key is not None and inputs.run_id.ids:
            client = step.session(Times.for_post_step(clock.now())).client
            with suppress(CovalError):
                run_named = await client.get_run(inputs.run_id.ids[0], until=clock.now() + POST_LOCATING)
                step.context = with_provenance(step.context, run_named)
        step.context = await pages.locate(step.context, inputs, until=clock.now() + POST_LOCATING)
    now = clock.now()
    times = Times.for_interrupted(now) if hurried else Times.for_post_step(now)
    # By the ids of the runs, the check run of an earlier attempt is found, which this one had taken over.
    await pages.close(report_of(step, UNFINISHED_RUN), times)


async def _finish_trials(step: Step, trials: Sequence[Trial]) -> None:
    if step.inputs.api_key is None:
        if left := [trial for trial in trials if trial.duties & {Duty.CANCEL, Duty.CANCEL_OTHERS}]:
            runs = " and ".join(f"run {trial.run_id}" if trial.run_id else "a run" for trial in left)
            step.warn(f"The main step may have left {runs} unfinished; cancelling needs the API key.")
        if failed := [trial.run_id for trial in trials if Duty.MARK in trial.duties]:
            from coval_gate.features.comparisons.standing import not_marked_text

            step.warn(not_marked_text(failed, "there is no API key.", ""))
        return
    now = step.clock.now()
    session = step.session(Times.for_post_step(now)).until(now + POST_CANCELLING)
    legs = {leg.name: leg for leg in step.legs}
    await together([_do_duties(session.of(legs[trial.leg]), trial) for trial in trials], session.clock)
    with suppress(RunnerError):  # a host may keep the state until all is done
        step.save()


async def _do_duties(session: Session, trial: Trial) -> None:
    """Do what the main step left of one trial. What cannot be done is a warning."""
    undone = "The run could not be cancelled"
    try:
        if Duty.CANCEL in trial.duties:
            ended = await cancel_trial(session, trial)
            which = f" ({trial.run_id})" if trial.run_id else ""
            session.log(f"The main step left a run behind: {cancellation_text(ended)}{which}.")
        undone = "Could not check for a second run"
        if Duty.CANCEL_OTHERS in trial.duties:
            await end_other_launches(session, trial)
        if Duty.MARK in trial.duties:
            undone = ""
            await _mark(session, trial)
    except CovalError as error:
        if undone:
            session.warn("\n".join(filter(None, (f"{undone}: {error.what}", error.advice))))
    else:
        trial.duties = frozenset()


async def _mark(session: Session, trial: Trial) -> None:
    """Raises CovalError after a warning."""
    from coval_gate.features.comparisons.standing import mark, not_marked_text

    sent = (trial.tags.key,) if trial.tags.key else ()
    try:
        if await mark(session, trial.run_id, FAILED_TAG, sent=sent):
            session.log(f"Marked run {trial.run_id}: no later run is compared with it.")
    except CovalError as error:
        session.warn(not_marked_text([trial.run_id], error.what, error.advice))
        raise
