"""A check in English: the criterion, what was measured, the margin, and the reason why it did not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.criteria import (
    AllEnded,
    AllListed,
    EnoughCompleted,
    FewFailed,
    MetricHasValues,
    NoDrift,
    TargetMet,
    ThresholdHolds,
    ValueAbsent,
)
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.amounts import measured
from coval_gate.report.wording.claims import claim_text, doubt_text, shown_bound_text
from coval_gate.report.wording.comparisons import NAMES, change_clause, earlier_text, has_bounds
from coval_gate.report.wording.criteria import (
    VALUE_SHOWN,
    criterion_text,
    forbidden_text,
    mention,
    runs_text,
    value_text,
    whom,
)
from coval_gate.report.wording.drift import drift_miss_reason, path_text
from coval_gate.report.wording.problems import problem_reason, problem_text
from coval_gate.report.wording.targets import exact_text, target_text
from coval_gate.text import number, one_line, percent, plural

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import Miss
    from coval_gate.judge.measure import Comparison, Measure, Requirement, Unit

INFORMS: Final = "informs only"
ADVISORY: Final = {Verdict.PASSED: ": met", Verdict.FAILED: ": missed", Verdict.INCONCLUSIVE: ": in doubt"}


def shown_verdict(check: Check) -> Verdict:
    """Return the verdict that reports show: `skipped` for a check that only informs, as it is neither good nor bad."""
    return Verdict.SKIPPED if check.informs else check.verdict


def check_text(check: Check) -> str:
    """Return the criterion, and the mutation that it is applied to in brackets."""
    text = criterion_text(check.criterion)
    return f"{text} [{check.variant}]" if check.variant else text


def actual_text(check: Check) -> str:
    """Return what was measured, or in a few words why nothing was."""
    if check.problem:
        return problem_text(check.problem)
    return f"{_measured_text(check, check.measure)}{runs_text(check)}" if check.measure else ""


def first_text(check: Check) -> str:
    """Return what the first of several runs had alone, after a semicolon; empty if it met the criterion."""
    return f"; the first run alone {_measured_text(check, check.first)}" if check.first else ""


def measure_text(measure: Measure) -> str:
    """Return a measure with its total, such as "40% (4 of 10)"."""
    return measured(measure, measure.unit)


def margin_text(check: Check) -> str:
    """Return by how much, and in which direction, a criterion is missed; empty where it is met or nothing is known."""
    if not check.measure or not (requirement := check.requirement) or (check.margin or 0.0) >= 0.0:
        return ""
    many = check.measure.value > requirement.bound
    gap = abs(check.margin or 0.0)
    match check.measure.unit:
        case "share":
            return f"{number(gap * 100)} percentage points too {'high' if many else 'low'}"
        case "simulations":
            return f"{gap:,.10g} too {'many' if many else 'few'}"
    return f"{number(gap)} too {'high' if many else 'low'}"


def note_text(check: Check) -> str:
    """Return what to add to a measured value: that the check only informs, what is claimed, and the margin."""
    informs = informs_text(check)
    told = ("" if informs and check.decides else claim_text(check), margin_text(check))
    return ", ".join(filter(None, (informs, *told)))


def informs_text(check: Check) -> str:
    """Return that a check only informs; of an advisory one, also what it found. Empty for a check that decides."""
    if check.accepted:
        return ""
    if not check.decides:
        doubtful = check.verdict is Verdict.INCONCLUSIVE and check.measure and check.measure.comparison  # told as such
        return INFORMS if doubtful else f"{INFORMS}{ADVISORY.get(check.verdict, '')}"
    return INFORMS if check.informs else ""


def check_reason(check: Check) -> str:
    """Return the reason why a check did not pass, or only informs, as a sentence; empty where it is met."""
    if not check.decides:
        return _advisory_reason(check)
    if check.informs:
        return _informs_reason(check)
    if check.passed:
        return ""
    if check.problem:
        return f"{problem_reason(check, check.problem)}."
    return f"{_miss_reason(check, check.measure)}." if check.measure else ""


def here_text(miss: Miss) -> str:
    """Return the value that a simulation has where it misses a criterion; empty without a metric."""
    if not miss.check.metric:
        return ""
    return "here " + ("no value" if miss.value is None else value_text(miss.value))


def miss_text(miss: Miss) -> str:
    """Return the criterion that a simulation misses, cut if it is long, with the simulation's own value."""
    return " – ".join(filter(None, (mention(miss.check.criterion), here_text(miss))))


def _measured_text(check: Check, measure: Measure) -> str:
    match check.criterion:
        case ThresholdHolds(threshold=threshold):
            return _threshold_text(threshold, measure, check.requirement)
        case NoDrift() if measure.path:
            return path_text(measure, measure.path)
        case FewFailed():
            return f"{measure_text(measure)} failed"
        case EnoughCompleted():
            return f"{measure_text(measure)} completed"
        case AllListed():
            return f"{measure_text(measure)} listed" if measure.value else "none listed"
        case AllEnded():
            return f"{measure_text(measure)} ended"
        case MetricHasValues():
            return f"missing on {measure_text(measure)}"
        case TargetMet():
            return f"met on {measure_text(measure)}"
        case ValueAbsent(value=value):
            return f"{forbidden_text(value)} on {measure_text(measure)}"
    return measure_text(measure)


def _threshold_text(threshold: Threshold, measure: Measure, requirement: Requirement | None) -> str:
    if threshold.aggregate.name == "total":
        return f"{measure.value:,.0f}"
    text = measure_text(measure)
    if measure.assumed:
        return f"{text}, {measure.assumed:,} of them without a value"
    # A miss by less than the usual digits show must not read like a hit.
    bound = requirement.bound if requirement else measure.value
    if measure.unit == "metric" and number(measure.value) == number(bound) and measure.value != bound:
        return text.replace(number(measure.value), f"{measure.value:.10g}", 1)
    if measure.unit == "share" and percent(measure.value) == percent(bound) and measure.value != bound:
        return text.replace(percent(measure.value), f"{measure.value * 100:.10g}%", 1)
    return text


def _miss_reason(check: Check, measure: Measure) -> str:  # noqa: C901 - a case for each kind
    """Return the reason of a check whose value is not what it must be, without a full stop."""
    about, where, few = whom(check), runs_text(check), f"{measure.value:,.0f}"
    match check.criterion:
        case ThresholdHolds(threshold=threshold) if measure.comparison:
            return _compared_reason(check, threshold, measure.comparison)
        case ThresholdHolds(threshold=threshold):
            required = f"{threshold.operator} {_bound_text(threshold.bound.number, measure.unit)}"
            is_found = f"{_subject(threshold)} is {actual_text(check)}{about}"
            if check.verdict is Verdict.INCONCLUSIVE:
                return f"{is_found}, which neither shows nor rules out {required}{doubt_text(check)}"
            return f"{is_found}{shown_bound_text(check)}, must be {required}"
        case NoDrift(threshold=threshold):
            return drift_miss_reason(check, threshold, _subject(threshold), about)
        case FewFailed(allowance=allowance):
            failed = f"{few} of {plural(measure.total, 'simulation')}"
            return f"{failed} did not complete{about}{where}; max_failed_simulations allows {allowance}"
        case EnoughCompleted(least=least):
            return f"{plural(round(measure.value), 'simulation')} completed{where}; min_simulations requires {least:,}"
        case AllListed():
            return _not_listed(measure)
        case AllEnded():
            running = f"{measure.missing:,} of {plural(measure.total, 'simulation')}"
            return f"The run completed, but {running} had not ended when metrics_grace_time was over"
        case MetricHasValues(metric=metric, allowance=allowance):
            lacking = f"{few} of {plural(measure.total, 'completed simulation')}"
            return f"{metric} has no value on {lacking}{about}; max_failed_simulations allows {allowance}"
        case TargetMet(metric=metric, target=target):
            missed = plural(measure.count - round(measure.value), "simulation")
            return f"{metric} missed its target ({target_text(target)}) on {missed}{about}{where}"
        case ValueAbsent(metric=metric, value=value):
            hits = plural(round(measure.value), "simulation")
            return f"{metric} is {forbidden_text(value)} on {hits}{about}{where}; fail_on_metric_value forbids it"
    return f"{criterion_text(check.criterion)}: {actual_text(check)}"


def _compared_reason(check: Check, threshold: Threshold, compared: Comparison) -> str:
    """Return the reason of a check that compares and is not met, without a full stop."""
    required = _required_text(check, threshold)
    now = f"{_subject(threshold)} is {actual_text(check)}{whom(check)}"
    found = f"{now}, {NAMES[threshold.bound.reference]} {earlier_text(check)}"
    clause = f": {change_clause(check)}" if has_bounds(check) else ""
    if check.verdict is not Verdict.INCONCLUSIVE:
        return f"{found}{clause}, must be {required}"
    if compared.by_chance:
        return f"{found}{clause}; required is {required}"
    few = "" if clause else f": {plural(compared.cases, 'shared test case')}"
    neither = "which neither shows nor rules out" if clause else "are too few to show or to rule out"
    return f"{found}{clause or few}{', ' if clause else ' '}{neither} {required}"


def _required_text(check: Check, threshold: Threshold) -> str:
    """Return what a value must be against a reference: the user's words, and the number that they make."""
    written = threshold.text.rpartition(threshold.operator)[2].strip()
    if check.measure is None or check.requirement is None:
        return f"{threshold.operator} {written}"
    bound = check.requirement.bound
    shown = percent(bound) if check.measure.unit == "share" else number(bound)
    plain = threshold.bound.factor == 1.0 and not threshold.bound.number
    return f"{threshold.operator} {written}" + ("" if plain else f" ({shown})")


def _not_listed(measure: Measure) -> str:
    """Return why a run without all of its simulations is not judged, without a full stop."""
    if not measure.total:
        return (
            "The run has no simulations, so nothing was evaluated; check that its test set has active test cases, and "
            "that sub_sample_size or test_case_ids leave some of them"
        )
    listed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
    return f"Coval lists {listed} of the run; the rest are unaccounted for"


def _advisory_reason(check: Check) -> str:
    """Return why an advisory threshold is not met, as a sentence; empty where it is."""
    if check.passed:
        return ""
    if check.problem:
        why = problem_reason(check, check.problem)
    else:
        why = _miss_reason(check, check.measure) if check.measure else ""
    return f"Informs only: {why}."


def _informs_reason(check: Check) -> str:
    """Return why a check only informs, as a sentence."""
    if check.problem:
        return f"Informs only: {problem_reason(check, check.problem)}."
    if isinstance(check.criterion, TargetMet):
        return "Informs only: a threshold on pass_rate decides how many simulations may miss a target."
    return "Informs only: max_failed_simulations lets every simulation fail."


def _subject(threshold: Threshold) -> str:
    aggregate = one_line(threshold.aggregate, VALUE_SHOWN)
    if threshold.aggregate.name == "missing":
        return f"The number of missing values of {threshold.metric}"
    return f"{aggregate} of {threshold.metric}" if threshold.metric else aggregate


def _bound_text(bound: float, unit: Unit) -> str:
    return f"{bound * 100:.10g}%" if unit == "share" else exact_text(bound)
