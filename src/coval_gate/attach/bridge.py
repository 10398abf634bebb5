"""Lets a command answer a simulation: the caller's audio on its standard input, the agent's on its standard output."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_agent_sdk import AudioConnection

    from coval_gate.attach.handler import Handler

SIMULATION: Final = "COVAL_SIMULATION_ID"
CHUNK: Final = 6400  # bytes; 0.2 s of audio
SAMPLE: Final = 2  # bytes
MOST_UNREAD: Final = 16 * 1024 * 1024  # bytes for a command that does not read; almost nine minutes
PARTING: Final = 5.0  # s for the command to end after the conversation
KILLING: Final = 1.0  # s between SIGTERM and SIGKILL


class CommandFailed(Exception):
    """The command ended with an error while the conversation went on."""


def bridge(command: Sequence[str], directory: str) -> Handler:
    """The command starts anew for each simulation."""

    async def handler(connection: AudioConnection) -> None:
        environ = {**os.environ, SIMULATION: connection.simulation_id}
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environ, cwd=directory)
        speaking = asyncio.create_task(_speak(process, connection))
        hearing = asyncio.create_task(_hear(process, connection))
        try:
            await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not connection.closed and not speaking.done():  # it cannot hear, but may go on to speak
                await asyncio.wait({speaking})
            if not connection.closed:
                await speaking
                # Without an output, it cannot answer any more.
                if code := await _code(process):
                    raise CommandFailed(f"The command {_ended(code)}.")
                return
            await hearing
            await _code(process)
        finally:
            for task in (speaking, hearing):
                task.cancel()
            await asyncio.gather(speaking, hearing, return_exceptions=True)
            await _end(process)

    return handler


async def _hear(process: asyncio.subprocess.Process, connection: AudioConnection) -> None:
    """A command that does not read it loses some audio, and the conversation goes on."""
    stdin = process.stdin
    if stdin is None:
        return
    async for audio in connection.receive_audio():
        if not stdin.is_closing() and stdin.transport.get_write_buffer_size() < MOST_UNREAD:
            stdin.write(audio)
    stdin.close()


async def _speak(process: asyncio.subprocess.Process, connection: AudioConnection) -> None:
    """Send whole samples. After the conversation, read on, so that the command can end."""
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
    """None if the command does not end by itself."""
    try:
        return await asyncio.wait_for(process.wait(), PARTING)
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


def _ended(code: int) -> str:
    return f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
