"""Fixtures for the tests with Docker: the image, the sandbox, steps and workflows."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import engine
from e2e.engine import Sandbox, Step, docker
from e2e.workflow import ACT_IMAGES

# `bench` is in the root directory, which is on the path only if pytest runs as `python -m pytest`, as in the Makefile.
# It is imported in functions, so that the other tests run with any pytest command.
TAG = "coval-gate-e2e"


@pytest.fixture(scope="session", autouse=True)
def _docker(request: pytest.FixtureRequest) -> None:
    """Without Docker, exit if only these tests were selected; otherwise skip them."""
    from bench.image import docker_trouble

    trouble = docker_trouble()
    if trouble and all(item.get_closest_marker("e2e") for item in request.session.items):
        pytest.exit(f"Docker is not available: {trouble}", returncode=1)
    if trouble:
        pytest.skip(f"Docker is not available: {trouble}")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the action as `uses:` checks it out."""
    from bench.image import copy_checkout

    directory = tmp_path_factory.mktemp("checkout")
    copy_checkout(directory)
    return directory


@pytest.fixture(scope="session")
def image(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the image, also under the names that act looks for, and return its tag. A second worker has it at once."""
    from bench.image import build

    directory = tmp_path_factory.getbasetemp()
    shared = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory
    with (shared / "image").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(checkout, TAG)
        for name in ACT_IMAGES:
            docker("tag", TAG, name)
    return TAG


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the images, and what act leaves behind, after the last of pytest's workers has ended."""
    if hasattr(session.config, "workerinput") or not shutil.which("docker"):
        return
    _run("docker", "image", "rm", TAG, *ACT_IMAGES)
    # act uses the legacy builder, which leaves the first stage as a dangling image.
    dangling = "docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true"
    for stage in _run(*dangling).stdout.split():
        history = _run("docker", "image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", stage).stdout
        if "/opt/venv/bin/python -m compileall" in history:
            _run("docker", "image", "rm", stage)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Serve a sandbox, at the speed that the module sets."""
    with engine.sandbox(speed=getattr(request.module, "SPEED", engine.SPEED)) as started:
        yield started


@pytest.fixture
def step(image: str, tmp_path: Path, sandbox: Sandbox) -> Step:
    """Return a step that runs in a container, as GitHub's runner starts it."""
    return engine.Step(image, tmp_path, sandbox)


@pytest.fixture(scope="session")
def action(image: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """Return a directory with what act reads of the action."""
    directory = tmp_path_factory.mktemp("action")
    for file in ("action.yml", "Dockerfile"):
        shutil.copy(checkout / file, directory)
    return directory


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)
