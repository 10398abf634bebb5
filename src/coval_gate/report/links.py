"""Where people go from a report: pages of Coval's dashboard and of GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from coval_gate.report.model import Report


def simulation_url(report: Report, simulation_id: str) -> str:
    """A simulation's page; empty where nobody knows it.

    Such a page is only known below an organization's own address, which `dashboard_url` may have.
    """
    inputs = report.inputs
    if not (inputs and report.run_url and urlsplit(inputs.dashboard_url).path):
        return ""
    return f"{report.run_url}/results/{quote(simulation_id, safe='')}"
