"""How many runs are under way at a time, and when a run is given up because its simulations fail."""

from collections.abc import Callable
from typing import Any

import pytest

from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import PERSONAS, SETS, legs_of
from support import IDS, StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


class Counting(World):
    """A world that notes how many runs were under way after each launch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.under_way: list[int] = []

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run."""
        launched = super().launch(body)
        self.under_way.append(len(self.unfinished))
        return launched


@pytest.mark.parametrize(("most", "expected"), [("", 4), ("2", 2)])
def test_so_many_runs_are_under_way_at_a_time(most: str, expected: int, run_step: RunStep, clock: VirtualClock) -> None:
    world = Counting(clock.time)
    result, _ = run_step(world=world, persona_id=PERSONAS, test_set_id=SETS, max_parallel_runs=most)
    assert (len(world.under_way), max(world.under_way)) == (4, expected)
    assert {leg["status"] for leg in legs_of(result).values()} == {"COMPLETED"}


def test_base_does_not_count(run_step: RunStep, clock: VirtualClock) -> None:
    world = Counting(clock.time)
    result, _ = run_step(
        world=world,
        agent_id=PREVIEW_ID,
        base_agent_id=AGENT_ID,
        test_set_id="passing1, passing2",
        thresholds="Latency: avg <= base * 3",
        max_parallel_runs="1",
    )
    assert (len(world.under_way), max(world.under_way)) == (4, 2)
    assert result.outputs["verdict"] == "passed"


def test_leg_whose_turn_does_not_come_is_an_error(run_step: RunStep) -> None:
    result, server = run_step(test_set_id="stuck001, passing1", max_parallel_runs="1", max_wait_time="120")
    assert len(server.world.runs) == 1
    assert {name: leg["verdict"] for name, leg in legs_of(result).items()} == {
        "stuck001": "timed_out",
        "passing1": "error",
    }
    assert result.outputs["reason"] == (
        "passing1: max_wait_time was over before this leg's turn came (max_parallel_runs: 1) (and 1 more leg)."
    )


@pytest.mark.parametrize(
    ("inputs", "todo"),
    [
        ({}, "Re-run the job later."),
        (
            {"test_set_id": f"{SETS}, passing2", "max_parallel_runs": "2", "concurrency": "5"},
            "Lower concurrency (5) or set max_parallel_runs below 2, and re-run the job later.",
        ),
    ],
)
def test_refused_launches_name_what_to_lower(inputs: dict[str, str], todo: str, run_step: RunStep) -> None:
    result, _ = run_step("POST /runs -> 429", max_wait_time="120", **inputs)
    assert result.outputs["verdict"] == "error"
    assert f"\nCoval limits how much runs at a time. {todo}\n" in result.annotations("error")[0].data


def test_leg_is_aborted_by_itself_and_the_next_waits_until_its_run_is_cancelled(run_step: RunStep) -> None:
    result, server = run_step(
        "DELETE /runs/* #1-2 -> 503",
        test_set_id="allFail1, passing1",
        abort_after_failures="2",
        max_parallel_runs="1",
    )
    verdicts = {name: leg["verdict"] for name, leg in legs_of(result).items()}
    assert verdicts == {"passing1": "passed", "allFail1": "failed"}
    given_up, following = server.world.runs
    assert given_up.cancel_time is not None
    assert given_up.cancel_time <= following.create_time


def test_interrupted_step_launches_no_leg_that_waits_for_its_turn(run_step: RunStep, clock: VirtualClock) -> None:
    clock.at(20, clock.interrupt)
    result, server = run_step(test_set_id="slow0001, passing1", max_parallel_runs="1")
    assert (result.outputs["verdict"], len(server.world.runs), server.world.unfinished) == ("cancelled", 1, ())


@pytest.mark.parametrize(("most", "aborts"), [("3", True), ("11", False)])
def test_run_whose_simulations_fail_is_aborted(
    most: str,
    aborts: bool,
    run_step: RunStep,
    clock: VirtualClock,
) -> None:
    result, server = run_step(test_set_id="allFail1", abort_after_failures=most, repeat_on_failure="1")
    (run, *repetitions) = server.world.runs
    assert result.outputs["verdict"] == "failed"
    assert (run.cancel_time is not None) is aborts
    assert bool(repetitions) is not aborts, "an aborted run is not repeated"
    if aborts:
        reason = result.outputs["reason"]
        assert reason.startswith("The first "), reason
        assert "simulations failed and none completed, as abort_after_failures forbids. Most failed with: " in reason
        (error,) = result.annotations("error")
        assert error.data.splitlines()[1:3] == ["The run was cancelled.", "Check that the agent can be reached."]
        assert server.world.unfinished == ()
        assert clock.now() < 60


@pytest.mark.parametrize("test_set_id", ["someFail", "noProgrs"])
def test_run_that_completes_simulations_or_shows_no_progress_is_not_aborted(
    test_set_id: str, run_step: RunStep
) -> None:
    _, server = run_step(test_set_id=test_set_id, abort_after_failures="1", max_failed_simulations="100%")
    assert server.world.runs[0].cancel_time is None


def test_run_of_someone_else_is_given_up_but_not_cancelled(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    world.launch({**IDS, "test_set_id": "allFail1", "metadata": {"tags": ["nightly"]}})
    result, _ = run_step(
        world=world, mode="wait", run_id="tag:nightly", test_set_id="allFail1", abort_after_failures="2"
    )
    (run,) = world.runs
    assert (result.outputs["verdict"], run.cancel_time) == ("failed", None)


ALONE = "max_parallel_runs has no effect: the step tests one agent with one persona and one test set."


@pytest.mark.parametrize(
    ("inputs", "warns"), [({"mode": "launch"}, True), ({"mode": "plan", "test_set_id": SETS}, False)]
)
def test_limit_on_parallel_runs_of_a_single_leg_is_questioned(
    inputs: dict[str, str], warns: bool, run_step: RunStep
) -> None:
    result, _ = run_step(max_parallel_runs="2", **inputs)
    assert [warning.data for warning in result.annotations("warning")] == [ALONE] * warns
