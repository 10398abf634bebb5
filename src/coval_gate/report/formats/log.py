"""The end of the log: every check, the simulations to look at, and the annotations of a failing step."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from coval_gate.base.text import in_words, one_line, plural, shortened, shortened_at_word
from coval_gate.ci.host import Annotation
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import MOST_TEST_CASES, SelectedLegs
from coval_gate.report import CRITERIA_SHOWN
from coval_gate.report.document import Document
from coval_gate.report.document.base import plain
from coval_gate.report.document.criteria import CriterionFacts
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.document.references import CriteriaGroup
from coval_gate.report.document.simulations import SimulationFacts

LegSimulation = tuple[LegFacts, SimulationFacts]

VERDICT_SIGNS: Final = {"passed": "✓", "failed": "✗", "inconclusive": "?", "error": "!", "skipped": "○"}
WIDEST: Final = 60  # characters of a column
END_SHOWN: Final = 30  # characters at the end of a criterion with a mutation: room for the mutation's id
REASONS_ANNOTATED: Final = 10  # in an annotation
REASON_SHOWN: Final = 300  # characters of a reason; all of them fit in an annotation
MOST_ROWS: Final = 20  # simulations
FLIPS_LOGGED: Final = 5  # test cases of a criterion, in each direction
MOST_WORST: Final = 3  # simulations in the last lines; a reader sees about fifteen lines
MOST_WORST_MISSES: Final = 2  # criteria of each
MOST_MISSES: Final = 5  # criteria of a simulation in an annotation
LONGEST_ROW: Final = 300  # characters of a line on a simulation
MOST_REPEATED: Final = 10  # test cases


class Closing:
    """The end of the log, or annotations in its place.

    `rows`: the simulations to look at, the worst first. `cases`: the same, together by test case. `worst`: those at the
    end of a log without annotations.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        rows = [(leg, row) for leg in document.legs for row in leg.simulations if row.fails]
        self.rows: Final = sorted(rows, key=lambda row: row[1].place)
        cases: dict[tuple[int, str, str], list[LegSimulation]] = {}
        for leg, row in self.rows:
            cases.setdefault((id(leg), row.variant, row.test_case_id or row.id), []).append((leg, row))
        self.cases: Final = [*cases.values()]
        self.worst: Final = self.cases[:MOST_WORST]
        self.verdict: Final = Annotation(f"Coval Gate: {document.title}", "\n".join(filter(None, _message(document))))
        self.is_doubtful: Final = document.is_doubtful
        self._counts: Final = f" ({document.failing_causes_text})" if document.failing_causes_text else ""
        self._has_summary: Final = document.inputs.get("summary") != "false"

    def annotations(self, most: int) -> list[Annotation]:
        return [_annotation(*case) for case in self.cases[:most]]

    def verdict_beside(self, annotated: int) -> Annotation:
        """Return the annotation of the verdict, with where the test cases without an annotation are."""
        if not 0 < annotated < len(self.cases):
            return self.verdict
        worst = f"The worst {annotated:,} of {plural(len(self.cases), 'test case')} to look at are annotated"
        others = "in the log and the summary" if self._has_summary else "in the log"
        return self.verdict._replace(message=f"{self.verdict.message}\n{worst}; the others are {others}.")

    def simulation_lines(self, *, after: int = 0) -> list[str]:
        """Return a title, and lines on each simulation but those of the first `after` test cases, or nothing."""
        rows = [row for case in self.cases[after:] for row in case]
        counts = "" if after else self._counts
        lines = [f"{'Other simulations' if after else 'Simulations'} to look at: {len(rows):,}{counts}"] if rows else []
        for row in rows[:MOST_ROWS]:
            lines += _row_lines(*row)
        if len(rows) > MOST_ROWS:
            more = plural(len(rows) - MOST_ROWS, "more simulation")
            lines.append(f"… and {more}{', in the summary' if self._has_summary else ''}")
        return lines

    def worst_lines(self) -> list[str]:
        shown = sum(map(len, self.worst))
        of = "" if shown == len(self.rows) else f", the worst of {len(self.rows):,}"
        lines = [f"{plural(shown, 'simulation')} to look at{of}{self._counts}:"] if self.worst else []
        for first, *others in self.worst:
            lines += _row_lines(*first, most=MOST_WORST_MISSES)
            lines += [row.with_cause(_name(leg, row)) for leg, row in others]
        return lines

    @property
    def explanation(self) -> list[str]:
        """The error itself, then what to do and where to look. The log already shows the criteria."""
        document = self._document
        lines = [f"Error: {document.reason}" if document.verdict == "error" else "", *document.advice.split("\n")]
        lines += [] if document.passes else _pages(document)
        return [line for line in (*lines, f"More: {document.link}" if document.link else "") if line]

    @property
    def last_line(self) -> str:
        """The verdict, with its reason unless an error shows it already."""
        document = self._document
        return f"{document.heading}: {one_line(document.title) if document.verdict == 'error' else document.reason}"

    @property
    def legs(self) -> Iterator[str]:
        """A title, and a line on each of several legs."""
        document = self._document
        if len(document.legs) <= 1:
            return
        selected = document.selected
        yield f"{SelectedLegs(selected.legs, selected.total) if selected else plural(len(document.legs), 'leg')}:"
        rows = [(leg.heading, one_line(leg.title, WIDEST), leg.short_reason(REASON_SHOWN)) for leg in document.ranked]
        headings, names, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        yield from (f"  {heading:<{headings}}  {name:<{names}}  {reason}" for heading, name, reason in rows)

    @property
    def flips(self) -> list[str]:
        """A title, and lines on the test cases that flipped since the baseline."""
        lines = [self._document.flips_text] if self._document.flips_text else []
        for leg in self._document.legs:
            for criterion in leg.criteria[:CRITERIA_SHOWN]:
                flips = list(flip_texts(criterion, lambda case: one_line(case, WIDEST), FLIPS_LOGGED))
                lines += [leg.named(criterion.title)] * bool(flips)
                lines += [f"    {text}" for text in flips]
        return lines

    @property
    def repeat(self) -> str:
        """The input that repeats the first test cases to look at; empty if they are all of the run's."""
        document, ids = self._document, case_ids(row for _, row in self.rows)
        others = {row.test_case_id for leg in document.legs for row in leg.simulations}.difference(ids)
        if document.passes or len(document.legs) > 1 or not ids or not others:
            return ""
        first = ids[:MOST_REPEATED]
        which = "this test case" if len(ids) == 1 else f"these {plural(len(ids), 'test case')}"
        if len(first) < len(ids):
            which = f"the worst {plural(len(first), 'test case')}"
        return f"To repeat only {which}, set {ids_line(first)}"


def ids_line(ids: Iterable[str]) -> str:
    """Return the input for these test cases, as a line of a workflow file."""
    return f"test_case_ids: {json.dumps(', '.join(ids))}"


def miss_lines(simulation: SimulationFacts, *, most: int | None = MOST_MISSES) -> Iterator[str]:
    """Yield the criteria that a simulation missed, with values and explanations; then how many more there are."""
    if simulation.trouble:
        yield line_of(f"Did not complete: {simulation.error or simulation.status}")
    shown = simulation.misses[:most]
    for miss in shown:
        text = " – ".join(filter(None, (one_line(simulation.title_of(miss), LONGEST_ROW // 2), miss.here)))
        why = simulation.why(miss.metric_id)
        yield line_of(f"Missed {text}{f'. Judge: {why}' if why else ''}")
    if more := len(simulation.misses) - len(shown) + simulation.misses_left_out:
        yield f"… and {plural(more, 'more criterion', 'more criteria')}"


def case_ids(simulations: Iterable[SimulationFacts]) -> tuple[str, ...]:
    """Return the distinct ids of the test cases, as far as `test_case_ids` accepts them."""
    ids = dict.fromkeys(simulation.test_case_id for simulation in simulations)
    return tuple(case_id for case_id in ids if IDENTIFIER.fullmatch(case_id))[:MOST_TEST_CASES]


def line_of(text: str, limit: int = LONGEST_ROW) -> str:
    """Return `text` on one line of at most `limit` characters and twice as many bytes."""
    shown = one_line(text, limit)
    return shown if len(shown.encode("utf-8", "replace")) <= 2 * limit else shortened(shown, limit // 2)


def check_lines(groups: Sequence[CriteriaGroup], criteria: Sequence[CriterionFacts]) -> Iterator[str]:
    """Yield a line for each criterion, the missed ones first; those that compare follow what they compare with."""
    for group in groups:
        if group.reference:
            yield f"  {plain(group.reference)}"
        shown = [criterion for criterion in criteria if criterion.compared_with == group.compared_with][:CRITERIA_SHOWN]
        cells = [check_cells(criterion) for criterion in shown]
        widths = [min(WIDEST, max(map(len, column))) for column in list(zip(*cells, strict=True))[:-1]]
        for criterion, (*first, last) in zip(shown, cells, strict=True):  # only the last cell may have any width
            aligned = "  ".join(f"{text:<{width}}" for text, width in zip(first, widths, strict=True))
            yield f"  {VERDICT_SIGNS[criterion.verdict]} {aligned}  {last}".rstrip()
            doubtful = criterion.verdict == "inconclusive" or (criterion.advisory and criterion.trend == "inconclusive")
            if doubtful and not criterion.met and criterion.would_show_text:
                yield f"    {criterion.would_show_text}"
        if more := group.total - len(shown):
            yield f"    … and {plural(more, 'more criterion', 'more criteria')}"


def check_cells(criterion: CriterionFacts) -> tuple[str, ...]:
    title, actual, informs = one_line(criterion.title), criterion.actual_text, criterion.informs_text
    if criterion.mutation and len(title) > WIDEST:  # mutations may differ only at the end of their names
        title = f"{title[: WIDEST - END_SHOWN - 1]}…{title[-END_SHOWN:]}"
    title = one_line(title, WIDEST)
    first = f"; {criterion.first_text}" if criterion.first_text else ""
    if not criterion.compared_with:
        return title, f"{', '.join(filter(None, (actual, criterion.note_text)))}{first}"
    if criterion.problem:
        return title, actual, "", informs
    shown = "; ".join(filter(None, (informs, criterion.shown_text, criterion.first_text)))
    earlier = ", ".join(filter(None, (criterion.earlier_text, criterion.range_text)))
    return title, f"{earlier} → {actual}", criterion.difference_text, shown


def flip_texts(criterion: CriterionFacts, name: Callable[[str], str], most: int) -> Iterator[str]:
    """Yield the test cases that fail now, and those that pass now; `most`: how many of each have a name."""
    for word, cases in criterion.flipped.items():
        yield f"{word}: {in_words([*map(name, cases)], most=most)}"


def _row_lines(leg: LegFacts, row: SimulationFacts, *, most: int | None = None) -> Iterator[str]:
    yield row.with_cause(_name(leg, row))
    if row.stability_text:
        yield f"    {row.stability_text}"
    yield from (f"    {line}" for line in miss_lines(row, most=most))


def _message(document: Document) -> Iterator[str]:
    yield from (shortened_at_word(sentence, REASON_SHOWN) for sentence in document.reasons[:REASONS_ANNOTATED])
    if (more := len(document.reasons) - REASONS_ANNOTATED) > 0:
        yield f"… and {plural(more, 'more reason')}."
    if document.other_failing_legs:
        yield f"{plural(document.other_failing_legs, 'more leg')} did not pass."
    yield f"This was attempt {document.attempt} of this commit." if document.attempt else ""
    yield document.advice
    yield from _pages(document)
    yield f"More: {document.link}" if document.link else ""


def _pages(document: Document) -> Iterator[str]:
    """Yield the page of each run; of several legs, only the pages of those that do not pass."""
    for leg in document.ranked:
        if len(document.legs) == 1 or not leg.passes:
            yield from (leg.named(f"Run: {run.url}") for run in leg.runs if run.url)


def _annotation(first: LegSimulation, *others: LegSimulation) -> Annotation:
    """Return the annotation of a test case: its worst simulation, and which others there are."""
    leg, row = first
    title = ": ".join(filter(None, (one_line(leg.title, WIDEST), one_line(row.name, WIDEST))))
    stability = f"The test case is {row.stability_text}." if row.stability_text else ""
    cause = f"Cause: {row.cause_text}" if row.cause_text else ""
    lines = (_name(leg, row), *miss_lines(row), stability, cause, *(_name(*other) for other in others))
    return Annotation(f"Coval: {title}", "\n".join(filter(None, lines)))


def _name(leg: LegFacts, row: SimulationFacts) -> str:
    """Return the simulation's title, id and page. An annotation needs all: GitHub's log does not show its title."""
    title = ": ".join(filter(None, (one_line(leg.title, WIDEST), one_line(row.title, WIDEST))))
    ids = () if row.title == row.id else (f"({row.id})",)
    return " ".join(filter(None, (title, *ids, row.url)))
