"""There is a last poll when a limit passes, whatever became of the polls before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from campaign.schedule import Fault, Outage, Schedule, Step
from campaign.simulate import ProcessResult, simulate
from coval_gate.base.times import NAMING
from coval_sandbox.quirks import Quirks

INPUTS = {"resume": "true", "supersede": "false", "cancel_on_interrupt": "true", "cancel_on_timeout": "false"}
END = 59.0  # s after its launch at which the run has certainly ended
LATENCY = 0.1
HANGS = 2.0  # s that a poll may hang which began just before the deadline; another one follows


def result_of(*outages: Outage, steps: tuple[Step, ...] = (), **inputs: str) -> ProcessResult:
    """Simulate a step whose run takes a minute, and return the result of the last step."""
    history = simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run",
            test_set="passing1",
            gate="default",
            steps=steps or (step("run", **inputs),),
            outages=outages,
            latency=LATENCY,
        )
    )
    assert history.world.runs[0].plan.end < END
    return [result for result in history.results if not result.is_post][-1]


def step(mode: str, **inputs: str) -> Step:
    return Step(mode=mode, action=mode, inputs=tuple((INPUTS | inputs).items()))


def polls(result: ProcessResult) -> list[float]:
    """Return when the step polled its run, in seconds after its start."""
    return [request.sent_at - result.began for request in result.requests if request.path == f"/runs/{result.run_id}"]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([(62, 2, 0.5), (65, 31, 3), (70, 45, 0.5), (90, 29, 0.5)], id="few"),
        pytest.param([*product([62, 65, 70, 90], [2, 11, 29, 31, 45], [0.5, 3])], id="many", marks=pytest.mark.long),
    ],
)
def test_run_that_ended_while_polls_hung_is_detected(
    cases: list[tuple[int, float, float]], subtests: pytest.Subtests
) -> None:
    """The polls hang for some time. They would be answered again `left` seconds before the deadline."""
    for max_wait_time, hangs, left in cases:
        with subtests.test(f"{max_wait_time} {hangs} {left}"):
            end = max_wait_time - left
            result = result_of(Outage(begin=end - hangs, end=end, action="hang 60"), max_wait_time=str(max_wait_time))
            assert result.verdict == "passed", result.log
            assert polls(result)[-1] <= max_wait_time + HANGS


@pytest.mark.parametrize("latency", [2.5, 8])  # the step ends ten seconds after max_wait_time
@pytest.mark.parametrize("max_wait_time", [80, 90])
def test_slow_responses_are_waited_for(latency: float, max_wait_time: int) -> None:
    outage = Outage(begin=5, end=1000, action=f"slow {latency}")
    result = result_of(outage, max_wait_time=str(max_wait_time))
    assert result.verdict == "passed", result.log
    unfinished = result_of(outage, max_wait_time="50")
    assert unfinished.verdict == "timed_out", unfinished.log
    assert unfinished.ended - unfinished.began <= 50 + HANGS + NAMING
    assert polls(unfinished)[-1] > 50 - 2 * latency - 2


@pytest.mark.parametrize(("latency", "max_wait_time"), [(4, 62), (6, 65), (8, 69)])
def test_slow_response_just_before_the_limit_is_not_the_last(latency: int, max_wait_time: int) -> None:
    """Coval responds fast again, in time to show that the run has ended."""
    outage = Outage(begin=21, end=END - 2, action=f"slow {latency}")
    assert result_of(outage, max_wait_time=str(max_wait_time)).verdict == "passed"


def test_short_wait_has_last_poll_after_one_that_hung() -> None:
    launch, wait = step("launch", max_wait_time="60"), replace(step("wait", max_wait_time="5"), pause=END)
    result = result_of(Outage(begin=END - 1, end=END + 4, action="hang 60"), steps=(launch, wait))
    assert result.verdict == "passed", result.log
    assert len(polls(result)) == 2
    assert "Retrying a last time." in result.log


def test_last_poll_that_hangs_leaves_no_verdict_and_keeps_deadline() -> None:
    result = result_of(Outage(begin=40, end=1000, action="hang 60"), max_wait_time="70")
    assert (result.verdict, result.outputs["status"]) == ("error", "ERROR")
    assert polls(result)[-1] == pytest.approx(70)
    assert result.ended - result.began < 73 + NAMING


@pytest.mark.parametrize("hangs", ["3", "8"])
def test_limit_on_queue_has_its_own_last_poll(hangs: str) -> None:
    """The run starts 8 s after its launch, while a poll hangs. The wait begins after three calls."""
    outage = Outage(begin=9.9 - float(hangs), end=9.9, action="hang 60")
    result = result_of(outage, max_queue_time="10", max_wait_time="900")
    assert result.verdict == "passed", result.log
    assert any(10 <= poll < 10 + 4 * LATENCY for poll in polls(result)), polls(result)


@pytest.mark.parametrize("max_wait_time", [79, 85])
def test_question_whether_values_will_come_keeps_deadline(max_wait_time: int) -> None:
    """Coval does not respond to it. The run ends about half a minute before the deadline."""
    history = simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="run",
            test_set="passing1",
            gate="thresholds",
            steps=(step("run", max_wait_time=str(max_wait_time), thresholds="Latency: avg < 1.5"),),
            faults=(Fault(method="GET", path="/conversations/simulated/*", first=1, last=999, action="hang 60"),),
            quirks=Quirks(missing_values=1.0),
            latency=LATENCY,
        )
    )
    result = history.results[0]
    assert result.verdict in ("error", "timed_out"), result.log
    assert result.ended - result.began <= max_wait_time + 5
