"""The report on a commit in Bitbucket: verdict, advice, a few figures, and the simulations to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coval_gate.base.text import one_line, shortened, visible
from coval_gate.ci.host import NAME, Annotation, Figure, PageText
from coval_gate.report.document.step import Document
from coval_gate.report.formats import log
from coval_gate.report.formats.status import RUNNING, page_text

LONGEST_TITLE: Final = 200  # characters
LONGEST_SUMMARY: Final = 450  # characters of an annotation's title; Bitbucket refuses a longer one
LONGEST_DETAILS: Final = 2_000  # characters of a report's details, and of an annotation's
MOST_ANNOTATIONS: Final = 100  # Bitbucket takes no more in one request


def render(document: Document) -> PageText:
    if document.verdict is None:
        return brief(document)
    closing = log.render(document)
    annotates = not document.passes and document.inputs.get("annotations") != "false"
    return brief(document)._replace(
        summary=_lines(f"{document.heading}\n{closing.verdict.message}"),
        figures=tuple(_figures(document)),
        annotations=tuple(
            Annotation(one_line(annotation.title, LONGEST_SUMMARY), _lines(annotation.message))
            for annotation in (closing.annotations(MOST_ANNOTATIONS) if annotates else ())
        ),
    )


def brief(document: Document) -> PageText:
    """Return the report without details: until there is a verdict, and for the post step."""
    named = [document.step.matrix, *(one.text for one in document.evaluated)]
    title = ": ".join(filter(None, (NAME, ", ".join(filter(None, named)))))
    return page_text(
        document,
        name=f"coval-gate-{document.pages.key}",
        title=one_line(title, LONGEST_TITLE),
        summary=document.headline(LONGEST_DETAILS) if document.verdict else RUNNING,
        link=document.run_url or document.step.url,
    )


def _lines(text: str) -> str:
    return shortened("\n".join(map(visible, text.split("\n"))), LONGEST_DETAILS)


def _figures(document: Document) -> Iterator[Figure]:
    if document.pass_rate is not None:
        yield Figure("Pass rate", round(100 * document.pass_rate, 2), "percentage")
        yield Figure("Simulations", document.total_simulations or 0)
        yield Figure("Completed", document.completed_simulations or 0)
        yield Figure("Did not pass", document.unpassed_simulations or 0)
    yield Figure("Took", round(document.step.duration_seconds), "duration")
