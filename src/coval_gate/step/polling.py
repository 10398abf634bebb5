"""Decides when to poll a run again.

A run that has gone on for long will probably go on for long, so a pause is a tenth of the run's age. Once conversations
have ended, their pace shows when the last one will: the pause is at most a sixth of the time until then, and grows
again if the run is overdue.

Runs that are polled side by side pause sqrt(n) times as long. The first pauses are short, and many runs have theirs at
the same time. So each of more than FEW runs has had at most one poll for every EACH * (n - FEW) seconds of its age, and
one at the start: n runs together have at most n + (60 / EACH) * n / (n - FEW) in the first minute, which is 60 for 20
runs. What a run saves while its pauses are long, it may spend at its end. Runs that are over do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_PAUSE: Final = 1.0  # s; a mean delay of half a second is not noticeable
LONGEST_PAUSE: Final = 30.0  # s; a common fixed interval: the delay is never longer than with one
OF_AGE, OF_REST = 10.0, 6.0  # parts of the run's age and of the time until its expected end; one is a pause
FEW: Final = 5  # runs side by side that may be polled as often as they need
EACH: Final = 2.0  # s from one poll of a run to the next, on average, for each run beyond these


@dataclass(frozen=True, slots=True)
class Observation:
    at: float  # seconds on the caller's monotonic clock
    running: bool  # False while the run is queued
    done: int | None = None  # conversations completed or failed; None if the API reports no progress
    total: int | None = None


def next_pause(history: Sequence[Observation], *, longest: float = LONGEST_PAUSE, runs: int = 1) -> float:
    """Return seconds. `history`: all polls, oldest first, not empty. `runs`: how many are polled side by side."""
    now = history[-1].at
    age = max(0.0, now - history[0].at)
    pause = age / OF_AGE
    if (end := _last_end(history)) is not None:
        pause = min(pause, abs(end - now) / OF_REST)
    due = len(history) * EACH * max(0, runs - FEW) - age
    return min(max(pause * math.sqrt(runs), due, SHORTEST_PAUSE), longest)


def expected_end(history: Sequence[Observation]) -> float | None:
    """Not before the last poll. None until the first conversation has ended, and once none is left."""
    end, last = _last_end(history), history[-1]
    return None if end is None or last.done == last.total else max(end, last.at)


def _last_end(history: Sequence[Observation]) -> float | None:
    """Return when the last conversation ended, or will end at the pace so far; None while nothing shows a pace."""
    counted = [poll for poll in history if poll.running and poll.done is not None and poll.total]
    if not counted:
        return None
    first, last = counted[0], counted[-1]
    since = next(poll.at for poll in counted if poll.done == last.done)
    begun, ended, total = first.done or 0, last.done or 0, last.total or 0
    if ended >= total:
        return since
    return first.at + (since - first.at) * (total - begun) / (ended - begun) if ended > begun else None
