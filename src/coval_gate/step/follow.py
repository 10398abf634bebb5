"""Follows a run to its end, replaces one that an earlier attempt had cancelled, and collects what the gate needs of it.

Coval may show a run as in progress for a while after its cancellation. So the step watches a run that it took over, and
replaces it if the earlier attempt was still cancelling it. Coval itself reaches the agents of most runs: without the
tag of `coval-gate attach`, the agent's type says whether a job has to answer.

The final poll has all values already; the list of simulations is what they are checked against. Either may lag behind
the run's status, and Coval may not say how many simulations and metrics there are. So the step looks again while
something that the gate needs is missing, or may be, unless it certainly will not come. It judges only what the last
look showed.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from typing import Final, TypeVar

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound, Unavailable
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import one_line
from coval_gate.base.times import COLLECTING
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.client import Session
from coval_gate.coval.model import CANCELLED, COMPLETED, Run
from coval_gate.coval.resources import AGENT
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.verdict import Aborted, Completed, NotCompleted, Outcome, TimedOut
from coval_gate.history.tags import ATTACHED, UNANSWERED, is_marked
from coval_gate.step.adopt import not_shown, see
from coval_gate.step.cancel import ENDED
from coval_gate.step.launch import Launcher
from coval_gate.step.leg import Trial
from coval_gate.step.look import EMPTY_SETTLING, OPTIONAL_TIME, SETTLING, Looks, missing_text, with_definitions
from coval_gate.step.report import announce
from coval_gate.step.step import LegRun
from coval_gate.step.watch import overall_limit, waiting_title, watch

T = TypeVar("T")

DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over
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


def follow_trial(session: LegRun, trial: Trial, criteria: Criteria) -> Procedure[Outcome]:
    """Watch the trial's run to its end, and collect its result. Raises GateError."""
    yield from _refuse_unanswered(session, trial)
    left = max(0.0, session.deadline - session.clock.now()) if trial.repetition else session.inputs.max_wait_time
    with session.group(waiting_title(left)):
        try:
            outcome = yield from _unless_cancelled(session, trial, _follow(session, trial, criteria))
            outcome = outcome or (yield from _follow(session, trial, criteria))
        except NotFound as error:
            if error.by_coval and trial.run is None and trial.is_given:
                trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_given_up = isinstance(outcome, Aborted)
    if trial.is_given and trial.run and (text := not_shown(session.leg, trial.run)):
        session.warn(text)
    yield from _find_attached(session, trial)
    return outcome


def _follow(session: LegRun, trial: Trial, criteria: Criteria) -> Procedure[Outcome]:
    """Raises CovalError as `watch` and `collect`."""
    ended = yield from watch(session, trial)
    if isinstance(ended, TimedOut | NotCompleted):
        return ended
    if isinstance(ended, Aborted):
        return ended._replace(error=(yield from most_common_error(session, trial.run_id)))
    return (yield from collect(session, trial, ended, criteria))


def confirm(session: LegRun) -> Procedure[None]:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch`."""
    trial, briefly = session.leg.first, session.within(CONFIRMING)
    briefly.inputs = session.inputs._replace(
        max_wait_time=CONFIRMING, max_queue_time=None, check_interval=None, abort_after_failures=None
    )
    try:
        yield from _unless_cancelled(session, trial, watch(briefly, trial))
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


def _unless_cancelled(session: LegRun, trial: Trial, watching: Procedure[T]) -> Procedure[T | None]:
    """Return None if an earlier attempt was cancelling the run, and another one replaces it."""
    if not trial.resumed:
        return (yield from watching)
    clock, doubtful_until = session.clock, trial.known_since + DOUBT
    try:
        ended = yield from watching
    except NotFound:
        if clock.now() <= doubtful_until and (yield from _replaced(session, trial, gone=True)):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in ENDED or clock.now() > doubtful_until:
        return ended
    is_replaced = yield from _replaced(session, trial, gone=ended.run.status != CANCELLED)
    return None if is_replaced else ended


def _replaced(session: LegRun, trial: Trial, *, gone: bool) -> Procedure[bool]:
    if not (yield from Launcher(session, trial).launch_instead(gone=gone)):
        return False
    session.log(f"Launched run {trial.run_id}: {session.step.run_url(trial.run_id)}")
    yield from announce(session.step)
    return True


def _refuse_unanswered(session: Session, trial: Trial) -> Procedure[None]:
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


def _find_attached(session: LegRun, trial: Trial) -> Procedure[None]:
    """Note in the trial whether a job answered it, and its agent's type, unless `_refuse_unanswered` has read that."""
    run = trial.run
    if run is None or session.leg.is_base or session.inputs.mode != "wait":
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


FIRST_PAUSE: Final = 2.0  # s between two looks
LONGEST_PAUSE: Final = 15.0  # s


def collect(session: LegRun, trial: Trial, run: Run, criteria: Criteria) -> Procedure[Completed | NotCompleted]:
    """Collect what the criteria need. Raises CovalError."""
    collected = yield from _collect(session, trial, run, criteria)
    if isinstance(collected, NotCompleted):
        return collected
    now = session.clock.now()
    until = min(max(session.deadline, now), now + OPTIONAL_TIME)
    return collected._replace(result=(yield from with_definitions(session.until(until), collected.result, criteria)))


def _collect(session: LegRun, trial: Trial, run: Run, criteria: Criteria) -> Procedure[Completed | NotCompleted]:
    """Wait as long as `metrics_grace_time` and the deadline allow.

    If Coval does not say how much there is, wait until the data have stayed the same for SETTLING, even beyond that.
    """
    clock, deadline = session.clock, session.deadline
    began = looked_at = clock.now()
    give_up = min(deadline, began + session.inputs.metrics_grace_time)
    until = max(deadline, began + COLLECTING)
    looks = Looks(session.until(until), criteria)
    pause = FIRST_PAUSE
    while True:
        look = yield from looks.look(run)
        if run.is_over and run.status != COMPLETED:
            return NotCompleted(run=run)
        since = looks.unchanged_since(look)
        unchanged = max(0.0, looked_at - since)
        settles_at = since + (SETTLING if look.result.simulations else EMPTY_SETTLING)
        missing = yield from looks.missing(run, look, unchanged=unchanged, deadline=deadline)
        if not any(missing):
            return Completed(result=look.result)
        last = min(deadline, max(give_up, settles_at) if missing.is_open else give_up)
        if looked_at >= last:
            late = overall_limit(session) if clock.now() >= deadline else None
            return Completed(result=look.result._replace(settled=not missing.is_open), late=late)
        if pause == FIRST_PAUSE:
            session.log(missing_text(missing))
        next_look = min(clock.now() + pause, last, settles_at if settles_at > looked_at else math.inf)
        yield Wait(max(0.0, next_look - clock.now()))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        looked_at = clock.now()
        with suppress(NotFound):  # it was there a moment ago; if it is gone for good, its values stay missing
            run = yield from session.client.get_run(run.run_id, until=until)
            see(session, trial, run)


def most_common_error(session: Session, run_id: str) -> Procedure[str]:
    """Return an empty text if Coval does not show errors in time."""
    until = min(session.deadline, session.clock.now() + OPTIONAL_TIME)
    with suppress(CovalError):
        simulations = yield from session.client.list_simulations(run_id, until=until)
        errors = Counter(one_line(simulation.error) for simulation in simulations if simulation.error)
        return max(errors, key=lambda text: errors[text], default="")
    return ""
