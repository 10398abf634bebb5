"""A host that has only a log and files: it runs the whole step, and says which pages it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_github import TOKEN
from road.test_commit_status import github_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

PAGES = {"comment": "always", "commit_status": "Voice", "check_run": "Voice gate", "github_token": TOKEN}


def test_step_outside_github_has_log_and_files_and_no_pages(
    run_step: RunStep, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "checkout"
    here.mkdir()
    monkeypatch.chdir(here)
    with github_with(now=clock.time) as github:
        env = {"GITHUB_ACTIONS": "", "GITHUB_API_URL": github.url}
        result, _ = run_step(env=env, bare=True, json_path="coval.json", junit_path="reports/junit.xml", **PAGES)
        assert github.requests_seen == []
    assert result.exit_code == 0
    lines = [line for line in result.log.splitlines() if "Skipping" in line or "pull request" in line]
    assert lines == [
        "Skipping comment, commit status and check run: the job has no GitHub repository.",
        "There is no pull request to comment on.",
    ]
    assert "verdict=passed" in result.log
    assert (result.outputs, result.state, result.summary) == ({}, {}, "")
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*.*")) == ["coval.json", "reports/junit.xml"]
