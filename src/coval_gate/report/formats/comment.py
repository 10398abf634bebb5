"""The comment on a pull request, which each run of the workflow updates."""

from __future__ import annotations

from typing import Final

from coval_gate.ci.host import PageText
from coval_gate.report.document.step import Document
from coval_gate.report.formats.status import page_text
from coval_gate.report.formats.summary import links_line, opening
from coval_gate.report.markdown import escape, page
from coval_gate.report.tables import troubled, unstable

LIMIT: Final = 65_536  # characters; GitHub refuses a longer comment


def render(document: Document) -> PageText:
    return page_text(document, name=marker(document), summary=body(document))


def body(document: Document) -> str:
    """Return the comment's Markdown: what needs attention; the summary has the rest."""
    step = document.step
    where = escape(" / ".join(name for name in (step.workflow, step.after(step.job)) if name))
    attempt = f"attempt {step.later_attempt}" if step.later_attempt else ""
    footer = " · ".join(part for part in (where, escape(attempt), links_line(document.links)) if part)
    parts = [
        marker(document),
        *opening(document),
        *unstable(document),
        *troubled(document),
        f"<sub>{footer}</sub>" if footer else "",
    ]
    return page(parts, limit=LIMIT)


def marker(document: Document) -> str:
    """Return what identifies the step's comment: an HTML comment, which GitHub does not show."""
    return f"<!-- coval-gate {document.pages.key} -->"
