"""The inputs of the steps whose log, outputs and reports are held in golden files."""

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


STEPS: dict[str, dict[str, Any]] = {
    # README's picture shows its summary, and `make demo`, which has this persona, the same.
    "readme": {"persona_id": PERSONA_ID, "test_set_id": "flaky001", "thresholds": example_thresholds()},
    "passed": {},
    "failed": {"test_set_id": "someFail"},
    "failed-tolerated": {"test_set_id": "someFail", "max_failed_simulations": "50%"},
    "all-failed": {"test_set_id": "allFail1", "thresholds": "THRESHOLDS"},
    "run-failed": {"test_set_id": "runFails"},
    "run-cancelled": {"test_set_id": "cancels1"},
    "run-deleted": {"test_set_id": "deletes1"},
    "run-broken": {"test_set_id": "errors01"},
    "empty": {"test_set_id": "empty001"},
    "dirty": {"test_set_id": "dirty001"},
    "unknown-status": {"test_set_id": "unknown1"},
    "no-progress": {"test_set_id": "noProgrs"},
    "timed-out": {"test_set_id": "stuck001", "max_wait_time": "600"},
    "timed-out-queued": {"test_set_id": "queued01", "max_wait_time": "90"},
    "launched": {"mode": "launch"},
    "gate-passed": {"thresholds": "THRESHOLDS", "use_metric_targets": "true"},
    "gate-doubtful": {
        "thresholds": "Latency: p(95) < 1500\nCompliance: rate(YES) >= 90%\nResolved: count(NO) == 0",
    },
    "gate-failed": {"test_set_id": "failing1", "thresholds": "THRESHOLDS"},
    "gate-in-doubt": {"thresholds": CONFIDENT, "confidence": "95%", "iteration_count": "3"},
    "gate-in-doubt-passes": {
        "thresholds": CONFIDENT,
        "confidence": "95%",
        "iteration_count": "3",
        "on_inconclusive": "pass",
    },
    "gate-flaky": {
        "test_set_id": "flaky001",
        "dashboard_url": "https://app.coval.dev/acme",
        "thresholds": example_thresholds(),
    },
    "repeated-flaky": {
        "test_set_id": "flaky002",
        "dashboard_url": "https://app.coval.dev/acme",
        "thresholds": example_thresholds(),
        "repeat_on_failure": "2",
    },
    "repeated-failed": {
        "test_set_id": "flaky001",
        "dashboard_url": "https://app.coval.dev/acme",
        "mutation_ids": "fasterModel000000000000001",
        "thresholds": "Latency: p(95) < 1.5\nResolved: rate(YES) >= 80%\nCompliance: count(NO) <= 2",
        "repeat_on_failure": "2",
    },
    "repeated-in-vain": {
        "test_set_id": "flaky001",
        "thresholds": "Resolved: rate(YES) >= 90%\nCompliance: count(NO) == 0",
        "repeat_on_failure": "2",
    },
    "repeated-without-time": {
        "test_set_id": "flaky002",
        "thresholds": example_thresholds(),
        "repeat_on_failure": "1",
        "max_wait_time": "90",
    },
    "until-clear": {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 60%"},
    "gate-mutations": {
        "test_set_id": "flaky001",
        "mutation_ids": "fasterModel000000000000001,calmerVoice000000000000002",
        "thresholds": "Latency: p(95) < 1.5\nResolved: rate(YES) >= 80%",
    },
    "gate-misspelt-metric": {"thresholds": "Latncy: avg < 2"},
    "gate-unknown-metric": {"thresholds": "Latncy: avg < 2", "quirks": Quirks(agent_metrics="hidden")},
    "gate-forbidden": {"test_set_id": "failing1", "fail_on_metric_id": "Resolved", "fail_on_metric_value": "no"},
    "gate-targets": {"test_set_id": "flaky001", "use_metric_targets": "true"},
    "gate-pass-rate": {"test_set_id": "flaky001", "thresholds": "pass_rate >= 95%"},
    "unused-inputs": {"mode": "cancel", "run_id": "nowhere000000000000001", "check_interval": "30", "resume": "false"},
    "wrong-inputs": {"mode": "lunch", "iteration_count": "0", "tags": "[1]"},
    "wrong-agent": {"agent_id": "missing000000000000001"},
    "slips": {"mode": "launch", "env": {"INPUT_COLOUR": "red"}, "agent_id": "short"},
    "fork": {"api_key": "", "event": FORK_EVENT},
    "fork-skipped": {"api_key": "", "event": FORK_EVENT, "on_missing_api_key": "skip"},
}


def inputs_of(name: str) -> dict[str, Any]:
    """Return the arguments of `run_step` for a step by name."""
    inputs = STEPS[name]
    return inputs | ({"thresholds": THRESHOLDS} if inputs.get("thresholds") == "THRESHOLDS" else {})
