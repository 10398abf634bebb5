"""The agent and each of its mutations, with the simulations they held and what is known of them. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from coval_gate.judge import targets
from coval_gate.judge.sample import Sample
from coval_gate.model.results import BASE, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from coval_gate.model.results import Metric, RunResult, Simulation, Value


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The agent (`name` is BASE) or one of its mutations, with the simulations it held and a sample of each metric.

    `passing`: the ids of the simulations that completed and met every target that is known. `unlisted`: how many more
    simulations it must have, which Coval does not list. `alone`: whether the run has no other variant. `even`: whether
    each test case weighs the same, however many simulations it has.
    """

    name: str
    simulations: tuple[Simulation, ...]
    completed: tuple[Simulation, ...]
    passing: frozenset[str]
    samples: tuple[Sample, ...]
    alone: bool
    unlisted: int = 0
    even: bool = False

    @property
    def total(self) -> int:
        """How many simulations it must have."""
        return len(self.simulations) + self.unlisted

    @property
    def failed(self) -> int:
        """How many simulations did not complete, or are not listed."""
        return self.total - len(self.completed)

    @property
    def mutation_id(self) -> str:
        """The id of the mutation; empty for the agent itself, and where it is not known."""
        return self.simulations[0].mutation_id if self.simulations else ""

    @cached_property
    def by_case(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of the simulations by test case, "" for those whose test case is not known; in order of the ids."""
        found: dict[str, list[str]] = defaultdict(list)
        for simulation in self.simulations:
            found[simulation.test_case_id].append(simulation.id)
        return {case: tuple(found[case]) for case in sorted(found)}

    @property
    def cases(self) -> Set[str]:
        return self.by_case.keys()

    def sample(self, metric: Metric) -> Sample:
        """Return the values of the metric with the id of `metric`, which the run must have."""
        return next(sample for sample in self.samples if sample.metric.id == metric.id)

    def cases_with(self, metric: Metric) -> frozenset[str]:
        """Return the test cases on which the metric has a value."""
        values = self.sample(metric).values
        return frozenset(simulation.test_case_id for simulation in self.simulations if simulation.id in values)

    def numbers(self, metric: Metric) -> dict[str, list[float]]:
        """Return the numbers that the metric has on each test case, of those that have some."""
        values = self.sample(metric).values
        found = {
            case: [value for each in ids if isinstance(value := values.get(each), float)]
            for case, ids in self.by_case.items()
        }
        return {case: numbers for case, numbers in found.items() if numbers}

    def of_cases(self, cases: Set[str]) -> Variant:
        """Return the variant as if the run had these test cases only."""
        return self._only(lambda each: each.test_case_id in cases)

    def comparable(self, cases: Set[str]) -> Variant:
        """Return the variant as if the run had these test cases only, each of which weighs the same."""
        return replace(self.of_cases(cases), even=True)

    def _only(self, wanted: Callable[[Simulation], bool]) -> Variant:
        simulations = tuple(simulation for simulation in self.simulations if wanted(simulation))
        if len(simulations) == self.total:
            return self
        ids = dict.fromkeys(simulation.id for simulation in simulations)
        return replace(
            self,
            simulations=simulations,
            completed=tuple(each for each in self.completed if each.id in ids),
            passing=frozenset(each for each in self.passing if each in ids),
            unlisted=0,  # which test cases they belong to is not known
            samples=tuple(_sample(sample.metric, sample.values, ids, len(simulations)) for sample in self.samples),
        )


def same_variant(own: Variant, earlier: Sequence[Variant]) -> Variant | None:
    """Return what a variant is in an earlier run: by the mutation's id where it is known, otherwise by its name."""
    same = [each for each in earlier if own.mutation_id and each.mutation_id == own.mutation_id]
    return next(iter(same or [each for each in earlier if each.name == own.name]), None)


def pooled(results: Sequence[RunResult]) -> RunResult:
    """Return several runs as if they were one, with all of their simulations, which have unique ids.

    A metric has the name and the target of the first run that has it. Summaries of several runs do not make one.
    """
    metrics: dict[str, Metric] = {}
    for metric in (each for result in results for each in result.metrics):
        known = metrics.setdefault(metric.id, metric)
        if known is not metric:
            has_summary = known.summary is not None or metric.summary is not None
            metrics[metric.id] = known._replace(
                values={**known.values, **metric.values},
                summary=Summary() if has_summary else None,
                is_identified=known.is_identified and metric.is_identified,
            )
    return results[0]._replace(
        expected=sum(result.expected for result in results),
        reported_error=next((result.reported_error for result in results if result.reported_error), ""),
        simulations=tuple(simulation for result in results for simulation in result.simulations),
        metrics=tuple(metrics.values()),
        absent_metrics=tuple(
            dict.fromkeys(absent_metric for result in results for absent_metric in result.absent_metrics)
        ),
        settled=all(result.settled for result in results),
    )


def variants_of(result: RunResult, mutations: int = 0) -> tuple[Variant, ...]:
    """Return the agent first, then its mutations by name.

    `mutations`: how many the run was launched with, if that is known. Of a run without any listed simulation, the
    agent stands for all that are not listed.
    """
    dealt = result.variants or ({BASE: ()} if result.expected else {})
    lacking = result.expected > len(result.simulations)
    expected = math.ceil(result.expected / max(1 + mutations, len(dealt))) if lacking else 0
    return tuple(
        _variant(name, members, result, alone=len(dealt) == 1, unlisted=max(0, expected - len(members)))
        for name, members in dealt.items()
    )


def _variant(
    name: str, simulations: tuple[Simulation, ...], result: RunResult, *, alone: bool, unlisted: int
) -> Variant:
    completed = tuple(simulation for simulation in simulations if simulation.completed)
    ids = dict.fromkeys(each.id for each in completed)
    total = len(simulations) + unlisted
    samples = tuple(_sample(metric, metric.values, ids, total) for metric in result.metrics)
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
        unlisted=unlisted,
    )


def _sample(metric: Metric, values: Mapping[str, Value], ids: Mapping[str, None], total: int) -> Sample:
    if not values.keys() <= ids.keys():  # otherwise they are shared, which saves memory on large runs
        values = {each: values[each] for each in ids if each in values}
    return Sample(metric=metric, values=values, total=total)


def _meeting(sample: Sample) -> set[str]:
    """Return the simulations on which a metric meets its target; none where nothing can."""
    target = sample.metric.target
    if target is None or targets.problem(target) or sample.target_obstacle(targets.named_values(target)):
        return set()
    return {each for each, value in sample.values.items() if targets.meets(target, value)}
