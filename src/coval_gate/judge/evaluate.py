"""Check thresholds against numbers: measure the aggregate, then decide whether the threshold holds. Pure and total."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Measured
from coval_gate.judge.checks import check_on
from coval_gate.judge.claims import verdict
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import ThresholdHolds
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult


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
