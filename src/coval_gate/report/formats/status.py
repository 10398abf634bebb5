"""The commit status, which is the verdict with its reason on one line, and what all pages of the host share."""

from __future__ import annotations

from typing import Any, Final

from coval_gate.base.text import one_line
from coval_gate.ci.host import IN_PROGRESS, PageText
from coval_gate.report.document.step import Document

RUNNING: Final = "⏳ The evaluation is running."
LIMIT: Final = 140  # characters; GitHub refuses a longer description


def render(document: Document) -> PageText:
    text = _described(document) if document.verdict else RUNNING
    link = document.run_url or document.step.url
    return page_text(document, name=document.pages.commit_status, title=one_line(text, LIMIT), link=link)


def _described(document: Document) -> str:
    """Return the verdict with its reason and, if there is room, what was tested."""
    text = document.headline(LIMIT)
    tested = one_line(document.tested, LIMIT)
    longer = f"{text} {tested[:1].upper()}{tested[1:]}."
    return longer if tested and len(longer) <= LIMIT else text


def page_text(document: Document, **texts: Any) -> PageText:
    state = document.verdict or IN_PROGRESS
    return PageText(state=state, passes=document.passes, sha=document.pages.commit, **texts)
