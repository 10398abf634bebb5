"""The state of a run at a given time, as a pure function of its record. Nothing runs in the background."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .launch import LaunchRequest
from .plan import Plan, PlannedSimulation

PENDING_SECONDS = 1.0
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "DELETED", "ERROR"})


@dataclass(frozen=True)
class RunRecord:
    """A launched run, even if it was deleted later. Times are seconds since the epoch.

    `metric_versions`: at the launch. `cancel_time`: when a DELETE of the unfinished run ends it. `delete_time`: when a
    DELETE of the finished run removed it. `schedule_id`: empty if no scheduled run launched it.
    """

    run_id: str
    create_time: float
    body: dict[str, Any]
    request: LaunchRequest
    plan: Plan
    tags: tuple[str, ...] = ()
    metric_versions: Mapping[str, int] = field(default_factory=dict)
    cancel_time: float | None = None
    delete_time: float | None = None
    schedule_id: str = ""

    @property
    def end_time(self) -> float:
        """Infinite if the run never ends."""
        return self.create_time + self.plan.end if self.cancel_time is None else self.cancel_time

    def status(self, now: float) -> str:
        """In the documented spelling; CANCELLED after a DELETE of the unfinished run."""
        if now >= self.end_time:
            return self.plan.scenario.end_status if self.cancel_time is None else "CANCELLED"
        elapsed = now - self.create_time
        if elapsed < min(PENDING_SECONDS, self.plan.queue):
            return "PENDING"
        return "IN QUEUE" if elapsed < self.plan.queue else "IN PROGRESS"

    def finished(self, now: float) -> bool:
        return now >= self.end_time

    def simulation_status(self, simulation: PlannedSimulation, now: float) -> str:
        """The end of the run also ends its unfinished simulations."""
        moment = min(now, self.end_time)
        if moment >= self.create_time + simulation.end:
            return "FAILED" if simulation.failed else "COMPLETED"
        if self.finished(now):
            return "FAILED" if self.status(now) in {"FAILED", "ERROR"} else "CANCELLED"
        if moment >= self.create_time + simulation.start:
            return "IN PROGRESS"
        return "PENDING" if self.status(now) == "PENDING" else "IN QUEUE"

    def is_listed(self, simulation: PlannedSimulation, now: float, trickle: float, *, by_case: bool = False) -> bool:
        """With `trickle`, simulations appear during so many s after the run's end. Until then, a run lists all.

        They appear test case by test case, one by one or (`by_case`) all of a test case at once.
        """
        if not trickle or not self.finished(now):
            return True
        total, cases = len(self.plan.simulations), len({planned.test_case_id for planned in self.plan.simulations})
        case, earlier = simulation.number % cases, total // cases - 1 if by_case else simulation.number // cases
        return now >= self.end_time + trickle * (case * (total // cases) + earlier + 1) / total

    def is_metric_listed(self, metric_id: str, now: float, trickle: float) -> bool:
        """With `trickle`, metrics appear during so many s after the run's end."""
        ids = self.plan.metric_ids
        return now >= self.end_time + trickle * ids.index(metric_id) / max(1, len(ids) - 1)

    def update_time(self, now: float) -> float:
        """Changes of simulations count, too."""
        if self.finished(now):
            return self.end_time
        offsets = [0.0, self.plan.queue, *(t for s in self.plan.simulations for t in (s.start, s.end))]
        return max(moment for offset in offsets if (moment := self.create_time + offset) <= max(now, self.create_time))

    def value_time(self, simulation: PlannedSimulation, lag: float) -> float:
        """Without lag, the values appear when the simulation ends.

        Otherwise, they appear simulation by simulation during the `lag` seconds after the run's end, the last exactly
        at the end of the lag.
        """
        if not lag or math.isinf(self.end_time):
            return self.create_time + simulation.end
        return self.end_time + lag * (simulation.number + 1) / len(self.plan.simulations)
