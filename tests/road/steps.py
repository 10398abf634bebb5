"""The inputs of the steps whose log, outputs and reports tests read."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from coval_sandbox.catalogue import PERSONA_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST

FORK_EVENT = {
    "pull_request": {
        **PULL_REQUEST["pull_request"],
        "head": {"sha": PULL_REQUEST["pull_request"]["head"]["sha"], "repo": {"full_name": "mallory/voice-agent"}},
    }
}


STATUS = "Coval / voice gate"
ALL_REPORTS = {
    "comment": "always",
    "commit_status": STATUS,
    "junit_path": "reports/junit.xml",
    "json_path": "reports/coval.json",
    "digest_path": "reports/digest.md",
    "html_path": "reports/coval.html",
}
THRESHOLDS = """
    Latency: p(95) < 1.5       # seconds
    Resolved: rate(YES) >= 90%
    "Tone: friendly": avg >= 4
    Compliance: count(NO) == 0
    completed_rate == 100%
"""


CONFIDENT = """
    Latency: med < 1.5
    Resolved: rate(YES) >= 70%
    Resolved: rate(YES) >= 90%
    Compliance: count(NO) == 0
"""


def example_thresholds() -> str:
    """Return the thresholds of the workflow that README shows."""
    example = Path(__file__).resolve().parents[2] / "examples" / "pull-request.yml"
    (step,) = YAML(typ="safe").load(example.read_text(encoding="utf-8"))["jobs"]["evaluate"]["steps"]
    return str(step["with"]["thresholds"])


# Steps whose log, outputs and summary stand in golden files: each verdict, each kind of report and of error once.
STEPS: dict[str, dict[str, Any]] = {
    # README's picture shows its summary, and `make demo`, which has this persona, the same.
    "readme": {"persona_id": PERSONA_ID, "test_set_id": "flaky001", "thresholds": example_thresholds()},
    "passed": {},
    "failed-tolerated": {"test_set_id": "someFail", "max_failed_simulations": "50%"},
    "all-failed": {"test_set_id": "allFail1", "thresholds": THRESHOLDS},
    "run-cancelled": {"test_set_id": "cancels1"},
    "timed-out": {"test_set_id": "stuck001", "max_wait_time": "600"},
    "launched": {"mode": "launch"},
    "gate-doubtful": {
        "thresholds": "Latency: p(95) < 1500\nCompliance: rate(YES) >= 90%\nResolved: count(NO) == 0",
    },
    "gate-in-doubt": {"thresholds": CONFIDENT, "confidence": "95%", "iteration_count": "3"},
    "repeated-flaky": {
        "test_set_id": "flaky002",
        "dashboard_url": "https://app.coval.dev/acme",
        "thresholds": example_thresholds(),
        "repeat_on_failure": "1",
    },
    "until-clear": {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 60%"},
    "gate-mutations": {
        "test_set_id": "flaky001",
        "mutation_ids": "fasterModel000000000000001,calmerVoice000000000000002",
        "thresholds": "Latency: p(95) < 1.5\nResolved: rate(YES) >= 80%",
    },
    "gate-unknown-metric": {"thresholds": "Latncy: avg < 2", "quirks": Quirks(agent_metrics="hidden")},
    "wrong-inputs": {"mode": "lunch", "iteration_count": "0", "tags": "[1]"},
    "fork-skipped": {"api_key": "", "event": FORK_EVENT, "on_missing_api_key": "skip"},
}


# Steps of which only the verdict and its reason are read, or whose reports must agree with each other.
OTHERS: dict[str, dict[str, Any]] = {
    "run-failed": {"test_set_id": "runFails"},
    "run-deleted": {"test_set_id": "deletes1"},
    "run-broken": {"test_set_id": "errors01"},
    "dirty": {"test_set_id": "dirty001"},
    "unknown-status": {"test_set_id": "unknown1"},
    "no-progress": {"test_set_id": "noProgrs"},
    "timed-out-queued": {"test_set_id": "queued01", "max_wait_time": "90"},
    "gate-failed": {"test_set_id": "failing1", "thresholds": THRESHOLDS},
    "gate-flaky": {
        "test_set_id": "flaky001",
        "dashboard_url": "https://app.coval.dev/acme",
        "thresholds": example_thresholds(),
    },
    "gate-forbidden": {"test_set_id": "failing1", "fail_on_metric_id": "Resolved", "fail_on_metric_value": "no"},
    "gate-targets": {"test_set_id": "flaky001", "use_metric_targets": "true"},
    "repeated-failed": {
        "test_set_id": "flaky001",
        "dashboard_url": "https://app.coval.dev/acme",
        "mutation_ids": "fasterModel000000000000001",
        "thresholds": "Latency: p(95) < 1.5\nResolved: rate(YES) >= 80%\nCompliance: count(NO) <= 2",
        "repeat_on_failure": "1",
    },
    "repeated-in-vain": {
        "test_set_id": "flaky001",
        "thresholds": "Resolved: rate(YES) >= 90%\nCompliance: count(NO) == 0",
        "repeat_on_failure": "1",
    },
    "slips": {"mode": "launch", "env": {"INPUT_COLOUR": "red"}, "agent_id": "short"},
}
