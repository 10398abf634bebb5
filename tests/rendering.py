"""The formats that read the document, as functions of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.report.charts import DrawnBound, drawn, spread
from coval_gate.report.compose.metrics import chart_of
from coval_gate.report.formats import digest as digest_format
from coval_gate.report.formats import html as html_format
from coval_gate.report.formats import json as json_format
from coval_gate.report.formats import junit as junit_format
from coval_gate.report.formats import log as log_format
from coval_gate.report.formats import summary as summary_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.gate.findings import SimulationFinding
    from coval_gate.report.model import Report


def rows_of(report: Report) -> tuple[SimulationFinding, ...]:
    """Return the findings of all simulations, by leg."""
    return tuple(row for leg in report.legs for row in leg.findings.simulations)


def document(report: Report) -> str:
    return json_format.render(report.document)


def html(report: Report) -> str:
    return html_format.render(report.document)


def junit(report: Report) -> str:
    return junit_format.render(report.document)


def digest(report: Report) -> str:
    return digest_format.render(report.document)


def summary(report: Report) -> str:
    return summary_format.render(report.document)


def closing(report: Report) -> log_format.Closing:
    return log_format.render(report.document)


def histogram(values: Sequence[float], bound: DrawnBound | None = None, unit: str = "") -> str:
    """Return a chart in Markdown; empty where there is none."""
    return _chart([values], bound, unit)


def compared_histogram(
    now: Sequence[float], earlier: Sequence[float], bound: DrawnBound | None = None, unit: str = ""
) -> str:
    return _chart([now, earlier], bound, unit)


def _chart(samples: Sequence[Sequence[float]], bound: DrawnBound | None, unit: str) -> str:
    bars = spread(samples, bound)
    return drawn(chart_of(bars, "name", "", unit, "baseline" if len(samples) > 1 else "")) if bars else ""
