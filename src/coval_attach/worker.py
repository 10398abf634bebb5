"""The worker: `python -m coval_attach.worker`. It loads the handler, and starts a process for each simulation.

It reads a Setup and then Orders from its standard input, and writes WorkerEvents to its standard output. Standard error
is a log, which gets what the user's code prints while it is imported. When the input ends, everything ends.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from coval_attach.handler import Unusable, error_line, how_ended
from coval_attach.process import Order, Setup, WorkerEvent, ended, line_of, order_in, setup_in
from coval_attach.session import WAS_STOPPED, answer, handler_of

if TYPE_CHECKING:
    from coval_attach.handler import Handler

LOOK_PAUSE: Final = 0.2  # s between two checks of the clock
ENDING_ALL: Final = 1.5  # s for all processes to end after the input has ended
READ_SIZE: Final = 65536  # bytes


@dataclass
class _Child:
    """A process. Times are on the monotonic clock; None: not yet."""

    simulation: str
    log: str
    process: BaseProcess
    events: Connection
    attached: bool = False
    closed: bool = False  # the conversation is over
    ended_at: float | None = None  # when it reported its end
    over_at: float | None = None
    completed: bool = False  # the simulation, as Coval shows it
    terminated_at: float | None = None


class Worker:
    def __init__(self, setup: Setup, handler: "Handler", orders: int, events: int) -> None:
        self._setup, self._handler = setup, handler
        self._orders, self._events = orders, events
        self._children: dict[str, _Child] = {}
        self._unread = b""
        # A fork shares imported modules, but no threads. On macOS, system libraries break in a fork.
        shares = sys.platform == "linux" and threading.active_count() == 1
        self._method: Literal["fork", "spawn"] = "fork" if shares else "spawn"

    def work(self) -> None:
        """Follow orders until the input ends; then end all processes."""
        while self._follow_orders():
            self._check_children()
        self._end_all()

    def _follow_orders(self) -> bool:
        """Wait a moment for orders, and do them. Return False at the end of the input."""
        children = self._children.values()
        pipes = [child.events for child in children]
        ready = wait([self._orders, *pipes, *(child.process.sentinel for child in children)], LOOK_PAUSE)
        if self._orders not in ready:
            return True
        received = os.read(self._orders, READ_SIZE)
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            self._do(order_in(line))
        return bool(received)

    def _do(self, order: Order) -> None:
        child = self._children.get(order.simulation)
        if order.do == "attach" and child and child.ended_at is not None:  # an earlier attempt, which is about to end
            self._remove(child)
            child = None
        if order.do == "attach" and not child:
            self._start(order.simulation, order.log)
        elif order.do == "over" and child:
            child.over_at = child.over_at or time.monotonic()
            child.completed = order.completed

    def _start(self, simulation: str, log: str) -> None:
        context = multiprocessing.get_context(self._method)
        is_fork = self._method == "fork"
        inherited = [self._orders, self._events] if is_fork else []
        handler = self._handler if is_fork else None
        pipe: tuple[Connection, ...] = ()
        try:
            read, write = pipe = context.Pipe(duplex=False)
            arguments = (self._setup, handler, simulation, log, write, os.getpid(), inherited)
            process = context.Process(target=answer, args=arguments)  # type: ignore[attr-defined]
            process.start()
        except OSError as error:
            for end in pipe:
                end.close()
            self._send(ended("crashed", f"No process could start: {error}")._replace(simulation=simulation))
            return
        write.close()  # so that its events end with the process
        self._children[simulation] = _Child(simulation, log, process, read)
        self._send(WorkerEvent("started", simulation, pid=process.pid))

    def _check_children(self) -> None:
        limits = self._setup.limits
        now = time.monotonic()
        for child in [*self._children.values()]:
            self._receive(child)
            if not child.process.is_alive():
                self._remove(child)
                continue
            if child.terminated_at is not None:
                if now - child.terminated_at >= limits.killing:
                    _signal(child, signal.SIGKILL)
                continue
            # A process without a conversation has nothing to finish.
            patience = limits.over if child.attached else limits.killing
            is_late = child.over_at is not None and now - child.over_at >= patience
            lingers = child.ended_at is not None and now - child.ended_at >= limits.killing + limits.handler
            if is_late or lingers:
                child.terminated_at = now
                _signal(child, signal.SIGTERM)

    def _receive(self, child: _Child) -> None:
        with suppress(EOFError, OSError):
            while child.events.poll():
                event = child.events.recv()
                child.attached |= event.what == "attached"
                child.closed |= event.what == "closed"
                if event.what == "ended":
                    if child.ended_at is not None:
                        continue
                    child.ended_at = time.monotonic()
                self._send(event)

    def _remove(self, child: _Child) -> None:
        _signal(child, signal.SIGKILL)  # also what it started
        self._receive(child)
        child.process.join()
        child.events.close()
        del self._children[child.simulation]
        _redact(child.log, self._setup.key)
        if child.ended_at is None:
            self._send(_end_of(child)._replace(simulation=child.simulation))

    def _end_all(self) -> None:
        """Terminate all processes, and kill those that do not end."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in self._children.values():
                _signal(child, number)
            until = time.monotonic() + ENDING_ALL
            while (left := until - time.monotonic()) > 0:
                alive = [child for child in self._children.values() if child.process.is_alive()]
                if not alive:
                    break
                wait([child.process.sentinel for child in alive], min(left, LOOK_PAUSE))
        for child in self._children.values():
            _signal(child, signal.SIGKILL)
            _redact(child.log, self._setup.key)

    def _send(self, event: WorkerEvent) -> None:
        with suppress(OSError):  # the command is gone, so the input ends next
            os.write(self._events, line_of(event))


def main() -> None:
    orders, events = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # the user's code may print
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    first = b""
    while not first.endswith(b"\n"):
        byte = os.read(orders, 1)  # byte by byte, because the loop reads the rest
        if not byte:
            return
        first += byte
    setup = setup_in(first)
    try:
        handler = _load(setup)
    except Unusable as problem:
        os.write(events, line_of(WorkerEvent("unusable", error=str(problem), lines=problem.lines)))
        return
    gc.freeze()  # a garbage collection would write to all objects, and their memory would no longer be shared
    os.write(events, line_of(WorkerEvent("ready")))
    Worker(setup, handler, orders, events).work()


def _load(setup: Setup) -> "Handler":
    """Import what every process needs, so that processes share it. Raises Unusable."""
    handler = handler_of(setup)
    try:
        # The SDK's first call imports the other two.
        import concurrent.futures.thread  # noqa: F401
        import encodings.idna  # noqa: F401

        import coval_agent_sdk  # noqa: F401
    except Exception as error:  # noqa: BLE001 - of an incomplete installation
        raise Unusable(f"coval-agent-sdk cannot be imported: {error_line(error)}.") from None
    return handler


def _end_of(child: _Child) -> WorkerEvent:
    """Return the outcome of a process that ended without reporting one."""
    how = how_ended(child.process.exitcode or 0)
    # If a process is killed while it speaks, its simulation ends, and Coval may show that before this worker notices.
    was_to_end = child.over_at is not None and (child.completed or child.terminated_at is not None)
    if child.closed or (child.attached and was_to_end):
        return ended("answered", WAS_STOPPED if child.terminated_at else f"After the conversation, the process {how}.")
    if child.over_at is not None and not child.attached:
        return ended("missed", "The simulation was over before Coval offered its relay.")
    return ended("crashed", f"The process {how}.")


def _signal(child: _Child, number: int) -> None:
    """Send a signal to a process, and to everything that it started."""
    pid = child.process.pid
    if pid is None:
        return
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # it has no group of its own yet
        if child.process.is_alive():
            with suppress(OSError):
                os.kill(pid, number)
    except OSError:
        pass


def _redact(log: str, key: str) -> None:
    """Overwrite the API key in a log: the user's code may have printed it."""
    secret = key.encode()
    with suppress(OSError, ValueError):  # an empty file cannot be mapped
        file = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(file, "r+b") as stream, mmap(stream.fileno(), 0) as text:
            while (place := text.find(secret)) >= 0:
                text[place : place + len(secret)] = b"*" * len(secret)


def _leave() -> NoReturn:
    """Exit at once, even if the user's modules have started threads."""
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    os._exit(0)


if __name__ == "__main__":
    main()
    _leave()
