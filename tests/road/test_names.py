"""The names of what a run has: those that criteria mention are checked before the launch, and reports show them.

The step launches nothing where a metric certainly will be missing, and launches as ever where Coval does not know for
certain. No verdict depends on what reports call things.
"""

from collections.abc import Callable
from typing import Any

import pytest

from coval_gate.base.times import PREPARING
from coval_sandbox.catalogue import BUILTIN_METRICS, COMPLIANCE, LATENCY, RESOLVED
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from road.legs import launch_count
from road.nights import RunStep
from support import IDS, StepResult, VirtualClock

MISSPELT = "Latncy: avg < 2"
TWO_METRICS = f"{LATENCY.id},{RESOLVED.id}"
SETS = ("passing1", "failing1")
AGENT, METRICS = "/agents/agent00000000000000001", "/metrics"


def paths_of(server: Server) -> list[str]:
    return [request.path.removeprefix("/v1") for request in server.requests_seen]


def read_before_launch(server: Server) -> list[str]:
    """Return the paths of the requests up to the launch."""
    paths = paths_of(server)
    return paths[: paths.index("/runs")] if launch_count(server) else paths


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
        assert (result.outputs["verdict"], result.outputs["run_id"], launch_count(server)) == ("error", "", 0)
        assert int(result.outputs["duration_seconds"]) <= PREPARING
        reasons.append(result.outputs["reason"])
    golden("before-launch.txt", "\n".join(reasons) + "\n")


@pytest.mark.parametrize(
    ("inputs", "read"),
    [
        ({}, [AGENT]),  # a job may have to answer it, which mode run refuses
        ({"thresholds": f"{LATENCY.id}: avg < 2", "metric_ids": TWO_METRICS}, [AGENT]),
        ({"thresholds": "latency: avg < 2", "metric_ids": TWO_METRICS}, [AGENT, METRICS]),
        ({"thresholds": f"{LATENCY.id}: avg < 2"}, [AGENT]),
        ({"thresholds": "Latency: avg < 2"}, [AGENT, METRICS]),
        ({"thresholds": MISSPELT, "quirks": Quirks(agent_metrics="forbidden")}, [AGENT]),
        ({"thresholds": MISSPELT, "persona_metrics": "latency"}, None),
        ({"thresholds": MISSPELT, "config_overrides": '{"metric_ids": ["metricOther0000000001"]}'}, None),
        ({"thresholds": MISSPELT, "metric_ids": f"{LATENCY.id},metricUnlisted00000001"}, None),
        # The third definition does not list its values.
        (
            {
                "thresholds": "Resolved: rate(yes, unknown) > 90%\nTopics: count(legal, Unknown) == 0\n"
                "Compliance: rate(YES, MAYBE, 1) > 90%\n? Resolved: count(NOO) == 0"
            },
            None,
        ),
    ],
)
def test_what_may_occur_is_launched_after_fewest_calls(
    inputs: dict[str, Any], read: list[str] | None, run_step: RunStep
) -> None:
    _, server = run_step(mode="launch" if read is None else "", **inputs)
    assert launch_count(server) == 1
    assert read is None or sorted(read_before_launch(server)) == read


@pytest.mark.parametrize(
    "fault",
    ["GET /metrics -> html 502", "GET /metrics/* #1 -> 503"],
)
def test_good_run_is_launched_where_check_is_disturbed(fault: str, run_step: RunStep, clock: VirtualClock) -> None:
    result, server = run_step(fault, thresholds="Latency: avg < 1.5\nResolved: rate(YES) > 90%")
    assert (result.outputs["verdict"], launch_count(server)) == ("passed", 1), result.log
    assert clock.now() <= 60 + PREPARING + 2
    is_reported = "Could not check before the launch which metrics and values the run will have: " in result.log
    assert is_reported is not fault.startswith("GET /metrics/*")


def test_resumed_run_is_not_checked(run_step: RunStep) -> None:
    """A run that an earlier attempt launched is watched to its end, not left behind."""
    first, server = run_step("GET /metrics -> 503", thresholds=MISSPELT, max_wait_time="10", bare=True)
    second, _ = run_step(world=server.world, thresholds=MISSPELT, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert first.outputs["verdict"] == "timed_out"
    assert second.outputs["run_id"] == first.outputs["run_id"]
    assert second.outputs["reason"].startswith('The run has no metric "Latncy"')


BAD = {"test_set_id": "failing1", "thresholds": "Latency: max < 1.5"}


def heading(result: StepResult) -> list[str]:
    """Return the first lines of the summary, up to its first table."""
    return [line for line in result.summary.partition("\n|")[0].split("\n") if line]


@pytest.mark.parametrize("fault", ["403", "503"])
def test_ids_and_numbers_alone_where_coval_shows_no_names_and_units(fault: str, run_step: RunStep) -> None:
    kinds = ("/agents", "/personas", "/test-sets", "/metrics")
    result, server = run_step(*(f"GET {path}* -> {fault}" for path in kinds), **BAD)
    assert result.outputs["reason"] == "max of Latency is 2.72, must be < 1.5."
    assert f"agent `{IDS['agent_id']}` · test set `failing1` · persona `persona000000000000001`" in heading(result)[0]
    assert f"Tested: agent {IDS['agent_id']}" in heading(result)
    assert result.log.count("in time, so reports may lack the units of values.") == (fault == "503")
    assert all(warning.properties["title"].startswith("Coval: ") for warning in result.annotations("warning"))
    for path in kinds:
        decides = path == "/agents" and fault != "403"  # whether a job has to answer
        called = sum(asked.startswith(f"{path}/") for asked in paths_of(server))
        assert decides or called <= 2, "a call that only informs"
