"""The samples of docs/sandbox.md, and its commands that need no Docker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coval_sandbox import guide
from coval_sandbox.clock import SpeedClock
from coval_sandbox.github import EVENT_PATH, TOKEN
from coval_sandbox.server import Server
from coval_sandbox.world import World
from sandbox_page import PAGE, PORT, closing_lines, commands, sample, samples

ROOT = Path(__file__).resolve().parents[2]


def test_program_runs_without_docker() -> None:
    with Server(World(SpeedClock(200))) as server:
        script = commands("Without Docker").replace(PORT, str(server.port)).replace("~/coval-gate", f"'{ROOT}'")
        script = script.replace(".venv/bin/python", f"'{sys.executable}'")
        command, environ = ["bash", "-euc", script], {"PATH": os.environ["PATH"]}
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    shown = sample("Without Docker").splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    log = done.stdout.splitlines()
    assert log[0] == shown[0]
    assert (log[1], log[3]) == (shown[1], shown[3])
    assert closing_lines(done.stdout) == closing_lines(sample("Without Docker"))


@pytest.mark.parametrize("line", sample("Start the sandbox").splitlines()[1:-1])
def test_sample_of_guide_is_what_sandbox_shows(line: str) -> None:
    world = World(SpeedClock(), history=True)
    assert line in guide.guide(f"http://127.0.0.1:{PORT}/v1", world, strict=False).splitlines()


@pytest.mark.parametrize("line", sample("Earlier runs").splitlines())
def test_sample_of_earlier_runs_is_what_sandbox_shows(line: str) -> None:
    world = World(SpeedClock(), history=True)
    assert line in guide.guide(f"http://127.0.0.1:{PORT}/v1", world, strict=False).splitlines()


def test_sample_of_relay_is_what_sandbox_shows() -> None:
    shown = guide.relay(Path("/home/you/coval-gate/.venv/sandbox-ca.pem"))
    assert shown.strip() == sample("Your own build as the agent").strip()


def test_page_has_port_of_make_sandbox_and_variables_of_guide() -> None:
    assert f"\nPORT ?= {PORT}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in guide.variables(f"http://127.0.0.1:{PORT}/v1").splitlines():
        assert line.strip() in commands("A workflow")
    assert PAGE == ROOT / guide.PAGE


@pytest.mark.long
def test_demo_shows_the_pull_request_as_the_page_says(tmp_path: Path) -> None:
    first, *_ = re.findall(r'make demo INPUTS="(.*)"', commands("What a pull request shows"))
    command = [sys.executable, "-m", "coval_demo", "--speed", "200"]
    environ = os.environ | {"DEMO_INPUTS": first, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    shown, actual = samples("What a pull request shows")[0].splitlines(), done.stdout.splitlines()
    assert (done.returncode, actual[-1]) == (1, shown[-1])
    criteria, lines = [line.strip() for line in shown[:4]], {line.strip() for line in actual}
    assert [line for line in criteria if line not in lines] == []
    assert [line.split()[:2] for line in actual if line.startswith("  the pull request ")]


@pytest.mark.long
def test_steps_in_turn_use_the_sandbox_that_runs(tmp_path: Path) -> None:
    text = commands("What a pull request shows")
    with Server(World(SpeedClock(200))) as server:
        for url, entries in re.findall(r'make demo OPTIONS="--sandbox (.*)" INPUTS="(.*)"', text):
            assert url == f"http://127.0.0.1:{PORT}/v1"
            environ = os.environ | {"DEMO_INPUTS": entries, "TMPDIR": str(tmp_path)}
            command = [sys.executable, "-m", "coval_demo", "--sandbox", server.url]
            done = subprocess.run(command, capture_output=True, text=True, env=environ)
            assert done.stderr == ""
    (repository,) = server.github.repositories.values()
    assert [[comment.edited for comment in comments] for comments in repository.comments.values()] == [[True]]
    (statuses,) = repository.statuses.values()
    assert [status["state"] for status in statuses] == ["pending", "failure"]


def test_act_gets_the_addresses_that_the_sandbox_shows() -> None:
    shown, text = guide.github(f"http://127.0.0.1:{PORT}"), commands("What a pull request shows")
    (variable,) = re.findall(r"GITHUB_API_URL=\S+", shown)
    assert f"--env {variable} " in text
    assert f"http://127.0.0.1:{PORT}{EVENT_PATH}\n" in text
    assert f"GITHUB_TOKEN={TOKEN} " in text
