"""What a page shows: commit status, check run, comment, and Bitbucket's report on a commit."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from coval_gate.base.text import PERCENT, one_line, percent, shortened, visible
from coval_gate.ci.host import GATE_NAME, IN_PROGRESS, Annotation, PageFigure, PageText
from coval_gate.report.document import Document
from coval_gate.report.formats import log, summary
from coval_gate.report.markdown import escape, page
from coval_gate.report.tables import known, troubled, unstable

IS_RUNNING: Final = "⏳ The evaluation is running."
STATUS_LIMIT: Final = 140  # characters; GitHub refuses a longer description
CHECK_LIMIT: Final = 65_535  # bytes of UTF-8; GitHub refuses a longer summary
TITLE_LIMIT: Final = 255  # characters
COMMENT_LIMIT: Final = 65_536  # characters; GitHub refuses a longer comment
LONGEST_TITLE: Final = 200  # characters
LONGEST_SUMMARY: Final = 450  # characters of an annotation's title; Bitbucket refuses a longer one
LONGEST_DETAILS: Final = 2_000  # characters of a report's details, and of an annotation's
MOST_ANNOTATIONS: Final = 100  # Bitbucket takes no more in one request


def render(document: Document, input_name: str, *, brief: bool = False) -> PageText:
    """Return the page that an input requests; `brief`: short enough for the state of the step."""
    texts = PAGES[input_name](document, brief or document.verdict is None)
    # A branch may require the page of a step that was to evaluate nothing.
    is_met = document.verdict == "skipped" and document.selected is not None
    state = "passed" if is_met else document.verdict or IN_PROGRESS
    return PageText(state=state, passes=document.passes, sha=document.pages.commit, **texts)


def commit_status(document: Document, brief: bool) -> dict[str, Any]:  # noqa: ARG001 - it is always short
    """Return the verdict with its reason on one line and, if there is room, what was tested."""
    text = document.headline(STATUS_LIMIT) if document.verdict else IS_RUNNING
    tested = one_line(document.tested, STATUS_LIMIT)
    longer = f"{text} {tested[:1].upper()}{tested[1:]}."
    if document.verdict and tested and len(longer) <= STATUS_LIMIT:
        text = longer
    name, link = document.pages.commit_status, document.run_url or document.step.url
    return {"name": name, "title": one_line(text, STATUS_LIMIT), "link": link}


def check_run(document: Document, brief: bool) -> dict[str, Any]:
    """Return verdict and reason as the title, and as much of the step's summary as GitHub accepts."""
    title = one_line(document.headline(TITLE_LIMIT) if document.verdict else IS_RUNNING, TITLE_LIMIT)
    reason = document.reason if document.verdict and not title.endswith(document.reason) else ""
    parts = filter(None, (escape(reason), summary.links(document.links)))
    short = "\n\n".join(parts) or escape(title)  # GitHub takes no empty summary
    text = short if brief else summary.render(document, CHECK_LIMIT)
    references = tuple(document.pages.references)
    return {"name": document.pages.check_run, "title": title, "summary": text, "references": references}


def comment(document: Document, brief: bool) -> dict[str, Any]:  # noqa: ARG001 - a later one replaces it whole
    """Return what needs attention, in Markdown; the summary has the rest."""
    step = document.step
    marker = f"<!-- coval-gate {document.pages.key} -->"  # GitHub does not show it
    where = escape(" / ".join(name for name in (step.workflow, step.after(step.job)) if name))
    footer = " · ".join(part for part in (where, summary.links(document.links)) if part)
    parts = [marker, *summary.opening(document), *unstable(document), *troubled(document), *known(document)]
    parts.append(f"<sub>{footer}</sub>" if footer else "")
    return {"name": marker, "summary": page(parts, limit=COMMENT_LIMIT)}


def code_insights(document: Document, brief: bool) -> dict[str, Any]:
    """Return verdict, advice, a few figures, and the simulations to look at."""
    named = ", ".join(filter(None, (document.step.matrix, *(one.text for one in document.evaluated))))
    texts = {
        "name": f"coval-gate-{document.pages.key}",
        "title": one_line(": ".join(filter(None, (GATE_NAME, named))), LONGEST_TITLE),
        "summary": document.headline(LONGEST_DETAILS) if document.verdict else IS_RUNNING,
        "link": document.run_url or document.step.url,
    }
    if brief:
        return texts
    closing = log.Closing(document)
    figures: list[PageFigure] = []
    if document.pass_rate is not None:
        figures = [
            PageFigure("Pass rate", float(percent(document.pass_rate).removesuffix(PERCENT)), "percentage"),
            PageFigure("Simulations", document.total_simulations or 0),
            PageFigure("Completed", document.completed_simulations or 0),
            PageFigure("Did not pass", document.unpassed_simulations or 0),
        ]
    annotates = not document.passes and document.inputs.get("annotations") != "false"
    annotations = closing.annotations(MOST_ANNOTATIONS) if annotates else ()
    return texts | {
        "summary": _lines(f"{document.heading}\n{closing.verdict.message}"),
        "figures": (*figures, PageFigure("Took", round(document.step.duration_seconds), "duration")),
        "annotations": tuple(
            Annotation(one_line(annotation.title, LONGEST_SUMMARY), _lines(annotation.message))
            for annotation in annotations
        ),
    }


def _lines(text: str) -> str:
    return shortened("\n".join(map(visible, text.split("\n"))), LONGEST_DETAILS)


PAGES: Final[Mapping[str, Callable[[Document, bool], dict[str, Any]]]] = {
    "commit_status": commit_status,
    "check_run": check_run,
    "comment": comment,
    "code_insights": code_insights,
}
