"""Earlier runs in the terms of the one that is judged: the same metrics, test cases with the same contents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.config.aggregates import Aggregate
    from coval_gate.model.baseline import BaselineRun
    from coval_gate.model.results import Metric, RunResult


def comparable_result(own: RunResult, run: BaselineRun) -> RunResult:
    """Return a result without the changed cases, and with the metrics and targets of the run that is judged."""
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
    """Return the metrics that a threshold is about: its own, or those whose targets make up `pass_rate`."""
    if metric:
        return (metric,)
    return [each for each in own.metrics if each.target is not None] if aggregate.kind.uses_targets else ()


def same_metric(own: RunResult, earlier: RunResult, metric: Metric) -> Metric | None:
    """Return what a metric of the run that is judged is in an earlier one: by its id or else by its name.

    A name must mean one metric in both runs, and not one that the run that is judged has under another name.
    """
    found = earlier.find_metrics(metric.id)
    if not found and len(own.find_metrics(metric.name)) == 1:
        known = {each.id for each in own.metrics}
        found = tuple(other for other in earlier.find_metrics(metric.name) if other.id not in known)
    return found[0] if len(found) == 1 else None
