"""Measures the build of the image, and the disk space that it adds to its base. The tests of the image use it, too."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.figures import ROOT, Figure

TAG = "coval-gate-bench"
OURS = ("/opt/venv", "/app")
MOST = 22.0  # MB
SLOWEST = 60.0  # s; the longest build, without the download of the base


def measure() -> list[Figure]:
    """Build the image from a clean copy of the checkout, and measure it; return [] without Docker."""
    if trouble := docker_trouble():
        print(f"Skipping the image: Docker is not available: {trouble}")
        return []
    with tempfile.TemporaryDirectory() as directory:
        copy_checkout(Path(directory))
        _local_base()  # its download does not count
        began = time.monotonic()
        build(Path(directory), TAG, "--no-cache")
        seconds = time.monotonic() - began
        mb = max(added(TAG))
    docker("image", "rm", TAG)
    return [
        Figure("build of the image without a cache, base present", seconds, "s", most=SLOWEST),
        Figure("image, added to the base", mb, "MB", most=MOST),
    ]


@contextmanager
def registry() -> Iterator[str]:
    """Serve a registry on a free port of the loopback interface, and yield its address. Needs docker-registry."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "registry.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: {directory}/images}}}}"
        config.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: '{address}'}}\n", encoding="utf-8")
        command = ["docker-registry", "serve", str(config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None and not _answers(address):
                    time.sleep(0.1)
                yield address
            finally:
                process.terminate()


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        return False
    return True


def push(image: str, name: str) -> str:
    """Push an image under a name, remove the name locally, and return the name with the digest, to pull it."""
    docker("tag", image, name)
    docker("push", "--quiet", name)
    digests = docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', name).split()
    (found,) = [digest for digest in digests if digest.startswith(name.rpartition(":")[0] + "@")]
    docker("image", "rm", name)
    return found


def docker_trouble() -> str:
    """Return why Docker is not available; empty if it is."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    version = _run("docker", "version")
    return version.stderr.strip() or "the engine does not respond" if version.returncode else ""


def docker(*arguments: str, **environ: str) -> str:
    """Run a docker command, and return its output. Raises RuntimeError with its error output."""
    done = _run("docker", *arguments, **environ)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def copy_checkout(directory: Path) -> None:
    """Copy the files that a commit of the working tree would contain: no ignored files, no caches."""
    listed = _run("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed.check_returncode()
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # deleted files are still listed
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)


def build(directory: Path, tag: str, *flags: str) -> None:
    """Build the image as GitHub's runner does."""
    paths = ("--file", str(directory / "Dockerfile"), str(directory))
    docker("build", *flags, "--tag", tag, *paths, DOCKER_BUILDKIT="1")


def added(tag: str) -> list[float]:
    """Return the MB that an image adds to its base, by file lengths, by disk usage, and as the engine counts layers.

    The claim is about the largest of them.
    """
    base = _local_base()
    image, beneath = json.loads(docker("image", "inspect", tag, base))
    layers: Sequence[str] = beneath["RootFS"]["Layers"]
    if image["RootFS"]["Layers"][: len(layers)] != layers:
        raise RuntimeError(f"{tag} was not built on the local {base}: run docker pull {base}, then build it again")
    return [size / 1e6 for size in (_du(tag, "-sb"), _du(tag, "-sB1"), image["Size"] - beneath["Size"])]


def _local_base() -> str:
    """Return the name of the image's base. Pull it if needed: a build keeps it in the builder's cache only."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    base = next(line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))
    if _run("docker", "image", "inspect", base).returncode:
        docker("pull", "--quiet", base)
    return base


def _du(tag: str, how: str) -> int:
    """Return the bytes in the gate's directories. One call measures both: a file with two links counts once."""
    lines = docker("run", "--rm", "--network", "none", "--entrypoint", "du", tag, how, *OURS).splitlines()
    return sum(int(line.split()[0]) for line in lines)


def _run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environ)
