"""Answer Coval's simulated callers without a framework: the smallest handler for `coval-gate attach`.

    coval-gate attach agent:answer --run RUN_ID

The handler gets one connection per simulation. It hears the caller with `receive_audio`, speaks with `send_audio`, and
returns when the conversation is over. What it raises is reported as a crash of this simulation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stub import Ear, speech

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection


async def answer(connection: AudioConnection) -> None:
    """Speak whenever the caller pauses, and stop when the caller speaks again."""
    ear = Ear()
    speaking: asyncio.Task[bool] | None = None
    try:
        # `send_audio` takes as long as the speech lasts. It runs in a task, so that the caller is heard meanwhile.
        async for audio in connection.receive_audio():
            heard = ear.hear(audio)
            if heard and speaking:
                speaking.cancel()
                speaking = None
            if heard == "pause":
                speaking = asyncio.create_task(connection.send_audio(speech()))
            if speaking and speaking.done():
                await speaking  # raises what went wrong
    finally:
        if speaking:
            speaking.cancel()
