"""The samples of docs/sandbox.md, and its commands that need no Docker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coval_sandbox import guide
from coval_sandbox.clock import SpeedClock
from coval_sandbox.server import Server
from coval_sandbox.world import World
from sandbox_page import PAGE, PORT, closing_lines, commands, sample

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
    assert log[2:4] == shown[2:4]
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
