"""Read earlier runs in the terms of the judged run: its metrics, and test cases with unchanged contents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.config.aggregates import Aggregate
    from coval_gate.model.baseline import BaselineRun
    from coval_gate.model.results import Metric, RunResult


def comparable_result(own: RunResult, run: BaselineRun) -> RunResult:
    """Return a result without the changed cases, and with the metrics and targets of the judged run."""
    metrics = tuple(
        same._replace(
            id=metric.id,
            name=metric.name,
            target=metric.target,
            defined=metric.defined,
            elsewhere=metric.texts,
        )
        for metric in own.metrics
        if (same := same_metric(own, run.result, metric))
    )
    simulations = tuple(
        simulation for simulation in run.result.simulations if simulation.test_case_id not in run.changed_cases
    )
    return run.result._replace(expected=len(simulations), simulations=simulations, metrics=metrics)


def metrics_about(aggregate: Aggregate, metric: Metric | None, own: RunResult) -> Sequence[Metric]:
    """Return the metrics that a threshold depends on: its own, or all with a target if its aggregate uses targets."""
    if metric:
        return (metric,)
    return [other for other in own.metrics if other.target is not None] if aggregate.kind.uses_targets else ()


def same_metric(own: RunResult, earlier: RunResult, metric: Metric) -> Metric | None:
    """Return a metric of the judged run as an earlier run has it: by its id, otherwise by its name.

    A name must mean one metric in both runs, and not one that the judged run has under another name.
    """
    matches = earlier.find_metrics(metric.id)
    if not matches and len(own.find_metrics(metric.name)) == 1:
        own_ids = {own_metric.id for own_metric in own.metrics}
        matches = tuple(other for other in earlier.find_metrics(metric.name) if other.id not in own_ids)
    return matches[0] if len(matches) == 1 else None
