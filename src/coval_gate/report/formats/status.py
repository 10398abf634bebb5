"""The commit status, which is the verdict with its reason on one line, and what all pages of the host share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import one_line
from coval_gate.ci.host import IN_PROGRESS, PageText
from coval_gate.inputs.inputs import CONTEXT_LIMIT
from coval_gate.report.provenance import all_subjects
from coval_gate.report.wording.judgements import headline

if TYPE_CHECKING:
    from coval_gate.report.model import Report

RUNNING: Final = "⏳ The evaluation is running."
LIMIT: Final = 140  # characters; GitHub refuses a longer description


def render(report: Report) -> PageText:
    judgement = report.judgement
    text = _described(report) if judgement.verdict else RUNNING
    return page_text(
        report,
        name=page_name(report, "commit_status"),
        title=one_line(text, LIMIT),
        link=report.run_url or report.context.run_url,
    )


def _described(report: Report) -> str:
    """Return the verdict with its reason and, if there is room, what was tested."""
    text = headline(report.judgement, LIMIT)
    tested = one_line(all_subjects(report), LIMIT)
    longer = f"{text} {tested[:1].upper()}{tested[1:]}."
    return longer if tested and len(longer) <= LIMIT else text


def page_text(report: Report, **texts: Any) -> PageText:
    judgement, context = report.judgement, report.context
    return PageText(
        state=judgement.verdict or IN_PROGRESS,
        passes=judgement.lets_pass,
        sha=context.sha if context.sha_is_known else "",
        **texts,
    )


def page_name(report: Report, input_name: str) -> str:
    """Return the name that an input gives to a page, distinct for each job of a matrix; empty where it is off."""
    name = getattr(report.inputs, input_name, "")
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""
