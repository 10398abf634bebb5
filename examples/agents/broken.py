"""Break as an agent does that a pull request broke: `coval-gate attach broken:answer` reports crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_agent_sdk import AudioConnection

GREETINGS = {"en": b""}


async def answer(connection: AudioConnection) -> None:
    """Look a greeting up that is not there."""
    await connection.send_audio(GREETINGS["fr"])
