"""Runs of earlier attempts: recognized wherever Coval shows tags or metadata, and replaced while they are cancelled.

One that no launch takes over, because its request has changed since, is ended.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox.catalogue import PREVIEW_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import NEWER, PERSONAS, RERUN, run_post_step, run_statuses
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


def test_launch_is_not_repeated_although_only_its_time_identifies_its_run(
    run_step: RunStep, clock: VirtualClock
) -> None:
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


def test_run_without_identity_is_not_superseded_in_silence(run_step: RunStep) -> None:
    first, server = run_step(mode="launch", test_set_id="stuck001", quirks=HIDDEN)
    result, _ = run_step(mode="launch", world=server.world, env=NEWER, test_set_id="stuck001", supersede="true")
    assert run_statuses(server.world) == ["PENDING", "PENDING"]
    assert f"whether this run supersedes run {first.outputs['run_id']}" in result.annotations("warning")[0].data


def in_file(directory: Path, inputs: dict[str, str]) -> dict[str, str]:
    """Write the inputs of a step into its configuration file. Return the inputs of the step itself."""
    file = directory / "workspace" / "gate.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(inputs), encoding="utf-8")
    return dict.fromkeys(IDS, "") | {"mode": "launch", "config_path": file.name}


CHANGED = "its request has changed since it was launched."
SHOWN = {
    "all": Quirks(),
    "no tags, filter refused": Quirks(list_identity="metadata", refuse_tag_filter=True),
    "only alone, filter ignored": Quirks(list_identity="neither", ignore_tag_filter=True),
    "only alone, filter finds nothing": Quirks(list_identity="neither", blind_tag_filter=True),
}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize(
    "changed",
    [
        {"iteration_count": "3"},
        {"display_name": "Attempt 2"},
        {"test_set_id": "slow0001"},
        {"agent_id": PREVIEW_ID, "persona_id": "persona000000000000002"},
        {"persona_id": PERSONAS, "mutation_ids": "fasterModel000000000000001"},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_run_whose_request_has_changed_since_is_ended_before_the_launch(
    shown: str, changed: dict[str, str], run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    """As after an edit of the run template, the workflow's inputs are the same."""
    world = World(clock.time, quirks=SHOWN[shown])
    own = IDS | {"test_set_id": "stuck001"}
    first, _ = run_step(world=world, **in_file(tmp_path, own))
    again, _ = run_step(world=world, env=RERUN, **in_file(tmp_path, own | changed))
    old, *new = world.runs
    assert f"Cancelled run {first.outputs['run_id']}: {CHANGED}" in again.log
    assert old.cancel_time is not None
    assert old.cancel_time <= new[0].create_time
    assert "CANCELLED" not in run_statuses(world)[1:]


@pytest.mark.parametrize("launched", ["by both calls", "by the other call alone"])
def test_calls_of_a_reusable_workflow_leave_each_other_alone(launched: str, run_step: RunStep) -> None:
    """Only their inputs distinguish them, and a call may have ended before its launch. What else changes is no sign."""
    own, other = (
        {"mode": "launch", "test_set_id": "stuck001", "agent_id": id_} for id_ in (IDS["agent_id"], PREVIEW_ID)
    )
    _, server = run_step(**other)
    (left,) = server.world.runs
    if launched == "by both calls":
        run_step(world=server.world, **own)
    for attempt in ("2", "3"):
        env = {"GITHUB_RUN_ATTEMPT": attempt}
        again, _ = run_step(world=server.world, env=env, json_path=f"result-{attempt}.json", **own)
        assert "Cancelled run" not in again.log
        assert f"Run {left.run_id} goes on: an earlier attempt launched it with other inputs" in again.log
    assert len(server.world.runs) == 2
    assert "CANCELLED" not in run_statuses(server.world)


def test_newer_step_supersedes_no_run_of_another_agent(run_step: RunStep) -> None:
    """The runs of all agents that a step tests share its concurrency group."""
    inputs = {"mode": "launch", "test_set_id": "stuck001"}
    _, server = run_step(**inputs, agent_id=f"{IDS['agent_id']}, {PREVIEW_ID}")
    run_step(world=server.world, env=NEWER, supersede="true", **inputs, agent_id=PREVIEW_ID)
    ended = [record.body["agent_id"] for record in server.world.runs if record.cancel_time]
    assert ended == [PREVIEW_ID]


def test_run_that_could_not_be_cancelled_is_left_to_the_post_step(run_step: RunStep, tmp_path: Path) -> None:
    first, server = run_step(**in_file(tmp_path, IDS | {"test_set_id": "stuck001"}))
    changed = in_file(tmp_path, IDS | {"test_set_id": "queued01"})
    again, _ = run_step("DELETE /runs/* -> 403", world=server.world, env=RERUN, **changed)
    (warning,) = (annotation.data for annotation in again.annotations("warning"))
    assert warning.startswith(f"Could not cancel run {first.outputs['run_id']} ({CHANGED.rstrip('.')})")
    run_post_step(again, server.world)
    assert run_statuses(server.world)[0] == "CANCELLED"
    assert "CANCELLED" not in run_statuses(server.world)[1:]


STUCK_LEGS = {"agent_id": f"{IDS['agent_id']}, {PREVIEW_ID}", "test_set_id": "stuck001"}
BESIDE_BASE = {"agent_id": PREVIEW_ID, "base_agent_id": IDS["agent_id"], "thresholds": "Latency: avg <= base * 9"}
LACKS_ONE = ("POST /runs #2 -> 403",)  # the first attempt has a run of the first leg only


@pytest.mark.parametrize(
    ("before", "faults", "at", "inputs"),
    [
        ((), (), 12, STUCK_LEGS | {"max_parallel_runs": "1"}),
        (LACKS_ONE, ("POST /runs -> slow 20",), 6, STUCK_LEGS | {"supersede": "true"}),
        (LACKS_ONE, (), None, STUCK_LEGS | {"max_simulations": "1"}),
        ((), ("POST /runs -> 403",), None, BESIDE_BASE | {"test_set_id": "stuck001"}),
    ],
    ids=["before its turn", "beside a launch", "grown beyond max_simulations", "base alone"],
)
def test_run_of_an_earlier_attempt_is_ended_wherever_this_one_stops(
    before: tuple[str, ...],
    faults: tuple[str, ...],
    at: float | None,
    inputs: dict[str, str],
    run_step: RunStep,
    clock: VirtualClock,
) -> None:
    """Its step was killed, so nothing else ends it: a re-run that found it must."""
    world = run_step(*before, mode="launch", **inputs | {"max_simulations": ""})[1].world
    if "base_agent_id" in inputs:
        world.delete_run(world.runs[0].run_id)  # the leg's own
    clock.sleep(5)
    if at:
        clock.at(clock.now() + at, clock.interrupt)
    again, _ = run_step(*faults, world=world, env=RERUN, **inputs)
    assert again.outputs["verdict"] == ("cancelled" if at else "error")
    assert {*run_statuses(world)} == {"CANCELLED"}, again.log
    assert "no run was launched" not in again.log


def test_step_that_cannot_look_for_earlier_runs_neither_ends_nor_launches_any(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id="stuck001")
    again, _ = run_step("GET /runs -> 403", world=server.world, env=RERUN, mode="launch", test_set_id="queued01")
    assert (again.outputs["verdict"], run_statuses(server.world)) == ("error", ["PENDING"])
    assert "set resume to false" in again.annotations("error")[0].data
