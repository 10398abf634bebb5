"""The statuses of a run, in one spelling for all of Coval's."""

from __future__ import annotations

from typing import Final

from coval_gate.text import one_line

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
    """ "in_progress" is "IN PROGRESS", "Canceled" is "CANCELLED". Raises ValueError for what is no text."""
    if not isinstance(status, str) or not status.strip():
        raise ValueError("a status is text")
    words = one_line(status.upper().replace("_", " ").replace("-", " "), 40)
    return CANCELLED if words == "CANCELED" else words
