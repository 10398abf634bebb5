"""A step keeps max_wait_time, whichever server is slow: at most ten seconds more; then it leaves the rest.

There is a last poll when a limit passes, whatever became of the polls before it. A step that is killed meanwhile tells
the same in its outputs, the commit status and the check run.
"""

from typing import Final, NamedTuple

import pytest

from campaign.report_invariants import CONCLUSIONS, STATES
from campaign.schedule import EVER, STABLE, Fault, Outage, Schedule, Signal, Step
from campaign.simulate import History, ProcessResult, simulate
from campaign.verdict_invariants import time_limits_are_kept
from coval_gate.base.times import NAMING
from fake_github import TOKEN

pytestmark = pytest.mark.untraced

HANG: Final = "hang 600"
SLOW: Final = "slow 4"
EVERYTHING: Final = {
    "max_wait_time": "300",
    "thresholds": "Latency: avg <= baseline * 9\nResolved: rate(YES) >= 10%",
    "baseline": f"tag:{STABLE}",
    "use_metric_targets": "true",
    "html_path": "report.html",
    "include_transcripts": "failures",
    "commit_status": "Coval",
    "check_run": "Gate",
    "comment": "always",
    "github_token": TOKEN,
    "cancel_on_timeout": "true",
    "cancel_on_interrupt": "true",
    "resume": "true",
    "supersede": "true",
}


def history_of(
    inputs: dict[str, str],
    *faults: Fault,
    outages: tuple[Outage, ...] = (),
    github: str = "",
    signal: Signal | None = None,
    event: str = "push",
    mode: str = "run",
) -> History:
    """Simulate one step, after an earlier run of its branch."""
    schedule = Schedule(
        seed=1,
        severity="rough",
        workflow="run",
        test_set="passing1",
        gate="thresholds",
        steps=(Step(mode=mode, inputs=inputs, event=event, attempt=2, signal=signal),),
        faults=faults,
        outages=outages,
        github_outages=(Outage(0.0, 3600.0, github),) if github else (),
        holder=True,
    )
    return simulate(schedule)


class Case(NamedTuple):
    """What is slow: Coval in a way at an endpoint, if any, and GitHub. `at`: when a signal comes."""

    way: str = ""
    endpoint: tuple[str, str] = ("*", "*")
    wait: str = "300"
    github: str = ""
    event: str = "push"
    at: float | None = None

    def history(self) -> History:
        """Simulate a step that does everything that a step can do."""
        faults = [Fault(*self.endpoint, 1, EVER, self.way)] if self.way else []
        signal = Signal(kill=False, at=self.at) if self.at is not None else None
        inputs = EVERYTHING | {"max_wait_time": self.wait}
        return history_of(inputs, *faults, github=self.github, signal=signal, event=self.event)


CASES: Final = (
    Case("hang 400", ("POST", "/runs"), "15"),
    Case("slow 1.9", ("GET", "/runs/*"), "60", HANG),
    Case("503", ("DELETE", "/runs/*"), "15"),
    Case("hang 400", ("PATCH", "/runs/*"), "60"),
    Case("drip 60", ("GET", "/conversations/simulated/*"), "60", HANG),
    Case("503 retry-after=30", ("GET", "*"), "5"),
    Case("slow 4", ("*", "*"), "60"),
    Case(wait="60", github=HANG),
    Case(wait="15", github=SLOW, event="pull_request"),
    Case(wait="60", github="502", event="pull_request"),
    Case("hang 400", ("POST", "/runs"), github=HANG, at=0.3),
    Case("slow 4", ("GET", "/runs/*"), github=SLOW, at=20.0),
    Case("503 retry-after=30", ("DELETE", "/runs/*"), github=HANG, at=2.0),
    Case("drip 60", ("PATCH", "/runs/*"), github=SLOW, at=62.0),
    Case("hang 400", ("*", "*"), github=HANG, at=59.5),
)


def test_limits_of_time_are_kept_whatever_is_slow(subtests: pytest.Subtests) -> None:
    for case in CASES:
        with subtests.test(str(case)):
            history = case.history()
            assert not [*time_limits_are_kept(history)], history.results[0].log


@pytest.mark.parametrize("at", [2.0, 20.0])
def test_interrupted_step_cancels_its_run_although_the_first_try_hangs(at: float) -> None:
    fault = Fault("DELETE", "/runs/*", 1, 1, "hang 30")
    history = history_of(EVERYTHING, fault, signal=Signal(kill=False, at=at))
    main, post = history.results
    assert main.outputs["reason"] == "The step was interrupted; the run was cancelled.", main.log
    assert main.ended - main.began - at < 4
    assert not [request for request in post.requests if request.method == "DELETE"]


RED: Final = {"thresholds": "Latency: avg < 0.01", "baseline": ""}


@pytest.mark.parametrize("github", ["", SLOW])
@pytest.mark.parametrize(("mode", "inputs"), [("run", RED), ("launch", {})])
def test_killed_step_reports_the_same_everywhere(github: str, mode: str, inputs: dict[str, str]) -> None:
    seen, launches = set(), mode == "launch"
    for number in range(0, 25, 5):
        at = (0.3 if launches else 59.2) + number * (0.5 if github else 0.1)
        history = history_of(EVERYTHING | inputs, github=github, signal=Signal(kill=True, at=at), mode=mode)
        verdict = history.results[0].outputs.get("verdict", "")
        state = history.statuses[-1]["state"] if history.statuses else ""
        conclusion = history.check_runs[-1].conclusion if history.check_runs else ""
        seen.add((verdict, history.results[0].killed is not None))
        if launches and not verdict and history.results[0].outputs["status"] == "LAUNCHED":
            assert (state, conclusion) in {("pending", None), ("pending", ""), ("", "")}, at
        else:
            assert (state, conclusion) == (STATES.get(verdict, "error"), CONCLUSIONS.get(verdict, "failure")), at
    assert ("error", True) in seen
    assert launches or ("failed", True) in seen


PATIENT: Final = {
    "resume": "false",
    "supersede": "false",
    "cancel_on_interrupt": "true",
    "cancel_on_timeout": "false",
}
HANGS: Final = 2.0  # s that a poll may hang which began just before the deadline; another one follows


def result_of(begin: float, end: float, action: str, **inputs: str) -> ProcessResult:
    """Simulate a step whose run ends 59 s after its launch at the latest, and requests that meet an outage."""
    return history_of(PATIENT | inputs, outages=(Outage(begin, end, action),)).results[0]


def polls(result: ProcessResult) -> list[float]:
    """Return when the step polled its run, in seconds after its start."""
    return [request.sent_at - result.began for request in result.requests if request.path == f"/runs/{result.run_id}"]


@pytest.mark.parametrize(("max_wait_time", "hangs", "left"), [(62, 2, 0.5), (65, 31, 3), (70, 45, 0.5), (90, 29, 0.5)])
def test_run_that_ended_while_polls_hung_is_detected(max_wait_time: int, hangs: float, left: float) -> None:
    """The polls hang for some time. They would be answered again `left` seconds before the deadline."""
    end = max_wait_time - left
    result = result_of(end - hangs, end, "hang 60", max_wait_time=str(max_wait_time))
    assert result.verdict == "passed", result.log
    assert polls(result)[-1] <= max_wait_time + HANGS


@pytest.mark.parametrize("max_wait_time", ["50", "80"])  # the run ends between the two
def test_slow_responses_are_waited_for(max_wait_time: str) -> None:
    result = result_of(5, 1000, "slow 8", max_wait_time=max_wait_time)
    assert result.verdict == ("passed" if max_wait_time == "80" else "timed_out"), result.log
    assert result.ended - result.began <= float(max_wait_time) + 10 + NAMING


def test_last_poll_that_hangs_leaves_no_verdict_and_keeps_deadline() -> None:
    result = result_of(40, 1000, "hang 60", max_wait_time="70")
    assert (result.verdict, result.outputs["status"]) == ("error", "ERROR")
    assert polls(result)[-1] == pytest.approx(70)
    assert result.ended - result.began < 73 + NAMING


def test_limit_on_queue_has_its_own_last_poll() -> None:
    """The run starts 8 s after its launch, while a poll hangs. The wait begins after three calls."""
    result = result_of(6.9, 9.9, "hang 60", max_queue_time="10", max_wait_time="900")
    assert result.verdict == "passed", result.log
    assert any(10 <= poll < 10 + 0.4 for poll in polls(result)), polls(result)
