"""Procedures, and what they wait for: time, or calls in threads of their own.

A procedure is a generator that does not wait itself. It yields a `Wait` and is resumed when that is over. One thread
can so run any number of procedures side by side, and a test can run them on any clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """Resume the procedure after `seconds`, or as soon as one of `calls` has ended."""

    seconds: float
    calls: tuple[BackgroundCall[Any], ...] = ()


Procedure = Generator[Wait, None, T]


class BackgroundCall(Generic[T]):
    """A call in a thread of its own, because no library's timeout limits the whole call."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._listeners: list[threading.Event] = []
        self._result: list[T | Exception] = []
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether the work has begun."""
        return self._thread is not None

    @property
    def ended(self) -> bool:
        """Whether the work has ended, with a result or an error."""
        return bool(self._result)

    @property
    def result(self) -> T:
        """The work's return value. Raises the work's exception."""
        (result,) = self._result
        if isinstance(result, Exception):
            raise result
        return result

    def start(self, ended: threading.Event) -> None:
        """Start the work if it has not started, and set `ended` when it is over."""
        with self._lock:
            self._listeners.append(ended)
            if self.ended:
                ended.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        try:
            result: T | Exception = self._work()
        except Exception as error:  # noqa: BLE001 - raised again in the waiting procedure
            result = error
        with self._lock:
            self._result.append(result)
            for listener in self._listeners:
                listener.set()


def beside(work: Callable[[], T]) -> Procedure[T]:
    """Do slow work in a thread of its own, so that the step notices signals meanwhile."""
    call = BackgroundCall(work)
    while not call.ended:
        yield Wait(math.inf, (call,))
    return call.result


def repeat(
    attempt: Callable[[], Procedure[T]],
    passing: type[Exception],
    pause_after: Callable[[Any, int], float | None],
) -> Procedure[T]:
    """Repeat `attempt` while it raises `passing`.

    `pause_after` takes the error and the number of earlier tries. It returns the pause in seconds; None: raise it.
    """
    tries = 0
    while True:
        try:
            return (yield from attempt())
        except passing as error:
            pause = pause_after(error, tries)
            if pause is None:
                raise
        yield Wait(pause)
        tries += 1
