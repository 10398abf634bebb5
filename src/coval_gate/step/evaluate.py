"""The way of a leg once its first run is launched: follow it, judge it, perhaps repeat it and judge all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.gate.claims import undecidable_text
from coval_gate.gate.doubts import undecidable
from coval_gate.gate.judgement import SingleRun, with_unusable
from coval_gate.gate.repetition import has_failed, is_usable
from coval_gate.step.follow import criteria_of, follow_trial
from coval_gate.step.judge import judge_first
from coval_gate.step.repeat import judge_all, may_repeat, repeat

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.step.step import LegRun


def evaluate_leg(session: LegRun) -> Procedure[None]:
    """Repetitions that the user names come first. Stop at one without data: the earlier runs decide.

    Raises CovalError, RunnerError.
    """
    leg = session.leg
    if session.inputs.mode == "run":
        _foresee(session)
    outcome = yield from follow_trial(session, leg.first)
    judgement = yield from judge_first(session, outcome)
    took = session.clock.now() - leg.first.known_since
    runs = [SingleRun(run_id=leg.first.run_id, judgement=judgement)]
    while has_failed(judgement) and (len(leg.trials) > len(runs) or may_repeat(session, judgement, took=took)):
        run = yield from repeat(session, len(runs))
        if not is_usable(run.judgement):
            leg.judgement = with_unusable(judgement, runs[0], run)
            return
        runs.append(run)
        judgement = yield from judge_all(session, runs)
    for trial in leg.trials[len(runs) :] if not has_failed(judgement) else ():
        session.warn(f"Run {trial.run_id} was not judged: it repeats run {leg.first.run_id}, which did not fail.")


def _foresee(session: LegRun) -> None:
    """Warn of thresholds that a run of this size, cannot decide with the confidence."""
    inputs = session.leg.inputs
    cases = len(inputs.test_case_ids) or inputs.sub_sample_size or 0
    if inputs.confidence is None or not cases:  # how many a test set has is known only after the launch
        return

    for criterion in undecidable(criteria_of(session), cases):
        session.warn(undecidable_text(criterion, cases))
