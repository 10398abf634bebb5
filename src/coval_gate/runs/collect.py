"""Collects what the gate needs of a run that completed, in the fewest calls.

The final poll has all values already; the list of simulations is what they are checked against. Either may
lag behind the run's status, so both are fetched again while something that the gate needs is missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.coval.definitions import read_target
from coval_gate.errors import NotFound
from coval_gate.model.outcomes import Completed, NotCompleted, TimedOut
from coval_gate.model.results import RunResult
from coval_gate.model.statuses import COMPLETED, TERMINAL
from coval_gate.runs.progress import MissingData, missing_text
from coval_gate.text import one_line
from coval_gate.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.outcomes import Outcome
    from coval_gate.model.results import Metric, Simulation, Target
    from coval_gate.model.run import Run
    from coval_gate.runs.watch import Budgets
    from coval_gate.waiting import Procedure

CALL_TIME: Final = 30.0  # s for the calls that are needed for a run which ended just before the deadline
FIRST_PAUSE: Final = 2.0  # s between two polls for data that lag
LONGEST_PAUSE: Final = 15.0  # s


def collect(
    client: Client,
    run: Run,
    criteria: Criteria,
    *,
    clock: Clock,
    budgets: Budgets,
    grace: float,
    log: Callable[[str], None],
    record: Callable[[Run], None],
) -> Procedure[Outcome]:
    """Collect what the criteria need, and wait at most `grace` seconds, and not past the deadline, for what lags.

    `record` takes what each further poll showed. Raises CovalError where a call fails for good, or until
    the deadline.
    """
    began = clock.now()
    until = max(budgets.deadline, began + CALL_TIME)
    give_up = min(budgets.deadline, began + grace)
    targets: dict[str, Target | None] = {}
    simulations: tuple[Simulation, ...] = ()
    pause = FIRST_PAUSE
    while True:
        if not _all_ended(simulations, run):
            simulations = yield from client.list_simulations(run.run_id, until=until)
        metrics = run.metrics
        if criteria.needs_targets:
            metrics = yield from _with_targets(client, metrics, targets, until)
        result = RunResult(
            run_id=run.run_id,
            expected=max(criteria.simulations, _known(run, simulations)),
            reported_error=_reported_error(run, simulations),
            simulations=simulations,
            metrics=metrics,
        )
        if run.is_over and run.status != COMPLETED:
            return NotCompleted(run=run)
        missing = missing_data(result, criteria)
        if run.status == COMPLETED and not any(missing):
            return Completed(result=result)
        if clock.now() >= give_up:
            late = budgets.whole if clock.now() >= budgets.deadline else None
            return Completed(result=result, late=late) if run.is_over else TimedOut(run=run, limit=budgets.whole)
        if pause == FIRST_PAUSE:
            log(missing_text(missing))
        yield Wait(min(pause, give_up - clock.now()))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        with suppress(NotFound):  # it was there a moment ago; if it is gone for good, its values stay missing
            run = yield from client.get_run(run.run_id, until=until)
            record(run)


def missing_data(result: RunResult, criteria: Criteria) -> MissingData:
    """Return what the criteria need and Coval does not have yet."""
    running = sum(each.status not in TERMINAL for each in result.simulations)
    absent = max(0, max(result.expected, 1) - len(result.simulations))
    if absent or running:
        return MissingData(simulations=absent + running)
    metrics = [metric for metric in result.metrics if criteria.needs_targets and metric.target]
    for reference in criteria.references:
        found = result.find_metrics(reference)
        if not found:
            return MissingData(metric=reference)
        metrics += found
    completed = [each.id for each in result.simulations if each.completed]
    by_metric = {each.id: each.values for each in metrics if not each.summary}
    return MissingData(values=sum(each not in values for values in by_metric.values() for each in completed))


def _known(run: Run, simulations: tuple[Simulation, ...]) -> int:
    """How many simulations the run has at the least, by all that Coval says of it.

    Whether `output_ids` are simulation ids is not documented; where one of them is, all are.
    """
    listed = {each.id for each in simulations}
    named = {each for metric in run.metrics for each in metric.values}
    outputs = set(run.output_ids)
    return max(run.simulations, len(listed | named | (outputs if outputs & (listed | named) else set())))


def _all_ended(simulations: tuple[Simulation, ...], run: Run) -> bool:
    enough = len(simulations) >= max(run.simulations, 1)
    return enough and all(each.status in TERMINAL for each in simulations)


def _reported_error(run: Run, simulations: tuple[Simulation, ...]) -> str:
    """What Coval reports of the run that is not said by its simulations.

    EXECUTION_FAILURE is what Coval reports where a single simulation failed: there it says nothing new.
    """
    restated = run.error_status.upper() == "EXECUTION_FAILURE" and not all(each.completed for each in simulations)
    told = ("" if run.is_clean or restated else run.error_status, run.error)
    return one_line(": ".join(each for each in told if each))


def _with_targets(
    client: Client, metrics: tuple[Metric, ...], known: dict[str, Target | None], until: float
) -> Procedure[tuple[Metric, ...]]:
    """Return the metrics with the targets that their definitions state; each definition is fetched once."""
    for metric in metrics:
        if metric.id not in known:
            known[metric.id] = read_target((yield from client.get_metric(metric.id, until=until)))
    return tuple(replace(metric, target=known[metric.id]) for metric in metrics)
