"""Each simulation in lines: what it missed, its values with what the judges said, and its last turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import number, one_line, plural, shortened
from coval_gate.base.units import value_text
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import MOST_TEST_CASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coval_gate.report.document.legs import Leg
    from coval_gate.report.document.simulations import MissFacts, SimulationFacts, TurnFacts

MOST_LINES: Final = 5  # criteria of a simulation
MOST_VALUES: Final = 12
LINE: Final = 300  # characters
LINE_OF_VALUES: Final = 500  # characters
NAME: Final = 60  # characters of a metric's name


def miss_lines(simulation: SimulationFacts, *, most: int = MOST_LINES) -> Iterator[str]:
    """Yield the criteria that a simulation missed, with its values and the judges' words; at last, how many more."""
    if simulation.trouble:
        yield _line(f"Did not complete: {simulation.error or simulation.status}")
    for miss, criterion in simulation.missed[:most]:
        yield _line(_miss_text(simulation, miss, criterion))
    if more := len(simulation.misses[most:]) + simulation.missed_criteria_left_out:
        yield f"… and {plural(more, 'more criterion', 'more criteria')}"


def case_lines(leg: Leg, simulation: SimulationFacts) -> list[str]:
    """Return what a simulation missed, and its values."""
    values = "; ".join(_values(leg, simulation))
    return [
        *miss_lines(simulation),
        *([_line(f"Values: {values}", LINE_OF_VALUES)] if values else []),
    ]


def turn_lines(turns: Sequence[TurnFacts]) -> list[str]:
    """Return turns, each with its time; the agent's answers also with the pause before them."""
    return [_line(_turn_text(turn)) for turn in turns]


def shown_value(value: float | str | list[str], unit: str = "") -> str:
    return value_text(frozenset(value) if isinstance(value, list) else value, unit)


def case_ids(simulations: Iterable[SimulationFacts]) -> tuple[str, ...]:
    """Return the distinct ids of the test cases, as far as `test_case_ids` accepts them."""
    ids = dict.fromkeys(simulation.test_case_id for simulation in simulations)
    return tuple(case_id for case_id in ids if IDENTIFIER.fullmatch(case_id))[:MOST_TEST_CASES]


def _miss_text(simulation: SimulationFacts, miss: MissFacts, criterion: str) -> str:
    text = " – ".join(filter(None, (one_line(simulation.title_of(criterion), LINE // 2), miss.here)))
    how = "Contributes to the miss of" if miss.verdict == "skipped" else "Missed"
    return f"{how} {text}{f'. Judge: {words}' if (words := simulation.why(miss.metric_id)) else ''}"


def _values(leg: Leg, simulation: SimulationFacts) -> Iterator[str]:
    values = [metric for metric in leg.metrics if metric.id in simulation.values]
    for metric in values[:MOST_VALUES]:
        yield f"{one_line(metric.name, NAME)} = {shown_value(simulation.values[metric.id], metric.unit)}"
    if (more := len(values) - MOST_VALUES) > 0:
        yield f"… and {more:,} more"


def _turn_text(turn: TurnFacts) -> str:
    at = f"[{turn.at}] " if turn.at else ""
    pause = "" if turn.latency is None else f" (after {number(round(turn.latency, 1))} s)"
    return f"{at}{turn.role}{pause}: {turn.text}"


def _line(text: str, limit: int = LINE) -> str:
    """Return `text` on one line of at most `limit` characters and twice as many bytes."""
    shown = one_line(text, limit)
    return shown if len(shown.encode("utf-8", "replace")) <= 2 * limit else shortened(shown, limit // 2)
