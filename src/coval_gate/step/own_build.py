"""Finds out whether a job has to answer the simulations of a run, and whether it did.

Coval itself reaches the agents of most runs: without the tag of `coval-gate attach`, the agent's type shows whether a
job has to answer. No job can while a step with mode run waits for the run.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, Rejected
from coval_gate.base.schedule import Wait, all_or_first_error, together
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.model import LaunchRequest
from coval_gate.coval.resources import AGENT
from coval_gate.history.tags import ATTACHED, UNANSWERED, is_marked
from coval_gate.inputs.inputs import ids_of
from coval_gate.step.leg import Trial
from coval_gate.step.step import LegRun, StepRun

ANSWERED_BY_JOB: Final = "SDK_WEBSOCKET"  # the type of an agent that a process of the user's answers
UNSEEN: Final = "If a job of yours has to answer its simulations, a run that was not answered is not noticed."
THREE_STEPS: Final = (
    "Run three steps:\n"
    "1. a step with mode: launch\n"
    "2. coval-gate attach MODULE:HANDLER --run RUN_ID, with that step's output run_id\n"
    "3. a step with mode: wait and this run_id\n"
    "Or name an agent of another type."
)
FORBIDDEN_STATUS: Final = 403
READING: Final = 20.0  # s to read the type of the agent, on which the verdict may rest
TAG_LAG: Final = 30.0  # s for which attach in another job may still be about to tag a run that is over
PAUSE: Final = 5.0  # s between two looks for the tag


async def note_agent_type(session: StepRun, request: LaunchRequest) -> Mapping[str, Any]:
    """Return metadata for the step that waits: a job may have to answer the run. Costs no launch if it fails."""
    agent_type = await read_agent_type(session, request.agent_id, until=session.deadline, once=True)
    return {AGENT_TYPE: agent_type} if agent_type else {}


async def refuse_own_builds(session: LegRun, request: LaunchRequest) -> None:
    """Raise GateError if a job has to answer the agent, or the base agent, whose run begins after this one."""
    base = session.leg.base
    ids = [request.agent_id, *([ids_of(base.inputs)["agent_id"]] if base else [])]
    reading = (read_agent_type(session, agent_id, until=session.deadline, once=True) for agent_id in ids)
    types = all_or_first_error(await together(reading, session.clock))
    if ANSWERED_BY_JOB in types:
        raise unanswerable(ids[types.index(ANSWERED_BY_JOB)])


async def refuse_unanswered(session: LegRun, trial: Trial) -> None:
    """Raise GateError in mode run if a job has to answer a run that was taken over, or whose agent was unreadable."""
    if session.inputs.mode != "run":
        return
    await _read_type(session, trial)
    if trial.agent_type == ANSWERED_BY_JOB:
        trial.is_given_up = True
        raise unanswerable(trial.ids.get("agent_id", ""))


async def find_attached(session: LegRun, trial: Trial) -> None:
    """Note in the trial whether a job answered it, and its agent's type, unless `_refuse_unanswered` has read that."""
    run = trial.run
    if run is None or session.inputs.mode != "wait":
        return
    is_attached = is_marked(run, ATTACHED)
    if is_attached or is_marked(run, UNANSWERED):
        trial.attached = is_attached
        return
    noted = run.metadata.get(AGENT_TYPE)
    if isinstance(noted, str) and noted:
        trial.agent_type = noted
    await _read_type(session, trial)
    if trial.agent_type != ANSWERED_BY_JOB:
        return
    trial.attached = False
    patience = min(TAG_LAG, session.inputs.metrics_grace_time) if run.is_over else 0.0
    until = min(session.deadline, session.clock.now() + patience)
    while session.clock.now() + PAUSE <= until and not trial.attached:
        await Wait(PAUSE)
        with suppress(CovalError):
            polled = await session.client.get_run(run.run_id, until=until, once=True)
            trial.attached = is_marked(polled, ATTACHED)


async def _read_type(session: LegRun, trial: Trial) -> None:
    """Ask Coval unless the type is known. A key that may not read agents leaves it unknown."""
    shown = (trial.run.agent_id if trial.run else "") or trial.ids.get("agent_id")
    agent_id = shown or ids_of(session.inputs)["agent_id"]
    if trial.agent_type:
        return
    if not agent_id:
        session.warn(f"Coval does not show the agent of run {trial.run_id}. {UNSEEN} Set agent_id.")
        return
    until = session.times.informing(session.clock.now(), READING)
    trial.agent_type = await read_agent_type(session, agent_id, until=until)


async def read_agent_type(session: StepRun, agent_id: str, *, until: float, once: bool = False) -> str:
    """Return an empty text if Coval does not show the type. Warn where a run that no job answered then goes unseen."""
    try:
        shown = session.client.shown.get((AGENT.key, agent_id))
        agent = shown or await session.client.get(AGENT, agent_id, until=until, once=once)
    except CovalError as error:
        is_forbidden = isinstance(error, Rejected) and error.status == FORBIDDEN_STATUS
        mode, unread = session.inputs.mode, session.step.unread_agents
        # What else a launch cannot read, the wait reads.
        if agent_id not in unread and (mode == "wait" or (mode == "launch" and is_forbidden)):
            unread.add(agent_id)
            session.warn(
                f"Could not read the type of agent {agent_id}: {error.what} {UNSEEN} The API key needs the permission "
                "agents:read."
            )
        return ""
    return agent.model_type


def unanswerable(agent_id: str) -> GateError:
    return GateError(
        titles.RUN_NOT_ANSWERED,
        f"Agent {agent_id} is of type {ANSWERED_BY_JOB}: a process of yours has to answer its simulations, and cannot "
        "while a step with mode run waits for the run.",
        advice=THREE_STEPS,
    )
