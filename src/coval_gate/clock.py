"""Time as the road sees it, and the word that it is up.

Both are passed in at one seam, so that an hour of waiting can be tested in a second, and a signal at any instant.

A signal never raises where it finds us: it could be in the middle of a file. It is noted, and everything that waits
asks for it many times a second.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import threading

SLICE: Final = 0.05  # s between two questions whether the process was told to end
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was told to end. It is no Exception, so that a handler of those does not take it for one."""


class Clock(Protocol):
    """What the road asks of time."""

    def now(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""

    def time(self) -> float:
        """Seconds since the epoch, for dates that people and servers state."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass. Raises Interrupted as `check` does."""

    def wait(self, event: threading.Event, until: float) -> None:
        """Let a moment pass, at most until `event` is set or `until` comes. Raises Interrupted as `check` does."""

    def check(self) -> None:
        """Raise Interrupted, once, if the process was told to end."""


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self._told = self._heeded = False

    def listen(self) -> None:
        """Note SIGINT and SIGTERM.

        The first process of a container has to ask for them: the kernel gives it no other signals.
        """
        for each in SIGNALS:
            signal.signal(each, self._note)

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
            self.check()

    def wait(self, event: threading.Event, until: float) -> None:
        event.wait(min(SLICE, max(0.0, until - time.monotonic())))
        self.check()

    def check(self) -> None:
        if self._told and not self._heeded:
            self._heeded = True  # the work that follows must not be interrupted again
            raise Interrupted

    def _note(self, *_: object) -> None:
        self._told = True
