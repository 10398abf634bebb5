"""When to look at a run again.

A run ends when its last part has ended, and few parts may be the last: the queue, the conversations that began last,
the one that is yet to begin last. Of each we know its age and, from the conversations that are over, how long one
typically lasts; that gives the chance that the whole run ends within the next t seconds. We wait until this chance
times the lateness that it would bring, t / 2 on average, has grown to `LOOK_WORTH`. So the pause is long while much
is left, shrinks as the end comes near, and grows again if the end fails to come.

To weigh lateness against the price of a look is the usual optimum for inspections: where the chance to end is a
constant h per second, the pause is sqrt(2 * LOOK_WORTH / h) (J. B. Keller, "Optimum checking schedules for systems
subject to random failure", Management Science 21, 1974).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHORTEST_PAUSE: Final = 2.0  # s; one second late on average, which nobody feels
LONGEST_PAUSE: Final = 30.0  # s; a common fixed interval: we are never later than that
LOOK_WORTH: Final = 0.08  # s of expected lateness that justify a request; at 4 times this: half as many, twice as late

USUAL_LENGTH: Final = 60.0  # s; of a queue, a conversation, a run without progress, until the run itself tells
FINISHING: Final = 10.0  # s; from the last conversation that is counted to the end of the run
KNOWN: Final = 3.0  # shape (see Part) of conversations: nine of ten last 0.4 to 2.7 times as long as the typical one
UNKNOWN: Final = 1.0  # shape of all else: what has lasted long will last as long again
HANGING: Final = 0.01  # share of parts that never end; thus a run that is far overdue costs few requests
LAST_BEGUN: Final = 2  # talking ones that count; an error in `typical` is common to all, so more would seem too certain

_MANY: Final = 10**6  # conversations, and
_EVER: Final = 1e9  # seconds; nonsense is cut down to these before it can overflow


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at a run showed."""

    at: float  # seconds on the caller's monotonic clock
    running: bool  # False while the run is queued
    done: int | None = None  # conversations that ended, completed or failed; None where the API reports no progress
    total: int | None = None
    active: int | None = None  # conversations in progress right now


class Part(NamedTuple):
    """Something that has to end before the run does."""

    age: float  # s; negative if it is yet to begin
    typical: float  # s, the median length
    shape: float  # the larger, the more alike the lengths

    def lasts(self, x: float) -> float:
        """The chance that such a part lasts longer than `x` seconds: log-logistic, but for those that hang."""
        return HANGING + (1.0 - HANGING) / (1.0 + math.pow(max(x, 0.0) / self.typical, self.shape))

    def over_within(self, t: float) -> float:
        """The chance that the part, having come to its age, ends within `t` seconds."""
        return 1.0 - self.lasts(self.age + t) / self.lasts(self.age)


class Counts(NamedTuple):
    """The counts of one look, made to agree with each other."""

    at: float  # s
    done: int
    left: int
    talking: int  # at least 1 unless none is left: where the API names none, one is about to begin


def next_pause(history: Sequence[Observation], *, longest: float = LONGEST_PAUSE) -> float:
    """Seconds until the next look. `history`: every look, oldest first, not empty; `longest`: the user's bound, s."""
    if longest <= SHORTEST_PAUSE:
        return longest
    parts = _parts(history, _counts(history), early=1.0)  # too soon costs a look, too late is what we want to avoid
    return _least(lambda t: _over_within(parts, t) * t / 2 >= LOOK_WORTH, SHORTEST_PAUSE, min(longest, _EVER))


def expected_end(history: Sequence[Observation]) -> float | None:
    """When the run is as likely over as not, if it does not hang, on the clock of `history`.

    None until a conversation was seen to end, and once none is left.
    """
    counts = _counts(history)
    if not history[-1].running or not counts or counts[-1].left == 0 or counts[-1].done <= counts[0].done:
        return None
    parts = _parts(history, counts, early=0.5)
    half = _over_within(parts, _EVER) / 2
    return history[-1].at + _least(lambda t: _over_within(parts, t) >= half, 0.0, _EVER)


def _least(reached: Callable[[float], bool], low: float, high: float) -> float:
    """The least t from `low` on that has `reached`, as every later one has, to 0.05 s; at most `high`."""
    if reached(low):
        return low
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _over_within(parts: Sequence[Part], t: float) -> float:
    return math.prod(part.over_within(t) for part in parts)


def _parts(history: Sequence[Observation], counts: Sequence[Counts], *, early: float) -> list[Part]:
    """The parts that may end last, as of the last look. `early`: how near the next free place is, 0 to 1."""
    now = history[-1].at
    if not history[-1].running:
        return [Part(_between(history[0].at, now), USUAL_LENGTH, UNKNOWN), Part(0.0, USUAL_LENGTH, KNOWN)]
    if not counts:
        begin = next(look.at for look in history if look.running)
        return [Part(_between(begin, now), USUAL_LENGTH, UNKNOWN)]
    last = counts[-1]
    if last.left == 0:  # the run works on its metrics, or has more conversations than it counts
        since = next(look.at for look in counts if look.done == last.done)
        return [Part(_between(since, now), FINISHING, UNKNOWN)]
    # Seconds of talk per conversation. One in progress counts half; to begin with, there is one of the usual length.
    talked = sum(earlier.talking * _between(earlier.at, later.at) for earlier, later in pairwise(counts))
    ended = max(last.done - counts[0].done, 0)
    typical = (talked + last.talking * _between(last.at, now) + USUAL_LENGTH) / (ended + last.talking / 2 + 1)
    parts = [Part(_between(begin, now), typical, KNOWN) for begin in _last_begins(counts)]
    waiting = last.left - last.talking
    if waiting > 0:  # `talking` places become free per typical length; the last in line takes the last that it needs
        parts.append(Part(-(waiting - early) * typical / last.talking, typical, KNOWN))
    return parts


def _last_begins(counts: Sequence[Counts]) -> list[float]:
    """When the youngest of those that talk began: at the look that first counted them."""
    begins: list[float] = []
    begun = 0
    for look in counts:
        begins += [look.at] * min(look.done + look.talking - begun, LAST_BEGUN)
        begun = max(begun, look.done + look.talking)
    return begins[-min(counts[-1].talking, LAST_BEGUN) :]


def _counts(history: Sequence[Observation]) -> list[Counts]:
    counts = []
    for look in history:
        if look.running and look.done is not None and look.total is not None and look.total > 0:
            total = min(look.total, _MANY)
            done = min(max(look.done, 0), total)
            counts.append(Counts(look.at, done, total - done, min(max(look.active or 0, 1), total - done)))
    return counts


def _between(earlier: float, later: float) -> float:
    return min(max(later - earlier, 0.0), _EVER)
