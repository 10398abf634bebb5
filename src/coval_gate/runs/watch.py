"""Follows a run to its end: when to ask, when to give up, and what the people who wait get to read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from coval_gate.errors import NotFound
from coval_gate.model.outcomes import Limit
from coval_gate.model.statuses import DELETED
from coval_gate.runs.polling import LONGEST_PAUSE, Sighting, expected_end, next_pause
from coval_gate.text import duration, quoted, stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run

NOT_FOUND_PATIENCE: Final = 60.0  # s; a run that is there may answer 404 for a while, above all right after its launch
NOT_FOUND_PAUSE: Final = 5.0  # s
HEARTBEAT: Final = 60.0  # s without a line in the log
BAR_WIDTH: Final = 20  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How long to wait: at most until `deadline`, `max_wait_time` in all; for the start; without progress. Seconds."""

    deadline: float
    max_wait_time: float
    max_queue_time: float | None = None
    stall_timeout: float | None = None


class Journal:
    """Writes a line when something changed, and otherwise once a minute."""

    def __init__(self, clock: Clock, log: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._clock = clock
        self._log = log
        self._warn = warn
        self._began = clock.now()
        self._written = float("-inf")
        self._last = ""
        self._strange: set[str] = set()

    def note(self, run: Run, end: float | None) -> None:
        """Take down one look at the run; `end` is when it will probably be over, on the journal's clock."""
        now = self._clock.now()
        if not run.has_known_status and run.status not in self._strange:
            self._strange.add(run.status)
            self._warn(f"Coval reports the status {quoted(run.status)}, which is not documented; waiting goes on.")
        seen = progress_line(run, None)
        if seen != self._last or now - self._written >= HEARTBEAT:
            left = None if end is None or run.is_over else end - now
            self._log(f"{stopwatch(now - self._began):>7}  {progress_line(run, left)}")
            self._last, self._written = seen, now


def progress_line(run: Run, left: float | None) -> str:
    """Status, bar, counts and, in seconds, about how long it will still take."""
    parts = [f"{run.status:<11}"]
    if run.progress and run.progress.total:
        filled = min(BAR_WIDTH, run.progress.done * BAR_WIDTH // run.progress.total)
        parts.append("█" * filled + "░" * (BAR_WIDTH - filled))
        parts.append(f"{run.progress.done}/{run.progress.total} done, {run.progress.failed} failed")
    if left is not None:
        parts.append(f"about {duration(left)} left" if left >= 1 else "about to end")
    return "  ".join(parts).rstrip()


def watch(
    client: Client,
    run_id: str,
    *,
    clock: Clock,
    budgets: Budgets,
    check_interval: float | None,
    journal: Journal,
    look: Callable[[Run], None],
) -> tuple[Run, Limit | None]:
    """Look at the run until it is over or time is up, and return what the last look showed, and which limit it met.

    There is always one look at the limit itself; `look` is told of each. Raises CovalError as `Client.get_run` does.
    """
    deadline = budgets.deadline
    patience = _Patience(budgets, clock.now())
    longest = LONGEST_PAUSE if check_interval is None else check_interval
    history = [Sighting(at=clock.now(), running=False)]
    seen: Run | None = None
    while True:
        seen = _look(client, run_id, clock=clock, deadline=deadline, seen=seen)
        now = clock.now()
        history.append(_sighting(seen, now))
        look(seen)
        journal.note(seen, expected_end(history))
        if seen.is_over:
            return seen, None
        limit, at = patience.next(seen, now)
        if now >= at:
            return seen, limit
        clock.sleep(min(next_pause(history, longest=longest), at - now))


class _Patience:
    """Knows which limit comes next: that of the whole, that of the queue, that of a run that makes no progress."""

    def __init__(self, budgets: Budgets, began: float) -> None:
        self._budgets = budgets
        self._began = self._changed = began
        self._last: object = None

    def next(self, run: Run, now: float) -> tuple[Limit, float]:
        """The next limit, and when it is met."""
        budgets, state = self._budgets, (run.status, run.progress)
        if state != self._last:
            self._last, self._changed = state, now
        limits = [(Limit("max_wait_time", budgets.max_wait_time), budgets.deadline)]
        if run.is_queued and budgets.max_queue_time is not None:
            limits.append((Limit("max_queue_time", budgets.max_queue_time), self._began + budgets.max_queue_time))
        if not run.is_queued and budgets.stall_timeout is not None:
            limits.append((Limit("stall_timeout", budgets.stall_timeout), self._changed + budgets.stall_timeout))
        return min(limits, key=lambda limit: limit[1])


def _look(client: Client, run_id: str, *, clock: Clock, deadline: float, seen: Run | None) -> Run:
    """One look; a 404 has to last before it means that the run was deleted or, at the first look, is not there."""
    give_up = min(deadline, clock.now() + NOT_FOUND_PATIENCE)
    while True:
        try:
            return client.get_run(run_id, until=deadline)
        except NotFound:
            if clock.now() >= give_up:
                if seen is None:
                    raise
                return replace(seen, status=DELETED)
            clock.sleep(min(NOT_FOUND_PAUSE, give_up - clock.now()))


def _sighting(run: Run, now: float) -> Sighting:
    if run.progress is None:
        return Sighting(at=now, running=not run.is_queued)
    return Sighting(
        at=now,
        running=not run.is_queued,
        done=run.progress.done,
        total=run.progress.total,
        active=run.progress.active,
    )


def waiting_title(max_wait_time: float) -> str:
    """The heading over the journal's lines."""
    return f"Waiting for the run, {duration(max_wait_time)} at most"
