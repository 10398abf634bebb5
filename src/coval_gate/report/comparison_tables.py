"""Comparisons in Markdown: the reference, a table of the criteria that compare, and one of flipped test cases."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.judge.findings import comparison_of, lacks_baseline
from coval_gate.report.markdown import Table, code, escape, folding, link, row
from coval_gate.report.provenance import run_page
from coval_gate.report.wording.checks import actual_text, informs_text, shown_verdict
from coval_gate.report.wording.claims import shows_text
from coval_gate.report.wording.comparisons import (
    CHANCE,
    NAMES,
    claimed_text,
    difference_text,
    earlier_text,
    flips_title,
    noticeable_text,
    reference_text,
    trend_text,
)
from coval_gate.report.wording.criteria import criterion_text
from coval_gate.report.wording.judgements import MARKS
from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import CheckGroup
    from coval_gate.report.markdown import Listing
    from coval_gate.report.model import LegReport

MOST_CHECKS: Final = 100  # of a table
MOST_UNFOLDED: Final = 10  # rows of a table; the others are folded
FEW_FLIPS: Final = 6  # test cases that flipped; more are folded
MOST_FLIPS: Final = 20  # of a criterion, in each direction
LONGEST_NAME: Final = 200  # characters of a test case's name


def comparison_parts(leg: LegReport) -> Iterator[str | Listing]:
    """Yield each reference with the checks that compare with it, and the test cases that flipped."""
    first = next(iter(leg.findings.checks.missed), None)  # its reason stands above
    for group in leg.findings.compared:
        yield reference_text(
            group,
            why=first is None or not lacks_baseline(first),
            title=lambda text: f"**{text}**",
            source=code,
            foreign=escape,
            run_text=lambda run: link(code(run.run_id), run_page(leg, run)),
        )
        now = "now" if group.reference == "baseline" else "mutation"
        values = (NAMES[group.reference], now, "change") if group.comparisons else ()
        head = ("", "criterion", *values, shows_text(group.checks))
        yield from check_tables(group, head, partial(_row, len(values)))
        if any(_noticeable(check) for check in group.checks):
            yield f"Noticeable: the smallest change for the worse that {CHANCE} of such runs would show."
    yield from _flips(leg)


def check_tables(group: CheckGroup, head: tuple[str, ...], to_row: Callable[[Check], str]) -> Iterator[Table]:
    """Yield a table of all checks or, if there are many, one of the gravest and a folded one of the others."""
    first = group.first(MOST_UNFOLDED)
    taken = set(map(id, first))
    others = [check for check in group.first(MOST_CHECKS) if id(check) not in taken]
    met = ", all met" if all(check.passed for check in group.checks if id(check) not in taken) else ""
    yield from folding(
        head,
        map(to_row, [*first, *others]),
        len(group.checks),
        most=MOST_UNFOLDED,
        rest=lambda more: f"{plural(more, 'more criterion', 'more criteria')}{met}",
    )


def _row(columns: int, check: Check) -> str:
    return row(MARKS[shown_verdict(check)], criterion_cell(check), *_values(check, columns), _shown(check))


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
    """Return which change would show, where none did."""
    compared = comparison_of(check)
    if compared is None or compared.trend not in ("inconclusive", "unchanged"):
        return ""
    change = noticeable_text(check, short=True)
    return f"noticeable: {escape(change)}" if change else ""


def _flips(leg: LegReport) -> Iterator[str | Listing]:
    """Yield the test cases that flipped, by criterion; folded where there are many."""
    failing, passing = leg.findings.failing, leg.findings.passing
    if not leg.findings.flips:
        return
    title, many = flips_title(failing, passing), failing + passing > FEW_FLIPS
    if not many:
        yield f"**{title}**"
    columns = [("fails now", failing), ("passes now", passing)]
    rows = (
        row(
            criterion_cell(flip.check),
            *(_cases(leg, cases) for cases, (_, some) in zip(flip[1:], columns, strict=True) if some),
        )
        for flip in leg.findings.first_flips(MOST_CHECKS)
    )
    head = ("criterion", *(word for word, some in columns if some))
    yield Table(head=head, rows=rows, total=len(leg.findings.flips), folded=title if many else "")


def _cases(leg: LegReport, cases: Sequence[str]) -> str:
    more = len(cases) - MOST_FLIPS
    shown = [escape(leg.case_name(case), LONGEST_NAME) for case in cases[:MOST_FLIPS]]
    return "<br>".join([*shown, *([f"… and {more:,} more"] if more > 0 else [])])


def criterion_cell(check: Check) -> str:
    """Return the criterion, with the mutation that it applies to in brackets."""
    return code(criterion_text(check.criterion)) + (f" ({escape(check.variant)})" if check.variant else "")
