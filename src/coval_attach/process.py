"""The worker as a child process of the command, and the messages between the two: one JSON object per line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Literal, NamedTuple

from coval_gate.base.text import json_in

MODULE: Final = "coval_attach.worker"
Ending = Literal[
    "waiting",  # Coval has not offered its relay yet
    "attached",  # the conversation has not ended
    "answered",  # a process was attached until the conversation ended
    "ended_early",  # the handler returned before the conversation ended
    "crashed",  # the handler raised an exception, or its process died
    "lost",  # the relay failed during the conversation
    "refused",  # Coval offered no relay, or none that worked
    "missed",  # it was over before a process could attach
]
ANSWERED: Final = ("answered", "ended_early")
LOG: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC  # how logs are opened


class Limits(NamedTuple):
    """How long each part may take, in seconds.

    `quiet`: silence of the agent until it is reported. `handler`: for the handler to end after its conversation.
    `over`: for a process to end after Coval shows that its simulation is over. `killing`: between SIGTERM and SIGKILL.
    `poll`: between two polls of the simulations. `stopping`: for everything to end after a signal. `unknown`: for Coval
    to show the run. `again`: between two attempts to attach to a simulation, at most.
    """

    quiet: float = 30.0
    handler: float = 10.0
    over: float = 15.0
    killing: float = 3.0
    poll: float = 2.0
    stopping: float = 4.0
    unknown: float = 20.0
    again: float = 15.0


class Setup(NamedTuple):
    """`directory`: the first place to import from, and where the command runs. `handler`: MODULE:HANDLER."""

    key: str
    api_base_url: str
    workspace_id: str
    directory: str
    handler: str = ""
    command: tuple[str, ...] = ()
    limits: Limits = Limits()


class Order(NamedTuple):
    """`attach`: start a process that writes to the file `log`. `over`: the simulation is over; its process should end.

    `completed`: the simulation did not fail. If its input ends, the worker ends everything, and exits.
    """

    do: Literal["attach", "over"]
    simulation: str
    log: str = ""
    completed: bool = False


class WorkerEvent(NamedTuple):
    """`ready`: the handler is loaded. `unusable`: it is not, because of `error`; `lines` are the traceback.

    `started`: a process has begun. `attached`: its conversation has begun. `quiet`: it has sent no audio for a while.
    `closed`: the conversation is over. `ended`: the `outcome` is known; `error` has details.
    """

    what: Literal["ready", "unusable", "started", "attached", "quiet", "closed", "ended"]
    simulation: str = ""
    outcome: Ending = "waiting"
    error: str = ""
    lines: tuple[str, ...] = ()
    pid: int = 0


def ended(outcome: Ending, error: str = "") -> WorkerEvent:
    return WorkerEvent("ended", outcome=outcome, error=error)


def line_of(message: Setup | Order | WorkerEvent) -> bytes:
    return json.dumps(message._asdict()).encode() + b"\n"


def setup_in(line: bytes) -> Setup:
    fields = json.loads(line)
    fields |= {"command": tuple(fields["command"]), "limits": Limits(*fields["limits"])}
    return Setup(**fields)


def order_in(line: bytes) -> Order:
    return Order(**json.loads(line))


def event_in(line: bytes) -> WorkerEvent | None:
    """Return the event in a line; None if there is none: the user's code may write to the same pipe."""
    fields: Any = json_in(line)
    try:
        return WorkerEvent(**{**fields, "lines": tuple(fields["lines"])})
    except (TypeError, KeyError):
        return None


class WorkerProcess:
    """`log`: the file for what the user's modules print while they are imported."""

    def __init__(self, setup: Setup, environ: Mapping[str, str], log: str) -> None:
        self.limits = setup.limits
        file = os.open(log, LOG, 0o644)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: modules in the working directory must not replace Python's or ours.
                [sys.executable, "-P", "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C reaches only the command, which then ends its processes in order
            )
        finally:
            os.close(file)
        self._groups: dict[str, int] = {}  # process groups that run, by simulation
        self._events: SimpleQueue[WorkerEvent] = SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(setup)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def events(self) -> list[WorkerEvent]:
        is_over = not self.is_running
        if is_over:
            self._reader.join(1.0)
        events: list[WorkerEvent] = []
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
        """Kill the worker and all processes that still run."""
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

    def send(self, message: Setup | Order) -> None:
        with suppress(OSError, ValueError):  # the worker has ended; its events show that
            if self._process.stdin:
                self._process.stdin.write(line_of(message))
                self._process.stdin.flush()

    def _read(self) -> None:
        if self._process.stdout:
            for line in self._process.stdout:
                if event := event_in(line):
                    self._events.put(event)
