"""The table of all simulations in the HTML report, by leg and test case. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coval_gate.judge.findings import reference_of
from coval_gate.model.results import BASE
from coval_gate.report.html.rows import NAME, WORDS, Column, Room, RowView, Source, row_view
from coval_gate.report.limits import MISSES_ROOM, MOST_COLUMNS, MOST_TABLE_ROWS, TEXTS_ROOM, TRANSCRIPTS_ROOM
from coval_gate.report.provenance import USUAL_ID
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.model.results import Metric
    from coval_gate.report.model import LegReport, Report


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


def table(report: Report) -> TableView:
    """Return the table of all simulations; those to look at first, and of several legs in turn."""
    found = [Source(row, leg, place) for leg in report.legs for place, row in enumerate(leg.rows)]
    found.sort(key=lambda each: (each.row.group, each.place))
    shown = found[:MOST_TABLE_ROWS]
    columns = _columns(report.legs)
    changes = {id(leg): _changes(leg) for leg in report.legs}
    talks = sum(bool(leg.details.transcripts.get(row.simulation.id)) for row, leg in ((s.row, s.leg) for s in shown))
    room = Room(
        texts=TEXTS_ROOM // max(1, len(shown)),
        misses=max(1, MISSES_ROOM // max(1, len(shown))),
        transcript=TRANSCRIPTS_ROOM // max(1, talks),
    )
    legs = {id(leg): str(place) for place, leg in enumerate(report.legs)}
    anchors = _anchors([each.row.simulation.id for each in shown])
    rows = tuple(
        row_view(report, each, columns, changes[id(each.leg)], place, anchors[place], legs[id(each.leg)], room)
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
    for row in rows:
        key, _, _ = row.case.partition(" ")
        found.setdefault(key, {}).setdefault(row.case, []).append(row)
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
    for check, failing, passing in leg.findings.flips:
        if reference_of(check) == "baseline":
            for case in passing:
                found.setdefault((check.variant, case), "better")
            found |= {(check.variant, case): "worse" for case in failing}
    return found
