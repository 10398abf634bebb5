"""Repeats a run that failed: the same request, a new run, as often as `repeat_on_failure` says.

Each repetition is a leg with a guard of its own, so it is launched once, cancelled, resumed and left to the post step
like the first run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.decide import judge_run, take_together
from coval_gate.errors import GateError
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.judgement import SingleRun, errored
from coval_gate.judge.over_runs import unchangeable
from coval_gate.judge.repetition import has_failed, judge_together, repeats
from coval_gate.report.wording.checks import check_reason
from coval_gate.report.wording.judgements import reason
from coval_gate.report.wording.repetition import again_text, in_vain_text
from coval_gate.text import duration
from coval_gate.waiting import beside

if TYPE_CHECKING:
    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.leg import Leg
    from coval_gate.step import Step
    from coval_gate.waiting import Procedure


def judge_and_repeat(step: Step, client: Client, leg: Leg) -> Procedure[Judgement]:
    """Judge the leg's run, repeat it while it fails, and return the judgement of all runs together.

    Stop at a repetition without data, where the earlier runs decide, and where no repetition can change the verdict.
    Raises CovalError, RunnerError.
    """
    inputs, criteria = step.inputs, Criteria.from_inputs(step.inputs)
    judgement = first = yield from judge_run(step, client, leg)
    took = step.clock.now() - step.began
    runs = [SingleRun(run_id=leg.run_id, judgement=first)]
    for number in range(1, inputs.repeat_on_failure + 1):
        if not has_failed(judgement):
            break
        if broken := unchangeable(judgement, left=inputs.repeat_on_failure - number + 1):
            step.host.quote(in_vain_text(check_reason(broken[0])))
            break
        left = step.deadline - step.clock.now()
        if left < took:
            step.host.log(
                f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
                "so it does not run again."
            )
            break
        step.host.quote(again_text(reason(judgement), number, inputs.repeat_on_failure))
        runs.append((yield from _run_again(step, client, number, first)))
        judging = partial(judge_together, tuple(runs), criteria, flaky_fails=inputs.on_flaky == "fail")
        together = yield from beside(judging)
        judgement = together.judgement
        yield from take_together(step, client, leg, together)
        repetition = judgement.repetition
        if repetition is None or repetition.unusable or repetition.is_flaky:
            break
    return judgement


def _run_again(step: Step, client: Client, number: int, first: Judgement) -> Procedure[SingleRun]:
    """Launch, follow and judge a repetition of the `first` run; an error is its judgement, too. Raises Interrupted."""
    try:
        guard = yield from step.launch(client, repetition=number)
        judgement = repeats((yield from judge_run(step, client, guard.leg)), first)
    except GateError as error:
        judgement = errored(error)
    leg = step.legs[-1]  # there is one, even if the launch failed
    leg.judgement = judgement
    return SingleRun(run_id=leg.run_id, judgement=judgement)
