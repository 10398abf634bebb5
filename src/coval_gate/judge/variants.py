"""The agent and each of its mutations, with the simulations they held and what is known of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coval_gate.judge import targets
from coval_gate.judge.sample import Sample

if TYPE_CHECKING:
    from coval_gate.model.results import Metric, RunResult, Simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The agent (`name` is BASE) or one of its mutations, with the simulations it held and a sample of each metric.

    `passing`: the ids of the simulations that completed and met every target that is known. `alone`: whether the run
    has no other variant.
    """

    name: str
    simulations: tuple[Simulation, ...]
    completed: tuple[Simulation, ...]
    passing: frozenset[str]
    samples: tuple[Sample, ...]
    alone: bool

    @property
    def total(self) -> int:
        return len(self.simulations)

    @property
    def failed(self) -> int:
        """How many simulations did not complete."""
        return self.total - len(self.completed)

    def sample(self, metric: Metric) -> Sample:
        """Return the metric's values on this variant's simulations; `metric` must be one of the run's own."""
        return next(each for each in self.samples if each.metric is metric)


def variants_of(result: RunResult) -> tuple[Variant, ...]:
    """Return the agent first, then its mutations by name."""
    dealt = result.variants
    return tuple(_variant(name, members, result, alone=len(dealt) == 1) for name, members in dealt.items())


def _variant(name: str, simulations: tuple[Simulation, ...], result: RunResult, *, alone: bool) -> Variant:
    completed = tuple(each for each in simulations if each.completed)
    ids = dict.fromkeys(each.id for each in completed)
    samples = tuple(_sample(metric, ids, len(simulations)) for metric in result.metrics)
    passing = set(ids)
    for sample in samples:
        if sample.metric.target is not None:
            passing &= _meeting(sample)
    return Variant(
        name=name,
        simulations=simulations,
        completed=completed,
        passing=frozenset(passing),
        samples=samples,
        alone=alone,
    )


def _sample(metric: Metric, ids: dict[str, None], total: int) -> Sample:
    values = metric.values
    if not values.keys() <= ids.keys():  # otherwise they are shared, which saves memory on large runs
        values = {each: values[each] for each in ids if each in values}
    return Sample(metric=metric, values=values, total=total)


def _meeting(sample: Sample) -> set[str]:
    """Return the simulations on which a metric meets its target; none where nothing can."""
    target = sample.metric.target
    if target is None or targets.problem(target) or sample.obstacle(targets.named_values(target)):
        return set()
    return {each for each, value in sample.values.items() if targets.meets(target, value)}
