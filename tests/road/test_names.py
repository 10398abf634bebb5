"""Before the launch, the step checks that the run will have the metrics that the criteria name.

It launches nothing where one certainly will be missing, and launches as ever where Coval does not say for certain.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.base.times import PREPARING
from coval_sandbox.catalogue import BUILTIN_METRICS, COMPLIANCE, LATENCY, RESOLVED, TOPICS
from coval_sandbox.quirks import Quirks

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_sandbox.server import Server
    from support import StepResult

    RunStep = Callable[..., tuple[StepResult, Server]]

MISSPELT = "Latncy: avg < 2"
TWO_METRICS = f"{LATENCY.id},{RESOLVED.id}"
INTERRUPTIONS = ",".join(metric.id for metric in BUILTIN_METRICS)


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


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (
            {"thresholds": MISSPELT},
            'thresholds names the metric "Latncy" in line 1, which the run will not have; did you mean Latency?',
        ),
        (
            {"thresholds": f"Latency: avg < 2\n\n{MISSPELT}", "metric_ids": TWO_METRICS},
            'thresholds names the metric "Latncy" in line 3, which the run will not have; did you mean Latency?',
        ),
        (
            {"fail_on_metric_id": "complience", "fail_on_metric_value": "NO"},
            'fail_on_metric_id names the metric "complience", which the run will not have; did you mean Compliance?',
        ),
        (
            {"thresholds": "Compliance: rate(YES) > 90%", "metric_ids": TWO_METRICS},
            'thresholds names the metric "Compliance" in line 1, which the run will not have; '
            f"add its id {COMPLIANCE.id} to metric_ids.",
        ),
        (
            {"thresholds": f"{COMPLIANCE.id}: rate(YES) > 90%", "metric_ids": TWO_METRICS},
            f'thresholds names the metric "{COMPLIANCE.id}" in line 1, which the run will not have; '
            f"add its id {COMPLIANCE.id} to metric_ids.",
        ),
        (
            {"thresholds": "Complience: rate(YES) > 90%", "metric_ids": TWO_METRICS},
            'thresholds names the metric "Complience" in line 1, which the run will not have; '
            f"did you mean Compliance? Then add its id {COMPLIANCE.id} to metric_ids.",
        ),
        (
            {"thresholds": "interruptions: max < 3"},
            'thresholds names the metric "interruptions" in line 1, which the run will not have; add it to the '
            "agent's metrics in Coval, or set metric_ids to all that the run needs, with one of the ids "
            f"{BUILTIN_METRICS[0].id} or {BUILTIN_METRICS[1].id}.",
        ),
        (
            {"thresholds": "Interruptions: max < 3", "metric_ids": INTERRUPTIONS},
            'thresholds names the metric "Interruptions" in line 1, but the run will have 2 metrics of that name; '
            f"use the id of one: {BUILTIN_METRICS[0].id} or {BUILTIN_METRICS[1].id}.",
        ),
        (
            {"thresholds": "Empathy: avg > 3"},
            'thresholds names the metric "Empathy" in line 1, which the run will not have; it will have Latency, '
            "Resolved, Compliance, Tone: friendly and Topics.",
        ),
    ],
)
def test_wrong_name_is_reported_before_launch(inputs: dict[str, str], what: str, run_step: RunStep) -> None:
    result, server = run_step(**inputs)
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    assert result.outputs["reason"] == what
    assert launches(server) == 0
    assert int(result.outputs["duration_seconds"]) <= PREPARING


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (
            {"thresholds": "Resolved: rate(YES) > 90%\nResolved: count(NOO) == 0"},
            'thresholds names the value "NOO" of "Resolved" in line 2, which the metric never has: its values are YES, '
            "NO and UNKNOWN; did you mean NO?",
        ),
        (
            {"thresholds": f"{RESOLVED.id}: rate(YES, TRUE, 1) > 90%", "metric_ids": TWO_METRICS},
            f'thresholds names the value "TRUE" of "{RESOLVED.id}" in line 1, which the metric never has: its values '
            "are YES, NO and UNKNOWN; did you mean YES?",
        ),
        (
            {"fail_on_metric_id": "resolved", "fail_on_metric_value": "false"},
            'fail_on_metric_id names the value "false" of "resolved", which the metric never has: its values are YES, '
            "NO and UNKNOWN; did you mean NO?",
        ),
        (
            {"thresholds": "Topics: count(refunds, lawsuit, legal) == 0"},
            'thresholds names the values "refunds" and "lawsuit" of "Topics" in line 1, which the metric never has: '
            "its values are billing, booking, identity, legal, opening hours and refund; did you mean refund?",
        ),
    ],
)
def test_impossible_value_is_reported_before_launch(inputs: dict[str, str], what: str, run_step: RunStep) -> None:
    result, server = run_step(**inputs)
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    assert result.outputs["reason"] == what
    assert launches(server) == 0


@pytest.mark.parametrize(
    "thresholds",
    [
        "Resolved: rate(yes, unknown) > 90%",
        "Topics: count(legal, Unknown) == 0",
        "Compliance: rate(YES, MAYBE, 1) > 90%",  # its definition does not list its values
        "? Resolved: count(NOO) == 0",
    ],
)
def test_value_that_may_occur_is_launched(thresholds: str, run_step: RunStep) -> None:
    _, server = run_step(thresholds=thresholds)
    assert launches(server) == 1


DAMAGED = {"metric": {"id": TOPICS.id, "metric_name": "Topics", "metric_type": "METRIC_CATEGORICAL"}}


@pytest.mark.parametrize(
    "faults",
    [
        [f"GET /metrics/* #1 -> json {json.dumps(DAMAGED)}"],
        [f"GET /metrics/* #1 -> json {json.dumps({'metric': DAMAGED['metric'] | {'categories': ['billing']}})}"],
        ["GET /metrics/* #1 -> 503"],
        ["GET /metrics/* #2 -> 403"],
    ],
)
def test_good_run_is_launched_where_definition_is_disturbed(faults: list[str], run_step: RunStep) -> None:
    """The run has no conversation about legal matters, which the definition allows."""
    result, server = run_step(*faults, thresholds=f"{TOPICS.id}: count(legal) == 0", metric_ids=TOPICS.id)
    assert (result.outputs["verdict"], launches(server)) == ("passed", 1), result.log


def test_names_and_values_are_reported_together(run_step: RunStep) -> None:
    result, _ = run_step(thresholds=f"{MISSPELT}\nResolved: count(NOO) == 0")
    assert result.outputs["reason"].endswith("1 more problem: thresholds.")
    assert '"NOO"' in result.log


def test_every_wrong_name_is_reported(run_step: RunStep) -> None:
    lines = f"{MISSPELT}\nEmpathy: avg > 3\n{MISSPELT}"
    result, _ = run_step(thresholds=lines, fail_on_metric_id="Topic", fail_on_metric_value="refund")
    assert result.outputs["reason"].endswith("2 more problems: thresholds and fail_on_metric_id.")


@pytest.mark.parametrize(
    ("inputs", "calls"),
    [
        ({}, []),
        ({"use_metric_targets": "true"}, []),
        ({"thresholds": "pass_rate >= 90%\ntotal >= 3"}, []),
        ({"thresholds": f"{LATENCY.id}: avg < 2", "metric_ids": TWO_METRICS}, []),
        ({"thresholds": "latency: avg < 2", "metric_ids": TWO_METRICS}, ["GET /metrics"]),
        ({"thresholds": f"{LATENCY.id}: avg < 2"}, ["GET /agents/agent00000000000000001"]),
        ({"thresholds": "Latency: avg < 2"}, ["GET /agents/agent00000000000000001", "GET /metrics"]),
    ],
)
def test_check_takes_fewest_calls(inputs: dict[str, str], calls: list[str], run_step: RunStep) -> None:
    result, server = run_step(**inputs)
    assert (result.outputs["verdict"], requests_before_launch(server)) == ("passed", calls)


ONE_METRIC = '{"agent": {"id": "agent00000000000000001", "metric_ids": ["metricLatency000000001"]}}'
FAILURES = ["401", "403", "404", "429 retry-after=60", "500", "html 502", "reset-before", "body <html>", "cut"]
UNSURE = [
    '{"metrics": null}',
    '{"metrics": []}',
    '{"metrics": [7]}',
    '{"metrics": [{"id": "metricLatency000000001"}]}',
    '{"metrics": [{"id": "metricLatency000000001", "metric_name": null}]}',
    '{"metrics": [{"id": "metricLatency000000001", "metric_name": "Latency"}]}',
    '{"metrics": [], "next_page_token": 7}',
]


@pytest.fixture(scope="session")
def undisturbed_seconds(finished_step: RunStep) -> int:
    """How long a step with thresholds takes without faults, with or without metric_ids."""
    return int(finished_step("gate-passed")[0].outputs["duration_seconds"])


@pytest.mark.parametrize(
    "fault",
    [
        *[f"GET /metrics -> {failure}" for failure in FAILURES],
        *[f"GET /metrics -> json {body}" for body in UNSURE],
        *[f"GET /metrics/* #1 -> {fault}" for fault in ("403", "503", "body {}")],
        *[f"GET /agents/* #1 -> {failure}" for failure in FAILURES],
        "GET /metrics -> slow 20",
        'GET /agents/* #1 -> json {"agent": {"id": "agent00000000000000001", "metric_ids": [null]}}',
        f"GET /agents/* #1 -> json {ONE_METRIC}",
        f"GET /agents/* #2 -> json {ONE_METRIC}",
    ],
)
@pytest.mark.parametrize("inputs", [{}, {"metric_ids": f"{LATENCY.id},{RESOLVED.id},{COMPLIANCE.id}"}])
def test_good_run_is_launched_where_check_is_disturbed(
    inputs: dict[str, str], fault: str, run_step: RunStep, undisturbed_seconds: int
) -> None:
    thresholds = "Latency: avg < 1.5\nResolved: rate(YES) > 90%\nCompliance: count(NO) == 0"
    result, server = run_step(fault, thresholds=thresholds, **inputs)
    assert (result.outputs["verdict"], launches(server)) == ("passed", 1), result.log
    assert int(result.outputs["duration_seconds"]) <= undisturbed_seconds + PREPARING + 2


@pytest.mark.parametrize(
    "inputs",
    [
        {"persona_metrics": "latency"},
        {"config_overrides": '{"metric_ids": ["metricOther0000000001"]}'},
        {"metric_ids": f"{LATENCY.id},metricUnlisted00000001"},
    ],
)
def test_uncertain_names_are_launched(inputs: dict[str, str], run_step: RunStep) -> None:
    _, server = run_step(thresholds=MISSPELT, **inputs)
    assert launches(server) == 1


@pytest.mark.parametrize("source", ["hidden", "forbidden"])
def test_nothing_is_asked_where_agent_does_not_tell(source: Any, run_step: RunStep) -> None:
    _, server = run_step(quirks=Quirks(agent_metrics=source), thresholds=MISSPELT)
    assert requests_before_launch(server) == ["GET /agents/agent00000000000000001"]
    assert launches(server) == 1


@pytest.mark.parametrize("name", ["Latency", "Latncy"])
def test_renamed_in_list_only_is_no_problem(name: str, run_step: RunStep) -> None:
    """The list shows another name than the definition: one of them is damaged."""
    page = json.dumps(
        {"metrics": [{"id": LATENCY.id, "metric_name": "?"}, {"id": RESOLVED.id, "metric_name": "Resolved"}]}
    )
    _, server = run_step(f"GET /metrics -> json {page}", thresholds=f"{name}: avg < 2", metric_ids=TWO_METRICS)
    assert launches(server) == 1


def test_list_of_several_pages_is_read_until_all_names_are_found(run_step: RunStep) -> None:
    first = {"metrics": [{"id": f"other{number}", "metric_name": f"Other {number}"} for number in range(100)]}
    page = json.dumps(first | {"next_page_token": "eyJvZmZzZXQiOiAwfQ=="})
    result, server = run_step(f"GET /metrics #1 -> json {page}", thresholds="Latency: avg < 2", metric_ids=TWO_METRICS)
    assert result.outputs["verdict"] == "passed"
    assert requests_before_launch(server) == ["GET /metrics", "GET /metrics"]


def test_failed_check_is_logged(run_step: RunStep) -> None:
    result, _ = run_step("GET /metrics -> 403", thresholds="Latency: avg < 2")
    assert "Could not check before the launch which metrics and values the run will have: " in result.log


@pytest.mark.parametrize(
    "inputs", [{"api_key": "coval_sk_wrong_0000000000"}, {"agent_id": "missing000000000000001"}], ids=["key", "agent"]
)
def test_problem_that_also_ends_launch_is_told_once(run_step: RunStep, inputs: dict[str, str]) -> None:
    result, server = run_step(thresholds="Latency: avg < 2", **inputs)
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
