"""The samples of docs/sandbox.md, and its commands that need no Docker."""

import os
import re
import subprocess
import sys
from pathlib import Path

from coval_sandbox import guide
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.github import EVENT_PATH, TOKEN
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
    assert (log[1], log[3]) == (shown[1], shown[3])
    assert closing_lines(done.stdout) == closing_lines(sample("Without Docker"))


def test_samples_of_guide_are_what_sandbox_shows() -> None:
    shown = guide.guide(f"http://127.0.0.1:{PORT}/v1", World(SpeedClock(), history=True), strict=False)
    lines = [*sample("Start the sandbox").splitlines()[1:-1], *sample("Earlier runs").splitlines()]
    assert [line for line in lines if line not in shown.splitlines()] == []


def test_sample_of_relay_is_what_sandbox_shows() -> None:
    shown = guide.relay(Path("/home/you/coval-gate/.venv/sandbox-ca.pem"))
    assert shown.strip() == sample("Your own build as the agent").strip()


def test_page_has_port_of_make_sandbox_and_variables_of_guide() -> None:
    assert f"\nPORT ?= {PORT}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in guide.variables(f"http://127.0.0.1:{PORT}/v1").splitlines():
        assert line.strip() in commands("A workflow")
    assert f'OPTIONS="--sandbox http://127.0.0.1:{PORT}/v1"' in commands("What a pull request shows")
    assert PAGE == ROOT / guide.PAGE


def test_act_gets_the_addresses_that_the_sandbox_shows() -> None:
    shown, text = guide.github(f"http://127.0.0.1:{PORT}"), commands("What a pull request shows")
    (variable,) = re.findall(r"GITHUB_API_URL=\S+", shown)
    assert f"--env {variable} " in text
    assert f"http://127.0.0.1:{PORT}{EVENT_PATH}\n" in text
    assert f"GITHUB_TOKEN={TOKEN} " in text
