"""A simulation that failed, in lines: what it missed, its values, and what was said last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.checks import check_text, here_text
from coval_gate.report.wording.clauses import value_text
from coval_gate.text import number, one_line, plural, shortened, stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coval_gate.model.details import Turn
    from coval_gate.report.model import LegReport
    from coval_gate.report.simulations import Miss, SimulationRow

MOST_MISSES: Final = 5  # criteria of a simulation
MOST_VALUES: Final = 12
MOST_TURNS: Final = 6  # the last ones
LINE: Final = 300  # characters
LINE_OF_VALUES: Final = 500  # characters
NAME: Final = 60  # characters of a metric's name


def failing(rows: Iterable[SimulationRow]) -> list[SimulationRow]:
    """Return the rows of the simulations that are to blame, in their order."""
    return [row for row in rows if row.verdict in (Verdict.FAILED, Verdict.ERROR)]


def miss_lines(row: SimulationRow, *, most: int = MOST_MISSES) -> Iterator[str]:
    """Yield what a simulation missed, each with its own value and the judge's words; how many more there are."""
    if row.trouble:
        yield _line(f"Did not complete: {row.simulation.error or row.simulation.status}")
    for miss in row.misses[:most]:
        yield _line(_miss_text(miss, row))
    if more := len(row.misses[most:]) + row.more_misses:
        yield f"… and {plural(more, 'more criterion', 'more criteria')}"


def case_lines(leg: LegReport, row: SimulationRow) -> list[str]:
    """Return what a simulation missed, and its values."""
    values = "; ".join(_values(leg, row))
    return [*miss_lines(row), *([_line(f"Values: {values}", LINE_OF_VALUES)] if values else [])]


def turn_lines(turns: Sequence[Turn]) -> list[str]:
    """Return the last turns of a conversation, each with its time and, of the agent's, how long it let wait."""
    pairs = list(zip([None, *turns], turns, strict=False))
    return [_line(_turn_text(earlier, turn)) for earlier, turn in pairs[-MOST_TURNS:]]


def _miss_text(miss: Miss, row: SimulationRow) -> str:
    what = " – ".join(filter(None, (one_line(check_text(miss.check), LINE // 2), here_text(miss))))
    return f"Missed {what}{f'. Judge: {words}' if (words := row.texts.get(miss.check.metric)) else ''}"


def _values(leg: LegReport, row: SimulationRow) -> Iterator[str]:
    metrics = leg.result.metrics if leg.result else ()
    found = [
        (metric.name, metric.values[row.simulation.id]) for metric in metrics if row.simulation.id in metric.values
    ]
    for name, value in found[:MOST_VALUES]:
        yield f"{one_line(name, NAME)} = {value_text(value)}"
    if (more := len(found) - MOST_VALUES) > 0:
        yield f"… and {more:,} more"


def _turn_text(earlier: Turn | None, turn: Turn) -> str:
    at = "" if turn.start is None else f"[{stopwatch(turn.start)}] "
    waited = ""
    if turn.role == "agent" and earlier and turn.start is not None and earlier.end is not None:
        waited = f" (after {number(round(max(0.0, turn.start - earlier.end), 1))} s)"
    return f"{at}{turn.role}{waited}: {turn.text}"


def _line(text: str, limit: int = LINE) -> str:
    """Return `text` on one line of at most `limit` characters, and of twice as many bytes."""
    shown = one_line(text, limit)
    return shown if len(shown.encode("utf-8", "replace")) <= 2 * limit else shortened(shown, limit // 2)
