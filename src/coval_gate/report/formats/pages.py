"""What a host shows: summary, commit status, check run, comment, and Bitbucket's report on a commit."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from coval_gate.base.text import PERCENT, one_line, percent, shortened, visible
from coval_gate.ci.host import GATE_NAME, IN_PROGRESS, SUMMARY_LIMIT, Annotation, PageFigure, PageText
from coval_gate.report.document import Document
from coval_gate.report.document.base import Link
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.formats import log
from coval_gate.report.markdown import Listing, code, escape, link, page, row, sentence, table, utf8_size
from coval_gate.report.tables import (
    criteria_parts,
    flipped,
    known,
    leg_table,
    metric_parts,
    passed,
    troubled,
    unstable,
    variant_table,
)

IS_RUNNING: Final = "⏳ The evaluation is running."
STATUS_LIMIT: Final = 140  # characters; GitHub refuses a longer description
CHECK_LIMIT: Final = 65_535  # bytes of UTF-8; GitHub refuses a longer summary
TITLE_LIMIT: Final = 255  # characters
COMMENT_LIMIT: Final = 65_536  # characters; GitHub refuses a longer comment
LONGEST_TITLE: Final = 200  # characters
LONGEST_SUMMARY: Final = 450  # characters of an annotation's title; Bitbucket refuses a longer one
LONGEST_DETAILS: Final = 2_000  # characters of a report's details, and of an annotation's
MOST_REASONS: Final = 20
MOST_ANNOTATIONS: Final = 100  # Bitbucket takes no more in one request


def render(document: Document, input_name: str, *, brief: bool = False) -> PageText:
    """Return the page that an input requests; `brief`: short enough for the state of the step."""
    texts = PAGES[input_name](document, brief or document.verdict is None)
    # A branch may require the page of a step that was to evaluate nothing.
    is_met = document.verdict == "skipped" and document.selected is not None
    state = "passed" if is_met else document.verdict or IN_PROGRESS
    return PageText(state=state, passes=document.passes, sha=document.pages.commit, **texts)


def summary(document: Document, brief: bool) -> dict[str, Any]:  # noqa: ARG001 - the step shows it once
    """Return the verdict, then what needs attention, figures, and the rest folded."""
    return {"name": "", "summary": _summary(document, SUMMARY_LIMIT)}


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
    parts = filter(None, (escape(reason), _links(document.links)))
    short = "\n\n".join(parts) or escape(title)  # GitHub takes no empty summary
    text = short if brief else _summary(document, CHECK_LIMIT)
    references = tuple(document.pages.references)
    return {"name": document.pages.check_run, "title": title, "summary": text, "references": references}


def comment(document: Document, brief: bool) -> dict[str, Any]:  # noqa: ARG001 - a later one replaces it whole
    """Return what needs attention, in Markdown; the summary has the rest."""
    step = document.step
    marker = f"<!-- coval-gate {document.pages.key} -->"  # GitHub does not show it
    where = escape(" / ".join(name for name in (step.workflow, step.after(step.job)) if name))
    footer = " · ".join(part for part in (where, _links(document.links)) if part)
    parts = [marker, *_opening(document), *unstable(document), *troubled(document), *known(document)]
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


def _summary(document: Document, limit: int) -> str:
    """Return at most `limit` bytes of UTF-8."""
    rows = [row(escape(name), code(value)) for name, value in document.facts.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in document.other_inputs.items()
    ]
    parts = [
        *_opening(document),
        *unstable(document),
        *troubled(document),
        *known(document),
        *(part for leg in document.ranked for part in _metrics(leg)),
        *passed(document),
        table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance"),
        _links(document.links),
    ]
    return page(parts, limit=limit, size=utf8_size)


def _metrics(leg: LegFacts) -> Iterator[str | Listing]:
    parts = [*metric_parts(leg)]
    if leg.title and parts:
        parts = [f"<details><summary>{escape(leg.title)}: metrics</summary>", *parts[1:], "</details>"]
    yield from parts


def _opening(document: Document) -> Iterator[str | Listing]:
    """Yield the verdict, the reasons that the criteria do not show, advice, and the criteria."""
    # It also distinguishes the evaluation from others of the same pull request.
    named = (f"{one.word} {escape(one.text) if one.is_name else code(one.text)}" for one in document.evaluated)
    yield f"### {document.heading}: {' · '.join([escape(document.evaluation), *named])}"
    places = [(place, code(place.text) if place.is_code else escape(place.text)) for place in document.places]
    yield " · ".join(f"{place.word} {link(text, place.url)}{place.note}" for place, text in places)
    if document.tested:
        yield f"Tested: {escape(document.tested)}"
    if document.reason_is_unreported:
        yield escape(document.reason)
    if advice := [_advice(*part) for part in document.advice_parts]:
        yield Listing(rows=advice, total=len(advice))
    for leg in document.legs:
        if leg.standing:
            where = f"{escape(leg.title)}: " if leg.title else ""
            yield where + sentence(leg.standing.parts)
    for run in document.legs[0].runs if len(document.legs) == 1 else ():  # the table of several legs shows it
        if run.kept_text:
            yield f"Run {code(run.id)}: {run.kept_text}"
    if others := document.unreported_reasons:
        yield Listing(rows=(f"- {escape(reason)}" for reason in others[:MOST_REASONS]), total=len(others))
    yield from leg_table(document)
    for leg in document.ranked:
        yield from _criteria(leg)


def _criteria(leg: LegFacts) -> Iterator[str | Listing]:
    parts: list[str | Listing] = [*variant_table(leg)]
    for group in leg.groups:
        parts += criteria_parts(leg, group)
    parts += flipped(leg)
    if leg.title and parts:
        is_folded = leg.verdict == "passed"
        name = escape(leg.title)
        parts = [f"<details><summary>{name}</summary>", *parts, "</details>"] if is_folded else [f"#### {name}", *parts]
    yield from parts


def _links(links: Iterable[Link]) -> str:
    return " · ".join(link(escape(one.text), one.url) for one in links)


def _advice(style: str, text: str) -> str:
    if style == "code":
        return "\n".join(["```text", text.replace("```", "'''"), "```"])
    return f"{'- ' if style == 'item' else ''}{escape(text)}"


PAGES: Final[Mapping[str, Callable[[Document, bool], dict[str, Any]]]] = {
    "summary": summary,
    "commit_status": commit_status,
    "check_run": check_run,
    "comment": comment,
    "code_insights": code_insights,
}
