"""The simulated clock: time passes only while a step sleeps or waits for a response, and runs the events that are due.

Only the thread of the step moves the time, and only once each thread that the step has started either has ended or
waits for a response. So the order of everything is the same on any machine, however busy it is.
"""

import heapq
import math
import threading
from collections.abc import Callable
from itertools import count
from typing import Final

from coval_gate.base.clock import Interrupted
from support import EPOCH

MAX_WAITS: Final = 500_000  # sleeps and responses of one schedule; more of them mean no end
TURN: Final = 0.005  # s of real time that a thread gets at most before it is looked at again, as often as it takes


class Killed(BaseException):
    """The process was killed."""


class Stuck(BaseException):
    """The schedule does not end."""


class SimulatedClock:
    """The clock of one schedule, which also delivers signals to the running process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._began_to_wait = threading.Condition(self.lock)
        self.wall_offset = 0.0  # s by which the wall clock is wrong
        self.check_count = 0  # checks for signals while no request was outstanding
        self.on_check: Callable[[int], None] = lambda _: None
        self._on_kill: Callable[[], None] = lambda: None
        self.signalled_at: list[float] = []  # when the process got an interrupt
        self._foreign = set(threading.enumerate())  # that run no requests
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()
        self._wait_count = 0
        self._waiting: dict[threading.Thread, threading.Event] = {}  # request threads, and their responses
        self._is_frozen = False  # whether the step must have its turn before more time passes
        self._pending_signal: type[BaseException] | None = None
        self._killed = False

    # The interface of the step

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return EPOCH + self._now + self.wall_offset

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, f"slept for {seconds}"
        self._settle()
        self.advance(seconds)
        self._settle()
        self._deliver_signal()

    def wait(self, event: threading.Event, until: float) -> None:
        self._settle()
        if not event.is_set() and not self._killed:
            self._advance_to_response(until)
            self._settle()
        if event.is_set():  # this is no check: work that takes no time on the clock may have ended before
            self._deliver_signal()
        else:
            self.check()

    def check(self) -> None:
        if not self._settle():
            self.check_count += 1
            self.on_check(self.check_count)
        self._deliver_signal()

    # The interface of the simulation

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule an action, which runs immediately if its time has passed."""
        with self.lock:
            heapq.heappush(self._events, (max(when, self._now), next(self._sequence), action))

    def freeze(self) -> None:
        """Stop the time until the step waits again. Must be called from a scheduled action."""
        self._is_frozen = True

    def begin_process(self, on_kill: Callable[[], None]) -> None:
        """Start a new process, without signals."""
        self._pending_signal, self._killed, self._on_kill = None, False, on_kill
        self.signalled_at, self.check_count = [], 0

    def signal(self, *, kill: bool) -> None:
        """Interrupt the process, or kill it. Must be called from a scheduled action."""
        if self._killed or (self.signalled_at and not kill):
            return
        if not kill:
            self.signalled_at.append(self._now)
        self._pending_signal = Killed if kill else Interrupted

    def join_threads(self) -> None:
        """Wait for the threads of a process that has ended, whose connections are closed."""
        for thread in set(threading.enumerate()) - self._foreign:
            thread.join()
        self._waiting.clear()

    def advance(self, seconds: float) -> None:
        """Advance the time until a signal comes."""
        self._count_wait()
        end = self._now + seconds
        while not self._pending_signal and self._run_next(end):
            pass

    def wait_for_response(self, done: threading.Event) -> None:
        """Wait in a request's thread until a scheduled action sets `done`."""
        with self.lock:
            self._waiting[threading.current_thread()] = done
            self._began_to_wait.notify()
        done.wait()

    def _settle(self) -> bool:
        """Wait until each of the step's threads has ended or waits for a response; return whether any does."""
        while True:
            alive = [thread for thread in set(threading.enumerate()) - self._foreign if thread.is_alive()]
            with self.lock:
                working = [thread for thread in alive if thread not in self._waiting]
                if working:
                    self._began_to_wait.wait(TURN)
                    continue
            answered = [thread for thread in alive if self._waiting[thread].is_set()]
            if not answered:
                return bool(alive)
            answered[0].join(TURN)

    def _advance_to_response(self, until: float) -> None:
        self._count_wait()
        self._is_frozen = False
        while not (self._is_frozen or self._pending_signal) and self._run_next(until):
            pass

    def _run_next(self, until: float) -> bool:
        """Run the next event, if it comes by then; else advance the time until then."""
        if not self._events or self._events[0][0] > until:
            if until == math.inf:
                raise Stuck  # nothing will ever happen
            self._now = max(self._now, until)
            return False
        when, _, action = heapq.heappop(self._events)
        self._now = max(self._now, when)
        action()
        return True

    def _deliver_signal(self) -> None:
        if self._killed:
            raise Killed
        if self._pending_signal:
            pending, self._pending_signal = self._pending_signal, None
            if pending is Killed:
                self._killed = True
                self._on_kill()
            raise pending

    def _count_wait(self) -> None:
        self._wait_count += 1
        if self._wait_count > MAX_WAITS:
            self._killed = True
            raise Stuck
