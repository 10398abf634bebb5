"""Find thresholds that a run cannot decide with a confidence, however good or bad the agent is. Pure."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Greatest
from coval_gate.judge.confidence import FEWEST_CASES
from coval_gate.judge.planning import needed, strictest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.criteria import Criteria, ThresholdHolds

MOST_CASES: Final = 5_000  # test cases that are considered for a comparison


class Undecidable(NamedTuple):
    """A threshold that a run of this size cannot meet or, if it guards against a regression, cannot miss.

    `needed`: how many test cases could; None if not even MOST_CASES could.
    """

    criterion: ThresholdHolds
    needed: int | None


def cases_needed(criterion: ThresholdHolds) -> int:
    """Return how many test cases can show with a confidence that a perfect agent meets a threshold against a number.

    0 if a single one can, or if the spread of the values decides, as for an average.
    """
    threshold = criterion.threshold
    if criterion.confidence is None or not threshold.takes_confidence or threshold.bound.reference:
        return 0
    share = aggregation_of(threshold).demanded_share
    return (needed(share, 0, criterion.confidence) or 0) if share else 0


@lru_cache(maxsize=1024)  # every report needs the same numbers
def cases_to_compare(criterion: ThresholdHolds, *, iterations: int = 1, family: int = 1) -> int | None:
    """Return how many test cases can show the greatest possible change from a baseline with a confidence.

    The change is a regression, unless the threshold asks for an improvement. Both runs have so many `iterations`.
    `family`: how many thresholds guard against regressions. None if not even MOST_CASES can; FEWEST_CASES if any number
    can, or if the spread of the values decides, as for an average.
    """
    threshold, confidence = criterion.threshold, criterion.confidence
    aggregation = aggregation_of(threshold)
    if confidence is None or not threshold.takes_confidence or aggregation.demanded_share is None:
        return FEWEST_CASES
    to_show = confidence if threshold.asks_for_improvement else strictest(confidence, family)
    counts = range(FEWEST_CASES, MOST_CASES + 1)
    place = bisect_left(
        counts, True, key=lambda cases: aggregation.shows(Greatest(cases, iterations, confidence, to_show))
    )
    return counts[place] if place < len(counts) else None


def undecidable(criteria: Criteria, cases: int) -> Iterator[Undecidable]:
    """Yield each threshold that no run with so many test cases can decide as it should with the confidence."""
    guards = [guard for guard in criteria.thresholds if _is_guard(guard) and not guard.advisory]
    family = max(1, len(guards)) * (1 + criteria.mutations)
    for threshold in criteria.thresholds:
        criterion = criteria.of_threshold(threshold)
        if threshold.bound.reference:
            alone = threshold.advisory or not _is_guard(threshold)
            least = cases_to_compare(criterion, iterations=criteria.iterations or 1, family=1 if alone else family)
        else:
            least = cases_needed(criterion)
        if least is None or least > cases:
            yield Undecidable(criterion, least)


def _is_guard(threshold: Threshold) -> bool:
    return bool(threshold.bound.reference) and threshold.takes_confidence and not threshold.asks_for_improvement
