"""The step waits for the data of a completed run as long as they may come, in any order, and no longer."""

import json
from typing import Any

import pytest

from coval_gate.step.collect import EMPTY_SETTLING, SETTLING, UNNAMED_SETTLING
from coval_sandbox.catalogue import DEFAULT_METRICS, LATENCY, RESOLVED, TOPICS
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.nights import PUSH, RunStep
from support import StepResult, VirtualClock

MUTATION = "fasterModel000000000000001"
GRACE = 180.0  # s, the default of metrics_grace_time
FEW = {"sub_sample_size": "2"}  # simulations, which need few requests
MISSPELT = {"thresholds": "Latncy: avg < 2"}
SILENT = Quirks(output_ids="absent", null_progress=True)
ALL_IDS = ",".join(metric.id for metric in DEFAULT_METRICS)
NO_SIMULATION = 'json {"simulated_conversations": []}'
TOPIC_THRESHOLD = f"{TOPICS.name}: count(legal) == 0"
SKIPPING = {"test_set_id": "someFail", "quirks": Quirks(skipped_simulations=True)}


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


# Metrics


@pytest.mark.parametrize(
    ("source", "trickle", "gate"),
    [
        ("shown", 170.0, {"thresholds": "pass_rate >= 95%"}),
        ("forbidden", 60.0, {"use_metric_targets": "true"}),
        ("hidden", 170.0, {"use_metric_targets": "true", "thresholds": TOPIC_THRESHOLD, "metric_ids": ALL_IDS}),
    ],
    ids=["agent", "outputs", "launch"],
)
def test_announced_metric_is_waited_for(source: Any, trickle: float, gate: dict[str, str], run_step: RunStep) -> None:
    """The metrics of the run are listed one after another, and each counts."""
    quirks = Quirks(metrics_trickle=trickle, agent_metrics=source)
    result, _ = run_step(quirks=quirks, json_path="reports/coval.json", **gate, **FEW)
    assert result.outputs["verdict"] == "passed", result.log
    criteria = json.loads(result.json)["legs"][0]["criteria"]
    assert len({criterion["metric_id"] for criterion in criteria if criterion["kind"] == "target_met"}) == 4


@pytest.mark.parametrize(("gap", "outputs_trickle"), [(25.0, False), (55.0, True)])
def test_metric_of_given_run_is_waited_for(gap: float, outputs_trickle: Any, follow_run: RunStep) -> None:
    """Nothing names the metrics of the run, and it lists the second one long after the first."""
    quirks = Quirks(metrics_trickle=gap, outputs_trickle=outputs_trickle)
    launch = {"metric_ids": f"{LATENCY.id},{TOPICS.id}"} | FEW
    result, _ = follow_run(quirks=quirks, launch=launch, thresholds=TOPIC_THRESHOLD)
    assert result.outputs["verdict"] == "passed", result.log


def test_misspelt_metric_of_given_run_ends_soon(follow_run: RunStep) -> None:
    result, server = follow_run(launch={"metric_ids": f"{LATENCY.id},{RESOLVED.id}"}, **MISSPELT)
    assert result.outputs["reason"].startswith('The run has no metric "Latncy"; did you mean Latency? It has Latency')
    assert waited(result, server) < UNNAMED_SETTLING + 15
    assert outputs_fetched(server) <= 5


def test_misspelt_metric_ends_soon_where_it_was_not_checked(run_step: RunStep) -> None:
    """The launch names the metrics of the run."""
    quirks = Quirks(agent_metrics="forbidden")
    result, server = run_step("GET /metrics -> 403", quirks=quirks, metric_ids=ALL_IDS, **MISSPELT, **FEW)
    assert result.outputs["reason"].startswith('The run has no metric "Latncy"; did you mean Latency?')
    assert waited(result, server) < SETTLING + 15


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
    result, server = run_step("GET /metrics -> 403", fault, **MISSPELT, **inputs, **FEW)
    assert result.outputs["verdict"] == "error"
    assert waited(result, server) >= GRACE - 1


# Values


def test_values_that_ended_without_one_are_not_waited_for(run_step: RunStep) -> None:
    quirks = Quirks(missing_values=0.1)
    result, server = run_step(quirks=quirks, thresholds="Latency: avg < 2", concurrency="50")
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
    result, server = run_step(fault, quirks=Quirks(missing_values=1.0), thresholds="Latency: avg < 2", **FEW)
    assert result.outputs["verdict"] == "error"
    assert waited(result, server) >= GRACE - 1


# Simulations


def test_late_simulations_are_judged(run_step: RunStep) -> None:
    """How many there must be, tests/unit/test_population.py has."""
    quirks = Quirks(output_ids="absent", null_progress=True, simulations_trickle=40.0)
    result, _ = run_step(quirks=quirks, concurrency="20", iteration_count="2", mutation_ids=MUTATION)
    assert (result.outputs["verdict"], result.outputs["total_simulations"]) == ("passed", "40"), result.log


def test_empty_run_ends_at_once(run_step: RunStep) -> None:
    result, server = run_step(test_set_id="empty001", thresholds="Latency: avg < 2")
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith("The run has no simulations, so nothing was evaluated; check that ")
    assert waited(result, server) < 15


def test_silent_empty_run_ends_after_settling(run_step: RunStep) -> None:
    result, server = run_step(quirks=SILENT, test_set_id="empty001")
    assert result.outputs["reason"].startswith("The run has no simulations")
    assert EMPTY_SETTLING <= waited(result, server) < EMPTY_SETTLING + 25


@pytest.mark.parametrize(
    ("quirks", "looks"),
    [(Quirks(output_ids="absent"), 9), (SILENT, 3)],
    ids=["progress", "silent"],
)
def test_list_that_lags_is_waited_for(quirks: Quirks, looks: int, run_step: RunStep) -> None:
    """Either place that counts the simulations shows that there are some."""
    result, _ = run_step(f"GET /conversations/simulated #1-{looks} -> {NO_SIMULATION}", quirks=quirks)
    assert result.outputs["verdict"] == "passed", result.log
    assert "waiting for 10 simulations" in result.log


@pytest.mark.parametrize(("looks", "known"), [("#1-6", True), ("*", False)])
def test_test_cases_are_waited_for_where_they_matter(
    looks: str, known: bool, run_step: RunStep, clock: VirtualClock
) -> None:
    """What never names them is judged after `metrics_grace_time`, not when the list has stayed the same."""
    world = World(clock.time)
    run_step(mode="launch", world=world)
    clock.sleep(600)
    rows = [row | {"test_case_id": None} for row in world.list_simulations({})["simulated_conversations"]]
    began = clock.now()
    result, _ = run_step(
        f"GET /conversations/simulated {looks} -> json {json.dumps({'simulated_conversations': rows})}",
        world=world,
        mode="wait",
        run_id=world.runs[0].run_id,
        confidence="90%",
        thresholds="Latency: avg < 5",
        metrics_grace_time="120",
        json_path="reports/coval.json",
    )
    simulations = json.loads(result.json)["legs"][0]["simulations"]
    assert all(bool(simulation["test_case_id"]) is known for simulation in simulations), result.log
    assert (clock.now() - began >= 120) is not known
    assert "waiting for the test cases of 10 simulations" in result.log


def test_run_with_skipped_simulations_passes_and_is_a_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    inputs = {"thresholds": "Latency: avg <= baseline * 5", "baseline": "tag:nightly", "max_failed_simulations": "50%"}
    earlier, server = run_step(mode="launch", tags="nightly", event=PUSH, **SKIPPING)
    clock.sleep(120)
    env = {"GITHUB_RUN_ID": "1234567899"}
    result, _ = run_step(world=server.world, test_set_id="someFail", env=env, event=PUSH, **inputs)
    assert (result.outputs["verdict"], result.outputs["completed_simulations"]) == ("passed", "7"), result.log
    assert result.outputs["baseline_run_id"] == earlier.outputs["run_id"]


# Outages


def test_long_retry_after_does_not_hide_end_of_run(run_step: RunStep) -> None:
    result, _ = run_step("GET /runs/* #2 -> 429 retry-after=86400", max_wait_time="3600")
    assert result.outputs["verdict"] == "passed"
    assert int(result.outputs["duration_seconds"]) < 200


def test_name_of_older_shape_is_not_requested_as_id(run_step: RunStep) -> None:
    quirks = Quirks(metric_shape="summary")
    result, server = run_step("GET /agents/* -> 403", quirks=quirks, use_metric_targets="true")
    assert result.outputs["verdict"] == "error"
    assert "neither the id nor individual values of Latency, so its target cannot be judged" in result.outputs["reason"]
    paths = [request.path.partition("/v1/metrics/")[2] for request in server.requests_seen]
    assert {*filter(None, paths)} <= {metric.id for metric in DEFAULT_METRICS}
    assert waited(result, server) < SETTLING + 15
