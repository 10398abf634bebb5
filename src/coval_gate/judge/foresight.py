"""What thresholds with a confidence cannot decide, however good or bad the agent is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.judge.claims import percentile_of
from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.planning import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.criteria import Criteria


def cases_needed(criterion: ThresholdHolds) -> int:
    """Return how many test cases can show that a perfect agent meets a threshold with a confidence.

    0 where even one can, or where the spread of the values decides, as for an average.
    """
    threshold = criterion.threshold
    if criterion.confidence is None or not threshold.takes_confidence:
        return 0
    wants_less, bound = threshold.operator in ("<", "<="), threshold.bound.number
    if threshold.aggregate.is_rate:
        share = 1.0 - bound if wants_less else bound
    elif threshold.aggregate.name == "avg":
        return 0
    else:
        share = percentile_of(threshold) / 100.0
        share = share if wants_less else 1.0 - share
    return (needed(share, 0, criterion.confidence) or 0) if share > 0.0 else 0


def undecidable(criteria: Criteria, cases: int) -> Iterator[tuple[ThresholdHolds, int]]:
    """Yield each threshold that no run with so many test cases can meet with the confidence, and how many can."""
    for threshold in criteria.thresholds:
        criterion = ThresholdHolds(threshold=threshold, confidence=criteria.confidence)
        if (least := cases_needed(criterion)) > cases:
            yield criterion, least
