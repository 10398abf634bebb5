"""Nights and pull requests on another CI system: what a later run sees of the earlier ones, by their variables."""

from pathlib import Path

import pytest

from road.jobs import Job
from support import VirtualClock
from unit.test_systems import JOBS, LATER


def test_pull_request_is_compared_with_the_last_night_and_a_newer_commit_supersedes(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each system's variables say is a table of unit; the way is the same for all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    branch, pull_request = JOBS["Azure Pipelines"]
    again, later = LATER["Azure Pipelines"]
    job = Job(tmp_path, clock, branch)
    compared = {"baseline": "branch:main", "thresholds": "Latency: avg <= baseline * 1.5"}

    def run_id(env: dict[str, str], **inputs: str) -> str:
        job.run(env, **compared, **inputs)
        return job.outputs["run_id"]

    nights = [run_id({"BUILD_BUILDID": night}) for night in ("6", "7")]
    changed = run_id(pull_request, mode="launch")
    assert run_id(pull_request | again, mode="launch") == changed
    run_id(pull_request | later, supersede="true")
    assert f"Cancelled run {changed}: superseded by this run." in job.log
    assert (job.outputs["verdict"], job.outputs["baseline_run_id"]) == ("passed", nights[-1])
    run_id({"BUILD_BUILDID": "90"})
    assert job.outputs["baseline_run_id"] == nights[-1], "a pull request is none itself"
