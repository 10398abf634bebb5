"""A run that an earlier attempt is still cancelling is replaced, not judged."""

from typing import Any

import pytest

from coval_gate.step.follow import DOUBT
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from road.legs import RERUN
from road.nights import RunStep
from support import StepResult, VirtualClock


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
        ("launch", 3, "cancelled"),
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


def test_own_run_is_not_replaced(run_step: RunStep) -> None:
    result, server = run_step(test_set_id="cancels1")
    assert (result.outputs["verdict"], len(server.world.runs)) == ("cancelled", 1)


def test_run_that_is_listed_but_not_found_is_not_replaced(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id="stuck001")
    run_id = server.world.runs[0].run_id
    second, _ = run_step("GET /runs/* -> 404", world=server.world, env=RERUN, test_set_id="stuck001")
    assert (second.outputs["verdict"], len(server.world.runs)) == ("error", 1)
    third, _ = run_step("GET /runs/* -> 404", world=server.world, env=RERUN, test_set_id="stuck001", mode="launch")
    assert (third.outputs["run_id"], third.outputs["status"], len(server.world.runs)) == (run_id, "LAUNCHED", 1)


def test_failed_replacement_is_error_without_run(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = cancel_first(run_step, clock, cancel_lag=10)
    second, _ = run_step("POST /runs -> 403", world=server.world, env=RERUN, test_set_id="slow0001")
    assert "had cancelled run" in second.log
    assert (second.outputs["verdict"], second.outputs["run_id"]) == ("error", "")
    assert not second.post_step_cancels
