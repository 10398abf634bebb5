"""A comparison with a baseline in English: the change, what is claimed of it with a confidence, and why there is none.

State each bound as a claim. Readers would take "[a, b]" for a two-sided interval.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

from coval_gate.base.text import exact_text, one_line, percent, plural, with_unit
from coval_gate.features.comparisons.changes import PercentileChange, RateChange, ValuePair
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.features.comparisons.problems import ACCEPT
from coval_gate.gate.aggregates import Aggregation, Percentile, Share, aggregation_of
from coval_gate.gate.checks import Check, bound_text, runs_text, whom
from coval_gate.gate.criteria import ThresholdHolds
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Comparison, Measure, Rounding, Scale, rounded, shown, side, size_text
from coval_gate.gate.statistics import FEWEST_CASES, Hits
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Reference, Threshold

COUNTED_CHANGE: Final = (
    "This is a change as counted ({}), and may be chance: the input confidence distinguishes the two."
)
REFERENCES: Final[Mapping[Reference, str]] = {
    "": "",
    "baseline": "the baseline",
    "base": "the agent itself",
    "base_agent": "the base",
}
SHARE_SCALE: Final = Scale("share")
MOST_TRIED: Final = 5_000  # test cases that are considered for a comparison


def difference_text(check: Check) -> str:
    """Return the change as counted; of a rate in conversations ("1 of 50 fewer") if both sides have equally many."""
    measure, compared = check.measure, check.comparison
    if measure is None or compared is None:
        return ""
    change = _change(measure, compared)
    is_whole = compared.even and compared.total == measure.total
    if measure.unit == "share" and compared.trend is None and is_whole and measure.hits != compared.hits:
        more = measure.hits - compared.hits
        return f"{abs(more):,} of {measure.total:,} {'more' if more > 0 else 'fewer'}"
    size, relative = _sizes(check, measure, compared)
    sign = "+" if change > 0 else "-" if change < 0 else ""
    return f"{sign}{size} ({sign}{relative})" if relative else f"{sign}{size}"


def allowed_text(check: Check, compared: Comparison) -> str:
    """Return the margin, such as "at most 10% allowed"; empty where it is not that simple."""
    threshold = check.threshold
    if threshold is None or threshold.asks_for_improvement or not (threshold.wants_less or threshold.wants_more):
        return ""
    bound, how = threshold.bound, "at most" if "=" in threshold.operator else "less than"
    if bound.factor == 1.0 and not bound.number:
        return f"no {'rise' if threshold.wants_less else 'drop'} allowed" if "=" in threshold.operator else ""
    if bound.factor == 1.0 and check.scale.is_percent:
        return f"{how} {abs(bound.number) * (100 if check.scale.unit == 'share' else 1):.10g}pp allowed"
    if bound.factor == 1.0:
        unit = check.scale.name if check.scale.unit == "metric" else ""
        return f"{how} {with_unit(exact_text(abs(bound.number)), unit)} allowed"
    is_relative = not bound.number and check.scale.unit == "metric" and compared.value > 0.0
    return f"{how} {abs(bound.factor - 1.0) * 100:.10g}% allowed" if is_relative else ""


def _change(measure: Measure, compared: Comparison) -> float:
    change = measure.value - compared.value
    return 0.0 if abs(change) < 1e-9 else change


def _sizes(check: Check, measure: Measure, compared: Comparison) -> tuple[str, str]:
    """Return the size of the change, and as a percentage of the reference; empty where a percentage adds nothing."""
    change = _change(measure, compared)
    lower, upper = compared.change[:2] if compared.change else (-math.inf, math.inf)

    def fits(near: float) -> bool:
        now = compared.value + math.copysign(near, change)
        is_claimed = side(now, compared.value + lower) >= 0 >= side(now, compared.value + upper)
        return is_claimed and check.keeps_side(measure.value, now)

    size = size_text(abs(change), check.scale, fits=fits)
    relative = change / compared.value if compared.value > 0.0 and measure.unit == "metric" else 0.0
    if not 0.0005 <= abs(relative) < 10.0:  # beyond a factor of ten, the values themselves are clearer
        return size, ""
    usual = float(f"{abs(relative):.2g}")
    is_relative_bound = check.threshold is not None and check.threshold.bound.factor != 1.0
    is_usual = not is_relative_bound or fits(rounded(usual, SHARE_SCALE) * compared.value)
    exact = shown(abs(relative), SHARE_SCALE, lambda near: fits(near * compared.value))
    return size, percent(usual) if is_usual else exact


def change_text(check: Check) -> str:
    """Return the claim about a change, such as "at least 3.1pp lower"; empty without a confidence.

    Bounds are rounded outwards, so that they claim no more, but not across the threshold's bound. A check that is
    inconclusive at its bound names both.
    """
    compared, scale = check.comparison, check.scale
    if compared is None or compared.change is None:
        return ""
    doubtful = check.verdict is Verdict.INCONCLUSIVE
    lower, upper = compared.change.lower, compared.change.upper
    if not (math.isfinite(lower) or math.isfinite(upper)):
        return f"too few test cases to tell{takes_text(check, compared)}"
    if lower == upper == 0.0:
        return "the same"

    def size(end: float, to: Rounding, beside: float = 0.0) -> str:
        def fits(near: float) -> bool:
            return check.keeps_side(compared.value + end, compared.value + math.copysign(near, end))

        return size_text(abs(end), scale, to, beside, fits)

    is_shown = compared.trend in ("worse", "improved")  # then 0 is a bound of one direction
    if upper < 0.0 or lower > 0.0 or (is_shown and 0.0 in (lower, upper)):
        falls = upper <= 0.0
        near, far, word = (upper, lower, "lower") if falls else (lower, upper, "higher")
        if doubtful and math.isfinite(far):
            return f"between {size(near, math.floor)} and {size(far, math.ceil)} {word}"
        return f"at least {size(near, math.floor)} {word}" if rounded(abs(near), scale, to=math.floor) else word
    largest = max(abs(end) for end in (lower, upper) if math.isfinite(end))
    least = f"{size(lower, math.ceil, largest)} lower" if lower < 0.0 and math.isfinite(lower) else ""
    most = f"{size(upper, math.ceil, largest)} higher" if upper > 0.0 and math.isfinite(upper) else ""
    if least and most:
        return f"between {least} and {most}"
    if least or most:
        return f"at most {least or most}"
    return "not lower" if lower == 0.0 else "not higher"


def change_clause(check: Check, measure: Measure, compared: Comparison) -> str:
    """Return the change, with what is claimed of it, or why it is in doubt."""
    counted, (size, relative), change = _change(measure, compared), _sizes(check, measure, compared), compared.change
    reference = REFERENCES[check.reference]
    beside = f"the same as {reference}"
    if counted:
        margin = check.threshold.bound.number if check.threshold else 0.0
        beside = f"{size if margin or not relative else relative} {'above' if counted > 0 else 'below'} {reference}"
    if change is None:
        return beside
    if not any(map(math.isfinite, (change.lower, change.upper))):
        return f"{beside}; {plural(compared.cases, 'shared test case')} cannot show more{takes_text(check, compared)}"
    if check.verdict is Verdict.INCONCLUSIVE:
        return f"inconclusive: {change_text(check)} than {reference}"
    return f"{beside} ({change_text(check)})"


def takes_text(check: Check, compared: Comparison) -> str:
    enough = enough_cases(check, compared)
    return f"; it takes {enough:,}" if enough else ""


def enough_cases(check: Check, compared: Comparison) -> int:
    """Return how many test cases can show the greatest possible change; 0 if these can, or if that is unknown."""
    if check.verdict is not Verdict.INCONCLUSIVE or check.threshold is None:
        return 0
    iterations = max(1, check.measure.total // compared.cases) if check.measure else 1
    runs = max(1, compared.total // (iterations * compared.cases))
    enough = cases_to_compare(check.threshold, check.criterion.confidence, iterations=iterations, runs=runs)
    return enough if enough and enough > compared.cases else 0


@lru_cache(maxsize=1024)  # every report needs the same numbers
def cases_to_compare(
    threshold: Threshold, confidence: float | None, *, iterations: int = 1, runs: int = 1, family: int = 1
) -> int | None:
    """Return how many test cases can show the greatest possible regression, or improvement if one is required.

    Each run has so many `iterations`, and the baseline so many `runs`; `family` thresholds guard against regressions.
    None if not even MOST_TRIED can; FEWEST_CASES if any number can. Of an average, the spread of the values decides.
    """
    aggregation = aggregation_of(threshold)
    if confidence is None or not threshold.takes_confidence:
        return FEWEST_CASES
    if aggregation.demanded_share is None:
        return aggregation.fewest_cases
    # The strictest of Holm's levels; a required improvement is no member of the family.
    to_show = confidence if threshold.asks_for_improvement else 1.0 - (1.0 - confidence) / family
    shows = partial(_shows, aggregation, iterations=iterations, confidence=to_show, runs=runs)
    most = FEWEST_CASES  # few suffice, usually, and many are slow
    while most < MOST_TRIED and not shows(most):
        most = min(2 * most, MOST_TRIED)
    counts = range(FEWEST_CASES, most + 1)
    place = bisect_left(counts, True, key=shows)
    return counts[place] if place < len(counts) else None


def missed_clause(criterion: ThresholdHolds, check: Check, measure: Measure, compared: Comparison) -> str:
    """Return the value with the change that misses the threshold, and what is allowed."""
    threshold = criterion.threshold
    lacking = measure.missing if measure.unit == "share" and threshold.metric else 0
    without = f" ({lacking:,} without a value)" if lacking else ""
    is_count = measure.unit == "simulations"  # the text must name the total
    shown_value = criterion.measured(check, measure) if is_count else criterion.value_text(check, measure)
    value = f"{shown_value}{without}{runs_text(check)}{whom(check)}"
    allowed = allowed_text(check, compared)
    if not allowed:  # what the user wrote, with the bound that it amounts to: ">= base - 5pp (90%)"
        is_plain = threshold.bound.factor == 1.0 and not threshold.bound.number
        written = threshold.text.rpartition(threshold.operator)[2].strip()
        allowed = f"must be {threshold.operator} {written}" + ("" if is_plain else f" ({bound_text(check)})")
    return f"{value}, {change_clause(check, measure, compared)}; {allowed}"


def _shows(aggregation: Aggregation, cases: int, iterations: int, confidence: float, runs: int) -> bool:
    """Return whether the greatest change from a baseline of so many `runs` shows."""
    match aggregation:
        case Share():
            return _rate_shows(aggregation.threshold, cases, iterations, confidence, runs)
        case Percentile():
            return _percentile_shows(aggregation.n, cases, iterations, confidence, runs)
    raise ValueError(f"the spread of values decides what {aggregation.aggregate.name} shows")


def _rate_shows(threshold: Threshold, cases: int, iterations: int, confidence: float, runs: int) -> bool:
    """Return whether a fall from all hits to none, or a rise, shows as a regression or required improvement."""
    asks = threshold.asks_for_improvement
    rises = threshold.wants_less is not asks
    before, now = (0, 1) if rises else (1, 0)
    hit, block = (Hits(share * iterations, iterations) for share in (now, before))
    base = Hits(block.hits * runs, block.size * runs)
    change = RateChange([HitPair(hit, base, "", dict.fromkeys(map(str, range(runs)), block))] * cases)
    if asks:
        bound = change.excess(confidence, threshold.bound.factor, threshold.bound.number)
        return bound.lower > 0.0 if rises else bound.upper < 0.0
    return change.shows(1.0 - confidence, rises=rises) and not threshold.against(before).holds(now)


def _percentile_shows(n: float, cases: int, iterations: int, confidence: float, runs: int) -> bool:
    """Return whether a rise of all values far above all earlier ones shows."""
    before = iterations * runs
    low = [[float(place * cases + case) for place in range(before)] for case in range(cases)]
    high = [[value + 2.0 * cases * before for value in values[:iterations]] for values in low]
    return PercentileChange(list(map(ValuePair, high, low)), n).excess(confidence).lower > 0.0


def fix_or_accept(judgement: Judgement, red: Sequence[Check]) -> str:
    """Return how to turn a comparison green. Only a confidence shows that the agent changed; else name the counts."""
    failed = [check for check in red if check.verdict is Verdict.FAILED]
    is_shown = any(check.comparison and check.comparison.change for check in failed)
    counted = COUNTED_CHANGE.format(difference_text(failed[0])) if failed else "Whether the agent changed is in doubt."
    fix = "Fix the agent." if is_shown else counted
    own, legs = judgement.baseline.acceptable if judgement.baseline else "", judgement.legs_summary
    if not (own or (legs and legs.acceptable)):
        return f"{fix} If the change is wanted, {ACCEPT} on its branch."
    base = judgement.base.runs if judgement.base else ()
    run_ids = legs.run_ids if legs else (own, *(other.run.run_id for other in base))
    return (
        f"{fix} If the change is wanted, accept it: start the workflow by hand with mode: wait, "
        f"run_id: {', '.join(map(one_line, run_ids))} and accept: true. "
        f"Later runs are then compared with {'these' if legs else 'this one'}."
    )
