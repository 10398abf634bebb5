"""Docker, the image and the sandbox for the tests in this directory."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e import engine
from e2e.workflow import ACT_IMAGE, Played, Setting, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.engine import Sandbox, Step

# The tests take `bench` from the root directory, which is importable where pytest runs as `python -m pytest`, as make
# has it. They import it late, so that whoever leaves them out can start pytest in any way.
TAG = "coval-gate-e2e"


@pytest.fixture(scope="session", autouse=True)
def _docker(request: pytest.FixtureRequest) -> None:
    """Stop where there is no Docker, if these tests are what was asked for."""
    from bench.image import docker_trouble

    trouble = docker_trouble()
    if trouble and all(item.get_closest_marker("e2e") for item in request.session.items):
        pytest.exit(f"Docker is not available: {trouble}", returncode=1)
    if trouble:
        pytest.skip(f"Docker is not available: {trouble}")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The action as `uses:` would check it out."""
    from bench.image import copy_checkout

    directory = tmp_path_factory.mktemp("checkout")
    copy_checkout(directory)
    return directory


@pytest.fixture(scope="session")
def image(checkout: Path) -> Iterator[str]:
    """The tag of the image, built once."""
    from bench.image import build

    build(checkout, TAG)
    yield TAG
    _remove(TAG)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with engine.sandbox() as started:
        yield started


@pytest.fixture
def step(image: str, tmp_path: Path, sandbox: Sandbox) -> Step:
    """A step to be run as GitHub's runner does it."""
    return engine.Step(image, tmp_path, sandbox)


@pytest.fixture(scope="session")
def _act_image() -> Iterator[None]:
    """Leave nothing of what act builds and keeps."""
    volume = "act-toolcache"  # of everybody who uses act here
    had_volume = _succeeds("docker", "volume", "inspect", volume)
    yield
    _remove(ACT_IMAGE)
    # act builds in the older way, which leaves the first stage behind as an image without a name.
    for image in _lines("docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true"):
        history = _lines("docker", "image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        if any("/opt/venv/bin/python -m compileall" in line for line in history):
            _remove(image)
    if not had_volume:
        _succeeds("docker", "volume", "rm", volume)


@pytest.fixture
def workflow(checkout: Path, tmp_path: Path, sandbox: Sandbox, _act_image: None) -> Callable[..., Played]:
    """Run one of `workflows`, in a setting of its own, in a repository that holds the action."""

    def run(name: str, setting: Setting | None = None) -> Played:
        return play(name, tmp_path, checkout, sandbox, setting or Setting())

    return run


def _remove(image: str) -> None:
    _succeeds("docker", "image", "rm", image)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
