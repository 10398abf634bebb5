"""Cancels the runs that a person names (mode cancel), and judges nothing."""

import math
from collections.abc import Sequence
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError
from coval_gate.base.schedule import MOST_AT_ONCE, all_or_first_error, together
from coval_gate.base.text import in_words
from coval_gate.coval.client import Session
from coval_gate.coval.model import CANCELLED
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Cancellation, RunsCancelled
from coval_gate.report.wording import run_cancellation_text
from coval_gate.step.cancel import cancel_run
from coval_gate.step.leg import MOST_NAMED, Leg
from coval_gate.step.step import StepRun

UNKNOWN_TIME: Final = 15.0  # s for which Coval must not know a run before it has none


async def cancel_runs(session: StepRun) -> Judgement:
    """Cancel all runs, then raise the first error: a GateError if Coval lacks a run, because its id must be wrong."""
    step, run_ids = session.step, session.inputs.run_id.ids
    leg = Leg(inputs=session.inputs)
    step.legs = [leg]
    for run_id in run_ids:
        step.begin_trial(leg).run_id = run_id
    step.record_id(run_ids[0])
    ended = await _cancel_all(session.of(leg), run_ids)
    if unknown := [cancellation.run_id for cancellation in ended if cancellation.outcome == "gone"]:
        others = ", so nothing was cancelled" if unknown == [*run_ids] else "; none of the others goes on"
        raise GateError(
            titles.RUN_NOT_FOUND,
            f"Coval has no run {in_words(unknown, 'or', MOST_NAMED)}{others}.",
            advice="Check run_id: it must be the id of a run in the organization and workspace of the API key.",
        )
    return Judgement(None, CANCELLED, RunsCancelled(tuple(ended)))


async def _cancel_all(session: Session, run_ids: Sequence[str]) -> list[Cancellation]:
    """Cancel runs side by side, each in its share of the time left. The log shows at once what became of each."""
    left = len(run_ids)

    async def cancel_one(run_id: str) -> Cancellation:
        nonlocal left
        rounds, left = math.ceil(left / MOST_AT_ONCE), left - 1
        now = session.clock.now()
        until = now + max(0.0, session.deadline - now) / rounds
        try:
            unknown_until = min(now + UNKNOWN_TIME, until)
            ended = await cancel_run(session.until(until), run_id, fresh_until=unknown_until)
        except CovalError as error:
            session.log(f"Run {run_id}: {error.what}")
            raise
        session.log(run_cancellation_text(ended))
        return ended

    return all_or_first_error(await together(map(cancel_one, run_ids), session.clock, at_once=MOST_AT_ONCE))
