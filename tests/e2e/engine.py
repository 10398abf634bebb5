"""The image under Docker as GitHub's runner starts it, and the sandbox that it talks to."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from coval_sandbox.runner import LocalRunner
from support import DEFAULTS, IDS, StepResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SPEED = 30  # times as fast as a real run, which takes about a minute
KEY = f"coval_sk_{secrets.token_hex(16)}"  # occurs nowhere by chance
PYTHON = "/opt/venv/bin/python"
OWN = ("PATH", "HOME", "DOCKER_HOST")  # variables that the docker command itself needs
POST = "/app/post_entrypoint.py"
CANCEL = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5))  # as GitHub's runner does it: a signal, seconds to end then
KILL = ()  # without a word
MOUNTS = {  # below the directory of a step, and in the container
    "_temp": "/github/runner_temp",
    "_github_home": "/github/home",
    "_github_workflow": "/github/workflow",
    "_runner_file_commands": "/github/file_commands",
    "workspace": "/github/workspace",
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox in a process of its own, which knows `KEY`."""

    url: str

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Every run that was launched, as the API lists them: one for each POST /runs that had an effect."""
        answer = requests.get(f"{self.url}/runs", headers={"x-api-key": KEY}, timeout=10)
        answer.raise_for_status()
        runs: list[dict[str, Any]] = answer.json()["runs"]
        return runs

    @property
    def run(self) -> dict[str, Any]:
        """The one run that was launched."""
        (run,) = self.runs
        return run


@contextmanager
def sandbox(*faults: str) -> Iterator[Sandbox]:
    """Start a sandbox on a free port of the loopback interface, and stop it."""
    command = [sys.executable, "-m", "coval_sandbox", "--port", "0", "--speed", str(SPEED), "--api-key", KEY]
    command += [part for fault in faults for part in ("--fault", fault)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, f"the sandbox did not start: {line!r}"
            yield Sandbox(address[0])
        finally:
            process.terminate()


class Step:
    """One step that runs the image, in the directory of a runner."""

    def __init__(self, image: str, directory: Path, api: Sandbox) -> None:
        self.name = f"coval-gate-e2e-{secrets.token_hex(3)}"
        self.directory = directory
        self._image = image
        self._api = api
        for below in MOUNTS:
            (directory / below).mkdir()
        self._files = directory / "_runner_file_commands"
        self._runner = LocalRunner(self._files)
        self._inputs: dict[str, str] = {}
        self._env: dict[str, str] = {}
        self._posts = 0

    def run(self, *, env: Mapping[str, str] | None = None, entrypoint: Sequence[str] = (), **inputs: str) -> StepResult:
        """Run the container to its end; `entrypoint` replaces the image's own."""
        with self.running(env=env, entrypoint=entrypoint, **inputs) as process:
            log, _ = process.communicate(timeout=120)
        return self.result(process, log)

    @contextmanager
    def running(
        self, *, env: Mapping[str, str] | None = None, entrypoint: Sequence[str] = (), **inputs: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start the container, and see to it that it does not outlive the block."""
        self._inputs = {"api_key": KEY, "api_base_url": self._api.url} | inputs
        self._env = dict(env or {})
        environ = self._environ(self._runner)
        with self._started(self.name, environ, entrypoint) as process:
            yield process

    def post(
        self,
        *,
        state: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] = (POST,),
    ) -> StepResult:
        """Run the post step to its end with the inputs and the state of the main step, or with `env` and `state`."""
        self._posts += 1
        files = self._files / f"post{self._posts}"
        files.mkdir()
        runner = LocalRunner(files)
        handed_on = {f"STATE_{name}": value for name, value in {**self.state, **(state or {})}.items()}
        environ = {**self._environ(runner), **handed_on, **(env or {})}
        with self._started(f"{self.name}-{files.name}", environ, entrypoint) as process:
            log, _ = process.communicate(timeout=120)
        return StepResult(
            process.returncode, log, runner.outputs, runner.state, runner.summary, self.directory / "workspace"
        )

    @property
    def state(self) -> dict[str, str]:
        """What the main step has left for the post step so far."""
        return self._runner.state

    def cancel(
        self, process: subprocess.Popen[str], how: Sequence[tuple[signal.Signals, float]] = CANCEL
    ) -> tuple[str, float]:
        """Signal the docker command until the container has ended, and kill the container where that does not help.

        Returns the rest of the log, and the seconds from the first signal to the end.
        """
        assert process.stdout
        began = time.monotonic()
        for each, patience in how:
            process.send_signal(each)  # docker passes it on to the container's first process
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        else:
            docker("kill", "--signal", "KILL", self.name)
            process.wait(10)
        seconds = time.monotonic() - began
        return process.stdout.read(), seconds

    @contextmanager
    def _started(
        self, name: str, environ: Mapping[str, str], entrypoint: Sequence[str]
    ) -> Iterator[subprocess.Popen[str]]:
        command = self._command(name, environ, entrypoint)
        own = {name: os.environ[name] for name in OWN if name in os.environ}
        with subprocess.Popen(
            command,
            env={**environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # the runner reads both
            text=True,
            encoding="utf-8",
        ) as process:
            try:
                yield process
            finally:
                remove = ["docker", "rm", "--force", name]
                subprocess.run(remove, capture_output=True)  # mostly it is gone already

    def result(self, process: subprocess.Popen[str], log: str) -> StepResult:
        """What is left of the step whose container has ended."""
        return StepResult(
            process.wait(10),
            log,
            self._runner.outputs,
            self._runner.state,
            self._runner.summary,
            self.directory / "workspace",
        )

    def wait_for_launch(self, process: subprocess.Popen[str]) -> str:
        """Read the log up to the line that reports the launch, and return it."""
        assert process.stdout
        log = ""
        for line in process.stdout:
            log += line
            if line.startswith("Launched run "):
                return log
        raise AssertionError(f"the step ended without a launch:\n{log}")

    def _environ(self, runner: LocalRunner) -> dict[str, str]:
        named = runner.environ(DEFAULTS | IDS | {"check_interval": "1", "max_wait_time": "60"} | self._inputs)
        files = str(self._files)
        return {
            **{name: value.replace(files, MOUNTS[self._files.name]) for name, value in named.items()},
            "HOME": MOUNTS["_github_home"],
            "GITHUB_WORKSPACE": MOUNTS["workspace"],
            "RUNNER_TEMP": MOUNTS["_temp"],
            **self._env,
        }

    def _command(self, name: str, environ: Mapping[str, str], entrypoint: Sequence[str]) -> list[str]:
        """As `DockerCommandManager.DockerRun` does it, but for the engine's socket, and with the host's network.

        That network is where the sandbox is: the action speaks http to the loopback interface alone.
        """
        # Docker takes values from its own environment, so that no secret is on a command line.
        variables = [f"{each}={value}" if each in OWN else each for each, value in environ.items()]
        named = [part for variable in variables for part in ("--env", variable)]
        volumes = [
            part for below, there in MOUNTS.items() for part in ("--volume", f"{self.directory / below}:{there}")
        ]
        program, *arguments = entrypoint or [""]
        return [
            *("docker", "run", "--name", name, "--label", "coval-gate-e2e", "--workdir", MOUNTS["workspace"]),
            *("--rm", *named, *volumes, "--network", "host"),
            *(("--entrypoint", program) if program else ()),
            *(self._image, *arguments),
        ]


def docker(*arguments: str) -> str:
    """What the command prints."""
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of one image or container."""
    (found,) = json.loads(docker("inspect", name))
    assert isinstance(found, dict)
    return found


def leaks(directory: Path) -> list[Path]:
    """The files below `directory` that hold the key."""
    return [file for file in directory.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
