"""Fixtures for the tests with Docker: the image, the sandbox, steps and workflows."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all of pytest's workers share."""
    directory = tmp_path_factory.getbasetemp()
    return directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory


@pytest.fixture(scope="session")
def image(checkout: Path, shared: Path) -> Iterator[str]:
    """Build the image once, and return its tag."""
    from bench.image import build

    with used(shared / "image", lambda: build(checkout, TAG), lambda: _remove(TAG)):
        yield TAG


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
def action(image: str, checkout: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory with what act reads of the action, whose image has the names that act looks for.

    What act leaves behind is removed.
    """
    volume = "act-toolcache"  # shared by all uses of act on this machine
    had_volume = _succeeds("docker", "volume", "inspect", volume)

    def name_image() -> None:
        for name in ACT_IMAGES:
            docker("tag", image, name)

    def remove() -> None:
        for name in ACT_IMAGES:
            _remove(name)
        # act uses the legacy builder, which leaves the first stage as a dangling image.
        for dangling in docker("image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true").split():
            history = docker("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", dangling)
            if "/opt/venv/bin/python -m compileall" in history:
                _remove(dangling)
        if not had_volume:
            _succeeds("docker", "volume", "rm", volume)

    directory = tmp_path_factory.mktemp("action")
    for file in ("action.yml", "Dockerfile"):
        shutil.copy(checkout / file, directory)
    with used(shared / "act", name_image, remove):
        yield directory


@contextmanager
def used(file: Path, make: Callable[[], object], remove: Callable[[], object]) -> Iterator[None]:
    """Make what pytest's workers share if no other worker has, and remove it after the last one that uses it."""
    with file.open("a+", encoding="utf-8") as users, file.with_suffix(".change").open("w", encoding="utf-8") as change:
        with locked(change):
            users.seek(0)
            if not users.read():
                make()
                users.write("made")
                users.flush()
            fcntl.flock(users, fcntl.LOCK_SH)  # as long as it is used
        yield
        with locked(change), suppress(BlockingIOError):  # another worker still uses it
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove()
            users.truncate(0)


@contextmanager
def locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
    fcntl.flock(file, fcntl.LOCK_UN)


def _remove(image: str) -> None:
    _succeeds("docker", "image", "rm", image)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
