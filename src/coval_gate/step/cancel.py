"""Cancels runs, and never deletes a finished one.

Coval has one call for both, `DELETE /runs/{id}`: it ends a run that is not finished and deletes one that is. So the run
is polled before each try, a repeated one included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from coval_gate.base.errors import CovalError, NotFound, Unavailable
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, Wait, together
from coval_gate.coval.client import Session
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import CANCELLED, DELETED, Run
from coval_gate.gate.verdict import Cancellation

ENDED: Final = (CANCELLED, DELETED)  # what a cancelled run shows
MAX_POLL_AGE: Final = 2.0  # s after which a response that says that a run is not over may be wrong
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 8.0  # s between two tries
UNKNOWN_TIME: Final = 15.0  # s for which Coval must not know a run that a person names before it has none


def cancel_run(session: Session, run_id: str, *, fresh_until: float = 0.0) -> Procedure[Cancellation]:
    """Cancel a run unless it is over; one that Coval does not have is over. Raises CovalError.

    `fresh_until`: Coval may not know the run before that time on the clock.
    """
    client, clock, until = session.client, session.clock, session.deadline
    sent = False  # a try whose response was lost may have cancelled the run all the same
    pause = FIRST_PAUSE
    report_retry = client.retry_reporter()
    while True:
        try:
            polled_at = clock.now()
            run = yield from client.get_run(run_id, until=until, once=True)
            if run.is_over:
                return _ended(run, by_us=sent and run.status in ENDED)
            if clock.now() - polled_at > MAX_POLL_AGE:
                raise unavailable("The poll of the run", "took so long that the run may be over by now.", arrived=False)
            sent = True
            yield from client.delete_run(run_id, until=until)
            return _ended(run, by_us=True)
        except NotFound:
            if sent:
                return Cancellation(outcome="cancelled", run_id=run_id)
            if clock.now() >= fresh_until:
                return Cancellation(outcome="gone", run_id=run_id)
            if clock.now() >= until:
                raise
        except Unavailable as error:
            if clock.now() >= until:
                raise
            pause = max(pause, error.retry_after)
            report_retry(error, min(pause, until - clock.now()))
        yield Wait(max(0.0, min(pause, until - clock.now())))
        pause = min(LONGEST_PAUSE, pause * 2)


def cancel_or_warn(session: Session, run_id: str, why: str) -> Procedure[bool]:
    """Return whether the run needs no cancelling any more. Until the deadline, Coval may not know it yet."""
    try:
        ended = yield from cancel_run(session, run_id, fresh_until=session.deadline)
    except CovalError as error:
        session.warn(f"Could not cancel run {run_id} ({why}): {error.what}")
        return False
    if ended.outcome == "cancelled":
        session.log(f"Cancelled run {run_id}: {why}.")
    return True


def cancel_runs(
    session: Session, run_ids: Sequence[str], *, report: Callable[[str, Cancellation | CovalError], None]
) -> Procedure[list[Cancellation | CovalError]]:
    """Pass each outcome to `report` at once. Of many runs, the first ones leave the others their share of time."""
    left = len(run_ids)

    def cancel_one(run_id: str) -> Procedure[Cancellation]:
        nonlocal left
        rounds, left = math.ceil(left / MOST_AT_ONCE), left - 1
        now = session.clock.now()
        until = now + max(0.0, session.deadline - now) / rounds
        try:
            unknown_until = min(now + UNKNOWN_TIME, until)
            ended = yield from cancel_run(session.until(until), run_id, fresh_until=unknown_until)
        except CovalError as error:
            report(run_id, error)
            raise
        report(run_id, ended)
        return ended

    return (yield from together(map(cancel_one, run_ids), session.clock, at_once=MOST_AT_ONCE))


def _ended(run: Run, *, by_us: bool) -> Cancellation:
    return Cancellation(outcome="cancelled" if by_us else "over", run_id=run.run_id, status=run.status)
