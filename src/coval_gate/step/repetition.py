"""Repeats the run of a leg that failed, as often as repeat_on_failure allows, and judges all runs together.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.
"""

from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.text import duration
from coval_gate.gate.judgement import UNFINISHED_RUN, Judgement, SingleRun, errored, judgement_with_units, with_unusable
from coval_gate.gate.repetition import beyond_saving, has_failed, is_usable, judge_together, repeats
from coval_gate.gate.verdict import Completed
from coval_gate.report.wording import all_runs_text, reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.evaluate import judge_trial, log_checks, show_leg
from coval_gate.step.launch import ensure_trial
from coval_gate.step.leg import Base
from coval_gate.step.step import LegRun


def repeat_leg(session: LegRun) -> Procedure[None]:
    """Repeat the run while the leg has failed. Stop at a repetition without data: the earlier runs decide.

    The runs that the user names as repetitions come before new ones. Raises CovalError, RunnerError.
    """
    leg, first = session.leg, session.leg.first
    took = session.clock.now() - first.known_since
    judgement = first.judgement or UNFINISHED_RUN
    runs = [SingleRun(run_id=first.run_id, judgement=judgement)]
    while has_failed(judgement) and (len(leg.trials) > len(runs) or _may_repeat(session, judgement, took=took)):
        run = yield from _judge_repetition(session, len(runs))
        if not is_usable(run.judgement):
            leg.judgement = with_unusable(judgement, runs[0], run)
            return
        runs.append(run)
        judgement = yield from beside(partial(judge_together, tuple(runs), session.criteria))
        session.log(f"{all_runs_text(len(runs)).capitalize()} together:")
        judgement = yield from show_leg(session, judgement)
    for trial in leg.trials[len(runs) :] if not has_failed(judgement) else ():
        session.warn(f"Run {trial.run_id} was not judged: it repeats run {first.run_id}, which did not fail.")


def _may_repeat(session: LegRun, judgement: Judgement, *, took: float) -> bool:
    """Return whether the leg may run again; say so in the log. `took`: seconds that the first run took."""
    leg = session.leg
    number, most = len(leg.trials), leg.inputs.repeat_on_failure
    if number > most:
        return False
    if any(own.first.attached is not None for own in (leg, leg.base) if own and own.trials):
        session.warn("The run failed, and is not repeated, because this job has no process that answers another run.")
        return False
    if lost := beyond_saving(judgement, left=most - number + 1):
        why = check_reason(lost)
        session.log(f"The run failed, and is not repeated, because a repetition cannot change this: {why}")
        return False
    left = session.deadline - session.clock.now()
    if left < took:
        session.log(
            f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
            "so it does not run again."
        )
        return False
    if not _fits(session):
        return False
    session.log(f"The run failed: {reason(judgement).rstrip('.')}. Repeating it, {number} of at most {most}.")
    return True


def _fits(session: LegRun) -> bool:
    """Return whether another run keeps to the limit. If not, say so in the log."""
    step, leg = session.step, session.leg
    most = session.inputs.max_simulations
    if most is None or leg.planned is None:
        return True
    launched = 0
    for other in step.all_legs:  # one that waits for its turn has no trial yet
        runs = 1 if other.slices else max(other.wanted if isinstance(other, Base) else 1, len(other.trials))
        launched += runs * (other.planned or 0)
    base = leg.base
    more = leg.planned + (base.planned or 0 if base and base.wanted <= len(leg.trials) else 0)
    if launched + more <= most:
        return True
    session.log(
        f"The run failed, but running it again would take the step to {launched + more:,} simulations, more "
        f"than max_simulations ({most:,}), so it does not run again."
    )
    return False


def _judge_repetition(session: LegRun, number: int) -> Procedure[SingleRun]:
    """Judge the repetition alone. An error becomes its judgement. Raises Interrupted."""
    leg, first = session.leg, session.leg.first.judgement
    try:
        outcome, judgement = yield from judge_trial(session, (yield from ensure_trial(session, number)))
        if isinstance(outcome, Completed):
            judgement = judgement_with_units(judgement, session.client.shown.units)
            yield from log_checks(session, judgement)
        judgement = repeats(judgement, first) if first else judgement
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[number]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)
