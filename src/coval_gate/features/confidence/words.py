"""What a threshold against a number claims with a confidence, in English.

State each bound as a claim. Readers would take "[a, b]" for a two-sided interval.
"""

import math
from functools import partial

from coval_gate.base.text import percent
from coval_gate.features.confidence.bounds import needed
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import Check, after_text
from coval_gate.gate.measure import Interval, Measure, Rounding, shown
from coval_gate.gate.statistics import FEWEST_CASES
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Threshold


def bounds_text(check: Check, interval: Interval) -> str:
    """Return the bounds that are claimed: the one that decides, or both if neither does."""
    both = check.verdict not in (Verdict.PASSED, Verdict.FAILED)
    wants_less = check.threshold is not None and check.threshold.wants_less
    is_least = wants_less is (check.verdict is Verdict.FAILED)  # the bound that decides
    lower = interval.lower if both or is_least else -math.inf
    upper = interval.upper if both or not is_least else math.inf

    def shown_bound(bound: float, to: Rounding) -> str:
        """Round it outwards, but not across the threshold's bound."""
        if not math.isfinite(bound):
            return ""
        return shown(bound, check.scale, partial(check.keeps_side, bound), to)

    least, most = shown_bound(lower, math.floor), shown_bound(upper, math.ceil)
    bounds = f"at least {least}" if least else f"at most {most}" if most else "nothing is certain"
    return (f"between {least} and {most}" if least and most else bounds) + after_text(check)


def claim_clause(check: Check, measure: Measure, required: str) -> str:
    """Return what is claimed of a value that misses its threshold, or why that is in doubt and what would decide it."""
    interval, threshold = measure.interval, check.threshold
    if interval is None or threshold is None:
        return f", inconclusive; must be {required}"
    claim = bounds_text(check, interval)
    if check.verdict is not Verdict.INCONCLUSIVE:
        return f", {claim} ({percent(interval.confidence)} confidence), must be {required}"
    if not interval.cases:
        return f"; values without test cases cannot show {required}"
    if interval.cases < FEWEST_CASES:
        return f"; one test case cannot show {required}"
    if not (math.isfinite(interval.lower) or math.isfinite(interval.upper)):
        fewest = aggregation_of(threshold).fewest_cases
        takes = f", it takes {fewest:,}" if fewest > interval.cases else ""
        return f"; {interval.cases:,} test cases cannot show {required}{takes}"
    enough = cases_needed(threshold, check.criterion.confidence)
    if enough <= interval.cases:
        return f", inconclusive: {claim}; must be {required}"
    return f", {claim}; {required} takes {enough:,} test cases"


def cases_needed(threshold: Threshold, confidence: float | None) -> int:
    """Return how many test cases show that a perfect agent meets it, whatever the spread of values; 0 if one can."""
    if confidence is None or not threshold.takes_confidence or threshold.bound.reference:
        return 0
    aggregation = aggregation_of(threshold)
    share = aggregation.demanded_share
    if share is None:
        return aggregation.fewest_cases
    return (needed(share, 0, confidence) or 0) if share else 0
