"""A check in English: the criterion, what was measured, the margin, why it did not pass, and what is doubtful."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from coval_gate.base.text import amount, percent, value_text
from coval_gate.gate.checks import Check, after_text
from coval_gate.gate.criteria import threshold_text
from coval_gate.gate.findings import Miss, SimulationFinding
from coval_gate.gate.judgement import CaseStability, Judgement
from coval_gate.gate.measure import Interval, Measure, Scale, shown, side, size_text
from coval_gate.gate.problems import either, seen_text
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Reference, Threshold

AS_COUNTED: Final = "as counted"
INFORMS: Final = "informs only"
ADVISORY: Final = {Verdict.PASSED: ": met", Verdict.FAILED: ": missed", Verdict.INCONCLUSIVE: ": inconclusive"}
BEFORE: Final = "before"
OTHER: Final = "other"  # simulations whose cause is unknown
SHOWS: Final = "what it shows"
FAR: Final = 100  # times the value farthest from 0; a bound beyond it is probably in another unit
WITH_BASE: Final[Mapping[Reference, str]] = {
    "base": "with the agent itself",
    "base_agent": "with the base agent",
}  # in place of BEFORE


def actual_text(check: Check) -> str:
    """Return what was measured or, in a few words, why nothing was."""
    if check.problem:
        return check.problem.text()
    return check.criterion.actual(check, check.measure) if check.measure else ""


def margin_text(check: Check) -> str:
    """Return by how much, and in which direction, a criterion is missed; empty where it is met or unknown."""
    if not check.measure or not (requirement := check.requirement) or (check.margin or 0.0) >= 0.0:
        return ""
    more, less = ("many", "few") if check.measure.unit == "simulations" else ("high", "low")
    gap = size_text(abs(check.margin or 0.0), check.scale, fits=bool)
    return f"{gap} too {more if check.measure.value > requirement.bound else less}"


def claim_text(check: Check) -> str:
    """Return what is claimed with a confidence; empty without one."""
    if check.threshold is None or check.measure is None or check.criterion.confidence is None:
        return ""
    if check.measure.comparison:
        from coval_gate.features.comparisons.words import change_text

        return (change_text(check) or AS_COUNTED) + after_text(check)
    if check.measure.interval:
        from coval_gate.features.confidence.words import bounds_text

        return bounds_text(check, check.measure.interval)
    return AS_COUNTED


def note_text(check: Check) -> str:
    """Return the note beside a measured value: that the check only informs, what it claims, the margin, an outlier."""
    informs = informs_text(check)
    claim = "" if informs and check.decides else claim_text(check)
    return ", ".join(filter(None, (informs, claim, margin_text(check), moved_text(check))))


def moved_text(check: Check) -> str:
    moved = check.moved_by
    return "" if moved is None else f"one call of {amount(moved, check.metric_unit)} moves this average"


def informs_text(check: Check) -> str:
    """Return that a check only informs, and the result of an advisory one; empty for a check that decides."""
    if check.criterion.accepted:
        return ""
    if not check.decides:
        # Its comparison shows the same word.
        repeats = check.verdict is Verdict.INCONCLUSIVE and check.comparison
        return INFORMS if repeats else f"{INFORMS}{ADVISORY.get(check.verdict, '')}"
    return INFORMS if check.informs else ""


def check_reason(check: Check) -> str:
    """Return why a check did not pass, or only informs, as a sentence; empty where it is met."""
    if check.passed and not (check.decides and check.informs):
        return ""
    if check.problem:
        why = check.problem.reason(check)
    elif check.passed:
        why = check.criterion.informs
    else:
        why = check.criterion.missed(check, check.measure) if check.measure else ""
    return f"Informs only: {why}." if check.informs else f"{why}."


def here_text(miss: Miss) -> str:
    """Return the value of a simulation that misses a criterion; empty without a metric."""
    check, value = miss.check, miss.value
    if not check.metric or value is None:
        return "here no value" if check.metric else ""
    bound = check.criterion.closest_bound(value, check.measure) if isinstance(value, float) else None
    if not isinstance(value, float) or bound is None:
        return f"here {value_text(value, check.metric_unit)}"
    scale = Scale("metric", check.metric_unit)
    return f"here {shown(value, scale, lambda near: side(near, bound) == side(value, bound))}"


def cause_text(row: SimulationFinding, reference: Reference) -> str:
    """Return the cause, and what the test case did in the reference: "new, passed 9 of 9 before"."""
    parts = [row.cause.value] if row.cause else []
    if before := row.before:
        failed = before.size - before.hits
        did = f"failed {failed:,}" if failed else f"passed {before.hits:,}"
        parts.append(f"{did} of {before.size:,} {WITH_BASE.get(reference, BEFORE)}")
    return ", ".join(parts)


def counts_text(rows: Iterable[tuple[SimulationFinding, Reference]]) -> str:
    """Return "2 new · 3 failed before · 1 other", which adds up to all rows; empty if no cause is known."""
    words = Counter(
        row.cause.value if row.cause else f"failed {WITH_BASE.get(reference, BEFORE)}" if row.failed_before else OTHER
        for row, reference in sorted(rows, key=lambda pair: pair[0].order[1])
    )
    words[OTHER] = words.pop(OTHER, 0)  # the last
    return " · ".join(f"{count:,} {word}" for word, count in words.items() if count) if len(words) > 1 else ""


def stability(case: CaseStability) -> Literal["flaky", "consistent"]:
    return "flaky" if case.is_flaky else "consistent"


def stability_text(case: CaseStability) -> str:
    """Return the stability with its figures: "flaky, failed 2 of 3"."""
    return f"{stability(case)}, failed {case.failed:,} of {case.total:,}"


def shows_text(checks: Iterable[Check]) -> str:
    measures = [check.measure for check in checks if check.measure]
    confidences = {interval.confidence for interval in map(_interval, measures) if interval}
    if len(confidences) != 1:
        return SHOWS
    return f"{SHOWS} (each bound with {percent(confidences.pop())} confidence)"


def _interval(measure: Measure) -> Interval | None:
    return measure.comparison.change if measure.comparison else measure.interval


def notes_title(checks: Sequence[Check], *, plain: str = "margin") -> str:
    """Return what notes on these checks show. `plain`: the title of notes without an interval."""
    return shows_text(checks) if any(check.measure and _interval(check.measure) for check in checks) else plain


def doubts(judgement: Judgement) -> tuple[str, ...]:
    samples = {sample.metric.id: sample for variant in judgement.variants for sample in variant.samples}
    measured = [check for check in judgement.checks if check.measure and check.metric in samples]
    named = {check.threshold: (samples[check.metric], check.metric_unit) for check in measured if check.threshold}
    return tuple(doubt for threshold, (sample, unit) in named.items() for doubt in _doubts(threshold, sample, unit))


def _doubts(threshold: Threshold, sample: Sample, unit: str) -> Iterator[str]:
    """Yield a warning about each value that no simulation has, and each bound far beyond all values."""
    where, wanted = f"{threshold_text(threshold)} ({threshold.place})", threshold.aggregate.values
    metric, vocabulary = sample.metric, sample.vocabulary if wanted else None
    if vocabulary and (unseen := vocabulary.unseen(wanted)):
        seen = seen_text(vocabulary.seen)
        others = f"; the values seen are {seen}" if seen else ""
        yield f"{where}: no simulation has the value {either(unseen)} for {metric.name}{others}. Is it spelt correctly?"
    judges_values = threshold.aggregate.is_numeric and not threshold.bound.reference
    if judges_values and (farthest := sample.farthest) and abs(threshold.bound.number) > FAR * abs(farthest):
        largest = f"the largest{'' if farthest > 0 else ' in size'} is {amount(farthest, unit)}"
        values = f"every value of {metric.name} ({largest})"
        yield f"{where}: the bound is more than {FAR} times {values}. Is it in the metric's unit?"
