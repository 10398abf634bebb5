"""The action in real workflows: nektos/act runs the image of its Dockerfile, which is built once for all."""

from collections import Counter
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.runner import PULL_REQUEST
from e2e.engine import KEY, SPEED_OF_STEPS, Sandbox
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
    outputs = gate["outputs"]
    assert outputs.keys() == OUTPUTS.keys()
    assert (outputs["verdict"], outputs["passed"]) == ("passed", "true")
    assert outputs["status"] == sandbox.run["status"] == "COMPLETED"
    assert outputs["reason"] == "All 10 simulations completed; all 4 criteria are met."
    assert outputs["run_id"] == sandbox.run["run_id"]
    assert outputs["run_url"] == f"https://app.coval.dev/runs/{outputs['run_id']}"
    assert 0 <= int(outputs["duration_seconds"]) < 60
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
    assert gate["outputs"].keys() == OUTPUTS.keys()
    assert (gate["outputs"]["verdict"], gate["outputs"]["passed"]) == ("failed", "false")
    assert gate["outputs"]["run_id"] == sandbox.run["run_id"]
    (error,) = result.commands("gate", "error")
    assert error["kvPairs"]["title"] == "Coval Gate: Gate failed"
    assert error["arg"].startswith(gate["outputs"]["reason"])
    (summary,) = result.commands("gate", "summary")
    assert summary["content"].startswith("### ❌ Failed: Coval evaluation")
    assert_key_is_masked(result)


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


def assert_key_is_masked(result: WorkflowResult, *steps: str) -> None:
    """Check that each step masks the key and shows it nowhere else."""
    assert result.leaks == []
    for step in steps or ("gate",):
        assert KEY in [command["arg"] for command in result.commands(step, "add-mask")]
