"""A metric on the simulations of one variant, in a few numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.judge import statistics
from coval_gate.text import one_line

if TYPE_CHECKING:
    from coval_gate.model.results import Metric, Simulation

AGENT: Final = "agent"  # what stands for the agent itself among its mutations
MUTATION: Final = " (mutation)"  # what tells a mutation of that name from it
TEXT_SHOWN: Final = 100  # characters of a text
MOST_TEXTS: Final = 20  # different texts of one metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What many numbers amount to, in the metric's unit; `stdev`, `median` and `p95` need single values."""

    mean: float | None
    stdev: float | None = None
    min: float | None
    median: float | None = None
    p95: float | None = None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`count` simulations have a value, `missing` have none; `texts` says how often each occurs, most often first."""

    count: int
    missing: int
    numbers: Numbers | None = None
    texts: tuple[tuple[str, int], ...] = ()


def figures(metric: Metric, simulations: tuple[Simulation, ...]) -> Figures:
    """The metric on these simulations; one that failed has no value, whatever Coval lists."""
    values = [metric.values[each.id] for each in simulations if each.completed and each.id in metric.values]
    numbers = [value for value in values if isinstance(value, float)]
    texts = Counter(
        one_line(text, TEXT_SHOWN)
        for value in values
        if not isinstance(value, float)
        for text in (value if isinstance(value, frozenset) else (value,))
    )
    return Figures(
        count=len(values),
        missing=len(simulations) - len(values),
        numbers=_numbers(numbers) if numbers else _summary(metric),
        # Sets have no order of their own; a tie must not make two equal runs differ.
        texts=tuple(sorted(texts.items(), key=lambda item: (-item[1], item[0]))[:MOST_TEXTS]),
    )


def variant_key(variant: str) -> str:
    """A variant's name where the agent itself needs one, too; no two variants have the same."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def numbers_of(metric: Metric, simulations: tuple[Simulation, ...]) -> list[float]:
    """The metric's numbers on these simulations, in ascending order."""
    values = (metric.values.get(each.id) for each in simulations if each.completed)
    return sorted(value for value in values if isinstance(value, float))


def _numbers(numbers: list[float]) -> Numbers:
    numbers.sort()
    return Numbers(
        mean=statistics.mean(numbers),
        stdev=statistics.spread(numbers),
        min=numbers[0],
        median=statistics.median(numbers),
        p95=statistics.percentile(numbers, 95),
        max=numbers[-1],
    )


def _summary(metric: Metric) -> Numbers | None:
    """What an older shape of the API says, about all variants together."""
    if metric.summary is None:
        return None
    return Numbers(mean=metric.summary.mean, min=metric.summary.min, max=metric.summary.max)
