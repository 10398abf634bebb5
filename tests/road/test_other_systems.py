"""CI systems without pages: a step has a log and files, says what it leaves out, and sees the runs before it."""

import re
from pathlib import Path

import pytest

from fake_github import TOKEN
from road.jobs import Job
from road.test_github_pages import PAGES, github_with
from road.test_reports import Killed, kill
from support import KEY, VirtualClock
from unit.test_systems import JOBS, LATER


@pytest.fixture
def job(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    return Job(tmp_path, clock, {})


def test_step_outside_github_has_log_and_files_and_no_pages(job: Job) -> None:
    with github_with(now=job.clock.time) as github:
        given = {"json_path": "coval.json", "junit_path": "reports/junit.xml", "comment": "always", **PAGES}
        assert job.run({"CI": "true", "GITHUB_API_URL": github.url}, **given) == 0
        assert github.requests_seen == []
    lines = [line for line in job.log.splitlines() if "Skipping" in line or "pull request" in line]
    assert lines == [
        "Notice: Skipping comment, commit status and check run: the job has no GitHub repository.",
        "There is no pull request to comment on.",
    ]
    assert job.log.splitlines()[-1].startswith("✅ Passed: ")
    assert (job.outputs["verdict"], job.outputs["json_path"]) == ("passed", "coval.json")
    assert "Outputs: .coval-gate/outputs.json\n" in job.log
    assert "verdict=" not in job.log
    assert list(job.files) == [
        *(".coval-gate/.gitignore", ".coval-gate/outputs.json"),
        *("coval.json", "reports/junit.xml"),
    ]
    assert not any(secret in text for secret in (TOKEN, KEY) for text in job.files.values())


def test_killed_step_leaves_its_state_in_a_file_and_the_post_step_ends_the_run(job: Job) -> None:
    job.clock.at(30, kill)
    with pytest.raises(Killed):
        job.run()
    ignored, state = job.files
    assert ignored == ".coval-gate/.gitignore"
    assert re.fullmatch(r"\.coval-gate/state-[0-9a-f]{16}\.json", state)
    assert KEY not in job.files[state]
    job.post()
    assert job.run_statuses == ["CANCELLED"]
    assert not (job.checkout / ".coval-gate").exists()


def test_pull_request_is_compared_with_the_last_night_and_a_newer_commit_supersedes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each system's variables say is a table of unit; the way is the same for all."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(job.checkout.parent))
    branch, pull_request = JOBS["Azure Pipelines"]
    again, later = LATER["Azure Pipelines"]
    job.environ |= branch
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
