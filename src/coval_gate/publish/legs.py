"""Turns the record of a step's runs into what reports show of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.judge.judgement import redacted
from coval_gate.report.model import LegReport, RunReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.leg import Leg


def leg_report(
    runs: Sequence[Leg], judgement: Judgement, *, page: Callable[[str], str], redact: Callable[[str], str], home: str
) -> LegReport:
    """Return the report of a step's first run and of its repetitions, as one leg.

    `judgement` is that of the step, `page` returns the URL of a run by its id, `redact` hides secrets in a text, and
    `home` is the address of the dashboard.
    """
    leg = runs[0]
    own = leg.judgement if leg.judgement and leg.judgement.verdict is judgement.verdict else None
    return LegReport(
        judgement=redacted(own, redact) if own else judgement,  # what went wrong with the step afterwards outranks it
        known=leg.findings if own else None,
        dashboard_url=home,
        name=leg.name,
        run_id=leg.run_id,
        run_url=page(leg.run_id),
        run=leg.run,
        result=leg.result,
        details=leg.details,
        trend=leg.trend,
        single_runs=tuple(_run_report(each, judgement, page) for each in runs),
        promotion=leg.promotion and leg.promotion.redacted(redact),
    )


def _run_report(leg: Leg, judgement: Judgement, page: Callable[[str], str]) -> RunReport:
    alone = leg.alone or leg.judgement or judgement
    status = leg.run.status if leg.run else ""
    return RunReport(run_id=leg.run_id, run_url=page(leg.run_id), status=status, verdict=alone.verdict)
