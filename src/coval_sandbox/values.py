"""Metric values: which are available at a time, and how a run shows them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from . import catalogue
from .catalogue import Json, Metric
from .ids import rng
from .plan import PlannedSimulation
from .quirks import Quirks
from .scenarios import Value
from .state import RunRecord


def metric_values(record: RunRecord, metric: Metric, now: float, quirks: Quirks) -> list[Json]:
    values = []
    for simulation in record.plan.simulations:
        if not record.is_listed(simulation, now, quirks.simulations_trickle, by_case=quirks.trickle_by_case):
            continue
        fate = value_fate(record, simulation, metric.id, now, quirks)
        if fate in {"there", "null"} or (fate == "skipped" and quirks.failed_values == "null"):
            value = simulation.values[metric.id] if fate == "there" else None
            values.append({"simulation_output_id": simulation.simulation_id, "value": json_value(value)})
    return values[:1] + values if quirks.duplicate_values else values


def value_fate(record: RunRecord, simulation: PlannedSimulation, metric_id: str, now: float, quirks: Quirks) -> str:
    """Return there, late, skipped (failed conversation), or missing (null or absent)."""
    if simulation.failed:
        return "skipped"
    if now < record.value_time(simulation, quirks.metrics_lag):
        return "late"
    if not quirks.missing_values:
        return "there"
    random = rng("missing", simulation.simulation_id, metric_id)
    return random.choice(("null", "absent")) if random.random() < quirks.missing_values else "there"


def averages(record: RunRecord, now: float, quirks: Quirks) -> dict[str, float]:
    """By metric id; numeric metrics only."""
    if record.status(now) != "COMPLETED":
        return {}
    metrics = map(catalogue.metric_for, record.plan.metric_ids)
    summaries = {m.id: summary(metric_values(record, m, now, quirks)) for m in metrics if m.output_type == "float"}
    return {metric_id: mean["mean"] for metric_id, mean in summaries.items() if mean}


def summary(entries: Sequence[Json]) -> Json:
    """Count YES as 1, NO as 0. Empty without numbers."""
    numbers = [number for entry in entries if (number := _number(entry["value"])) is not None]
    return {"mean": fmean(numbers), "min": min(numbers), "max": max(numbers)} if numbers else {}


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return {"YES": 1.0, "NO": 0.0}.get(value)
    return value if isinstance(value, float) else None


def json_value(value: Value | None) -> float | str | list[str] | None:
    return list(value) if isinstance(value, tuple) else value
