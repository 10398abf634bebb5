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

from coval_attach.handler import Unusable, bridge, causes_of, error_line, load
from coval_attach.process import ANSWERED, LOG, Setup, WorkerEvent, ended

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection

    from coval_attach.handler import Handler

LOOK: Final = 0.2  # s between two looks of the watchdog
CANCELLING_HANDLER: Final = 1.0  # s for a handler to end once it is cancelled
HAD_TO_END: Final = "The handler went on after the conversation, and had to be ended."


class _Reporter:
    def __init__(self, simulation: str, events: Connection) -> None:
        self._simulation, self._events = simulation, events
        self._lock = threading.Lock()

    def tell(self, event: WorkerEvent) -> None:
        with self._lock, suppress(OSError):
            self._events.send(event._replace(simulation=self._simulation))


class _Watchdog:
    """Its thread notices silence, also while the handler blocks the event loop, and the death of the worker."""

    def __init__(self, worker: int, quiet: float, reporter: _Reporter) -> None:
        self._worker, self._quiet, self._reporter = worker, quiet, reporter
        self._last: float | None = None  # when audio was sent last; None without a conversation
        self._sending = 0  # calls that send audio now; each takes as long as its audio lasts
        self._sent = False
        self._told = False

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
        """An agent that never spoke was quiet in a short conversation, too."""
        if not self._sent and result.outcome in ANSWERED:
            self._tell()
        self._last = None

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK)
            if os.getppid() != self._worker:
                os.killpg(0, signal.SIGKILL)
            last = self._last
            if last is not None and not self._sending and time.monotonic() - last >= self._quiet:
                self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._reporter.tell(WorkerEvent("quiet"))


def answer(
    setup: Setup,
    handler: "Handler | None",
    simulation: str,
    log: str,
    events: Connection,
    worker: int,
    inherited: Sequence[int],
) -> None:
    """`handler` is None in a process that does not share the worker's memory.

    `inherited`: files of the worker that this process must not keep open.
    """
    os.setsid()  # so that whatever it starts can be ended with it
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
        reporter.tell(ended("crashed", str(problem)))
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
            reporter.tell(WorkerEvent("attached"))
            result = await _converse(connection, handler, setup.limits.handler, reporter)
            watchdog.end(result)
            # Leaving the context may take a while.
            reporter.tell(result)
    except Exception as error:  # noqa: BLE001 - the process is about to end
        if result is None:
            traceback.print_exception(error)
            reporter.tell(ended("refused", causes_of(error)))


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
        return ended("lost", causes_of(failure))
    reporter.tell(WorkerEvent("closed"))
    await asyncio.wait({handling}, timeout=patience)
    if not handling.done():
        await _cancel(handling)
        return ended("answered", HAD_TO_END)
    error = _error_of(handling)
    if error:
        traceback.print_exception(error)
    return ended("answered", f"After the conversation: {error_line(error)}" if error else "")


async def _handle(handler: "Handler", connection: "AudioConnection") -> BaseException | None:
    """Return what the handler raises. Raised in a task, SystemExit would end the event loop."""
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
