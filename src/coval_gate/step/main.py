"""The action's main step: read the inputs, plan the legs, do what the mode asks, publish.

The legs of a step go side by side.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, all_or_first_error, run, together
from coval_gate.base.times import announcing
from coval_gate.ci.host import Context, tolerant
from coval_gate.gate.judgement import INTERRUPTED_STEP, LAUNCHED_RUN, Judgement, errored, gravest
from coval_gate.gate.verdict import SKIPPED_STEP, NoneSelected, Skipped, Verdict
from coval_gate.inputs.naming import as_argument
from coval_gate.step.cleanup import clean_up, end_runs
from coval_gate.step.evaluate import conclude_step, evaluate_leg
from coval_gate.step.launch import launch_in_turn, log_launch
from coval_gate.step.leg import Base, Duty, Leg, legs_of
from coval_gate.step.publish import Published
from coval_gate.step.read import plan_legs, read_inputs, select_legs
from coval_gate.step.report import announce, find_names, report_of
from coval_gate.step.sizes import tell_size
from coval_gate.step.step import LegRun, Step, StepRun

if TYPE_CHECKING:
    from coval_gate.features.legs.file import ConfigFile

Work = Callable[[LegRun], Procedure[object]]


def main(runtime: Runtime) -> int:
    """Run the action, and return the exit code: 0 if the check may be green, else 1."""
    return 0 if run_step(runtime).report.judgement.passes_gate else 1


def run_step(runtime: Runtime, read: "ConfigFile | None" = None) -> Published:
    """Run a step. `read`: the configuration file, if its inputs are in the environment."""
    step = Step(runtime, read)
    try:
        return run(judge_and_publish(step), runtime.clock)
    finally:
        step.host.release()


async def judge_and_publish(step: Step) -> Published:
    """Run a step from its inputs to what it publishes, through every error and interruption."""
    try:
        judgement = await reach_judgement(step)
        barred = [leg for leg in step.legs if leg.judgement and leg.judgement.is_barred]
        marked = [trial for trial in step.trials if Duty.MARK in trial.duties]
        concerns_baselines = barred or marked or any(leg.inputs.baseline for leg in step.legs)
        if concerns_baselines and any(trial.judgement for trial in step.trials):
            from coval_gate.features.comparisons.step import settle_standing

            with tolerant(step.host, "A run could not be marked"):
                judgement = await settle_standing(step, judgement)
        judgement = await clean_up(step, judgement)
        await find_names(step, judgement)
    except Interrupted:
        step.hurry()
        judgement = await clean_up(step, INTERRUPTED_STEP)
    return await step.publisher.publish(report_of(step, judgement), step.times)


async def reach_judgement(step: Step) -> Judgement:
    """Do what the inputs ask for; an error is a judgement, too. Raises Interrupted."""
    try:
        inputs = await read_inputs(step)
        if inputs.only_legs == ():
            step.legs = legs_of(step.file.parts(inputs))
            select_legs(step)
            await _locate(step)
            return Judgement(Verdict.SKIPPED, SKIPPED_STEP, NoneSelected())
        if inputs.mode == "plan":
            from coval_gate.features.planning.step import plan_step

            await plan_legs(step)
            return await plan_step(step)
        if inputs.api_key is None:
            return Judgement(Verdict.SKIPPED, SKIPPED_STEP, Skipped(step.context.secrets_withheld_from))
        await plan_legs(step)
        await _locate(step)
        return await _do(step.session())
    except Exception as error:  # noqa: BLE001 - the outputs must show any error
        return errored(_as_gate_error(error, step.context, step.report_bug))


def _as_gate_error(error: Exception, context: Context, report_bug: Callable[[], None]) -> GateError:
    if isinstance(error, InputError) and context.variables is None:
        return error.with_names(as_argument)
    if isinstance(error, GateError):
        return error
    report_bug()
    return InternalError(error)


async def _locate(step: Step) -> None:
    """Look up the tested commit, if a page needs it."""
    if pages := step.publisher.pages(step.inputs):
        until = announcing(step.clock.now(), step.deadline)
        step.context = await pages.locate(step.context, step.inputs, until=until)


async def _do(session: StepRun) -> Judgement:
    match session.inputs.mode:
        case "launch":
            return await launch_legs(session)
        case "cancel":
            from coval_gate.features.given.cancel import cancel_runs

            return await cancel_runs(session)
        case "history":
            from coval_gate.features.nights.step import show_history

            return await show_history(session)
    return await run_legs(session)


async def run_legs(session: StepRun) -> Judgement:
    """Mode wait is mode run without the launch."""
    if session.inputs.mode == "wait":
        from coval_gate.features.given.step import adopt_runs

        await _give_known(session)
        await adopt_runs(session)
    else:
        await _prepare(session)
    await _run_side_by_side(session, session.step.all_legs, _run_base_or_leg)
    return await conclude_step(session)


async def launch_legs(session: StepRun) -> Judgement:
    step = session.step
    await _prepare(session)
    await _run_side_by_side(session, step.all_legs, _launch_alone)
    for leg in step.legs:
        leg.error = leg.error or (leg.base.error if leg.base else None)
    if resumed := [leg for leg in step.all_legs if leg.trials and not leg.error and leg.first.resumed]:
        from coval_gate.features.reruns.takeover import confirm

        await _run_side_by_side(session, resumed, confirm)
    for leg in step.legs:
        if not leg.error:
            leg.judgement = LAUNCHED_RUN
    return gravest([leg.outcome for leg in step.legs if leg.outcome])


async def _run_base_or_leg(session: LegRun) -> None:
    """A base is run without being judged."""
    if isinstance(session.leg, Base):
        from coval_gate.features.base_agent.step import run_base

        await run_base(session, session.leg)
    else:
        await _run_leg(session)


async def _run_leg(session: LegRun) -> None:
    """Launch the leg if it has no run, follow its run, and judge it."""
    if not session.leg.trials:
        await _launch_and_announce(session)
    if session.leg.slices:
        from coval_gate.features.spending.step import evaluate_slices

        await evaluate_slices(session)
        return
    await evaluate_leg(session)
    if session.leg.inputs.repeat_on_failure or len(session.leg.trials) > 1:
        from coval_gate.features.repetition.step import repeat_leg

        await repeat_leg(session)


async def _launch_alone(session: LegRun) -> None:
    """Launch the first run. That of a base waits until a leg that is compared with it was launched."""
    step, leg = session.step, session.leg
    tested = [other for other in step.legs if leg.is_base and other.base is leg]
    while tested and not any(other.trials and other.first.run_id for other in tested):
        if all(other.is_done for other in tested):
            return
        await step.changed.wait()
    await _launch_and_announce(session)


async def _launch_and_announce(session: LegRun) -> None:
    """Show the step's first launch. How large the run is comes before it in the log."""
    step = session.step
    trial = await launch_in_turn(session)
    if step.is_announced or session.leg.is_base:
        return
    step.is_announced = True
    if step.is_counted_first:
        await announce(step)
        return
    try:
        await tell_size(session, announce(step))
    finally:
        log_launch(session, trial)


async def _prepare(session: StepRun) -> None:
    """Raises InputError. A single run without a limit begins sooner: the look at its test set follows."""
    step = session.step
    if len(step.legs) > 1 and any(leg.inputs.mutation_ids for leg in step.legs):
        from coval_gate.features.advice.ids import check_mutations

        await check_mutations(session)
    await _give_known(session)
    if step.is_counted_first:
        from coval_gate.features.planning.sizes import plan_sizes

        await plan_sizes(session)
    if step.is_re_run and step.inputs.resume:
        from coval_gate.features.reruns.step import look_back

        await look_back(session)
    if step.is_counted_first:
        from coval_gate.features.planning.sizes import check_sizes

        check_sizes(session)
    if session.inputs.mode == "run" and any(leg.inputs.confidence is not None for leg in step.legs):
        from coval_gate.features.planning.decidable import warn_of_undecidable

        warn_of_undecidable(step)


async def _give_known(session: StepRun) -> None:
    if session.step.read:
        from coval_gate.features.known_failures.step import give_known

        await give_known(session)


async def _run_side_by_side(session: StepRun, legs: Sequence[Leg], work: Work) -> None:
    """An error is the judgement of its leg, and the others go on."""
    works = [_with_own_error(session.of(leg), work) for leg in legs]
    all_or_first_error(await together(works, session.clock))


async def _with_own_error(session: LegRun, work: Work) -> None:
    step, leg = session.step, session.leg
    try:
        await work(session)
    except Exception as error:  # noqa: BLE001 - as in reach_judgement
        problem = _as_gate_error(error, step.context, session.report_bug)
        leg.error = errored(problem)
        if session.label:
            session.log(f"This leg ended in an error: {problem.what}", *problem.advice.splitlines())
    leg.is_done, leg.is_ending = True, len(step.all_legs) > 1
    step.changed.happen()
    if leg.is_ending:
        if leg.outcome:
            await end_runs(session, leg.outcome.verdict)
        leg.is_ending = False
        step.changed.happen()
