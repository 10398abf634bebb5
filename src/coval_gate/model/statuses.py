"""The statuses of a run, normalized from Coval's different spellings."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 40  # characters
PENDING: Final = "PENDING"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
CANCELLED: Final = "CANCELLED"
SKIPPED: Final = "SKIPPED"  # of a simulation that was not held, and of a metric that is not computed for one
DELETED: Final = "DELETED"
ERROR: Final = "ERROR"

QUEUED: Final = frozenset({PENDING, "IN QUEUE", "QUEUED"})
RUNNING: Final = frozenset({"IN PROGRESS", "RUNNING"})
ENDING: Final = frozenset({"CANCELLING", "CANCELING", "DELETING", "STOPPING", "TERMINATING", "ABORTING"})
TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, DELETED, ERROR})
ENDED: Final = TERMINAL | {SKIPPED}  # of a simulation


def normalize_status(status: object) -> str:
    """Turn "in_progress" into "IN PROGRESS". Raises ValueError unless it is a short plain text."""
    plain = status if isinstance(status, str) and status.isprintable() and len(status.strip()) <= LONGEST else ""
    words = " ".join(plain.upper().replace("_", " ").replace("-", " ").split())
    if not words:
        raise ValueError("status: not a short text")
    return CANCELLED if words == "CANCELED" else words
