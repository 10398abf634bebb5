"""The table of all simulations in the HTML report: by leg and test case, a row and the details of each. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import number, one_line, plural, stopwatch
from coval_gate.judge.cause import SHOWN_FIRST
from coval_gate.judge.clauses import named_with_unit, stability_text, value_text
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE
from coval_gate.report.formats.digest import prompt_of
from coval_gate.report.limits import (
    LONGEST_TEXT,
    LONGEST_TURN,
    MISSES_ROOM,
    MOST_COLUMNS,
    MOST_PROMPTS,
    MOST_TABLE_ROWS,
    MOST_VALUES,
    TEXTS_ROOM,
    TRANSCRIPTS_ROOM,
)
from coval_gate.report.metrics import variant_key
from coval_gate.report.provenance import USUAL_ID
from coval_gate.report.wording.causes import counts_text
from coval_gate.report.wording.checks import here_text, mention

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from coval_gate.judge.findings import Miss
    from coval_gate.model.results import Metric, Turn, Value
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

WEB: Final = re.compile(r"https?://[!-~]+")  # without spaces, control characters and lookalikes
NAME: Final = 200  # characters of a name
LABEL: Final = 40  # characters of a name that each row repeats
BAR: Final = 100  # width of the longest latency
CONTRIBUTES: Final = "contributes"  # the word of a row that only contributes to an average
OF_CASE: Final = "its test case fails now"
FLIPS: Final = {"worse": "fails now", "tolerated": "fails now, tolerated", "better": "passes now"}
WORDS: Final = {Verdict.SKIPPED: "tolerated"}  # of a row; others have the verdict's own word


class Column(NamedTuple):
    """`label` names the values where a narrow screen has no columns."""

    id: str
    name: str
    label: str
    numeric: bool


class Cell(NamedTuple):
    """The value of a column's metric; empty if there is none. `missed`: it misses a criterion."""

    text: str
    missed: bool


class MissView(NamedTuple):
    """`here`: the simulation's value; `why`: the judge's explanation."""

    criterion: str
    here: str
    why: str


class ValueView(NamedTuple):
    """`text`: the judge's explanation; `criteria`: the first ones that the value misses."""

    name: str
    value: str
    text: str
    missed: bool
    criteria: tuple[str, ...]


class TurnView(NamedTuple):
    """`at`: since the conversation began; `latency`: the pause before the agent's answer."""

    role: str
    text: str
    at: str
    latency: str
    bar: float


class Conversation(NamedTuple):
    turns: tuple[TurnView, ...]
    left_out: str


class RowView(NamedTuple):
    """`place` counts from the worst; `anchor` is the address on the page; `change` is since the baseline.

    `run_url` is only set where `url` is unknown. `misses` are the first ones; `general` are those without a metric.
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
    run_url: str
    stability: str
    flaky: bool
    change: str
    cause: str = ""
    misses: tuple[MissView, ...] = ()
    general: tuple[str, ...] = ()
    more_misses: int = 0
    cells: tuple[Cell, ...] = ()
    values: tuple[ValueView, ...] = ()
    conversation: Conversation | None = None
    prompt: str = ""
    status: str = ""

    @property
    def flip(self) -> str:
        """The change in words. A test case fails where most of its simulations do, so that one of them may pass."""
        return OF_CASE if self.change == "worse" and self.verdict == Verdict.PASSED else FLIPS.get(self.change, "")

    @property
    def explained(self) -> bool:
        return any(value.text or value.criteria for value in self.values)


class Source(NamedTuple):
    """`place`: among the leg's rows."""

    row: SimulationRow
    leg: LegReport
    place: int


class Room(NamedTuple):
    """The room of each row: characters of explanations, missed criteria, characters of a transcript."""

    texts: int
    misses: int
    transcript: int


def row_view(
    report: Report,
    source: Source,
    columns: Sequence[Column],
    changes: Mapping[tuple[str, str], str],
    place: int,
    anchor: str,
    leg_key: str,
    room: Room,
) -> RowView:
    row, leg = source.row, source.leg
    simulation = row.simulation
    metrics = leg.result.metrics if leg.result else ()
    values = {metric.id: metric.values[simulation.id] for metric in metrics if simulation.id in metric.values}
    misses = row.misses[: room.misses]
    missed = _missed(misses)
    blamed = {miss.check.metric for miss in row.misses}
    ids = {metric.id for metric in metrics}
    turns = leg.details.transcripts.get(simulation.id, ())
    texts = dict(_texts(row, blamed, room.texts))
    return RowView(
        place=place,
        anchor=anchor,
        id=one_line(simulation.id, NAME),
        verdict=row.verdict.value,
        word=_word(row),
        name=one_line(row.name, NAME),
        iteration=f"{row.iteration} of {row.of}" if row.of > 1 else "",
        case=f"{leg_key} {one_line(simulation.test_case_id or simulation.id, NAME)}",
        variant=one_line(variant_key(simulation.mutation), NAME),
        leg=one_line(leg.name, NAME),
        trouble=one_line(row.trouble),
        url=web_address(row.url),
        run_url="" if row.url else web_address(leg.run_pages.get(simulation.run_id, "")),
        stability=stability_text(row.stability) if row.stability else "",
        flaky=bool(row.stability and row.stability.is_flaky),
        cause=row.cause or "",
        change=changes.get((simulation.mutation, simulation.test_case_id), ""),
        misses=tuple(
            MissView(
                criterion=one_line(mention(miss.check.criterion), NAME),
                here=here_text(miss),
                why=texts.get(miss.check.metric, ""),
            )
            for miss in misses
        ),
        general=tuple(criterion for metric, criteria in missed.items() if metric not in ids for criterion in criteria),
        more_misses=row.more_misses + len(row.misses) - len(misses),
        cells=tuple(
            Cell(value_text(values[column.id]) if column.id in values else "", column.id in blamed)
            for column in columns
        ),
        values=tuple(_values(metrics, values, texts, missed, blamed)),
        conversation=conversation(turns, room.transcript),
        prompt=prompt_of(report, leg, row) if place < MOST_PROMPTS and row.verdict is not Verdict.PASSED else "",
        status=one_line(simulation.status, NAME),
    )


def _word(row: SimulationRow) -> str:
    return CONTRIBUTES if row.contributes else WORDS.get(row.verdict, row.verdict.value)


def _missed(misses: Sequence[Miss]) -> dict[str, tuple[str, ...]]:
    """Return criteria by the id of their metric, which is empty without one."""
    by_metric: dict[str, list[str]] = {}
    for miss in misses:
        by_metric.setdefault(miss.check.metric, []).append(one_line(mention(miss.check.criterion), NAME))
    return {metric: tuple(criteria) for metric, criteria in by_metric.items()}


def _texts(row: SimulationRow, missed: Container[str], room: int) -> Iterator[tuple[str, str]]:
    """Yield explanations by metric id, those of missed criteria first, until the room is used up."""
    for metric in sorted(row.reasons, key=lambda metric: metric not in missed):
        if room <= 1:
            return
        text = one_line(row.reasons[metric], min(LONGEST_TEXT, room))
        room -= len(text)
        if text:
            yield metric, text


def _values(
    metrics: Sequence[Metric],
    values: Mapping[str, Value],
    texts: Mapping[str, str],
    missed: Mapping[str, tuple[str, ...]],
    blamed: Container[str],
) -> Iterator[ValueView]:
    """Yield at most MOST_VALUES values; those of missed criteria come first."""
    shown = sorted(
        (
            candidate
            for candidate in metrics
            if candidate.id in values or candidate.id in texts or candidate.id in blamed
        ),
        key=lambda candidate: candidate.id not in blamed,
    )
    for metric in shown[:MOST_VALUES]:
        yield ValueView(
            name=one_line(metric.name, NAME),
            value=value_text(values[metric.id], metric.unit) if metric.id in values else "no value",
            text=texts.get(metric.id, ""),
            missed=metric.id in blamed,
            criteria=missed.get(metric.id, ()),
        )


def conversation(turns: Sequence[Turn], room: int) -> Conversation | None:
    """Return as many of the last turns as the room (in characters) allows; None without turns."""
    if not turns:
        return None
    latencies = list(_latencies(turns))
    longest = max((seconds for seconds in latencies if seconds is not None), default=0.0)
    shown = [_turn(turn, latency, longest) for turn, latency in zip(turns, latencies, strict=True)]
    first = len(shown)
    while first and (first == len(shown) or len(shown[first - 1].text) <= room):
        first -= 1
        room -= len(shown[first].text)
    return Conversation(turns=tuple(shown[first:]), left_out=plural(first, "earlier turn") if first else "")


def _latencies(turns: Sequence[Turn]) -> Iterator[float | None]:
    """Yield how many seconds the agent took to answer; None where it does not answer, or the times are unknown."""
    before: Turn | None = None
    for turn in turns:
        answers = before is not None and before.role == "persona" and turn.role == "agent"
        is_timed = answers and turn.start is not None and before is not None and before.end is not None
        yield max(0.0, (turn.start or 0.0) - (before.end or 0.0)) if is_timed and before else None
        before = turn


def _turn(turn: Turn, latency: float | None, longest: float) -> TurnView:
    return TurnView(
        role=turn.role,
        text=one_line(turn.text, LONGEST_TURN),
        at="" if turn.start is None else stopwatch(turn.start),
        latency="" if latency is None else f"{number(latency)} s",
        bar=round(BAR * latency / longest, 1) if latency and longest else 0.0,
    )


def web_address(url: str) -> str:
    """Return a web address unchanged; empty for anything else, such as a script."""
    return url if WEB.fullmatch(url) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of a leg by test case, those with the worst row first. `token` filters for the leg."""

    key: str
    name: str
    token: str
    cases: Mapping[str, tuple[RowView, ...]]

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.cases.values())


class TableView(NamedTuple):
    """The simulations that are shown, the worst first. `counts`: of each word; `counts_of_causes`: of test cases.

    `sections`: the same rows by leg, the leg with the worst row first. `groups`: whether a test case has several rows.
    """

    columns: tuple[Column, ...]
    rows: tuple[RowView, ...]
    total: int
    counts: Mapping[str, int]
    causes: Mapping[str, int]
    counts_of_causes: str
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
    words = [_word(source.row) for source in sources]
    causes = Counter(source.row.cause for source in sources)
    return TableView(
        columns=columns,
        rows=rows,
        total=len(sources),
        counts={word: words.count(word) for word in dict.fromkeys(words)},
        causes={cause.value: causes[cause] for cause in SHOWN_FIRST if cause and causes[cause]},
        counts_of_causes=one_line(counts_text((source.row, source.leg) for source in sources), NAME),
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
        Column(
            id=metric.id,
            name=one_line(named_with_unit(metric.name, metric.unit if _is_numeric(metric) else ""), NAME),
            label=one_line(metric.name, LABEL),
            numeric=_is_numeric(metric),
        )
        for metric in ordered[:MOST_COLUMNS]
    )


def _is_numeric(metric: Metric) -> bool:
    return all(isinstance(value, float) for value in metric.values.values())


def _changes(leg: LegReport) -> dict[tuple[str, str], str]:
    """Return a key of FLIPS by variant and test case: the gravest of any check. One that passes tolerates its flips."""
    changes: dict[tuple[str, str], str] = {}
    flips = [flip for flip in leg.findings.flips if flip.check.reference in ("baseline", "base_agent")]
    for check, failing, passing in sorted(flips, key=lambda flip: not flip.check.passed):
        for case in passing:
            changes.setdefault((check.variant, case), "better")
        changes |= {(check.variant, case): "tolerated" if check.passed else "worse" for case in failing}
    return changes
