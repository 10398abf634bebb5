"""A step keeps max_wait_time, whichever server is slow: at most ten seconds more; then it leaves the rest.

If it is killed meanwhile, its outputs, the commit status and the check run tell the same.
"""

from collections.abc import Iterable
from itertools import islice, product
from typing import Any, Final

import pytest

from campaign.github import HANG, SLOW
from campaign.of_reports import CONCLUSIONS, STATES
from campaign.of_verdicts import time_limits_are_kept
from campaign.schedule import EVER, STABLE, Fault, Outage, Schedule, Signal, Step
from campaign.simulate import History, simulate
from fake_github import TOKEN

pytestmark = pytest.mark.untraced

ENDPOINTS: Final = (
    ("POST", "/runs"),
    ("GET", "/runs"),
    ("GET", "/runs/*"),
    ("DELETE", "/runs/*"),
    ("PATCH", "/runs/*"),
    ("GET", "/conversations/simulated"),
    ("GET", "/conversations/simulated/*"),
    ("GET", "/metrics"),
    ("GET", "/metrics/*"),
    ("GET", "/agents/*"),
    ("GET", "/personas/*"),
    ("GET", "/test-cases"),
    ("GET", "/test-cases/*"),
    ("GET", "*"),
    ("*", "*"),
)
SLOW_WAYS: Final = ("hang 400", "slow 4", "slow 1.9", "503", "503 retry-after=30", "drip 60")
WAITS: Final = ("5", "15", "60")  # s; a run takes 59 s
EVERYTHING: Final = {
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
    *faults: Fault, github: str = "", signal: Signal | None = None, event: str = "push", mode: str = "run", **more: str
) -> History:
    """Simulate one step with all that it can be asked to do, after an earlier run of its branch."""
    inputs = EVERYTHING | {"max_wait_time": "300"} | more
    step = Step(mode=mode, inputs=inputs, event=event, attempt=2, signal=signal)
    outages = (Outage(begin=0.0, end=3600.0, action=github),) if github else ()
    schedule = Schedule(
        seed=1,
        severity="rough",
        workflow="run",
        test_set="passing1",
        gate="thresholds",
        steps=(step,),
        faults=faults,
        github_outages=outages,
        holder=True,
    )
    return simulate(schedule)


def few_or(few: list[Any], most: Iterable[Any]) -> pytest.MarkDecorator:
    """Return a few cases for `make test`, and the others for CI, each as the only parameter."""
    long = pytest.param([*most], id="many", marks=pytest.mark.long)
    return pytest.mark.parametrize("cases", [pytest.param(few, id="few"), long])


FEW_ENDPOINTS: Final = [
    (("POST", "/runs"), "hang 400", "15", ""),
    (("GET", "/runs/*"), "slow 1.9", "60", HANG),
    (("DELETE", "/runs/*"), "503", "15", ""),
    (("PATCH", "/runs/*"), "hang 400", "60", ""),
    (("GET", "/conversations/simulated/*"), "drip 60", "60", HANG),
    (("GET", "*"), "503 retry-after=30", "5", ""),
    (("*", "*"), "slow 4", "60", ""),
]


@few_or(FEW_ENDPOINTS, islice(product(ENDPOINTS, SLOW_WAYS, WAITS, ("", HANG)), None, None, 3))
def test_deadline_is_kept_whichever_endpoint_is_slow(
    cases: list[tuple[tuple[str, str], str, str, str]], subtests: pytest.Subtests
) -> None:
    for (method, path), way, wait, github in cases:
        with subtests.test(f"{method} {path} {way} {wait} {github}"):
            fault = Fault(method=method, path=path, first=1, last=EVER, action=way)
            history = history_of(fault, max_wait_time=wait, github=github)
            assert not [*time_limits_are_kept(history)], history.results[0].log


@few_or(
    [(HANG, "60", "push"), (SLOW, "15", "pull_request"), ("502", "60", "pull_request")],
    product([HANG, SLOW, "502", "404"], WAITS, ["push", "pull_request"]),
)
def test_deadline_is_kept_while_github_is_slow(cases: list[tuple[str, str, str]], subtests: pytest.Subtests) -> None:
    for github, wait, event in cases:
        with subtests.test(f"{github} {wait} {event}"):
            history = history_of(github=github, max_wait_time=wait, event=event)
            assert not [*time_limits_are_kept(history)], history.results[0].log


SIGNALS = product(SLOW_WAYS, [0.3, 2.0, 20.0, 59.5, 62.0], ENDPOINTS[:5] + ENDPOINTS[-1:], (HANG, SLOW))
FEW_SIGNALS: Final = [
    ("hang 400", 0.3, ("POST", "/runs"), HANG),
    ("slow 4", 20.0, ("GET", "/runs/*"), SLOW),
    ("503 retry-after=30", 2.0, ("DELETE", "/runs/*"), HANG),
    ("drip 60", 62.0, ("PATCH", "/runs/*"), SLOW),
    ("hang 400", 59.5, ("*", "*"), HANG),
]


@few_or(FEW_SIGNALS, islice(SIGNALS, None, None, 3))
def test_step_ends_soon_after_a_signal_whatever_is_slow(
    cases: list[tuple[str, float, tuple[str, str], str]], subtests: pytest.Subtests
) -> None:
    for way, at, (method, path), github in cases:
        with subtests.test(f"{way} at {at}: {method} {path} {github}"):
            fault = Fault(method=method, path=path, first=1, last=EVER, action=way)
            history = history_of(fault, github=github, signal=Signal(kill=False, at=at), max_wait_time="300")
            assert not [*time_limits_are_kept(history)], history.results[0].log


@pytest.mark.parametrize("at", [2.0, 20.0])
def test_interrupted_step_cancels_its_run_although_the_first_try_hangs(at: float) -> None:
    fault = Fault(method="DELETE", path="/runs/*", first=1, last=1, action="hang 30")
    history = history_of(fault, signal=Signal(kill=False, at=at), max_wait_time="300")
    main, post = history.results
    assert main.outputs["reason"] == "The step was interrupted; the run was cancelled.", main.log
    assert main.ended - main.began - at < 4
    assert not [request for request in post.requests if request.method == "DELETE"]


def shown(history: History) -> tuple[str, str, str | None]:
    """Return the verdict in the outputs, the state of the commit's status, and the conclusion of its check run."""
    verdict = history.results[0].outputs.get("verdict", "")
    statuses, checks = history.statuses, history.check_runs
    return verdict, statuses[-1]["state"] if statuses else "", checks[-1].conclusion if checks else ""


RED: Final = {"thresholds": "Latency: avg < 0.01", "baseline": ""}


@pytest.mark.parametrize(
    "numbers", [pytest.param(range(0, 25, 5), id="few"), pytest.param(range(25), id="many", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("github", ["", SLOW])
@pytest.mark.parametrize("inputs", [{}, RED, {"mode": "launch"}])
def test_killed_step_tells_the_same_everywhere(github: str, inputs: dict[str, str], numbers: range) -> None:
    seen = set()
    launches = "mode" in inputs
    for number in numbers:
        at = (0.3 if launches else 58.5) + number * (0.5 if github else 0.1)
        history = history_of(github=github, signal=Signal(kill=True, at=at), **inputs)
        verdict, state, conclusion = shown(history)
        seen.add((verdict, history.results[0].killed is not None))
        if launches and not verdict and history.results[0].outputs["status"] == "LAUNCHED":
            assert (state, conclusion) in {("pending", None), ("pending", ""), ("", "")}, at
        else:
            assert (state, conclusion) == (STATES.get(verdict, "error"), CONCLUSIONS.get(verdict, "failure")), at
    assert ("error", True) in seen
    assert launches or ("failed" if inputs else "passed", True) in seen
