"""The simulations of the HTML report: a row of the table for each, and what it opens to. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE
from coval_gate.report.comparisons import USUAL_ID
from coval_gate.report.formats.digest import prompt_of
from coval_gate.report.html.addresses import web_address
from coval_gate.report.html.conversation import conversation
from coval_gate.report.limits import (
    LONGEST_TEXT,
    MISSES_ROOM,
    MOST_COLUMNS,
    MOST_PROMPTS,
    MOST_TABLE_ROWS,
    MOST_VALUES,
    TEXTS_ROOM,
    TRANSCRIPTS_ROOM,
)
from coval_gate.report.metrics import variant_key
from coval_gate.report.simulations import leg_rows
from coval_gate.report.wording.checks import here_text
from coval_gate.report.wording.comparisons import comparison_of, reference_of
from coval_gate.report.wording.criteria import mention, value_text
from coval_gate.report.wording.repetition import stability_text
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from coval_gate.model.results import Metric, Value
    from coval_gate.report.html.conversation import Conversation
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import Miss, SimulationRow

NAME: Final = 200  # characters of a name
WORDS: Final = {Verdict.SKIPPED: "tolerated"}  # what a row is called; others have the verdict's own word
GROUPS: Final = {Verdict.PASSED: 2, Verdict.SKIPPED: 1}  # how rows of several legs are put together


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A metric that has a column."""

    id: str
    name: str
    numeric: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MissView:
    """A missed criterion, with the simulation's value and what the metric's judge says."""

    criterion: str
    here: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueView:
    """A metric's value on a simulation, whether it misses any criterion, the first of these, what its judge says."""

    name: str
    value: str
    text: str
    missed: bool
    criteria: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A simulation. `anchor` is its address on the page, `change` how its test case differs from the baseline.

    `place` counts from the worst. `misses` are the first criteria that it misses; `general` are those of them that are
    not on a metric.
    """

    place: int
    anchor: str
    id: str
    verdict: str
    word: str
    name: str
    iteration: str
    case: str
    variant: str
    leg: str
    trouble: str
    url: str
    stability: str
    flaky: bool
    change: str
    misses: tuple[MissView, ...] = ()
    general: tuple[str, ...] = ()
    more_misses: int = 0
    cells: tuple[str, ...] = ()
    values: tuple[ValueView, ...] = ()
    conversation: Conversation | None = None
    prompt: str = ""
    status: str = ""

    @property
    def explained(self) -> bool:
        """Whether there is more to say of any value."""
        return any(each.text or each.criteria for each in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one leg, by test case, in the order of the worst of each. `token` filters for the leg."""

    key: str
    name: str
    token: str
    cases: Mapping[str, tuple[RowView, ...]]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(len(rows) for rows in self.cases.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """All simulations that are shown, the worst first, and how many there are of each word.

    `sections` has the same rows by leg, the leg with the worst first. `groups`: whether a test case has several rows.
    """

    columns: tuple[Column, ...]
    rows: tuple[RowView, ...]
    total: int
    counts: Mapping[str, int]
    variants: bool
    legs: bool
    groups: bool
    compared: bool
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """A row with the leg that it is from, and its place among the leg's rows."""

    row: SimulationRow
    leg: LegReport
    place: int


class _Room(NamedTuple):
    """What each row may hold: characters of explanations, missed criteria, characters of a transcript."""

    texts: int
    misses: int
    transcript: int


def table(report: Report) -> TableView:
    """Return the table of all simulations; those to look at first, and of several legs in turn."""
    found = [_Source(row, leg, place) for leg in report.legs for place, row in enumerate(leg_rows(report, leg))]
    found.sort(key=lambda each: (GROUPS.get(each.row.verdict, 0), each.place))
    shown = found[:MOST_TABLE_ROWS]
    columns = _columns(report.legs)
    changes = {id(leg): _changes(leg) for leg in report.legs}
    talks = sum(bool(leg.details.transcripts.get(row.simulation.id)) for row, leg in ((s.row, s.leg) for s in shown))
    room = _Room(
        texts=TEXTS_ROOM // max(1, len(shown)),
        misses=max(1, MISSES_ROOM // max(1, len(shown))),
        transcript=TRANSCRIPTS_ROOM // max(1, talks),
    )
    legs = {id(leg): str(place) for place, leg in enumerate(report.legs)}
    anchors = _anchors([each.row.simulation.id for each in shown])
    rows = tuple(
        _row(report, each, columns, changes[id(each.leg)], place, anchors[place], legs[id(each.leg)], room)
        for place, each in enumerate(shown)
    )
    sections = tuple(_sections(report.legs, rows))
    words = [WORDS.get(each.row.verdict, each.row.verdict.value) for each in found]
    return TableView(
        columns=columns,
        rows=rows,
        total=len(found),
        counts={word: words.count(word) for word in dict.fromkeys(words)},
        variants=any(each.row.simulation.mutation != BASE for each in found),
        legs=len(report.legs) > 1,
        groups=sum(len(section.cases) for section in sections) < len(rows),
        compared=any(changes.values()),
        sections=sections,
    )


def _anchors(ids: Sequence[str]) -> list[str]:
    """Return the address of each simulation on the page: its id or, where that will not do, its place."""
    unusual = {each for each, count in Counter(ids).items() if count > 1 or not USUAL_ID.fullmatch(each)}
    return [f"row-{place}" if each in unusual else each for place, each in enumerate(ids)]


def _sections(legs: Sequence[LegReport], rows: Sequence[RowView]) -> Iterator[Section]:
    """Yield the rows by leg and test case, both in the order of the worst of each."""
    found: dict[str, dict[str, list[RowView]]] = {}
    for each in rows:
        key, _, _ = each.case.partition(" ")
        found.setdefault(key, {}).setdefault(each.case, []).append(each)
    for key, cases in found.items():
        name = one_line(legs[int(key)].name, NAME)
        # A filter has no way to write a quote.
        token = f'l:"{max(name.split(chr(34)), key=len)}"'
        yield Section(key=key, name=name, token=token, cases={case: tuple(found) for case, found in cases.items()})


def _columns(legs: Sequence[LegReport]) -> tuple[Column, ...]:
    """Return the first metrics: those of missed criteria, then those of other criteria, then the rest."""
    checks = [check for leg in legs for check in leg.judgement.checks if check.metric]
    missed = [check.metric for check in checks if check.decides and not check.passed]
    metrics: dict[str, Metric] = {}
    for metric in (each for leg in legs if leg.result for each in leg.result.metrics):
        if metric.values or metric.id not in metrics:
            metrics[metric.id] = metric
    wanted = dict.fromkeys([*missed, *(check.metric for check in checks), *metrics])
    known = [metrics[each] for each in wanted if each in metrics and metrics[each].values]
    return tuple(
        Column(id=each.id, name=one_line(each.name, NAME), numeric=_is_numeric(each)) for each in known[:MOST_COLUMNS]
    )


def _is_numeric(metric: Metric) -> bool:
    return all(isinstance(value, float) for value in metric.values.values())


def _changes(leg: LegReport) -> dict[tuple[str, str], str]:
    """Return how test cases changed since the baseline, by variant and id; one that is worse by any check is worse."""
    found: dict[tuple[str, str], str] = {}
    for check in leg.judgement.checks:
        compared = comparison_of(check)
        if compared is None or reference_of(check) != "baseline":
            continue
        for case in compared.newly_passing:
            found.setdefault((check.variant, case), "better")
        found |= {(check.variant, case): "worse" for case in compared.newly_failing}
    return found


def _row(
    report: Report,
    source: _Source,
    columns: Sequence[Column],
    changes: Mapping[tuple[str, str], str],
    place: int,
    anchor: str,
    leg_key: str,
    room: _Room,
) -> RowView:
    row, leg = source.row, source.leg
    each = row.simulation
    metrics = leg.result.metrics if leg.result else ()
    known = {metric.id: metric.values[each.id] for metric in metrics if each.id in metric.values}
    misses = row.misses[: room.misses]
    missed = _missed(misses)
    blamed = {miss.check.metric for miss in row.misses}
    ids = {metric.id for metric in metrics}
    turns = leg.details.transcripts.get(each.id, ())
    texts = dict(_texts(row, blamed, room.texts))
    return RowView(
        place=place,
        anchor=anchor,
        id=one_line(each.id, NAME),
        verdict=row.verdict.value,
        word=WORDS.get(row.verdict, row.verdict.value),
        name=one_line(row.name, NAME),
        iteration=f"{row.iteration} of {row.of}" if row.of > 1 else "",
        case=f"{leg_key} {one_line(each.test_case_id or each.id, NAME)}",
        variant=one_line(variant_key(each.mutation), NAME),
        leg=one_line(leg.name, NAME),
        trouble=one_line(row.trouble),
        url=web_address(row.url),
        stability=stability_text(row.stability) if row.stability else "",
        flaky=bool(row.stability and row.stability.is_flaky),
        change=changes.get((each.mutation, each.test_case_id), ""),
        misses=tuple(
            MissView(
                criterion=one_line(mention(miss.check.criterion), NAME),
                here=here_text(miss),
                why=texts.get(miss.check.metric, ""),
            )
            for miss in misses
        ),
        general=tuple(each for metric, criteria in missed.items() if metric not in ids for each in criteria),
        more_misses=row.more_misses + len(row.misses) - len(misses),
        cells=tuple(_cell(known.get(column.id)) for column in columns),
        values=tuple(_values(metrics, known, texts, missed, blamed)),
        conversation=conversation(turns, room.transcript),
        prompt=prompt_of(report, leg, row) if place < MOST_PROMPTS and row.verdict is not Verdict.PASSED else "",
        status=one_line(each.status, NAME),
    )


def _cell(value: Value | None) -> str:
    return "" if value is None else value_text(value)


def _missed(misses: Sequence[Miss]) -> dict[str, tuple[str, ...]]:
    """Return the missed criteria by the id of their metric, which is empty without one."""
    found: dict[str, list[str]] = {}
    for miss in misses:
        found.setdefault(miss.check.metric, []).append(one_line(mention(miss.check.criterion), NAME))
    return {metric: tuple(criteria) for metric, criteria in found.items()}


def _texts(row: SimulationRow, missed: Container[str], room: int) -> Iterator[tuple[str, str]]:
    """Yield what judges say, by metric id, until the room is taken up; of missed criteria first."""
    for metric in sorted(row.texts, key=lambda each: each not in missed):
        if room <= 1:
            return
        text = one_line(row.texts[metric], min(LONGEST_TEXT, room))
        room -= len(text)
        if text:
            yield metric, text


def _values(
    metrics: Sequence[Metric],
    known: Mapping[str, Value],
    texts: Mapping[str, str],
    missed: Mapping[str, tuple[str, ...]],
    blamed: Container[str],
) -> Iterator[ValueView]:
    """Yield at most MOST_VALUES values; those of missed criteria come first."""
    wanted = sorted(
        (each for each in metrics if each.id in known or each.id in texts or each.id in blamed),
        key=lambda each: each.id not in blamed,
    )
    for metric in wanted[:MOST_VALUES]:
        yield ValueView(
            name=one_line(metric.name, NAME),
            value=_cell(known.get(metric.id)) or "no value",
            text=texts.get(metric.id, ""),
            missed=metric.id in blamed,
            criteria=missed.get(metric.id, ()),
        )
