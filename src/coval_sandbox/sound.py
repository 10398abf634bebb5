"""The sound of a call: the caller's audio, and what the caller hears of the agent's answer.

Audio is PCM16, little-endian, mono, at 16 kHz, in frames of 20 ms.
"""

import math
import struct
from functools import lru_cache
from operator import mul
from typing import Final, NamedTuple

SAMPLE_RATE: Final = 16_000  # Hz
FRAME_SECONDS: Final = 0.02
FRAME_SAMPLES: Final = 320
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
BYTES_PER_SECOND: Final = 2 * SAMPLE_RATE
GOOD_TONE: Final = 440.0  # Hz, in the answer of a good build
TURN_FRAMES: Final = 100  # of a caller; pauses are as long
LOUDNESS: Final = 8_000  # of a caller, at most
QUIET: Final = 100.0  # mean amplitude below which a frame is silent
PURE: Final = 0.5  # share of a frame's energy that a tone must have
ENOUGH: Final = 0.1  # share of an answer's sound that must have the tone

VOICE: Final = 250.0  # Hz, of a caller; far from the good tone, so that an echo is no good answer
SILENCE: Final = bytes(FRAME_BYTES)

_FRAME: Final = struct.Struct(f"<{FRAME_SAMPLES}h")
_ANGLES: Final = tuple(2 * math.pi * GOOD_TONE * place / SAMPLE_RATE for place in range(FRAME_SAMPLES))
_COSINES: Final = tuple(map(math.cos, _ANGLES))
_SINES: Final = tuple(map(math.sin, _ANGLES))


class Answer(NamedTuple):
    """All times are in seconds. `sent`: audio of any kind. `sounding`: not silent. `toned`: with the good tone.

    `delay`: from the end of the caller's first turn to the agent's first sound; None if there was none.
    """

    call: float
    sent: float = 0.0
    sounding: float = 0.0
    toned: float = 0.0
    delay: float | None = None

    @property
    def is_silent(self) -> bool:
        return not self.sounding

    @property
    def is_good(self) -> bool:
        return self.toned > 0 and self.toned >= ENOUGH * self.sounding


def caller_frame(number: int) -> bytes:
    """Return a frame of the caller: turns of a tone, each followed by a pause of the same length."""
    return tone(VOICE) if number % (2 * TURN_FRAMES) < TURN_FRAMES else SILENCE


@lru_cache(maxsize=32)
def tone(frequency: float, loudness: int = LOUDNESS) -> bytes:
    step = 2 * math.pi * frequency / SAMPLE_RATE
    return _FRAME.pack(*(round(loudness * math.sin(step * place)) for place in range(FRAME_SAMPLES)))


class Listener:
    """`turn_end` is when the caller's first turn ends, in seconds after the call's start."""

    def __init__(self, turn_end: float) -> None:
        self._turn_end = turn_end
        self._rest = b""
        self._bytes = 0
        self._sounding = self._toned = 0
        self._delay: float | None = None

    @property
    def has_heard(self) -> bool:
        """Whether the agent has sent audio, even silence."""
        return self._bytes > 0

    def hear(self, audio: bytes, at: float) -> None:
        """`at`: seconds after the call's start. Raises ValueError unless the audio is PCM16."""
        if len(audio) % 2:
            raise ValueError("PCM16 audio must have an even number of bytes")
        self._bytes += len(audio)
        whole = self._rest + audio
        ends = len(whole) - len(whole) % FRAME_BYTES
        self._rest = whole[ends:]
        for start in range(0, ends, FRAME_BYTES):
            self._hear_frame(whole[start : start + FRAME_BYTES], at + start / BYTES_PER_SECOND)

    def _hear_frame(self, frame: bytes, at: float) -> None:
        if frame == SILENCE:
            return
        energy, toned = measure(frame)
        if energy < QUIET**2 * FRAME_SAMPLES:
            return
        self._sounding += 1
        self._toned += toned >= PURE
        if self._delay is None:
            self._delay = max(0.0, at - self._turn_end)

    def answer(self, call: float) -> Answer:
        """`call`: its length in seconds."""
        return Answer(
            call=call,
            sent=self._bytes / BYTES_PER_SECOND,
            sounding=self._sounding * FRAME_SECONDS,
            toned=self._toned * FRAME_SECONDS,
            delay=self._delay,
        )


@lru_cache(maxsize=1000)  # generated audio repeats its frames
def measure(frame: bytes) -> tuple[int, float]:
    """Return the energy, and the good tone's share of it."""
    samples = _FRAME.unpack(frame)
    energy = sum(map(mul, samples, samples))
    if not energy:
        return 0, 0.0
    real, imaginary = sum(map(mul, samples, _COSINES)), sum(map(mul, samples, _SINES))
    return energy, 2 * (real**2 + imaginary**2) / (FRAME_SAMPLES * energy)
