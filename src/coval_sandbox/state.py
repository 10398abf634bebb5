"""The state of a run at a moment: a pure function of its record and the time. Nothing ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .launch import LaunchRequest
    from .plan import Plan, PlannedSimulation

PENDING_SECONDS = 1.0
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "DELETED", "ERROR"})


@dataclass(frozen=True)
class RunRecord:
    """One run that was launched, also when it was deleted since. Times are seconds since the epoch.

    `body` is the request as it came. `cancel_time` is when a DELETE found the run unfinished,
    `delete_time` when a DELETE found it finished and removed it.
    """

    run_id: str
    create_time: float
    body: dict[str, Any]
    request: LaunchRequest
    plan: Plan
    tags: tuple[str, ...] = ()
    cancel_time: float | None = None
    delete_time: float | None = None

    @property
    def end_time(self) -> float:
        """When it ends or ended; infinite if never."""
        natural = self.create_time + self.plan.end
        return natural if self.cancel_time is None else min(natural, self.cancel_time)

    def status(self, now: float) -> str:
        """Its status in the documented spelling; CANCELLED after a DELETE that found it unfinished."""
        if now >= self.end_time:
            return self.plan.scenario.end_status if self.cancel_time is None else "CANCELLED"
        elapsed = now - self.create_time
        if elapsed < min(PENDING_SECONDS, self.plan.queue):
            return "PENDING"
        return "IN QUEUE" if elapsed < self.plan.queue else "IN PROGRESS"

    def finished(self, now: float) -> bool:
        """Whether its status is terminal."""
        return now >= self.end_time

    def simulation_status(self, simulation: PlannedSimulation, now: float) -> str:
        """Status of one of its simulations; those that the run's end cuts short share its fate."""
        moment = min(now, self.end_time)
        if moment >= self.create_time + simulation.end:
            return "FAILED" if simulation.failed else "COMPLETED"
        if self.finished(now):
            return "FAILED" if self.status(now) in {"FAILED", "ERROR"} else "CANCELLED"
        if moment >= self.create_time + simulation.start:
            return "IN PROGRESS"
        return "PENDING" if self.status(now) == "PENDING" else "IN QUEUE"

    def update_time(self, now: float) -> float:
        """When the run or one of its simulations last changed."""
        if self.finished(now):
            return self.end_time
        offsets = [0.0, self.plan.queue, *(t for s in self.plan.simulations for t in (s.start, s.end))]
        return max(moment for offset in offsets if (moment := self.create_time + offset) <= max(now, self.create_time))

    def value_time(self, simulation: PlannedSimulation, lag: float) -> float:
        """When the values of a simulation are there.

        Without lag, as soon as it ends. Else one simulation after the other during the `lag` seconds
        after the run's end, the last one of them at their very end.
        """
        if not lag or math.isinf(self.end_time):
            return self.create_time + simulation.end
        return self.end_time + lag * (simulation.number + 1) / len(self.plan.simulations)
