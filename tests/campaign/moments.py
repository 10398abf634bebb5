"""Time in the campaign: it passes while the step sleeps or waits for an answer, and what is due happens on the way.

Two threads may drive it: the step's own, and the one that a request waits in. Whoever drives holds the lock, so that
everything happens in one order, the same one each time.
"""

from __future__ import annotations

import heapq
import threading
from itertools import count
from typing import TYPE_CHECKING, Final

from coval_gate.clock import Interrupted
from support import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 10.0  # s of real time until a thread that should have gone on counts as stuck
MOST_MOMENTS: Final = 50_000  # sleeps and requests of one play; more of them mean that it goes round in circles
REAL_SLICE: Final = 0.001  # s
POLL: Final = 0.05  # s that pass between two checks of a step that waits for a request it was called away from


class Killed(BaseException):
    """The process ends here; nothing more of it runs."""


class Stuck(BaseException):
    """The play does not come to an end."""


class Moments:
    """The clock of one play; `skew` is what Coval's clock shows beyond ours."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.jumped = 0.0  # s that our wall clock is off
        self.checks = 0  # times that the step asked whether to end while no request was under way
        self.on_check: Callable[[int], None] = lambda _: None
        self.on_kill: Callable[[], None] = lambda: None
        self.signalled: list[float] = []  # when the step was told to end
        self.deaf = False  # whether it did not notice while it waited for an answer
        self._passed = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._moments = 0
        self._flights: dict[threading.Thread, threading.Event] = {}  # the requests' threads, and whether they landed
        self._orphans: set[threading.Thread] = set()  # those that the step was called away from
        self._pending: type[BaseException] | None = None
        self._dead = False
        self._taken = threading.Event()

    # What the step sees

    def now(self) -> float:
        return self._passed

    def time(self) -> float:
        return EPOCH + self._passed + self.jumped

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, f"slept for {seconds}"
        with self.lock:
            self._count()
            self._advance(self._passed + seconds)
            self._take()

    def wait(self, event: threading.Event, until: float) -> None:  # noqa: ARG002 - requests move this clock
        event.wait(REAL_SLICE)  # nothing has to be waited for in real time, but a thread's next turn
        self.check()

    def check(self) -> None:
        under_way = self._under_way()
        with self.lock:
            if not under_way:
                self.checks += 1
                self.on_check(self.checks)
            elif under_way <= self._orphans and not self._pending:
                self._advance(self._passed + POLL)
            self._take()

    # What the world does

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Have something happen at a moment, or at once if that has passed."""
        with self.lock:
            heapq.heappush(self._due, (max(when, self._passed), next(self._numbers), action))

    def begin_step(self) -> None:
        """A new process starts; nobody has told it to end."""
        with self.lock:
            self._pending, self._dead, self.deaf = None, False, False
            self.signalled, self.checks = [], 0
            self._taken = threading.Event()

    def signal(self, *, kill: bool) -> None:
        """Tell the process to end, or kill it; to be called from something that is due."""
        with self.lock:
            if self._dead or (self.signalled and not kill):
                return
            if not kill:
                self.signalled.append(self._passed)
            self._pending = Killed if kill else Interrupted
            self._taken.clear()

    def settle(self) -> None:
        """Have the threads of a process that is gone end, too."""
        for orphan in self._orphans:
            orphan.join(PATIENCE)
        self._orphans.clear()
        self._flights.clear()

    def pass_by(self, seconds: float) -> None:
        """Let time pass while no step runs."""
        with self.lock:
            self._advance(self._passed + seconds)

    def fly(self, landed: threading.Event) -> None:
        """Wait in a request's thread until it has `landed`, which something that is due brings about."""
        with self.lock:
            self._count()
            self._flights[threading.current_thread()] = landed
        if self._drive(landed) and not landed.wait(PATIENCE):
            raise ConnectionResetError(104, "Connection reset by peer")

    def _drive(self, landed: threading.Event) -> bool:
        """Let time pass until it has landed; whether a signal came first, and the step has other things to do now."""
        while True:
            with self.lock:
                if not landed.is_set() and not self._pending:
                    self._advance(self._due[0][0])
                if landed.is_set():
                    return False
                if not self._pending:
                    continue
                taken = self._taken
                self._orphans.add(threading.current_thread())
            if taken.wait(PATIENCE):
                return True
            with self.lock:
                self.deaf, self._pending = True, None
                self._orphans.discard(threading.current_thread())

    def _under_way(self) -> set[threading.Thread]:
        """The threads of requests that have not landed; those of the others are given the moment that they need."""
        others = {each for each in threading.enumerate() if each is not threading.main_thread()}
        for each in others:
            landed = self._flights.get(each)
            if landed is not None and landed.is_set():
                each.join(PATIENCE)
        return {each for each in others if each.is_alive()}

    def _advance(self, end: float) -> None:
        while self._due and self._due[0][0] <= end and not self._pending:
            when, _, action = heapq.heappop(self._due)
            self._passed = max(self._passed, when)
            action()
        if not self._pending:
            self._passed = max(self._passed, end)

    def _take(self) -> None:
        if self._dead:
            raise Killed
        if self._pending:
            pending, self._pending = self._pending, None
            if pending is Killed:
                self._dead = True
                self.on_kill()
            self._taken.set()
            raise pending

    def _count(self) -> None:
        self._moments += 1
        if self._moments > MOST_MOMENTS:
            self._dead = True
            raise Stuck
