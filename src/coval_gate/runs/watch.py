"""Watches a run until it is over or a limit on time passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.errors import NotFound, Unavailable
from coval_gate.model.outcomes import Limit, NotCompleted, TimedOut
from coval_gate.model.statuses import COMPLETED, DELETED
from coval_gate.runs.polling import LONGEST_PAUSE, Observation, expected_end, next_pause
from coval_gate.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.model.run import Run
    from coval_gate.runs.progress import ProgressLog
    from coval_gate.waiting import Procedure

NOT_FOUND_PATIENCE: Final = 60.0  # s; Coval may answer 404 for a while about a run it has, above all after its launch
NOT_FOUND_PAUSE: Final = 5.0  # s
LEAD: Final = 1.5  # times the last response, if that was slow, for the last poll before a limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How long to wait: until `deadline` (`max_wait_time` in all), for the start, and without progress. Seconds."""

    deadline: float
    max_wait_time: float
    max_queue_time: float | None = None
    stall_timeout: float | None = None

    @classmethod
    def from_inputs(cls, inputs: Inputs, *, began: float) -> Budgets:
        """Read the budgets of a step that `began` at that time on the clock."""
        return cls(
            deadline=began + inputs.max_wait_time,
            max_wait_time=inputs.max_wait_time,
            max_queue_time=inputs.max_queue_time,
            stall_timeout=inputs.stall_timeout,
        )

    @property
    def whole(self) -> Limit:
        """The limit on all of the waiting."""
        return Limit("max_wait_time", self.max_wait_time)


def watch(
    client: Client,
    run_id: str,
    *,
    clock: Clock,
    budgets: Budgets,
    check_interval: float | None,
    progress: ProgressLog,
    record: Callable[[Run], None],
) -> Procedure[Run | NotCompleted | TimedOut]:
    """Poll the run until it is over or a limit passes. Returns the run if it completed.

    There is always one poll when a limit passes, or so long before it as Coval takes to respond. `record` takes what
    each poll showed. Raises CovalError as `Client.get_run`.
    """
    patience = _Patience(budgets, clock.now())
    passes_at = budgets.deadline
    longest = LONGEST_PAUSE if check_interval is None else check_interval
    history: list[Observation] = []
    run: Run | None = None
    while True:
        run = yield from _poll(
            client, run_id, clock=clock, limit=passes_at, deadline=budgets.deadline, last=run, progress=progress
        )
        now = clock.now()
        history.append(_observation(run, now))
        record(run)
        progress.add(run, expected_end(history))
        if run.is_over:
            return run if run.status == COMPLETED else NotCompleted(run=run)
        limit, passes_at = patience.next_limit(run, now)
        if now + client.lead >= passes_at:
            return TimedOut(run=run, limit=limit)
        last_poll = max(passes_at - LEAD * client.lead, now)
        yield Wait(min(next_pause(history, longest=longest), last_poll - now))


class _Patience:
    """Knows which limit passes next: on all of the waiting, on the queue, or on a run that makes no progress."""

    def __init__(self, budgets: Budgets, began: float) -> None:
        self._budgets = budgets
        self._began = self._changed = began
        self._last: object = None

    def next_limit(self, run: Run, now: float) -> tuple[Limit, float]:
        """Return the next limit, and when it passes."""
        budgets, state = self._budgets, (run.status, run.progress)
        if state != self._last:
            self._last, self._changed = state, now
        limits = [(budgets.whole, budgets.deadline)]
        if run.is_queued and budgets.max_queue_time is not None:
            limits.append((Limit("max_queue_time", budgets.max_queue_time), self._began + budgets.max_queue_time))
        if not run.is_queued and budgets.stall_timeout is not None:
            limits.append((Limit("stall_timeout", budgets.stall_timeout), self._changed + budgets.stall_timeout))
        return min(limits, key=lambda limit: limit[1])


def _poll(
    client: Client,
    run_id: str,
    *,
    clock: Clock,
    limit: float,
    deadline: float,
    last: Run | None,
    progress: ProgressLog,
) -> Procedure[Run]:
    """Poll once. A 404 has to last before it means that the run was deleted or, at the first poll, does not exist.

    Where the deadline leaves no time to tell, the run is as it was. The next limit passes at `limit`.
    """
    lasting = clock.now() + NOT_FOUND_PATIENCE
    is_told = False
    while True:
        try:
            return (yield from _get_run(client, run_id, clock=clock, limit=limit, deadline=deadline))
        except NotFound:
            now, given_up = clock.now(), min(lasting, deadline)
            if last is None and now >= given_up:
                raise
            if last and now >= lasting:
                return last._replace(status=DELETED)
            if last and now >= deadline:
                return last
            if not is_told:
                progress.not_found(for_seconds=given_up - now, is_new=last is None)
                is_told = True
            yield Wait(min(NOT_FOUND_PAUSE, given_up - now))


def _get_run(client: Client, run_id: str, *, clock: Clock, limit: float, deadline: float) -> Procedure[Run]:
    """Fetch the run. A request that hangs is cut off when the limit passes, and retried then, until the deadline."""
    if clock.now() < limit < deadline:
        try:
            return (yield from client.get_run(run_id, until=limit))
        except Unavailable:
            pass  # logged, and retried
    return (yield from client.get_run(run_id, until=deadline))


def _observation(run: Run, now: float) -> Observation:
    if run.progress is None:
        return Observation(at=now, running=not run.is_queued)
    return Observation(
        at=now,
        running=not run.is_queued,
        done=run.progress.done,
        total=run.progress.total,
        active=run.progress.active,
    )
