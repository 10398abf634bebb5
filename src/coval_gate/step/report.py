"""Turns what is known of a step, and of its legs, into its report."""

from __future__ import annotations

from coval_gate.base.schedule import Procedure
from coval_gate.base.times import announcing
from coval_gate.coval.model import Details
from coval_gate.gate.judgement import LAUNCH, Judgement, OfLegs, redacted
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.model import BASE_AGENT, UNFOUND, BaseReport, LegReport, Report, RunReport
from coval_gate.step.leg import Leg, Trial, ids_shown
from coval_gate.step.step import Step


def report_of(step: Step, judgement: Judgement) -> Report:
    """`judgement` is the step's."""
    is_of_leg, several = step.is_of_leg(judgement), len(step.legs) > 1
    shown = [leg for leg in step.legs if several or any(trial.run_id for trial in leg.trials)]
    decisive = next((leg.name for leg in step.legs if leg.outcome is judgement), "")
    # A secret in a text can be recognised only before a format escapes it.
    judgement = redacted(judgement, step.host.redact)
    legs = tuple(_leg_report(step, leg, judgement, keeps_own=is_of_leg or several) for leg in shown)
    if several:
        run_ids = tuple(leg.first.run_id for leg in step.all_legs if leg.trials)
        failing = sum(not leg.judgement.lets_pass for leg in legs)
        others = max(0, failing - 1) if decisive else 0
        judgement = judgement._replace(of_legs=OfLegs(len(legs), decisive, run_ids, others))
    return Report(
        judgement=judgement,
        legs=legs,
        context=step.context,
        inputs=step.inputs,
        wrong=step.wrong,
        began=step.began_at,
        seconds=step.clock.now() - step.began,
    )


def _leg_report(step: Step, leg: Leg, judgement: Judgement, *, keeps_own: bool) -> LegReport:
    """Return the report of a leg, which may have no run if the step has several.

    `judgement` is the step's. `keeps_own`: it does not replace the leg's, as it does where the step of an only leg went
    wrong afterwards.
    """
    trials = [trial for trial in leg.trials if trial.run_id]
    first = trials[0] if trials else Trial()
    own = leg.outcome
    if own and judgement.is_of_step and not keeps_own and own.verdict is not judgement.verdict:
        own = None
    return LegReport(
        judgement=redacted(own, step.host.redact) if own else judgement,
        findings=leg.findings if own and leg.findings and not leg.error else UNFOUND,
        dashboard_url=step.inputs.dashboard_url,
        name=leg.name,
        ids=ids_of(leg.inputs),
        planned=leg.planned,
        run_id=first.run_id,
        run_url=step.run_url(first.run_id),
        run=first.run,
        result=leg.result,
        details=leg.details or Details(),
        trend=leg.trend,
        runs=tuple(_run_report(step, trial, own or judgement) for trial in trials),
        standing=leg.standing,
        base=_base_report(step, leg.base) if leg.base else None,
        inputs=leg.inputs if leg.is_listed and leg.inputs.mode != "wait" else None,
        attached=first.attached,
        agent_type_is_known=bool(first.agent_type),
        names=_names(step, leg, first),
    )


def _names(step: Step, leg: Leg, first: Trial) -> dict[str, str]:
    named = {name: step.name_of(name, id_) for name, id_ in ids_shown(leg, first).items()}
    if leg.base:
        named[BASE_AGENT] = step.name_of("agent_id", ids_of(leg.base.inputs)["agent_id"])
    return {name: step.host.redact(text) for name, text in named.items() if text}


def _base_report(step: Step, base: Leg) -> BaseReport:
    first, *again = [trial.run_id for trial in base.trials] or [""]
    return BaseReport(
        name=base.name,
        agent_id=ids_of(base.inputs)["agent_id"],
        planned=base.planned,
        run_id=first,
        run_url=step.run_url(first),
        again=tuple(filter(None, again)),
    )


def _run_report(step: Step, trial: Trial, judgement: Judgement) -> RunReport:
    verdict = (trial.judgement or judgement).verdict
    status = trial.run.status if trial.run else ""
    return RunReport(id=trial.run_id, url=step.run_url(trial.run_id), status=status, verdict=verdict)


def announce(step: Step) -> Procedure[None]:
    """Show on the commit's pages that the run is in progress."""
    until = announcing(step.clock.now(), step.deadline)
    return step.publisher.pages.announce(report_of(step, LAUNCH), until=until)
