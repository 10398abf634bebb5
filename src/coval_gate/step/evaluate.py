"""The way of a leg once its first run is launched: follow it, judge it, perhaps repeat it and judge all together.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.text import duration
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import Judgement, SingleRun, errored, judgement_with_units, with_unusable
from coval_gate.gate.repetition import (
    again_text,
    all_runs_text,
    beyond_saving,
    has_failed,
    in_vain_text,
    is_usable,
    judge_together,
    repeats,
)
from coval_gate.gate.verdict import Completed
from coval_gate.report.wording import reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.base import base_beside, want
from coval_gate.step.follow import follow_trial
from coval_gate.step.judge import explain, find_baseline, judge_trial, log_checks
from coval_gate.step.launch import launch
from coval_gate.step.size import fits
from coval_gate.step.step import LegRun


def evaluate_leg(session: LegRun) -> Procedure[None]:
    """Repetitions that the user names come first. Stop at one without data: the earlier runs decide.

    Raises CovalError, RunnerError.
    """
    leg = session.leg
    criteria = Criteria.from_inputs(leg.inputs, legs=len(session.step.legs))
    judgement = yield from _evaluate_first(session, criteria)
    took = session.clock.now() - leg.first.known_since
    runs = [SingleRun(run_id=leg.first.run_id, judgement=judgement)]
    while has_failed(judgement) and (len(leg.trials) > len(runs) or _may_repeat(session, judgement, took=took)):
        run = yield from _repeat(session, len(runs), criteria)
        if not is_usable(run.judgement):
            leg.judgement = with_unusable(judgement, runs[0], run)
            return
        runs.append(run)
        judgement = yield from _judge_all(session, runs, criteria)
    for trial in leg.trials[len(runs) :] if not has_failed(judgement) else ():
        session.warn(f"Run {trial.run_id} was not judged: it repeats run {leg.first.run_id}, which did not fail.")


def _evaluate_first(session: LegRun, criteria: Criteria) -> Procedure[Judgement]:
    leg, trial = session.leg, session.leg.first
    outcome = yield from follow_trial(session, trial, criteria)
    baseline = yield from find_baseline(session, outcome)
    base = yield from base_beside(session, trial, outcome)
    leg.judgement = judgement = yield from judge_trial(session, trial, outcome, criteria, baseline, base)
    if isinstance(outcome, Completed):
        leg.result = outcome.result
        if session.inputs.max_simulations:  # a given run, and its base's, count as well before another one is launched
            for counted in filter(None, (leg, leg.base)):
                counted.planned = counted.planned or len(outcome.result.simulations)
        trial.judgement = judgement = yield from explain(session, judgement)
    return judgement


def _may_repeat(session: LegRun, judgement: Judgement, *, took: float) -> bool:
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


def _repeat(session: LegRun, number: int, criteria: Criteria) -> Procedure[SingleRun]:
    """Launch the repetition unless the user names its run. An error is its judgement, too. Raises Interrupted.

    It is compared with the baseline of the first run.
    """
    leg = session.leg
    first = leg.first.judgement
    baseline = first.baseline if first and not session.inputs.accept else None
    if leg.base:
        want(session.step, leg.base, number)
    try:
        if number < len(leg.trials):
            trial = leg.trials[number]
        else:
            trial = yield from launch(session, repetition=number)
        outcome = yield from follow_trial(session, trial, criteria)
        base = yield from base_beside(session, trial, outcome)
        judgement = yield from judge_trial(session, trial, outcome, criteria, baseline, base)
        if isinstance(outcome, Completed):
            judgement = judgement_with_units(judgement, session.client.shown.units)
            yield from log_checks(session, judgement)
        judgement = repeats(judgement, first) if first else judgement
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[number]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)


def _judge_all(session: LegRun, runs: Sequence[SingleRun], criteria: Criteria) -> Procedure[Judgement]:
    """Explain the judgement, too. Raises RunnerError."""
    leg = session.leg
    judgement = yield from beside(partial(judge_together, tuple(runs), criteria))
    leg.judgement = judgement  # together with the result that it is about: reports show both
    if isinstance(judgement.cause, Completed):
        leg.result = judgement.cause.result
    session.log(f"{all_runs_text(len(runs)).capitalize()} together:")
    return (yield from explain(session, judgement))
