"""Time as the road sees it, and the word that it is up.

Both are passed in at one seam, so that an hour of waiting can be tested in a second, and a signal at any instant.

A signal never raises where it finds us: it could be in the middle of a file. It is noted, and everything that waits
asks for it many times a second.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SLICE: Final = 0.05  # s between two questions whether the process was told to end
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was told to end. No Exception, so that nobody who handles those takes it for one."""


class Clock(Protocol):
    """What the road asks of time."""

    def now(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""

    def time(self) -> float:
        """Seconds since the epoch, for dates that people and servers state."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass. Raises Interrupted as `check` does."""

    def check(self) -> None:
        """Raise Interrupted, once, if the process was told to end."""


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self._told = self._heeded = False

    def listen(self) -> None:
        """Take SIGINT and SIGTERM for the word that time is up.

        The first process of a container has to: the kernel gives it no signal that it does not ask for.
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

    def check(self) -> None:
        if self._told and not self._heeded:
            self._heeded = True  # what there is to do then must not be interrupted again
            raise Interrupted

    def _note(self, *_: object) -> None:
        self._told = True


class Aside(Generic[T]):
    """Work that goes on in a thread of its own while this one waits for it: no timeout of a library bounds a whole."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._ended: list[T | Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, within: float, clock: Clock) -> bool:
        """Whether it ends `within` that many seconds. Raises Interrupted as soon as the process is told to end.

        The work takes real time, whatever the clock says of it; a clock that is ahead of it ends the wait as well.
        """
        end, until = time.monotonic() + within, clock.now() + within
        while not self._ended and (left := end - time.monotonic()) > 0 and clock.now() < until:
            self._thread.join(min(left, SLICE))
            clock.check()
        return bool(self._ended)

    def result_within(self, within: float, clock: Clock) -> T:
        """What the work returned; raises what it raised, TimeoutError if it takes longer, and Interrupted as `wait`."""
        if not self.wait(within, clock):
            raise TimeoutError
        return self.result

    @property
    def result(self) -> T:
        """What the work returned; raises what it raised."""
        (ended,) = self._ended
        if isinstance(ended, Exception):
            raise ended
        return ended

    def _run(self) -> None:
        try:
            self._ended.append(self._work())
        except Exception as error:  # noqa: BLE001 - it is raised again where somebody waits for it
            self._ended.append(error)
