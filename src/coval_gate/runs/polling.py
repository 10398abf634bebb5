"""Decides when to poll a run again.

A run ends when its last part ends. Only a few parts can be the last: the queue, the conversations that began most
recently, and the one that will begin last. We know the age of each part and, from the finished conversations, the
typical length of one. Both give the probability that the whole run ends within the next t seconds. The next poll is due
when this probability times the mean detection delay, t / 2, reaches `POLL_COST`. So the pause is long while much is
left, shrinks towards the expected end, and grows again if the run is overdue.

Until a run provides data, it may be a chat, whose parts take seconds, or a call, whose parts take a minute. Each kind
gives a probability to end. By Bayes' rule, it counts as far as a run of the kind is likely to show such conversations,
and to be quiet for as long as this one. So the first pauses are short, and soon as long as for a call, unless the
conversations turn out to be short. No pause is longer than the run's age: what a run has shown in a few seconds says
little about a longer time.

Runs that are polled side by side share what a poll may cost, so n runs pause sqrt(n) times as long. The first pauses
are short because little is known, and many runs would have theirs at the same time. So each of more than FEW runs has
had at most one poll for every EACH * (n - FEW) seconds of its age, and one at the start: n runs together have at most
n + (60 / EACH) * n / (n - FEW) in the first minute, which is 60 for 20 runs. What a run saves while its pauses are
long, it may spend at its end. Runs that are over do not count: the last one is watched as if it were alone.

Weighing the delay against the cost of a poll is the standard optimum for inspections. If the probability to end is a
constant h per second, the pause is sqrt(2 * POLL_COST / h) (J. B. Keller, "Optimum checking schedules for systems
subject to random failure", Management Science 21, 1974).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHORTEST_PAUSE: Final = 1.0  # s; a mean delay of half a second is not noticeable
LONGEST_PAUSE: Final = 30.0  # s; a common fixed interval: the delay is never longer than with one
POLL_COST: Final = 0.08  # s of expected delay that justify a request; at 4 times this: half the polls, twice the delay

FINISHING: Final = 10.0  # s at most, usually, from the last counted conversation to the end of the run
KNOWN: Final = 3.0  # shape (see Part) of conversations: nine of ten last 0.4 to 2.7 times the typical length
UNKNOWN: Final = 1.0  # shape of other parts: one that has lasted long will last about as long again
HANGING: Final = 0.01  # share of parts that never end: a run that is far overdue costs few requests
FEW: Final = 5  # runs side by side that may be polled as often as they need
EACH: Final = 2.0  # s from one poll of a run to the next, on average, for each run beyond these
LAST_BEGUN: Final = 2  # active conversations that count; they share any error in `typical`, so more add no certainty

_MANY: Final = 10**6  # conversations, and
_EVER: Final = 1e9  # seconds; absurd values are limited to these, and cannot overflow


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of a run at one poll."""

    at: float  # seconds on the caller's monotonic clock
    running: bool  # False while the run is queued
    done: int | None = None  # conversations completed or failed; None if the API reports no progress
    total: int | None = None
    active: int | None = None  # conversations in progress right now


class Talk(NamedTuple):
    """What the conversations of a run have shown of their length."""

    seconds: float  # of all conversations together
    ended: int  # conversations
    quiet: float  # s since the last of them ended, or else since the launch


class RunKind(NamedTuple):
    """A kind of run, by the usual length of its parts until the run provides data."""

    share: float  # of all runs
    usual: float  # s; of a queue, a conversation, or a run without progress

    def weight(self, talk: Talk) -> float:
        """Return the relative probability of this kind of run, given its talk."""
        ended = min(talk.ended, TELLING)
        seen = self.usual / math.pow(self.usual + talk.seconds, ended + 1) if ended else 1.0
        return self.share * seen * _survival(talk.quiet, WHOLE * self.usual, KNOWN)


CHAT: Final = RunKind(share=1 / 3, usual=4.0)
CALL: Final = RunKind(share=2 / 3, usual=60.0)
WHOLE: Final = 1.5  # parts; the usual length of a run that has one conversation
TELLING: Final = 8  # conversations that show the kind beyond doubt


class Part(NamedTuple):
    """A part of a run, which must end before the run can end."""

    age: float  # s; negative if it has not begun
    typical: float  # s, the median length
    shape: float  # the larger, the more similar the lengths

    def lasts(self, x: float) -> float:
        """Return the probability that the part lasts longer than `x` seconds: log-logistic, except for hanging ones."""
        return HANGING + (1.0 - HANGING) * _survival(x, self.typical, self.shape)

    def over_within(self, t: float) -> float:
        """Return the probability that the part, given its age, ends within `t` seconds."""
        return 1.0 - self.lasts(self.age + t) / self.lasts(self.age)


class Counts(NamedTuple):
    """The counts of one poll, made consistent with each other."""

    at: float  # s
    done: int
    left: int
    talking: int  # at least 1 unless none is left: if the API reports none, one is about to begin


def next_pause(history: Sequence[Observation], *, longest: float = LONGEST_PAUSE, runs: int = 1) -> float:
    """Return the pause until the next poll, in seconds.

    `history`: every poll, oldest first, not empty. `longest`: the longest pause that the user allows, in seconds.
    `runs`: how many runs are polled side by side. A poll costs as much more, so pauses grow with their square root, and
    many runs are polled only so often.
    """
    if longest <= SHORTEST_PAUSE:
        return longest
    over_within = _over_within(history, early=1.0)  # an early poll costs one request, a late one delays the step
    age = _between(history[0].at, history[-1].at)
    due = len(history) * EACH * max(0, runs - FEW) - age
    shortest = min(max(SHORTEST_PAUSE, due), longest)
    longest = max(shortest, min(longest, max(age, CHAT.usual)))
    return _least(lambda t: over_within(t) * t / 2 >= POLL_COST * runs, shortest, min(longest, _EVER))


def expected_end(history: Sequence[Observation]) -> float | None:
    """Return the median of the run's end, provided that it does not hang, on the clock of `history`.

    None until the first conversation has ended, and once none is left.
    """
    counts = _counts(history)
    if not history[-1].running or not counts or counts[-1].left == 0 or counts[-1].done <= counts[0].done:
        return None
    over_within = _over_within(history, early=0.5)
    half = over_within(_EVER) / 2
    return history[-1].at + _least(lambda t: over_within(t) >= half, 0.0, _EVER)


def _least(reached: Callable[[float], bool], low: float, high: float) -> float:
    """Return the smallest t from `low` to `high` for which the monotonic `reached` is True, to 0.05 s."""
    if reached(low):
        return low
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _survival(x: float, typical: float, shape: float) -> float:
    return 1.0 / (1.0 + math.pow(max(x, 0.0) / typical, shape))


def _over_within(history: Sequence[Observation], *, early: float) -> Callable[[float], float]:
    """Return the function from t to the probability that the run ends within `t` seconds of the last poll.

    `early`: how soon the next slot becomes free, from 0 (after a full interval) to 1 (now).
    """
    counts = _counts(history)
    talk = _talk(history, counts)
    kinds = [(kind.weight(talk), _parts(history, counts, talk, kind.usual, early)) for kind in (CHAT, CALL)]
    whole = sum(weight for weight, _ in kinds)
    return lambda t: sum(w * math.prod(part.over_within(t) for part in parts) for w, parts in kinds) / whole


def _talk(history: Sequence[Observation], counts: Sequence[Counts]) -> Talk:
    now, age = history[-1].at, _between(history[0].at, history[-1].at)
    if not counts:
        return Talk(0.0, 0, age)
    first, last = counts[0], counts[-1]
    seconds = sum(earlier.talking * _between(earlier.at, later.at) for earlier, later in pairwise(counts))
    seconds += last.talking * _between(last.at, now)
    ended = max(
        last.done - first.done, 0
    )  # the first poll may find an old run; how long its ended ones took is unknown
    queued = [poll.at for poll in history if not poll.running and poll.at <= first.at]
    if queued:
        seconds += first.talking * _between(queued[-1], first.at) / 2
        ended = last.done
    quiet = _between(next(poll.at for poll in counts if poll.done == last.done), now) if ended else age
    return Talk(seconds, ended, quiet)


def _parts(
    history: Sequence[Observation], counts: Sequence[Counts], talk: Talk, usual: float, early: float
) -> list[Part]:
    """Return the parts that may end last, as of the last poll, in a run of the kind with this `usual` length."""
    now = history[-1].at
    if not history[-1].running:
        return [Part(_between(history[0].at, now), usual, UNKNOWN), Part(0.0, usual, KNOWN)]
    if not counts:
        begin = next(poll.at for poll in history if poll.running)
        return [Part(_between(begin, now), usual, UNKNOWN)]
    last = counts[-1]
    if last.left == 0:  # the run computes its metrics, or has more conversations than it counts
        since = next(poll.at for poll in counts if poll.done == last.done)
        return [Part(_between(since, now), min(usual, FINISHING), UNKNOWN)]
    # Seconds per conversation. An active one counts half. The prior is one conversation of the usual length.
    typical = (talk.seconds + usual) / (talk.ended + last.talking / 2 + 1)
    parts = [Part(_between(begin, now), typical, KNOWN) for begin in _latest_begins(counts)]
    waiting = last.left - last.talking
    if waiting > 0:  # `talking` slots become free per typical length; the last in line takes the last slot
        parts.append(Part(-(waiting - early) * typical / last.talking, typical, KNOWN))
    return parts


def _latest_begins(counts: Sequence[Counts]) -> list[float]:
    """Return when the latest active conversations began: at the poll that first counted them."""
    begins: list[float] = []
    begun = 0
    for poll in counts:
        begins += [poll.at] * min(poll.done + poll.talking - begun, LAST_BEGUN)
        begun = max(begun, poll.done + poll.talking)
    return begins[-min(counts[-1].talking, LAST_BEGUN) :]


def _counts(history: Sequence[Observation]) -> list[Counts]:
    counts = []
    for poll in history:
        if poll.running and poll.done is not None and poll.total is not None and poll.total > 0:
            total = min(poll.total, _MANY)
            done = min(max(poll.done, 0), total)
            counts.append(Counts(poll.at, done, total - done, min(max(poll.active or 0, 1), total - done)))
    return counts


def _between(earlier: float, later: float) -> float:
    return min(max(later - earlier, 0.0), _EVER)
