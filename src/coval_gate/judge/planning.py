"""How many conversations a threshold needs to reach a confidence. Pure; exact for one conversation a case.

More iterations of the same cases are worth less than more cases, so these numbers are numbers of test cases.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.confidence import FEWEST_CASES, exact_bounds
from coval_gate.judge.distributions import beta_cdf, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.confidence import Bounds

POWER: Final = 0.8  # the usual chance with which an experiment should detect its effect
MISSES: Final = (0, 1, 2, 3, 5)  # that plans show
MOST: Final = 100_000  # conversations that a plan considers


class Chances(NamedTuple):
    """How likely a run is to end in each of these verdicts, as shares; the rest is `inconclusive`."""

    passed: float
    failed: float


def needed(share: float, misses: int, confidence: float) -> int | None:
    """Return how many conversations show that a rate is at least `share`, if `misses` of them are misses.

    None if more than MOST are needed. Percentiles are rates, too: `p(95) < 1.5` is a rate of at least 95 % below 1.5.
    """
    counts = range(max(FEWEST_CASES, misses + 1), MOST + 1)
    place = bisect_left(counts, True, key=lambda count: exact_bounds(count - misses, count, confidence).lower >= share)
    return counts[place] if place < len(counts) else None


def fewest_misses(share: float, count: int, confidence: float) -> int | None:
    """Return how many misses among `count` conversations show that a rate is below `share`; None if none do."""
    if count < FEWEST_CASES:
        return None
    misses = _fewest(count, confidence, lambda bounds: bounds.upper < share)
    return misses if misses <= count else None


def most_misses(share: float, count: int, confidence: float) -> int | None:
    """Return the most misses with which `count` conversations show a rate of at least `share`; None if none do."""
    if count < FEWEST_CASES:
        return None
    beyond = _fewest(count, confidence, lambda bounds: bounds.lower < share)
    return beyond - 1 if beyond else None


def chances(share: float, truth: float, count: int, confidence: float) -> Chances:
    """Return how `count` conversations will end for `rate >= share`, if the agent's true rate is `truth`."""
    passing, failing = most_misses(share, count, confidence), fewest_misses(share, count, confidence)
    return Chances(
        passed=0.0 if passing is None else _at_most(passing, count, 1.0 - truth),
        failed=0.0 if failing is None else 1.0 - _at_most(failing - 1, count, 1.0 - truth),
    )


def cases_to_pass(share: float, truth: float, confidence: float, *, power: float = POWER) -> int | None:
    """Return how many conversations pass `rate >= share` with this `power`, if the agent's true rate is `truth`.

    Any larger number has at least that power, too. The power rises like a saw: it falls with each conversation that
    allows no further miss (Chernick and Liu, The American Statistician 56, 2002).

    None if more than MOST are needed, as for an agent that is no better than the threshold.
    """
    if truth <= share:
        return None

    def enough(misses: int) -> bool:
        """Return whether every number of conversations that allows exactly so many misses is enough, or above MOST."""
        next_count = needed(share, misses + 1, confidence)
        return next_count is None or _at_most(misses, next_count - 1, 1.0 - truth) >= power

    misses = bisect_left(range(MOST), True, key=enough)
    return None if needed(share, misses + 1, confidence) is None else needed(share, misses, confidence)


def noticeable(error: float, confidence: float, *, power: float = POWER) -> float:
    """Return the smallest change that is detected with this `power`, for an estimate with this standard `error`."""
    return (normal_quantile(confidence) + normal_quantile(power)) * error


def strictest(confidence: float, members: int) -> float:
    """Return the confidence that one of so many members must reach at the strictest of Holm's levels, as a share."""
    return 1.0 - (1.0 - confidence) / members


def _fewest(count: int, confidence: float, enough: Callable[[Bounds], bool]) -> int:
    """Return the fewest misses among `count` conversations with which the rate's bounds are low enough.

    `count + 1` if no number of misses is enough.
    """
    return bisect_left(
        range(count + 1), True, key=lambda misses: enough(exact_bounds(count - misses, count, confidence))
    )


def _at_most(hits: int, count: int, share: float) -> float:
    """Return the probability of at most `hits` of `count` independent trials, each with this probability."""
    if hits < 0:
        return 0.0
    return 1.0 if hits >= count else 1.0 - beta_cdf(share, hits + 1.0, float(count - hits))
