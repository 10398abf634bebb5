"""How the work on a run ends: what happened to it, and what became of one that was cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run


class Limit(NamedTuple):
    """A limit on time: the input that sets it, and its length in seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The run completed. `late`: the limit that passed before Coval had all of its simulations and values."""

    result: RunResult
    late: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompleted:
    """The run is over, but it did not complete: `run.status` says how it ended."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """A limit passed before the run was over. `run` is what the last look at it showed."""

    run: Run
    limit: Limit


Outcome = Completed | NotCompleted | TimedOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What became of a run that a step stopped waiting for.

    cancelled: this step ended it; over: it had ended before, with `status`; gone: Coval does not have it any more;
    not_launched: there never was one; left: it goes on; maybe_left: a run may go on whose id is not known; failed: it
    could not be cancelled, for the reason `why`.
    """

    outcome: Literal["cancelled", "over", "gone", "not_launched", "left", "maybe_left", "failed"]
    run_id: str = ""
    status: str = ""
    why: str = ""
