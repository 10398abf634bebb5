"""Finds out whether a job answered the simulations of a run: `coval-gate attach` tags a run that it answered.

Coval itself reaches the agents of most runs. Those have no such tag, and cost no further request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Wait
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.runs.tags import ATTACHED, UNANSWERED, is_marked

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session

ANSWERED_BY_JOB: Final = "SDK_WEBSOCKET"  # the type of an agent that a process of the user's answers
READING: Final = 20.0  # s to read the type of the agent, on which the verdict may rest
TAG_LAG: Final = 30.0  # s for which attach in another job may still be about to tag a run that is over
PAUSE: Final = 5.0  # s between two looks for the tag


def find_attached(session: Session, run: Run | None) -> Procedure[bool | None]:
    """Return None if Coval itself reaches the agent. Only mode wait, after `coval-gate attach`, requires the tag."""
    if run is None:
        return None
    if is_marked(run, ATTACHED):
        return True
    if is_marked(run, UNANSWERED):
        return False
    if session.inputs.mode != "wait" or not (yield from _is_answered_by_job(session, run)):
        return None
    patience = min(TAG_LAG, session.inputs.metrics_grace_time) if run.is_over else 0.0
    until = min(session.deadline, session.clock.now() + patience)
    while session.clock.now() + PAUSE <= until:
        yield Wait(PAUSE)
        try:
            polled = yield from session.client.get_run(run.run_id, until=until, once=True)
        except CovalError:
            continue
        if is_marked(polled, ATTACHED):
            return True
    return False


def _is_answered_by_job(session: Session, run: Run) -> Procedure[bool]:
    """Go by what the launch noted, or else by what Coval says now."""
    noted = run.metadata.get(AGENT_TYPE)
    if noted or not run.agent_id:
        return noted == ANSWERED_BY_JOB
    until = session.times.informing(session.clock.now(), READING)
    try:
        return (yield from session.client.get_agent_type(run.agent_id, until=until)) == ANSWERED_BY_JOB
    except CovalError:
        return False
