"""Repeats a run that failed: the same request, a new run, as often as `repeat_on_failure` says.

Each repetition is a trial of its own, so it is launched once, cancelled, resumed and left to the post step like the
first run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.errors import GateError
from coval_gate.flow.judge import judge_first, judge_repetition, take_together
from coval_gate.flow.launch import launch
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
    from coval_gate.flow.progress import Progress
    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.leg import Leg
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure


def judge_and_repeat(session: Session, progress: Progress, leg: Leg) -> Procedure[Judgement]:
    """Judge the leg's first run, repeat it while it fails, and return the judgement of all runs together.

    Stop at a repetition without data: the earlier runs decide. Stop if no repetition can change the verdict.
    Raises CovalError, RunnerError.
    """
    inputs, criteria = leg.inputs, Criteria.from_inputs(leg.inputs)
    judgement = first = yield from judge_first(session, progress, leg)
    took = session.clock.now() - progress.began
    runs = [SingleRun(run_id=leg.first.run_id, judgement=first)]
    for number in range(1, inputs.repeat_on_failure + 1):
        if not has_failed(judgement):
            break
        if broken := unchangeable(judgement, left=inputs.repeat_on_failure - number + 1):
            session.log(in_vain_text(check_reason(broken[0])))
            break
        left = session.deadline - session.clock.now()
        if left < took:
            session.log(
                f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
                "so it does not run again."
            )
            break
        session.log(again_text(reason(judgement), number, inputs.repeat_on_failure))
        runs.append((yield from _run_again(session, progress, leg, number, first)))
        judging = partial(judge_together, tuple(runs), criteria, flaky_fails=inputs.on_flaky == "fail")
        together = yield from beside(judging)
        judgement = together.judgement
        yield from take_together(session, progress, leg, together)
        repetition = judgement.repetition
        if repetition is None or repetition.unusable or repetition.is_flaky:
            break
    return judgement


def _run_again(session: Session, progress: Progress, leg: Leg, number: int, first: Judgement) -> Procedure[SingleRun]:
    """Launch, follow and judge a repetition of the `first` run; an error is its judgement, too. Raises Interrupted."""
    try:
        trial = yield from launch(session, progress, leg, repetition=number)
        judgement = repeats((yield from judge_repetition(session, progress, leg, trial)), first)
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[-1]  # there is one, even if the launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)
