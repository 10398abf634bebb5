"""Runs procedures on one clock in one thread: one, or any number of them side by side.

A procedure is a coroutine. What it awaits in the end is a `Wait`, for a time or for calls that go on in threads of
their own, and it is resumed once that is over. So a test can run any number of procedures on any clock.

Signals arrive here, and only here: `Interrupted` is raised in the procedure, where it waits. It closes those that run
side by side, so that none of them goes on behind the back of the code that cleans up.
"""

import math
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from coval_gate.base.clock import Clock, Interrupted
from coval_gate.base.errors import CovalError, Transient, Unavailable

T = TypeVar("T")

CLOSE_TO_END: Final = 0.01  # s; a try so soon before the end counts as made at the end
MOST_AT_ONCE: Final = 20  # calls to Coval side by side, each of which needs a connection of its own


class Wait(NamedTuple):
    """Resume the procedure after `seconds`, or as soon as one of `calls` has ended, or one of `events` has happened."""

    seconds: float
    calls: "tuple[BackgroundCall[Any], ...]" = ()
    events: "tuple[Occurrence, ...]" = ()

    def __await__(self) -> "Generator[Wait, None, None]":
        yield self

    @property
    def is_over(self) -> bool:
        return any(call.ended for call in self.calls) or any(event.happened for event in self.events)


class Occurrence:
    """The next time that an event happens."""

    happened = False


class Event:
    """What procedures beside each other wait for. It may happen again and again."""

    def __init__(self) -> None:
        self._next = Occurrence()

    def happen(self) -> None:
        self._next.happened = True
        self._next = Occurrence()

    def wait(self, seconds: float = math.inf) -> Wait:
        """Wait so many seconds at most."""
        return Wait(max(0.0, seconds), events=(self._next,))


Procedure = Coroutine[Wait, None, T]


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
        return self._thread is not None

    @property
    def ended(self) -> bool:
        return bool(self._result)

    @property
    def result(self) -> T:
        """Raises the work's exception."""
        (result,) = self._result
        if isinstance(result, Exception):
            raise result
        return result

    def start(self, ended: threading.Event) -> None:
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


async def beside(work: Callable[[], T]) -> T:
    """Work in a thread of its own, so that the step notices signals meanwhile."""
    call = BackgroundCall(work)
    while not call.ended:
        await Wait(math.inf, (call,))
    return call.result


def start(work: Callable[[], object]) -> None:
    """Do work in a thread of its own, without waiting for it."""
    BackgroundCall(work).start(threading.Event())


async def repeat(
    attempt: Callable[[], Procedure[T]],
    transient: type[Transient] | type[Unavailable],
    *,
    left: Callable[[], float],
    backoff: Callable[[int], float],
    to_the_end: bool = False,
    report: Callable[[Any, float], None] = lambda *_: None,
) -> T:
    """Try again after the pause that the error asks for, or a longer `backoff`, which depends on the earlier tries.

    `left`: the time left, in seconds. If a pause would take longer, raise the error; with `to_the_end`, shorten the
    pause, and try a last time at the end, even after a try that hung until then. If a try came too late, raise the
    error before it.
    """
    before, tries = None, 0
    while True:
        is_last = left() <= CLOSE_TO_END
        try:
            return await attempt()
        except transient as error:
            pause, room = max(error.retry_after, backoff(tries)), left()
            if is_last if to_the_end else pause >= room:
                raise (before if before and error.too_late else error) from None
            before, pause = error, max(0.0, min(pause, room))
            report(error, pause)
        await Wait(pause)
        tries += 1


def run(procedure: Procedure[T], clock: Clock) -> T:
    """A signal raises Interrupted in the procedure, which may catch it and go on."""
    try:
        wait = procedure.send(None)
        while True:
            try:
                _pass(wait, clock)
            except Interrupted as signal:
                wait = procedure.throw(signal)
            else:
                wait = procedure.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        procedure.close()


async def together(
    procedures: Iterable[Procedure[T]], clock: Clock, *, at_once: int | None = None
) -> list[T | CovalError]:
    """Run procedures as if each were alone. Together they take as long as the longest.

    Returns, in their order, what each returned, or the error of Coval's that it raised: a failure does not delay
    others. Raises the first other exception once all have ended.
    """
    tasks = [_Task(procedure, clock) for procedure in procedures]
    try:
        while running := [task for task in tasks if not task.result][:at_once]:
            for task in running:
                task.resume_if_due()
            waits = [task for task in running if not task.result]
            if len(waits) == len(running):
                await _wait_of(waits, clock)
        results = [task.result[0] for task in tasks]
        if other := next(
            (one for one in results if isinstance(one, Exception) and not isinstance(one, CovalError)), None
        ):
            raise other
        return [one for one in results if isinstance(one, CovalError) or not isinstance(one, Exception)]
    finally:
        for task in tasks:
            task.procedure.close()


async def first(procedures: Iterable[Procedure[T]], clock: Clock) -> T:
    """Run procedures beside each other until one of them ends, and give up the others. Raises what that one raises."""
    tasks = [_Task(procedure, clock) for procedure in procedures]
    try:
        while True:
            for task in tasks:
                task.resume_if_due()
                if task.result:
                    return all_or_first_error(task.result)[0]
            await _wait_of(tasks, clock)
    finally:
        for task in tasks:
            task.procedure.close()


def all_or_first_error(results: Sequence[T | Exception] | Sequence[T | CovalError]) -> list[T]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [result for result in results if not isinstance(result, Exception)]


class _Task(Generic[T]):
    def __init__(self, procedure: Procedure[T], clock: Clock) -> None:
        self.procedure = procedure
        self.wait = Wait(0.0)
        self.due = -math.inf
        self.result: list[T | Exception] = []
        self._clock = clock

    def resume_if_due(self) -> None:
        if self._clock.now() < self.due and not self.wait.is_over:
            return
        try:
            self.wait = self.procedure.send(None)
            self.due = self._clock.now() + self.wait.seconds
        except StopIteration as end:
            self.result.append(end.value)
        except Exception as error:  # noqa: BLE001 - returned to the caller, after the others have ended
            self.result.append(error)


def _wait_of(tasks: Sequence[_Task[Any]], clock: Clock) -> Wait:
    """Return what to wait for until the first of the tasks goes on."""
    return Wait(
        max(0.0, min(task.due for task in tasks) - clock.now()),
        tuple(call for task in tasks for call in task.wait.calls),
        tuple(event for task in tasks for event in task.wait.events),
    )


class SharedCall(Generic[T]):
    """Each procedure that waits goes on with it, so it is given up only with the last. `ended_at`: on the clock."""

    def __init__(self, procedure: Procedure[T], clock: Clock) -> None:
        self._task = _Task(procedure, clock)
        self._clock = clock
        self._waiting = 0
        self.ended_at: float | None = None

    @property
    def error(self) -> Exception | None:
        """None if the procedure raised nothing, or has not ended."""
        return next((result for result in self._task.result if isinstance(result, Exception)), None)

    async def result(self) -> T:
        task, clock = self._task, self._clock
        self._waiting += 1
        try:
            while not task.result:
                task.resume_if_due()
                if not task.result:
                    await _wait_of([task], clock)
                elif self.ended_at is None:
                    self.ended_at = clock.now()
        finally:
            self._waiting -= 1
            if not (task.result or self._waiting):
                task.procedure.close()
                self.ended_at = -math.inf
        return all_or_first_error(task.result)[0]


def _pass(wait: Wait, clock: Clock) -> None:
    """Do what a procedure waits for. Raises Interrupted, before a call begins as well."""
    if any(event.happened for event in wait.events):
        return
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
