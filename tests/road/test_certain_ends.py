"""Where data of a completed run certainly will not come, the step does not wait for them; otherwise it does."""

import json
from typing import Any

import pytest

from coval_gate.step.collect import EMPTY_SETTLING, SETTLING, UNNAMED_SETTLING
from coval_sandbox.catalogue import DEFAULT_METRICS, LATENCY, RESOLVED, TOPICS
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.nights import RunStep
from support import StepResult, VirtualClock

GRACE = 180.0  # s, the default of metrics_grace_time
MISSPELT = {"thresholds": "Latncy: avg < 2"}
SILENT = Quirks(output_ids="absent", null_progress=True)
ALL_IDS = ",".join(metric.id for metric in DEFAULT_METRICS)


def waited(result: StepResult, server: Server) -> float:
    """Return how long the step went on after the end of its run, in seconds."""
    record = server.world.runs[0]
    return int(result.outputs["duration_seconds"]) - record.plan.end


def outputs_fetched(server: Server) -> int:
    return sum(request.path.endswith("/metrics") and "/simulat" in request.path for request in server.requests_seen)


@pytest.fixture
def follow_run(run_step: RunStep, clock: VirtualClock) -> RunStep:
    """Launch a run, and follow it in another step: nothing can be checked before the launch."""

    def follow(*faults: str, quirks: Quirks = Quirks(), launch: dict[str, str] | None = None, **inputs: str) -> Any:  # noqa: B008
        world = World(clock.time, quirks=quirks)
        run_id = run_step(world=world, mode="launch", **(launch or {}))[0].outputs["run_id"]
        return run_step(*faults, world=world, mode="wait", run_id=run_id, **inputs)

    return follow


def test_misspelt_metric_of_given_run_ends_soon(follow_run: RunStep) -> None:
    result, server = follow_run(launch={"metric_ids": f"{LATENCY.id},{RESOLVED.id}"}, **MISSPELT)
    assert result.outputs["reason"].startswith('The run has no metric "Latncy"; did you mean Latency? It has Latency')
    assert waited(result, server) < UNNAMED_SETTLING + 15
    assert outputs_fetched(server) <= 5


def test_misspelt_metric_of_wholly_failed_run_ends_soon(follow_run: RunStep) -> None:
    result, server = follow_run(launch={"test_set_id": "allFail1"}, test_set_id="", **MISSPELT)
    assert result.outputs["verdict"] == "failed"
    assert waited(result, server) < SETTLING + 15


@pytest.mark.parametrize(
    ("source", "inputs"), [("shown", {}), ("hidden", {}), ("forbidden", {"metric_ids": ALL_IDS})], ids=str
)
def test_misspelt_metric_ends_soon_where_it_was_not_checked(
    source: Any, inputs: dict[str, str], run_step: RunStep
) -> None:
    result, server = run_step("GET /metrics -> 403", quirks=Quirks(agent_metrics=source), **MISSPELT, **inputs)
    assert result.outputs["reason"].startswith('The run has no metric "Latncy"; did you mean Latency?')
    assert waited(result, server) < (SETTLING if inputs or source == "shown" else UNNAMED_SETTLING) + 15


@pytest.mark.parametrize(
    ("fault", "inputs"),
    [
        ("GET /conversations/simulated/*/metrics -> 403", {}),
        ('GET /conversations/simulated/*/metrics -> json {"metrics": [{"metric_id": "another"}]}', {}),
        ("GET /metrics -> 403", {"persona_metrics": "latency"}),
    ],
)
def test_misspelt_metric_is_waited_for_where_it_is_not_certain(
    fault: str, inputs: dict[str, str], run_step: RunStep
) -> None:
    result, server = run_step("GET /metrics -> 403", fault, **MISSPELT, **inputs)
    assert result.outputs["verdict"] == "error"
    assert waited(result, server) >= GRACE - 1


@pytest.mark.parametrize(
    ("source", "inputs"), [("shown", {}), ("hidden", {"metric_ids": ALL_IDS}), ("forbidden", {})], ids=str
)
def test_announced_metric_is_waited_for(source: Any, inputs: dict[str, str], run_step: RunStep) -> None:
    """The last metric of the run is listed long after the others."""
    quirks = Quirks(metrics_trickle=170.0, agent_metrics=source)
    result, _ = run_step(quirks=quirks, thresholds=f"{TOPICS.name}: count(legal) == 0", **inputs)
    assert result.outputs["verdict"] == "passed", result.log


@pytest.mark.parametrize(("gap", "outputs_trickle"), [(25.0, False), (55.0, True)])
def test_metric_of_given_run_is_waited_for(gap: float, outputs_trickle: Any, follow_run: RunStep) -> None:
    """Nothing names the metrics of the run, and it lists the second one long after the first."""
    quirks = Quirks(metrics_trickle=gap, outputs_trickle=outputs_trickle)
    launch = {"metric_ids": f"{LATENCY.id},{TOPICS.id}"}
    result, _ = follow_run(quirks=quirks, launch=launch, thresholds=f"{TOPICS.name}: count(legal) == 0")
    assert result.outputs["verdict"] == "passed", result.log


@pytest.mark.parametrize("source", ["shown", "hidden"])
def test_misspelt_metric_waits_for_all_others(source: Any, run_step: RunStep) -> None:
    quirks = Quirks(metrics_trickle=120.0, agent_metrics=source)
    result, server = run_step("GET /metrics -> 403", quirks=quirks, **MISSPELT)
    assert len(json.loads(result.outputs["metrics"])) == len(DEFAULT_METRICS)
    assert 120 <= waited(result, server) < 120 + (SETTLING if source == "shown" else UNNAMED_SETTLING) + 15


@pytest.mark.parametrize(("share", "test_set"), [(1.0, "passing1"), (0.1, "passing1")])
def test_values_that_ended_without_one_are_not_waited_for(share: float, test_set: str, run_step: RunStep) -> None:
    quirks = Quirks(missing_values=share)
    result, server = run_step(quirks=quirks, thresholds="Latency: avg < 2", test_set_id=test_set, concurrency="50")
    assert result.outputs["verdict"] == "error"
    assert "Latency has no value" in result.outputs["reason"]
    assert waited(result, server) < SETTLING + 15
    assert outputs_fetched(server) <= 5


@pytest.mark.parametrize(
    "fault",
    [
        "403",
        'json {"metrics": [{"metric_id": "metricLatency000000001", "status": "IN PROGRESS", "value": null}]}',
        'json {"metrics": [{"metric_id": "metricLatency000000001", "status": "COMPLETED", "value": 0.9}]}',
    ],
)
def test_values_are_waited_for_where_it_is_not_certain(fault: str, run_step: RunStep) -> None:
    fault = f"GET /conversations/simulated/*/metrics -> {fault}"
    result, server = run_step(fault, quirks=Quirks(missing_values=1.0), thresholds="Latency: avg < 2")
    assert result.outputs["verdict"] == "error"
    assert waited(result, server) >= GRACE - 1


def test_late_values_are_waited_for(follow_run: RunStep) -> None:
    """No value comes for longer than the data must stay the same."""
    quirks = Quirks(metrics_lag=1000.0)
    result, server = follow_run(
        quirks=quirks, launch={"metric_ids": LATENCY.id, "sub_sample_size": "6"}, thresholds="Latency: avg < 2"
    )
    assert result.outputs["verdict"] == "error"
    assert waited(result, server) >= GRACE - 1


@pytest.mark.parametrize("gate", [{}, {"thresholds": "Latency: avg < 2"}])
def test_empty_run_ends_at_once(gate: dict[str, str], run_step: RunStep) -> None:
    result, server = run_step(test_set_id="empty001", **gate)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith("The run has no simulations, so nothing was evaluated; check that ")
    assert waited(result, server) < 15


@pytest.mark.parametrize("quirks", [SILENT, Quirks(output_ids="absent")], ids=["silent", "counts"])
def test_silent_empty_run_ends_after_settling(quirks: Quirks, run_step: RunStep) -> None:
    result, server = run_step(quirks=quirks, test_set_id="empty001")
    assert result.outputs["reason"].startswith("The run has no simulations")
    assert EMPTY_SETTLING <= waited(result, server) < EMPTY_SETTLING + 25


def test_list_that_lags_is_waited_for(run_step: RunStep) -> None:
    """Either place that counts the simulations says that there are some."""
    empty = '{"simulated_conversations": []}'
    for quirks in (Quirks(output_ids="absent"), Quirks(null_progress=True)):
        result, _ = run_step(f"GET /conversations/simulated #1-9 -> json {empty}", quirks=quirks)
        assert result.outputs["verdict"] == "passed", result.log
    result, _ = run_step(
        f"GET /conversations/simulated #1-3 -> json {empty}",
        quirks=SILENT,
        prepare=lambda _: {"test_set_id": "passing1"},
    )
    assert result.outputs["verdict"] == "passed", result.log


def test_given_test_cases_are_waited_for(run_step: RunStep) -> None:
    """The launch says how many simulations there must be."""
    case = "casepassing10000000001"
    result, server = run_step(
        'GET /conversations/simulated -> json {"simulated_conversations": []}', quirks=SILENT, test_case_ids=case
    )
    assert result.outputs["reason"].startswith("Coval lists 0 of 1 simulation of the run")
    assert waited(result, server) >= GRACE - 1


NO_TARGETS_OF_OLDER_SHAPE = (
    "Coval reports neither the id nor individual values of Latency, so its target cannot be judged (and 3 more "
    "criteria)."
)


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"thresholds": "Latency: p(95) < 2"}, "Coval reports no individual values of Latency, so p(95) is unknown."),
        (
            {"use_metric_targets": "true"},
            NO_TARGETS_OF_OLDER_SHAPE,
        ),
    ],
)
def test_name_of_older_shape_is_not_asked_for_as_id(gate: dict[str, str], reason: str, run_step: RunStep) -> None:
    result, server = run_step("GET /agents/* -> 403", quirks=Quirks(metric_shape="summary"), **gate)
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("error", reason)
    ids = {metric.id for metric in DEFAULT_METRICS}
    paths = (
        request.path.removeprefix("/v1/metrics/") for request in server.requests_seen if "/v1/metrics/" in request.path
    )
    assert set(paths) <= ids
    assert waited(result, server) < SETTLING + 15
