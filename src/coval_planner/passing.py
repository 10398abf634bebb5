"""How a run with a number of conversations ends for a bound on a rate, with a confidence. Pure."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, NamedTuple

from coval_gate.features.confidence.bounds import MOST_PLANNED, Bounds, beta_cdf, exact_bounds, needed
from coval_gate.gate.statistics import FEWEST_CASES, POWER

MISSES: Final = (0, 1, 2, 3, 5)  # shown in plans


class Chances(NamedTuple):
    """How likely a run is to end in each of these verdicts, as shares; the rest is `inconclusive`."""

    passed: float
    failed: float


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

    None if more than MOST_PLANNED are needed, as for an agent that is no better than the threshold.
    """
    if truth <= share:
        return None

    def enough(misses: int) -> bool:
        """Return whether every number of conversations that allows exactly so many misses is enough, or too large."""
        next_count = needed(share, misses + 1, confidence)
        return next_count is None or _at_most(misses, next_count - 1, 1.0 - truth) >= power

    misses = bisect_left(range(MOST_PLANNED), True, key=enough)
    return None if needed(share, misses + 1, confidence) is None else needed(share, misses, confidence)


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
