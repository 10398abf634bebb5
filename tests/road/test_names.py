"""Before the launch, the step checks that the run will have the metrics that the criteria name.

It launches nothing where one certainly will be missing, and launches as ever where Coval does not say for certain.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from coval_gate.base.times import PREPARING
from coval_sandbox.catalogue import BUILTIN_METRICS, COMPLIANCE, LATENCY, RESOLVED
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


MISSPELT = "Latncy: avg < 2"
TWO_METRICS = f"{LATENCY.id},{RESOLVED.id}"


def requests_before_launch(server: Server) -> list[str]:
    """Return the requests up to the launch, without the ids of metrics."""
    lines = []
    for request in server.requests_seen:
        if request.method == "POST":
            break
        path = request.path.removeprefix("/v1")
        lines.append("GET /metrics/*" if path.startswith("/metrics/") else f"{request.method} {path}")
    return lines


def launches(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests_seen)


WRONG: tuple[dict[str, str], ...] = (
    {"thresholds": MISSPELT},
    {"thresholds": f"Latency: avg < 2\n\n{MISSPELT}", "metric_ids": TWO_METRICS},
    {"fail_on_metric_id": "complience", "fail_on_metric_value": "NO"},
    {"thresholds": "Compliance: rate(YES) > 90%", "metric_ids": TWO_METRICS},
    {"thresholds": f"{COMPLIANCE.id}: rate(YES) > 90%", "metric_ids": TWO_METRICS},
    {"thresholds": "Complience: rate(YES) > 90%", "metric_ids": TWO_METRICS},
    {"thresholds": "interruptions: max < 3"},
    {"thresholds": "Interruptions: max < 3", "metric_ids": ",".join(metric.id for metric in BUILTIN_METRICS)},
    {"thresholds": "Empathy: avg > 3"},
    {"thresholds": "Resolved: rate(YES) > 90%\nResolved: count(NOO) == 0"},
    {"thresholds": f"{RESOLVED.id}: rate(YES, TRUE, 1) > 90%", "metric_ids": TWO_METRICS},
    {"fail_on_metric_id": "resolved", "fail_on_metric_value": "false"},
    {"thresholds": "Topics: count(refunds, lawsuit, legal) == 0"},
    {"thresholds": f"{MISSPELT}\nResolved: count(NOO) == 0\n{MISSPELT}", "fail_on_metric_id": "Topic"},
)


def test_wrong_names_and_values_are_reported_before_launch(
    run_step: RunStep, golden: Callable[[str, str], None]
) -> None:
    reasons = []
    for inputs in WRONG:
        value = {"fail_on_metric_value": "refund"} if "fail_on_metric_id" in inputs else {}
        result, server = run_step(**value | inputs)
        assert (result.outputs["verdict"], result.outputs["run_id"], launches(server)) == ("error", "", 0)
        assert int(result.outputs["duration_seconds"]) <= PREPARING
        reasons.append(result.outputs["reason"])
    golden("before-launch.txt", "\n".join(reasons) + "\n")


@pytest.mark.parametrize(
    "inputs",
    [
        # The third definition does not list its values.
        {
            "thresholds": "Resolved: rate(yes, unknown) > 90%\nTopics: count(legal, Unknown) == 0\n"
            "Compliance: rate(YES, MAYBE, 1) > 90%\n? Resolved: count(NOO) == 0"
        },
        {"thresholds": MISSPELT, "persona_metrics": "latency"},
        {"thresholds": MISSPELT, "config_overrides": '{"metric_ids": ["metricOther0000000001"]}'},
        {"thresholds": MISSPELT, "metric_ids": f"{LATENCY.id},metricUnlisted00000001"},
    ],
)
def test_what_may_occur_is_launched(inputs: dict[str, str], run_step: RunStep) -> None:
    _, server = run_step(mode="launch", **inputs)
    assert launches(server) == 1


@pytest.mark.parametrize(
    ("inputs", "calls"),
    [
        ({}, []),
        ({"thresholds": f"{LATENCY.id}: avg < 2", "metric_ids": TWO_METRICS}, []),
        ({"thresholds": "latency: avg < 2", "metric_ids": TWO_METRICS}, ["GET /metrics"]),
        ({"thresholds": f"{LATENCY.id}: avg < 2"}, ["GET /agents/agent00000000000000001"]),
        ({"thresholds": "Latency: avg < 2"}, ["GET /agents/agent00000000000000001", "GET /metrics"]),
    ],
)
def test_check_takes_fewest_calls(inputs: dict[str, str], calls: list[str], run_step: RunStep) -> None:
    result, server = run_step(**inputs)
    assert (result.outputs["verdict"], requests_before_launch(server)) == ("passed", calls)


@pytest.mark.parametrize(
    "fault",
    ["GET /metrics -> html 502", "GET /metrics/* #1 -> 503", "GET /agents/* #1 -> reset-before"],
)
def test_good_run_is_launched_where_check_is_disturbed(fault: str, run_step: RunStep, clock: VirtualClock) -> None:
    result, server = run_step(fault, thresholds="Latency: avg < 1.5\nResolved: rate(YES) > 90%")
    assert (result.outputs["verdict"], launches(server)) == ("passed", 1), result.log
    assert clock.now() <= 60 + PREPARING + 2
    is_told = "Could not check before the launch which metrics and values the run will have: " in result.log
    assert is_told is not fault.startswith("GET /metrics/*")


@pytest.mark.parametrize("source", ["hidden", "forbidden"])
def test_nothing_is_asked_where_agent_does_not_tell(source: Any, run_step: RunStep) -> None:
    _, server = run_step(mode="launch", quirks=Quirks(agent_metrics=source), thresholds=MISSPELT)
    assert requests_before_launch(server) == ["GET /agents/agent00000000000000001"]
    assert launches(server) == 1


def test_list_of_several_pages_is_read_until_all_names_are_found(run_step: RunStep) -> None:
    first = {"metrics": [{"id": f"other{number}", "metric_name": f"Other {number}"} for number in range(100)]}
    page = json.dumps(first | {"next_page_token": "eyJvZmZzZXQiOiAwfQ=="})
    result, server = run_step(f"GET /metrics #1 -> json {page}", thresholds="Latency: avg < 2", metric_ids=TWO_METRICS)
    assert result.outputs["verdict"] == "passed"
    assert requests_before_launch(server) == ["GET /metrics", "GET /metrics"]


def test_problem_that_also_ends_launch_is_told_once(run_step: RunStep) -> None:
    result, server = run_step(thresholds="Latency: avg < 2", api_key="coval_sk_wrong_0000000000")
    assert result.outputs["verdict"] == "error"
    assert len(requests_before_launch(server)) == 1
    assert "Could not check" not in result.log


def test_resumed_run_is_not_checked(run_step: RunStep) -> None:
    """A run that an earlier attempt launched is watched to its end, not left behind."""
    first, server = run_step("GET /metrics -> 503", thresholds=MISSPELT, max_wait_time="10", bare=True)
    second, _ = run_step(world=server.world, thresholds=MISSPELT, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert first.outputs["verdict"] == "timed_out"
    assert second.outputs["run_id"] == first.outputs["run_id"]
    assert second.outputs["reason"].startswith('The run has no metric "Latncy"')


def test_replacement_of_cancelled_run_is_checked(run_step: RunStep) -> None:
    """Where the run of an earlier attempt turns out to be cancelled, nothing is launched in its place."""
    quirks = Quirks(cancel_lag=60.0)
    first, server = run_step("GET /metrics -> 503", quirks=quirks, thresholds=MISSPELT, max_wait_time="10", bare=True)
    server.world.delete_run(first.outputs["run_id"])
    second, server = run_step(world=server.world, thresholds=MISSPELT, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert (second.outputs["verdict"], launches(server)) == ("error", 0)
    assert "which the run will not have" in second.outputs["reason"]
    assert not second.post_step_cancels
