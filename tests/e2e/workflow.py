"""A caller's repository, and its workflow as nektos/act runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.engine import KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.engine import Sandbox

ACT = Path(sys.executable).parent / "act"
WORKFLOWS = Path(__file__).parent / "workflows"
ACTION = "coval-gate"  # where the workflows expect the action
ACT_IMAGE = f"act-{ACTION}-dockeraction"  # act's name for what it builds from there
RUNNER = "python:3.13-slim"  # has bash, which is all that the workflows need; act itself stands in for actions/checkout
REPOSITORY = "acme/voice-agent"
PATIENCE = 120  # s


@dataclass(frozen=True)
class Played:
    """A workflow that has ended."""

    exit_code: int
    entries: list[dict[str, Any]]  # act's log
    errors: str
    commit: str

    @cached_property
    def steps(self) -> dict[str, Any]:
        """The `steps` context as the workflow's last step saw it: outputs, outcome and conclusion by id."""
        steps: dict[str, Any] = json.loads(self.log("report"))
        return steps

    def log(self, step: str) -> str:
        """What a step wrote, but for its commands."""
        return "".join(each["msg"] for each in self.entries if each.get("raw_output") and each["stepID"] == [step])

    def commands(self, step: str, name: str) -> list[dict[str, Any]]:
        """The commands of one kind that act read from a step's output and files."""
        return [each for each in self.entries if each.get("command") == name and each["stepID"] == [step]]

    @property
    def job(self) -> str:
        """The job's result."""
        (result,) = [each["jobResult"] for each in self.entries if "jobResult" in each]
        return str(result)

    @property
    def leaks(self) -> list[str]:
        """Where the key shows. act was told to hide nothing; the command that has the key masked must hold it."""
        lines = [json.dumps(each) for each in self.entries if each.get("command") != "add-mask"]
        return [line for line in [*lines, self.errors] if KEY in line]


@dataclass(frozen=True)
class Setting:
    """What a workflow finds: files in the repository, variables, the event that starts it, GitHub's API and token.

    Without an API, what asks for it is refused at once.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    event: str = "push"
    payload: Mapping[str, Any] = field(default_factory=dict)
    api_url: str = "http://127.0.0.1:9"
    token: str = "ghs_of_nobody"


def play(workflow: str, directory: Path, action: Path, api: Sandbox, setting: Setting) -> Played:
    """Run one of `workflows` in a new repository that holds the action."""
    repository = Path(tempfile.mkdtemp(dir=directory)) / "voice-agent"
    shutil.copytree(action, repository / ACTION)
    for name, text in {f".github/workflows/{workflow}": (WORKFLOWS / workflow).read_text(), **setting.files}.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text, encoding="utf-8")
    commit = _commit(repository)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),  # settings and caches of act stay out of it
        "DOCKER_HOST": _run("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"),
    }
    payload = repository.parent / "event.json"
    payload.write_text(json.dumps(setting.payload), encoding="utf-8")
    variables = {"COVAL_API_BASE_URL": api.url, **setting.variables}
    command = [
        *(str(ACT), setting.event, "--eventpath", str(payload), "--json", "--rm", "--no-cache-server"),
        *("--container-daemon-socket", "-", "--env", f"GITHUB_API_URL={setting.api_url}"),
        *("--platform", f"ubuntu-latest={RUNNER}", "--pull=false", "--network", "host"),
        *("--secret", "COVAL_API_KEY", "--secret", "GITHUB_TOKEN", "--insecure-secrets"),
        *(argument for name, value in variables.items() for argument in ("--var", f"{name}={value}")),
    ]
    with subprocess.Popen(
        command,
        cwd=repository,
        env=environ | {"COVAL_API_KEY": KEY, "GITHUB_TOKEN": setting.token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            log, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # act then removes its containers
            log, errors = process.communicate(timeout=30)
            raise AssertionError(f"{workflow} did not end:\n{log}\n{errors}") from None
    entries = [json.loads(line) for line in log.splitlines()]
    return Played(process.returncode, entries, errors, commit)


def _commit(repository: Path) -> str:
    """Make a repository of the directory, with one commit, and return the commit's id."""
    git = ("git", "-C", str(repository), "-c", "user.name=Mona", "-c", "user.email=mona@example.com")
    _run(*git, "init", "--quiet", "--initial-branch", "main")
    _run(*git, "remote", "add", "origin", f"https://github.com/{REPOSITORY}.git")
    _run(*git, "add", "--all", "--force")
    _run(*git, "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "Voice agent")
    return _run(*git, "rev-parse", "HEAD")


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
