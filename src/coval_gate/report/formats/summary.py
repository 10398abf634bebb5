"""The summary of a step: the verdict, then what needs attention, figures, and the rest folded."""

from collections.abc import Iterable, Iterator
from typing import Final

from coval_gate.ci.host import SUMMARY_LIMIT
from coval_gate.report.document import Document
from coval_gate.report.document.base import Link
from coval_gate.report.document.legs import LegFacts
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

MOST_REASONS: Final = 20


def render(document: Document, limit: int = SUMMARY_LIMIT) -> str:
    """Return at most `limit` bytes of UTF-8."""
    rows = [row(escape(name), code(value)) for name, value in document.facts.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in document.other_inputs.items()
    ]
    parts = [
        *opening(document),
        *unstable(document),
        *troubled(document),
        *known(document),
        *(part for leg in document.ranked for part in _metrics(leg)),
        *passed(document),
        table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance"),
        links(document.links),
    ]
    return page(parts, limit=limit, size=utf8_size)


def _metrics(leg: LegFacts) -> Iterator[str | Listing]:
    parts = [*metric_parts(leg)]
    if leg.title and parts:
        parts = [f"<details><summary>{escape(leg.title)}: metrics</summary>", *parts[1:], "</details>"]
    yield from parts


def opening(document: Document) -> Iterator[str | Listing]:
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


def links(shown: Iterable[Link]) -> str:
    return " · ".join(link(escape(one.text), one.url) for one in shown)


def _advice(style: str, text: str) -> str:
    if style == "code":
        return "\n".join(["```text", text.replace("```", "'''"), "```"])
    return f"{'- ' if style == 'item' else ''}{escape(text)}"
