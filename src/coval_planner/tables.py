"""The tables of docs/planning.md: how many test cases common thresholds need, at a confidence of 95 %."""

from collections.abc import Iterator
from random import Random
from typing import Final

from coval_gate.base.text import percent
from coval_gate.gate.claims import MOST_CASES
from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_planner.passing import cases_to_pass
from coval_planner.power import Agents, Level, cases_to_decide

CONFIDENCE: Final = 0.95
ICC: Final = 0.3  # of the variance is due to the test case
SEED: Final = 1  # of the simulated runs; always the same
BOUNDS: Final = (0.8, 0.9, 0.95)
MARGINS: Final = (0.25, 0.5, 0.75, 0.9)  # of the misses that a bound allows, fewer are true
BEFORE: Final = (0.99, 0.95, 0.9, 0.8)
DROPS: Final = (0.1, 0.15, 0.2, 0.3)
RATE: Final = "metric: rate(YES) >= baseline - 5pp"
AVERAGE: Final = "metric: avg <= baseline * 1.1"
SPREADS: Final = (0.25, 0.5, 1.0)  # standard deviation of the values, as a share of their mean
GROWTHS: Final = (0.15, 0.2, 0.3, 0.5)


def passing() -> str:
    """Return how many test cases an agent needs to pass a bound on a rate, by its true rate."""
    rows = []
    for bound in BOUNDS:
        truths = [1.0 - (1.0 - bound) * (1.0 - margin) for margin in MARGINS]
        cells = [f"{_counted(cases_to_pass(bound, truth, CONFIDENCE))} at {percent(truth)}" for truth in truths]
        rows.append([f"`rate(YES) >= {percent(bound)}`", *cells])
    return _table(["threshold", *(f"{percent(margin)} fewer misses" for margin in MARGINS)], rows)


def rates(befores: tuple[float, ...] = BEFORE, drops: tuple[float, ...] = DROPS) -> str:
    """Return how many test cases notice a drop of a rate. This simulates runs for a minute or more."""
    rows = [[percent(before), *(_noticing(RATE, before, before - drop) for drop in drops)] for before in befores]
    return _table(["true rate before", *(f"drops by {100 * drop:g}pp" for drop in drops)], rows)


def averages() -> str:
    """Return how many test cases notice the growth of an average."""
    rows = [
        [percent(spread), *(_noticing(AVERAGE, 1.0, 1.0 + growth, spread) for growth in GROWTHS)] for spread in SPREADS
    ]
    return _table(["spread of the values", *(f"grows by {percent(growth)}" for growth in GROWTHS)], rows)


def everything() -> Iterator[str]:
    """Yield all tables, each with a line that says what it shows; the last one takes long."""
    yield f"Test cases to pass a bound on a rate, by the agent's true rate:\n\n{passing()}"
    yield f"Test cases to notice the growth of an average, for `{AVERAGE}`:\n\n{averages()}"
    yield f"Test cases to notice the drop of a rate, for `{RATE}`:\n\n{rates()}"


def _noticing(text: str, before: float, now: float, spread: float = 0.0) -> str:
    agents = Agents(before, now, ICC, spread=spread)
    return _counted(cases_to_decide(_threshold(text), agents, Level(CONFIDENCE), lambda: Random(SEED)))  # noqa: S311


def _threshold(text: str) -> Threshold:
    (threshold,) = parse_thresholds(text)
    return threshold


def _counted(cases: int | None) -> str:
    return f"{cases:,}" if cases else f"> {MOST_CASES:,}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
