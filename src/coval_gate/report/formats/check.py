"""The check run: verdict and reason as the title, and as much of the step's summary as GitHub takes."""

from __future__ import annotations

from typing import Final

from coval_gate.base.text import one_line
from coval_gate.ci.host import PageText
from coval_gate.report.document.step import Document
from coval_gate.report.formats import summary
from coval_gate.report.formats.status import RUNNING, page_text
from coval_gate.report.markdown import escape

LIMIT: Final = 65_535  # bytes of UTF-8; GitHub refuses a longer summary
TITLE_LIMIT: Final = 255  # characters


def render(document: Document) -> PageText:
    """Return the check run with the verdict; without a verdict, as it is until then."""
    if document.verdict is None:
        return brief(document)
    return brief(document)._replace(summary=summary.render(document, LIMIT))


def brief(document: Document) -> PageText:
    """Return the check run without details: until there is a verdict, and for the post step."""
    title = one_line(document.headline(TITLE_LIMIT) if document.verdict else RUNNING, TITLE_LIMIT)
    whole = document.reason if document.verdict else ""
    parts = (escape(whole) if not title.endswith(whole) else "", summary.links_line(document.links))
    return page_text(
        document,
        name=document.pages.check_run,
        title=title,
        summary="\n\n".join(filter(None, parts)) or escape(title),  # GitHub takes no empty summary
        references=tuple(document.pages.references),
    )
