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
    """A run's progress. Coval does not document whether it counts test cases or simulations."""

    total: int
    completed: int
    failed: int = 0

    @property
    def done(self) -> int:
        """The number that has ended, completed or failed."""
        return min(self.total, self.completed + self.failed)


class Run(NamedTuple):
    """One evaluation run; `metadata` is from its launch.

    Until the run completes, `metrics` is empty. `output_ids` is None until then, and if Coval does not list them.
    `averages` of the metrics, by id, exist only in a list that requested them.
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
        """Whether the run has reached a final status."""
        return self.status in TERMINAL

    @property
    def is_ending(self) -> bool:
        """Whether Coval reports that the run is being cancelled; it may do so only once the run is over."""
        return self.status in ENDING

    @property
    def is_empty(self) -> bool:
        """Whether both of Coval's counts say that the run has no simulations."""
        return self.output_ids == () and self.progress is not None and self.progress.total == 0

    @property
    def is_queued(self) -> bool:
        return self.status in QUEUED

    @property
    def has_known_status(self) -> bool:
        return self.status in QUEUED | RUNNING | TERMINAL

    @property
    def is_clean(self) -> bool:
        """Whether `error_status` reports no error; live runs have "SUCCESS" there, or omit it."""
        return self.error_status.upper() in CLEAN


class Limit(NamedTuple):
    """A time limit: the input that sets it, and its length in seconds."""

    name: str
    seconds: float


class Completed(NamedTuple):
    """The run completed. `late`: the limit that passed before all simulations and values arrived."""

    result: RunResult
    late: Limit | None = None


class NotCompleted(NamedTuple):
    """The run ended without completing; `run.status` says how."""

    run: Run


class TimedOut(NamedTuple):
    """A limit passed before the run ended; `run` is its state at the last poll."""

    run: Run
    limit: Limit


class Aborted(NamedTuple):
    """So many simulations of the run failed, and none completed, that the step gave it up; `run` is the last poll.

    `error`: the most common error of its simulations; empty where Coval shows none.
    """

    run: Run
    failed: int
    error: str = ""


Outcome = Completed | NotCompleted | TimedOut | Aborted


class Cancellation(NamedTuple):
    """What became of a run that the step stopped waiting for.

    cancelled: the step cancelled it; over: it had already ended, with `status`; gone: Coval no longer has it;
    not_launched: no run was launched; left: it continues; maybe_left: a run with an unknown id may continue; failed:
    the step could not cancel it, for that `reason`.
    """

    outcome: Literal["cancelled", "over", "gone", "not_launched", "left", "maybe_left", "failed"]
    run_id: str = ""
    status: str = ""
    reason: str = ""
