"""The outcomes of a run and of its cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run


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
    """A limit passed before the run ended.

    `run` is its state at the last poll. `reopened`: the run had completed before, and was in progress again.
    """

    run: Run
    limit: Limit
    reopened: bool = False


Outcome = Completed | NotCompleted | TimedOut


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
