"""The verdicts on a run, and the statuses that the gate reports in addition to Coval's."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

COMPLETED_WITH_FAILURES: Final = "COMPLETED_WITH_FAILURES"
TIMEOUT: Final = "TIMEOUT"
LAUNCHED: Final = "LAUNCHED"
PLANNED: Final = "PLANNED"
SKIPPED: Final = "SKIPPED"


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
# The gravest leg decides a step.
OF_LEGS: Final = (Verdict.ERROR, Verdict.FAILED, Verdict.CANCELLED, Verdict.TIMED_OUT, *GRAVITY[2:])
