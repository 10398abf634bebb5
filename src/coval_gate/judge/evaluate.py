"""Applies single criteria: how many simulations a run must have, and one threshold on one variant. Pure and total.

A run has a simulation for each variant, test case and iteration. Coval does not state their number reliably:
`output_ids` may be absent, and `progress` counts either test cases or simulations. So the structure of the list counts
as well: each variant must have every test case as often as any other. A conversation beyond that, such as one that was
simulated again, is one more, and no further iteration of all test cases.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Measured
from coval_gate.judge.checks import check_on
from coval_gate.judge.confidence import verdict
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criteria, ThresholdHolds
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult, Simulation
    from coval_gate.model.run import Run


class Population(NamedTuple):
    """How many simulations a run has at least. `certain`: it cannot have more."""

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
    """Return how often a run with an unknown launch simulates each test case.

    If some test cases are listed more often than others, the list is incomplete, unless Coval's count equals it.
    """
    counted = len(run.output_ids) if run.output_ids else run.progress.total if run.progress else 0
    is_whole = counted == times.total()
    return min(times.values(), default=1) if is_whole else max(times.values(), default=1)


def _named(run: Run, simulations: Sequence[Simulation]) -> int:
    """Return how many simulations Coval names.

    Coval does not document whether `output_ids` are simulation ids; if one of them is, all are.
    """
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
