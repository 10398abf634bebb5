"""A check in English: the criterion, what was measured, the margin, and the reason why it did not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.judge.criteria import (
    AllEnded,
    AllListed,
    DataSettled,
    EnoughCompleted,
    FewFailed,
    MetricHasValues,
    MetricPresent,
    MetricsHaveTargets,
    NoErrorReported,
    TargetMet,
    ThresholdHolds,
    ValueAbsent,
    VariantsPresent,
)
from coval_gate.judge.problems import (
    CannotOccur,
    ErrorReported,
    NoNumbers,
    NoSuchMetric,
    NoTargets,
    NotListed,
    NotSettled,
    NoValues,
    OnlySummary,
    SeveralMetrics,
    UnusableTarget,
    VariantsMissing,
)
from coval_gate.judge.targets import problem
from coval_gate.model.results import BASE
from coval_gate.report.limits import LONGEST_MENTION
from coval_gate.report.wording.targets import exact_text, target_problem_text, target_text
from coval_gate.text import in_words, number, one_line, percent, plural, quoted, shortened

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.measure import Measure, Unit
    from coval_gate.judge.problems import Problem
    from coval_gate.model.results import Value

VALUE_SHOWN: Final = 40  # characters of a value, or of an aggregate
NAMES_SHOWN: Final = 8  # metrics that a run has, where it lacks the one that was named


def criterion_text(criterion: Criterion) -> str:  # noqa: C901 - a case for each kind
    """Return the criterion as a statement that is true where it is met; a threshold as the user wrote it."""
    match criterion:
        case ThresholdHolds(threshold=threshold):
            return threshold.text
        case FewFailed(allowance=allowance):
            return f"at most {allowance} failed"
        case EnoughCompleted(least=least):
            return f"at least {least:,} completed"
        case AllListed():
            return "every simulation is listed"
        case DataSettled():
            return "every simulation and metric is known"
        case AllEnded():
            return "every simulation has ended"
        case VariantsPresent(mutations=mutations):
            return f"the agent and {plural(mutations, 'mutation')} are there"
        case NoErrorReported():
            return "Coval reports no error"
        case MetricPresent(reference=reference):
            return f"{reference} is there"
        case MetricHasValues(metric=metric):
            return f"{metric} has values"
        case MetricsHaveTargets():
            return "metrics have targets"
        case TargetMet(metric=metric, target=target):
            return f"{metric} meets its target" + ("" if problem(target) else f": {target_text(target)}")
        case ValueAbsent(metric=metric, value=value):
            return f"{metric} is never {value}"
    assert_never(criterion)


def mention(criterion: Criterion) -> str:
    """Return the criterion as listed for a simulation that misses it: a long one is cut."""
    return shortened(criterion_text(criterion), LONGEST_MENTION)


def check_text(check: Check) -> str:
    """Return the criterion, and the mutation that it is applied to in brackets."""
    text = criterion_text(check.criterion)
    return f"{text} [{check.variant}]" if check.variant else text


def actual_text(check: Check) -> str:
    """Return what was measured, or in a few words why nothing was."""
    if check.problem:
        return _problem_text(check.problem)
    return _measured_text(check, check.measure) if check.measure else ""


def measure_text(measure: Measure) -> str:
    """Return a measure with its total: "40% (4 of 10)", "4 of 10", "1.25"."""
    match measure.unit:
        case "share":
            return f"{percent(measure.value)} ({measure.hits:,} of {measure.total:,})"
        case "simulations":
            return f"{measure.value:,.0f} of {measure.total:,}"
    return number(measure.value)


def margin_text(check: Check) -> str:
    """Return by how much, and in which direction, a criterion is missed; empty where it is met or nothing is known."""
    if check.passed or not check.margin or not check.measure or not (requirement := check.requirement):
        return ""
    many = check.measure.value > requirement.bound
    gap = abs(check.margin)
    match check.measure.unit:
        case "share":
            return f"{number(gap * 100)} percentage points too {'high' if many else 'low'}"
        case "simulations":
            return f"{gap:,.10g} too {'many' if many else 'few'}"
    return f"{number(gap)} too {'high' if many else 'low'}"


def check_reason(check: Check) -> str:
    """Return the reason why a check did not pass, as a sentence."""
    if check.problem:
        return f"{_problem_reason(check, check.problem)}."
    return f"{_miss_reason(check, check.measure)}." if check.measure else ""


def value_text(value: Value) -> str:
    """Return a value as people read it."""
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def _measured_text(check: Check, measure: Measure) -> str:
    match check.criterion:
        case ThresholdHolds(threshold=threshold):
            return _threshold_text(threshold, measure)
        case EnoughCompleted():
            return f"{measure.value:,.0f}"
        case AllListed() if not measure.total:
            return "none"
        case MetricHasValues():
            return f"missing on {measure_text(measure)}"
        case TargetMet():
            return f"met by {measure_text(measure)}"
    return measure_text(measure)


def _threshold_text(threshold: Threshold, measure: Measure) -> str:
    if threshold.aggregate.name == "total":
        return f"{measure.value:,.0f}"
    text = measure_text(measure)
    if measure.assumed:
        return f"{text}, {measure.assumed:,} of them without a value"
    # A miss by less than the usual digits show must not read like a hit.
    bound = threshold.bound.number
    if measure.unit == "metric" and text == number(bound) and measure.value != bound:
        return f"{measure.value:.10g}"
    if measure.unit == "share" and percent(measure.value) == percent(bound) and measure.value != bound:
        return text.replace(percent(measure.value), f"{measure.value * 100:.10g}%", 1)
    return text


def _problem_text(found: Problem) -> str:
    match found:
        case NoSuchMetric():
            return "no such metric"
        case NotListed():
            return "not listed"
        case SeveralMetrics(ids=ids):
            return plural(len(ids), "metric")
        case CannotOccur():
            return f"its values are {_samples_text(found)}"
        case NoTargets():
            return "none has one"
        case UnusableTarget():
            return "no usable target"
        case VariantsMissing(mutations=mutations, agent=agent):
            return f"{plural(mutations, 'mutation')}{'' if agent else ', no agent'}"
        case ErrorReported(text=text):
            return text
    return "not known"


def _miss_reason(check: Check, measure: Measure) -> str:
    """Return the reason of a check whose value is not what it must be, without a full stop."""
    whom, few = _whom(check), f"{measure.value:,.0f}"
    match check.criterion:
        case ThresholdHolds(threshold=threshold):
            bound = _bound_text(threshold.bound.number, measure.unit)
            return f"{_subject(threshold)} is {actual_text(check)}{whom}, must be {threshold.operator} {bound}"
        case FewFailed(allowance=allowance):
            failed = f"{few} of {plural(measure.total, 'simulation')}"
            return f"{failed} did not complete{whom}; max_failed_simulations allows {allowance}"
        case EnoughCompleted(least=least):
            return f"{plural(round(measure.value), 'simulation')} completed; min_simulations requires {least:,}"
        case AllListed():
            return _not_listed(measure)
        case AllEnded():
            running = f"{measure.missing:,} of {plural(measure.total, 'simulation')}"
            return f"The run completed, but {running} had not ended when metrics_grace_time was over"
        case MetricHasValues(metric=metric, allowance=allowance):
            lacking = f"{few} of {plural(measure.total, 'completed simulation')}"
            return f"{metric} has no value on {lacking}{whom}; max_failed_simulations allows {allowance}"
        case TargetMet(metric=metric, target=target):
            missed = plural(measure.count - round(measure.value), "simulation")
            return f"{metric} missed its target ({target_text(target)}) on {missed}{whom}"
        case ValueAbsent(metric=metric, value=value):
            hits = plural(round(measure.value), "simulation")
            return f"{metric} is {value} on {hits}{whom}; fail_on_metric_value forbids it"
    return f"{criterion_text(check.criterion)}: {actual_text(check)}"


def _problem_reason(check: Check, found: Problem) -> str:  # noqa: C901 - a case for each kind
    """Return the reason of a check that has no measure, without a full stop."""
    criterion, whom = check.criterion, _whom(check)
    match found:
        case NoSuchMetric():
            return _no_such_metric(criterion, found)
        case NotListed():
            metric = criterion.reference if isinstance(criterion, MetricPresent) else ""
            return (
                f"The run should have the metric {metric}, but does not list it; to leave it out, launch with the "
                "others as metric_ids"
            )
        case NotSettled():
            return (
                "Coval does not say how many simulations and metrics the run has, and its lists had not settled by the "
                "deadline"
            )
        case SeveralMetrics(ids=ids):
            named = quoted(criterion.reference) if isinstance(criterion, MetricPresent) else ""
            return f"The run has {len(ids)} metrics named {named}; use the id of one of them: {' or '.join(ids)}"
        case NoValues(metric=metric) if isinstance(criterion, ValueAbsent):
            return f"{metric} has no single value{whom}, so fail_on_metric_value cannot be judged"
        case NoValues(metric=metric):
            return f"{metric} has no value at all{whom}"
        case NoNumbers(metric=metric, samples=samples):
            shown = ", ".join(sorted({value_text(each) for each in samples}))
            return f"{metric} has values that are not numbers ({shown}), so {_aggregate(criterion)} is not known{whom}"
        case CannotOccur(metric=metric, wanted=wanted, samples=samples):
            named = " or ".join(quoted(each, VALUE_SHOWN) for each in wanted)
            kind = "numbers" if isinstance(samples[0], float) else "texts"
            why = f"they are {kind} ({_samples_text(found)})"
            return f"No value of {metric}{whom} can be {named}: {why}, so {_left_open(criterion)}"
        case OnlySummary(metric=metric) if isinstance(criterion, MetricsHaveTargets):
            return f"Coval reports no single values of {metric}, and not its id, so its target cannot be judged"
        case OnlySummary(metric=metric):
            return f"Coval reports no single values of {metric}, so {_aggregate(criterion)} is not known{whom}"
        case NoTargets():
            return "No metric of the run has a target in Coval, so use_metric_targets and pass_rate say nothing"
        case UnusableTarget(target=target):
            metric = criterion.metric if isinstance(criterion, TargetMet) else ""
            return f"The target of {metric} {target_problem_text(target)}"
        case VariantsMissing(mutations=mutations, agent=agent):
            launched = plural(criterion.mutations, "mutation") if isinstance(criterion, VariantsPresent) else ""
            alone = "" if agent else " and none of the agent itself"
            listed = plural(mutations, "mutation")
            return f"The run was launched with {launched}, but Coval lists simulations of {listed}{alone}"
        case ErrorReported(text=text):
            return f"The run completed, but Coval reports an error: {text.rstrip('.')}"
    assert_never(found)


def _not_listed(measure: Measure) -> str:
    if not measure.total:
        return (
            "The run has no simulations, so nothing was evaluated; check that its test set has active test cases, and "
            "that sub_sample_size or test_case_ids leave some of them"
        )
    listed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
    return f"Coval lists {listed} of the run; the rest are unaccounted for"


def _no_such_metric(criterion: Criterion, found: NoSuchMetric) -> str:
    named = quoted(criterion.reference) if isinstance(criterion, MetricPresent) else ""
    if not found.known:
        return f"The run has no metric {named}; it has no metrics at all"
    meant = f"did you mean {found.similar}? It has" if found.similar else "it has"
    return f"The run has no metric {named}; {meant} {in_words(found.known, 'and', NAMES_SHOWN)}"


def _whom(check: Check) -> str:
    """Return which variant a sentence is about; empty where there is only one."""
    if not check.several:
        return ""
    return f" for the mutation {check.variant}" if check.variant != BASE else " for the agent itself"


def _subject(threshold: Threshold) -> str:
    aggregate = one_line(threshold.aggregate, VALUE_SHOWN)
    if threshold.aggregate.name == "missing":
        return f"The number of missing values of {threshold.metric}"
    return f"{aggregate} of {threshold.metric}" if threshold.metric else aggregate


def _samples_text(found: CannotOccur) -> str:
    """Return samples of the values. Numbers have no commas, because users must write them so."""
    shown = [f"{each:.10g}" if isinstance(each, float) else value_text(each) for each in found.samples]
    more = found.different - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _left_open(criterion: Criterion) -> str:
    match criterion:
        case ValueAbsent():
            return "fail_on_metric_value cannot be judged"
        case TargetMet(target=target):
            return f"its target ({target_text(target)}) cannot be judged"
    return f"{_aggregate(criterion)} is not known"


def _aggregate(criterion: Criterion) -> str:
    return one_line(criterion.threshold.aggregate, VALUE_SHOWN) if isinstance(criterion, ThresholdHolds) else "it"


def _bound_text(bound: float, unit: Unit) -> str:
    return f"{bound * 100:.10g}%" if unit == "share" else exact_text(bound)
