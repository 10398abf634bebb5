"""The worker as the command sees it: a child process, its orders and its events.

It gets no environment variable with which a CI system hands out power over itself: a pull request's code has no
business with the token that approves it. Other secrets, such as a model provider's key, are the user's own, and the
code may need them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from coval_gate.attach.messages import LOG, Event, Order, Setup, event_in, line_of
from coval_gate.base import titles
from coval_gate.base.errors import RunnerError
from coval_gate.ci.host import DIRECTORY, IGNORED
from coval_gate.ci.workspace import Workspace

MODULE: Final = "coval_gate.attach.worker"
LOGS: Final = f"{DIRECTORY}/logs"  # a file for each simulation
WORKER_LOG: Final = f"{LOGS}/attach.worker.log"  # no simulation has a dot in its id
SYSTEMS: Final = (
    "GITHUB",
    "GH",
    "GITEA",
    "FORGEJO",
    "RUNNER",
    "GITLAB",
    "CI",
    "BITBUCKET",
    "CIRCLE",
    "BUILDKITE",
    "SYSTEM",  # Azure Pipelines
    "TRAVIS",
    "DRONE",
)
WITHHELD: Final = re.compile(
    rf"(?:{'|'.join(SYSTEMS)})_(?:.*_)?(?:ACCESS)?(?:TOKEN|PASSWORD|JWT|SECRET|PAT)(?:_.*)?"
    r"|ACTIONS_.*"  # of GitHub's runner: the tokens for caches, artifacts and OpenID Connect
    r"|INPUT_.*"  # of a step, with its token
    r"|GITHUB_(?:ENV|PATH|OUTPUT|STATE|STEP_SUMMARY)"  # files by which a step acts on later ones
    r"|CI_JOB_JWT.*|CI_REPOSITORY_URL|PRIVATE_TOKEN"  # the URL contains a token
    r"|COVAL_API_KEY"
)


class WorkerProcess:
    """`log`: what the user's modules print while they are imported."""

    def __init__(self, setup: Setup, environ: Mapping[str, str], log: str) -> None:
        file = os.open(log, LOG, 0o644)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: modules of the working directory must not stand in for those of Python and of ours.
                [sys.executable, "-P", "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C is for the command, which ends its processes in order
            )
        finally:
            os.close(file)
        self._groups: dict[str, int] = {}  # the processes that run, by simulation
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self._send(line_of(setup))

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def attach(self, simulation: str, log: str) -> None:
        self._send(line_of(Order("attach", simulation, log)))

    def see_over(self, simulation: str, *, completed: bool) -> None:
        """Let the process end."""
        self._send(line_of(Order("over", simulation, completed=completed)))

    def events(self) -> list[Event]:
        is_over = not self.is_running
        if is_over:
            self._reader.join(1.0)
        events: list[Event] = []
        with suppress(Empty):
            while True:
                events.append(self._events.get_nowait())
        for event in events:
            if event.what == "started" and event.pid > 1:
                self._groups[event.simulation] = event.pid
            elif event.what == "ended":
                self._groups.pop(event.simulation, None)
        return events

    def stop(self) -> None:
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def kill(self) -> None:
        """Do not wait for what still runs."""
        self.stop()
        self.events()
        if self.is_running:
            for group in (self._process.pid, *self._groups.values()):
                with suppress(OSError):
                    os.killpg(group, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._reader.join(1.0)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()

    def _send(self, line: bytes) -> None:
        with suppress(OSError, ValueError):  # it has ended, which its events show
            if self._process.stdin:
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def _read(self) -> None:
        if self._process.stdout:
            for line in self._process.stdout:
                if event := event_in(line):
                    self._events.put(event)


def log_of(simulation: str) -> str:
    return f"{LOGS}/{simulation}.log"


def open_log(workspace: Workspace, name: str) -> str:
    """Create a log in the workspace if there is none yet, and return its absolute path. Raises RunnerError."""
    try:
        workspace.create(IGNORED, "*\n")
        workspace.create(name, "")
    except ValueError as problem:
        raise RunnerError(titles.LOG_NOT_WRITTEN, f"The log {problem}") from None
    return workspace.locate(name)


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not WITHHELD.fullmatch(name.upper())}
