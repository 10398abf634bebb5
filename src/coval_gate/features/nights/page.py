"""The page of a history: a chart of each threshold over time, and below them the test cases of every run.

It is as self-contained as the report, has the same style sheet, and needs no script.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from coval_gate.base.text import in_words, number, percent, plural, with_unit
from coval_gate.features.files.html import filled, icon_of, part
from coval_gate.features.files.html.plots import EDGE, HEIGHT, PLOT_WIDTH, Axis, PlottedMark, from_top, round_numbers
from coval_gate.features.nights.document import (
    HistoryCell,
    HistoryDocument,
    HistoryLeg,
    HistoryRun,
    HistoryThreshold,
    HistoryValue,
)
from coval_gate.report.charts import EXACT

PACKAGE: Final = "coval_gate.features.nights"
ICON: Final = ("#0969da", "M3.5 10.5l3-4 3 2.5 3-5")
TICKS: Final = 4  # values by which the axis chooses its numbers
CHARACTER: Final = 6  # width of a digit beside an axis
ROOM: Final = 64  # for the numbers beside an axis, at most


class NumberedChange(NamedTuple):
    """What is noted at a run. Places count from 0, numbers from 1."""

    place: int
    number: int
    run: HistoryRun
    text: str


def render(document: HistoryDocument) -> str:
    """Return the history as an HTML document, whose text is valid UTF-8."""
    return filled(
        part("history.html.j2", PACKAGE),
        style=part("report.css") + part("history.css", PACKAGE),
        icon=icon_of(*ICON),
        document=document,
        timeline=timeline,
        changes_of=changes_of,
        level=level,
        sign=sign,
    )


def changes_of(leg: HistoryLeg) -> dict[str, NumberedChange]:
    """Return by run id what changed, and which runs were accepted, numbered from the oldest on."""
    changes = dict[str, NumberedChange]()
    for place, run in enumerate(leg.runs):
        parts = ["accepted"] * run.accepted + [f"{in_words(run.changes)} changed"] * bool(run.changes)
        if parts:
            changes[run.id] = NumberedChange(place, len(changes) + 1, run, ", ".join(parts))
    return changes


def level(cell: HistoryCell) -> int:
    """Return how many of its conversations met, in steps: 0 for none, 4 for all."""
    return 0 if not cell.met else 4 if cell.met == cell.conversations else 1 + 3 * cell.met // cell.conversations


def sign(cell: HistoryCell) -> str:
    return ("✗", "✓")[cell.met] if cell.conversations == 1 else f"{cell.met:,}/{cell.conversations:,}"


class Dot(NamedTuple):
    """A run in a chart over time. `url`: empty where it has no page."""

    x: float
    y: float
    text: str
    url: str
    missed: bool
    is_baseline: bool


class Timeline(NamedTuple):
    """The values of a threshold, oldest first. `path`: their line, with a gap where a run has none.

    `ticks`: of the axis, which is `left` from the side; `bound`: the place of the bound from above, if it is a number;
    `places`: of all runs, from the side.
    """

    dots: tuple[Dot, ...]
    path: str
    bound: float | None
    left: float
    ticks: tuple[PlottedMark, ...]
    places: tuple[float, ...]
    text: str


def timeline(threshold: HistoryThreshold, runs: Sequence[HistoryRun]) -> Timeline | None:
    """Return the values of a threshold over these runs; None if there are none."""
    numbers = {at: one.value for at, one in enumerate(threshold.values) if one and one.value is not None}
    if not numbers:
        return None
    bounds = [bound for bound in (threshold.bound,) if bound is not None and math.isfinite(bound)]
    axis = round_numbers([*numbers.values(), *bounds], TICKS)
    whole = [tick for tick in axis if threshold.unit != "simulations" or tick == round(tick)]
    ticks = {tick: _tick_text(threshold, tick) for tick in whole or axis}
    left = min(ROOM, CHARACTER * max(map(len, ticks.values())) + EDGE)
    across = Axis(0.0, float(len(runs) - 1), left + EDGE, PLOT_WIDTH - left - 2 * EDGE)
    up = Axis(axis[0], axis[-1], EDGE, HEIGHT - 2 * EDGE)
    dots = {
        at: _dot(runs[at], threshold.values[at], across.place(at), from_top(up.place(height)))
        for at, height in numbers.items()
    }
    missed = "" if threshold.bound is None else f", missed in {sum(dot.missed for dot in dots.values()):,}"
    return Timeline(
        dots=tuple(dots.values()),
        path="".join(f"{'L' if at - 1 in dots else 'M'}{dot.x:g},{dot.y:g}" for at, dot in dots.items()),
        bound=next((from_top(up.place(bound)) for bound in bounds), None),
        left=left,
        ticks=tuple(PlottedMark(from_top(up.place(tick)), text) for tick, text in ticks.items()),
        places=tuple(across.place(at) for at in range(len(runs))),
        text=f"{plural(len(dots), 'run')}{missed}; the last is the {dots[max(dots)].text}",
    )


def _tick_text(threshold: HistoryThreshold, tick: float) -> str:
    return percent(tick) if threshold.unit == "share" else with_unit(number(tick, EXACT), threshold.sign)


def _dot(run: HistoryRun, value: HistoryValue | None, x: float, y: float) -> Dot:
    missed = value is not None and value.met is False
    notes = in_words([*["baseline"] * run.is_baseline, *["accepted"] * run.accepted])
    words = f"run of {run.day or 'an unknown day'}{f' ({notes})' if notes else ''}: {value.text if value else ''}"
    return Dot(x, y, f"{words}{', missed' * missed}", run.url, missed, run.is_baseline)
