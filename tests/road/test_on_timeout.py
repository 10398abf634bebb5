"""With on_timeout: pass, slowness does not block a merge, but it is told everywhere, and a failure still does."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_sandbox.catalogue import MUTATIONS
from coval_sandbox.quirks import Quirks
from road.nights import RunStep

LATE = Quirks(metrics_lag=600.0)
PATIENT = {"max_wait_time": "120", "junit_path": "reports/junit.xml", "json_path": "reports/coval.json"}


@pytest.mark.parametrize(
    "inputs",
    [
        {"test_set_id": "stuck001"},
        {"test_set_id": "queued01", "max_queue_time": "60"},
        {"thresholds": "Latency: avg < 9"},
    ],
)
def test_timeout_passes_and_is_told(inputs: dict[str, str], run_step: RunStep) -> None:
    result, _ = run_step(quirks=LATE, on_timeout="pass", bare=True, **(PATIENT | inputs))
    assert (result.exit_code, result.outputs["verdict"], result.outputs["passed"]) == (0, "timed_out", "false")
    assert result.outputs["status"] == "TIMEOUT"
    assert result.summary.startswith("### ⌛ Timed out")
    assert len(result.annotations("warning")) == 1
    assert not result.annotations("error")
    root = ET.fromstring(result.junit)
    assert not [*root.iter("failure"), *root.iter("error")]
    assert [*root.iter("skipped")]
    assert json.loads(result.json)["verdict"] == "timed_out"


UNCOUNTED: dict[str, Any] = {
    "run_id": "BGvffsneXVocAfhtfe4adw",
    "status": "IN PROGRESS",
    "progress": {"total_test_cases": 10, "completed_test_cases": 4},
}


@pytest.mark.parametrize(
    ("test_set", "quirks", "fault"),
    [
        ("someFail", {"null_progress": True, "simulations_trickle": 30.0}, ""),
        ("someFail", {"simulations_trickle": 600.0}, ""),
        ("passing1", {"null_progress": True, "simulations_trickle": 600.0}, ""),
        ("stuck001", {"null_progress": True}, ""),
        ("someFail", {}, f"GET /runs/* #12- -> json {json.dumps(UNCOUNTED)}"),
    ],
    ids=[
        "the beginning of the list shows failures",
        "polls showed failures",
        "nothing of a run that completed",
        "nothing of a run that goes on",
        "no count of failures any more",
    ],
)
def test_timeout_passes_only_if_something_shows_that_nothing_failed(
    test_set: str, quirks: dict[str, Any], fault: str, run_step: RunStep
) -> None:
    faults = [fault] if fault else []
    result, _ = run_step(
        *faults, quirks=Quirks(**quirks), on_timeout="pass", bare=True, test_set_id=test_set, max_wait_time="65"
    )
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def polled(**progress: int) -> str:
    """Return a fault: from the third poll on, the run goes on, and shows this."""
    run = {"run_id": "BGvffsneXVocAfhtfe4adw", "status": "IN PROGRESS", "progress": progress}
    return f"GET /runs/* #3- -> json {json.dumps(run)}"


FAILED_2 = polled(total_test_cases=10, completed_test_cases=4, failed_test_cases=2)


@pytest.mark.parametrize(
    ("fault", "inputs"),
    [
        (FAILED_2, {"iteration_count": "3", "max_failed_simulations": "3"}),
        (FAILED_2, {"mutation_ids": MUTATIONS[0].id, "max_failed_simulations": "20%"}),
        (polled(total_test_cases=10, completed_test_cases=0, failed_test_cases=10), {"max_failed_simulations": "100%"}),
        (polled(total_test_cases=0, completed_test_cases=0, failed_test_cases=0), {}),
    ],
    ids=["counts of test cases", "all failures of one mutation", "none can have completed", "counts of nothing"],
)
def test_timeout_passes_only_if_no_count_of_failures_can_be_too_high(
    fault: str, inputs: dict[str, str], run_step: RunStep
) -> None:
    given = {"on_timeout": "pass", "test_set_id": "stuck001", "max_wait_time": "65"}
    result, _ = run_step(fault, bare=True, **(given | inputs))
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_timeout_does_not_pass_if_coval_reports_an_error(run_step: RunStep) -> None:
    run = UNCOUNTED | {"error_status": "EXECUTION_FAILURE"}
    run["progress"] = {"total_test_cases": 10, "completed_test_cases": 4, "failed_test_cases": 0}
    fault = f"GET /runs/* #3- -> json {json.dumps(run)}"
    result, _ = run_step(fault, bare=True, on_timeout="pass", test_set_id="stuck001", max_wait_time="65")
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_timeout_fails_by_default(run_step: RunStep) -> None:
    result, _ = run_step(on_timeout="", test_set_id="stuck001", **PATIENT)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_late_run_that_failed_does_not_pass(run_step: RunStep) -> None:
    """Some values are late, but what is there fails the gate already."""
    result, _ = run_step(
        quirks=LATE, on_timeout="pass", bare=True, test_set_id="someFail", thresholds="Latency: avg < 9", **PATIENT
    )
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_timeout_of_one_leg_does_not_hide_that_another_is_inconclusive(run_step: RunStep) -> None:
    result, _ = run_step(
        on_timeout="pass",
        bare=True,
        test_set_id="stuck001, passing1",
        thresholds="Resolved: rate(YES) >= 90%",
        confidence="95%",
        **PATIENT,
    )
    assert (result.exit_code, result.outputs["verdict"]) == (1, "inconclusive")


@pytest.mark.parametrize(
    "inputs",
    [
        {"thresholds": "Latency: rate(YES) >= 90%", "max_failed_simulations": "100%"},
        {"test_set_id": "someFail", "max_wait_time": "50"},
    ],
    ids=["an error that time does not cure", "too many simulations have failed by then"],
)
def test_what_more_time_would_not_mend_does_not_pass(inputs: dict[str, str], run_step: RunStep) -> None:
    quirks = Quirks(missing_values=0.3, metrics_lag=600.0)
    result, _ = run_step(quirks=quirks, on_timeout="pass", bare=True, **(PATIENT | inputs))
    assert result.exit_code == 1
    assert result.outputs["verdict"] in ("timed_out", "error")
