"""Runs the image under Docker as GitHub's runner does, and the sandbox that it calls."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import requests

from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEYS, World
from support import DEFAULTS, IDS, StepResult

SPEED = 30  # times real time, where a signal must come during a run, which takes about a minute
SPEED_OF_STEPS = 120  # likewise, where all steps end by themselves
SPEED_OF_CALLS = 8  # likewise, where an agent must be there in time, also on a busy machine
KEY = f"coval_sk_{secrets.token_hex(16)}"  # random, so that any occurrence is a leak
PYTHON = "/opt/venv/bin/python"
DOCKER_VARIABLES = ("PATH", "HOME", "DOCKER_HOST")  # variables of the docker command itself
MAIN = "/app/entrypoint.py"
POST = "/app/post_entrypoint.py"
CANCEL = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5))  # as GitHub's runner does: each signal, and seconds to wait
KILL = ()  # immediately, without signals
MOUNTS = {  # subdirectories of a step's directory, and their paths in the container
    "_temp": "/github/runner_temp",
    "_github_home": "/github/home",
    "_github_workflow": "/github/workflow",
    "_runner_file_commands": "/github/file_commands",
    "workspace": "/github/workspace",
}


class Sandbox(NamedTuple):
    """A sandbox that accepts `KEY`."""

    url: str

    def call(self, method: str, **body: Any) -> dict[str, Any]:
        answer = requests.request(method, f"{self.url}/runs", headers={"x-api-key": KEY}, json=body or None, timeout=10)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Return all launched runs, as the API lists them."""
        runs: list[dict[str, Any]] = self.call("GET")["runs"]
        return runs

    @property
    def run(self) -> dict[str, Any]:
        """Return the only launched run."""
        (run,) = self.runs
        return run

    def launch(self, **body: Any) -> str:
        """Launch a run without the action, and return its id once it has completed."""
        run_id = str(self.call("POST", **body)["run"]["run_id"])
        while not any(run["run_id"] == run_id and run["status"] == "COMPLETED" for run in self.runs):
            time.sleep(0.1)
        return run_id


@contextmanager
def sandbox(
    *faults: str,
    speed: float = SPEED,
    history: bool = False,
    relay_ca: Path | None = None,
    ca: Path | None = None,
    strict: bool = False,
) -> Iterator[Sandbox]:
    """Serve a sandbox on a free port of the loopback interface. `history`: with runs of the last nights.

    `relay_ca`: with a relay for agents that answer from outside, and where to write the certificate to trust. `ca`: the
    same for https. `strict`: only ids of its catalogue exist.
    """
    speed = speed if relay_ca is None else SPEED_OF_CALLS
    world = World(SpeedClock(speed), history=history, strict=strict, api_keys={**DEFAULT_KEYS, KEY: ("*",)})
    with Server(world, faults=faults, relay=relay_ca is not None, relay_ca=relay_ca, ca=ca) as server:
        yield Sandbox(server.url)


class Step:
    """One step that runs the image, with a runner's directory."""

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
        """Run the container until it ends; `entrypoint` replaces the image's own."""
        with self.running(env=env, entrypoint=entrypoint, **inputs) as process:
            log, _ = process.communicate(timeout=120)
        return self.result(process, log)

    @contextmanager
    def running(
        self, *, env: Mapping[str, str] | None = None, entrypoint: Sequence[str] = (), **inputs: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start the container, and remove it after the block."""
        self._inputs = {"api_key": KEY, "api_base_url": self._api.url} | inputs
        self._env = dict(env or {})
        environ = self._environ(self._runner)
        with self._started(self.name, environ, entrypoint) as process:
            yield process

    def post(self, *, env: Mapping[str, str] | None = None) -> StepResult:
        """Run the post step until it ends, with the main step's inputs and state; `env` overrides them."""
        self._posts += 1
        files = self._files / f"post{self._posts}"
        files.mkdir()
        runner = LocalRunner(files)
        state = {f"STATE_{name}": value for name, value in self._runner.state.items()}
        environ = {**self._environ(runner), **state, **(env or {})}
        with self._started(f"{self.name}-{files.name}", environ, (POST,)) as process:
            log, _ = process.communicate(timeout=120)
        return self.result(process, log, runner)

    def cancel(
        self, process: subprocess.Popen[str], signals: Sequence[tuple[signal.Signals, float]] = CANCEL
    ) -> tuple[str, float]:
        """Send signals to the docker command until the container ends, and finally kill the container.

        Returns the rest of the log, and the seconds from the first signal to the end.
        """
        assert process.stdout
        began = time.monotonic()
        for number, seconds_to_end in signals:
            process.send_signal(number)  # docker forwards it to the container's first process
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds_to_end)
                break
        else:
            while not self._is_killed(process):
                assert time.monotonic() - began < 60, "the container does not end"
        seconds = time.monotonic() - began
        return process.stdout.read(), seconds

    def _is_killed(self, process: subprocess.Popen[str]) -> bool:
        """Kill the container, unless it does not run yet, or no longer. Return whether it has ended."""
        with suppress(subprocess.CalledProcessError):
            docker("kill", "--signal", "KILL", self.name)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        return process.returncode is not None

    @contextmanager
    def _started(
        self, name: str, environ: Mapping[str, str], entrypoint: Sequence[str]
    ) -> Iterator[subprocess.Popen[str]]:
        command = self._command(name, environ, entrypoint)
        own = {name: os.environ[name] for name in DOCKER_VARIABLES if name in os.environ}
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
                if process.poll() is None:  # else --rm has removed it
                    remove = ["docker", "rm", "--force", name]
                    subprocess.run(remove, capture_output=True)

    def result(self, process: subprocess.Popen[str], log: str, runner: LocalRunner | None = None) -> StepResult:
        """Return the result of a step whose container has ended."""
        of, workspace = runner or self._runner, self.directory / "workspace"
        return StepResult(process.wait(10), log, of.outputs, of.state, of.summary, workspace)

    def wait_for_launch(self, process: subprocess.Popen[str]) -> str:
        """Read and return the log up to the line that reports the launch."""
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
        """Build the command as `DockerCommandManager.DockerRun` does, in the host's network, without Docker's socket.

        The sandbox is in the host's network: the action allows http only on the loopback interface.
        """
        # Docker reads values from its environment, so that no secret is on a command line.
        variables = [f"{key}={value}" if key in DOCKER_VARIABLES else key for key, value in environ.items()]
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
    """Run a docker command, and return its output."""
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def inspect(name: str) -> dict[str, Any]:
    """Return the details of an image or a container."""
    (details,) = json.loads(docker("inspect", name))
    assert isinstance(details, dict)
    return details


def leaks(directory: Path) -> list[Path]:
    """Return the files below `directory` that contain the key."""
    return [file for file in directory.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
