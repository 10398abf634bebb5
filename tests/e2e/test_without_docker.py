"""The message of `make e2e` without Docker."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        (
            {"DOCKER_HOST": "unix:///nonexistent.sock"},
            "Cannot connect to the Docker daemon at unix:///nonexistent.sock",
        ),
        ({"PATH": "/nonexistent"}, "there is no docker command"),
    ],
    ids=["no-engine", "no-command"],
)
def test_missing_docker_is_reported_in_one_line(env: dict[str, str], reason: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "e2e", __file__]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.count("Docker is not available: ") == 1
    assert f"Docker is not available: {reason}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "passed" not in done.stdout
    assert "failed" not in done.stdout
