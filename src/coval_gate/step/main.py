"""The action's main step: parse, plan, one function for each mode, publish.

The start up to the launch is measured, so what is needed only afterwards is imported where it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, run
from coval_gate.ci.host import tolerant
from coval_gate.inputs.checks import acts_as
from coval_gate.inputs.inputs import LAUNCHING_MODES, Inputs
from coval_gate.step import later, modes
from coval_gate.step.opening import legs_of, locate, read_inputs
from coval_gate.step.publish import Published
from coval_gate.step.step import Step

if TYPE_CHECKING:
    from coval_gate.gate.judgement import Judgement
    from coval_gate.inputs.file import ConfigFile


def main(runtime: Runtime) -> int:
    """Run the action, and return the exit code: 0 if the check may be green, else 1."""
    return 0 if run_step(runtime).report.judgement.lets_pass else 1


def run_step(runtime: Runtime, read: ConfigFile | None = None) -> Published:
    """Run a step. `read`: the configuration file, if its inputs are in the environment."""
    step = Step(runtime, read)
    try:
        return run(evaluate(step), runtime.clock)
    finally:
        step.host.release()


def evaluate(step: Step) -> Procedure[Published]:
    """Take a step from its inputs to what it publishes, through every error and interruption."""
    try:
        judgement = yield from reach_judgement(step)
        if any(trial.judgement for trial in step.trials):
            with tolerant(step.host, "A run could not be marked"):
                judgement = yield from later.settle.settle_standing(step, judgement)
        judgement = yield from later.cleanup.clean_up(step, judgement)
        yield from _find_names(step, judgement)
    except Interrupted:
        step.hurry()
        later.begin()  # while Coval cancels the runs
        judgement = yield from later.cleanup.clean_up(step, later.judgement.interrupted())
    return (yield from step.publisher.publish(later.report.report_of(step, judgement), step.times))


def _find_names(step: Step, judgement: Judgement) -> Procedure[None]:
    """Names only inform: a signal meanwhile changes no verdict."""
    mode = step.inputs.mode
    if judgement.verdict is None or mode == "cancel" or not any(trial.run_id for trial in step.trials):
        return

    try:
        with tolerant(step.host, "Names could not be looked up"):
            yield from later.details.find_names(step)
    except Interrupted:
        step.hurry()


def reach_judgement(step: Step) -> Procedure[Judgement]:
    """Do what the inputs ask for; an error is a judgement, too. Raises Interrupted."""
    try:
        inputs = yield from _whole_inputs(step)
        if inputs.mode == "plan":
            yield from _plan_legs(step)
            return (yield from later.plan.plan_step(step))
        if inputs.api_key is None:
            return later.judgement.skipped(step.context.secrets_withheld_from)
        yield from _plan_legs(step)
        yield from locate(step)
        return (yield from modes.MODES[inputs.mode](step.session()))
    except GateError as error:
        problem = error
    except Exception as error:  # noqa: BLE001 - the outputs must show any error
        step.report_bug()
        problem = InternalError(error)

    return later.judgement.errored(problem)


def _whole_inputs(step: Step) -> Procedure[Inputs]:
    """Raises InputError, CovalError, RunnerError."""
    try:
        inputs = read_inputs(step)
        if inputs.run_template_id and inputs.api_key is not None:
            inputs = yield from later.template.expand(step)
    except InputError as error:
        if step.inputs.mode != "plan":
            raise

        raise (yield from later.wrong_ids.with_wrong_ids(step, error)) from None
    return inputs


def _plan_legs(step: Step) -> Procedure[None]:
    """Leave each leg what is its own of a run template, if one is used."""
    launches = acts_as(step.inputs) in LAUNCHING_MODES
    step.legs = legs_of(step.file.parts(step.inputs))
    if step.template:
        step.legs = yield from later.template.with_own_parts(step.session())
    if launches and step.inputs.max_parallel_runs and len(step.legs) == 1:
        step.warn("max_parallel_runs has no effect: the step tests one agent with one persona and one test set.")
