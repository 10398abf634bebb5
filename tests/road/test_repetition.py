"""A run that failed is repeated: launched once each, judged together, cancelled and left like the first one."""

import json
from typing import Any

import pytest

from coval_gate.history.tags import FAILED_TAG, KEY_TAG
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import for_test_set
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import RERUN, run_post_step, run_statuses
from road.nights import ON_MAIN, PUSH, RunStep, prolong
from support import StepResult, VirtualClock

RATE = "Resolved: rate(YES) >= 90%"
SLOW = "Latency: avg < 1.4"
FLAKY = {"test_set_id": "flaky002", "thresholds": RATE, "repeat_on_failure": "1"}
SECOND = 75.0  # s; by then the first run has ended, and the second one is in progress


def verdict_and_runs(result: StepResult, world: World) -> tuple[str, int]:
    """Return the verdict and the number of runs, which begin with the run of the step."""
    assert json.loads(result.outputs["run_ids"])[0] == result.outputs["run_id"] == world.runs[0].run_id
    return result.outputs["verdict"], len(world.runs)


def test_flaky_run_passes_with_its_repetition(run_step: RunStep) -> None:
    url = "https://app.coval.dev/acme"
    inputs = FLAKY | {"display_name": "Nightly", "tags": "nightly", "dashboard_url": url}
    result, server = run_step(**inputs, json_path="reports/coval.json", event=PUSH, env=ON_MAIN)
    first, second = server.world.runs
    assert json.loads(result.outputs["run_ids"]) == [first.run_id, second.run_id]
    assert result.outputs["reason"] == "The first run failed, but both runs together meet every criterion (flaky)."
    assert verdict_and_runs(result, server.world) == ("passed", 2)
    assert (result.outputs["status"], result.outputs["total_simulations"]) == ("COMPLETED", "20")
    (warning,) = result.annotations("warning")
    assert warning.properties["title"] == "Coval Gate: Flaky"
    # The requests differ in their keys, and the repetition has no tag of the branch.
    assert without_identity(first.body) == without_identity(second.body)
    keys = [KEY_TAG.fullmatch(record.tags[1]) for record in (first, second)]
    assert keys[0]
    assert keys[1]
    assert keys[0][5] != keys[1][5]
    has_branch = [any("coval-gate/branch/main" in tag for tag in record.tags) for record in (first, second)]
    assert has_branch == [True, False]
    # The reports distinguish the runs.
    (leg,) = json.loads(result.json)["legs"]
    assert not any(FAILED_TAG in record.tags for record in (first, second))
    assert [run["duties"] for run in result.saved_runs] == []
    assert [(run["id"], run["verdict"], run["status"]) for run in leg["runs"]] == [
        (first.run_id, "failed", "COMPLETED"),
        (second.run_id, "passed", "COMPLETED"),
    ]
    for simulation in leg["simulations"]:
        assert simulation["run_id"] in (first.run_id, second.run_id)
        assert simulation["url"] == f"{url}/runs/{simulation['run_id']}/results/{simulation['id']}"
    assert {(case["stability"], case["failed"], case["total"]) for case in leg["failing_cases"]} == {("flaky", 1, 2)}


def without_identity(body: Any) -> Any:
    metadata = body["metadata"]
    customer = {name: value for name, value in metadata["customer"].items() if not name.startswith("coval_gate")}
    return {**body, "metadata": {**metadata, "tags": metadata["tags"][:1], "customer": customer}}


def test_consistent_failure_is_repeated_once(run_step: RunStep) -> None:
    """Both runs draw the same test cases."""
    inputs = {"test_set_id": "failing1", "thresholds": SLOW, "sub_sample_size": "4"}
    result, server = run_step(**inputs, repeat_on_failure="1", supersede="true")
    assert (result.outputs["verdict"], len(server.world.runs)) == ("failed", 2)
    assert result.log.count("Repeating it once.") == 1
    assert not any(request.method == "DELETE" for request in server.requests_seen), "it superseded its own runs"
    assert len({record.tags[1] for record in server.world.runs}) == 1, "all are in the same concurrency group"
    drawn = [{simulation.test_case_id for simulation in record.plan.simulations} for record in server.world.runs]
    (seed,) = {record.body["options"]["sub_sample_seed"] for record in server.world.runs}
    assert drawn[0] == drawn[1]
    assert f"All runs of this step draw their test cases with sub_sample_seed {seed}." in result.log


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"test_set_id": "runFails"}, "failed"),  # it has no data that others could be added to
        ({"thresholds": "Latency: avg < 2", "quirks": Quirks(missing_values=0.9)}, "error"),
    ],
)
def test_only_failed_run_with_data_is_repeated(given: dict[str, Any], verdict: str, run_step: RunStep) -> None:
    result, server = run_step(repeat_on_failure="1", **given)
    assert (result.outputs["verdict"], len(server.world.runs)) == (verdict, 1)


def test_first_run_decides_if_time_is_over(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    # The first run was launched before.
    clock.at(clock.now() + 30, lambda: setattr(world, "scenario", for_test_set("slow0001")))
    result, server = run_step(**FLAKY, world=world, max_wait_time="150", cancel_on_timeout="false")
    assert verdict_and_runs(result, server.world) == ("failed", 2)
    assert result.outputs["reason"] == "rate(YES) of Resolved is 80% (8 of 10), must be >= 90%."
    second = server.world.runs[1].run_id
    assert f"Repetition {second} does not count, so the first run decides. The run was still IN QUEUE" in result.log
    assert "The run was cancelled." in result.log
    assert run_statuses(server.world) == ["COMPLETED", "CANCELLED"]
    assert not result.post_step_cancels


def test_first_run_decides_if_a_repetition_is_rejected_or_cancelled_in_coval(
    run_step: RunStep, clock: VirtualClock
) -> None:
    result, server = run_step("POST /runs #2 -> 403", **FLAKY)
    assert verdict_and_runs(result, server.world) == ("failed", 1)
    assert "The repetition does not count, so the first run decides. POST /runs returned 403" in result.log
    assert not result.post_step_cancels
    world = World(clock.time)
    clock.at(clock.now() + SECOND, lambda: world.delete_run(world.runs[1].run_id))
    result, server = run_step(**FLAKY, world=world)
    assert verdict_and_runs(result, server.world) == ("failed", 2)
    assert "does not count, so the first run decides. The run was cancelled in Coval." in result.log


def test_later_attempt_keeps_the_first_run_and_takes_the_repetition_over(
    run_step: RunStep, clock: VirtualClock
) -> None:
    server, inputs = left_repetition(run_step, clock)
    again, _ = run_step(world=server.world, env=RERUN, **inputs)
    first, repetition = server.world.runs
    assert json.loads(again.outputs["run_ids"]) == [first.run_id, repetition.run_id]
    assert f"Run {first.run_id}, kept from attempt 1: " in again.log
    assert f"Taking over the run of an earlier attempt, {repetition.run_id}" in again.log


ENOUGH = {"thresholds": "Resolved: rate(YES) >= 1%"}


def test_later_attempt_ends_repetition_that_it_does_not_need(run_step: RunStep, clock: VirtualClock) -> None:
    """The first run, which it keeps, passes."""
    server, inputs = left_repetition(run_step, clock)
    again, _ = run_step(world=server.world, env=RERUN, **inputs | ENOUGH)
    assert (again.outputs["verdict"], run_statuses(server.world)[1]) == ("passed", "CANCELLED"), again.log
    repetition = server.world.runs[1].run_id
    assert f"Cancelled run {repetition}: a run of an earlier attempt, which nothing needs now." in again.log


def test_repetition_that_cannot_be_ended_is_left_to_the_post_step(run_step: RunStep, clock: VirtualClock) -> None:
    server, inputs = left_repetition(run_step, clock)
    again, _ = run_step("DELETE /runs/* -> 503", world=server.world, env=RERUN, **inputs | ENOUGH)
    assert (again.outputs["verdict"], len(server.world.runs)) == ("passed", 2), again.log
    (warning,) = (annotation.data for annotation in again.annotations("warning"))
    assert warning.startswith(f"Could not cancel run {server.world.runs[1].run_id} (a run of an earlier attempt")
    run_post_step(again, server.world)
    assert run_statuses(server.world)[1] == "CANCELLED"


def left_repetition(run_step: RunStep, clock: VirtualClock) -> tuple[Server, dict[str, str]]:
    """Make an attempt leave its repetition unfinished; return the server and the inputs."""
    inputs = {"test_set_id": "failing1", "thresholds": SLOW, "repeat_on_failure": "1"}
    clock.at(SECOND, clock.interrupt)
    _, server = run_step(**inputs, cancel_on_interrupt="false")
    prolong(server.world, seconds=600)
    clock.rearm()
    assert run_statuses(server.world) == ["COMPLETED", "IN PROGRESS"]
    return server, inputs
