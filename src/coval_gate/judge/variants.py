"""The agent and each of its mutations, with the simulations they held and what is known of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.judge import targets
from coval_gate.model.results import BASE
from coval_gate.text import folded, number, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.model.results import Metric, RunResult, Simulation, Target, Value

VALUE_SHOWN: Final = 40  # characters of a value


@dataclass(frozen=True, slots=True)
class Variant:
    """The agent, or one of its mutations, with the simulations it held."""

    name: str
    simulations: tuple[Simulation, ...]
    completed: tuple[Simulation, ...]
    passing: frozenset[str]  # ids of those that completed and met every target that is known
    known: Mapping[int, Mapping[str, Value]]  # by the identity of a metric: its values by simulation id
    alone: bool  # whether there is no other

    @property
    def total(self) -> int:
        return len(self.simulations)

    @property
    def failed(self) -> int:
        return self.total - len(self.completed)

    @property
    def whom(self) -> str:
        """As it is told in a sentence; empty where there are no mutations."""
        if self.alone:
            return ""
        return f" for the mutation {self.name}" if self.name != BASE else " for the agent itself"

    def values(self, metric: Metric) -> Mapping[str, Value]:
        """The metric's values by simulation id; a simulation that failed has none, whatever Coval lists."""
        return self.known[id(metric)]


def variants_of(result: RunResult) -> list[Variant]:
    """The agent first, then its mutations by name."""
    dealt = result.variants
    variants = []
    for name, simulations in dealt.items():
        completed = tuple(each for each in simulations if each.completed)
        ids = [each.id for each in completed]
        known = {
            id(metric): {each: metric.values[each] for each in ids if each in metric.values}
            for metric in result.metrics
        }
        passing = set(ids)
        for metric in result.metrics:
            if metric.target is not None:
                passing &= _meeting(known[id(metric)], metric.target)
        variants.append(Variant(name, simulations, completed, frozenset(passing), known, alone=len(dealt) == 1))
    return variants


def equals(value: Value, wanted: str) -> bool:
    """Whether a value is `wanted`, as a number if both are numbers, otherwise in any capitals; a set if it holds it."""
    if isinstance(value, frozenset):
        return any(equals(member, wanted) for member in value)
    if isinstance(value, float):
        try:
            return value == float(wanted)
        except ValueError:
            return False
    return folded(value) == folded(wanted)


def show(value: Value) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def _meeting(values: Mapping[str, Value], target: Target) -> set[str]:
    """The simulations on which a metric meets its target; none where the target makes no sense."""
    if targets.problem(target):
        return set()
    return {each for each, value in values.items() if targets.meets(target, value)}
