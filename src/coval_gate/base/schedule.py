"""Runs procedures on one clock in one thread: one, or any number of them side by side.

A procedure is a generator that does no waiting itself. It yields a `Wait`, for a time or for calls that go on in
threads of their own, and is resumed once that is over. So a test can run any number of procedures on any clock.

Signals arrive here, and only here: `Interrupted` is raised in the procedure, where it waits. It closes those that run
side by side, so that none of them goes on behind the back of the code that cleans up.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from coval_gate.base.clock import Interrupted
from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.base.clock import Clock

T = TypeVar("T")

MOST_AT_ONCE: Final = 20  # calls to Coval side by side, each of which takes a connection of its own


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


def run(procedure: Procedure[T], clock: Clock) -> T:
    """Run a procedure to its end. Returns what it returns, raises what it raises.

    A signal raises Interrupted in the procedure, which may catch it and go on.
    """
    try:
        wait = next(procedure)
        while True:
            try:
                _pass(wait, clock)
            except Interrupted as signal:
                wait = procedure.throw(signal)
            else:
                wait = next(procedure)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        procedure.close()


def together(
    procedures: Iterable[Procedure[T]], clock: Clock, *, at_once: int | None = None
) -> Procedure[list[T | Exception]]:
    """Run procedures side by side, each as if it were alone; together they take as long as the longest.

    At most `at_once` of them run at the same time; the next one begins when one has ended. Returns, in their order,
    what each returned, or the exception that it raised: one that fails does not hold up the others.
    """
    tasks = [_Task(procedure, clock) for procedure in procedures]
    try:
        while running := [task for task in tasks if not task.result][:at_once]:
            for task in running:
                task.resume_if_due()
            waits = [task for task in running if not task.result]
            if len(waits) == len(running):
                next_due = min(task.due for task in waits)
                yield Wait(max(0.0, next_due - clock.now()), tuple(call for task in waits for call in task.wait.calls))
        return [task.result[0] for task in tasks]
    finally:
        for task in tasks:
            task.procedure.close()


def all_or_first_error(results: Sequence[T | Exception]) -> list[T]:
    """Return what procedures returned, unless one of them raised: then raise the first error."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [result for result in results if not isinstance(result, Exception)]


class _Task(Generic[T]):
    """A running procedure: what it waits for, until when, and in the end its result."""

    def __init__(self, procedure: Procedure[T], clock: Clock) -> None:
        self.procedure = procedure
        self.wait = Wait(0.0)
        self.due = -math.inf
        self.result: list[T | Exception] = []
        self._clock = clock

    def resume_if_due(self) -> None:
        """Go on with the procedure if what it waits for has happened."""
        if self._clock.now() < self.due and not any(call.ended for call in self.wait.calls):
            return
        try:
            self.wait = next(self.procedure)
            self.due = self._clock.now() + self.wait.seconds
        except StopIteration as end:
            self.result.append(end.value)
        except Exception as error:  # noqa: BLE001 - returned to the caller, after the others have ended
            self.result.append(error)


class SharedCall(Generic[T]):
    """A procedure whose result several others need: it runs once, and each of them that waits goes on with it.

    So it goes on where one of them is given up, and is given up with the last. `ended_at`: when it ended, on the clock;
    None while it is under way.
    """

    def __init__(self, procedure: Procedure[T], clock: Clock) -> None:
        self._task = _Task(procedure, clock)
        self._clock = clock
        self._waiting = 0
        self.ended_at: float | None = None

    @property
    def error(self) -> Exception | None:
        """What the procedure raised; None if it did not, or has not ended."""
        return next((result for result in self._task.result if isinstance(result, Exception)), None)

    def result(self) -> Procedure[T]:
        """Wait for what the procedure returns. Raises what it raises."""
        task, clock = self._task, self._clock
        self._waiting += 1
        try:
            while not task.result:
                task.resume_if_due()
                if not task.result:
                    yield Wait(max(0.0, task.due - clock.now()), task.wait.calls)
                elif self.ended_at is None:
                    self.ended_at = clock.now()
        finally:
            self._waiting -= 1
            if not (task.result or self._waiting):
                task.procedure.close()
                self.ended_at = -math.inf
        return all_or_first_error(task.result)[0]


def _pass(wait: Wait, clock: Clock) -> None:
    """Let what a procedure waits for happen. Raises Interrupted, before a call begins as well."""
    if not wait.calls:
        clock.sleep(wait.seconds)
        return
    if all(call.started for call in wait.calls):
        clock.check()
    due = clock.now() + wait.seconds
    ended = threading.Event()
    for call in wait.calls:
        if not call.started:
            clock.check()
        call.start(ended)
    while clock.now() < due and not any(call.ended for call in wait.calls):
        clock.wait(ended, due)
