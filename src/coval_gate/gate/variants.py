"""The agent and each of its mutations, with their simulations and the values of each metric. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from coval_gate.base.text import one_line
from coval_gate.coval.model import BASE, Metric, RunResult, Simulation, Summary, Value
from coval_gate.gate.values import (
    TEXT_SHOWN,
    Vocabulary,
    equals,
    impossible,
    is_named,
    meets,
    named_values,
    target_problem,
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Values by simulation id; a failed simulation has none, even if Coval lists one. `numbers` ascend."""

    metric: Metric
    values: Mapping[str, Value]
    total: int

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> int:
        return self.total - len(self.values)

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        return tuple(sorted(value for value in self.values.values() if isinstance(value, float)))

    @cached_property
    def texts(self) -> tuple[tuple[str, int], ...]:
        """How often each text occurs, also within sets: the most frequent first."""
        values = Counter(value for value in self.values.values() if not isinstance(value, float))
        texts: Counter[str] = Counter()
        for text_or_set, count in values.items():
            for text in text_or_set if isinstance(text_or_set, frozenset) else (text_or_set,):
                texts[one_line(text, TEXT_SHOWN)] += count
        # Sets have no order; ties are sorted, so equal runs have equal reports.
        return tuple(sorted(texts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def others(self) -> frozenset[str | frozenset[str]]:
        return frozenset(value for value in self.values.values() if not isinstance(value, float))

    @cached_property
    def magnitude(self) -> float:
        return max(map(abs, self.numbers[:1] + self.numbers[-1:]), default=0.0) or 1.0

    def having(self, wanted: tuple[str, ...]) -> frozenset[str]:
        # Thousands of values have few distinct ones.
        hits = {value for value in set(self.values.values()) if any(equals(value, text) for text in wanted)}
        return frozenset(simulation for simulation, value in self.values.items() if value in hits)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of all variants."""
        return Vocabulary.of(self.metric)

    @cached_property
    def farthest(self) -> float:
        """The number of all variants that is farthest from 0; 0 if there is none."""
        return max(self.metric.numbers, key=abs, default=0.0)

    def impossible(self, wanted: Sequence[str]) -> tuple[str, ...]:
        return impossible((*self.numbers[:1], *self.others), wanted)

    def can_be_any_of(self, wanted: Sequence[str]) -> bool:
        if self.impossible(wanted):
            return False
        unknown = self.vocabulary.impossible(wanted)
        return not unknown or any(is_named(text) for text in wanted if text not in unknown)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The agent (`name` is BASE) or one of its mutations.

    `passing`: ids of those that completed and met every known target. `unlisted`: how many more simulations it must
    have. `alone`: the run has no other variant. `even`: each test case weighs the same, whatever its simulations.
    `known`: how many more simulations known failures leave out.
    """

    name: str
    simulations: tuple[Simulation, ...]
    completed: tuple[Simulation, ...]
    passing: frozenset[str]
    samples: tuple[Sample, ...]
    alone: bool
    unlisted: int = 0
    even: bool = False
    known: int = 0

    __hash__ = object.__hash__  # for caches

    @property
    def total(self) -> int:
        return len(self.simulations) + self.unlisted

    @property
    def failed(self) -> int:
        return self.total - len(self.completed)

    @property
    def mutation_id(self) -> str:
        return self.simulations[0].mutation_id if self.simulations else ""

    @cached_property
    def by_case(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of the simulations by test case, in order of the test cases' ids; "" is an unknown test case."""
        members: dict[str, list[str]] = defaultdict(list)
        for simulation in self.simulations:
            members[simulation.test_case_id].append(simulation.id)
        return {case: tuple(members[case]) for case in sorted(members)}

    @cached_property
    def by_run(self) -> Mapping[str, Mapping[str, list[Simulation]]]:
        """The simulations by test case and run; all runs are "" unless several are pooled."""
        members: dict[str, dict[str, list[Simulation]]] = defaultdict(lambda: defaultdict(list))
        for simulation in self.simulations:
            members[simulation.test_case_id][simulation.run_id].append(simulation)
        return members

    @property
    def cases(self) -> Set[str]:
        return self.by_case.keys()

    def single_runs(self) -> list["Variant"]:
        """Return the variant in each of its pooled runs that has every test case."""
        ids = dict.fromkeys(simulation.run_id for simulation in self.simulations)
        runs = (self._having(tuple(one for one in self.simulations if one.run_id == id_)) for id_ in ids)
        return [run for run in runs if run.cases == self.cases]

    def sample(self, metric: Metric | None) -> Sample:
        """Return the values of the metric with the id of `metric`, which the run must have."""
        return next(sample for sample in self.samples if metric and sample.metric.id == metric.id)

    def find_sample(self, metric_id: str) -> Sample | None:
        return next((sample for sample in self.samples if sample.metric.id == metric_id), None)

    def without_value(self, metric: Metric | None) -> list[str]:
        values = self.sample(metric).values
        return [simulation.id for simulation in self.simulations if simulation.id not in values]

    def numbers(self, metric: Metric | None) -> dict[str, list[float]]:
        values = self.sample(metric).values
        return {
            case: numbers
            for case, ids in self.by_case.items()
            if (numbers := [value for simulation in ids if isinstance(value := values.get(simulation), float)])
        }

    def about(self, metric_id: str) -> "Variant":
        """Return the variant as criteria about the metric count it: without simulations whose values are left out."""
        sample = self.find_sample(metric_id)
        if not (left_out := sample.metric.left_out if sample else {}):
            return self
        counted = tuple(simulation for simulation in self.simulations if simulation.id not in left_out)
        if not (more := len(self.simulations) - len(counted)):
            return self
        about = self._having(counted, unlisted=self.unlisted)
        return replace(about, even=self.even, known=self.known + more)

    def without(self, sample: Sample, simulation: str) -> "Variant":
        """Return the variant as if a simulation had no value in one of its samples."""
        kept = replace(sample, values={id_: value for id_, value in sample.values.items() if id_ != simulation})
        return replace(self, samples=tuple(kept if own is sample else own for own in self.samples))

    def comparable(self, cases: Set[str]) -> "Variant":
        """Return the variant as if the run had these test cases only, with the same weight for each."""
        simulations = tuple(simulation for simulation in self.simulations if simulation.test_case_id in cases)
        return replace(self, even=True) if len(simulations) == self.total else self._having(simulations)

    def _having(self, simulations: tuple[Simulation, ...], unlisted: int = 0) -> "Variant":
        """By default, none is unlisted: the test cases of those are unknown."""
        ids = dict.fromkeys(simulation.id for simulation in simulations)
        return replace(
            self,
            simulations=simulations,
            completed=tuple(done for done in self.completed if done.id in ids),
            passing=self.passing.intersection(ids),
            unlisted=unlisted,
            samples=tuple(_sample(one.metric, one.values, ids, simulations, unlisted) for one in self.samples),
            even=True,
        )


def pooled(results: Sequence[RunResult]) -> RunResult:
    """Pool runs: a metric has the name and target of the first that has it. Several summaries cannot be merged."""
    metrics: dict[str, Metric] = {}
    for metric in chain.from_iterable(result.metrics for result in results):
        merged = metrics.setdefault(metric.id, metric)
        if merged is not metric:
            has_summary = merged.summary is not None or metric.summary is not None
            metrics[metric.id] = merged._replace(
                values={**merged.values, **metric.values},
                summary=Summary() if has_summary else None,
                is_identified=merged.is_identified and metric.is_identified,
                left_out={**merged.left_out, **metric.left_out},
            )
    simulations, left_out = (
        tuple(one._replace(run_id=result.run_id) for result in results for one in getattr(result, name))
        for name in ("simulations", "left_out")
    )
    return results[0]._replace(
        expected=sum(result.expected for result in results),
        reported_error=next((result.reported_error for result in results if result.reported_error), ""),
        simulations=simulations,
        left_out=left_out,
        metrics=tuple(metrics.values()),
        absent_metrics=tuple(dict.fromkeys(metric for result in results for metric in result.absent_metrics)),
        settled=all(result.settled for result in results),
    )


def variants_of(result: RunResult, mutations: int = 0) -> tuple[Variant, ...]:
    """Return the agent first, then its mutations by name; `mutations`: how many were launched, if known.

    If a run lists no simulation, the agent stands for all unlisted ones.
    """
    by_variant = result.variants or ({BASE: ()} if result.expected else {})
    is_incomplete = result.expected > len(result.simulations)
    expected = math.ceil(result.expected / max(1 + mutations, len(by_variant))) if is_incomplete else 0
    return tuple(
        _variant(name, members, result, alone=len(by_variant) == 1, unlisted=max(0, expected - len(members)))
        for name, members in by_variant.items()
    )


def _variant(
    name: str, simulations: tuple[Simulation, ...], result: RunResult, *, alone: bool, unlisted: int
) -> Variant:
    completed = tuple(simulation for simulation in simulations if simulation.completed)
    ids = dict.fromkeys(done.id for done in completed)
    samples = tuple(_sample(metric, metric.values, ids, simulations, unlisted) for metric in result.metrics)
    passing = frozenset(ids)
    for sample in samples:
        if (target := sample.metric.target) is not None:
            is_usable = not target_problem(target) and sample.can_be_any_of(named_values(target))
            meeting = {value for value in {*sample.values.values()} if meets(target, value)} if is_usable else ()
            met = (id_ for id_, value in sample.values.items() if value in meeting)
            passing = passing.intersection((*met, *sample.metric.left_out))
    return Variant(
        name=name,
        simulations=simulations,
        completed=completed,
        passing=passing,
        samples=samples,
        alone=alone,
        unlisted=unlisted,
        known=sum(one.mutation == name for one in result.left_out),
    )


def _sample(
    metric: Metric,
    values: Mapping[str, Value],
    ids: Mapping[str, None],
    simulations: Sequence[Simulation],
    unlisted: int,
) -> Sample:
    left_out = metric.left_out and sum(simulation.id in metric.left_out for simulation in simulations)
    total = unlisted + len(simulations) - (left_out or 0)
    if not values.keys() <= ids.keys():  # otherwise the values are shared, which saves memory on large runs
        values = {simulation: values[simulation] for simulation in ids if simulation in values}
    return Sample(metric=metric, values=values, total=total)
