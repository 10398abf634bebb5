"""A host that has only a log and files: it runs the whole step, and says which pages it leaves out."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from coval_gate.step.post import post
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import TOKEN
from road.test_github_pages import github_with
from road.test_reports import Killed, kill
from support import KEY, StepResult, VirtualClock, runtime

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
        "Notice: Skipping comment, commit status and check run: the job has no GitHub repository.",
        "There is no pull request to comment on.",
    ]
    assert result.log.splitlines()[-1].startswith("✅ Passed: ")
    outputs = json.loads((here / ".coval-gate/outputs.json").read_text(encoding="utf-8"))
    assert (outputs["verdict"], outputs["json_path"]) == ("passed", "coval.json")
    assert "Outputs: .coval-gate/outputs.json\n" in result.log
    assert "verdict=" not in result.log
    assert (result.outputs, result.state, result.summary) == ({}, {}, "")
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*.*") if path.is_file()) == [
        *(".coval-gate/.gitignore", ".coval-gate/outputs.json"),
        *("coval.json", "reports/junit.xml"),
    ]


def test_killed_step_leaves_its_state_in_a_file_and_the_post_step_ends_the_run(
    run_step: RunStep, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "checkout"
    here.mkdir()
    monkeypatch.chdir(here)
    world = World(clock.time)
    clock.at(30, kill)
    with pytest.raises(Killed):
        run_step(env={"GITHUB_ACTIONS": "", "CI": ""}, bare=True, world=world)
    ignored, state = sorted(path for path in (here / ".coval-gate").iterdir())
    assert ignored.name == ".gitignore"
    assert re.fullmatch(r"state-[0-9a-f]{16}\.json", state.name)
    assert KEY not in state.read_text()
    with Server(world) as server:
        environ = {"INPUT_API_BASE_URL": server.url, "COVAL_API_KEY": KEY}
        assert post(runtime(clock, environ=environ, stdout=io.StringIO())) == 0
    assert [record.status(clock.time()) for record in world.runs] == ["CANCELLED"]
    assert not (here / ".coval-gate").exists()
