"""The action in real workflows: nektos/act runs the image of its Dockerfile, which is built once for all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.runner import PULL_REQUEST
from e2e.engine import KEY, SPEED_OF_STEPS, Sandbox
from e2e.traps import TRAP_MESSAGE, TRAPS
from e2e.workflow import REPOSITORY, Environment, WorkflowResult
from fake_github import TOKEN, FakeGitHub

Workflow = Callable[..., WorkflowResult]


pytestmark = pytest.mark.e2e
SPEED = SPEED_OF_STEPS
HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]


def test_passing_run(workflow: Workflow, sandbox: Sandbox) -> None:
    """The workflow gets outputs, conclusion and summary, and the run's metadata names the commit."""
    result = workflow("passing.yml")
    gate = result.steps["gate"]
    assert gate["outcome"] == gate["conclusion"] == result.job == "success"
    assert result.exit_code == 0
    assert_passed(gate["outputs"], sandbox)
    assert gate["outputs"]["reason"].endswith("all 4 criteria are met.")
    (summary,) = result.commands("gate", "summary")
    assert summary["content"].startswith("### ✅ Passed: Coval evaluation")
    assert sandbox.run["metadata"]["github_repository"] == REPOSITORY
    assert sandbox.run["metadata"]["github_commit"] == result.commit
    assert "github_matrix" not in sandbox.run["metadata"]
    assert_key_is_masked(result)


def test_failing_run_fails_step_and_workflow(workflow: Workflow, sandbox: Sandbox) -> None:
    result = workflow("failing.yml")
    gate = result.steps["gate"]
    assert gate["outcome"] == gate["conclusion"] == result.job == "failure"
    assert result.exit_code == 1
    assert_failed(gate["outputs"], sandbox)
    (error,) = result.commands("gate", "error")
    assert error["kvPairs"]["title"] == "Coval Gate: Gate failed"
    assert error["arg"].startswith(gate["outputs"]["reason"])
    (summary,) = result.commands("gate", "summary")
    assert summary["content"].startswith("### ❌ Failed: Coval evaluation")
    assert_key_is_masked(result)


def test_continue_on_error(workflow: Workflow, sandbox: Sandbox) -> None:
    """The failed step has all outputs, and the workflow succeeds."""
    result = workflow("tolerated.yml")
    gate = result.steps["gate"]
    assert (gate["outcome"], gate["conclusion"], result.job) == ("failure", "success", "success")
    assert result.exit_code == 0
    assert_failed(gate["outputs"], sandbox)
    assert_key_is_masked(result)


def test_launch_and_wait_in_two_steps(workflow: Workflow, sandbox: Sandbox) -> None:
    """Mode launch ends without a verdict; mode wait gets its run_id, launches no run, and passes."""
    result = workflow("launch.yml")
    launch, gate = result.steps["launch"], result.steps["gate"]
    assert launch["outcome"] == launch["conclusion"] == "success"
    assert launch["outputs"].keys() == OUTPUTS.keys()
    assert launch["outputs"]["verdict"] == ""
    assert launch["outputs"]["passed"] == "false"
    assert launch["outputs"]["status"] == "LAUNCHED"
    assert launch["outputs"]["run_id"] == gate["outputs"]["run_id"]
    assert gate["outcome"] == gate["conclusion"] == result.job == "success"
    assert result.exit_code == 0
    assert_passed(gate["outputs"], sandbox)
    assert_key_is_masked(result, "launch", "gate")


def test_hostile_repository_and_environment(workflow: Workflow, sandbox: Sandbox) -> None:
    """Modules with the action's names in the workspace, PYTHON* variables, no PATH and an ASCII locale have no effect.

    `test_container.py` has the control: without isolation, the same files take over.
    """
    result = workflow("hostile.yml", Environment(files=TRAPS))
    gate = result.steps["gate"]
    assert TRAP_MESSAGE not in result.log("gate")
    assert gate["outcome"] == gate["conclusion"] == result.job == "success"
    assert_passed(gate["outputs"], sandbox)
    assert "✅ Passed: All 10 simulations completed" in result.log("gate")
    assert_key_is_masked(result)


def test_reports_on_pull_request(workflow: Workflow) -> None:
    """Summary, JUnit and JSON exist; the comment appears with the first failure, and the next run updates it."""
    with FakeGitHub() as github:
        github.add_pull_request(42, HEAD)
        result = [
            workflow(
                "reports.yml",
                Environment(
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
        states = [status["state"] for status in github.statuses[HEAD]]
    for gate, verdict, junit in zip(result, ("failed", "passed"), ((10, 1), (0, 0)), strict=True):
        outputs = gate.steps["gate"]["outputs"]
        assert outputs["verdict"] == verdict
        assert outputs["comment_url"] == comment.html_url
        assert (outputs["junit_path"], outputs["json_path"]) == ("reports/junit.xml", "reports/coval.json")
        suites = ET.fromstring(gate.log("junit"))
        assert tuple(int(suite.attrib["failures"]) for suite in suites) == junit
        assert json.loads(gate.log("json"))["verdict"] == verdict
        (summary,) = gate.commands("gate", "summary")
        assert summary["content"].startswith("### ")
        assert TOKEN not in str([entry for entry in gate.entries if entry.get("command") != "add-mask"])
        assert gate.leaks == []
    assert "### ✅ Passed" in comment.body
    assert states == ["pending", "failure", "pending", "success"]


def test_jobs_of_matrix_that_are_alike_are_told_apart(workflow: Workflow, sandbox: Sandbox) -> None:
    """Each job has its own run, comment, status and names in JUnit."""
    with FakeGitHub() as github:
        github.add_pull_request(42, HEAD)
        payload = {**PULL_REQUEST, "number": 42}
        environment = Environment(event="pull_request", payload=payload, api_url=github.url, token=TOKEN)
        result = workflow("matrix.yml", environment)
        comments = [note.body for note in github.comments[42]]
        statuses = Counter((status["context"], status["state"]) for status in github.statuses[HEAD])
    jobs = {region: result.of_job(region=region) for region in ("eu", "us")}
    assert {job_result.steps["gate"]["outputs"]["verdict"] for job_result in jobs.values()} == {"passed"}
    runs = {run["metadata"]["github_matrix"]: run for run in sandbox.runs}
    assert sorted(runs) == ["eu, 1", "us, 1"]
    groups = {tag for run in runs.values() for tag in run["tags"] if "/line/" in tag}
    assert len(groups) == 2
    for region, job in jobs.items():
        label = f"{region}, 1"
        assert job.steps["gate"]["outputs"]["run_id"] == runs[label]["run_id"]
        (summary,) = job.commands("gate", "summary")
        assert summary["content"].startswith(f"### ✅ Passed: Coval evaluation ({label})")
        assert len([comment for comment in comments if f"evaluate ({label})" in comment]) == 1
        assert statuses[f"Coval ({label})", "pending"] == statuses[f"Coval ({label})", "success"] == 1
        suites = ET.fromstring(job.log("junit"))
        names = ("simulations of agent", "criteria of the gate")
        assert [suite.attrib["name"] for suite in suites] == [f"Coval.{name} ({label})" for name in names]
    assert (len(comments), statuses.total()) == (2, 4)
    assert result.leaks == []


def assert_passed(outputs: dict[str, str], sandbox: Sandbox) -> None:
    """Check that all outputs exist and say that the only run passed."""
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
    """Check that all outputs exist and say that the only run failed."""
    assert outputs.keys() == OUTPUTS.keys()
    assert outputs["verdict"] == "failed"
    assert outputs["passed"] == "false"
    assert outputs["status"] == "COMPLETED_WITH_FAILURES"
    assert outputs["reason"] == "3 of 10 simulations did not complete; max_failed_simulations allows 0."
    assert outputs["total_simulations"] == "10"
    assert outputs["completed_simulations"] == "7"
    assert outputs["run_id"] == sandbox.run["run_id"]


def assert_key_is_masked(result: WorkflowResult, *steps: str) -> None:
    """Check that each step masks the key and shows it nowhere else."""
    assert result.leaks == []
    for step in steps or ("gate",):
        assert KEY in [command["arg"] for command in result.commands(step, "add-mask")]
