"""The step's summary on the workflow run's page."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict
from coval_gate.report.markdown import code, escape, link
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.verdict import Judgement
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
MARKS: Final = {Verdict.PASSED: "✅", Verdict.FAILED: "❌", Verdict.ERROR: "⚠️"}
MOST_REASONS: Final = 20
MOST_CHECKS: Final = 100


def heading(verdict: Verdict | None) -> str:
    """The verdict as a title, with a mark that is seen before it is read."""
    return HEADINGS[verdict]


def summary(report: Report) -> str:
    """Verdict and reason first, then a small table of what it is about, then the link."""
    parts = [f"### {heading(report.judgement.verdict)}: Coval evaluation", escape(report.judgement.reason)]
    if report.judgement.advice:
        parts.append("\n".join(_advice(report.judgement.advice)))
    if len(report.judgement.reasons) > 1:
        parts.append("\n".join(f"- {escape(reason)}" for reason in report.judgement.reasons[:MOST_REASONS]))
    if report.judgement.checks:
        parts.append("\n".join(_checks(report.judgement)))
    rows = [f"| {name} | {value} |" for name, value in _facts(report) if value]
    if rows:
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    links = {"Open the run in Coval": report.run_url, "Read more": report.judgement.link}
    if any(links.values()):
        parts.append(" · ".join(link(label, url) for label, url in links.items() if url))
    return "\n\n".join(parts) + "\n"


def _advice(advice: str) -> Iterator[str]:
    """Sentences, bullets, and lines that are indented because the place of each character matters."""
    for indented, lines in groupby(advice.split("\n"), key=lambda line: line.startswith("    ")):
        if indented:
            yield from ("```text", *(line.removeprefix("    ").replace("```", "'''") for line in lines), "```")
        else:
            yield from (f"- {escape(line[2:])}" if line.startswith("- ") else escape(line) for line in lines)


def _checks(judgement: Judgement) -> Iterator[str]:
    yield "| | asked | found | missed by |"
    yield "|---|---|---|---|"
    for check in judgement.first_checks(MOST_CHECKS):
        asked = code(check.asked) + (f" ({escape(check.variant)})" if check.variant else "")
        yield f"| {MARKS[check.verdict]} | {asked} | {escape(check.found)} | {escape(check.missed)} |"
    if len(judgement.checks) > MOST_CHECKS:
        yield f"| | … and {len(judgement.checks) - MOST_CHECKS:,} more | | |"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    run, inputs, population = report.run, report.inputs, report.judgement.population
    yield "Run", code(report.run_id)
    yield "Status", code(report.judgement.status)
    if population:
        yield "Simulations", f"{population.completed:,} of {population.total:,} completed"
    elif run and run.progress:
        yield "Simulations", f"{run.progress.completed:,} of {run.progress.total:,} completed"
    if inputs:
        yield "Agent", code(inputs.agent_id)
        yield "Persona", code(inputs.persona_id)
        yield "Test set", code(inputs.test_set_id)
    yield "Step took", duration(report.seconds)
