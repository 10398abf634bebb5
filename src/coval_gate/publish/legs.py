"""Turns the record of a leg into its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.coval.model import Details
from coval_gate.gate.judgement import redacted
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.model import BaseReport, LegReport, RunReport
from coval_gate.report.provenance import BASE_AGENT
from coval_gate.runs.legs import Trial, ids_shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.gate.judgement import Judgement
    from coval_gate.runs.legs import Leg


def leg_report(
    leg: Leg,
    judgement: Judgement,
    *,
    keeps_own: bool,
    page: Callable[[str], str],
    redact: Callable[[str], str],
    home: str,
    name_of: Callable[[str, str], str | None],
) -> LegReport:
    """Return the report of a leg, which may have no run if the step has several.

    `judgement` is the step's. `keeps_own`: it does not replace the leg's, as it does where the step of an only leg went
    wrong afterwards. `page`: the URL of a run by its id. `name_of`: the name by input and id, if it is known.
    """
    trials = [trial for trial in leg.trials if trial.run_id]
    first = trials[0] if trials else Trial()
    own = leg.outcome
    if own and judgement.is_of_step and not keeps_own and own.verdict is not judgement.verdict:
        own = None
    return LegReport(
        judgement=redacted(own, redact) if own else judgement,
        own_findings=leg.findings if own and not leg.error else None,
        dashboard_url=home,
        name=leg.name,
        ids=ids_of(leg.inputs),
        planned=leg.planned,
        run_id=first.run_id,
        run_url=page(first.run_id),
        run=first.run,
        result=leg.result,
        details=leg.details or Details(),
        trend=leg.trend,
        single_runs=tuple(_run_report(trial, own or judgement, page) for trial in trials),
        standing=leg.standing,
        base=_base_report(leg.base, page) if leg.base else None,
        inputs=leg.inputs if leg.is_listed and leg.inputs.mode != "wait" else None,
        attached=first.attached,
        agent_type_is_known=bool(first.agent_type),
        names=_names(leg, first, name_of, redact),
    )


def _names(
    leg: Leg, first: Trial, name_of: Callable[[str, str], str | None], redact: Callable[[str], str]
) -> dict[str, str]:
    ids = ids_shown(leg, first)
    named = {name: name_of(name, id_) for name, id_ in ids.items()}
    if leg.base:
        named[BASE_AGENT] = name_of("agent_id", ids_of(leg.base.inputs)["agent_id"])
    return {name: redact(text) for name, text in named.items() if text}


def _base_report(base: Leg, page: Callable[[str], str]) -> BaseReport:
    first, *again = [trial.run_id for trial in base.trials] or [""]
    return BaseReport(
        name=base.name,
        agent_id=ids_of(base.inputs)["agent_id"],
        planned=base.planned,
        run_id=first,
        run_url=page(first),
        again=tuple(filter(None, again)),
    )


def _run_report(trial: Trial, judgement: Judgement, page: Callable[[str], str]) -> RunReport:
    alone = trial.judgement or judgement
    status = trial.run.status if trial.run else ""
    return RunReport(run_id=trial.run_id, run_url=page(trial.run_id), status=status, verdict=alone.verdict)
