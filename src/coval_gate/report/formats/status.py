"""The commit's status: the verdict and its reason on one line; and what all pages of the host have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.ci.host import IN_PROGRESS, PageText
from coval_gate.config.inputs import CONTEXT_LIMIT
from coval_gate.report.wording.judgements import headline
from coval_gate.text import one_line

if TYPE_CHECKING:
    from coval_gate.report.model import Report

RUNNING: Final = "⏳ The evaluation is running."
LIMIT: Final = 140  # characters; GitHub refuses a longer description


def render(report: Report) -> PageText:
    """Return the commit's status."""
    judgement = report.judgement
    told = headline(judgement, LIMIT) if judgement.verdict else RUNNING
    return page_text(
        report,
        name=page_name(report, "commit_status"),
        title=one_line(told, LIMIT),
        link=report.run_url or report.context.run_url,
    )


def page_text(report: Report, **texts: Any) -> PageText:
    """Return what a page shows: these texts, and the state of the step."""
    judgement, context = report.judgement, report.context
    return PageText(
        state=judgement.verdict or IN_PROGRESS,
        passes=judgement.lets_pass,
        sha=context.sha if context.sha_is_known else "",
        **texts,
    )


def page_name(report: Report, asked_by: str) -> str:
    """Return the name that an input gives to a page, which tells the jobs of a matrix apart; empty where it is."""
    name = getattr(report.inputs, asked_by, "")
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""
