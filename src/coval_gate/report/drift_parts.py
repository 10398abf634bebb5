"""Drift in Markdown: a chart of the sum of the shortfalls, for each criterion that alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.report.charts import path_chart
from coval_gate.report.comparison_tables import criterion_cell
from coval_gate.report.markdown import escape
from coval_gate.report.wording.drift import path_title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.report.model import LegReport

MOST_PATHS: Final = 3


def drift_parts(leg: LegReport) -> Iterator[str]:
    """Yield the chart of each criterion whose sum is an alarm, the gravest first."""
    alarming = [check for check in leg.judgement.missed if check.measure and check.measure.path]
    for check in alarming[:MOST_PATHS]:
        if check.measure and (path := check.measure.path):
            yield f"{criterion_cell(check)}: {escape(path_title(path))}"
            yield path_chart([night.sum for night in path.nights], path.level)
