"""A step whose thresholds have a confidence: what users see of a doubt, and what the check makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from coval_sandbox.server import Server
from fake_github import TOKEN
from road.test_commit_status import github_with, states
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


DOUBT = {"thresholds": "Resolved: rate(YES) >= 90%", "confidence": "95%"}  # ten test cases can never show that


def test_doubt_is_red_by_default(run_step: RunStep) -> None:
    result, _ = run_step(**DOUBT)

    assert result.exit_code == 1
    assert result.outputs["verdict"] == "inconclusive"
    assert result.outputs["passed"] == "false"
    assert result.outputs["status"] == "COMPLETED_WITH_FAILURES"
    (criterion,) = json.loads(result.outputs["failed_criteria"])
    assert criterion["verdict"] == "inconclusive"


def test_doubt_is_green_and_visible_if_asked_for(run_step: RunStep) -> None:
    result, _ = run_step(**DOUBT, on_inconclusive="pass")

    assert result.exit_code == 0
    assert result.outputs["verdict"] == "inconclusive"
    assert result.outputs["passed"] == "false"
    assert result.outputs["status"] == "COMPLETED"
    (warning,) = result.annotations("warning")
    assert "neither shows nor rules out" in warning.data
    assert "❔" in result.summary


@pytest.mark.parametrize(("on_inconclusive", "state"), [("fail", "failure"), ("pass", "success")])
def test_commit_status_of_doubt(on_inconclusive: str, state: str, run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        run_step(env=env, commit_status="Coval", github_token=TOKEN, on_inconclusive=on_inconclusive, **DOUBT)
        final, description = states(github)[-1]

    assert final == state
    passes = " (passes)" if state == "success" else ""
    assert description.startswith(f"❔ Inconclusive{passes}: rate(YES) of Resolved is 100% (10 of 10)")


def test_threshold_that_run_is_too_small_for_is_told_before_launch(run_step: RunStep) -> None:
    result, _ = run_step(sub_sample_size="5", **DOUBT)

    warnings = [annotation.data for annotation in result.annotations("warning")]
    assert warnings[0] == (
        "thresholds, line 1: 5 test cases can never show Resolved: rate(YES) >= 90% with 95% confidence, however good "
        "the agent is; 29 can."
    )
    assert result.log.index("can never show") < result.log.index("Launched run")
