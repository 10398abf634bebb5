"""The sandbox's clocks: callables that return seconds since the epoch."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class ManualClock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class SpeedClock:
    """It starts at the real time and runs `speed` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.speed = speed
        self._epoch = time.time()
        self._start = time.monotonic()

    def __call__(self) -> float:
        """Return seconds since the epoch, in sandbox time."""
        return self._epoch + (time.monotonic() - self._start) * self.speed
