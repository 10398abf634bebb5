"""The commands of docs/sandbox.md that need Docker: a workflow under act, and the image alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coval_gate.ci.starters import ACTION
from e2e.engine import docker
from e2e.workflow import ACT
from sandbox_page import PORT, closing_lines, commands, sample, step_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engine import Sandbox

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "pull-request.yml"
IMAGES = ("coval-gate-local", f"act-{re.sub('[^a-z0-9]', '-', ACTION.lower())}-dockeraction")


@pytest.fixture
def home(checkout: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a home directory with a clone of the action and a repository that uses it."""
    (tmp_path / "coval-gate").symlink_to(checkout)
    _git(checkout)
    workflows = tmp_path / "voice-agent" / ".github" / "workflows"
    workflows.mkdir(parents=True)
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    (place,) = (number for number, line in enumerate(lines) if line.lstrip().startswith("api_key:"))
    lines.insert(place, step_line("A workflow"))
    (workflows / "voice-gate.yml").write_text("".join(lines), encoding="utf-8")
    _git(tmp_path / "voice-agent")
    # No registry is needed, and no image or container stays.
    (tmp_path / ".actrc").write_text("--pull=false\n--rm\n--container-daemon-socket -\n", encoding="utf-8")
    yield tmp_path
    for image in IMAGES:
        command = ["docker", "image", "rm", image]
        subprocess.run(command, capture_output=True)


@pytest.mark.parametrize(("test_set_id", "exit_code"), [("passing1", 0), ("failing1", 1)])
def test_workflow_under_act(home: Path, sandbox: Sandbox, test_set_id: str, exit_code: int) -> None:
    done = follow("A workflow", home, sandbox, {"passing1": test_set_id})
    assert done.returncode == exit_code, done.stdout
    assert f"🏁  Job {'failed' if exit_code else 'succeeded'}" in done.stdout
    if not exit_code:
        assert closing_lines(done.stdout) == closing_lines(sample("A workflow"))
    assert sandbox.run["test_set_id"] == test_set_id
    assert sandbox.run["status"] == "COMPLETED"


def test_image_alone(home: Path, sandbox: Sandbox) -> None:
    done = follow("The image alone", home, sandbox)
    assert done.returncode == 0, done.stdout
    assert closing_lines(done.stdout) == closing_lines(sample("Without Docker"))
    assert f"\nLaunched run {sandbox.run['run_id']}: " in done.stdout


def follow(
    section: str, home: Path, sandbox: Sandbox, changes: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the commands of a section in the repository that uses the action, with the sandbox's own port."""
    script = commands(section)
    for old, new in {PORT: sandbox.url.rpartition(":")[2].partition("/")[0], **(changes or {})}.items():
        assert old in script
        script = script.replace(old, new)
    endpoint = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    environ = {"PATH": f"{ACT.parent}:{os.environ['PATH']}", "HOME": str(home), "DOCKER_HOST": endpoint}
    command = ["bash", "-euc", script]
    return subprocess.run(
        command,
        cwd=home / "voice-agent",
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )


def _git(directory: Path) -> None:
    """Make a directory a repository with one commit, unless it is one."""
    if (directory / ".git").exists():
        return
    git = ["git", "-C", str(directory), "-c", "user.name=Mona", "-c", "user.email=mona@example.com"]
    for command in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "--message", "First"]):
        subprocess.run([*git, "-c", "commit.gpgsign=false", *command], check=True)
