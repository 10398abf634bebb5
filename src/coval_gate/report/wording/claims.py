"""What a check with a confidence claims about the agent, in English.

Each bound reads as a claim: readers would take "[a, b]" for a two-sided interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from coval_gate.judge.confidence import FEWEST_CASES
from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.foresight import cases_needed
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.amounts import confidence_text, rounded
from coval_gate.report.wording.comparisons import change_text
from coval_gate.text import percent, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.foresight import Undecidable
    from coval_gate.judge.measure import Interval, Unit

AS_COUNTED: Final = "as counted"
SHOWS: Final = "what it shows"
MARGIN: Final = "margin"


def claim_text(check: Check) -> str:
    """Return the claim, such as "at least 86.4%"; empty without a confidence."""
    criterion, measure = check.criterion, check.measure
    if measure is None or not isinstance(criterion, ThresholdHolds) or criterion.confidence is None:
        return ""
    if measure.comparison:
        return change_text(check) or AS_COUNTED
    if (interval := measure.interval) is None:
        return AS_COUNTED
    wants_less = criterion.threshold.wants_less
    match check.verdict:
        case Verdict.PASSED:
            return _bounds_text(interval, measure.unit, lower=not wants_less, upper=wants_less)
        case Verdict.FAILED:
            return _bounds_text(interval, measure.unit, lower=wants_less, upper=not wants_less)
    return _bounds_text(interval, measure.unit, lower=True, upper=True)


def shows_text(checks: Iterable[Check]) -> str:
    """Return the title of the column of claims, with their confidence if they share one."""
    measures = [check.measure for check in checks if check.measure]
    intervals = [measure.comparison.change if measure.comparison else measure.interval for measure in measures]
    confidences = {interval.confidence for interval in intervals if interval}
    if len(confidences) != 1:
        return SHOWS
    return f"{SHOWS} (each bound with {percent(*confidences)} confidence)"


def notes_title(checks: Sequence[Check]) -> str:
    """Return the title of the column of margins, claims and comparisons."""
    measures = [check.measure for check in checks if check.measure]
    return shows_text(checks) if any(measure.interval or measure.comparison for measure in measures) else MARGIN


def shown_bound_text(check: Check) -> str:
    """Return what a failed check claims, after a comma; empty if it was decided as counted."""
    interval = check.measure.interval if check.measure else None
    return f", {claim_text(check)} ({confidence_text(interval, both=False)})" if interval else ""


def doubt_text(check: Check) -> str:
    """Return why a check is inconclusive and what would decide it, after a colon."""
    interval = check.measure.interval if check.measure else None
    if interval is None:
        return ""
    if not interval.cases:
        return ": Coval does not say which test case each value belongs to"
    if interval.cases < FEWEST_CASES:
        return ": one test case does not show how test cases differ"
    ends = math.isfinite(interval.lower) + math.isfinite(interval.upper)
    if not ends:
        return f": {interval.cases:,} test cases are too few to show anything"
    claim = f": it is {claim_text(check)} ({confidence_text(interval, both=ends > 1)})"
    needed = cases_needed(check.criterion) if isinstance(check.criterion, ThresholdHolds) else 0
    if needed <= interval.cases:
        return claim
    return f"{claim}; {interval.cases:,} test cases can never show it, {needed:,} can"


def undecidable_text(undecidable: Undecidable, cases: int) -> str:
    """Return that a run is too small for a threshold to pass or, if it guards against a regression, to fail."""
    criterion, needed = undecidable.criterion, undecidable.needed
    threshold, few = criterion.threshold, plural(cases, "test case")
    line = f"thresholds, line {threshold.line}:"
    confidence = f"with {percent(criterion.confidence or 0.0)} confidence"
    if not threshold.bound.reference:
        enough = f"; {needed:,} can" if needed else ""
        return f"{line} {few} can never show {threshold.text} {confidence}, however good the agent is{enough}."
    what, how = ("pass", "good") if threshold.asks_for_improvement else ("fail", "bad")
    enough = f"; with {needed:,}, it can" if needed else ""
    return f"{line} with {few}, {threshold.text} can never {what} {confidence}, however {how} the agent is{enough}."


def _bounds_text(interval: Interval, unit: Unit, *, lower: bool, upper: bool) -> str:
    """Return those bounds that are wanted and known, rounded outwards so that they claim no more."""
    least = rounded(interval.lower, unit, math.floor) if lower and math.isfinite(interval.lower) else ""
    most = rounded(interval.upper, unit, math.ceil) if upper and math.isfinite(interval.upper) else ""
    if least and most:
        return f"between {least} and {most}"
    return f"at least {least}" if least else f"at most {most}" if most else "nothing is certain"
