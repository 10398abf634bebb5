"""Loads the user's handler, or makes one that starts a command for each simulation.

The command reads the caller's audio on its standard input, and writes the agent's audio to its standard output.
"""

import asyncio
import inspect
import os
import re
import signal
import sys
import traceback
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import most_similar, one_line, quoted, shortened

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection

    Handler = Callable[[AudioConnection], Awaitable[object]]

HANDLER_NAME: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
LONGEST_ERROR: Final = 300  # characters of an error, and of a line of a traceback
CHUNK: Final = 6400  # bytes; 0.2 s of audio
SAMPLE: Final = 2  # bytes
MOST_UNREAD: Final = 16 * 1024 * 1024  # bytes kept for a command that does not read; almost nine minutes
LAST_AUDIO: Final = 5.0  # s for the command to end after the conversation
KILLING: Final = 1.0  # s between SIGTERM and SIGKILL


class Unusable(Exception):
    """`lines`: the traceback, if the handler's module raised an exception."""

    def __init__(self, what: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.lines = lines


def form_problem(name: str) -> str:
    """Return what is wrong with a handler's name; empty if nothing is."""
    match = HANDLER_NAME.fullmatch(name)
    if match and not match["module"].endswith(".py"):
        return ""
    hint = ", without .py" if match else ""
    return f"the handler must be MODULE:HANDLER, such as agent:answer{hint}; got {quoted(name)}."


def load(name: str, directory: str) -> "Handler":
    """Import a handler, from `directory` first. Raises Unusable."""
    match = HANDLER_NAME.fullmatch(name)
    if not match:
        raise Unusable(form_problem(name))
    if directory not in sys.path:
        sys.path.insert(0, directory)
    handler = _attribute(_module(match["module"], directory), match["path"], name)
    function = match["path"].rpartition(".")[2]
    example = f"Write: async def {function}(connection): ..."
    if not callable(handler):
        raise Unusable(f"{name} is not a function. {example}")
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - of an object that is called as a function
    if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)):
        raise Unusable(f"{name} is not async. {example}")
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        raise Unusable(f"{name} must take one argument, the connection. {example}") from None
    except ValueError:  # it has no signature
        pass
    usable: Handler = handler
    return usable


def error_line(error: BaseException) -> str:
    """Return the last line of the traceback; for a group, the last line of its first exception."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__, LONGEST_ERROR)


def with_cause(error: BaseException) -> str:
    """Return the error with its cause, such as an untrusted certificate of the relay."""
    cause = error.__cause__
    return f"{error_line(error)} ({error_line(cause)})" if cause else error_line(error)


def _module(name: str, directory: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise Unusable(
                f"There is no module {error.name} in {quoted(directory, 200)}, and none is installed. "
                "Run coval-gate attach in the module's directory, or install its package."
            ) from None
        raise _not_imported(name, error) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit, too
        raise _not_imported(name, error) from None


def _not_imported(name: str, error: BaseException) -> Unusable:
    lines = "".join(traceback.format_exception(error)).splitlines()
    advice = ""
    if isinstance(error, ModuleNotFoundError):
        advice = " Install it in the environment that coval-gate runs in."
    return Unusable(
        f"The module {name} cannot be imported: {error_line(error)}.{advice}",
        tuple(shortened(line, LONGEST_ERROR) for line in lines[-40:]),
    )


def _attribute(module: Any, path: str, name: str) -> Any:
    value = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            names = [attribute for attribute in dir(value) if not attribute.startswith("_")]
            similar = most_similar(part, names)
            hint = f" Did you mean {similar}?" if similar else ""
            raise Unusable(f"There is no {name}: the module has no {part}.{hint}") from None
    return value


class CommandFailed(Exception):
    """The command ended with an error during the conversation."""


def bridge(command: Sequence[str], directory: str) -> "Handler":
    """Return a handler that starts the command for each simulation."""

    async def handler(connection: "AudioConnection") -> None:
        environ = {**os.environ, "COVAL_SIMULATION_ID": connection.simulation_id}
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environ, cwd=directory)
        speaking = asyncio.create_task(_speak(process, connection))
        hearing = asyncio.create_task(_hear(process, connection))
        try:
            await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not connection.closed and not speaking.done():  # it reads no more, but may still speak
                await asyncio.wait({speaking})
            if not connection.closed:
                await speaking
                # It closed its output, so it cannot answer any more.
                if code := await _code(process):
                    raise CommandFailed(f"The command {how_ended(code)}.")
                return
            await hearing
            await _code(process)
        finally:
            for task in (speaking, hearing):
                task.cancel()
            await asyncio.gather(speaking, hearing, return_exceptions=True)
            await _end(process)

    return handler


async def _hear(process: asyncio.subprocess.Process, connection: "AudioConnection") -> None:
    """Pass the caller's audio on. If the command does not read, drop audio, and continue."""
    stdin = process.stdin
    if stdin is None:
        return
    async for audio in connection.receive_audio():
        if not stdin.is_closing() and stdin.transport.get_write_buffer_size() < MOST_UNREAD:
            stdin.write(audio)
    stdin.close()


async def _speak(process: asyncio.subprocess.Process, connection: "AudioConnection") -> None:
    """Send whole samples. After the conversation, keep reading, so that the command can end."""
    if process.stdout is None:
        return
    rest = b""
    while audio := await process.stdout.read(CHUNK):
        whole = rest + audio
        end = len(whole) - len(whole) % SAMPLE
        rest = whole[end:]
        if not connection.closed:
            await connection.send_audio(whole[:end])


async def _code(process: asyncio.subprocess.Process) -> int | None:
    """Return the exit code; None if the command does not end by itself."""
    try:
        return await asyncio.wait_for(process.wait(), LAST_AUDIO)
    except TimeoutError:
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    for stop in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILLING)


def how_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    known = [one.name for one in signal.Signals if one == -code]
    return f"was killed by {known[0] if known else f'signal {-code}'}"
