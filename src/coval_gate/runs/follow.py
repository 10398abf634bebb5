"""Follows a run from its launch to what is known of it in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.model.outcomes import Completed, NotCompleted, TimedOut
from coval_gate.runs.announced import OPTIONAL_TIME
from coval_gate.runs.collect import collect
from coval_gate.runs.definitions import with_definitions
from coval_gate.runs.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.outcomes import Outcome
    from coval_gate.model.run import Run
    from coval_gate.runs.progress import ProgressLog
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure


def follow(
    session: Session, run_id: str, *, criteria: Criteria, progress: ProgressLog, record: Callable[[Run], None]
) -> Procedure[Outcome]:
    """Watch a run to its end and, if it completed, collect what the criteria need.

    `record` takes what each poll showed. Raises CovalError as `watch` and `collect`.
    """
    reopened = False
    while True:
        ended = yield from watch(session, run_id, progress=progress, record=record)
        if isinstance(ended, TimedOut):
            return ended._replace(reopened=reopened)
        if isinstance(ended, NotCompleted):
            return ended
        collected = yield from collect(session, ended, criteria, record=record)
        if isinstance(collected, Completed):
            now = session.clock.now()
            until = min(max(session.deadline, now), now + OPTIONAL_TIME)
            result = yield from with_definitions(session._replace(deadline=until), collected.result, criteria)
            return collected._replace(result=result)
        if isinstance(collected, NotCompleted):
            return collected
        if not reopened:
            session.log(
                f"The run had completed, but Coval reports it as {collected.status} again; the step keeps waiting."
            )
        reopened = True
