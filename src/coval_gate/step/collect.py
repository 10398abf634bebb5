"""Follows a run to its end, and collects what the gate needs of it in the fewest calls.

The final poll has all values already; the list of simulations is what they are checked against. Either may lag behind
the run's status, and Coval may not say how many simulations and metrics there are. So the step looks again while
something that the gate needs is missing, or may be, unless it certainly will not come. It judges only what the last
look showed.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from typing import Final

from coval_gate.base.errors import CovalError, NotFound
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import one_line
from coval_gate.base.times import COLLECTING
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.coval.session import Session
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.verdict import Completed, NotCompleted
from coval_gate.step.adopt import see
from coval_gate.step.leg import Trial
from coval_gate.step.look import EMPTY_SETTLING, OPTIONAL_TIME, SETTLING, Looks, missing_text, with_definitions
from coval_gate.step.step import LegRun
from coval_gate.step.watch import overall_limit

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
