"""Launches whose response comes late, is lost, or comes when the step is about to end: what no schedule draws."""

from typing import Any, Final

import pytest

from campaign.schedule import Fault, Schedule, Signal, Step
from campaign.simulate import History, ProcessResult, simulate
from coval_gate.step.cancel import SEARCH_TIME
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID

INPUTS: Final = {"max_wait_time": "1800", "cancel_on_interrupt": "true", "cancel_on_timeout": "false"}
WITH_BASE: Final[dict[str, Any]] = {
    "agent_id": PREVIEW_ID,
    "base_agent_id": AGENT_ID,
    "persona_id": "persona000000000000001",
    "test_set_id": "queued01",
    "thresholds": "Latency: avg <= base * 9",
    "max_queue_time": "20",
    "max_wait_time": "3600",
}


def history_of(*faults: Fault, steps: tuple[Step, ...] = (), **more: Any) -> History:
    """Simulate steps in turn, or one step with these inputs, while requests meet faults."""
    return simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run" if len(steps) < 2 else "rerun",
            test_set=more.get("test_set_id", "passing1"),
            gate="default",
            steps=steps or (step("run", **more),),
            faults=faults,
            latency=0.1,
        )
    )


def step(mode: str, *, attempt: int = 1, signal: Signal | None = None, **inputs: str) -> Step:
    return Step(mode=mode, inputs=INPUTS | inputs, attempt=attempt, signal=signal)


def launch(action: str, number: int = 1) -> Fault:
    return Fault("POST", "/runs", number, number, action)


def lists(action: str, first: int = 1, last: int = 999) -> Fault:
    return Fault("GET", "/runs", first, last, action)


def launches(result: ProcessResult) -> list[float]:
    """Return when the process sent each launch, in seconds."""
    return [request.sent_at for request in result.requests if request.method == "POST"]


def statuses(history: History) -> list[str]:
    return [record.status(history.coval_time(history.ended)) for record in history.world.runs]


@pytest.mark.parametrize("faults", [(), (lists("403"),), (lists("hang 60"),)], ids=["found", "refused", "hanging"])
def test_late_response_to_launch_is_used_at_once(faults: tuple[Fault, ...]) -> None:
    """No result of the search for its run matters as long as the connection is open."""
    history = history_of(launch("late 97"), *faults)
    result = history.results[0]
    assert (result.verdict, statuses(history), len(launches(result))) == ("passed", ["COMPLETED"], 1)
    polls = [request.sent_at for request in result.requests if request.path == f"/runs/{result.run_id}"]
    assert 97 <= polls[0] < 98 + (SEARCH_TIME if faults else 0)
    assert "The connection stays open. Checking meanwhile whether the run began." in result.log


def test_failed_search_ends_launch_once_its_connection_is_closed() -> None:
    result = history_of(launch("hang 60"), lists("403")).results[0]
    assert (result.verdict, len(launches(result))) == ("error", 1)
    assert 60 < result.ended < 60 + SEARCH_TIME + 5
    assert "Could not check whether the launch began a run: GET /runs returned 403" in result.log


def test_second_run_that_appears_after_launch_step_is_cancelled() -> None:
    """The step that launches ends at once; its post step runs at the end of the job."""
    history = history_of(launch("late 400"), steps=(step("launch"), step("wait")))
    assert [result.verdict for result in history.results if not result.is_post] == ["", "passed"]
    assert sorted(statuses(history)) == ["CANCELLED", "COMPLETED"]
    assert "the step launched another in its place." in "".join(result.log for result in history.results)


@pytest.mark.parametrize(
    ("cancel", "outcome"), [("true", "the run was cancelled"), ("false", "the run continues in Coval")]
)
def test_signal_during_check_for_second_run_ends_launch_step(cancel: str, outcome: str) -> None:
    signal = Signal(kill=False, method="GET", path="/runs", request=74)  # the last one of the step
    history = history_of(launch("late 9999"), steps=(step("launch", signal=signal, cancel_on_interrupt=cancel),))
    assert history.results[0].interrupted
    assert f"The step was interrupted; {outcome}" in history.results[0].log
    assert (statuses(history) == ["CANCELLED"]) == (cancel == "true")


@pytest.mark.parametrize(
    ("faults", "signal"),
    [
        ((launch("late 370"), lists("500", 75, 90)), Signal(kill=True, at=380)),
        ((launch("late 352.45"),), Signal(kill=False, method="POST", path="/runs", request=2, phase="after")),
    ],
    ids=["kill during the check for a second run", "signal during the second launch"],
)
def test_second_run_is_cancelled_though_the_user_keeps_the_own_run(faults: tuple[Fault, ...], signal: Signal) -> None:
    history = history_of(*faults, steps=(step("run", signal=signal, cancel_on_interrupt="false"),))
    is_cancelled = {record.run_id: record.cancel_time is not None for record in history.world.runs}
    assert (len(is_cancelled), is_cancelled.pop(history.results[0].run_id), *is_cancelled.values()) == (2, False, True)


@pytest.mark.parametrize("kill", [False, True])
def test_interrupt_while_older_runs_are_looked_for_cancels_resumed_run(kill: bool) -> None:
    """A run of an earlier attempt is guarded as soon as the step has taken it over."""
    given: dict[str, Any] = {"test_set_id": "slow0001", "resume": "true", "supersede": "true", "max_wait_time": "600"}
    while_looking = Signal(kill=kill, method="GET", path="/runs", request=2)
    steps = (step("launch", **given), step("run", attempt=2, signal=while_looking, **given))
    assert statuses(history_of(steps=steps, test_set_id="slow0001")) == ["CANCELLED"]


@pytest.mark.parametrize(
    ("late", "faults", "cancel", "outcome"),
    [
        ("slow 20", (), "true", "left"),
        ("slow 250", (lists("503", 1, 36),), "true", "cancelled"),
        ("slow 250", (lists("503", 1, 36),), "false", "unknown"),
    ],
)
def test_run_of_base_is_left_only_once_its_id_is_known(
    late: str, faults: tuple[Fault, ...], cancel: str, outcome: str
) -> None:
    """The response to its launch comes when the tested run has waited in the queue for too long.

    If Coval's lists are down for as long as the step looks for the run, no later step could wait for it. The post step
    ends it then, unless the user wants no run cancelled.
    """
    history = history_of(launch(late, 2), *faults, **WITH_BASE | {"cancel_on_interrupt": cancel})
    result = history.results[0]
    (base,) = (run for run in history.world.runs if run.body["agent_id"] == AGENT_ID)
    assert (result.verdict, history.runs[result.run_id].cancel_time) == ("timed_out", None)
    assert (base.run_id in result.run_ids) == (outcome == "left")
    is_reported = "A run of the base could not be cancelled" in result.log
    assert (is_reported, base.cancel_time is not None) == ((outcome == "cancelled",) * 2)
