"""Time as the road sees it: passed in at one seam, so that an hour of waiting can be tested in a second."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the road asks of time."""

    def now(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""

    def time(self) -> float:
        """Seconds since the epoch, for dates that people and servers state."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))
