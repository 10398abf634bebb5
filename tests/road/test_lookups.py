"""A step that must look for earlier runs does not launch before Coval has listed them."""

import pytest

from coval_gate.base.times import CANCELLING
from coval_gate.step.cancel import LOOKUP_PATIENCE
from coval_sandbox.world import World
from road.legs import NEWER, RERUN, run_statuses
from road.nights import RunStep
from support import VirtualClock


def test_run_of_first_attempt_is_found_after_outage(run_step: RunStep, clock: VirtualClock) -> None:
    first, server = run_step(mode="launch", test_set_id="slow0001")
    began = clock.now()
    second, _ = run_step("GET /runs #1-7 -> 503", world=server.world, env=RERUN, test_set_id="slow0001")
    assert second.outputs["run_id"] == first.outputs["run_id"], second.log
    assert len(server.world.runs) == 1
    assert clock.now() - began > 40


@pytest.mark.parametrize(
    ("fault", "name", "env"), [("503", "resume", RERUN), ("body {}", "supersede", NEWER), ("403", "supersede", NEWER)]
)
def test_step_does_not_launch_without_look_up(
    fault: str, name: str, env: dict[str, str], run_step: RunStep, clock: VirtualClock
) -> None:
    _, server = run_step(mode="launch", test_set_id="stuck001")
    inputs = {"test_set_id": "stuck001", "supersede": "true" if name == "supersede" else "false"}
    began = clock.now()
    second, _ = run_step(f"GET /runs -> {fault}", world=server.world, env=env, **inputs)
    assert (second.outputs["verdict"], len(server.world.runs)) == ("error", 1)
    assert f"set {name} to false" in second.annotations("error")[0].data
    assert clock.now() - began == (0 if fault == "403" else LOOKUP_PATIENCE)
    assert not second.post_step_cancels
    third, _ = run_step(f"GET /runs -> {fault}", world=server.world, env=env, mode="launch", **inputs | {name: "false"})
    assert (third.outputs["status"], len(server.world.runs)) == ("LAUNCHED", 2)


def test_look_up_keeps_deadline_of_step(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = run_step(mode="launch")
    began = clock.now()
    second, _ = run_step("GET /runs -> 503", world=server.world, env=RERUN, max_wait_time="60")
    assert (second.outputs["verdict"], len(server.world.runs), clock.now() - began) == ("error", 1, 60)


def test_first_attempt_needs_no_look_up(run_step: RunStep) -> None:
    result, _ = run_step("GET /runs -> 503")
    assert result.outputs["verdict"] == "passed"


def test_superseded_runs_are_cancelled_side_by_side(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    for number in range(5):
        run_step(world=world, mode="launch", test_set_id="stuck001", env={"GITHUB_RUN_ID": f"10000000{number}"})
    began = clock.now()
    faults = [f"DELETE /runs/{run.run_id} -> 500" for run in world.runs[1:]]
    inputs = {"mode": "launch", "test_set_id": "stuck001", "supersede": "true"}
    result, _ = run_step(*faults, world=world, env=NEWER, **inputs)
    assert [status == "CANCELLED" for status in run_statuses(world)] == [True, *[False] * 5]
    assert len(result.annotations("warning")) == 4
    assert clock.now() - began == CANCELLING
