"""Verdicts on a run, the statuses of the gate, and what a step ends with: the outcome of its run, or else. Frozen."""

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from coval_gate.coval.model import Run, RunResult
from coval_gate.inputs.naming import TOGETHER_NAME

COMPLETED_WITH_FAILURES: Final = "COMPLETED_WITH_FAILURES"
TIMEOUT: Final = "TIMEOUT"
LAUNCHED_ONLY: Final = "LAUNCHED"
PLANNED_ONLY: Final = "PLANNED"
HISTORY_ONLY: Final = "HISTORY"
SKIPPED_STEP: Final = "SKIPPED"


class Verdict(StrEnum):
    """`failed` is about the agent; `error` about us, the API or the configuration. They are never mixed."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


# The gravest first: data in doubt allow no verdict on the agent.
GRAVITY: Final = (Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
ON_AGENT: Final = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE)
# The gravest leg decides a step.
LEG_GRAVITY: Final = (Verdict.ERROR, Verdict.FAILED, Verdict.CANCELLED, Verdict.TIMED_OUT, *GRAVITY[2:])


class Limit(NamedTuple):
    """`name`: of the input."""

    name: str
    seconds: float


class Completed(NamedTuple):
    """`late`: the limit that passed before all simulations and values arrived, or before the next slice began."""

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


class Launched:
    """The step only had to launch the run, and did."""


class OnlyRead(NamedTuple):
    """`what` the step, which launched and judged nothing, found, as a sentence."""

    what: str


class StepInterrupted:
    """A signal ended the step."""


UNFINISHED_TEXT: Final = "The step ended before it could reach a verdict."  # an output has it before the launch


class Unfinished:
    """The step ended before it could reach a verdict."""


class Skipped(NamedTuple):
    """The step was skipped because there is no API key. `withheld`: as `Context.secrets_withheld_from`."""

    withheld: str = ""


class NoneSelected:
    """The step was to evaluate no leg."""


class RunsCancelled(NamedTuple):
    cancellations: tuple[Cancellation, ...]


class Errored(NamedTuple):
    """The step ended with an error of ours, of the API or of the configuration; the texts are from a GateError."""

    title: str
    what: str
    advice: str = ""
    link: str = ""


class Unanswered(NamedTuple):
    """A job had to answer the simulations of the run, and did not, so the run shows nothing of the agent."""

    run: Run


class Together(NamedTuple):
    """Several legs of a step were compared at once. `legs`: the places of those that took part, of `total`."""

    legs: tuple[int, ...]
    total: int

    @property
    def name(self) -> str:
        every = len(self.legs) == self.total
        return f"{'all' if every else f'{len(self.legs):,} of {self.total:,}'} {TOGETHER_NAME}"


Cause = (
    Outcome
    | Unanswered
    | Together
    | Launched
    | OnlyRead
    | StepInterrupted
    | Unfinished
    | Skipped
    | NoneSelected
    | RunsCancelled
    | Errored
)
