"""Comparisons in Markdown: what was compared with, a table of the criteria that compare, and one of flipped cases."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.report.comparisons import compared, comparisons, flipped_cases, flips, lacks_baseline, run_page
from coval_gate.report.markdown import Table, code, escape, folding, link, row
from coval_gate.report.wording.baselines import baseline_text, shared_text
from coval_gate.report.wording.checks import actual_text, informs_text, shown_verdict
from coval_gate.report.wording.claims import shows_text
from coval_gate.report.wording.comparisons import (
    CHANCE,
    NAMES,
    claimed_text,
    comparison_of,
    difference_text,
    earlier_text,
    flips_title,
    noticeable_text,
    trend_text,
)
from coval_gate.report.wording.criteria import criterion_text
from coval_gate.report.wording.judgements import MARKS
from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coval_gate.config.thresholds import Reference
    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.markdown import Listing
    from coval_gate.report.model import LegReport, Report

MOST_CHECKS: Final = 100  # of a table
MOST_UNFOLDED: Final = 10  # rows of a table; the others are folded
FEW_FLIPS: Final = 6  # test cases that flipped; more are folded
MOST_FLIPS: Final = 20  # of a criterion, in each direction
LONGEST_NAME: Final = 200  # characters of a test case's name


def comparison_parts(report: Report, leg: LegReport) -> Iterator[str | Listing]:
    """Yield what was compared with, each check that compares, and the test cases that flipped."""
    for reference, part in compared(leg.judgement):
        yield _reference(report, leg, part, reference)
        values: tuple[str, ...] = (NAMES[reference], "now" if reference == "baseline" else "mutation", "change")
        values = values if comparisons(part) else ()  # columns without a cell
        head = ("", "criterion", *values, shows_text(part.checks))
        yield from check_tables(part, head, partial(_row, len(values)))
        if any(_noticeable(check) for check in part.checks):
            yield f"Noticeable: the smallest change for the worse that would show in {CHANCE} of such runs."
    yield from _flips(leg)


def check_tables(part: Judgement, head: tuple[str, ...], to_row: Callable[[Check], str]) -> Iterator[Table]:
    """Yield a table of all checks or, where they are many, one of the gravest and a folded one of the others."""
    first = part.first_checks(MOST_UNFOLDED)
    taken = set(map(id, first))
    others = [check for check in part.first_checks(MOST_CHECKS) if id(check) not in taken]
    met = ", all met" if all(check.passed for check in part.checks if id(check) not in taken) else ""
    yield from folding(
        head,
        map(to_row, [*first, *others]),
        len(part.checks),
        most=MOST_UNFOLDED,
        rest=lambda more: f"{plural(more, 'more criterion', 'more criteria')}{met}",
    )


def _row(columns: int, check: Check) -> str:
    return row(MARKS[shown_verdict(check)], criterion_cell(check), *_values(check, columns), _shown(check))


def _reference(report: Report, leg: LegReport, part: Judgement, reference: Reference) -> str:
    """Return what the checks of a reference compare with."""
    found = comparisons(part)
    if reference == "base" or part.baseline is None:
        shared = f": {shared_text(found, NAMES[reference])}" if found else ""
        return f"**Compared with the {NAMES[reference]}**{shared}"
    first = next(iter(leg.judgement.missed), None)  # its reason stands above
    text = baseline_text(
        part.baseline,
        found,
        why=first is None or not lacks_baseline(first),
        foreign=escape,
        run_text=lambda run: link(code(run.run_id), run_page(report, run)),
    )
    return f"**Baseline {code(part.baseline.source)}**: {text}"


def _values(check: Check, columns: int) -> Iterator[str]:
    if check.problem:
        yield from [""] * columns
    else:
        yield from map(escape, (earlier_text(check), actual_text(check), difference_text(check)))


def _shown(check: Check) -> str:
    """Return what a comparison shows, or why there is none."""
    if check.problem:
        return "<br>".join(map(escape, filter(None, (actual_text(check), informs_text(check)))))
    lines = (escape(claimed_text(check)), escape(informs_text(check)), _noticeable(check))
    return "<br>".join([f"**{trend_text(check)}**", *filter(None, lines)])


def _noticeable(check: Check) -> str:
    """Return which change would have shown, where none did."""
    compared = comparison_of(check)
    if compared is None or compared.trend not in ("inconclusive", "unchanged"):
        return ""
    change = noticeable_text(check, short=True)
    return f"noticeable: {escape(change)}" if change else ""


def _flips(leg: LegReport) -> Iterator[str | Listing]:
    """Yield the test cases that flipped, by criterion; folded where there are many."""
    failing, passing = flipped_cases(leg.judgement)
    if not (failing or passing):
        return
    shown = replace(leg.judgement, checks=leg.judgement.first_checks(MOST_CHECKS))
    found = flips(shown, leg.details.labels)
    title, many = flips_title(failing, passing), failing + passing > FEW_FLIPS
    if not many:
        yield f"**{title}**"
    columns = [("fails now", failing), ("passes now", passing)]
    rows = (
        row(
            criterion_cell(each.check),
            *(_cases(cases) for cases, (_, some) in zip(each[1:], columns, strict=True) if some),
        )
        for each in found
    )
    head = ("criterion", *(word for word, some in columns if some))
    total = sum(bool(each.newly_failing or each.newly_passing) for each in comparisons(leg.judgement))
    yield Table(head=head, rows=rows, total=total, folded=title if many else "")


def _cases(names: Sequence[str]) -> str:
    more = len(names) - MOST_FLIPS
    shown = [escape(name, LONGEST_NAME) for name in names[:MOST_FLIPS]]
    return "<br>".join([*shown, *([f"… and {more:,} more"] if more > 0 else [])])


def criterion_cell(check: Check) -> str:
    """Return the criterion, and the mutation that it is applied to in brackets."""
    return code(criterion_text(check.criterion)) + (f" ({escape(check.variant)})" if check.variant else "")
