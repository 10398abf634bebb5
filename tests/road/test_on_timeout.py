"""With on_timeout: pass, slowness does not block a merge, but it is told everywhere, and a failure still does."""

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


def polled(polls: str, **shown: Any) -> str:
    """Return a fault: from so many polls on, the run goes on, and shows this of its progress."""
    progress = {"total_test_cases": 10, "completed_test_cases": 4} | shown
    run = {"run_id": "BGvffsneXVocAfhtfe4adw", "status": "IN PROGRESS", "progress": progress}
    run["error_status"] = progress.pop("error_status", None)
    return f"GET /runs/* #{polls}- -> json {json.dumps(run)}"


FAILED_2 = polled("3", failed_test_cases=2)
NONE_COMPLETED = polled("3", completed_test_cases=0, failed_test_cases=10)
MANY: dict[str, Any] = {"simulations_trickle": 600.0}
SILENT: dict[str, Any] = {"null_progress": True}
LATE_AND_FAILED = {"test_set_id": "someFail", "thresholds": "Latency: avg < 9", "max_wait_time": "120"}
UNTIMELY: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "the list shows failures": (SILENT | {"simulations_trickle": 30.0}, "", {"test_set_id": "someFail"}),
    "polls showed failures": (MANY, "", {"test_set_id": "someFail"}),
    "nothing of a run that completed": (SILENT | MANY, "", {"test_set_id": "passing1"}),
    "nothing of a run that goes on": (SILENT, "", {}),
    "no count of failures any more": ({}, polled("12"), {"test_set_id": "someFail"}),
    "counts of test cases": ({}, FAILED_2, {"iteration_count": "3", "max_failed_simulations": "3"}),
    "one mutation": ({}, FAILED_2, {"mutation_ids": MUTATIONS[0].id, "max_failed_simulations": "20%"}),
    "none completed": ({}, NONE_COMPLETED, {"max_failed_simulations": "100%"}),
    "counts of nothing": ({}, polled("3", total_test_cases=0, completed_test_cases=0, failed_test_cases=0), {}),
    "Coval's error": ({}, polled("3", failed_test_cases=0, error_status="EXECUTION_FAILURE"), {}),
    "late values": ({"metrics_lag": 600.0}, "", LATE_AND_FAILED),
}


@pytest.mark.parametrize("name", UNTIMELY)
def test_timeout_passes_only_if_something_shows_that_nothing_failed(name: str, run_step: RunStep) -> None:
    quirks, fault, inputs = UNTIMELY[name]
    given = {"on_timeout": "pass", "test_set_id": "stuck001", "max_wait_time": "65"} | inputs
    result, _ = run_step(*([fault] if fault else []), quirks=Quirks(**quirks), bare=True, **given)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_error_that_more_time_would_not_cure_does_not_pass(run_step: RunStep) -> None:
    inputs = {"thresholds": "Latency: rate(YES) >= 90%", "max_failed_simulations": "100%"}
    result, _ = run_step(quirks=LATE, on_timeout="pass", bare=True, **PATIENT, **inputs)
    assert result.exit_code == 1
    assert result.outputs["verdict"] in ("timed_out", "error")
