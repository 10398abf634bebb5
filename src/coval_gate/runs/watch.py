"""Watches a run until it is over or a limit on time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.errors import NotFound, Unavailable
from coval_gate.model.outcomes import Limit, NotCompleted, TimedOut
from coval_gate.model.statuses import COMPLETED, DELETED
from coval_gate.runs.polling import LONGEST_PAUSE, Observation, expected_end, next_pause
from coval_gate.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.model.run import Run
    from coval_gate.runs.progress import ProgressLog
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

NOT_FOUND_PATIENCE: Final = 60.0  # s; Coval may answer 404 for a while about a run it has, above all after its launch
NOT_FOUND_PAUSE: Final = 5.0  # s
LEAD: Final = 1.5  # times the last response, if that was slow, for the last poll before a limit


def watch(
    session: Session, run_id: str, *, progress: ProgressLog, record: Callable[[Run], None]
) -> Procedure[Run | NotCompleted | TimedOut]:
    """Poll the run until it is over or a limit passes. Returns the run if it completed.

    The last poll is when a limit passes, or earlier by the time that Coval takes to respond. `record` takes what each
    poll showed. Raises CovalError as `Client.get_run`.
    """
    client, clock, inputs = session.client, session.clock, session.inputs
    patience = _Patience(session)
    passes_at = session.deadline
    longest = LONGEST_PAUSE if inputs.check_interval is None else inputs.check_interval
    history: list[Observation] = []
    run: Run | None = None
    while True:
        run = yield from _poll(session, run_id, limit=passes_at, last=run, progress=progress)
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


def overall_limit(session: Session) -> Limit:
    """Return the limit on all of the waiting, which passes at the deadline."""
    return Limit("max_wait_time", session.inputs.max_wait_time)


class _Patience:
    """Knows which limit passes next: on all of the waiting, on the queue, or on a run that makes no progress."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = self._changed = session.clock.now()
        self._last: object = None

    def next_limit(self, run: Run, now: float) -> tuple[Limit, float]:
        """Return the next limit, and when it passes."""
        inputs, state = self._session.inputs, (run.status, run.progress)
        if state != self._last:
            self._last, self._changed = state, now
        limits = [(overall_limit(self._session), self._session.deadline)]
        if run.is_queued and inputs.max_queue_time is not None:
            limits.append((Limit("max_queue_time", inputs.max_queue_time), self._began + inputs.max_queue_time))
        if not run.is_queued and inputs.stall_timeout is not None:
            limits.append((Limit("stall_timeout", inputs.stall_timeout), self._changed + inputs.stall_timeout))
        return min(limits, key=lambda limit: limit[1])


def _poll(session: Session, run_id: str, *, limit: float, last: Run | None, progress: ProgressLog) -> Procedure[Run]:
    """Poll once. A 404 must last before it means that the run was deleted or, at the first poll, does not exist.

    If the deadline leaves no time for that, return the run as it was. The next limit passes at `limit`.
    """
    clock, deadline = session.clock, session.deadline
    lasting = clock.now() + NOT_FOUND_PATIENCE
    is_logged = False
    while True:
        try:
            return (yield from _get_run(session, run_id, limit=limit))
        except NotFound:
            now, given_up = clock.now(), min(lasting, deadline)
            if last is None and now >= given_up:
                raise
            if last and now >= lasting:
                return last._replace(status=DELETED)
            if last and now >= deadline:
                return last
            if not is_logged:
                progress.not_found(for_seconds=given_up - now, is_new=last is None)
                is_logged = True
            yield Wait(min(NOT_FOUND_PAUSE, given_up - now))


def _get_run(session: Session, run_id: str, *, limit: float) -> Procedure[Run]:
    """Fetch the run. A request that hangs is cut off when the limit passes, and retried then, until the deadline."""
    client, deadline = session.client, session.deadline
    if session.clock.now() < limit < deadline:
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
