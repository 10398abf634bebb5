"""Reads runs that may be a baseline: with their results, and by the id that the input names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Wait
from coval_gate.config.fields import Allowance
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.evaluate import population
from coval_gate.model.baseline import BaselineRun
from coval_gate.model.results import RunResult
from coval_gate.runs.tags import FAILED, is_marked

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session

UNKNOWN_LAUNCH: Final = Criteria(max_failed=Allowance(0))  # of a run that another step launched
WATCHING: Final = 15.0  # s between two looks at a named run that is not over


def load_run(session: Session, run: Run) -> Procedure[BaselineRun | str]:
    """Return a run with its result; a sentence if that is incomplete. Raises CovalError."""
    simulations = yield from session.client.list_simulations(run.run_id, until=session.deadline)
    listed, announced = {simulation.id for simulation in simulations}, set(run.output_ids or ())
    if not simulations:
        return f"Coval lists no simulation of run {run.run_id}."
    total = max(len(announced | listed), population(run, simulations, UNKNOWN_LAUNCH).expected)
    if len(listed) < total:
        return f"Coval lists {len(listed)} of the {total} simulations of run {run.run_id}."
    if not all(simulation.ended for simulation in simulations):
        return f"Simulations of run {run.run_id} have not ended."
    if not run.metrics:
        return f"Coval lists no metric of run {run.run_id}."
    result = RunResult(run_id=run.run_id, expected=len(simulations), simulations=simulations, metrics=run.metrics)
    return BaselineRun(run=run, result=result, failed=is_marked(run, FAILED))


def end_of_named(session: Session, run_id: str, *, until: float) -> Procedure[float]:
    """Wait for the end of a named run until the `deadline`, and return until when the search for it may last.

    A poll that fails ends the waiting: the search says why.
    """
    client, clock, deadline = session.client, session.clock, session.deadline
    patience, is_logged = until - clock.now(), False
    while clock.now() < deadline:
        try:
            run = yield from client.get_run(run_id, until=until)
        except CovalError:
            break
        if run.is_over:
            break
        if not is_logged:
            session.log(f"Waiting for the baseline: run {run_id} is {run.status}.")
            is_logged = True
        yield Wait(max(0.0, min(WATCHING, deadline - clock.now())))
        until = max(until, min(deadline, clock.now() + patience))
    return until
