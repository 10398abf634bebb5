"""The step's summary on the workflow run's page, and the parts that a comment shares with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from coval_gate.report import MOST_SHOWN
from coval_gate.report.document import Document
from coval_gate.report.document.base import Link
from coval_gate.report.document.criteria import Criterion
from coval_gate.report.document.legs import Leg
from coval_gate.report.document.provenance import PlaceFacts
from coval_gate.report.document.references import CriteriaGroup
from coval_gate.report.markdown import MARKS, Listing, code, escape, link, page, row, sentence, table, utf8_size
from coval_gate.report.tables import (
    check_tables,
    comparison_parts,
    criterion_cell,
    flipped,
    leg_table,
    metric_parts,
    passed,
    troubled,
    unstable,
    variant_table,
)

LIMIT: Final = 1024 * 1024  # bytes of UTF-8; the runner drops a larger summary
MOST_REASONS: Final = 20


def render(document: Document, limit: int = LIMIT) -> str:
    """Return at most `limit` bytes of UTF-8: the verdict, then what needs attention, figures, and the rest folded."""
    parts = [
        *opening(document),
        *unstable(document),
        *troubled(document),
        *(part for leg in document.ranked for part in _metrics(leg)),
        *passed(document),
        *_background(document),
        links_line(document.links),
    ]
    return page(parts, limit=limit, size=utf8_size)


def _metrics(leg: Leg) -> Iterator[str | Listing]:
    parts = [*metric_parts(leg)]
    if leg.name and parts:
        parts = [f"<details><summary>{escape(leg.name)}: metrics</summary>", *parts[1:], "</details>"]
    yield from parts


def opening(document: Document) -> Iterator[str | Listing]:
    """Yield the verdict, the reasons that the criteria do not show, advice, and the criteria."""
    yield _heading(document)
    if where := " · ".join(map(_place, document.places)):
        yield where
    if document.tested:
        yield f"Tested: {escape(document.tested)}"
    if document.reason_is_untold:
        yield escape(document.reason)
    if advice := [_advice(*part) for part in document.advice_parts]:
        yield Listing(rows=advice, total=len(advice))
    for leg in document.legs:
        if leg.standing:
            where = f"{escape(leg.name)}: " if leg.name else ""
            yield where + sentence(leg.standing.parts)
    if others := document.untold_reasons:
        yield Listing(
            rows=(f"- {escape(reason)}" for reason in others[:MOST_REASONS]),
            total=len(others) + document.reasons_left_out,
        )
    yield from leg_table(document)
    for leg in document.ranked:
        yield from _criteria(leg)


def _criteria(leg: Leg) -> Iterator[str | Listing]:
    parts: list[str | Listing] = [*variant_table(leg)]
    for group in leg.groups:
        if group.compared_with:
            parts += comparison_parts(leg, group)
        else:
            parts += [sentence(group.reference), *_checks(leg, group)]
    parts += flipped(leg)
    if leg.name and parts:
        is_folded = leg.verdict == "passed"
        name = escape(leg.name)
        parts = [f"<details><summary>{name}</summary>", *parts, "</details>"] if is_folded else [f"#### {name}", *parts]
    yield from parts


def _heading(document: Document) -> str:
    """Return the verdict, and what distinguishes the evaluation from others of the same pull request."""
    named = (f"{one.word} {escape(one.text) if one.is_name else code(one.text)}" for one in document.evaluated)
    return f"### {document.heading}: {' · '.join([escape(document.evaluation), *named])}"


def _place(place: PlaceFacts) -> str:
    text = code(place.text) if place.is_code else escape(place.text)
    return f"{place.word} {link(text, place.url)}{place.note}"


def links_line(links: Iterable[Link]) -> str:
    return " · ".join(link(escape(one.text), one.url) for one in links)


def _advice(style: str, text: str) -> str:
    if style == "code":
        return "\n".join(["```text", text.replace("```", "'''"), "```"])
    return f"{'- ' if style == 'item' else ''}{escape(text)}"


def _checks(leg: Leg, group: CriteriaGroup) -> Iterator[Listing]:
    criteria = leg.of_group(group)
    noted = any(criterion.note_text for criterion in criteria[:MOST_SHOWN])
    head = ("", "criterion", "actual", *([group.shows] if noted else []))
    yield from check_tables(criteria, group.total, head, partial(_check_row, noted), only_missed=leg.folds_met)


def _check_row(noted: bool, criterion: Criterion) -> str:
    notes = (escape(criterion.note_text),) if noted else ()
    actual = escape("; ".join(filter(None, (criterion.actual_text, criterion.first_text))))
    return row(MARKS[criterion.verdict], criterion_cell(criterion), actual, *notes)


def _background(document: Document) -> Iterator[Listing]:
    rows = [row(escape(name), code(value)) for name, value in document.facts.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in document.other_inputs.items()
    ]
    yield table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance")
