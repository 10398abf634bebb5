"""How watching a run ended, and how its cancellation did. Frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from coval_gate.coval.model import Run, RunResult


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
