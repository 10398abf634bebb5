"""A plan replays earlier nights, and stays harmless."""

from typing import Any

import pytest

from coval_gate.history.tags import ACCEPTED_TAG
from coval_sandbox.catalogue import RESOLVED
from road.nights import Nights, RunStep
from support import StepResult, VirtualClock

THRESHOLDS = "Resolved: rate(YES) >= baseline - 10pp\nLatency: avg <= baseline * 1.1\nLatency: p(95) < 9"


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Nights:
    return Nights(run_step, clock)


def plan(nights: Nights, *faults: str, baseline: str = "branch:main last 2", **given: Any) -> StepResult:
    before = nights.world.runs
    result = nights.night("passing", *faults, mode="plan", baseline=baseline, thresholds=THRESHOLDS, **given)
    assert nights.world.runs == before
    assert {request.method for request in nights.server.requests_seen} == {"GET"}
    assert result.exit_code == 0, result.log
    return result


def replayed(result: StepResult) -> list[str]:
    """Return the plan's line about each threshold that compares with the baseline."""
    return [line.partition(": of ")[2] for line in result.log.splitlines() if "would have been red" in line]


def launch(nights: Nights, *scenarios: str, **given: Any) -> list[str]:
    """Launch a run a night, which records what later comparisons need."""
    return [nights.launch(scenario, **{"baseline": "branch:main"} | given) for scenario in scenarios]


@pytest.mark.parametrize("source", ["branch", "tag"])
def test_plan_shows_how_many_earlier_nights_would_have_been_red(source: str, nights: Nights) -> None:
    """Only nights of branches count, and with a tag only those since it was given."""
    launch(nights, "passing")
    if source == "tag":
        for run_id in launch(nights, "passing", "passing"):
            nights.tag(run_id, "stable")
    launch(nights, "failing", "passing")
    launch(nights, "failing", pull_request=True)
    baseline = "branch:main last 2" if source == "branch" else "tag:stable last 2"
    result = plan(nights, baseline=baseline)
    assert "Resolved: rate(YES) >= baseline - 10pp: only 2 comparable nights so far." in result.log
    launch(nights, "passing")
    result = plan(nights, baseline=baseline)
    resolved, latency = replayed(result)
    assert resolved.startswith("the last 3 nights, 1 would have been red; even with a margin of 15pp, 1. They vary by ")
    assert resolved.endswith("pp.")
    assert latency.startswith("the last 3 nights, ")
    assert latency.endswith(" s.")
    assert "Latency: p(95) < 9: of" not in result.log


def test_nights_of_a_branch_begin_with_the_one_that_a_person_accepted(nights: Nights) -> None:
    accepted = launch(nights, "passing", "passing", "failing")[-1]
    nights.tag(accepted, ACCEPTED_TAG)
    launch(nights, "passing", "failing", "failing")
    resolved, _ = replayed(plan(nights, baseline="branch:main"))
    assert resolved.startswith("the last 3 nights, 2 would have been red; ")
    accepting = plan(nights, accept="true", env={"GITHUB_EVENT_NAME": "workflow_dispatch"})
    assert "Replayed" not in accepting.log


def test_nights_that_another_version_of_the_metric_judged_do_not_count(nights: Nights) -> None:
    nights.tag(launch(nights, "passing", "failing", "failing")[0], "stable")
    nights.world.edits.revise(RESOLVED.id)
    nights.tag(launch(nights, "passing", "passing", "passing", "passing")[0], "stable")
    resolved, _ = replayed(plan(nights, baseline="tag:stable last 2"))
    assert resolved == "the last 3 nights, none would have been red. They vary by 0pp."


@pytest.mark.parametrize(
    "faults",
    [
        ("GET /runs -> 403",),
        ("GET /runs/* -> 503",),
        ("GET /conversations/simulated -> 403", "GET /simulations -> 403"),
    ],
    ids=["list", "run", "simulations"],
)
def test_what_coval_does_not_show_is_not_replayed(faults: tuple[str, ...], nights: Nights) -> None:
    launch(nights, "passing", "passing", "passing", "passing")
    result = plan(nights, *faults)
    assert replayed(result) == []
    assert "Not checked: the earlier nights: " in result.log


def test_plan_with_a_mistake_reports_that_alone(nights: Nights) -> None:
    launch(nights, *["passing"] * 4)
    mistaken = f"{THRESHOLDS}\nLatencey: avg <= baseline"
    result = nights.night("passing", mode="plan", baseline="branch:main", thresholds=mistaken)
    assert "did you mean Latency?" in result.outputs["reason"]
    assert (result.exit_code, replayed(result)) == (1, [])


def test_each_leg_has_its_own_nights_and_five_are_replayed(nights: Nights) -> None:
    launch(nights, *["passing"] * 4, test_set_id="passing1, passing2")
    sets = ", ".join(["passing1", "failing1", "flaky001", "flaky002", "passing2", "steady01"])
    result = plan(nights, test_set_id=sets)
    assert [line.partition(", ")[0] for line in replayed(result)] == ["the last 3 nights"] * 4
    assert result.log.count("Replayed on the nights so far of ") == 2
    assert "Not checked: the earlier nights of more than 5 legs." in result.log
