"""Runs the base agent beside the tested one, and hands over its runs to compare with.

Legs that differ in their agent only share a base. It runs again as often as one of them does, and ends with the last.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside, first
from coval_gate.coval.client import Session
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundReason
from coval_gate.gate.verdict import Completed, Outcome, TimedOut
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.cleanup import clean_up_base
from coval_gate.step.follow import follow_trial
from coval_gate.step.judge import log_checks
from coval_gate.step.launch import launch, launch_first
from coval_gate.step.leg import Base, Leg, Trial
from coval_gate.step.step import LegRun, Step


def accompany(session: LegRun, base: Base) -> Procedure[None]:
    """Run the base, the session's leg, as long as a leg needs it. Errors are outcomes, too. Raises Interrupted."""
    step = session.step
    tested = [leg for leg in step.legs if leg.base is base]

    def is_needed() -> bool:
        return not all(leg.is_done for leg in tested)

    def is_due() -> bool:
        """Return whether a run is missing, beside one that was launched: what is wrong with that may cost nothing."""
        number = len(base.outcomes)
        return number < base.wanted and any(len(leg.trials) > number and leg.trials[number].run_id for leg in tested)

    def until_unneeded() -> Procedure[None]:
        while is_needed():
            yield step.changed.wait()

    while is_needed():
        if not is_due():
            yield step.changed.wait()
            continue
        outcome: Outcome | GateError | None
        try:
            # Given up, a launch is looked for and cancelled, as after a signal.
            outcome = yield from first((_run_again(session, base), until_unneeded()), session.clock)
        except GateError as error:
            session.log(f"The base has no run to compare with: {error.what}")
            outcome = error
        if outcome:
            base.outcomes.append(outcome)
            step.changed.happen()
        if isinstance(outcome, Completed):
            yield from _log_checks(session, base, outcome)
    yield from clean_up_base(session)


def _run_again(session: LegRun, base: Base) -> Procedure[Outcome]:
    """Launch the next run, unless the user names it, and follow it. Raises GateError."""
    number = len(base.outcomes)
    if number < len(base.trials):
        trial = base.trials[number]
    else:
        trial = yield from (launch(session, repetition=number) if number else launch_first(session))
    return (yield from follow_trial(session, trial, _criteria(base)))


def base_beside(session: LegRun, beside_trial: Trial, of_trial: Outcome) -> Procedure[Baseline | None]:
    """Wait for the base's run beside a trial. Return None if the trial has nothing to compare, or the leg no base."""
    step, base, number = session.step, session.leg.base, beside_trial.repetition
    if base is None or not isinstance(of_trial, Completed):
        return None
    want(step, base, number)
    while len(base.outcomes) <= number and not base.is_done:
        yield step.changed.wait()
    source = source_of(base)
    if len(base.outcomes) <= number:  # it ended in an error of the step's own
        return Baseline(
            source=source, missing=NotFoundReason(kind="unreadable", text="the step could not follow its run")
        )
    outcome = base.outcomes[number]
    if isinstance(outcome, GateError):
        return Baseline(source=source, missing=NotFoundReason(kind="unreadable", text=outcome.what))
    trial = base.trials[number]
    status = trial.run.status if trial.run else ""
    if isinstance(outcome, TimedOut):
        reason = NotFoundReason(kind="not_over", run_id=trial.run_id, status=status, text=outcome.limit.name)
        return Baseline(source=source, missing=reason)
    if not isinstance(outcome, Completed):
        return Baseline(source=source, missing=NotFoundReason("not_completed", trial.run_id, status=status))
    why = yield from beside(partial(_gap_in_data, outcome, _criteria(base)))
    if why or trial.run is None:
        return Baseline(source=source, missing=NotFoundReason(kind="unusable", run_id=trial.run_id, text=why))
    return Baseline(source=source, runs=(BaselineRun(run=trial.run, result=outcome.result),))


def want(step: Step, base: Base, number: int) -> None:
    """Let the base run as often as this."""
    if number >= base.wanted:
        base.wanted = number + 1
        step.changed.happen()


def _gap_in_data(outcome: Completed, criteria: Criteria) -> str:
    """Return what a run lacks to be compared with, whatever its values would decide; empty if nothing."""
    judgement = judge_outcome(outcome, replace(criteria, confidence=None))
    return next((check_reason(check) for check in judgement.missed if not check.criterion.of_values), "")


def source_of(base: Leg) -> BaselineSource:
    return BaselineSource(kind="base_agent", name=ids_of(base.inputs)["agent_id"])


def _criteria(base: Leg) -> Criteria:
    return Criteria.from_inputs(base.inputs)


def _log_checks(session: Session, base: Leg, outcome: Completed) -> Procedure[None]:
    """This only informs. Of checks, a base has only those that compare with nothing."""
    with suppress(GateError):
        criteria = _criteria(base)
        absolute = tuple(threshold for threshold in criteria.thresholds if not threshold.bound.reference)
        judging = partial(judge_outcome, outcome, replace(criteria, thresholds=absolute))
        judgement = yield from beside(judging)
        session.log("By itself, which decides nothing:")
        yield from log_checks(session, judgement)
