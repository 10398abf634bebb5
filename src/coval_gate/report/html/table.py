"""The table of all simulations in the HTML report, by leg and test case. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coval_gate.base.text import one_line
from coval_gate.judge.findings import reference_of
from coval_gate.model.results import BASE
from coval_gate.report.html.rows import NAME, WORDS, Column, Room, RowView, Source, row_view
from coval_gate.report.limits import MISSES_ROOM, MOST_COLUMNS, MOST_TABLE_ROWS, TEXTS_ROOM, TRANSCRIPTS_ROOM
from coval_gate.report.provenance import USUAL_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.model.results import Metric
    from coval_gate.report.model import LegReport, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of a leg by test case, those with the worst row first. `token` filters for the leg."""

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
    """The simulations that are shown, the worst first, and how many have each word.

    `sections`: the same rows by leg, the leg with the worst row first. `groups`: whether a test case has several rows.
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
    """Return the table of all simulations, those to look at first; several legs take turns."""
    sources = [Source(row, leg, place) for leg in report.legs for place, row in enumerate(leg.rows)]
    sources.sort(key=lambda source: (source.row.group, source.place))
    shown = sources[:MOST_TABLE_ROWS]
    columns = _columns(report.legs)
    changes = {id(leg): _changes(leg) for leg in report.legs}
    talks = sum(bool(leg.details.transcripts.get(row.simulation.id)) for row, leg in ((s.row, s.leg) for s in shown))
    room = Room(
        texts=TEXTS_ROOM // max(1, len(shown)),
        misses=max(1, MISSES_ROOM // max(1, len(shown))),
        transcript=TRANSCRIPTS_ROOM // max(1, talks),
    )
    legs = {id(leg): str(place) for place, leg in enumerate(report.legs)}
    anchors = _anchors([source.row.simulation.id for source in shown])
    rows = tuple(
        row_view(report, source, columns, changes[id(source.leg)], place, anchors[place], legs[id(source.leg)], room)
        for place, source in enumerate(shown)
    )
    sections = tuple(_sections(report.legs, rows))
    words = [WORDS.get(source.row.verdict, source.row.verdict.value) for source in sources]
    return TableView(
        columns=columns,
        rows=rows,
        total=len(sources),
        counts={word: words.count(word) for word in dict.fromkeys(words)},
        variants=any(source.row.simulation.mutation != BASE for source in sources),
        legs=len(report.legs) > 1,
        groups=sum(len(section.cases) for section in sections) < len(rows),
        compared=any(changes.values()),
        sections=sections,
    )


def _anchors(ids: Sequence[str]) -> list[str]:
    """Return the address of each simulation on the page: its id or, if that is unusable or not unique, its place."""
    unusual = {anchor for anchor, count in Counter(ids).items() if count > 1 or not USUAL_ID.fullmatch(anchor)}
    return [f"row-{place}" if anchor in unusual else anchor for place, anchor in enumerate(ids)]


def _sections(legs: Sequence[LegReport], rows: Sequence[RowView]) -> Iterator[Section]:
    """Yield the rows by leg and test case, those with the worst row first."""
    by_leg: dict[str, dict[str, list[RowView]]] = {}
    for row in rows:
        key, _, _ = row.case.partition(" ")
        by_leg.setdefault(key, {}).setdefault(row.case, []).append(row)
    for key, cases in by_leg.items():
        name = one_line(legs[int(key)].name, NAME)
        # A filter cannot contain a quote.
        token = f'l:"{max(name.split(chr(34)), key=len)}"'
        yield Section(key=key, name=name, token=token, cases={case: tuple(of_case) for case, of_case in cases.items()})


def _columns(legs: Sequence[LegReport]) -> tuple[Column, ...]:
    """Return the first metrics: those of missed criteria, then those of other criteria, then the rest."""
    checks = [check for leg in legs for check in leg.judgement.checks if check.metric]
    missed = [check.metric for check in checks if check.decides and not check.passed]
    metrics: dict[str, Metric] = {}
    for metric in (candidate for leg in legs if leg.result for candidate in leg.result.metrics):
        if metric.values or metric.id not in metrics:
            metrics[metric.id] = metric
    ids = dict.fromkeys([*missed, *(check.metric for check in checks), *metrics])
    ordered = [metrics[metric_id] for metric_id in ids if metric_id in metrics and metrics[metric_id].values]
    return tuple(
        Column(id=metric.id, name=one_line(metric.name, NAME), numeric=_is_numeric(metric))
        for metric in ordered[:MOST_COLUMNS]
    )


def _is_numeric(metric: Metric) -> bool:
    return all(isinstance(value, float) for value in metric.values.values())


def _changes(leg: LegReport) -> dict[tuple[str, str], str]:
    """Return how test cases changed since the baseline, by variant and id: worse, if any check is worse, or better."""
    changes: dict[tuple[str, str], str] = {}
    for check, failing, passing in leg.findings.flips:
        if reference_of(check) == "baseline":
            for case in passing:
                changes.setdefault((check.variant, case), "better")
            changes |= {(check.variant, case): "worse" for case in failing}
    return changes
