"""Runs of earlier attempts: recognized wherever Coval shows tags or metadata, and replaced while they are cancelled."""

from typing import Any

import pytest

from coval_gate.step.follow import DOUBT
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import NEWER, RERUN, run_statuses
from road.nights import RunStep
from support import IDS, StepResult, VirtualClock

HIDDEN = Quirks(list_identity="neither", run_identity="neither")


def cancel_first(run_step: RunStep, clock: VirtualClock, **quirks: Any) -> tuple[StepResult, Server]:
    """Interrupt the first attempt, which cancels its run."""
    clock.at(clock.now() + 20, clock.interrupt)
    first, server = run_step(test_set_id="slow0001", quirks=Quirks(**quirks))
    assert first.outputs["reason"] == "The step was interrupted; the run was cancelled."
    clock.rearm()
    return first, server


@pytest.mark.parametrize(
    ("mode", "cancel_lag", "delete_running"),
    [
        ("run", 20, "cancelled"),
        ("run", 100, "gone"),
        ("launch", 20, "deleted"),  # a step that does not wait for its run cannot find out about a longer lag
    ],
)
def test_run_that_is_being_cancelled_is_replaced(
    mode: str, cancel_lag: float, delete_running: str, run_step: RunStep, clock: VirtualClock
) -> None:
    first, server = cancel_first(run_step, clock, cancel_lag=cancel_lag, delete_running=delete_running)
    given = {"test_set_id": "slow0001", "mode": mode, "max_wait_time": "9000", "check_interval": "120"}
    second, _ = run_step(world=server.world, env=RERUN, **given)
    old, new = server.world.runs
    assert (second.outputs["verdict"], second.outputs["run_id"]) == ("passed" if mode == "run" else "", new.run_id)
    assert f"An earlier attempt had cancelled run {old.run_id}, so the step launches another." in second.log
    assert old.finished(new.create_time)
    assert first.outputs["run_id"] == old.run_id


def test_run_with_ending_status_is_not_taken_over(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = cancel_first(run_step, clock, cancel_lag=600, cancelling_status="canceling")
    second, _ = run_step(world=server.world, env=RERUN, test_set_id="slow0001", mode="launch")
    old, new = server.world.runs
    assert second.outputs["run_id"] == new.run_id
    assert (
        f"Run {old.run_id} of an earlier attempt is being cancelled, so the step does not take it over." in second.log
    )


def test_run_that_is_cancelled_later_is_not_replaced(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = run_step(mode="launch", test_set_id="slow0001")
    run_id = server.world.runs[0].run_id
    clock.at(clock.now() + DOUBT + 10, lambda: server.world.delete_run(run_id))
    second, _ = run_step(world=server.world, env=RERUN, test_set_id="slow0001")
    assert (second.outputs["verdict"], len(server.world.runs)) == ("cancelled", 1)


def test_run_that_is_listed_but_not_found_is_not_replaced(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id="stuck001")
    run_id = server.world.runs[0].run_id
    second, _ = run_step("GET /runs/* -> 404", world=server.world, env=RERUN, test_set_id="stuck001")
    assert (second.outputs["verdict"], len(server.world.runs)) == ("error", 1)
    third, _ = run_step("GET /runs/* -> 404", world=server.world, env=RERUN, test_set_id="stuck001", mode="launch")
    assert (third.outputs["run_id"], third.outputs["status"], len(server.world.runs)) == (run_id, "LAUNCHED", 1)


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(list_identity="tags", run_identity="neither"),
        Quirks(list_identity="metadata", run_identity="neither", blind_tag_filter=True),
        Quirks(list_identity="neither", run_identity="tags", blind_tag_filter=True),
        Quirks(list_identity="neither", run_identity="metadata"),
    ],
    ids=["list-tags", "list-metadata", "run-tags", "run-metadata"],
)
def test_lost_launch_is_found_resumed_and_superseded(quirks: Quirks, run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time, quirks=quirks)
    inputs = {"mode": "launch", "test_set_id": "stuck001"}
    first, _ = run_step("POST /runs #1 -> reset-after", world=world, **inputs)
    second, _ = run_step(world=world, env=RERUN, **inputs)
    assert [run.run_id for run in world.runs] == [first.outputs["run_id"]] == [second.outputs["run_id"]]
    newer, _ = run_step(world=world, env=NEWER, supersede="true", **inputs)
    assert run_statuses(world) == ["CANCELLED", "PENDING"]
    assert f"Cancelled run {first.outputs['run_id']}: superseded by this run." in newer.log


def test_launch_is_not_repeated_although_only_its_time_tells_its_run(run_step: RunStep, clock: VirtualClock) -> None:
    """Our clock is ahead of Coval's. An older run of the same is none that the launch may have begun."""
    coval = World(lambda: clock.time() - 3600, quirks=HIDDEN)
    coval.launch({**IDS, "metadata": {}})
    clock.sleep(3600)
    result, server = run_step("POST /runs #1 -> reset-after", world=coval)
    old, ours = server.world.runs
    assert result.outputs["verdict"] == "error", result.log
    assert f"The launch may have begun the run {ours.run_id}." in result.outputs["reason"]
    assert old.run_id not in result.log


def test_run_is_not_launched_beside_one_without_identity(run_step: RunStep) -> None:
    first, server = run_step(mode="launch", quirks=HIDDEN)
    second, _ = run_step(world=server.world, env=RERUN)
    assert (second.outputs["verdict"], len(server.world.runs)) == ("error", 1)
    assert f"whether run {first.outputs['run_id']}, which is not over" in second.outputs["reason"]
    assert "set resume to false" in second.annotations("error")[0].data
    third, _ = run_step(world=server.world, env=RERUN, resume="false")
    assert (third.outputs["verdict"], len(server.world.runs)) == ("passed", 2)


def test_finished_run_without_identity_does_not_hinder(run_step: RunStep) -> None:
    _, server = run_step(quirks=HIDDEN)
    second, _ = run_step(world=server.world, env=RERUN)
    assert (second.outputs["verdict"], len(server.world.runs)) == ("passed", 2)


def test_run_without_identity_beside_others_is_another_launch(run_step: RunStep) -> None:
    """Coval shows the tags of other runs, so a run without any was launched by someone else."""
    _, server = run_step()
    server.world.launch(IDS)
    second, _ = run_step(world=server.world, env=RERUN)
    assert (second.outputs["verdict"], len(server.world.runs)) == ("passed", 3)


def test_run_without_identity_is_not_superseded_in_silence(run_step: RunStep) -> None:
    first, server = run_step(mode="launch", test_set_id="stuck001", quirks=HIDDEN)
    result, _ = run_step(mode="launch", world=server.world, env=NEWER, test_set_id="stuck001", supersede="true")
    assert run_statuses(server.world) == ["PENDING", "PENDING"]
    assert f"whether this run supersedes run {first.outputs['run_id']}" in result.annotations("warning")[0].data
