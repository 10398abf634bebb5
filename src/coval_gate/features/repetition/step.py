"""Repeats the run of a leg that failed, once, and judges both runs together.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.
"""

from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import beside
from coval_gate.base.text import duration
from coval_gate.features.repetition.judge import beyond_saving, is_usable, judge_together, repeats
from coval_gate.gate.judgement import UNFINISHED_RUN, Judgement, Repetition, SingleRun, errored, judgement_with_words
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.report.wording import reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.evaluate import judge_trial, log_checks, show_leg
from coval_gate.step.launch import ensure_trial
from coval_gate.step.leg import Base
from coval_gate.step.step import LegRun


async def repeat_leg(session: LegRun) -> None:
    """Repeat the leg's run if it failed. A repetition without data leaves the first run's verdict.

    A run that the user names as a repetition stands for a new one. Raises CovalError, RunnerError.
    """
    leg, trial = session.leg, session.leg.first
    first = SingleRun(run_id=trial.run_id, judgement=trial.judgement or UNFINISHED_RUN)
    took = session.clock.now() - trial.known_since
    others, why = leg.trials[1:], "which did not fail"
    has_failed = first.judgement.verdict is Verdict.FAILED and isinstance(first.judgement.cause, Completed)
    if has_failed and (others or leg.inputs.repeat_on_failure):
        why = "whose verdict it cannot change"
        is_there = bool(others or leg.taken_over[1:])
        if (is_there or _may_launch_again(session, took=took)) and _may_turn_out_better(session, first.judgement):
            if not is_there:
                session.log(f"The run failed: {reason(first.judgement).rstrip('.')}. Repeating it once.")
            second = await _judge_repetition(session, first.judgement)
            others, why = others[1:], "of which one repetition counts"
            if is_usable(second.judgement):
                both = await beside(partial(judge_together, (first, second), session.criteria))
                session.log("Both runs together:")
                await show_leg(session, both)
            else:
                leg.judgement = first.judgement._replace(repetition=Repetition((first,), unusable=second))
    for other in others:
        session.warn(f"Run {other.run_id} was not judged: it repeats run {trial.run_id}, {why}.")


def _may_turn_out_better(session: LegRun, judgement: Judgement) -> bool:
    """Return whether both runs together may pass. If not, log it."""
    if lost := beyond_saving(judgement):
        why = check_reason(lost)
        session.log(f"The run failed, and is not repeated, because a repetition cannot change this: {why}")
    return lost is None


def _may_launch_again(session: LegRun, *, took: float) -> bool:
    """Return whether the leg may run again, and log it. `took`: seconds that the first run took."""
    leg = session.leg
    if any(own.first.attached is not None for own in (leg, leg.base) if own and own.trials):
        session.warn("The run failed, and is not repeated, because this job has no process that answers another run.")
        return False
    left = session.deadline - session.clock.now()
    if left < took:
        session.log(
            f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
            "so it does not run again."
        )
        return False
    return _fits(session)


def _fits(session: LegRun) -> bool:
    """Return whether another run keeps to the limit. If not, log it."""
    step, leg = session.step, session.leg
    most = session.inputs.max_simulations
    if most is None or leg.planned is None:
        return True
    launched = 0
    for other in step.all_legs:  # one that waits for its turn has no trial yet
        runs = max(other.wanted if isinstance(other, Base) else 1, len(other.trials))
        runs = max(0, runs - len([*filter(None, other.taken_over)]))
        launched += (other.to_launch if other.slices else runs * (other.planned or 0)) or 0
    base = leg.base
    more = leg.planned + (base.planned or 0 if base and base.wanted <= len(leg.trials) else 0)
    if launched + more <= most:
        return True
    session.log(
        f"The run failed, but running it again would bring the step to {launched + more:,} simulations, more "
        f"than max_simulations ({most:,}), so it does not run again."
    )
    return False


async def _judge_repetition(session: LegRun, first: Judgement) -> SingleRun:
    """Judge the repetition alone. An error becomes its judgement. Raises Interrupted."""
    try:
        outcome, judgement = await judge_trial(session, await ensure_trial(session, 1))
        if isinstance(outcome, Completed):
            shown = session.client.shown
            judgement = judgement_with_words(judgement, shown.units, shown.labels)
            await log_checks(session, judgement)
        judgement = repeats(judgement, first)
    except GateError as error:
        judgement = errored(error)
    trial = session.leg.trials[1]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)
