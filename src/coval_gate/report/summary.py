"""The step's summary on the workflow run's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict
from coval_gate.report.markdown import code, escape, link
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.report.model import Report

HEADINGS: Final = {
    Verdict.PASSED: "✅ Passed",
    Verdict.FAILED: "❌ Failed",
    Verdict.ERROR: "⚠️ Error",
    Verdict.TIMED_OUT: "⌛ Timed out",
    Verdict.CANCELLED: "🚫 Cancelled",
    Verdict.SKIPPED: "⏭️ Skipped",
    None: "🚀 Launched",
}


def heading(verdict: Verdict | None) -> str:
    """The verdict as a title, with a mark that is seen before it is read."""
    return HEADINGS[verdict]


def summary(report: Report) -> str:
    """Verdict and reason first, then a small table of what it is about, then the link."""
    parts = [f"### {heading(report.judgement.verdict)}: Coval evaluation", escape(report.judgement.reason)]
    if report.judgement.advice:
        parts.append("\n".join(_advice_line(line) for line in report.judgement.advice.split("\n")))
    rows = [f"| {name} | {value} |" for name, value in _facts(report) if value]
    if rows:
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    links = {"Open the run in Coval": report.run_url, "Read more": report.judgement.link}
    if any(links.values()):
        parts.append(" · ".join(link(label, url) for label, url in links.items() if url))
    return "\n\n".join(parts) + "\n"


def _advice_line(line: str) -> str:
    bullet = "- " if line.startswith("- ") else ""
    return bullet + escape(line.removeprefix(bullet))


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    run, inputs = report.run, report.inputs
    yield "Run", code(report.run_id)
    yield "Status", code(report.judgement.status)
    if run and run.progress:
        counts = f"{run.progress.completed:,} of {run.progress.total:,} completed, {run.progress.failed:,} failed"
        yield "Simulations", counts
    elif run and run.simulations:
        yield "Simulations", f"{run.simulations:,}"
    if inputs:
        yield "Agent", code(inputs.agent_id)
        yield "Persona", code(inputs.persona_id)
        yield "Test set", code(inputs.test_set_id)
    yield "Step took", duration(report.seconds)
