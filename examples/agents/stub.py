"""Stand in for the models of the agents beside this file, so that they run without a provider's key.

`Ear` stands for speech recognition, and `speech` for a model and its voice. A real agent replaces both.
"""

from __future__ import annotations

import array
import math
import os
import wave
from pathlib import Path
from typing import Literal

RATE = 16_000  # Coval's audio: 16-bit samples, mono
LOUD = 500  # of 32,767: louder than noise, quieter than a voice
PAUSE_SECONDS = 0.3
TONE_HERTZ = 440


class Ear:
    """Tell from a caller's audio when the caller starts to speak, and when the caller pauses."""

    def __init__(self) -> None:
        self._speaking = False
        self._quiet_samples = 0

    def hear(self, audio: bytes) -> Literal["speech", "pause"] | None:
        """Return what begins with this audio, if anything does. Time is the audio's, not the clock's."""
        samples = array.array("h", audio)
        if max(map(abs, samples), default=0) >= LOUD:
            self._quiet_samples = 0
            started, self._speaking = not self._speaking, True
            return "speech" if started else None
        self._quiet_samples += len(samples)
        if not self._speaking or self._quiet_samples < PAUSE_SECONDS * RATE:
            return None
        self._speaking = False
        return "pause"


def speech() -> bytes:
    """Return what the agent says: the WAV file that AGENT_SPEECH names, or a second of a tone."""
    path = os.environ.get("AGENT_SPEECH")
    return _read(Path(path)) if path else _tone()


def _read(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path} must be 16-bit mono at {RATE} Hz")
        audio: bytes = file.readframes(file.getnframes())
        return audio


def _tone() -> bytes:
    turns = (2 * math.pi * TONE_HERTZ * index / RATE for index in range(RATE))
    return array.array("h", (round(8_000 * math.sin(turn)) for turn in turns)).tobytes()
