"""Turns the record of a leg into its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.judge.judgement import redacted
from coval_gate.model.results import Details
from coval_gate.report.model import LegReport, RunReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.legs import Leg, Trial


def leg_report(
    leg: Leg,
    judgement: Judgement,
    *,
    is_of_leg: bool,
    page: Callable[[str], str],
    redact: Callable[[str], str],
    home: str,
) -> LegReport:
    """Return the report of a leg that has a run.

    `judgement` is the step's; `is_of_leg`: it is the judgement of this leg or of another one. `page` returns the URL of
    a run by its id, `redact` hides secrets in a text, and `home` is the URL of the dashboard.
    """
    trials = [trial for trial in leg.trials if trial.run_id]
    first = trials[0]
    went_wrong_afterwards = judgement.is_of_step and not is_of_leg
    own = leg.outcome
    if own and went_wrong_afterwards and own.verdict is not judgement.verdict:
        own = None
    return LegReport(
        judgement=redacted(own, redact) if own else judgement,
        known=leg.findings if own and not leg.error else None,
        dashboard_url=home,
        name=leg.name,
        run_id=first.run_id,
        run_url=page(first.run_id),
        run=first.run,
        result=leg.result,
        details=leg.details or Details(),
        trend=leg.trend,
        single_runs=tuple(_run_report(trial, own or judgement, page) for trial in trials),
        promotion=leg.promotion and leg.promotion.redacted(redact),
    )


def _run_report(trial: Trial, judgement: Judgement, page: Callable[[str], str]) -> RunReport:
    alone = trial.judgement or judgement
    status = trial.run.status if trial.run else ""
    return RunReport(run_id=trial.run_id, run_url=page(trial.run_id), status=status, verdict=alone.verdict)
