"""A step whose thresholds have a confidence: what users see of a doubt, and what the check makes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from fake_github import TOKEN
from road.test_commit_status import github_with, states

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

DOUBT = {"thresholds": "Resolved: rate(YES) >= 90%", "confidence": "95%"}  # ten test cases can never show that
SURE = {"thresholds": "Resolved: rate(YES) >= 70%", "confidence": "95%"}


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


def test_certainty_passes(run_step: RunStep) -> None:
    result, _ = run_step(**SURE)

    assert result.outputs["verdict"] == "passed"
    assert "100% (10 of 10), at least 74.1%" in result.log


def test_failure_outranks_doubt(run_step: RunStep) -> None:
    result, _ = run_step(
        test_set_id="failing1",
        thresholds="Resolved: rate(YES) >= 90%\nLatency: p(95) < 9",
        confidence="95%",
        on_inconclusive="pass",
    )
    assert result.outputs["verdict"] == "failed"


@pytest.mark.parametrize(("on_inconclusive", "state"), [("fail", "failure"), ("pass", "success")])
def test_commit_status_of_doubt(on_inconclusive: str, state: str, run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        run_step(env=env, commit_status="Coval", github_token=TOKEN, on_inconclusive=on_inconclusive, **DOUBT)
        final, description = states(github)[-1]

    assert final == state
    passes = " (passes)" if state == "success" else ""
    assert description.startswith(f"❔ Inconclusive{passes}: rate(YES) of Resolved is 100% (10 of 10)")


@pytest.mark.parametrize(("on_inconclusive", "failures"), [("fail", 1), ("pass", 0)])
def test_junit_has_red_case_only_if_check_is_red(
    on_inconclusive: str, failures: int, run_step: RunStep, tmp_path: Path
) -> None:
    run_step(junit_path="junit.xml", json_path="report.json", on_inconclusive=on_inconclusive, **DOUBT)
    (written,) = tmp_path.rglob("junit.xml")
    document = ET.parse(written).getroot()

    assert len(document.findall(".//failure")) == failures
    assert document.findall(".//error") == []
    properties = {node.get("name"): node.get("value") for node in document.iter("property")}
    assert properties["Resolved: rate(YES) >= 90%: confidence"] == "0.95"
    assert properties["Resolved: rate(YES) >= 90%: upper"] == "1"
    (written,) = tmp_path.rglob("report.json")
    (criterion,) = (
        entry for entry in json.loads(written.read_text())["legs"][0]["criteria"] if entry["kind"] == "threshold"
    )
    assert criterion["lower"] == pytest.approx(0.7411, abs=1e-4)
    assert (criterion["upper"], criterion["confidence"], criterion["sides"]) == (1.0, 0.95, "one")


def test_threshold_that_run_is_too_small_for_is_told_before_launch(run_step: RunStep) -> None:
    result, _ = run_step(sub_sample_size="5", **DOUBT)

    warnings = [annotation.data for annotation in result.annotations("warning")]
    assert warnings[0] == (
        "thresholds, line 1: 5 test cases can never show Resolved: rate(YES) >= 90% with 95% confidence, however good "
        "the agent is; 29 can."
    )
    assert result.log.index("can never show") < result.log.index("Launched run")


@pytest.mark.parametrize(
    ("inputs", "warning"),
    [
        ({"on_inconclusive": "pass"}, "on_inconclusive has no effect without confidence or a baseline."),
        (
            {"confidence": "95%"},
            "confidence has no effect: there is no threshold on rate, pass_rate, avg, med or p(N) with <, <=, > or >=.",
        ),
        (
            {"confidence": "95%", "thresholds": "Compliance: count(NO) == 0"},
            "confidence has no effect: there is no threshold on rate, pass_rate, avg, med or p(N) with <, <=, > or >=.",
        ),
    ],
)
def test_input_without_effect_is_told(inputs: dict[str, str], warning: str, run_step: RunStep) -> None:
    result, _ = run_step(**inputs)
    assert warning in [annotation.data for annotation in result.annotations("warning")]


@pytest.mark.parametrize(
    ("given", "share"),
    [("95%", 0.95), ("95 %", 0.95), ("0.95", 0.95), ("97.5%", 0.975), ("60%", 0.6), ("99.9%", 0.999)],
)
def test_confidence_is_percentage_or_share(given: str, share: float, run_step: RunStep, tmp_path: Path) -> None:
    run_step(json_path="report.json", confidence=given, thresholds="Resolved: rate(YES) >= 10%")
    (written,) = tmp_path.rglob("report.json")
    levels = [criterion["confidence"] for criterion in json.loads(written.read_text())["legs"][0]["criteria"]]
    assert levels[-1] == pytest.approx(share)


@pytest.mark.parametrize("given", ["1.5", "950", "50%", "100%", "0", "high", "-95%", "nan"])
def test_other_confidences_are_refused(given: str, run_step: RunStep) -> None:
    result, server = run_step(confidence=given, thresholds="Resolved: rate(YES) >= 10%")
    assert result.outputs["reason"].startswith("confidence must be empty or a percentage from 60% to 99.9%")
    assert server.requests_seen == []
