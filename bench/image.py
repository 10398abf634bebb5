"""How much the image adds to its base, on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.figures import Figure, table

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
TAG = "coval-gate-bench"
OURS = ("/opt/venv", "/app")
MB = 1e6
MOST = 22.0  # MB


class Added(NamedTuple):
    """What the image has and its base has not, in MB; the largest of the three is what our claim is about."""

    files: float  # the files' lengths
    blocks: float  # what they take up on disk
    layers: float  # the engine's size of the image less its size of the base


def measure() -> list[Figure]:
    """Build the image from a clean copy of the checkout and weigh it; nothing where there is no Docker."""
    if trouble := docker_trouble():
        print(f"The image is not measured, because Docker is not available: {trouble}")
        return []
    with tempfile.TemporaryDirectory() as directory:
        copy_checkout(Path(directory))
        build(Path(directory), TAG)
    try:
        mb = max(added(TAG))
    finally:
        docker("image", "rm", TAG)
    return [
        Figure(
            name="image, added to the base",
            value=mb,
            unit="MB",
            yardstick_name="",
            yardstick=None,
            bound=MOST,
            ok=mb <= MOST,
        )
    ]


def docker_trouble() -> str:
    """Why Docker cannot be used; empty where it can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    asked = _run("docker", "version")
    return asked.stderr.strip() or "the engine does not answer" if asked.returncode else ""


def docker(*arguments: str) -> str:
    """What the command prints. Raises RuntimeError with its complaint if it fails."""
    done = _run("docker", *arguments)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def copy_checkout(directory: Path) -> None:
    """Copy what a commit of the working tree would hold: no ignored files, no caches."""
    listed = _run("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed.check_returncode()
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # one that was deleted is still listed
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)


def build(directory: Path, tag: str) -> None:
    """Build the image as GitHub's runner does."""
    docker("build", "--tag", tag, "--file", str(directory / "Dockerfile"), str(directory))


def added(tag: str) -> Added:
    """Weigh what the image `tag` has beyond its base."""
    base = _base()
    if _run("docker", "image", "inspect", base).returncode:
        docker("pull", "--quiet", base)  # a build leaves its base among the builder's own files
    image, beneath = json.loads(docker("image", "inspect", tag, base))
    layers: Sequence[str] = beneath["RootFS"]["Layers"]
    if image["RootFS"]["Layers"][: len(layers)] != layers:
        raise RuntimeError(
            f"{tag} was not built on the {base} that is here now: docker pull {base}, then build it again"
        )
    return Added(_du(tag, "-sb") / MB, _du(tag, "-sB1") / MB, (image["Size"] - beneath["Size"]) / MB)


def _base() -> str:
    last = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line.startswith("FROM")]
    return last[-1].split()[1]


def _du(tag: str, how: str) -> int:
    """Bytes that our directories take; both in one call, so that a file with two links counts once."""
    lines = docker("run", "--rm", "--network", "none", "--entrypoint", "du", tag, how, *OURS).splitlines()
    return sum(int(line.split()[0]) for line in lines)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


if __name__ == "__main__":
    print(table(measure()))
