"""The action's main step: parse, one function for each mode, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.clock import Interrupted
from coval_gate.errors import GateError, InternalError
from coval_gate.judge.judgement import LAUNCH, errored, interrupted, runs_cancelled, skipped
from coval_gate.publish.github import tolerant
from coval_gate.runs.schedule import run
from coval_gate.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.model import Report
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure


def main(runtime: Runtime) -> int:
    """Run the action, and return the exit code."""
    return run(evaluate(Step(runtime)), runtime.clock).exit_code


def evaluate(step: Step) -> Procedure[Report]:
    """Take a step from its inputs to what it publishes, whatever goes wrong or interrupts it."""
    try:
        judgement = yield from reach_judgement(step)
        if step.legs and step.legs[0].judgement:
            from coval_gate.standing import mark_failed_runs

            with tolerant(step.host, "A run could not be marked"):
                yield from mark_failed_runs(step, judgement)
        judgement = yield from step.clean_up(judgement, hurried=False)
    except Interrupted:
        step.hurry()
        judgement = yield from step.clean_up(interrupted(), hurried=True)
    report = yield from step.publish(judgement)
    if not step.is_hurried and step.legs and (step.legs[0].promotion or step.legs[0].begins):
        from coval_gate.standing import promote_run

        with tolerant(step.host, "The run could not be promoted"):
            yield from promote_run(step, report)
    return report


def reach_judgement(step: Step) -> Procedure[Judgement]:
    """Do what the inputs say; an error is a judgement, too. Raises Interrupted."""
    try:
        inputs = step.read_inputs()
        if inputs.api_key is None:
            return skipped(step.context.secrets_withheld_from)
        yield from step.locate()
        return (yield from MODES[inputs.mode](step, step.connect()))
    except GateError as error:
        return errored(error)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the outputs must say so
        step.report_bug()
        return errored(InternalError(error))


def launch_and_wait(step: Step, client: Client) -> Procedure[Judgement]:
    """Mode run."""
    step.foresee()
    guard = yield from step.launch(client)
    yield from step.announce()
    # What follows takes long to import, and the launch need not wait for it.
    from coval_gate.repeat import judge_and_repeat

    return (yield from judge_and_repeat(step, client, guard.leg))


def launch_only(step: Step, client: Client) -> Procedure[Judgement]:
    """Mode launch."""
    guard = yield from step.launch(client)
    yield from step.announce()
    if guard.leg.resumed:
        yield from step.confirm(client, guard.leg)
    return LAUNCH


def wait(step: Step, client: Client) -> Procedure[Judgement]:
    """Mode wait."""
    (run_id,) = step.inputs.run_id
    guard = step.take_over(run_id)
    from coval_gate.decide import judge_run

    return (yield from judge_run(step, client, guard.leg))


def cancel(step: Step, client: Client) -> Procedure[Judgement]:
    """Mode cancel: every run side by side. Raises the first error once all were tried."""
    return runs_cancelled((yield from step.cancel(client, step.inputs.run_id)))


MODES: Final[dict[str, Callable[[Step, Client], Procedure[Judgement]]]] = {
    "run": launch_and_wait,
    "launch": launch_only,
    "wait": wait,
    "cancel": cancel,
}
