"""Nights and pull requests on other CI systems: what a later run sees of the earlier ones, by their variables."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox.world import World
from road.nights import RunStep
from support import VirtualClock
from unit.test_systems import JOBS, LATER

OFF = dict.fromkeys(("GITHUB_ACTIONS", "CI"), "")
NUMBERS = {"Jenkins": "BUILD_NUMBER", "Azure Pipelines": "BUILD_BUILDID"}  # in which the systems count their runs
COMPARED = {"baseline": "branch:main", "thresholds": "Latency: avg <= baseline * 1.5"}


@pytest.fixture
def run_job(
    run_step: RunStep, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Return the function that runs a job of a system in the same world, and returns its log."""
    world = World(clock.time)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def run(name: str, others: dict[str, str] | None = None, *, pull_request: bool = False, **inputs: Any) -> str:
        branch, instead = JOBS[name]
        env = OFF | branch | (instead if pull_request else {}) | (others or {}) | {"CI_PROJECT_DIR": str(tmp_path)}
        result, _ = run_step(env=env, bare=True, world=world, **inputs)
        return f"{result.log}\n{outputs_in(tmp_path)}"

    return run


def outputs_in(workspace: Path) -> str:
    """Return the lines `name=value` of the file with a job's outputs."""
    outputs = json.loads((workspace / ".coval-gate/outputs.json").read_text(encoding="utf-8"))
    return "\n".join(f"{name}={value}" for name, value in outputs.items())


def output(log: str, name: str) -> str:
    """Return an output of a job."""
    (value,) = re.findall(rf"^{name}=(.*)$", log, re.MULTILINE)
    return str(value)


@pytest.mark.parametrize("name", ["Jenkins", "Azure Pipelines"])
def test_pull_request_is_compared_with_the_last_night_and_a_newer_commit_supersedes(
    name: str, run_job: Callable[..., str]
) -> None:
    """What each system's variables say is a table of unit; the way is the same for all."""
    nights = [output(run_job(name, {NUMBERS[name]: night}, **COMPARED), "run_id") for night in ("6", "7")]
    changed = run_job(name, pull_request=True, mode="launch", **COMPARED)  # on Jenkins, it has the number 7, too
    again, later = LATER[name]
    if again:
        rerun = run_job(name, again, pull_request=True, mode="launch", **COMPARED)
        assert output(rerun, "run_id") == output(changed, "run_id")
    newer = run_job(name, later, pull_request=True, supersede="true", **COMPARED)
    assert f"Cancelled run {output(changed, 'run_id')}: superseded by this run." in newer
    assert (output(newer, "verdict"), output(newer, "baseline_run_id")) == ("passed", nights[-1])
    last = run_job(name, {NUMBERS[name]: "90"}, **COMPARED)
    assert output(last, "baseline_run_id") == nights[-1], "a pull request is none itself"
