"""Replaces a run that a step took over from an earlier attempt that was still cancelling it.

Coval may show a run as in progress for a while after its cancellation, so the step notices it while it watches the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from coval_gate.errors import NotFound
from coval_gate.model.outcomes import NotCompleted
from coval_gate.model.statuses import CANCELLED
from coval_gate.runs.cancel import ENDED
from coval_gate.runs.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.model.outcomes import TimedOut
    from coval_gate.model.run import Run
    from coval_gate.runs.progress import ProgressLog
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure

T = TypeVar("T")

DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over


class ReplaceRun(Protocol):
    """Launches a run in place of the one that was taken over, as `Launcher.launch_instead`."""

    def __call__(self, *, gone: bool) -> Procedure[bool]: ...


def unless_cancelled(
    session: Session, trial: Trial, watching: Procedure[T], replace_run: ReplaceRun
) -> Procedure[T | None]:
    """Return what `watching` the run returns; None if the run was being cancelled and another one replaces it."""
    clock, doubtful_until = session.clock, trial.known_since + DOUBT
    try:
        ended = yield from watching
    except NotFound:
        if clock.now() <= doubtful_until and (yield from replace_run(gone=True)):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in ENDED or clock.now() > doubtful_until:
        return ended
    replaced = yield from replace_run(gone=ended.run.status != CANCELLED)
    return None if replaced else ended


def confirm(
    session: Session, run_id: str, *, progress: ProgressLog, record: Callable[[Run], None]
) -> Procedure[Run | NotCompleted | TimedOut]:
    """Watch a run for a moment, which shows whether it is being cancelled. Raises CovalError."""
    limits = session.inputs._replace(
        max_wait_time=CONFIRMING, max_queue_time=None, stall_timeout=None, check_interval=None
    )
    deadline = min(session.deadline, session.clock.now() + CONFIRMING)
    return watch(session._replace(inputs=limits, deadline=deadline), run_id, progress=progress, record=record)
