"""One threshold on one variant: what its aggregate is, and whether it holds. Pure and total."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Measured
from coval_gate.judge.checks import Check
from coval_gate.judge.claims import verdict
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.judge.criteria import ThresholdHolds
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult


def evaluate(criterion: ThresholdHolds, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """Check a threshold for the agent and for each mutation apart; nothing where its metric is in doubt already."""
    threshold = criterion.threshold
    metrics = result.find_metrics(threshold.metric) if threshold.metric else ()
    if threshold.metric and len(metrics) != 1:
        return
    for variant in variants:
        yield check_variant(criterion, variant, metrics[0] if metrics else None)


def check_variant(criterion: ThresholdHolds, variant: Variant, metric: Metric | None) -> Check:
    """Check a threshold, whose bound is a number, on one variant; `metric` is the one that it names, if any."""
    threshold = criterion.threshold
    found = aggregation_of(threshold).measured(variant, metric)
    check = Check(
        criterion=criterion,
        verdict=Verdict.ERROR,
        variant=variant.name,
        several=not variant.alone,
        metric=metric.id if metric else "",
    )
    if not isinstance(found, Measured):
        return replace(check, problem=found)
    measure = found.measure
    if found.interval and criterion.confidence and threshold.takes_confidence:
        measure = replace(measure, interval=found.interval(criterion.confidence))
    decided = verdict(threshold, measure)
    # Simulations are looked for only where they are to blame.
    failing = () if decided is Verdict.PASSED else tuple(found.failing)
    return replace(check, verdict=decided, measure=measure, simulations=failing)
