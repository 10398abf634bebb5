"""The action's main step: parse, one function for each mode, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.ci.host import tolerant
from coval_gate.clock import Interrupted
from coval_gate.errors import GateError, InternalError
from coval_gate.judge.judgement import LAUNCH, errored, interrupted, runs_cancelled, skipped
from coval_gate.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.runtime import Runtime


def main(runtime: Runtime) -> int:
    """Run the action, and return the exit code."""
    step = Step(runtime)
    try:
        judgement = reach_judgement(step)
        if step.legs and step.legs[0].judgement:
            from coval_gate.standing import mark_failed_runs

            with tolerant(step.host, "A run could not be marked"):
                mark_failed_runs(step, judgement)
        judgement = step.clean_up(judgement, hurried=False)
    except Interrupted:
        step.hurry()
        judgement = step.clean_up(interrupted(), hurried=True)
    report = step.publish(judgement)
    if not step.is_hurried and step.legs and (step.legs[0].promotion or step.legs[0].begins):
        from coval_gate.standing import promote_run

        with tolerant(step.host, "The run could not be promoted"):
            promote_run(step, report)
    return report.exit_code


def reach_judgement(step: Step) -> Judgement:
    """Do what the inputs say; an error is a judgement, too. Raises Interrupted."""
    try:
        inputs = step.read_inputs()
        if inputs.api_key is None:
            return skipped(step.context.secrets_withheld_from)
        step.locate()
        return MODES[inputs.mode](step, step.connect())
    except GateError as error:
        return errored(error)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the outputs must say so
        step.report_bug()
        return errored(InternalError(error))


def launch_and_wait(step: Step, client: Client) -> Judgement:
    """Mode run."""
    step.foresee()
    guard = step.launch(client)
    step.announce()
    # What follows takes long to import, and the launch need not wait for it.
    from coval_gate.repeat import judge_and_repeat

    return judge_and_repeat(step, client, guard.leg)


def launch_only(step: Step, client: Client) -> Judgement:
    """Mode launch."""
    guard = step.launch(client)
    step.announce()
    if guard.leg.resumed:
        step.confirm(client, guard.leg)
    return LAUNCH


def wait(step: Step, client: Client) -> Judgement:
    """Mode wait."""
    (run_id,) = step.inputs.run_id
    guard = step.take_over(run_id)
    from coval_gate.decide import judge_run

    return judge_run(step, client, guard.leg)


def cancel(step: Step, client: Client) -> Judgement:
    """Mode cancel: every run side by side. Raises the first error once all were tried."""
    return runs_cancelled(step.cancel(client, step.inputs.run_id))


MODES: Final[dict[str, Callable[[Step, Client], Judgement]]] = {
    "run": launch_and_wait,
    "launch": launch_only,
    "wait": wait,
    "cancel": cancel,
}
