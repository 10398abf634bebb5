"""The process of one simulation: attaches to it, and runs the handler for the conversation."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from coval_attach.handler import Unusable, bridge, error_line, load, with_cause
from coval_attach.process import ANSWERED, LOG, Setup, WorkerEvent, ended

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection

    from coval_attach.handler import Handler

LOOK: Final = 0.2  # s between two checks of the watchdog
CANCELLING_HANDLER: Final = 1.0  # s for a handler to end once it is cancelled
WAS_STOPPED: Final = "The handler did not end after the conversation, so it was stopped."


class _Reporter:
    def __init__(self, simulation: str, events: Connection) -> None:
        self._simulation, self._events = simulation, events
        self._lock = threading.Lock()

    def report(self, event: WorkerEvent) -> None:
        with self._lock, suppress(OSError):
            self._events.send(event._replace(simulation=self._simulation))


class _Watchdog:
    """Notices silence and the death of the worker in a thread, which runs even if the handler blocks the event loop."""

    def __init__(self, worker: int, quiet: float, reporter: _Reporter) -> None:
        self._worker, self._quiet, self._reporter = worker, quiet, reporter
        self._last: float | None = None  # when audio was last sent; None outside a conversation
        self._sending = 0  # calls that are sending audio; each takes as long as its audio
        self._sent = False
        self._reported_quiet = False

    def start(self) -> None:
        threading.Thread(target=self._watch, name="coval-gate-watchdog", daemon=True).start()

    def begin(self, connection: "AudioConnection") -> None:
        send = connection.send_audio

        async def counted(audio: bytes) -> bool:
            if not audio:
                return await send(audio)
            self._sent, self._sending = True, self._sending + 1
            try:
                return await send(audio)
            finally:
                self._last, self._sending = time.monotonic(), self._sending - 1

        connection.send_audio = counted  # type: ignore[method-assign]
        self._last = time.monotonic()

    def end(self, result: WorkerEvent) -> None:
        """Stop watching. In a short conversation, report an agent that never spoke."""
        if not self._sent and result.outcome in ANSWERED:
            self._report_quiet()
        self._last = None

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK)
            if os.getppid() != self._worker:
                os.killpg(0, signal.SIGKILL)
            last = self._last
            if last is not None and not self._sending and time.monotonic() - last >= self._quiet:
                self._report_quiet()

    def _report_quiet(self) -> None:
        if not self._reported_quiet:
            self._reported_quiet = True
            self._reporter.report(WorkerEvent("quiet"))


def answer(
    setup: Setup,
    handler: "Handler | None",
    simulation: str,
    log: str,
    events: Connection,
    worker: int,
    inherited: Sequence[int],
) -> None:
    """Attach to a simulation, and answer its caller. This is what a process runs.

    `handler` is None in a process that does not share the worker's memory. `inherited`: files of the worker to close.
    """
    os.setsid()  # a group of its own, so that everything it starts can be killed with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for file in inherited:
        with suppress(OSError):
            os.close(file)
    _redirect(log)
    reporter = _Reporter(simulation, events)
    watchdog = _Watchdog(worker, setup.limits.quiet, reporter)
    watchdog.start()
    try:
        handler = handler or handler_of(setup)
    except Unusable as problem:
        print(*problem.lines, problem, sep="\n", file=sys.stderr)  # noqa: T201 - into the log
        reporter.report(ended("crashed", str(problem)))
        return
    asyncio.run(_attach(setup, handler, simulation, reporter, watchdog))


def handler_of(setup: Setup) -> "Handler":
    """Return the user's handler, or one that starts the command. Raises Unusable."""
    return bridge(setup.command, setup.directory) if setup.command else load(setup.handler, setup.directory)


def _redirect(log: str) -> None:
    for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), (log, LOG), (log, LOG)]):
        file = os.open(path, flags, 0o644)
        os.dup2(file, number)
        os.close(file)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # the user's code may have replaced it
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable(file=2)


async def _attach(setup: Setup, handler: "Handler", simulation: str, reporter: _Reporter, watchdog: _Watchdog) -> None:
    from coval_agent_sdk import CovalVoiceClient

    client = CovalVoiceClient(
        api_key=setup.key, api_base_url=setup.api_base_url, workspace_id=setup.workspace_id or None
    )
    result = None
    try:
        async with client.connect(simulation) as connection:
            watchdog.begin(connection)
            reporter.report(WorkerEvent("attached"))
            result = await _converse(connection, handler, setup.limits.handler, reporter)
            watchdog.end(result)
            # Report now: leaving the context may take a while.
            reporter.report(result)
    except Exception as error:  # noqa: BLE001 - the process is about to end
        if result is None:
            traceback.print_exception(error)
            reporter.report(ended("refused", with_cause(error)))


async def _converse(
    connection: "AudioConnection", handler: "Handler", patience: float, reporter: _Reporter
) -> WorkerEvent:
    handling = asyncio.create_task(_handle(handler, connection))
    closing = asyncio.create_task(connection.wait_closed())
    await asyncio.wait({handling, closing}, return_when=asyncio.FIRST_COMPLETED)
    if not connection.closed:
        closing.cancel()
        error = _error_of(handling)
        return ended("crashed", error_line(error)) if error else ended("ended_early")
    (failure,) = await asyncio.gather(closing, return_exceptions=True)
    if failure is not None:
        await _cancel(handling)
        traceback.print_exception(failure)
        return ended("lost", with_cause(failure))
    reporter.report(WorkerEvent("closed"))
    await asyncio.wait({handling}, timeout=patience)
    if not handling.done():
        await _cancel(handling)
        return ended("answered", WAS_STOPPED)
    error = _error_of(handling)
    if error:
        traceback.print_exception(error)
    return ended("answered", f"After the conversation: {error_line(error)}" if error else "")


async def _handle(handler: "Handler", connection: "AudioConnection") -> BaseException | None:
    """Return what the handler raises: SystemExit, raised in a task, would end the event loop."""
    try:
        await handler(connection)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - see above
        if not connection.closed:
            traceback.print_exception(error)
        return error
    return None


def _error_of(handling: asyncio.Task[BaseException | None]) -> BaseException | None:
    return asyncio.CancelledError("the handler cancelled itself") if handling.cancelled() else handling.result()


async def _cancel(task: asyncio.Task[BaseException | None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=CANCELLING_HANDLER)
