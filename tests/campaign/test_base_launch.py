"""Where the launches of a base and of the legs that are compared with it are lost, late, or hidden by Coval."""

from __future__ import annotations

import json
from typing import Final

import pytest

from campaign.invariants import violations
from campaign.schedule import Fault, Schedule, Step
from campaign.simulate import History, ProcessResult, simulate
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.quirks import DEFAULT, Quirks
from coval_sandbox.state import RunRecord

INPUTS: Final = {
    "agent_id": PREVIEW_ID,
    "base_agent_id": AGENT_ID,
    "persona_id": "persona000000000000001",
    "thresholds": "Latency: avg <= base * 9",
    "resume": "false",
    "supersede": "false",
    "cancel_on_interrupt": "true",
    "cancel_on_timeout": "false",
    "max_wait_time": "600",
}


def history_of(*faults: Fault, test_sets: str, mode: str = "run", quirks: Quirks = DEFAULT, **inputs: str) -> History:
    """Simulate a step that compares a leg for each test set with its base."""
    given = INPUTS | {"test_set_id": test_sets} | inputs
    return simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run",
            test_set=test_sets.split(", ")[0],
            gate="default",
            steps=(Step(mode=mode, inputs=tuple(given.items())),),
            faults=faults,
            quirks=quirks,
            latency=0.02,
        )
    )


def launch_fault(number: int, action: str) -> Fault:
    return Fault(method="POST", path="/runs", first=number, last=number, action=action)


def bases(history: History) -> list[RunRecord]:
    """Return the runs of the base agent."""
    return [run for run in history.world.runs if run.body["agent_id"] == AGENT_ID]


def launches(history: History, result: ProcessResult, agent: str) -> dict[str, float]:
    """Return when the step launched the run of an agent with each test set, in seconds."""
    runs = {sent.sent_at: history.runs[sent.launched_run] for sent in result.requests if sent.launched_run}
    return {run.body["test_set_id"]: at for at, run in runs.items() if run.body["agent_id"] == agent}


def test_step_that_launches_lets_no_base_wait_for_the_launches_of_other_legs() -> None:
    """The first leg's launch hangs until max_wait_time is over, and then the run cannot be found."""
    lists_are_down = Fault(method="GET", path="/runs", first=1, last=999, action="502")
    history = history_of(
        launch_fault(1, "hang 400 after"),
        lists_are_down,
        test_sets="passing1, someFail",
        mode="launch",
        max_wait_time="20",
        thresholds="",
    )
    step = history.results[0]
    assert launches(history, step, AGENT_ID) == {"someFail": pytest.approx(0.3, abs=0.3)}
    hanging, other = json.loads(step.outputs["legs"])
    assert (hanging["verdict"], hanging["base_run_id"]) == ("error", "")
    assert (other["verdict"], other["base_run_id"]) == ("", bases(history)[0].run_id)
    assert "its response was lost" in step.outputs["reason"]


def test_run_of_base_is_left_only_once_its_id_is_known() -> None:
    """The response to its launch comes when the tested run has waited in the queue for too long."""
    history = history_of(launch_fault(2, "slow 20"), test_sets="queued01", max_queue_time="20", max_wait_time="3600")
    step, (base,) = history.results[0], bases(history)
    assert (step.verdict, base.cancel_time) == ("timed_out", None)
    assert base.run_id in json.loads(step.outputs["run_ids"]), "a later step can wait for both"


@pytest.mark.parametrize("cancel", ["true", "false"])
def test_run_of_base_is_not_left_if_it_cannot_be_found(cancel: str) -> None:
    """No later step could wait for it. The post step ends it, unless the user wants no run cancelled.

    Coval's lists are down for as long as the step looks for the run, and a little longer.
    """
    history = history_of(
        launch_fault(2, "slow 250"),
        Fault(method="GET", path="/runs", first=1, last=36, action="503"),
        test_sets="queued01",
        max_queue_time="20",
        max_wait_time="3600",
        cancel_on_interrupt=cancel,
    )
    step, (base,) = history.results[0], bases(history)
    assert step.verdict == "timed_out"
    assert ("A run of the base could not be cancelled" in step.log) == (cancel == "true")
    assert base.run_id not in json.loads(step.outputs["run_ids"])
    assert (base.cancel_time is not None) == (cancel == "true")
    assert history.runs[step.run_id].cancel_time is None


def test_run_that_coval_hides_for_long_is_left_with_its_base_where_user_wants_that() -> None:
    """The 404s do not show that the tested run is over, so they are no reason to end the base's run."""
    hides = Quirks(not_found_after_launch=90.0)
    history = history_of(test_sets="flaky001, stuck001", quirks=hides, cancel_on_interrupt="false")
    step = history.results[0]
    assert [leg["verdict"] for leg in json.loads(step.outputs["legs"])] == ["error", "error"]
    assert [run.cancel_time for run in history.world.runs] == [None] * 4
    assert not violations(history)
