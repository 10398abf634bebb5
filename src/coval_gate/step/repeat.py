"""Repeats a run that failed.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.text import duration
from coval_gate.gate.clauses import again_text, all_runs_text, in_vain_text
from coval_gate.gate.judgement import Judgement, SingleRun, errored
from coval_gate.gate.repetition import beyond_saving, judge_together, repeats
from coval_gate.gate.verdict import Completed
from coval_gate.report.wording import reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.base import want
from coval_gate.step.follow import criteria_of, follow_trial
from coval_gate.step.judge import explain, judge_repetition
from coval_gate.step.launch import launch
from coval_gate.step.size import fits
from coval_gate.step.step import LegRun


def may_repeat(session: LegRun, judgement: Judgement, *, took: float) -> bool:
    """Say so in the log. `took`: the seconds of the first run."""
    leg = session.leg
    number, most = len(leg.trials), leg.inputs.repeat_on_failure
    if number > most:
        return False
    if lost := beyond_saving(judgement, left=most - number + 1):
        session.log(in_vain_text(check_reason(lost)))
        return False
    left = session.deadline - session.clock.now()
    if left < took:
        session.log(
            f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
            "so it does not run again."
        )
        return False
    if not fits(session):
        return False
    session.log(again_text(reason(judgement), number, most))
    return True


def repeat(session: LegRun, number: int) -> Procedure[SingleRun]:
    """Launch the repetition unless the user names its run. An error is its judgement, too. Raises Interrupted."""
    leg = session.leg
    first = leg.first.judgement
    if leg.base:
        want(session.step, leg.base, number)
    try:
        if number < len(leg.trials):
            trial = leg.trials[number]
        else:
            trial = yield from launch(session, repetition=number)
        outcome = yield from follow_trial(session, trial)
        judgement = yield from judge_repetition(session, trial, outcome)
        judgement = repeats(judgement, first) if first else judgement
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[number]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)


def judge_all(session: LegRun, runs: Sequence[SingleRun]) -> Procedure[Judgement]:
    """Explain the judgement, too. Raises RunnerError."""
    leg = session.leg
    judgement = yield from beside(partial(judge_together, tuple(runs), criteria_of(session)))
    leg.judgement = judgement  # together with the result that it is about: reports show both
    if isinstance(judgement.cause, Completed):
        leg.result = judgement.cause.result
    session.log(f"{all_runs_text(len(runs)).capitalize()} together:")
    return (yield from explain(session, judgement))
