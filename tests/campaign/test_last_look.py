"""There is a last poll when a limit passes, whatever became of the polls before it."""

from typing import Final

import pytest

from campaign.schedule import Outage, Schedule, Step
from campaign.simulate import ProcessResult, simulate
from coval_gate.base.times import NAMING

INPUTS: Final = {"resume": "true", "supersede": "false", "cancel_on_interrupt": "true", "cancel_on_timeout": "false"}
LATENCY: Final = 0.1
HANGS: Final = 2.0  # s that a poll may hang which began just before the deadline; another one follows


def result_of(outage: Outage, **inputs: str) -> ProcessResult:
    """Simulate a step whose run ends 59 s after its launch at the latest."""
    history = simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run",
            test_set="passing1",
            gate="default",
            steps=(Step(mode="run", inputs=INPUTS | inputs),),
            outages=(outage,),
            latency=LATENCY,
        )
    )
    return history.results[0]


def polls(result: ProcessResult) -> list[float]:
    """Return when the step polled its run, in seconds after its start."""
    return [request.sent_at - result.began for request in result.requests if request.path == f"/runs/{result.run_id}"]


@pytest.mark.parametrize(("max_wait_time", "hangs", "left"), [(62, 2, 0.5), (65, 31, 3), (70, 45, 0.5), (90, 29, 0.5)])
def test_run_that_ended_while_polls_hung_is_detected(max_wait_time: int, hangs: float, left: float) -> None:
    """The polls hang for some time. They would be answered again `left` seconds before the deadline."""
    end = max_wait_time - left
    result = result_of(Outage(begin=end - hangs, end=end, action="hang 60"), max_wait_time=str(max_wait_time))
    assert result.verdict == "passed", result.log
    assert polls(result)[-1] <= max_wait_time + HANGS


@pytest.mark.parametrize("max_wait_time", ["50", "80"])  # the run ends between the two
def test_slow_responses_are_waited_for(max_wait_time: str) -> None:
    result = result_of(Outage(begin=5, end=1000, action="slow 8"), max_wait_time=max_wait_time)
    assert result.verdict == ("passed" if max_wait_time == "80" else "timed_out"), result.log
    assert result.ended - result.began <= float(max_wait_time) + 10 + NAMING


def test_last_poll_that_hangs_leaves_no_verdict_and_keeps_deadline() -> None:
    result = result_of(Outage(begin=40, end=1000, action="hang 60"), max_wait_time="70")
    assert (result.verdict, result.outputs["status"]) == ("error", "ERROR")
    assert polls(result)[-1] == pytest.approx(70)
    assert result.ended - result.began < 73 + NAMING


def test_limit_on_queue_has_its_own_last_poll() -> None:
    """The run starts 8 s after its launch, while a poll hangs. The wait begins after three calls."""
    outage = Outage(begin=6.9, end=9.9, action="hang 60")
    result = result_of(outage, max_queue_time="10", max_wait_time="900")
    assert result.verdict == "passed", result.log
    assert any(10 <= poll < 10 + 4 * LATENCY for poll in polls(result)), polls(result)
