"""The way of a leg once its first run is launched: follow it, judge it, perhaps repeat it and judge all together."""

from __future__ import annotations

from coval_gate.base.schedule import Procedure
from coval_gate.gate.judgement import SingleRun, with_unusable
from coval_gate.gate.repetition import has_failed, is_usable
from coval_gate.step.follow import follow_trial
from coval_gate.step.judge import judge_first
from coval_gate.step.repeat import judge_all, may_repeat, repeat
from coval_gate.step.step import LegRun


def evaluate_leg(session: LegRun) -> Procedure[None]:
    """Repetitions that the user names come first. Stop at one without data: the earlier runs decide.

    Raises CovalError, RunnerError.
    """
    leg = session.leg
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
