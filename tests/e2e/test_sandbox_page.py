"""The commands of docs/sandbox.md that need Docker: a workflow under act, and the image alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.engine import Sandbox
from e2e.workflow import ACT, commit, docker_host, own_name
from sandbox_page import PORT, closing_lines, commands, sample, step_line

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("action")]
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "pull-request.yml"
IMAGE = "coval-gate-local"
ACTRC = "--pull=false\n--rm\n--container-daemon-socket -\n"  # no registry is needed, and no container stays


@pytest.fixture
def home(checkout: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a home directory with a clone of the action and a repository that uses it."""
    (tmp_path / "coval-gate").symlink_to(checkout)
    if not (checkout / ".git").exists():
        commit(checkout)
    workflows = tmp_path / "voice-agent" / ".github" / "workflows"
    workflows.mkdir(parents=True)
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    (place,) = (number for number, line in enumerate(lines) if line.lstrip().startswith("api_key:"))
    lines.insert(place, step_line("A workflow"))
    (workflows / "voice-gate.yml").write_text(own_name("".join(lines)), encoding="utf-8")
    commit(tmp_path / "voice-agent")
    (tmp_path / ".actrc").write_text(ACTRC, encoding="utf-8")
    yield tmp_path
    command = ["docker", "image", "rm", IMAGE]
    subprocess.run(command, capture_output=True)


def test_workflow_under_act(home: Path, sandbox: Sandbox) -> None:
    """act builds the image from the action's Dockerfile, and then uses it again."""
    passed = follow("A workflow", home, sandbox)
    assert passed.returncode == 0, passed.stdout
    assert "🏁  Job succeeded" in passed.stdout
    assert closing_lines(passed.stdout)[-1:] == closing_lines(sample("A workflow"))
    assert (sandbox.run["test_set_id"], sandbox.run["status"]) == ("passing1", "COMPLETED")
    shutil.rmtree(home / "coval-gate-clone")  # which the commands make
    (home / ".actrc").write_text(f"{ACTRC}--rebuild=false\n", encoding="utf-8")
    failed = follow("A workflow", home, sandbox, {"passing1": "failing1"})
    assert failed.returncode == 1, failed.stdout
    assert "🏁  Job failed" in failed.stdout
    assert sorted((run["test_set_id"], run["status"]) for run in sandbox.runs) == [
        ("failing1", "COMPLETED"),
        ("passing1", "COMPLETED"),
    ]


def test_image_alone(home: Path, sandbox: Sandbox) -> None:
    done = follow("The image alone", home, sandbox)
    assert done.returncode == 0, done.stdout
    assert "\n✅ Passed: " in done.stdout
    assert f"\nLaunched run {sandbox.run['run_id']}: " in done.stdout


def follow(
    section: str, home: Path, sandbox: Sandbox, changes: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the commands of a section in the repository that uses the action, with the sandbox's own port."""
    script = commands(section)
    for old, new in {PORT: sandbox.url.rpartition(":")[2].partition("/")[0], **(changes or {})}.items():
        assert old in script
        script = script.replace(old, new)
    environ = {"PATH": f"{ACT.parent}:{os.environ['PATH']}", "HOME": str(home), "DOCKER_HOST": docker_host()}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = ["bash", "-euc", script]
    return subprocess.run(command, cwd=home / "voice-agent", env=environ, text=True, timeout=240, **streams)
