"""The step judges a run only when Coval has all of its simulations and metrics, in any order."""

import json
from typing import Any

import pytest

from coval_sandbox.quirks import Quirks
from coval_sandbox.world import World
from road.nights import PUSH, RunStep
from support import StepResult, VirtualClock

MUTATION = "fasterModel000000000000001"


def judged_metrics(result: StepResult) -> set[str]:
    """Return the metrics whose targets were judged, from the JSON report."""
    criteria = json.loads(result.json)["legs"][0]["criteria"]
    return {criterion["metric_id"] for criterion in criteria if criterion["kind"] == "target_met"}


@pytest.mark.parametrize(
    ("source", "trickle", "gate"),
    [
        ("shown", 3.0, {"thresholds": "pass_rate >= 95%"}),
        ("hidden", 12.0, {"use_metric_targets": "true"}),
        ("forbidden", 60.0, {"use_metric_targets": "true"}),
    ],
    ids=str,
)
def test_targets_of_late_metrics_are_judged(
    source: Any, trickle: float, gate: dict[str, str], run_step: RunStep
) -> None:
    quirks = Quirks(metrics_trickle=trickle, agent_metrics=source)
    result, _ = run_step(quirks=quirks, json_path="reports/coval.json", **gate)
    assert result.outputs["verdict"] == "passed", result.log
    assert len(judged_metrics(result)) == 4


@pytest.mark.parametrize("source", ["shown", "hidden"])
def test_announced_metric_that_never_comes_is_error(source: Any, run_step: RunStep) -> None:
    quirks = Quirks(metrics_trickle=100_000.0, agent_metrics=source)
    result, _ = run_step(quirks=quirks, use_metric_targets="true")
    assert result.outputs["verdict"] == "error"
    assert "Coval announced the metric" in result.outputs["reason"]


@pytest.mark.parametrize(
    ("counts", "null_progress", "inputs"),
    [
        ("simulations", True, {}),
        ("simulations", False, {"iteration_count": "3"}),
        ("test-cases", False, {"iteration_count": "3"}),
        ("test-cases", False, {"mutation_ids": MUTATION}),
        ("test-cases", True, {"iteration_count": "2", "mutation_ids": MUTATION}),
    ],
    ids=str,
)
def test_late_simulations_are_judged(
    counts: Any, null_progress: bool, inputs: dict[str, str], run_step: RunStep
) -> None:
    quirks = Quirks(output_ids="absent", progress_counts=counts, null_progress=null_progress, simulations_trickle=40.0)
    result, _ = run_step(quirks=quirks, concurrency="20", **inputs)
    runs = 10 * int(inputs.get("iteration_count", "1")) * (2 if "mutation_ids" in inputs else 1)
    assert (result.outputs["verdict"], result.outputs["total_simulations"]) == ("passed", str(runs)), result.log


@pytest.mark.parametrize(
    ("mode", "inputs", "listed"),
    [
        ("run", {"iteration_count": "3"}, 10),
        ("run", {"mutation_ids": MUTATION}, 11),
        ("wait", {"iteration_count": "3"}, 10),
    ],
    ids=str,
)
def test_part_of_simulations_is_error(
    mode: str, inputs: dict[str, str], listed: int, run_step: RunStep, clock: VirtualClock
) -> None:
    """The list never shows more than each test case once, or one simulation of the other variant."""
    world = World(clock.time, quirks=Quirks(output_ids="absent"))
    run_step(mode="launch", world=world, concurrency="20", **inputs)
    clock.sleep(600)
    simulations = world.list_simulations({})["simulated_conversations"]
    run = world.get_run(world.runs[0].run_id)
    if mode == "run":
        run["run"]["results"] = {"metrics": {}}  # in mode wait, only values show that there are more
    result, _ = run_step(
        f"GET /runs/* -> json {json.dumps(run)}",
        f"GET /conversations/simulated -> json {json.dumps({'simulated_conversations': simulations[:listed]})}",
        world=world if mode == "wait" else World(clock.time),  # in mode run, it launches a run with the same ids
        metrics_grace_time="60",
        mode=mode,
        **({"run_id": world.runs[0].run_id} if mode == "wait" else inputs),
    )
    assert result.outputs["verdict"] == "error", result.log
    assert result.outputs["reason"].startswith(f"Coval lists {listed} of "), result.outputs["reason"]


def test_unreadable_list_entry_is_transient(run_step: RunStep) -> None:
    damaged = '{"simulated_conversations": [1, "x", null]}'
    result, _ = run_step(f"GET /conversations/simulated #1-3 -> json {damaged}")
    assert (result.outputs["verdict"], result.outputs["total_simulations"]) == ("passed", "10"), result.log


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


@pytest.mark.parametrize(
    ("path", "fault"), [("/runs/*", "503"), ("/runs/*", "429 retry-after=3600"), ("/conversations/simulated", "503")]
)
def test_judges_look_from_after_outage(path: str, fault: str, run_step: RunStep, clock: VirtualClock) -> None:
    """The values come while Coval is unavailable, for longer than the step waits for them."""
    world = World(clock.time, quirks=Quirks(metrics_lag=60))
    first = 2 if path == "/runs/*" else 1
    polls = count_polls_until_end(run_step, clock) if path == "/runs/*" else 0
    result, _ = run_step(
        f"GET {path} #{polls + first}-{polls + first + 9} -> {fault}",
        world=world,
        thresholds="Latency: avg < 1.5",
        metrics_grace_time="30",
    )
    assert result.outputs["verdict"] == "passed", result.log


def count_polls_until_end(run_step: RunStep, clock: VirtualClock) -> int:
    """Return how many polls it takes until the run has ended; the polls of another step are the same."""
    _, server = run_step(world=World(clock.time))
    return sum(request.method == "GET" and request.path.startswith("/v1/runs/") for request in server.requests_seen) - 1


def test_long_retry_after_does_not_hide_end_of_run(run_step: RunStep) -> None:
    result, _ = run_step("GET /runs/* #2 -> 429 retry-after=86400", max_wait_time="3600")
    assert result.outputs["verdict"] == "passed"
    assert int(result.outputs["duration_seconds"]) < 200


def test_data_from_after_outage_have_not_settled(run_step: RunStep) -> None:
    """The look that ends with the outage shows other data than the one before: it began with a poll long ago."""
    quirks = Quirks(simulations_trickle=100.0, output_ids="absent", null_progress=True)
    _, server = run_step(quirks=quirks)
    paths = [request.path for request in server.requests_seen if request.method == "GET"]
    polls = paths.index("/v1/conversations/simulated")
    result, _ = run_step(f"GET /runs/* #{polls + 2}-{polls + 7} -> 503", quirks=quirks)
    assert (result.outputs["verdict"], result.outputs["total_simulations"]) == ("passed", "10"), result.log


SKIPPING = {"test_set_id": "someFail", "quirks": Quirks(skipped_simulations=True)}


@pytest.mark.parametrize(("allowed", "verdict"), [("0", "failed"), ("50%", "passed")])
def test_skipped_simulation_is_over_and_did_not_complete(allowed: str, verdict: str, run_step: RunStep) -> None:
    result, server = run_step(max_failed_simulations=allowed, **SKIPPING)
    assert (result.outputs["verdict"], result.outputs["completed_simulations"]) == (verdict, "7"), result.log
    assert int(result.outputs["duration_seconds"]) - server.world.runs[0].plan.end < 15


def test_run_with_skipped_simulations_is_a_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    inputs = {"thresholds": "Latency: avg <= baseline * 5", "baseline": "tag:nightly", "max_failed_simulations": "50%"}
    earlier, server = run_step(mode="launch", tags="nightly", event=PUSH, **SKIPPING)
    clock.sleep(120)
    env = {"GITHUB_RUN_ID": "1234567899"}
    result, _ = run_step(world=server.world, test_set_id="someFail", env=env, event=PUSH, **inputs)
    assert result.outputs["baseline_run_id"] == earlier.outputs["run_id"], result.log
