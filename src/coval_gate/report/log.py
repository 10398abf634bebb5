"""The last lines of the log, and the one annotation of a step that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.report.summary import heading

if TYPE_CHECKING:
    from coval_gate.report.model import Report


def closing_line(report: Report) -> str:
    """Verdict and reason on one line."""
    return f"{heading(report.judgement.verdict)}. {report.judgement.reason}"


def annotation(report: Report) -> tuple[str, str]:
    """Title and message: the reason, what to do about it, where to look."""
    judgement = report.judgement
    where = f"Run: {report.run_url}" if report.run_url else ""
    more = f"More: {judgement.link}" if judgement.link else ""
    lines = (judgement.reason, judgement.advice, where, more)
    return f"Coval Gate: {judgement.title}", "\n".join(line for line in lines if line)
