"""Judges a leg that is paid for in slices of its test cases, until the answer is clear. Pure and total.

Rates and percentiles against a number are decided by Pocock's boundaries, and comparisons by those of O'Brien and
Fleming (`sequential`). What is decided stays decided, but a pass only as long as all calls so far meet the bound as
counted. Everything else waits for the last slice.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from coval_gate.features.comparisons.problems import TOO_FEW_SHARED
from coval_gate.features.confidence.judge import interval_of
from coval_gate.features.repetition.judge import base_of
from coval_gate.features.spending.sequential import Boundaries, Look
from coval_gate.gate.aggregates import Aggregation, aggregation_of
from coval_gate.gate.checks import Check, Criterion
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement, SingleRun, Slices, with_checks
from coval_gate.gate.measure import Interval, Measure
from coval_gate.gate.population import FewFailed, MetricHasValues
from coval_gate.gate.variants import Variant, pooled
from coval_gate.gate.verdict import Completed, Verdict

FIRST_UNCHANGED: Final = 2  # slices; with fewer shared test cases, "unchanged so far" ends no comparison
State = Literal["open", "settled", "over"]


def judge_slices(runs: Sequence[SingleRun], criteria: Criteria, cases: tuple[int, ...]) -> Judgement:
    """Judge the slices so far together. `runs`: of the first slices, all completed; `cases`: as in `Look`."""
    look = Look(len(runs), cases)
    before = judge_slices(runs[:-1], criteria, cases).checks if len(runs) > 1 else ()
    # Other criteria, which have no threshold, are never decided early.
    decided = {(check.threshold, check.variant): check for check in before if check.after and check.passed}
    judgements = [run.judgement for run in runs]
    outcomes = [judgement.cause for judgement in judgements if isinstance(judgement.cause, Completed)]
    together = judge(
        pooled([outcome.result for outcome in outcomes]),
        replace(criteria, look=look),
        baseline=judgements[0].baseline,
        base=base_of(judgements),
        late=next((outcome.late for outcome in outcomes if outcome.late), None),
    )
    checks = [
        # An answer that later calls contradict, or that cannot be known any more, is no answer.
        (check.holds_as_counted and decided.get((check.threshold, check.variant))) or _so_far(check, look)
        for check in together.checks
    ]
    states = [_state(check, look) for check in checks if check.decides]
    is_clear = look.is_last or "over" in states or "open" not in states
    return with_checks(together, checks)._replace(slices=Slices(look, is_clear))


def interval_at(
    look: Look, criterion: Criterion, aggregation: Aggregation, variant: Variant, measure: Measure
) -> Interval:
    """Return bounds at the errors at which they decide as the boundaries do. What waits claims nothing yet."""
    confidence, boundaries = criterion.confidence or 0.0, boundaries_of(criterion, measure)
    threshold = criterion.threshold
    if threshold is None or boundaries is None:
        interval = interval_of(aggregation, variant, confidence)
        waits = threshold and threshold.waits_for_last and not look.is_last
        return interval._replace(lower=-math.inf, upper=math.inf) if waits else interval
    errors = boundaries.errors(look.number - 1)
    failing, passing = (interval_of(aggregation, variant, 1.0 - error) for error in errors)
    lower, upper = (failing, passing) if threshold.wants_less else (passing, failing)
    return Interval(lower.lower, upper.upper, confidence, lower.cases)


def boundaries_of(criterion: Criterion, measure: Measure) -> Boundaries | None:
    """Return those of a threshold against a number that slices can decide before the last one, otherwise None."""
    threshold, look, confidence = criterion.threshold, criterion.look, criterion.confidence
    if threshold is None or look is None or confidence is None or threshold.waits_for_last:
        return None
    share, count = aggregation_of(threshold).demanded_share, measure.total if measure.unit == "share" else measure.count
    return None if share is None else look.boundaries(share, count, confidence)


def _so_far(check: Check, look: Look) -> Check:
    # No further simulation makes up for those that miss a target, or have a forbidden value.
    is_final = check.verdict is Verdict.FAILED and (check.forbids or check.criterion.is_target)
    if not look.is_last and _waits(check) and not is_final:
        verdict = Verdict.INCONCLUSIVE if check.verdict in (Verdict.PASSED, Verdict.FAILED) else check.verdict
        return replace(check, verdict=verdict, moved_by=None)
    if check.measure and check.comparison and _is_unchanged(check, look):
        measure = replace(check.measure, comparison=replace(check.comparison, trend="unchanged"))
        return replace(check, measure=measure, after=look.called)
    is_decided = check.threshold is not None and check.verdict in (Verdict.PASSED, Verdict.FAILED)
    return replace(check, after=look.called) if is_decided else check


def _waits(check: Check) -> bool:
    if check.threshold:
        return check.threshold.waits_for_last
    return check.criterion.is_target and check.criterion.user_defined


def _is_unchanged(check: Check, look: Look) -> bool:
    """Return whether a comparison is settled: from the second look on, the value is no worse than the baseline's."""
    if check.verdict is not Verdict.INCONCLUSIVE:
        return False
    threshold, measure, compared = check.threshold, check.measure, check.comparison
    if threshold is None or measure is None or compared is None or threshold.asks_for_improvement:
        return False
    if compared.cases < look.cases[FIRST_UNCHANGED - 1]:  # too early, or the baseline has too few of those called
        return False
    is_worse = measure.value > compared.value if threshold.wants_less else measure.value < compared.value
    return check.criterion.doubt_passes and not threshold.waits_for_last and not is_worse


def _state(check: Check, look: Look) -> State:
    """Return what the next slice could do about a check: `open` needs it, `over` settles the leg, for the worse."""
    if check.passed or (check.verdict is Verdict.INCONCLUSIVE and check.after):
        return "settled"
    if check.verdict is not Verdict.INCONCLUSIVE:
        if check.measure is None or not isinstance(check.criterion, FewFailed | MetricHasValues):
            return "over"
        # Once all test cases were called, so many simulations may be missing.
        most = check.criterion.requirement(check.measure).bound
        most += check.criterion.allowance.of(look.cap) - check.criterion.allowance.of(look.called)
        return "open" if check.measure.value <= most else "over"
    # In the first slices, few test cases may be shared with the baseline.
    is_comparable = check.problem.kind == TOO_FEW_SHARED.kind if check.problem else check.comparison is not None
    if _waits(check) or is_comparable or _may_be_decided(check, look):
        return "open"
    return "settled" if check.criterion.doubt_passes else "over"


def _may_be_decided(check: Check, look: Look) -> bool:
    """Return whether a later slice is likely enough to decide a threshold against a number."""
    threshold, measure = check.threshold, check.measure
    boundaries = boundaries_of(check.criterion, measure) if measure else None
    if threshold is None or measure is None or boundaries is None:
        return False
    misses = len(check.simulations)
    if measure.unit == "share":  # also those without a value
        misses = measure.hits if threshold.wants_less else measure.total - measure.hits
    return boundaries.is_open(look.number - 1, boundaries.counts[look.number - 1] - misses)
