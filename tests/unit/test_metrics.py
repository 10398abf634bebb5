from __future__ import annotations

import json

from coval_gate.coval.model import Metric, RunResult, Simulation
from rendering import aggregates

SIMULATIONS = (
    Simulation(id="s1", status="COMPLETED"),
    Simulation(id="s2", status="COMPLETED"),
    Simulation(id="s3", status="FAILED"),
    Simulation(id="s4", status="COMPLETED", mutation="Faster model"),
)


def test_aggregates_have_statistics_per_variant() -> None:
    result = RunResult(
        run_id="r1",
        simulations=SIMULATIONS,
        metrics=(
            Metric(id="m1", name="Latency", values={"s1": 1.0, "s2": 2.0, "s3": 9.0, "s4": 0.5}),
            Metric(id="m2", name="Resolved", values={"s1": "YES", "s2": "YES"}),
            Metric(id="m3", name="Topics", values={"s1": frozenset({"a", "b"}), "s2": frozenset({"a"})}),
        ),
    )
    assert json.loads(aggregates(result)) == {
        "Latency": {
            "id": "m1",
            "variants": {
                "agent": {
                    "count": 2, "missing": 1, "mean": 1.5, "stdev": 0.707107, "min": 1.0, "median": 1.5, "p95": 1.95,
                    "max": 2.0,
                },
                "Faster model": {
                    "count": 1, "missing": 0, "mean": 0.5, "stdev": 0.0, "min": 0.5, "median": 0.5, "p95": 0.5,
                    "max": 0.5,
                },
            },
        },
        "Resolved": {
            "id": "m2",
            "variants": {
                "agent": {"count": 2, "missing": 1, "values": {"YES": 2}},
                "Faster model": {"count": 0, "missing": 1},
            },
        },
        "Topics": {
            "id": "m3",
            "variants": {
                "agent": {"count": 2, "missing": 1, "values": {"a": 2, "b": 1}},
                "Faster model": {"count": 0, "missing": 1},
            },
        },
    }  # fmt: skip


def test_metrics_with_same_name_get_distinct_names() -> None:
    metrics = tuple(Metric(id=metric_id, name="Latency", values={"s1": 1.0}) for metric_id in ("m1", "m2"))
    result = RunResult(run_id="r1", simulations=SIMULATIONS, metrics=metrics)
    assert list(json.loads(aggregates(result))) == ["Latency", "Latency (m2)"]
