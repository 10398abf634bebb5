"""A criterion applied to a variant of a run, how far simulations miss it, and how many a run must have. Pure and total.

A run has a simulation for each variant, test case and iteration. Coval does not state their number reliably:
`output_ids` may be absent, and `progress` counts either test cases or simulations. So the structure of the list counts
as well: each variant must have every test case as often as any other. A conversation beyond that, such as one that was
simulated again, is one more, and no further iteration of all test cases.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.coval.model import BASE, Metric, Run, RunResult, Simulation, Value
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.aggregation import Measured
from coval_gate.gate.confidence import verdict
from coval_gate.gate.incomparable import ACCEPTED
from coval_gate.gate.measure import Comparison, Measure, Requirement, Scale, margin
from coval_gate.gate.values import comparable
from coval_gate.gate.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.gate.criteria import Criteria
    from coval_gate.gate.kinds import Criterion, ThresholdHolds
    from coval_gate.gate.problems import Problem
    from coval_gate.gate.variants import Variant
    from coval_gate.inputs.thresholds import Reference, Threshold

WHOLE: Final = 1.0  # the distance of a wrong text, and of a missing value


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion on the agent or a mutation, with either a measure or a problem.

    `several`: the run has other variants, so this one must be named. `metric`: its id. `simulations`: ids of those to
    blame if the verdict is not passed; for a target that only informs, of those that miss it. `runs`: how many runs of
    the step decided it. `run_id`: the run that breaks it or comes closest, if each must meet it alone. `first`: the
    measure of the first of several runs, if it did not meet the criterion. Only reports need `metric_unit`.
    """

    criterion: Criterion
    verdict: Verdict
    measure: Measure | None = None
    problem: Problem | None = None
    variant: str = BASE
    several: bool = False
    metric: str = ""
    simulations: tuple[str, ...] = ()
    runs: int = 1
    run_id: str = ""
    first: Measure | None = None
    metric_unit: str = field(default="", compare=False)

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED

    @property
    def decides(self) -> bool:
        return not self.criterion.advisory

    @property
    def informs(self) -> bool:
        """Whether it is advisory, or would have passed with any value, even unmeasured."""
        if not self.decides or (self.passed and self.problem is not None):
            return True
        return self.passed and self.measure is not None and not self.criterion.can_fail(self.measure)

    @property
    def user_defined(self) -> bool:
        return self.criterion.user_defined

    @property
    def accepted(self) -> bool:
        """Whether it would compare with a baseline if a person had not accepted the run."""
        return self.problem == ACCEPTED

    @property
    def threshold(self) -> Threshold | None:
        return self.criterion.threshold

    @property
    def comparison(self) -> Comparison | None:
        return self.measure.comparison if self.measure else None

    @property
    def reference(self) -> Reference:
        """What its threshold compares with; empty for a number, and for any other criterion."""
        return self.threshold.bound.reference if self.threshold else ""

    @property
    def scale(self) -> Scale:
        """What its measure, its bound and its comparison count."""
        return Scale(self.measure.unit if self.measure else "metric", self.metric_unit)

    @property
    def requirement(self) -> Requirement | None:
        """What the measured value must be; None if nothing was measured, or if any value will do."""
        return self.criterion.requirement(self.measure) if self.measure else None

    @property
    def margin(self) -> float | None:
        """How far the measured value is from the bound: 0 or more if it is met, 0 or less if it is missed."""
        if self.measure is None or (requirement := self.requirement) is None:
            return None
        distance = margin(self.measure.value, requirement)
        # A value that differs from the bound by a rounding error counts as equal to it.
        if self.passed:
            return max(0.0, distance)
        return min(0.0, distance) if self.verdict is Verdict.FAILED else distance


def check_on(
    variant: Variant,
    criterion: Criterion,
    verdict: Verdict,
    *,
    metric: Metric | None = None,
    measure: Measure | None = None,
    problem: Problem | None = None,
    simulations: tuple[str, ...] = (),
) -> Check:
    return Check(
        criterion=criterion,
        verdict=verdict,
        measure=measure,
        problem=problem,
        variant=variant.name,
        several=not variant.alone,
        metric=metric.id if metric else "",
        simulations=simulations,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """`unpassed`: ids of the listed ones that did not pass. `unlisted`: how many of all Coval does not list."""

    total: int
    completed: int
    unpassed: tuple[str, ...] = ()
    unlisted: int = 0

    @property
    def pass_rate(self) -> float:
        """The share of all simulations that completed and met every known target."""
        passed = max(0, self.total - self.unlisted - len(self.unpassed))
        return passed / self.total if self.total else 0.0


def sum_of(totals: Sequence[Totals]) -> Totals | None:
    """Return the totals of several legs together; None where there are none."""
    if not totals:
        return None
    return Totals(
        total=sum(one.total for one in totals),
        completed=sum(one.completed for one in totals),
        unpassed=tuple(id_ for one in totals for id_ in one.unpassed),
        unlisted=sum(one.unlisted for one in totals),
    )


def misses(check: Check, values: Mapping[str, Value]) -> Iterator[tuple[str, float]]:
    """Yield the ids of the simulations that a check blames, and how far each misses the criterion.

    A distance is relative to the bound: 0.2 is 20 % off. If the bound is 0, it is relative to the largest of `values`:
    those of the check's metric, by simulation id. A wrong text and a missing value count as 1.
    """
    largest = largest_magnitude(values)
    for simulation in check.simulations:
        value = values.get(simulation)
        number = comparable(value) if isinstance(value, str) else value
        bound = check.criterion.closest_bound(number, check.measure) if isinstance(number, float) else None
        if bound is None or not isinstance(number, float):
            yield simulation, WHOLE
        else:
            yield simulation, abs(number - bound) / (abs(bound) or largest)


def largest_magnitude(values: Mapping[str, Value]) -> float:
    """Return the magnitude of the largest number; 1 without any."""
    return max((abs(value) for value in values.values() if isinstance(value, float)), default=0.0) or WHOLE


class Population(NamedTuple):
    """`certain`: it cannot have more than `expected`."""

    expected: int
    certain: bool


class _Shape(NamedTuple):
    """The numbers of simulations that the listed ones imply, per variant and test case, and how many are extra."""

    variants: int
    per_case: int
    per_variant: int
    extra: int = 0

    @property
    def total(self) -> int:
        return self.variants * self.per_variant + self.extra


def population(run: Run, simulations: Sequence[Simulation], criteria: Criteria) -> Population:
    """Return how many simulations a run must have if it lists these `simulations`."""
    shape = _shape(run, simulations, criteria)
    named = _named(run, simulations)
    counted = run.progress.total if run.progress else 0
    per_case = shape.per_case * shape.variants
    # A count that is below the number listed, or does not divide evenly, is a count of test cases.
    counts_cases = counted < len(simulations) or (counted - shape.extra) % per_case != 0
    expected = max(named, shape.total, counted * per_case + shape.extra if counts_cases else counted)
    return Population(expected, _is_certain(run, criteria, expected, counted_once=per_case == 1 or counts_cases))


def _is_certain(run: Run, criteria: Criteria, expected: int, *, counted_once: bool) -> bool:
    if run.output_ids:
        return len(run.output_ids) == expected
    if criteria.iterations is None:  # the run was launched elsewhere
        return False
    return bool(criteria.cases) or (counted_once and run.progress is not None and run.progress.total > 0)


def _shape(run: Run, simulations: Sequence[Simulation], criteria: Criteria) -> _Shape:
    variants = max(1 + criteria.mutations, len({simulation.mutation for simulation in simulations}))
    cases = {simulation.test_case_id for simulation in simulations}
    if "" in cases:  # the list does not name all test cases
        most = max(Counter(simulation.mutation for simulation in simulations).values())
        per_case = criteria.iterations or 1
        return _Shape(variants, per_case, max(criteria.cases, math.ceil(most / per_case)) * per_case)
    times = Counter((simulation.mutation, simulation.test_case_id) for simulation in simulations)
    per_case = criteria.iterations or _iterations(run, times)
    extra = sum(max(0, number - per_case) for number in times.values())
    return _Shape(variants, per_case, max(criteria.cases, len(cases)) * per_case, extra)


def _iterations(run: Run, times: Counter[tuple[str, str]]) -> int:
    """If some test cases are listed more often than others, the list is incomplete, unless Coval's count equals it."""
    counted = len(run.output_ids) if run.output_ids else run.progress.total if run.progress else 0
    is_whole = counted == times.total()
    return min(times.values(), default=1) if is_whole else max(times.values(), default=1)


def _named(run: Run, simulations: Sequence[Simulation]) -> int:
    """Coval does not document whether `output_ids` are simulation ids; if one of them is, all are."""
    listed = {simulation.id for simulation in simulations}
    measured = {simulation_id for metric in run.metrics for simulation_id in metric.values}
    outputs = set(run.output_ids or ())
    ids = listed | measured
    return max(len(outputs), len(ids | outputs if outputs & ids else ids))


def evaluate(criterion: ThresholdHolds, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """Check a threshold on each variant; nothing if its metric is in doubt, which another check reports."""
    for metric in subjects(criterion.threshold, result):
        for variant in variants:
            yield check_variant(criterion, variant, metric)


def subjects(threshold: Threshold, result: RunResult) -> tuple[Metric | None, ...]:
    """Return the one metric that a threshold names, or None if it names none; nothing if the metric is in doubt."""
    if not threshold.metric:
        return (None,)
    metrics = result.find_metrics(threshold.metric)
    return metrics if len(metrics) == 1 else ()


def check_variant(criterion: ThresholdHolds, variant: Variant, metric: Metric | None) -> Check:
    """Check a threshold, whose bound is a number, on one variant; `metric` is the one that it names, if any."""
    threshold = criterion.threshold
    measured = aggregation_of(threshold).measured(variant, metric)
    if not isinstance(measured, Measured):
        return check_on(variant, criterion, Verdict.ERROR, metric=metric, problem=measured)
    measure = measured.measure
    if measured.interval and criterion.confidence and threshold.takes_confidence:
        measure = replace(measure, interval=measured.interval(criterion.confidence))
    decided = verdict(threshold, measure)
    # The simulations to blame are searched only for a threshold that does not pass.
    failing = () if decided is Verdict.PASSED else tuple(measured.failing)
    return check_on(variant, criterion, decided, metric=metric, measure=measure, simulations=failing)
