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
    runs: Sequence[Leg], judgement: Judgement, *, page: Callable[[str], str], redact: Callable[[str], str]
) -> LegReport:
    """Return the report of a step's first run and of its repetitions, as one leg.

    `judgement` is that of the step, `page` returns the URL of a run by its id, and `redact` hides secrets in a text.
    """
    leg = runs[0]
    own = leg.judgement  # what went wrong with the step afterwards outranks it
    return LegReport(
        judgement=redacted(own, redact) if own and own.verdict is judgement.verdict else judgement,
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
