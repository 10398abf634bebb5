"""Fixtures for the tests with Docker: the image, the sandbox, steps and workflows."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e import engine
from e2e.workflow import ACT_IMAGES, WORKFLOWS, Environment, WorkflowResult, run_workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.engine import Sandbox, Step

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
def image(checkout: Path) -> Iterator[str]:
    """Build the image once, and return its tag."""
    from bench.image import build

    build(checkout, TAG)
    yield TAG
    _remove(TAG)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Serve a sandbox, at the speed that the module says."""
    with engine.sandbox(speed=getattr(request.module, "SPEED", engine.SPEED)) as started:
        yield started


@pytest.fixture
def step(image: str, tmp_path: Path, sandbox: Sandbox) -> Step:
    """Return a step that runs in a container, as GitHub's runner starts it."""
    return engine.Step(image, tmp_path, sandbox)


@pytest.fixture(scope="session")
def _act_image() -> Iterator[None]:
    """Remove the images and the volume that act creates. An image left behind would hide changes of the code."""
    volume = "act-toolcache"  # shared by all uses of act on this machine
    had_volume = _succeeds("docker", "volume", "inspect", volume)
    _remove_act_images()
    yield
    _remove_act_images()
    # act uses the legacy builder, which leaves the first stage as a dangling image.
    for image in _lines("docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true"):
        history = _lines("docker", "image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        if any("/opt/venv/bin/python -m compileall" in line for line in history):
            _remove(image)
    if not had_volume:
        _succeeds("docker", "volume", "rm", volume)


@pytest.fixture
def workflow(checkout: Path, tmp_path: Path, sandbox: Sandbox, _act_image: None) -> Callable[..., WorkflowResult]:
    """Return a function that runs one of `workflows` in a repository that contains the action."""

    def run(name: str, environment: Environment | None = None) -> WorkflowResult:
        return run_workflow(WORKFLOWS / name, tmp_path, checkout, sandbox, environment or Environment())

    return run


def _remove_act_images() -> None:
    for image in _lines("docker", "image", "ls", "--format", "{{.Repository}}", "--filter", f"reference={ACT_IMAGES}"):
        _remove(image)


def _remove(image: str) -> None:
    _succeeds("docker", "image", "rm", image)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
