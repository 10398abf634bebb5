"""A run is launched once, found again after a lost response, and cancelled as soon as no step needs its result."""

import json
from dataclasses import replace
from typing import Any

import pytest

from coval_sandbox.quirks import Quirks
from coval_sandbox.world import World
from road.legs import RERUN, launch_count, run_post_step, run_statuses
from road.nights import RunStep
from support import EPOCH, IDS, StepResult, VirtualClock, state_of


@pytest.mark.parametrize(
    ("fault", "quirks", "launches"),
    [
        ("reset-after", {"ignore_tag_filter": True, "list_lag": 45, "launch_response": "id-field"}, 1),
        ("html 403 after", {}, 1),
        ("500", {}, 2),  # nothing began
    ],
    ids=str,
)
def test_run_of_lost_launch_is_found_or_launched_again(
    fault: str, quirks: dict[str, Any], launches: int, run_step: RunStep
) -> None:
    """Which responses are lost launches, tests/unit/test_client.py has."""
    result, server = run_step(f"POST /runs #1 -> {fault}", quirks=Quirks(**quirks))
    assert (result.outputs["verdict"], len(server.world.runs), launch_count(server)) == ("passed", 1, launches), (
        result.log
    )
    assert result.outputs["run_id"] == server.world.runs[0].run_id
    expected = {1: "so the step takes it over", 2: "The run did not begin, so the step launches it again."}
    assert expected[launches] in result.log


def test_wrong_address_shows_within_seconds(run_step: RunStep, clock: VirtualClock) -> None:
    moved, _ = run_step("GET /runs/* -> redirect https://elsewhere.example/", mode="wait", run_id="r1")
    assert (moved.outputs["verdict"], "redirect" in moved.outputs["reason"], clock.slept) == ("error", True, [])
    result, server = run_step("* * -> html 404")
    assert (result.outputs["verdict"], launch_count(server)) == ("error", 1)
    assert "The response is not from Coval: check api_base_url and any proxies." in result.log
    assert not result.post_step_cancels
    assert clock.now() < 20


def test_launch_is_not_retried_when_search_fails(run_step: RunStep) -> None:
    result, server = run_step("POST /runs -> reset-after", "GET /runs -> 500", max_wait_time="300")
    assert (result.outputs["verdict"], launch_count(server)) == ("error", 1)
    assert "Could not check" in result.outputs["reason"]
    assert result.post_step_cancels, "the post step retries"


def test_time_too_short_to_look_for_lost_launch_is_reported(run_step: RunStep) -> None:
    result, server = run_step("POST /runs #1 -> 500", max_wait_time="40")
    assert (result.outputs["verdict"], launch_count(server)) == ("error", 1)
    assert result.outputs["reason"].endswith(
        "Coval did not list the run in the 40 s until max_wait_time was over. "
        "The step needs 1 min after the end of the connection to be sure that no run began."
    )
    assert "To give it that time, raise max_wait_time by at least 20 s." in result.log
    assert result.post_step_cancels


def test_second_attempt_resumes_run_of_first_and_does_not_supersede_it(run_step: RunStep, clock: VirtualClock) -> None:
    first, server = run_step(mode="launch")
    clock.sleep(5)
    second, _ = run_step(world=server.world, env=RERUN, supersede="true")
    assert second.outputs["run_id"] == first.outputs["run_id"]
    assert (second.outputs["verdict"], len(server.world.runs)) == ("passed", 1)
    assert "Taking over the run of an earlier attempt" in second.log


def test_finished_run_is_neither_deleted_nor_resumed(run_step: RunStep) -> None:
    first, server = run_step()
    assert "already ended (COMPLETED)" in run_post_step(as_if_killed(first, server.world), server.world)
    assert server.world.runs[0].delete_time is None
    run_step(world=server.world, env=RERUN, mode="launch")
    assert len(server.world.runs) == 2


@pytest.mark.parametrize(("at", "cancels"), [(0.5, True), (30, True), (30, False)])
def test_interrupt_cancels_run_if_wanted(at: float, cancels: bool, run_step: RunStep, clock: VirtualClock) -> None:
    clock.at(at, clock.interrupt)
    result, server = run_step(test_set_id="slow0001", cancel_on_interrupt=str(cancels).lower())
    assert run_statuses(server.world) == ["CANCELLED" if cancels else "IN QUEUE"]
    assert (result.outputs["verdict"], result.outputs["status"], result.exit_code) == ("cancelled", "CANCELLED", 1)
    outcome = "the run was cancelled" if cancels else "the run continues in Coval"
    assert result.outputs["reason"] == f"The step was interrupted; {outcome}."
    assert not result.post_step_cancels
    assert clock.now() - at <= 6
    assert result.summary.startswith("### 🚫 Cancelled")


def as_if_killed(result: StepResult, world: World, **known: object) -> StepResult:
    """Return the result as if the main step had been killed, with changes to what it saved of its only run."""
    (record,) = world.runs
    return replace(result, state={"legs": json.dumps([state_of(record) | known])})


@pytest.mark.parametrize("known", [{}, {"run_id": ""}], ids=str)
def test_post_step_cancels_run_of_killed_step(known: dict[str, str], run_step: RunStep) -> None:
    result, server = run_step(mode="launch", test_set_id="stuck001")
    assert run_post_step(result, server.world) == "", "nothing to do after a step that has ended"
    killed = as_if_killed(result, server.world, **known)
    log = run_post_step(killed, server.world)
    assert f"The main step left a run behind: the run was cancelled ({result.outputs['run_id']})." in log
    assert run_statuses(server.world) == ["CANCELLED"]
    assert "already ended" in run_post_step(killed, server.world), "a second post step is harmless"


def test_post_step_does_not_fail_job(run_step: RunStep) -> None:
    result, server = run_step(mode="launch", test_set_id="stuck001")
    killed = as_if_killed(result, server.world)
    assert "::warning" in run_post_step(killed, server.world, INPUT_API_KEY="")
    for fault in ("500", "401", "body {"):
        assert "::warning" in run_post_step(killed, server.world, f"* * -> {fault}")
    assert "no longer exists" in run_post_step(killed, server.world, "* * -> 404")


@pytest.mark.parametrize(
    ("test_set", "cancel", "limit", "at", "status"),
    [
        ("queued01", "false", "max_queue_time", 90, "IN QUEUE"),
        ("stuck001", "true", "max_wait_time", 120, "CANCELLED"),
    ],
)
def test_timeout_names_the_limit_and_leaves_the_run_unless_it_is_to_cancel_it(
    test_set: str, cancel: str, limit: str, at: float, status: str, run_step: RunStep, clock: VirtualClock
) -> None:
    inputs = {"test_set_id": test_set, "cancel_on_timeout": cancel}
    result, server = run_step(max_queue_time="90", max_wait_time="120", **inputs)
    advises = "The run was cancelled. Raise max_wait_time" in result.annotations("error")[0].data
    assert advises is (status == "CANCELLED")
    assert (result.outputs["verdict"], run_statuses(server.world), clock.now()) == ("timed_out", [status], at)
    assert f"the limit of {limit}" in result.outputs["reason"]


def test_log_shows_at_once_that_run_is_unknown(run_step: RunStep, clock: VirtualClock) -> None:
    for limit in ("900", "10"):
        began = clock.now()
        result, _ = run_step(mode="wait", run_id="nowhere000000000000001", max_wait_time=limit)
        said = min(int(limit), 15)
        assert (result.outputs["verdict"], clock.now() - began) == ("error", said)
        assert result.log.count(f"Coval does not know this run yet; the step keeps asking for {said} s.\n") == 1
    new, _ = run_step(quirks=Quirks(not_found_after_launch=10))
    assert (new.outputs["verdict"], new.log.count("Coval does not know this run yet")) == ("passed", 1)
    deleted, _ = run_step("GET /runs/* #3- -> 404")
    assert (deleted.outputs["verdict"], deleted.outputs["status"]) == ("cancelled", "DELETED")
    assert deleted.log.count("Coval no longer knows this run; the step keeps asking for 1 min.") == 1
    assert "yet" not in deleted.log


def test_mode_cancel_cancels_unfinished_runs(run_step: RunStep) -> None:
    done, server = run_step()
    going, _ = run_step(world=server.world, mode="launch", test_set_id="stuck001")
    ids = f"{done.outputs['run_id']},{going.outputs['run_id']}"
    result, _ = run_step(world=server.world, mode="cancel", run_id=ids, agent_id="")
    assert (result.exit_code, result.outputs["verdict"], result.outputs["status"]) == (0, "", "CANCELLED")
    assert run_statuses(server.world) == ["COMPLETED", "CANCELLED"]
    assert server.world.runs[0].delete_time is None
    assert result.summary.startswith("### ⏹️ Cancelled: Coval evaluation")
    assert "already ended (COMPLETED)" in result.log


@pytest.mark.parametrize(
    ("fault", "verdict"), [("DELETE /runs/* #1 -> reset-after", ""), ("DELETE /runs/{first} -> 403", "error")]
)
def test_mode_cancel_tries_all_runs_whatever_becomes_of_one(
    fault: str, verdict: str, run_step: RunStep, clock: VirtualClock
) -> None:
    """A run is polled before DELETE is retried: the second DELETE would remove what the first had cancelled."""
    world = World(clock.time, quirks=Quirks(not_found_after_launch=10))
    ids = launch_many(world, 2)
    result, _ = run_step(fault.format(first=ids[0]), mode="cancel", run_id=",".join(ids), world=world)
    assert (result.outputs["verdict"], run_statuses(world)[1]) == (verdict, "CANCELLED")
    assert [run.delete_time for run in world.runs] == [None, None]
    assert "the run was cancelled" in result.log


def launch_many(world: World, count: int) -> list[str]:
    """Launch runs that never end, and return their ids."""
    for _ in range(count):
        world.launch(IDS | {"test_set_id": "stuck001"})
    return [record.run_id for record in world.runs]


def test_mode_cancel_shares_max_wait_time(run_step: RunStep, clock: VirtualClock) -> None:
    ids = launch_many(world := World(clock.time), 10)
    faults = [f"GET /runs/{run_id} -> 503" for run_id in ids[:-1]]
    inputs = {"mode": "cancel", "run_id": ",".join(ids), "max_wait_time": "60"}
    result, server = run_step(*faults, world=world, **inputs)
    assert (result.outputs["verdict"], result.exit_code) == ("error", 1)
    assert clock.now() == 60
    tried = {request.path.rpartition("/")[2] for request in server.requests_seen}
    assert tried == set(ids)
    cancelled = world.runs[-1].cancel_time
    assert cancelled is not None
    assert cancelled - EPOCH < 60, "the first runs leave time for the last one"


def test_launched_run_that_coval_does_not_show_is_reported_as_such(run_step: RunStep) -> None:
    result, server = run_step(quirks=Quirks(not_found_after_launch=90.0))
    (run,) = server.world.runs
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(f"Coval launched run {run.run_id}, but has not shown it since (404")
    assert "Check run_id" not in result.log
