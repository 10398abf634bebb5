"""A repository that uses the action, and its workflow, which nektos/act runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from coval_gate import PIN
from coval_gate import REPOSITORY as GATE
from e2e.engine import KEY, Sandbox, docker

ACT = Path(sys.executable).parent / "act"
ACTION = "coval-gate"  # the path of the action in the workflows
ACT_IMAGES = tuple(
    f"act-{re.sub('[^a-z0-9]', '-', f'{uses.lower()}-dockeraction').lstrip('-')}"
    for uses in (ACTION, f"{GATE}@{PIN}", "./")
)  # act's names for the action's image
RUNNER = "python:3.13-slim"  # the workflows need only bash; act itself replaces actions/checkout
REPOSITORY = "acme/voice-agent"
TIMEOUT = 300  # s, also on a busy machine
UPLOAD = "uses: actions/upload-artifact@"
# What stands for actions/upload-artifact here: act has no server for artifacts. It shows what would be uploaded.
SHOW_FILES = """
name: Show files
description: Shows a file, or the files of a directory
inputs:
  name: {description: unused}
  archive: {description: unused}
  path: {description: the file or the directory, required: true}
runs:
  using: composite
  steps:
    - shell: bash
      env: {SHOWN: "${{ inputs.path }}"}
      run: ls "$SHOWN"
"""


@dataclass(frozen=True)
class WorkflowResult:
    """The result of a workflow."""

    exit_code: int
    entries: list[dict[str, Any]]  # act's log
    errors: str
    commit: str

    def log(self, *step: str) -> str:
        """Return the log of a step, without its workflow commands. A step of a composite action has two ids."""
        own = [entry for entry in self.entries if entry.get("raw_output") and entry["stepID"] == list(step)]
        return "".join(line["msg"] for line in own)

    def commands(self, step: str, name: str) -> list[dict[str, Any]]:
        """Return the commands of one kind that act read from a step's log and files."""
        return [entry for entry in self.entries if entry.get("command") == name and entry["stepID"] == [step]]

    def outcome(self, name: str) -> str:
        """Return the result of the step of this name."""
        own = [entry for entry in self.entries if (entry.get("step"), entry.get("stage")) == (name, "Main")]
        (result,) = [line["stepResult"] for line in own if "stepResult" in line]
        return str(result)

    def outputs(self, step: str) -> dict[str, str]:
        """Return the outputs of a step, whose id is its position if it has none."""
        return {command["name"]: command["arg"] for command in self.commands(step, "set-output")}

    @property
    def jobs(self) -> dict[str, set[str]]:
        """Return the results of all jobs that ran, by job id; several if it has a matrix."""
        ended = [entry for entry in self.entries if "jobResult" in entry]
        return {
            job["jobID"]: {other["jobResult"] for other in ended if other["jobID"] == job["jobID"]} for job in ended
        }

    @property
    def job(self) -> str:
        """Return the result of the job."""
        (result,) = [entry["jobResult"] for entry in self.entries if "jobResult" in entry]
        return str(result)

    def in_job(self, **matrix: object) -> "WorkflowResult":
        """Return the part of the result that belongs to the job with these values of its matrix."""
        own = [entry for entry in self.entries if matrix.items() <= entry.get("matrix", {}).items()]
        return replace(self, entries=own)

    @property
    def leaks(self) -> list[str]:
        """Return the log lines that show the key, except the add-mask command. act does not mask secrets here."""
        lines = [json.dumps(entry) for entry in self.entries if entry.get("command") != "add-mask"]
        return [line for line in [*lines, self.errors] if KEY in line]


@dataclass(frozen=True)
class Environment:
    """The environment of a workflow: files in the repository, variables, the event, GitHub's API, token, key, runner.

    The default API URL refuses connections. Without a key, there is no secret of it; `secrets` are others.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    event: str = "push"
    payload: Mapping[str, Any] = field(default_factory=dict)
    api_url: str = "http://127.0.0.1:9"
    token: str = "ghs_without_access"
    key: str = KEY
    runner: str = RUNNER
    flags: tuple[str, ...] = ()  # more flags of act


def own_name(workflow: str) -> str:
    """Return the text of a workflow whose name differs between pytest's workers, because act names containers by it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return re.sub("(?m)^name: .*", rf"\g<0> {worker}", workflow, count=1) if worker else workflow


def run_workflow(
    workflow: Path, directory: Path, action: Path | None, api: Sandbox, environment: Environment
) -> WorkflowResult:
    """Run a workflow in a new repository, which contains the action if it is given.

    act uses the action's image that is there: e2e/test_sandbox_page.py has it build the image itself.
    """
    repository = Path(tempfile.mkdtemp(dir=directory)) / "voice-agent"
    if action:
        shutil.copytree(action, repository / ACTION)
    for name, text in {
        f".github/workflows/{workflow.name}": own_name(workflow.read_text(encoding="utf-8")),
        **environment.files,
    }.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text, encoding="utf-8")
    head = commit(repository)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),  # keeps the settings and caches of act out
        "DOCKER_HOST": docker_host(),
    }
    payload = repository.parent / "event.json"
    payload.write_text(json.dumps(environment.payload), encoding="utf-8")
    variables = {"COVAL_API_BASE_URL": api.url, **environment.variables}
    command = [
        *(str(ACT), environment.event, "--eventpath", str(payload), "--json", "--rm", "--no-cache-server"),
        *("--container-daemon-socket", "-", "--env", f"GITHUB_API_URL={environment.api_url}"),
        *("--platform", f"ubuntu-latest={environment.runner}", "--platform", f"self-hosted={environment.runner}"),
        *("--pull=false", "--rebuild=false", "--network", "host", *environment.flags),
        *(("--secret", "COVAL_API_KEY") if environment.key else ()),  # act would ask for an empty secret
        *(part for name in ("GITHUB_TOKEN", *environment.secrets) for part in ("--secret", name)),
        "--insecure-secrets",
        *(argument for name, value in variables.items() for argument in ("--var", f"{name}={value}")),
    ]
    with subprocess.Popen(
        command,
        cwd=repository,
        env={**environ, "COVAL_API_KEY": environment.key, "GITHUB_TOKEN": environment.token, **environment.secrets},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            log, errors = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # act then removes its containers
            log, errors = process.communicate(timeout=30)
            raise AssertionError(f"{workflow.name} did not end:\n{log}\n{errors}") from None
    entries = [json.loads(line) for line in log.splitlines()]
    return WorkflowResult(process.returncode, entries, errors, head)


@cache
def docker_host() -> str:
    """Return where the engine listens: act does not know Docker's contexts."""
    return docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()


def commit(repository: Path) -> str:
    """Make the directory a repository with one commit, and return the commit's SHA."""
    git = ["git", "-C", str(repository), "-c", "user.name=Mona", "-c", "user.email=mona@example.com"]
    for command in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("remote", "add", "origin", f"https://github.com/{REPOSITORY}.git"),
        ("add", "--all", "--force"),
        ("commit", "--quiet", "--message", "Voice agent"),
    ):
        subprocess.run([*git, "-c", "commit.gpgsign=false", *command], check=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
