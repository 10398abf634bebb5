"""The end of the log: every check, the simulations to look at, and the annotations of a failing step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import in_words, one_line, plural, shortened, shortened_at_word
from coval_gate.ci.host import Annotation
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import MOST_TEST_CASES
from coval_gate.report.document import Document
from coval_gate.report.document.base import AGENT, plain
from coval_gate.report.document.criteria import Criterion
from coval_gate.report.document.legs import Leg
from coval_gate.report.document.references import CriteriaGroup
from coval_gate.report.document.simulations import MissFacts, SimulationFacts
from coval_gate.report.limits import MOST_SHOWN

Row = tuple[Leg, SimulationFacts]

MARKS: Final = {"passed": "✓", "failed": "✗", "inconclusive": "?", "error": "!", "skipped": "○"}
WIDEST: Final = 60  # characters of a column
END_SHOWN: Final = 30  # characters at the end of a criterion with a mutation: room for the mutation's id
MOST_REASONS: Final = 10  # in an annotation
REASON_SHOWN: Final = 300  # characters of a reason; all of them fit in an annotation
MOST_ROWS: Final = 20  # simulations
MOST_FLIPS: Final = 5  # test cases of a criterion, in each direction
MOST_WORST: Final = 3  # simulations in the last lines; a reader sees about fifteen lines
MOST_WORST_MISSES: Final = 2  # criteria of each
MOST_MISSES: Final = 5  # criteria of a simulation in an annotation
LONGEST_LINE: Final = 300  # characters of a line on a simulation
MOST_REPEATED: Final = 10  # test cases


class Closing(NamedTuple):
    """The end of the log, or annotations in its place. `rows`: the simulations to look at, the worst first.

    `counts`: how many test cases have each cause. `legs`: a line on each of several. `flips`: a title, and lines on the
    test cases that flipped since the baseline. `repeat`: the input that repeats only the test cases of `rows`.
    `is_doubtful`: a criterion that was judged looks like a mistake.
    """

    rows: tuple[Row, ...]
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
        return [Annotation(f"Coval: {_title(*row)}", "\n".join(_annotation_lines(*row))) for row in self.rows[:most]]

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
            lines += _row_lines(*row)
        if len(rows) > MOST_ROWS:
            more = plural(len(rows) - MOST_ROWS, "more simulation")
            lines.append(f"… and {more}{', in the summary' if self.has_summary else ''}")
        return lines

    @property
    def worst(self) -> tuple[Row, ...]:
        """The simulations at the end of a log without annotations."""
        return self.rows[:MOST_WORST]

    def worst_lines(self) -> list[str]:
        of = "" if len(self.worst) == len(self.rows) else f", the worst of {len(self.rows):,}"
        counts = f" ({self.counts})" if self.counts else ""
        lines = [f"{plural(len(self.worst), 'simulation')} to look at{of}{counts}:"] if self.worst else []
        for leg, row in self.worst:
            lines += [
                row.with_cause(_name(leg, row)),
                *(f"    {line}" for line in miss_lines(row, most=MOST_WORST_MISSES)),
            ]
        return lines


def render(document: Document) -> Closing:
    rows = [(leg, row) for leg in document.legs for row in leg.simulations if row.explains]
    rows.sort(key=lambda row: row[1].place)
    return Closing(
        rows=tuple(rows),
        lines=tuple(_closing_lines(document)),
        counts=document.failing_causes_text,
        legs=tuple(_leg_lines(document)),
        verdict=Annotation(f"Coval Gate: {document.title}", "\n".join(filter(None, _message(document)))),
        flips=tuple(_flip_lines(document)),
        repeat="" if document.passes or len(document.legs) > 1 else _repeat_text(document, rows),
        has_summary=document.inputs.get("summary") != "false",
        is_doubtful=document.is_doubtful,
    )


def ids_line(ids: Iterable[str]) -> str:
    """Return the input for these test cases, as a line of a workflow file."""
    return f"test_case_ids: {json.dumps(', '.join(ids))}"


def miss_lines(simulation: SimulationFacts, *, most: int = MOST_MISSES) -> Iterator[str]:
    """Yield the criteria that a simulation missed, with its values and the judges' words; at last, how many more."""
    if simulation.trouble:
        yield line_of(f"Did not complete: {simulation.error or simulation.status}")
    for miss, criterion in simulation.missed[:most]:
        yield line_of(_miss_text(simulation, miss, criterion))
    if more := len(simulation.misses[most:]) + simulation.missed_criteria_left_out:
        yield f"… and {plural(more, 'more criterion', 'more criteria')}"


def _miss_text(simulation: SimulationFacts, miss: MissFacts, criterion: str) -> str:
    text = " – ".join(filter(None, (one_line(simulation.title_of(criterion), LONGEST_LINE // 2), miss.here)))
    how = "Contributes to the miss of" if miss.verdict == "skipped" else "Missed"
    return f"{how} {text}{f'. Judge: {words}' if (words := simulation.why(miss.metric_id)) else ''}"


def case_ids(simulations: Iterable[SimulationFacts]) -> tuple[str, ...]:
    """Return the distinct ids of the test cases, as far as `test_case_ids` accepts them."""
    ids = dict.fromkeys(simulation.test_case_id for simulation in simulations)
    return tuple(case_id for case_id in ids if IDENTIFIER.fullmatch(case_id))[:MOST_TEST_CASES]


def line_of(text: str, limit: int = LONGEST_LINE) -> str:
    """Return `text` on one line of at most `limit` characters and twice as many bytes."""
    shown = one_line(text, limit)
    return shown if len(shown.encode("utf-8", "replace")) <= 2 * limit else shortened(shown, limit // 2)


def _repeat_text(document: Document, rows: Sequence[Row]) -> str:
    """Return the input that repeats the first of these rows' test cases; empty if they are all of the run's."""
    ids = case_ids(row for _, row in rows)
    others = {row.test_case_id for leg in document.legs for row in leg.simulations}.difference(ids)
    if not ids or not others:
        return ""
    first = ids[:MOST_REPEATED]
    which = "this test case" if len(ids) == 1 else f"these {plural(len(ids), 'test case')}"
    if len(first) < len(ids):
        which = f"the worst {plural(len(first), 'test case')}"
    return f"To repeat only {which}, set {ids_line(first)}"


def _closing_lines(document: Document) -> Iterator[str]:
    """Yield what to do, where to look, and last the verdict with its reason; the log already has the criteria."""
    yield from filter(None, document.advice.split("\n"))
    if not document.passes:
        yield from _pages(document)
    if document.link:
        yield f"More: {document.link}"
    yield f"{document.heading}: {document.reason}"


def _leg_lines(document: Document) -> Iterator[str]:
    if len(document.legs) <= 1:
        return
    yield f"{plural(len(document.legs), 'leg')}:"
    rows = [(leg.heading, one_line(leg.name, WIDEST), leg.short_reason(REASON_SHOWN)) for leg in document.ranked]
    headings, names, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    yield from (f"  {heading:<{headings}}  {name:<{names}}  {reason}" for heading, name, reason in rows)


def check_lines(groups: Sequence[CriteriaGroup], criteria: Sequence[Criterion]) -> Iterator[str]:
    """Yield a line for each criterion, the missed ones first; those that compare follow what they compare with."""
    for group in groups:
        if named := title_of(group):
            yield f"  {named}"
        of_group = [criterion for criterion in criteria if criterion.compared_with == group.compared_with]
        yield from _lines(of_group[:MOST_SHOWN], group.total)


def _lines(shown: Sequence[Criterion], total: int) -> Iterator[str]:
    """Yield aligned lines; only the last cell may have any width."""
    cells = [check_cells(criterion) for criterion in shown]
    widths = [min(WIDEST, max(map(len, column))) for column in list(zip(*cells, strict=True))[:-1]]
    for criterion, (*first, last) in zip(shown, cells, strict=True):
        aligned = "  ".join(f"{text:<{width}}" for text, width in zip(first, widths, strict=True))
        yield f"  {MARKS[criterion.verdict]} {aligned}  {last}".rstrip()
        doubtful = criterion.verdict == "inconclusive" or (criterion.advisory and criterion.trend == "inconclusive")
        if doubtful and not criterion.met and criterion.would_show_text:
            yield f"    {criterion.would_show_text}"
    if more := total - len(shown):
        yield f"    … and {plural(more, 'more criterion', 'more criteria')}"


def check_cells(criterion: Criterion) -> tuple[str, ...]:
    title = _cut(criterion.title, keeps_end=bool(criterion.mutation))
    actual, informs = criterion.actual_text, criterion.informs_text
    first = f"; {criterion.first_text}" if criterion.first_text else ""
    if not criterion.compared_with:
        return title, f"{', '.join(filter(None, (actual, criterion.note_text)))}{first}"
    if criterion.problem:
        return title, actual, "", informs
    shown = "; ".join(filter(None, (informs, criterion.shown_text)))
    return title, f"{criterion.earlier_text} → {actual}", criterion.difference_text, f"{shown}{first}"


def title_of(group: CriteriaGroup) -> str:
    """Return what a group compares with, and why that is missing; of one that compares with nothing, its title."""
    return f"{plain(group.reference)}{f'; {group.why}' if group.why and not group.why_is_told else ''}"


def _flip_lines(document: Document) -> Iterator[str]:
    if not document.flips_text:
        return
    yield document.flips_text
    for leg in document.legs:
        for criterion in leg.criteria[:MOST_SHOWN]:
            flips = list(flip_texts(criterion, lambda case: one_line(case, WIDEST), MOST_FLIPS))
            yield from [leg.named(criterion.title)] * bool(flips)
            yield from (f"    {text}" for text in flips)


def flip_texts(criterion: Criterion, name: Callable[[str], str], most: int) -> Iterator[str]:
    """Yield the test cases that fail now, and those that pass now; `most`: how many of each have a name."""
    for word, (cases, more) in criterion.flipped.items():
        yield f"{word}: {in_words([*map(name, cases), *[''] * more], most=most)}"


def _row_lines(leg: Leg, row: SimulationFacts) -> Iterator[str]:
    yield row.with_cause(_name(leg, row))
    if row.stability_text:
        yield f"    {row.stability_text}"
    if row.trouble:
        yield f"    did not complete: {row.error or row.status}"
    for miss, criterion in row.missed:
        title = _cut(row.title_of(criterion), keeps_end=row.variant != AGENT)
        yield f"    {MARKS[miss.verdict]} {' – '.join(filter(None, (title, miss.here)))}"
        if text := row.why(miss.metric_id):
            yield f"      {text}"
    if row.missed_criteria_left_out:
        yield f"    … and {plural(row.missed_criteria_left_out, 'more criterion', 'more criteria')}"


def _message(document: Document) -> Iterator[str]:
    yield from (shortened_at_word(sentence, REASON_SHOWN) for sentence in document.reasons[:MOST_REASONS])
    if (more := len(document.reasons) + document.reasons_left_out - MOST_REASONS) > 0:
        yield f"… and {plural(more, 'more reason')}."
    if document.failing_legs_left_out:
        yield f"{plural(document.failing_legs_left_out, 'more leg')} did not pass."
    yield document.advice
    yield from _pages(document)
    if document.link:
        yield f"More: {document.link}"


def _pages(document: Document) -> Iterator[str]:
    """Yield the page of each run; of several legs, only the pages of those that do not pass."""
    for leg in document.ranked:
        if len(document.legs) == 1 or not leg.passes:
            yield from (leg.named(f"Run: {run.url}") for run in leg.runs if run.url)


def _annotation_lines(leg: Leg, row: SimulationFacts) -> Iterator[str]:
    yield _name(leg, row)
    yield from miss_lines(row)
    if row.stability_text:
        yield f"The test case is {row.stability_text}."
    if row.cause:
        yield f"Cause: {row.cause}"


def _name(leg: Leg, row: SimulationFacts) -> str:
    """Return the simulation's title, id and page. An annotation needs all: GitHub's log does not show its title."""
    ids = () if row.title == row.id else (f"({row.id})",)
    return " ".join(filter(None, (_title(leg, row), *ids, row.url)))


def _title(leg: Leg, row: SimulationFacts) -> str:
    return ": ".join(filter(None, (one_line(leg.name, WIDEST), one_line(row.title, WIDEST))))


def _cut(title: str, *, keeps_end: bool) -> str:
    """Return a title cut to a column. Mutations may differ only at the end of their names, which stays."""
    text = one_line(title)
    if not keeps_end or len(text) <= WIDEST:
        return one_line(text, WIDEST)
    return f"{text[: WIDEST - END_SHOWN - 1]}…{text[-END_SHOWN:]}"
