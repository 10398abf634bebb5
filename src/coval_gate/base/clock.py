"""The clock, and the signals that end the process.

The clock is injected: a test can wait an hour in a second, and send a signal at any instant.

A signal handler must not raise, because it may interrupt the writing of a file. It notes the signal, and every wait
checks for it many times a second.
"""

import signal
import threading
import time
from typing import Final, Protocol

CHECK_PAUSE: Final = 0.05  # s between two checks for a signal
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process received a signal to end. Not an Exception, so that `except Exception` does not catch it."""


class Clock(Protocol):
    def now(self) -> float:
        """Return seconds on a monotonic clock; only differences are meaningful."""

    def time(self) -> float:
        """Return seconds since the epoch, for dates in reports and headers."""

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`. Raises Interrupted as `check` does."""

    def wait(self, event: threading.Event, until: float) -> None:
        """Wait briefly, at most until `event` is set or `until` is reached. Raises Interrupted as `check` does."""

    def check(self) -> None:
        """Raise Interrupted if the process has received a signal to end; only once."""


class SystemClock:
    def __init__(self) -> None:
        self._signalled = self._raised = False

    def listen(self) -> None:
        """Handle SIGINT and SIGTERM.

        Required in a container: the kernel delivers only signals that its first process handles.
        """
        for number in SIGNALS:
            signal.signal(number, self._note)

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, CHECK_PAUSE))
            self.check()

    def wait(self, event: threading.Event, until: float) -> None:
        event.wait(min(CHECK_PAUSE, max(0.0, until - time.monotonic())))
        self.check()

    def check(self) -> None:
        if self._signalled and not self._raised:
            self._raised = True  # cleanup must not be interrupted again
            raise Interrupted

    def _note(self, *_: object) -> None:
        self._signalled = True
