"""The state of a Coval run at one poll, its outcome, and the outcome of its cancellation. Frozen."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from coval_gate.base.records import NamedTuple
from coval_gate.model.statuses import ENDING, QUEUED, RUNNING, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.model.results import Metric, RunResult

CLEAN: Final = frozenset({"", "SUCCESS"})


class RunProgress(NamedTuple):
    """Coval does not document whether it counts test cases or simulations. `failed` is None if it does not say."""

    total: int
    completed: int
    failed: int | None = 0

    @property
    def done(self) -> int:
        return min(self.total, self.completed + (self.failed or 0))

    def in_simulations(self, planned: int | None) -> RunProgress:
        """Return the counts of simulations, if a run that has so many shows counts of their test cases."""
        each, rest = divmod(planned or 0, self.total or 1)
        if each <= 1 or rest or not self.total:
            return self
        failed = None if self.failed is None else each * self.failed
        return RunProgress(each * self.total, each * self.completed, failed)


class Run(NamedTuple):
    """`metadata` is from the launch. Until the run completes, `metrics` is empty.

    `output_ids`: None until then, and where Coval omits them. `averages` exist only in a list that requested them.
    """

    run_id: str
    status: str
    progress: RunProgress | None = None
    error: str = ""
    error_status: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    create_time: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = MappingProxyType({})
    output_ids: tuple[str, ...] | None = None
    metrics: tuple[Metric, ...] = ()
    averages: Mapping[str, float] = MappingProxyType({})

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_ending(self) -> bool:
        """Coval may report that the run is being cancelled only once the run is over."""
        return self.status in ENDING

    @property
    def is_empty(self) -> bool:
        """Whether both of Coval's counts say that the run has no simulations."""
        return self.output_ids == () and self.progress is not None and self.progress.total == 0

    @property
    def is_queued(self) -> bool:
        return self.status in QUEUED

    @property
    def shows_failures(self) -> bool:
        """Whether it shows how many simulations have failed so far: none, before the first."""
        progress = self.progress
        return self.status in QUEUED or bool(progress and progress.total and progress.failed is not None)

    @property
    def has_known_status(self) -> bool:
        return self.status in QUEUED | RUNNING | TERMINAL

    @property
    def is_clean(self) -> bool:
        """Live runs have "SUCCESS" in `error_status`, or omit it."""
        return self.error_status.upper() in CLEAN


class Limit(NamedTuple):
    """`name`: the input that sets it."""

    name: str
    seconds: float


class Completed(NamedTuple):
    """`late`: the limit that passed before all simulations and values arrived."""

    result: RunResult
    late: Limit | None = None


class NotCompleted(NamedTuple):
    run: Run


class TimedOut(NamedTuple):
    """`run` is its state at the last poll."""

    run: Run
    limit: Limit


class Aborted(NamedTuple):
    """So many simulations failed, and none completed, that the step gave up the run. `error`: their most common one."""

    run: Run
    failed: int
    error: str = ""


Outcome = Completed | NotCompleted | TimedOut | Aborted


class Cancellation(NamedTuple):
    """cancelled: by the step; over: the run had already ended, with `status`; gone: Coval no longer has it;
    not_launched: there was no run; left: it continues; maybe_left: a run with an unknown id may continue; failed: the
    step could not cancel it, for that `reason`.
    """

    outcome: Literal["cancelled", "over", "gone", "not_launched", "left", "maybe_left", "failed"]
    run_id: str = ""
    status: str = ""
    reason: str = ""
