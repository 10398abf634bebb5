"""The end of the log: every check, the simulations to look at, and the annotations of a failing step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import in_words, one_line, plural, shortened_at_word
from coval_gate.ci.host import Annotation
from coval_gate.judge.claims import (
    CHANCE,
    OTHERS,
    difference_text,
    earlier_text,
    flips_title,
    noticeable_text,
    reference_text,
    shown_text,
)
from coval_gate.judge.clauses import stability_text
from coval_gate.judge.findings import lacks_baseline
from coval_gate.judge.verdict import Verdict
from coval_gate.report.provenance import case_ids, ids_line, of_leg
from coval_gate.report.simulations import miss_lines
from coval_gate.report.wording.causes import counts_text, with_cause
from coval_gate.report.wording.checks import (
    actual_text,
    check_text,
    first_text,
    here_text,
    informs_text,
    note_text,
    shown_verdict,
)
from coval_gate.report.wording.judgements import advice, doubt_lines, heading, link, reason, reasons, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import CheckGroup, Findings, Miss
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import SimulationRow

MARKS: Final = {
    Verdict.PASSED: "✓",
    Verdict.FAILED: "✗",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "!",
    Verdict.SKIPPED: "○",
}
WIDEST: Final = 60  # characters of a column
END_SHOWN: Final = 30  # characters at the end of a criterion with a mutation: room for the mutation's id
MOST_REASONS: Final = 10  # in an annotation
REASON_SHOWN: Final = 300  # characters of a reason; all of them fit in an annotation
MOST_CHECKS: Final = 100  # lines
MOST_ROWS: Final = 20  # simulations
MOST_FLIPS: Final = 5  # test cases of a criterion, in each direction
MOST_WORST: Final = 3  # simulations in the last lines; a reader sees about fifteen lines
MOST_WORST_MISSES: Final = 2  # criteria of each
MOST_REPEATED: Final = 10  # test cases


class Closing(NamedTuple):
    """The end of the log, or annotations in its place. `rows`: the simulations to look at, the worst first.

    `counts`: how many test cases have each cause. `legs`: a line on each of several. `flips`: a title, and lines on the
    test cases that flipped since the baseline. `repeat`: the input that repeats only the test cases of `rows`.
    `is_doubtful`: a criterion that was judged looks like a mistake.
    """

    rows: tuple[SimulationRow, ...]
    lines: tuple[str, ...]
    verdict: Annotation
    counts: str = ""
    legs: tuple[str, ...] = ()
    flips: tuple[str, ...] = ()
    repeat: str = ""
    has_summary: bool = True
    is_doubtful: bool = False

    def annotations(self, most: int) -> list[Annotation]:
        """Return annotations of at most `most` simulations."""
        return [Annotation(f"Coval: {_title(row)}", "\n".join(_annotation_lines(row))) for row in self.rows[:most]]

    def verdict_beside(self, annotated: int) -> Annotation:
        """Return the annotation of the verdict, which says where the simulations without an annotation are."""
        if not 0 < annotated < len(self.rows):
            return self.verdict
        worst = f"The worst {annotated:,} of {plural(len(self.rows), 'simulation')} to look at are annotated"
        others = "in the log and the summary" if self.has_summary else "in the log"
        note = f"{worst}; the others are {others}."
        return self.verdict._replace(message=f"{self.verdict.message}\n{note}")

    def simulation_lines(self, *, after: int = 0) -> list[str]:
        """Return a title, and lines on each simulation but the first `after` ones; empty where there are none."""
        rows = self.rows[after:]
        counts = f" ({self.counts})" if self.counts and not after else ""
        lines = [f"{'Other simulations' if after else 'Simulations'} to look at: {len(rows):,}{counts}"] if rows else []
        for row in rows[:MOST_ROWS]:
            lines += _row_lines(row)
        if len(rows) > MOST_ROWS:
            more = plural(len(rows) - MOST_ROWS, "more simulation")
            lines.append(f"… and {more}{', in the summary' if self.has_summary else ''}")
        return lines

    @property
    def worst(self) -> tuple[SimulationRow, ...]:
        """The simulations at the end of a log without annotations."""
        return self.rows[:MOST_WORST]

    def worst_lines(self) -> list[str]:
        of = "" if len(self.worst) == len(self.rows) else f", the worst of {len(self.rows):,}"
        counts = f" ({self.counts})" if self.counts else ""
        lines = [f"{plural(len(self.worst), 'simulation')} to look at{of}{counts}:"] if self.worst else []
        for row in self.worst:
            lines += [
                with_cause(_name(row), row.cause),
                *(f"    {line}" for line in miss_lines(row, most=MOST_WORST_MISSES)),
            ]
        return lines


def render(report: Report) -> Closing:
    judgement = report.judgement
    pairs = [(row, leg) for leg in report.legs for row in leg.rows if row.explains_failure]
    pairs.sort(key=lambda pair: pair[0].order[:2])  # by cause; within a cause, the legs keep their order
    rows = [row for row, _ in pairs]
    return Closing(
        rows=tuple(rows),
        lines=tuple(_closing_lines(report)),
        counts=counts_text(pairs),
        legs=tuple(_leg_lines(report)),
        verdict=Annotation(f"Coval Gate: {title(judgement)}", "\n".join(filter(None, _message(report)))),
        flips=tuple(_flip_lines(report)),
        repeat="" if judgement.lets_pass or len(report.legs) > 1 else _repeat_text(report, rows),
        has_summary=report.inputs is None or report.inputs.summary,
        is_doubtful=bool(doubt_lines(judgement)),
    )


def _repeat_text(report: Report, rows: Sequence[SimulationRow]) -> str:
    """Return the input that repeats the first of these rows' test cases; empty if they are all of the run's."""
    ids = case_ids(rows)
    others = {row.simulation.test_case_id for leg in report.legs for row in leg.rows}.difference(ids)
    if not ids or not others:
        return ""
    first = ids[:MOST_REPEATED]
    which = "this test case" if len(ids) == 1 else f"these {plural(len(ids), 'test case')}"
    if len(first) < len(ids):
        which = f"the worst {plural(len(first), 'test case')}"
    return f"To repeat only {which}, set {ids_line(first)}"


def _closing_lines(report: Report) -> Iterator[str]:
    """Yield what to do, where to look, and last the verdict with its reason; the log already has the criteria."""
    judgement = report.judgement
    yield from filter(None, advice(judgement).split("\n"))
    if not judgement.lets_pass:
        yield from _pages(report)
    if page := link(judgement):
        yield f"More: {page}"
    yield f"{heading(judgement)}: {reason(judgement)}"


def _leg_lines(report: Report) -> Iterator[str]:
    if len(report.legs) <= 1:
        return
    yield f"{plural(len(report.legs), 'leg')}:"
    names = [one_line(leg.name, WIDEST) for leg in report.gravest_first]
    headings = [heading(leg.judgement) for leg in report.gravest_first]
    for leg, name, verdict in zip(report.gravest_first, names, headings, strict=True):
        why = reason(leg.judgement, REASON_SHOWN)
        yield f"  {verdict:<{max(map(len, headings))}}  {name:<{max(map(len, names))}}  {why}"


def check_lines(findings: Findings) -> Iterator[str]:
    """Yield a line for each check, the missed ones first; those that compare follow what they compare with."""
    for named, group in titled(findings):
        if named:
            yield f"  {named}"
        yield from _lines(group)


def _lines(group: CheckGroup) -> Iterator[str]:
    """Yield aligned lines; only the last cell may have any width."""
    shown = group.first(MOST_CHECKS)
    cells = [check_cells(check) for check in shown]
    widths = [min(WIDEST, max(map(len, column))) for column in list(zip(*cells, strict=True))[:-1]]
    for check, (*first, last) in zip(shown, cells, strict=True):
        aligned = "  ".join(f"{text:<{width}}" for text, width in zip(first, widths, strict=True))
        yield f"  {MARKS[shown_verdict(check)]} {aligned}  {last}".rstrip()
        if noticeable := _noticeable(check):
            yield f"    {noticeable}"
    if more := len(group.checks) - len(shown):
        yield f"    … and {plural(more, 'more criterion', 'more criteria')}"


def check_cells(check: Check) -> tuple[str, ...]:
    return _compared_cells(check) if check.reference else _cells(check)


def _cells(check: Check) -> tuple[str, ...]:
    result = ", ".join(filter(None, (actual_text(check), note_text(check))))
    return _check_text(check), f"{result}{first_text(check)}"


def _compared_cells(check: Check) -> tuple[str, ...]:
    if check.problem:
        return _check_text(check), actual_text(check), "", informs_text(check)
    values = f"{earlier_text(check)} → {actual_text(check)}"
    shown = "; ".join(filter(None, (informs_text(check), shown_text(check))))
    return _check_text(check), values, difference_text(check), f"{shown}{first_text(check)}"


def _noticeable(check: Check) -> str:
    change = noticeable_text(check, short=True) if check.verdict is Verdict.INCONCLUSIVE else ""
    return f"{change} would show in {CHANCE} of such runs" if change else ""


def titled(findings: Findings) -> Iterator[tuple[str, CheckGroup]]:
    """Yield the groups of checks, each after what it compares with, unless its own reasons say why that is missing."""
    for place, group in enumerate(findings.groups):
        if group.reference:
            yield reference_text(group, why=not any(map(lacks_baseline, group.missed))), group
        else:
            yield OTHERS if place else "", group


def _flip_lines(report: Report) -> Iterator[str]:
    failing = sum(leg.findings.failing for leg in report.legs)
    passing = sum(leg.findings.passing for leg in report.legs)
    if not (failing or passing):
        return
    yield flips_title(failing, passing)
    for leg in report.legs:
        for flip in leg.findings.first_flips(MOST_CHECKS):
            yield of_leg(leg, check_text(flip.check))
            for word, cases in (("fails now", flip.failing), ("passes now", flip.passing)):
                if cases:
                    names = [one_line(leg.case_name(case), WIDEST) for case in cases]
                    yield f"    {word}: {in_words(names, most=MOST_FLIPS)}"


def _row_lines(row: SimulationRow) -> Iterator[str]:
    yield with_cause(_name(row), row.cause)
    if row.stability:
        yield f"    {stability_text(row.stability)}"
    if not row.simulation.completed:
        yield f"    did not complete: {row.simulation.error or row.simulation.status}"
    for miss in row.misses:
        yield f"    {MARKS[_verdict(miss)]} {' – '.join(filter(None, (_check_text(miss.check), here_text(miss))))}"
        if text := row.reasons.get(miss.check.metric):
            yield f"      {text}"
    if row.more_misses:
        yield f"    … and {plural(row.more_misses, 'more criterion', 'more criteria')}"


def _message(report: Report) -> Iterator[str]:
    judgement = report.judgement
    sentences = reasons(judgement)
    yield from (shortened_at_word(sentence, REASON_SHOWN) for sentence in sentences[:MOST_REASONS])
    if len(sentences) > MOST_REASONS:
        yield f"… and {plural(len(sentences) - MOST_REASONS, 'more reason')}."
    if judgement.of_legs and judgement.of_legs.others:
        yield f"{plural(judgement.of_legs.others, 'more leg')} did not pass."
    yield advice(judgement)
    yield from _pages(report)
    if page := link(judgement):
        yield f"More: {page}"


def _pages(report: Report) -> Iterator[str]:
    """Yield the page of each run; of several legs, only the pages of those that do not pass."""
    for leg in report.gravest_first:
        if len(report.legs) == 1 or not leg.judgement.lets_pass:
            yield from (of_leg(leg, f"Run: {run.run_url}") for run in leg.runs if run.run_url)


def _annotation_lines(row: SimulationRow) -> Iterator[str]:
    yield _name(row)
    yield from miss_lines(row)
    if row.stability:
        yield f"The test case is {stability_text(row.stability)}."
    if row.cause:
        yield f"Cause: {row.cause}"


def _name(row: SimulationRow) -> str:
    """Return the simulation's title, id and page. An annotation needs all: GitHub's log does not show its title."""
    ids = () if row.title == row.simulation.id else (f"({row.simulation.id})",)
    return " ".join(filter(None, (_title(row), *ids, row.url)))


def _title(row: SimulationRow) -> str:
    return ": ".join(filter(None, (one_line(row.leg, WIDEST), one_line(row.title, WIDEST))))


def _verdict(miss: Miss) -> Verdict:
    """Return the verdict on a criterion for one simulation, which may miss what the run meets, or only contribute."""
    if miss.contribution:
        return Verdict.SKIPPED
    return Verdict.FAILED if miss.check.passed else miss.check.verdict


def _check_text(check: Check) -> str:
    """Return the check cut to a column. Its end stays, because mutations may differ only at the end of their names."""
    text = one_line(check_text(check))
    if not check.variant or len(text) <= WIDEST:
        return one_line(text, WIDEST)
    return f"{text[: WIDEST - END_SHOWN - 1]}…{text[-END_SHOWN:]}"
