"""Drift: whether what thresholds compare with a baseline gets worse from run to run, beside a fixed reference. Pure.

Each run of the chart is compared with the means of the reference over the same test cases, which weigh the same. What
counts as a hit of a rate is what a comparison counts (`Rate.hits`), in every run alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.thresholds import Bound
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.alike import comparable_result, metrics_about, same_metric
from coval_gate.judge.baseline import FEWEST_SHARED
from coval_gate.judge.chart import level_for
from coval_gate.judge.checks import Check
from coval_gate.judge.measure import DriftPath, Measure, Night
from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.judge.variants import same_variant, variants_of
from coval_gate.judge.verdict import Verdict
from coval_gate.model.drift import REFERENCE_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.chart import Cases, Chart
    from coval_gate.judge.criteria import Criteria, NoDrift
    from coval_gate.judge.problems import Difference, Problem
    from coval_gate.judge.variants import Variant
    from coval_gate.model.baseline import BaselineRun
    from coval_gate.model.drift import Drift
    from coval_gate.model.results import Metric, RunResult

ENOUGH: Final = 0.5  # of what is shared, that a run must have: of the test cases, or of the runs of the reference


class Watched(NamedTuple):
    """A criterion, the variant that it is applied to, and the metric that it names."""

    criterion: NoDrift
    variant: Variant
    metric: Metric | None


class Values(NamedTuple):
    """The values of one run of the chart; the judged run itself has no `run`."""

    run: BaselineRun | None
    cases: Cases


def drift_checks(
    criteria: Criteria, result: RunResult, variants: Sequence[Variant], drift: Drift | None
) -> Iterator[Check]:
    """Check each threshold that can show drift, for the agent and for each mutation apart; nothing without a drift.

    A threshold whose metric is in doubt has no check; that is told elsewhere.
    """
    if drift is None:
        return
    watched = [*_watched(criteria, result, variants)]
    level = level_for(sum(not each.criterion.advisory for each in watched))
    history = _History(result, drift)
    for each in watched:
        found = _problem(drift) or history.measure(each, level)
        if isinstance(found, Measure):
            yield _check(each, _verdict(each.criterion, found), measure=found)
        else:
            grows = isinstance(found, ReferenceGrows)
            yield _check(each, Verdict.PASSED if grows else Verdict.INCONCLUSIVE, problem=found)


def _watched(criteria: Criteria, result: RunResult, variants: Sequence[Variant]) -> Iterator[Watched]:
    for criterion in criteria.drifts():
        named = criterion.threshold.metric
        metrics = result.find_metrics(named) if named else ()
        if named and len(metrics) != 1:
            continue
        metric = metrics[0] if metrics else None
        for variant in variants:
            if values_of(criterion.threshold, variant, metric):
                yield Watched(criterion, variant, metric)


def _problem(drift: Drift) -> Problem | None:
    """Return why there is nothing to measure for any threshold."""
    if drift.unreadable:
        return ReferenceUnreadable(text=drift.unreadable)
    if drift.known < REFERENCE_RUNS:
        return ReferenceGrows(tag=drift.tag, known=drift.known, begun=not drift.begins)
    return None


def _verdict(criterion: NoDrift, measure: Measure) -> Verdict:
    """Return failed only where the chart alarms, and the mean since the rise is beyond the margin as counted."""
    path, threshold = measure.path, criterion.threshold
    if path is None or not path.alarms:
        return Verdict.PASSED
    bounded = threshold._replace(bound=Bound(criterion.bound(path.reference)))
    return Verdict.PASSED if bounded.holds(measure.value) else Verdict.FAILED


def _check(
    watched: Watched, verdict: Verdict, *, measure: Measure | None = None, problem: Problem | None = None
) -> Check:
    return Check(
        criterion=watched.criterion,
        verdict=verdict,
        measure=measure,
        problem=problem,
        variant=watched.variant.name,
        several=not watched.variant.alone,
        metric=watched.metric.id if watched.metric else "",
    )


class _History:
    """The runs of the chart in the terms of the judged one; what all thresholds need is computed once."""

    def __init__(self, result: RunResult, drift: Drift) -> None:
        self._result = result
        self._drift = drift
        self._variants: dict[str, tuple[Variant, ...]] = {}

    def measure(self, watched: Watched, level: float) -> Measure | ReferenceDiffers:
        """Measure one criterion, or say why its reference cannot be compared with."""
        reference: list[Cases] = []
        for run in self._drift.reference:
            found = self._values(run, watched)
            if isinstance(found, ReferenceDiffers):
                return found
            reference.append(found)
        later = [
            Values(run, found)
            for run in self._drift.later
            if not isinstance(found := self._values(run, watched), ReferenceDiffers)
        ]
        threshold = watched.criterion.threshold
        own = values_of(threshold, watched.variant, watched.metric)
        cases = shared_cases(own, reference)
        later = [each for each in later if _has_enough(each.cases, cases)]
        if len(cases) < FEWEST_SHARED or not all(_has_enough(each, cases) for each in reference):
            return self._differs("cases")
        nights = [*later, Values(None, own)]
        chart = aggregation_of(threshold).chart(cases, reference, [night.cases for night in nights], level)
        path = DriftPath(
            reference=chart.reference,
            reference_ids=tuple(each.run.run_id for each in self._drift.reference),
            nights=tuple(self._night(each, chart, place) for place, each in enumerate(nights)),
            level=level,
            since=chart.since,
            cases=len(cases),
            left_out=self._drift.left_out + len(self._drift.later) - len(later),
        )
        unit = threshold.aggregate.kind.unit
        return Measure(value=chart.mean, unit=unit, count=sum(len(own[case]) for case in cases), path=path)

    def _night(self, night: Values, chart: Chart, place: int) -> Night:
        run_id = night.run.run.run_id if night.run else self._result.run_id
        created = night.run.run.create_time if night.run else ""
        return Night(run_id, created, chart.values[place], chart.sums[place])

    def _values(self, run: BaselineRun, watched: Watched) -> Cases | ReferenceDiffers:
        """Return the values of an earlier run, or why there are none that can be compared."""
        if run.changed_persona:
            return self._differs("persona")
        for metric in metrics_about(watched.criterion.threshold.aggregate, watched.metric, self._result):
            if metric.id in run.changed_metrics or not same_metric(self._result, run.result, metric):
                return self._differs("metric", metric.name)
        variant = self._variant(run, watched.variant)
        if variant is None:
            return self._differs("cases") if run.changed_cases else self._differs("mutation", watched.variant.name)
        found = values_of(watched.criterion.threshold, variant, watched.metric)
        return found or self._differs("values", watched.metric.name if watched.metric else "")

    def _variant(self, run: BaselineRun, own: Variant) -> Variant | None:
        """Return the same variant of an earlier run."""
        run_id = run.run.run_id
        if run_id not in self._variants:
            self._variants[run_id] = variants_of(comparable_result(self._result, run))
        return same_variant(own, self._variants[run_id])

    def _differs(self, what: Difference, name: str = "") -> ReferenceDiffers:
        return ReferenceDiffers(what=what, name=name, since=self._drift.reference[0].run)


def values_of(threshold: Threshold, variant: Variant, metric: Metric | None) -> Cases:
    """Return the values of a variant by test case: numbers or, for a rate, 1 for a hit and 0 for anything else.

    Nothing where the metric has no values of the kind that the aggregate needs, or test cases are not known.
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
