"""The step's summary on the workflow run's page, and the parts that a comment shares with it."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict
from coval_gate.report.comparison_tables import MOST_CHECKS, check_tables, comparison_parts, criterion_cell
from coval_gate.report.comparisons import absolute, lacks_baseline
from coval_gate.report.drift_parts import drift_parts
from coval_gate.report.markdown import Listing, Table, code, escape, link, page, row
from coval_gate.report.metric_tables import metric_parts
from coval_gate.report.provenance import named_in_heading, other_inputs, provenance
from coval_gate.report.simulation_tables import passed, troubled, unstable
from coval_gate.report.simulations import simulation_rows
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, check_reason, first_text, note_text, shown_verdict
from coval_gate.report.wording.claims import notes_title
from coval_gate.report.wording.judgements import MARKS
from coval_gate.report.wording.promotion import report_text
from coval_gate.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.model import Report

LIMIT: Final = 1024 * 1024  # bytes of UTF-8; the runner drops a larger summary whole
MOST_REASONS: Final = 20


def render(report: Report, limit: int = LIMIT) -> str:
    """Return the summary's Markdown: the verdict first, what needs attention next, figures, and the rest folded.

    It has at most `limit` bytes of UTF-8.
    """
    found = simulation_rows(report)
    parts = [
        *opening(report),
        *unstable(report),
        *troubled(found),
        *(part for leg in report.legs for part in metric_parts(leg)),
        *passed(found),
        *_background(report),
        links(report),
    ]
    return page(parts, limit=limit, size=lambda text: len(text.encode("utf-8", "replace")))


def opening(report: Report) -> Iterator[str | Listing]:
    """Yield the verdict, what the criteria do not tell of its reasons, advice, and the criteria."""
    judgement = report.judgement
    yield _heading(report)
    told = _told(report)
    first, *others = judgements.reasons(judgement)
    # A miss, or that all is well, is in the tables; why there is no verdict is more than they have room for.
    if first not in told or judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE):
        yield escape(judgements.reason(judgement))
    if text := judgements.advice(judgement):
        advice = list(_advice(text))
        yield Listing(rows=advice, total=len(advice))
    for leg in report.legs:
        if leg.promotion:
            yield report_text(leg.promotion, code=code, escape=escape)
    if reasons := [each for each in others if each not in told]:
        rows = (f"- {escape(reason)}" for reason in reasons[:MOST_REASONS])
        yield Listing(rows=rows, total=len(reasons))
    for leg in report.legs:
        if leg.name:
            yield f"#### {escape(leg.name)}"
        if (judgement := absolute(leg.judgement)).checks:
            yield from _checks(judgement)
        yield from comparison_parts(report, leg)
        yield from drift_parts(leg)


def _heading(report: Report) -> str:
    """Return the verdict, and what tells the evaluation from others of the same pull request."""
    named = (f"{name} {code(value)}" for name, value in named_in_heading(report).items())
    what = " · ".join([escape(report.context.matrix.after("Coval evaluation")), *named])
    return f"### {judgements.heading(report.judgement)}: {what}"


def links(report: Report) -> str:
    """Return where to read on."""
    runs = [run for leg in report.legs for run in leg.runs]
    targets = {
        **{
            "Open the run in Coval" if len(runs) == 1 else f"Open run {escape(run.run_id)}": run.run_url for run in runs
        },
        "Workflow run": report.context.run_url,
        "Read more": judgements.link(report.judgement),
    }
    return " · ".join(link(label, url) for label, url in targets.items() if url)


def _told(report: Report) -> set[str]:
    """Return the reasons that the tables of criteria tell."""
    judgement = report.judgement
    shown = [check for leg in report.legs for check in leg.judgement.first_checks(MOST_CHECKS)]
    told = {check_reason(check) for check in shown if check.measure or lacks_baseline(check)}
    if shown and judgement.verdict is Verdict.PASSED and not judgement.passed_flaky:
        told.update(judgements.reasons(judgement))
    return told


def _advice(advice: str) -> Iterator[str]:
    """Sentences, bullets, and blocks of lines that are indented because the place of each character matters."""
    for indented, lines in groupby(advice.split("\n"), key=lambda line: line.startswith("    ")):
        if indented:
            shown = (visible(line).removeprefix("    ").replace("```", "'''") for line in lines)
            yield "\n".join(["```text", *shown, "```"])
        else:
            yield from (f"- {escape(line[2:])}" if line.startswith("- ") else escape(line) for line in lines)


def _checks(judgement: Judgement) -> Iterator[Table]:
    noted = any(map(note_text, judgement.first_checks(MOST_CHECKS)))
    last = (notes_title(judgement.checks),) if noted else ()
    yield from check_tables(judgement, ("", "criterion", "actual", *last), partial(_check_row, noted))


def _check_row(noted: bool, check: Check) -> str:
    notes = (escape(note_text(check)),) if noted else ()
    actual = escape(f"{actual_text(check)}{first_text(check)}")
    return row(MARKS[shown_verdict(check)], criterion_cell(check), actual, *notes)


def _background(report: Report) -> Iterator[Table]:
    known = provenance(report, report.legs[0] if report.legs else None)
    rows = [row(escape(name), code(value)) for name, value in known.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in other_inputs(report).items()
    ]
    yield Table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance")
