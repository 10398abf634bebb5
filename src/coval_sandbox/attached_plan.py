"""Plans a run whose simulations wait for a process. Until one connects, the plan is that none will."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from .plan import Plan, PlannedSimulation, end_of_run
from .scenarios import FAILURE, Value


class Session(NamedTuple):
    """`began` and `ended` are in seconds after the launch. `error`: None if the simulation did not fail."""

    began: float
    ended: float = math.inf
    error: str | None = None
    values: Mapping[str, Value] | None = None


def attached_plan(first: Plan, concurrency: int, sessions: Mapping[str, Session], limit: float) -> Plan:
    """Return the plan as the `sessions` so far, by simulation, change the `first` one.

    A simulation that no process connects to fails after `limit` seconds.
    """
    free = [first.queue] * concurrency
    simulations = []
    for planned in first.simulations:
        start = heapq.heappop(free)
        simulations.append(_simulation(planned, start, sessions.get(planned.simulation_id), limit))
        heapq.heappush(free, simulations[-1].end)
    end = end_of_run(first.scenario, first.queue, simulations)
    failed = any(planned.failed for planned in simulations)
    scenario = replace(first.scenario, error_status=FAILURE) if failed else first.scenario
    return replace(first, scenario=scenario, simulations=tuple(simulations), end=end)


def _simulation(planned: PlannedSimulation, start: float, session: Session | None, limit: float) -> PlannedSimulation:
    if session is None:
        return _failed(planned, start, start + limit, f"No agent connected within {limit:g} s")
    if session.error is not None:
        return _failed(planned, start, session.ended, session.error)
    values = planned.values if session.values is None else session.values
    return replace(planned, start=start, end=session.ended, values=values)


def _failed(planned: PlannedSimulation, start: float, end: float, message: str) -> PlannedSimulation:
    return replace(planned, start=start, end=end, failed=True, error_message=message, values={})
