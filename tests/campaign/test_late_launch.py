"""A launch whose response comes late, on a connection that stays open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from campaign.schedule import Fault, Schedule, Signal, Step
from campaign.simulate import History, ProcessResult, simulate
from coval_gate.step.lost import SEARCH_TIME

INPUTS = (("max_wait_time", "1800"), ("cancel_on_interrupt", "true"), ("cancel_on_timeout", "false"))


def history_of(action: str, *others: Fault, signal: Signal | None = None, mode: str = "run", **inputs: str) -> History:
    """Simulate a step whose first launch meets a fault, and other requests `others`."""
    fault = Fault(method="POST", path="/runs", first=1, last=1, action=action)
    step = Step(mode=mode, inputs=tuple((dict(INPUTS) | inputs).items()), signal=signal)
    return simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run",
            test_set="passing1",
            gate="default",
            steps=(step,),
            faults=(fault, *others),
            latency=0.1,
        )
    )


def launches(result: ProcessResult) -> list[float]:
    """Return when the process sent each launch, in seconds."""
    return [request.sent_at for request in result.requests if request.method == "POST"]


def statuses(history: History) -> list[str]:
    return [record.status(history.coval_time(history.ended)) for record in history.world.runs]


def test_late_response_to_launch_is_taken_at_once() -> None:
    history = history_of("late 97")
    step = history.results[0]
    assert (step.verdict, statuses(history)) == ("passed", ["COMPLETED"])
    assert len(launches(step)) == 1
    polls = [request.sent_at for request in step.requests if request.path == f"/runs/{step.run_id}"]
    assert 97 <= polls[0] < 98
    assert "The connection stays open. Checking meanwhile whether the run began." in step.log


@pytest.mark.parametrize("failure", ["403", "500", "html 403", "hang 60"])
def test_late_response_to_launch_is_taken_although_search_fails(failure: str) -> None:
    history = history_of("late 97", Fault(method="GET", path="/runs", first=1, last=999, action=failure))
    step = history.results[0]
    assert (step.verdict, statuses(history)) == ("passed", ["COMPLETED"])
    polls = [request.sent_at for request in step.requests if request.path == f"/runs/{step.run_id}"]
    assert 97 <= polls[0] < 98 + SEARCH_TIME


def test_failed_search_ends_launch_once_its_connection_is_closed() -> None:
    history = history_of("hang 60", Fault(method="GET", path="/runs", first=1, last=999, action="403"))
    step = history.results[0]
    assert (step.verdict, len(launches(step))) == ("error", 1)
    assert 60 < step.ended < 60 + SEARCH_TIME + 5
    assert "Could not check whether the launch began a run: GET /runs returned 403" in step.log


def test_launch_is_not_repeated_while_its_connection_is_open() -> None:
    first, second = launches(history_of("late 400").results[0])
    assert (first, second > 300) == (0, True)


def test_run_of_launch_given_up_for_lost_is_cancelled() -> None:
    history = history_of("late 400")
    step = history.results[0]
    earlier, later = sorted(history.world.runs, key=lambda record: record.create_time)
    assert later.create_time == pytest.approx(history.coval_time(400), abs=1)
    assert (step.verdict, step.run_id) == ("passed", earlier.run_id)
    assert sorted(statuses(history)) == ["CANCELLED", "COMPLETED"]


def test_second_run_that_appears_after_launch_step_is_cancelled() -> None:
    """The step that launches ends at once; its post step runs at the end of the job."""
    steps = tuple(Step(mode=mode, inputs=INPUTS) for mode in ("launch", "wait"))
    fault = Fault(method="POST", path="/runs", first=1, last=1, action="late 400")
    history = simulate(replace(history_of("late 400").schedule, steps=steps, faults=(fault,)))
    assert [result.verdict for result in history.results if not result.is_post] == ["", "passed"]
    assert sorted(statuses(history)) == ["CANCELLED", "COMPLETED"]
    assert "the step launched another in its place." in "".join(result.log for result in history.results)


@pytest.mark.parametrize(
    ("cancel", "outcome"), [("true", "the run was cancelled"), ("false", "the run continues in Coval")]
)
def test_signal_during_check_for_second_run_ends_launch_step(cancel: str, outcome: str) -> None:
    signal = Signal(kill=False, method="GET", path="/runs", request=74)  # the last one of the step
    history = history_of("late 9999", signal=signal, mode="launch", cancel_on_interrupt=cancel)
    step = history.results[0]
    assert step.interrupted
    assert f"The step was interrupted; {outcome}" in step.log
    assert (statuses(history) == ["CANCELLED"]) == (cancel == "true")


def test_kill_during_check_for_second_run_leaves_run_where_user_wants_that() -> None:
    lists_are_down = Fault(method="GET", path="/runs", first=75, last=90, action="500")
    signal = Signal(kill=True, at=380)
    history = history_of("late 370", lists_are_down, signal=signal, cancel_on_interrupt="false")
    is_cancelled = {record.run_id: record.cancel_time is not None for record in history.world.runs}
    run_id = history.results[0].run_id
    assert (len(is_cancelled), is_cancelled.pop(run_id), *is_cancelled.values()) == (2, False, True)


def test_signal_during_second_launch_leaves_newest_run_where_user_wants_that() -> None:
    signal = Signal(kill=False, method="POST", path="/runs", request=2, phase="after")
    history = history_of("late 352.45", signal=signal, cancel_on_interrupt="false")
    earlier, later = sorted(history.world.runs, key=lambda record: record.create_time)
    assert history.results[0].run_id == later.run_id
    assert (earlier.cancel_time is None, later.cancel_time is None) == (False, True)


def test_post_step_cancels_run_of_launch_given_up_for_lost() -> None:
    history = history_of("late 400", signal=Signal(kill=True, at=405))
    assert statuses(history) == ["CANCELLED", "CANCELLED"]


@pytest.mark.parametrize("max_wait_time", [5, 8, 30])
@pytest.mark.parametrize("path", ["/agents/*", "/metrics"])
def test_check_that_hangs_leaves_time_to_retry_launch(path: str, max_wait_time: int) -> None:
    hanging = Fault(method="GET", path=path, first=1, last=1, action="hang 60")
    step = history_of(
        "429 retry-after=2", hanging, thresholds="Latency: avg < 1.5", max_wait_time=str(max_wait_time)
    ).results[0]
    assert step.verdict == "timed_out", step.log
    assert launches(step)[0] <= max_wait_time / 4 + 1
    assert len(launches(step)) == 2
