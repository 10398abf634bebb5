"""Finds out whether a job answered the simulations of a run: `coval-gate attach` tags a run that it answered.

Coval itself reaches the agents of most runs, which have no such tag. An agent's type says which it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.resources import AGENT
from coval_gate.coval.session import Session
from coval_gate.history.tags import ATTACHED, UNANSWERED, is_marked
from coval_gate.step.trial import Trial

ANSWERED_BY_JOB: Final = "SDK_WEBSOCKET"  # the type of an agent that a process of the user's answers
READING: Final = 20.0  # s to read the type of the agent, on which the verdict may rest
TAG_LAG: Final = 30.0  # s for which attach in another job may still be about to tag a run that is over
PAUSE: Final = 5.0  # s between two looks for the tag
THREE_STEPS: Final = (
    "Take three steps:\n"
    "1. a step with mode: launch\n"
    "2. coval-gate attach MODULE:HANDLER --run RUN_ID, with that step's output run_id\n"
    "3. a step with mode: wait and this run_id\n"
    "Or name an agent of another type."
)


def refuse_unanswered(session: Session, trial: Trial) -> Procedure[None]:
    """Raise GateError in mode run if a job has to answer: this step waits, so no later one could attach."""
    if session.inputs.mode != "run":
        return
    yield from _read_type(session, trial)
    if trial.agent_type == ANSWERED_BY_JOB:
        trial.is_given_up = True
        raise GateError(
            titles.RUN_NOT_ANSWERED,
            f"Agent {trial.ids.get('agent_id')} is of type {ANSWERED_BY_JOB}: a process of yours has to answer its "
            "simulations, and cannot while a step with mode run waits for the run.",
            advice=THREE_STEPS,
        )


def find_attached(session: Session, trial: Trial) -> Procedure[None]:
    """Note in the trial whether a job answered it, and its agent's type, unless `refuse_unanswered` has read that."""
    run = trial.run
    if run is None or session.inputs.mode != "wait":
        return
    if is_marked(run, ATTACHED):
        trial.attached = True
        return
    if is_marked(run, UNANSWERED):
        trial.attached = False
        return
    noted = run.metadata.get(AGENT_TYPE)
    if isinstance(noted, str) and noted:
        trial.agent_type = noted
    yield from _read_type(session, trial)
    if trial.agent_type != ANSWERED_BY_JOB:
        return
    trial.attached = False
    patience = min(TAG_LAG, session.inputs.metrics_grace_time) if run.is_over else 0.0
    until = min(session.deadline, session.clock.now() + patience)
    while session.clock.now() + PAUSE <= until and not trial.attached:
        yield Wait(PAUSE)
        with suppress(CovalError):
            polled = yield from session.client.get_run(run.run_id, until=until, once=True)
            trial.attached = is_marked(polled, ATTACHED)


def _read_type(session: Session, trial: Trial) -> Procedure[None]:
    """Ask Coval unless the type is known. A key that may not read agents leaves it unknown."""
    agent_id = (trial.run.agent_id if trial.run else "") or trial.ids.get("agent_id")
    if trial.agent_type or not agent_id:
        return
    until = session.times.informing(session.clock.now(), READING)
    with suppress(CovalError):
        shown = session.client.shown.get((AGENT.key, agent_id))
        agent = shown or (yield from session.client.get(AGENT, agent_id, until=until))
        trial.agent_type = agent.model_type
