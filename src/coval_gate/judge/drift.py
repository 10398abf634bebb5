"""Drift: whether the aggregates of thresholds get worse from run to run, compared with a fixed reference. Pure.

Each run of the chart is compared with the reference's means over the same test cases, which weigh the same. A rate
counts the same hits as a comparison does (`Rate.hits`), in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.config.thresholds import Bound
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.baseline import FEWEST_SHARED, comparable_result, metrics_about, same_metric
from coval_gate.judge.chart import level_for
from coval_gate.judge.checks import check_on, subjects
from coval_gate.judge.measure import DriftPath, Measure, Night
from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.judge.variants import same_variant, variants_of
from coval_gate.judge.verdict import Verdict
from coval_gate.model.baseline import REFERENCE_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.chart import Cases, Chart
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criteria, NoDrift
    from coval_gate.judge.problems import Difference, Problem
    from coval_gate.judge.variants import Variant
    from coval_gate.model.baseline import BaselineRun, Drift
    from coval_gate.model.results import Metric, RunResult

ENOUGH: Final = 0.5  # share of the test cases that a run must have, and of the reference's runs that must have a case


class Watched(NamedTuple):
    """A criterion, the variant that it is applied to, and the metric that it names."""

    criterion: NoDrift
    variant: Variant
    metric: Metric | None


class NightValues(NamedTuple):
    """The values of one run of the chart; `run` is None for the judged run itself."""

    run: BaselineRun | None
    cases: Cases


def drift_checks(
    criteria: Criteria, result: RunResult, variants: Sequence[Variant], drift: Drift | None
) -> Iterator[Check]:
    """Check each threshold that can show drift, on each variant; nothing if `drift` is None.

    A threshold whose metric is in doubt has no check here; another check reports the doubt.
    """
    if drift is None:
        return
    all_watched = [*_watched(criteria, result, variants)]
    level = level_for(sum(not watched.criterion.advisory for watched in all_watched))
    history = _History(result, drift)
    for watched in all_watched:
        criterion, variant, metric = watched
        measured = _problem(drift) or history.measure(watched, level)
        if isinstance(measured, Measure):
            yield check_on(variant, criterion, _verdict(criterion, measured), metric=metric, measure=measured)
        else:
            verdict = Verdict.PASSED if isinstance(measured, ReferenceGrows) else Verdict.INCONCLUSIVE
            yield check_on(variant, criterion, verdict, metric=metric, problem=measured)


def _watched(criteria: Criteria, result: RunResult, variants: Sequence[Variant]) -> Iterator[Watched]:
    for criterion in criteria.drifts():
        for metric in subjects(criterion.threshold, result):
            for variant in variants:
                if values_of(criterion.threshold, variant, metric):
                    yield Watched(criterion, variant, metric)


def _problem(drift: Drift) -> Problem | None:
    """Return why no threshold can be measured; None if some may."""
    if drift.unreadable:
        return ReferenceUnreadable(text=drift.unreadable)
    if drift.reference_runs < REFERENCE_RUNS:
        return ReferenceGrows(tag=drift.tag, runs=drift.reference_runs, begun=not drift.begins)
    return None


def _verdict(criterion: NoDrift, measure: Measure) -> Verdict:
    """Return failed only if the chart alarms and the mean since the rise is beyond the margin, as counted."""
    path, threshold = measure.path, criterion.threshold
    if path is None or not path.alarms:
        return Verdict.PASSED
    bounded = threshold._replace(bound=Bound(criterion.bound(path.reference)))
    return Verdict.PASSED if bounded.holds(measure.value) else Verdict.FAILED


class _History:
    """The runs of the chart in the terms of the judged one; variants are computed once for all thresholds."""

    def __init__(self, result: RunResult, drift: Drift) -> None:
        self._result = result
        self._drift = drift
        self._variants: dict[str, tuple[Variant, ...]] = {}

    def measure(self, watched: Watched, level: float) -> Measure | ReferenceDiffers:
        """Measure one criterion, or return why its reference cannot be compared."""
        reference: list[Cases] = []
        for run in self._drift.reference:
            values = self._values(run, watched)
            if isinstance(values, ReferenceDiffers):
                return values
            reference.append(values)
        threshold = watched.criterion.threshold
        own = values_of(threshold, watched.variant, watched.metric)
        cases = shared_cases(own, reference)
        if len(cases) < FEWEST_SHARED or not all(_has_enough(values, cases) for values in reference):
            return self._differs("cases")
        later = [
            NightValues(run, values)
            for run in self._drift.later
            if not isinstance(values := self._values(run, watched), ReferenceDiffers) and _has_enough(values, cases)
        ]
        nights = [*later, NightValues(None, own)]
        chart = aggregation_of(threshold).chart(cases, reference, [night.cases for night in nights], level)
        path = DriftPath(
            reference=chart.reference,
            reference_ids=tuple(run.run.run_id for run in self._drift.reference),
            nights=tuple(self._night(night, chart, place) for place, night in enumerate(nights)),
            level=level,
            since=chart.since,
            cases=len(cases),
            left_out=self._drift.left_out + len(self._drift.later) - len(later),
        )
        unit = threshold.aggregate.kind.unit
        return Measure(value=chart.mean, unit=unit, count=sum(len(own[case]) for case in cases), path=path)

    def _night(self, night: NightValues, chart: Chart, place: int) -> Night:
        run_id = night.run.run.run_id if night.run else self._result.run_id
        created = night.run.run.create_time if night.run else ""
        return Night(run_id, created, chart.values[place], chart.sums[place])

    def _values(self, run: BaselineRun, watched: Watched) -> Cases | ReferenceDiffers:
        """Return the values of an earlier run, or why they cannot be compared."""
        if run.changed_persona:
            return self._differs("persona")
        for metric in metrics_about(watched.criterion.threshold.aggregate, watched.metric, self._result):
            if metric.id in run.changed_metrics or not same_metric(self._result, run.result, metric):
                return self._differs("metric", metric.name)
        variant = self._variant(run, watched.variant)
        if variant is None:
            return self._differs("cases") if run.changed_cases else self._differs("mutation", watched.variant.name)
        values = values_of(watched.criterion.threshold, variant, watched.metric)
        return values or self._differs("values", watched.metric.name if watched.metric else "")

    def _variant(self, run: BaselineRun, own: Variant) -> Variant | None:
        """Return the same variant of an earlier run."""
        run_id = run.run.run_id
        if run_id not in self._variants:
            self._variants[run_id] = variants_of(comparable_result(self._result, run))
        return same_variant(own, self._variants[run_id])

    def _differs(self, what: Difference, name: str = "") -> ReferenceDiffers:
        return ReferenceDiffers(what=what, name=name, since=self._drift.reference[0].run)


def values_of(threshold: Threshold, variant: Variant, metric: Metric | None) -> Cases:
    """Return a variant's values by test case: numbers or, for a rate, 1 for a hit and 0 for anything else.

    Empty if the metric lacks values of the kind that the aggregate needs, or if test cases are unknown.
    """
    if "" in variant.cases:
        return {}
    aggregation = aggregation_of(threshold)
    if metric is not None and (metric.summary is not None or aggregation.obstacle(variant.sample(metric))):
        return {}
    return aggregation.cases(variant, metric)


def shared_cases(own: Cases, reference: Sequence[Cases]) -> list[str]:
    """Return the test cases of the judged run that enough runs of the reference have."""
    fewest = ENOUGH * len(reference)
    return [case for case in own if sum(case in run for run in reference) >= fewest]


def _has_enough(run: Cases, cases: Sequence[str]) -> bool:
    return sum(case in run for case in cases) >= max(1.0, ENOUGH * len(cases))
