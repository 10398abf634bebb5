"""Runs the base agent beside the tested one, and compares with its run.

Legs that differ only in their agent share a base. It runs again as often as one of them does, and ends with the last.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import beside, first
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundReason
from coval_gate.gate.verdict import Completed, Outcome, TimedOut
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.references import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.cleanup import end_runs, verdict_of_base
from coval_gate.step.launch import ensure_trial
from coval_gate.step.leg import Base, Trial
from coval_gate.step.step import LegRun
from coval_gate.step.watch import follow_trial


async def run_base(session: LegRun, base: Base) -> None:
    """Run the base, the session's leg, as long as a leg needs it. Errors become outcomes. Raises Interrupted."""
    step = session.step
    tested = [leg for leg in step.legs if leg.base is base]

    def is_needed() -> bool:
        return not all(leg.is_done for leg in tested)

    def is_due() -> bool:
        """A run of the base follows the one beside it: if Coval refuses that launch, the base costs nothing."""
        number = len(base.outcomes)
        return number < base.wanted and any(len(leg.trials) > number and leg.trials[number].run_id for leg in tested)

    async def until_unneeded() -> None:
        while is_needed():
            await step.changed.wait()

    while is_needed():
        if not is_due():
            await step.changed.wait()
            continue
        outcome: Outcome | GateError | None
        try:
            # Given up, a launch is looked for and cancelled, as after a signal.
            outcome = await first((_run_once(session, len(base.outcomes)), until_unneeded()), session.clock)
        except GateError as error:
            session.log(f"The base has no run to compare with: {error.what}")
            outcome = error
        if outcome:
            base.outcomes.append(outcome)
            step.changed.happen()
        if isinstance(outcome, Completed):
            await _log_checks_of_base(session, outcome)
    await end_runs(session, verdict_of_base(step, base))


async def _run_once(session: LegRun, number: int) -> Outcome:
    return await follow_trial(session, await ensure_trial(session, number))


async def _log_checks_of_base(session: LegRun, outcome: Completed) -> None:
    """Log the checks that compare with nothing. They only inform."""
    with suppress(GateError):
        criteria = session.criteria
        absolute = tuple(threshold for threshold in criteria.thresholds if not threshold.bound.reference)
        judgement = await beside(partial(judge_outcome, outcome, replace(criteria, thresholds=absolute)))
        findings = await beside(partial(findings_of, judgement))
        session.log("By itself, which decides nothing:", *check_lines(*listed(findings, {})))


async def find_base_run(session: LegRun, base: Base, number: int) -> Baseline:
    """Wait for the base's run with that number, which the leg's is compared with."""
    step = session.step
    step.want(base, number)
    while len(base.outcomes) <= number and not base.is_done:
        await step.changed.wait()
    source = BaselineSource(kind="base_agent", name=ids_of(base.inputs)["agent_id"])
    trial = base.trials[number] if number < len(base.trials) else Trial()
    outcome = base.outcomes[number] if number < len(base.outcomes) else None
    missing = await _why_no_base(session.of(base), trial, outcome)
    if missing or trial.run is None or not isinstance(outcome, Completed):
        return Baseline(source=source, missing=missing)
    return Baseline(source=source, runs=(BaselineRun(run=trial.run, result=outcome.result),))


async def _why_no_base(session: LegRun, trial: Trial, outcome: Outcome | GateError | None) -> NotFoundReason | None:
    """Return why a run of the base cannot be compared with. The session is the base's."""
    status = trial.run.status if trial.run else ""
    match outcome:
        case None:
            return NotFoundReason(kind="unreadable", text="the step could not follow its run")
        case GateError():
            return NotFoundReason(kind="unreadable", text=outcome.what)
        case TimedOut():
            return NotFoundReason("not_over", trial.run_id, status=status, text=outcome.limit.name)
        case Completed():
            # Its values decide nothing.
            criteria = replace(session.criteria, confidence=None)
            judging = partial(judge_outcome, outcome, criteria, attached=trial.attached)
            missed = (await beside(judging)).missed
            why = next((check_reason(check) for check in missed if not check.criterion.by_values), "")
            return NotFoundReason(kind="unusable", run_id=trial.run_id, text=why) if why else None
    return NotFoundReason("not_completed", trial.run_id, status=status)
