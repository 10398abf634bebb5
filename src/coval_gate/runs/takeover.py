"""Replaces a run that a step took over from an earlier attempt, where that attempt was still cancelling it.

Coval may show a run as in progress for a while after its cancellation, so the step finds out while it watches the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from coval_gate.errors import NotFound
from coval_gate.model.outcomes import NotCompleted
from coval_gate.model.statuses import CANCELLED
from coval_gate.runs.cancel import ENDED
from coval_gate.runs.watch import Budgets, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.model.outcomes import TimedOut
    from coval_gate.model.run import Run
    from coval_gate.runs.progress import ProgressLog
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure

T = TypeVar("T")

DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over


class Replace(Protocol):
    """Launches a run in place of the one that was taken over, as `Launcher.launch_instead`."""

    def __call__(self, *, gone: bool) -> Procedure[bool]: ...


def unless_cancelled(watching: Procedure[T], trial: Trial, replace: Replace, *, clock: Clock) -> Procedure[T | None]:
    """Return what `watching` the run returns; None if the run was being cancelled, and another one replaces it."""
    doubtful_until = trial.known_since + DOUBT
    try:
        ended = yield from watching
    except NotFound:
        if clock.now() <= doubtful_until and (yield from replace(gone=True)):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in ENDED or clock.now() > doubtful_until:
        return ended
    replaced = yield from replace(gone=ended.run.status != CANCELLED)
    return None if replaced else ended


def confirm(
    session: Session, run_id: str, *, progress: ProgressLog, record: Callable[[Run], None]
) -> Procedure[Run | NotCompleted | TimedOut]:
    """Watch a run for a moment, which shows whether it is being cancelled. Raises CovalError."""
    clock = session.clock
    budgets = Budgets(deadline=min(session.deadline, clock.now() + CONFIRMING), max_wait_time=CONFIRMING)
    return watch(
        session.client,
        run_id,
        clock=clock,
        budgets=budgets,
        check_interval=None,
        progress=progress,
        record=record,
    )
