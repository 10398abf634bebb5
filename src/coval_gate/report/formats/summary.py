"""The step's summary on the workflow run's page, and the parts that a comment shares with it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.judge.claims import OTHERS, notes_title
from coval_gate.judge.verdict import Verdict
from coval_gate.report import provenance
from coval_gate.report.markdown import Listing, Table, code, escape, link, page, row, utf8_size
from coval_gate.report.tables import (
    MOST_CHECKS,
    check_tables,
    comparison_parts,
    criterion_cell,
    flipped,
    folds_met,
    leg_table,
    metric_parts,
    passed,
    troubled,
    unstable,
    variant_table,
)
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, first_text, note_text, shown_verdict
from coval_gate.report.wording.judgements import MARKS
from coval_gate.report.wording.standing import standing_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import CheckGroup
    from coval_gate.report.model import LegReport, Report

LIMIT: Final = 1024 * 1024  # bytes of UTF-8; the runner drops a larger summary
MOST_REASONS: Final = 20


def render(report: Report, limit: int = LIMIT) -> str:
    """Return at most `limit` bytes of UTF-8: the verdict, then what needs attention, figures, and the rest folded."""
    parts = [
        *opening(report),
        *unstable(report),
        *troubled(report),
        *(part for leg in report.gravest_first for part in _metrics(leg)),
        *passed(report),
        *_background(report),
        links_line(report),
    ]
    return page(parts, limit=limit, size=utf8_size)


def _metrics(leg: LegReport) -> Iterator[str | Listing]:
    parts = [*metric_parts(leg)]
    if leg.name and parts:
        parts = [f"<details><summary>{escape(leg.name)}: metrics</summary>", *parts[1:], "</details>"]
    yield from parts


def opening(report: Report) -> Iterator[str | Listing]:
    """Yield the verdict, the reasons that the criteria do not show, advice, and the criteria."""
    judgement = report.judgement
    yield _heading(report)
    if where := " · ".join(map(_place, provenance.places(report))):
        yield where
    if tested := provenance.all_subjects(report):
        yield f"Tested: {escape(tested)}"
    is_missing, others = _untold_reasons(report)
    if is_missing:
        yield escape(judgements.reason(judgement))
    if text := judgements.advice(judgement):
        advice = list(_advice(text))
        yield Listing(rows=advice, total=len(advice))
    for leg in report.legs:
        if leg.standing:
            where = f"{escape(leg.name)}: " if leg.name else ""
            yield where + standing_text(leg.standing, code=code)
    if others:
        yield Listing(rows=(f"- {escape(reason)}" for reason in others[:MOST_REASONS]), total=len(others))
    yield from leg_table(report)
    for leg in report.gravest_first:
        yield from _criteria(leg)


def _criteria(leg: LegReport) -> Iterator[str | Listing]:
    parts: list[str | Listing] = [*variant_table(leg)]
    for place, group in enumerate(leg.findings.groups):
        if group.reference:
            parts += comparison_parts(leg, group)
        else:
            parts += [*([f"**{OTHERS}**"] if place else []), *_checks(group, only_missed=folds_met(leg))]
    parts += flipped(leg)
    if leg.name and parts:
        is_folded = leg.judgement.verdict is Verdict.PASSED
        name = escape(leg.name)
        parts = [f"<details><summary>{name}</summary>", *parts, "</details>"] if is_folded else [f"#### {name}", *parts]
    yield from parts


def _untold_reasons(report: Report) -> tuple[bool, list[str]]:
    """Return whether the tables, which show misses, lack the first reason, and which of the others they lack."""
    judgement = report.judgement
    if judgement.of_legs and judgement.of_legs.decisive:  # the table of legs has each one's reason, but no advice
        return bool(judgements.advice(judgement)), []
    shown = [check for leg in report.legs for check in leg.findings.checks.first(MOST_CHECKS)]
    is_missing, others = judgements.untold_reasons(judgement, shown)
    return is_missing or judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE), others


def _heading(report: Report) -> str:
    """Return the verdict, and what distinguishes the evaluation from others of the same pull request."""
    named = (
        f"{word} {escape(called.text) if called.is_name else code(called.text)}"
        for word, called in provenance.named_in_heading(report).items()
    )
    title = " · ".join([escape(report.context.matrix.after("Coval evaluation")), *named])
    return f"### {judgements.heading(report.judgement)}: {title}"


def _place(place: provenance.Place) -> str:
    text = code(place.text) if place.is_code else escape(place.text)
    return f"{place.word} {link(text, place.url)}{place.note}"


def links_line(report: Report) -> str:
    return " · ".join(link(escape(label), url) for label, url in provenance.links(report).items())


def _advice(advice: str) -> Iterator[str]:
    for kind, text in judgements.advice_parts(advice):
        match kind:
            case "code":
                yield "\n".join(["```text", text.replace("```", "'''"), "```"])
            case "item":
                yield f"- {escape(text)}"
            case "text":
                yield escape(text)


def _checks(group: CheckGroup, *, only_missed: bool) -> Iterator[Table]:
    noted = any(map(note_text, group.first(MOST_CHECKS)))
    last = (notes_title(group.checks),) if noted else ()
    yield from check_tables(
        group, ("", "criterion", "actual", *last), partial(_check_row, noted), only_missed=only_missed
    )


def _check_row(noted: bool, check: Check) -> str:
    notes = (escape(note_text(check)),) if noted else ()
    actual = escape(f"{actual_text(check)}{first_text(check)}")
    return row(MARKS[shown_verdict(check)], criterion_cell(check), actual, *notes)


def _background(report: Report) -> Iterator[Table]:
    facts = provenance.provenance(report, report.legs[0] if len(report.legs) == 1 else None)
    rows = [row(escape(name), code(value)) for name, value in facts.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in provenance.other_inputs(report).items()
    ]
    yield Table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance")
