"""The action in real workflows, built from its Dockerfile and run by nektos/act."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.runner import PULL_REQUEST
from e2e.engine import KEY
from e2e.traps import SPRUNG, TRAPS
from e2e.workflow import REPOSITORY, Played, Setting
from fake_github import TOKEN, FakeGitHub

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.engine import Sandbox

    Workflow = Callable[..., Played]

pytestmark = pytest.mark.e2e
HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]


def test_a_run_that_passes(workflow: Workflow, sandbox: Sandbox) -> None:
    """Outputs, conclusion and summary reach the workflow, and the run in Coval names the commit it comes from."""
    played = workflow("passing.yml")
    gate = played.steps["gate"]
    assert gate["outcome"] == gate["conclusion"] == played.job == "success"
    assert played.exit_code == 0
    assert_passed(gate["outputs"], sandbox)
    assert gate["outputs"]["reason"].endswith("3 of 3 criteria met.")
    (summary,) = played.commands("gate", "summary")
    assert summary["content"].startswith("### ✅ Passed: Coval evaluation\n")
    assert sandbox.run["metadata"]["github_repository"] == REPOSITORY
    assert sandbox.run["metadata"]["github_commit"] == played.commit
    assert_key_is_kept(played)


def test_a_run_that_fails_turns_step_and_workflow_red(workflow: Workflow, sandbox: Sandbox) -> None:
    played = workflow("failing.yml")
    gate = played.steps["gate"]
    assert gate["outcome"] == gate["conclusion"] == played.job == "failure"
    assert played.exit_code == 1
    assert_failed(gate["outputs"], sandbox)
    (error,) = played.commands("gate", "error")
    assert error["kvPairs"]["title"] == "Coval Gate: Gate failed"
    assert error["arg"].startswith(gate["outputs"]["reason"])
    (summary,) = played.commands("gate", "summary")
    assert summary["content"].startswith("### ❌ Failed: Coval evaluation\n")
    assert_key_is_kept(played)


def test_a_failure_that_the_workflow_tolerates(workflow: Workflow, sandbox: Sandbox) -> None:
    """With continue-on-error the outputs of the failed step are all there, and the workflow is green."""
    played = workflow("tolerated.yml")
    gate = played.steps["gate"]
    assert (gate["outcome"], gate["conclusion"], played.job) == ("failure", "success", "success")
    assert played.exit_code == 0
    assert_failed(gate["outputs"], sandbox)
    assert_key_is_kept(played)


def test_a_launch_and_a_later_step_that_waits(workflow: Workflow, sandbox: Sandbox) -> None:
    """Mode launch ends without a verdict; mode wait takes its run_id, launches nothing, and passes."""
    played = workflow("launch.yml")
    launch, gate = played.steps["launch"], played.steps["gate"]
    assert launch["outcome"] == launch["conclusion"] == "success"
    assert launch["outputs"].keys() == OUTPUTS.keys()
    assert launch["outputs"]["verdict"] == ""
    assert launch["outputs"]["passed"] == "false"
    assert launch["outputs"]["status"] == "LAUNCHED"
    assert launch["outputs"]["run_id"] == gate["outputs"]["run_id"]
    assert gate["outcome"] == gate["conclusion"] == played.job == "success"
    assert played.exit_code == 0
    assert_passed(gate["outputs"], sandbox)
    assert_key_is_kept(played, "launch", "gate")


def test_a_repository_and_an_environment_that_get_in_the_way(workflow: Workflow, sandbox: Sandbox) -> None:
    """Modules of our names beside the step, PYTHON* variables, no PATH and an ASCII locale change nothing.

    `test_container.py` has the counter-check: without isolation the same files take over.
    """
    played = workflow("hostile.yml", Setting(files=TRAPS))
    gate = played.steps["gate"]
    assert SPRUNG not in played.log("gate")
    assert gate["outcome"] == gate["conclusion"] == played.job == "success"
    assert_passed(gate["outputs"], sandbox)
    assert "✅ Passed. All 10 simulations completed" in played.log("gate")
    assert_key_is_kept(played)


def test_reports_of_a_pull_request(workflow: Workflow) -> None:
    """Summary, JUnit and JSON are there; the comment appears with the first failure and is updated by the next run."""
    with FakeGitHub() as github:
        github.add_pull_request(42, HEAD)
        played = [
            workflow(
                "reports.yml",
                Setting(
                    event="pull_request",
                    payload={**PULL_REQUEST, "number": 42},
                    api_url=github.url,
                    variables={"THRESHOLDS": f"Latency: p(95) < {bound}"},
                    token=TOKEN,
                ),
            )
            for bound in ("1.5", "9.5")
        ]
        (comment,) = github.comments[42]
        states = [each["state"] for each in github.statuses[HEAD]]
    for each, verdict, junit in zip(played, ("failed", "passed"), ((10, 1), (0, 0)), strict=True):
        outputs = each.steps["gate"]["outputs"]
        assert outputs["verdict"] == verdict
        assert outputs["comment_url"] == comment.html_url
        assert (outputs["junit_path"], outputs["json_path"]) == ("reports/junit.xml", "reports/coval.json")
        suites = ET.fromstring(each.log("junit"))
        assert tuple(int(suite.attrib["failures"]) for suite in suites) == junit
        assert json.loads(each.log("json"))["verdict"] == verdict
        (summary,) = each.commands("gate", "summary")
        assert summary["content"].startswith("### ")
        assert TOKEN not in str([entry for entry in each.entries if entry.get("command") != "add-mask"])
        assert each.leaks == []
    assert "### ✅ Passed" in comment.body
    assert states == ["pending", "failure", "pending", "success"]


def assert_passed(outputs: dict[str, str], sandbox: Sandbox) -> None:
    """All outputs are there and say that the only run passed."""
    assert outputs.keys() == OUTPUTS.keys()
    assert outputs["verdict"] == "passed"
    assert outputs["passed"] == "true"
    assert outputs["status"] == sandbox.run["status"] == "COMPLETED"
    assert outputs["reason"].startswith("All 10 simulations completed")
    assert outputs["total_simulations"] == outputs["completed_simulations"] == "10"
    assert outputs["run_id"] == sandbox.run["run_id"]
    assert outputs["run_url"] == f"https://app.coval.dev/runs/{outputs['run_id']}"
    assert 0 <= int(outputs["duration_seconds"]) < 60


def assert_failed(outputs: dict[str, str], sandbox: Sandbox) -> None:
    """All outputs are there and say that the only run failed."""
    assert outputs.keys() == OUTPUTS.keys()
    assert outputs["verdict"] == "failed"
    assert outputs["passed"] == "false"
    assert outputs["status"] == "COMPLETED_WITH_FAILURES"
    assert outputs["reason"] == "3 of 10 simulations did not complete; max_failed_simulations allows 0."
    assert outputs["total_simulations"] == "10"
    assert outputs["completed_simulations"] == "7"
    assert outputs["run_id"] == sandbox.run["run_id"]


def assert_key_is_kept(played: Played, *steps: str) -> None:
    """Each step has the key masked, and shows it nowhere else."""
    assert played.leaks == []
    for step in steps or ("gate",):
        assert KEY in [command["arg"] for command in played.commands(step, "add-mask")]
