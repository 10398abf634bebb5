"""A run is launched once, found again when its answer was lost, and ended when nobody waits for it any more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from coval_gate.post import post
from coval_gate.runtime import Runtime
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import TOKEN, FakeGitHub
from road.test_reports import HEAD
from support import DEFAULTS, IDS, KEY, Trip, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ride = Callable[..., tuple[Trip, Server]]

LOST = ["reset-after", "500", "502", "cut 10", "body {}", "html 504"]  # the launch arrived, its answer did not
NEVER_ARRIVED = ["reset-before", "html 502"]


def statuses(world: World) -> list[str]:
    """What became of every run ever launched."""
    return [record.status(world.clock()) for record in world.runs]


def launches(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests_seen)


@pytest.mark.parametrize("fault", LOST)
def test_a_run_whose_answer_was_lost_is_taken_over(fault: str, ride: Ride) -> None:
    trip, server = ride(f"POST /runs #1 -> {fault}")
    assert (trip.outputs["verdict"], len(server.world.runs)) == ("passed", 1), trip.log
    assert trip.outputs["run_id"] == server.world.runs[0].run_id
    if launches(server) == 1:
        assert "so the step takes it over" in trip.log


@pytest.mark.parametrize(
    "quirks", [Quirks(ignore_tag_filter=True), Quirks(list_lag=45), Quirks(launch_response="id-field")]
)
def test_peculiar_lists_do_not_double_a_run(quirks: Quirks, ride: Ride) -> None:
    trip, server = ride("POST /runs #1 -> reset-after", quirks=quirks)
    assert (trip.outputs["verdict"], len(server.world.runs), launches(server)) == ("passed", 1, 1), trip.log


@pytest.mark.parametrize("fault", NEVER_ARRIVED)
def test_a_launch_that_never_arrived_is_repeated_once_that_is_sure(fault: str, ride: Ride) -> None:
    trip, server = ride(f"POST /runs #1 -> {fault}")
    assert (trip.outputs["verdict"], len(server.world.runs), launches(server)) == ("passed", 1, 2), trip.log
    assert "It did not, so the step launches it again." in trip.log


def test_a_launch_that_cannot_be_looked_up_is_an_error_and_not_repeated(ride: Ride) -> None:
    trip, server = ride("POST /runs -> reset-after", "GET /runs -> 500", max_wait_time="300")
    assert (trip.outputs["verdict"], launches(server)) == ("error", 1)
    assert "Could not check" in trip.outputs["reason"]
    assert trip.held, "the post step tries again"


def test_a_run_that_shows_nothing_of_itself_is_neither_adopted_nor_doubled(ride: Ride) -> None:
    listed = {"runs": [IDS | {"run_id": "bare", "status": "PENDING", "create_time": "2026-01-01T00:00:01Z"}]}
    trip, server = ride("POST /runs -> reset-after", f"GET /runs -> json {json.dumps(listed)}")
    assert (trip.outputs["verdict"], launches(server)) == ("error", 1)
    assert "may have begun the run bare" in trip.outputs["reason"]


def test_another_attempt_takes_over_what_the_first_left(ride: Ride, clock: VirtualClock) -> None:
    first, server = ride(mode="launch")
    clock.sleep(5)
    second, _ = ride(world=server.world, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert second.outputs["run_id"] == first.outputs["run_id"]
    assert (second.outputs["verdict"], len(server.world.runs)) == ("passed", 1)
    assert "Taking over the run of an earlier attempt" in second.log


def test_what_is_taken_over_is_not_superseded(ride: Ride) -> None:
    first, server = ride(mode="launch")
    second, _ = ride(world=server.world, env={"GITHUB_RUN_ATTEMPT": "2"}, supersede="true")
    assert second.outputs["run_id"] == first.outputs["run_id"]
    assert (second.outputs["verdict"], len(server.world.runs)) == ("passed", 1)


def test_jobs_of_a_matrix_do_not_take_over_each_others_runs(ride: Ride) -> None:
    staging, server = ride(mode="launch", tags="staging")
    production, _ = ride(mode="launch", tags="production", world=server.world)
    for tag, trip in (("staging", staging), ("production", production)):
        again, _ = ride(mode="launch", tags=tag, world=server.world, env={"GITHUB_RUN_ATTEMPT": "2"})
        assert again.outputs["run_id"] == trip.outputs["run_id"]


@pytest.mark.parametrize(
    "change",
    [{"resume": "false"}, {"iteration_count": "2"}, {"env": {"GITHUB_RUN_ID": "99"}}, {"env": {"GITHUB_JOB": "other"}}],
    ids=str,
)
def test_anything_else_is_launched_anew(change: dict[str, object], ride: Ride) -> None:
    _, server = ride(mode="launch")
    env = {"GITHUB_RUN_ATTEMPT": "2"} | change.pop("env", {})  # type: ignore[operator]
    ride(world=server.world, env=env, **change)
    assert len(server.world.runs) == 2


def test_a_finished_run_is_launched_anew(ride: Ride) -> None:
    _, server = ride()
    trip, _ = ride(world=server.world, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert (trip.outputs["verdict"], len(server.world.runs)) == ("passed", 2)


def test_a_newer_workflow_run_ends_the_older_ones_of_its_line_and_no_others(ride: Ride) -> None:
    _, server = ride(mode="launch", test_set_id="stuck001")
    world = server.world
    sibling = {"GITHUB_RUN_ID": "2000000000"}
    for env, inputs in (
        ({"GITHUB_JOB": "other"}, {}),
        ({}, {"persona_id": "persona000000000000002"}),
        (sibling, {"config_overrides": '{"a": 1}'}),
        ({"GITHUB_RUN_ID": "3000000000"}, {}),
    ):
        ride(world=world, mode="launch", test_set_id="stuck001", env=env, **inputs)
    trip, _ = ride(world=world, mode="launch", test_set_id="stuck001", supersede="true", env=sibling)
    assert statuses(world) == ["CANCELLED", *["PENDING"] * 5]
    assert f"Cancelled run {world.runs[0].run_id}: superseded by this run." in trip.log


@pytest.mark.parametrize("at", [0.5, 15, 30, 59])
def test_an_interrupted_step_ends_its_run(at: float, ride: Ride, clock: VirtualClock) -> None:
    clock.at(at, clock.interrupt)
    trip, server = ride(test_set_id="slow0001")
    assert statuses(server.world) == ["CANCELLED"]
    assert (trip.outputs["verdict"], trip.outputs["status"], trip.exit_code) == ("cancelled", "CANCELLED", 1)
    assert trip.outputs["reason"] == "The step was interrupted; the run was cancelled."
    assert not trip.held
    assert clock.now() - at <= 6
    assert trip.summary.startswith("### 🚫 Cancelled")


def test_a_step_that_is_told_to_leaves_the_run_alone(ride: Ride, clock: VirtualClock) -> None:
    clock.at(10, clock.interrupt)
    trip, server = ride(cancel_on_interrupt="false")
    assert statuses(server.world) == ["IN PROGRESS"]
    assert trip.outputs["reason"] == "The step was interrupted; the run goes on in Coval."
    assert not trip.held


def test_a_second_signal_changes_nothing(ride: Ride, clock: VirtualClock) -> None:
    clock.at(10, clock.interrupt)
    clock.at(11, clock.interrupt)
    trip, server = ride("DELETE /runs/* #1 -> 500")
    assert (statuses(server.world), trip.outputs["verdict"]) == (["CANCELLED"], "cancelled")


@pytest.mark.parametrize("fault", ["reset-after", "cut 10", "slow 0.3"])
def test_an_interrupt_between_the_launch_and_its_answer(fault: str, ride: Ride, clock: VirtualClock) -> None:
    """The signal comes as Coval has the request; the run is found by its tag and ended."""

    class Telling(World):
        def launch(self, body: object) -> dict[str, object]:
            clock.interrupt()
            return super().launch(body)

    trip, server = ride(f"POST /runs -> {fault}", world=Telling(clock.time))
    assert statuses(server.world) == ["CANCELLED"], trip.log
    assert trip.outputs["verdict"] == "cancelled"


def test_what_cannot_be_ended_is_left_to_the_post_step(ride: Ride, clock: VirtualClock) -> None:
    clock.at(10, clock.interrupt)
    trip, server = ride("DELETE /runs/* -> 500", test_set_id="slow0001")
    assert "could not be cancelled" in trip.outputs["reason"]
    assert trip.held
    assert clock.now() <= 16
    assert statuses(server.world) != ["CANCELLED"]
    assert "was cancelled" in after(trip, server.world)
    assert statuses(server.world) == ["CANCELLED"]


def after(trip: Trip, world: World, *faults: str, **env: str) -> str:
    """The log of the post step that follows a step."""
    import io

    with Server(world, faults=faults) as server:
        inputs = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url}
        environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "acme/voice-agent",
            "GITHUB_SHA": HEAD,
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
            **{f"STATE_{name}": value for name, value in trip.state.items()},
        }
        log = io.StringIO()
        clock = VirtualClock()
        assert post(Runtime(environ=environ | env, stdout=log, clock=clock)) == 0
        assert clock.now() <= 95
    assert KEY not in log.getvalue().replace(f"::add-mask::{KEY}", "")
    return log.getvalue()


def killed(trip: Trip, **known: object) -> Trip:
    """What the post step finds if the main step was killed with that state."""
    (leg,) = json.loads(trip.state["legs"])
    return replace(trip, state={"legs": json.dumps([leg | {"cancel": True} | known])})


def test_the_post_step_is_silent_where_the_main_step_came_to_its_end(ride: Ride) -> None:
    for inputs in ({}, {"mode": "launch"}, {"test_set_id": "stuck001", "max_wait_time": "30"}):
        trip, server = ride(**inputs)
        before = statuses(server.world)
        assert after(trip, server.world) == ""
        assert statuses(server.world) == before


def test_the_post_step_ends_what_a_killed_step_left(ride: Ride) -> None:
    trip, server = ride(mode="launch", test_set_id="stuck001")
    log = after(killed(trip), server.world)
    assert f"The main step left a run behind: the run was cancelled ({trip.outputs['run_id']})." in log
    assert statuses(server.world) == ["CANCELLED"]
    assert "already ended" in after(killed(trip), server.world), "twice does no harm"


def test_the_post_step_finds_a_run_whose_id_the_main_step_never_knew(ride: Ride) -> None:
    trip, server = ride(mode="launch", test_set_id="stuck001")
    assert "the run was cancelled" in after(killed(trip, run_id=""), server.world)
    assert statuses(server.world) == ["CANCELLED"]


def test_the_post_step_never_deletes_a_finished_run(ride: Ride) -> None:
    trip, server = ride()
    assert "already ended (COMPLETED)" in after(killed(trip), server.world)
    assert server.world.runs[0].delete_time is None


@pytest.mark.parametrize("fault", ["* * -> 500", "* * -> 401", "* * -> body {", "* * -> 404"])
def test_the_post_step_never_fails_the_job(fault: str, ride: Ride) -> None:
    trip, server = ride(mode="launch", test_set_id="stuck001")
    assert "::warning" in after(killed(trip), server.world, fault) or "no longer exists" in after(
        killed(trip), server.world, fault
    )
    assert "::warning" in after(killed(trip), server.world, INPUT_API_KEY="")


def test_the_post_step_takes_the_commit_status_out_of_pending(ride: Ride) -> None:
    trip, server = ride(mode="launch", test_set_id="stuck001")
    with FakeGitHub() as github:
        github.commits.add(HEAD)
        env = {"INPUT_COMMIT_STATUS": "Coval", "INPUT_GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": github.url}
        after(killed(trip, concluded="true"), server.world, **env)
        assert not github.statuses, "what the main step said stays"
        after(killed(trip), server.world, **env)
        assert [each["state"] for each in github.statuses[HEAD]] == ["error"]


def test_a_timeout_ends_the_run_where_that_is_asked_for(ride: Ride) -> None:
    trip, server = ride(test_set_id="stuck001", max_wait_time="300", cancel_on_timeout="true")
    assert (trip.outputs["verdict"], statuses(server.world)) == ("timed_out", ["CANCELLED"])
    assert "The run was cancelled. Raise max_wait_time" in trip.annotations("error")[0].data
    trip, server = ride(test_set_id="stuck001", max_wait_time="300")
    assert (trip.outputs["verdict"], statuses(server.world)) == ("timed_out", ["IN PROGRESS"])


@pytest.mark.parametrize(
    ("inputs", "limit", "at"),
    [
        ({"test_set_id": "queued01", "max_queue_time": "90"}, "max_queue_time", 90),
        ({"test_set_id": "stuck001", "stall_timeout": "600"}, "stall_timeout", None),
        ({"test_set_id": "stuck001", "stall_timeout": "6000", "max_wait_time": "700"}, "max_wait_time", 700),
        ({"test_set_id": "queued01", "stall_timeout": "60", "max_wait_time": "700"}, "max_wait_time", 700),
    ],
)
def test_every_budget_says_which_it_is(
    inputs: dict[str, str], limit: str, at: float | None, ride: Ride, clock: VirtualClock
) -> None:
    trip, _ = ride(**inputs)
    assert trip.outputs["verdict"] == "timed_out"
    assert f"the limit of {limit}" in trip.outputs["reason"]
    assert at is None or clock.now() == at


def test_a_run_that_moves_is_not_stalled(ride: Ride) -> None:
    trip, _ = ride(test_set_id="slow0001", stall_timeout="900", max_queue_time="600", max_wait_time="14400")
    assert trip.outputs["verdict"] == "passed", trip.log


def test_mode_cancel_ends_runs_unless_they_are_over(ride: Ride) -> None:
    done, server = ride()
    going, _ = ride(world=server.world, mode="launch", test_set_id="stuck001")
    ids = f"{done.outputs['run_id']},{going.outputs['run_id']},nowhere0000000000000001"
    trip, _ = ride(world=server.world, mode="cancel", run_id=ids, agent_id="")
    assert (trip.exit_code, trip.outputs["verdict"], trip.outputs["status"]) == (0, "", "CANCELLED")
    assert statuses(server.world) == ["COMPLETED", "CANCELLED"]
    assert server.world.runs[0].delete_time is None
    assert trip.summary.startswith("### ⏹️ Cancelled: Coval evaluation")
    assert "already ended (COMPLETED)" in trip.log


def test_mode_cancel_tries_every_run_before_it_fails(ride: Ride) -> None:
    first, server = ride(mode="launch", test_set_id="stuck001")
    second, _ = ride(world=server.world, mode="launch", test_set_id="stuck001", persona_id="persona000000000000002")
    ids = f"{first.outputs['run_id']},{second.outputs['run_id']}"
    trip, _ = ride(f"DELETE /runs/{first.outputs['run_id']} -> 403", world=server.world, mode="cancel", run_id=ids)
    assert trip.outputs["verdict"] == "error"
    assert statuses(server.world)[1] == "CANCELLED"


def test_a_lost_delete_is_looked_at_before_it_is_repeated(ride: Ride) -> None:
    """Otherwise the second one would delete what the first had ended."""
    trip, server = ride(mode="launch", test_set_id="stuck001")
    run_id = trip.outputs["run_id"]
    trip, _ = ride("DELETE /runs/* #1 -> reset-after", world=server.world, mode="cancel", run_id=run_id)
    assert server.world.runs[0].delete_time is None
    assert "the run was cancelled" in trip.log


@pytest.mark.parametrize("mode", ["run", "wait"])
def test_bad_days(mode: str, ride: Ride) -> None:
    """A key that is revoked on the way, and an API that is gone for ten minutes."""
    launch, server = ride(mode="launch", test_set_id="slow0001")
    more = {"mode": "wait", "run_id": launch.outputs["run_id"], "world": server.world} if mode == "wait" else {}
    revoked, _ = ride("* /runs/* #3- -> 401", test_set_id="slow0001", **more)
    assert revoked.outputs["verdict"] == "error"
    assert "could not be cancelled" in revoked.annotations("error")[0].data
    down, _ = ride("GET /runs/* #4-40 -> 503", test_set_id="passing1", max_wait_time="14400")
    assert down.outputs["verdict"] == "passed"
    limited, _ = ride("GET /runs/* #2- -> 429 retry-after=3600", max_wait_time="1800")
    assert (limited.outputs["verdict"], limited.outputs["duration_seconds"]) == ("error", "1800")


def test_outputs_that_cannot_be_written_after_the_launch_end_the_run(
    ride: Ride, tmp_path: Path, clock: VirtualClock
) -> None:
    def fill() -> None:
        (tmp_path / "output").unlink()
        (tmp_path / "output").mkdir()

    class Filling(World):
        def launch(self, body: object) -> dict[str, object]:
            fill()
            return super().launch(body)

    world = Filling(clock.time)
    with pytest.raises((AssertionError, OSError)):  # there are no outputs to read, and that is the trouble
        ride(world=world, test_set_id="stuck001")
    assert statuses(world) == ["CANCELLED"]
    assert "GITHUB_OUTPUT names cannot be written" in (tmp_path / "summary.md").read_text()


def test_without_the_runners_files_the_log_says_it_all(ride: Ride) -> None:
    trip, _ = ride(env=dict.fromkeys(("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"), ""), bare=True)
    assert trip.exit_code == 0
    assert "verdict=passed" in trip.log
