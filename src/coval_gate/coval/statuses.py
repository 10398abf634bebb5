"""The statuses of a run, in one spelling for all of Coval's."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 40  # characters
PENDING: Final = "PENDING"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
CANCELLED: Final = "CANCELLED"
DELETED: Final = "DELETED"
ERROR: Final = "ERROR"

QUEUED: Final = frozenset({PENDING, "IN QUEUE", "QUEUED"})
RUNNING: Final = frozenset({"IN PROGRESS", "RUNNING"})
TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, DELETED, ERROR})


def normalize_status(status: object) -> str:
    """ "in_progress" is "IN PROGRESS", "Canceled" is "CANCELLED". Raises ValueError for what is no short plain text."""
    if not isinstance(status, str) or not status.isprintable() or not 0 < len(status.strip()) <= LONGEST:
        raise ValueError("a status is a short text")
    words = " ".join(status.upper().replace("_", " ").replace("-", " ").split())
    return CANCELLED if words == "CANCELED" else words
