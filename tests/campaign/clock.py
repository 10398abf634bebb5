"""The simulated clock: time advances while a step sleeps or waits for a response, and runs the events that are due.

The step's own thread and those that requests wait in may advance it. A thread holds the lock while it advances the
clock, and a request's thread advances it only while the step waits, and no further than the step waits. So the order of
events is deterministic.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Final

from coval_gate.base.clock import Interrupted
from support import EPOCH

THREAD_TIMEOUT: Final = 10.0  # s of real time until a thread that should have continued counts as stuck
STEP_TIMEOUT: Final = (
    5.0  # s of real time after which a request's thread no longer expects the step to wait on the clock
)
MAX_WAITS: Final = 500_000  # sleeps and requests of one schedule; more of them, also on a busy machine, mean no end
REAL_SLICE: Final = 0.001  # s
CHECK_TIME: Final = 0.05  # s that pass between two checks of a step whose request was abandoned


class Killed(BaseException):
    """The process was killed."""


class Stuck(BaseException):
    """The schedule does not end."""


class SimulatedClock:
    """The clock of one schedule, which also delivers signals to the running process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.wall_offset = 0.0  # s by which the wall clock is wrong
        self.check_count = 0  # checks for signals while no request was outstanding
        self.on_check: Callable[[int], None] = lambda _: None
        self.on_kill: Callable[[], None] = lambda: None
        self.signalled_at: list[float] = []  # when the process got an interrupt
        self.ignored_signal = False  # whether the process missed a signal while it waited for a response
        self._foreign = set(threading.enumerate())  # that run no requests
        self._now = 0.0
        self._limit = 0.0  # how far the threads of requests may advance the time
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()
        self._wait_count = 0
        self._waiting: dict[threading.Thread, threading.Event] = {}  # request threads, and their responses
        self._abandoned: set[threading.Thread] = set()  # threads whose request the step no longer awaits
        self._pending_signal: type[BaseException] | None = None
        self._killed = False
        self._signal_delivered = threading.Event()

    # The interface of the step

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return EPOCH + self._now + self.wall_offset

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, f"slept for {seconds}"
        with self.lock:
            self._count_wait()
            self._advance_to(self._now + seconds)
            self._deliver_signal()

    def wait(self, event: threading.Event, until: float) -> None:
        active = self._active_threads()
        with self.lock:
            if event.is_set():
                self._limit = self._now
            elif active <= self._waiting.keys():  # every request has been sent, and every response read
                self._limit = max(self._now, until)
        event.wait(REAL_SLICE)  # real time passes only so that other threads get their turn
        with self.lock:  # else calls could end one by one while the step looks which have ended
            self._limit = self._now
        self._let_requests_be_sent()
        if not event.is_set():
            self.check()
            return
        with self.lock:  # this is no check: work that takes no time on the clock may have ended before
            self._deliver_signal()

    def check(self) -> None:
        self._let_requests_be_sent()
        active = self._active_threads()
        with self.lock:
            if not active:
                self.check_count += 1
                self.on_check(self.check_count)
            elif active <= self._abandoned and not self._pending_signal:
                self._advance_to(self._now + CHECK_TIME)
            self._deliver_signal()

    # The interface of the simulation

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule an action, which runs immediately if its time has passed."""
        with self.lock:
            heapq.heappush(self._events, (max(when, self._now), next(self._sequence), action))

    def freeze(self) -> None:
        """Stop the time until the step waits again. Must be called from a scheduled action."""
        self._limit = self._now

    def begin_process(self) -> None:
        """Start a new process, without signals."""
        with self.lock:
            self._limit = self._now
            self._pending_signal, self._killed, self.ignored_signal = None, False, False
            self.signalled_at, self.check_count = [], 0
            self._signal_delivered = threading.Event()

    def signal(self, *, kill: bool) -> None:
        """Interrupt the process, or kill it. Must be called from a scheduled action."""
        with self.lock:
            if self._killed or (self.signalled_at and not kill):
                return
            if not kill:
                self.signalled_at.append(self._now)
            self._pending_signal = Killed if kill else Interrupted
            self._signal_delivered.clear()

    def join_threads(self) -> None:
        """Wait for the threads of a process that has ended."""
        for thread in self._waiting:
            thread.join(THREAD_TIMEOUT)
        self._abandoned.clear()
        self._waiting.clear()

    def advance(self, seconds: float) -> None:
        """Advance the time while no process runs."""
        with self.lock:
            self._advance_to(self._now + seconds)

    def wait_for_response(self, done: threading.Event) -> None:
        """Wait in a request's thread until a scheduled action sets `done`."""
        with self.lock:
            self._count_wait()
            self._waiting[threading.current_thread()] = done
        if self._advance_until_done(done) and not done.wait(THREAD_TIMEOUT):
            raise ConnectionResetError(104, "Connection reset by peer")

    def _advance_until_done(self, done: threading.Event) -> bool:
        """Advance the time until `done` is set; return whether a signal made the step abandon the request first."""
        step_waited = time.monotonic()
        while True:
            with self.lock:
                if done.is_set() or threading.current_thread() in self._abandoned:
                    return not done.is_set()
                delivered = self._signal_delivered if self._pending_signal else None
                if delivered is None and self._limit > self._now:
                    step_waited = time.monotonic()
                    self._advance_to(min(self._events[0][0], self._limit))
                    continue
                if delivered is None and time.monotonic() - step_waited > STEP_TIMEOUT:
                    self._limit = self._events[0][0]
            if delivered is None:
                done.wait(REAL_SLICE)
            elif not delivered.wait(THREAD_TIMEOUT):
                with self.lock:
                    self.ignored_signal, self._pending_signal = True, None

    def _active_threads(self) -> set[threading.Thread]:
        """Return the threads of outstanding requests, after those of finished ones have ended."""
        others = set(threading.enumerate()) - self._foreign
        for other in others:
            done = self._waiting.get(other)
            if done is not None and done.is_set():
                other.join(THREAD_TIMEOUT)
        return {other for other in others if other.is_alive()}

    def _let_requests_be_sent(self) -> None:
        """Wait in real time until every request has been sent, so that requests have the order of their calls."""
        until = time.monotonic() + STEP_TIMEOUT
        while self._active_threads() - self._waiting.keys() - self._abandoned and time.monotonic() < until:
            time.sleep(REAL_SLICE)

    def _advance_to(self, end: float) -> None:
        while self._events and self._events[0][0] <= end and not self._pending_signal:
            when, _, action = heapq.heappop(self._events)
            self._now = max(self._now, when)
            action()
        if not self._pending_signal:
            self._now = max(self._now, end)

    def _deliver_signal(self) -> None:
        if self._killed:
            raise Killed
        if self._pending_signal:
            pending, self._pending_signal = self._pending_signal, None
            self._abandoned |= {thread for thread, done in self._waiting.items() if not done.is_set()}
            if pending is Killed:
                self._killed = True
                self.on_kill()
            self._signal_delivered.set()
            raise pending

    def _count_wait(self) -> None:
        self._wait_count += 1
        if self._wait_count > MAX_WAITS:
            self._killed = True
            raise Stuck
