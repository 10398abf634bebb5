"""A problem in English: what stands in the way of a criterion, in a few words or as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.criteria import (
    MetricPresent,
    MetricsHaveTargets,
    TargetMet,
    ThresholdHolds,
    ValueAbsent,
    VariantsPresent,
)
from coval_gate.judge.problems import (
    CannotOccur,
    ErrorReported,
    Flaky,
    NoNumbers,
    NoSuchMetric,
    NoSuchValue,
    NoTargets,
    NotListed,
    NotSettled,
    NoValues,
    OneValue,
    OnlySummary,
    OtherCases,
    ReferenceDiffers,
    ReferenceGrows,
    ReferenceUnreadable,
    SeveralMetrics,
    UnusableTarget,
    VariantsMissing,
)
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.clauses import VALUE_SHOWN, aggregate_text, runs_text, value_text, whom
from coval_gate.report.wording.comparisons import comparison_problem_reason, comparison_problem_text
from coval_gate.report.wording.criteria import words_of
from coval_gate.report.wording.drift import drift_problem_reason, drift_problem_text
from coval_gate.report.wording.repetition import all_runs_text
from coval_gate.report.wording.targets import target_problem_text
from coval_gate.text import in_words, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.problems import Problem
    from coval_gate.model.results import Value

NAMES_SHOWN: Final = 8  # metrics that a run has, where it lacks the one that was named
VALUES_SHOWN: Final = 8  # that a metric can have
FEW_NAMES: Final = 3  # the same, in a few words


def problem_text(found: Problem) -> str:  # noqa: C901 - a case for each kind
    """Return in a few words what was found in place of a value."""
    match found:
        case NoSuchMetric(similar=similar) if similar:
            return f"did you mean {similar}?"
        case NoSuchMetric(known=known):
            return f"it has only {in_words(known, most=FEW_NAMES)}" if known else "it has no metrics at all"
        case NotListed():
            return "Coval does not list it"
        case NotSettled():
            return "its lists still changed at the deadline"
        case SeveralMetrics(ids=ids):
            return f"{plural(len(ids), 'metric')} of this name"
        case NoValues():
            return "no simulation has a value"
        case OneValue():
            return "only one simulation has a value"
        case NoNumbers():
            return f"some values are not numbers: {_samples_text(found.samples)}"
        case CannotOccur():
            return f"its values are {_kind(found)}: {_different_text(found)}"
        case NoSuchValue(similar=similar) if similar:
            return f"did you mean {value_text(similar)}?"
        case NoSuchValue():
            return f"its values are {_values_text(found)}"
        case OnlySummary():
            return "Coval reports no single values of the metric"
        case NoTargets():
            return "no metric has a target"
        case UnusableTarget(target=target):
            return f"its target {target_problem_text(target)}"
        case VariantsMissing(mutations=mutations, agent=agent):
            return f"of {plural(mutations, 'mutation')}{'' if agent else ', none of the agent itself'}"
        case ErrorReported(text=text):
            return f"it reports {text}"
        case OtherCases(new=new, gone=gone):
            return f"{new:,} new, {gone:,} missing"
        case Flaky(runs=runs):
            return f"the first run failed, but {all_runs_text(runs)} together did not"
        case ReferenceGrows() | ReferenceUnreadable() | ReferenceDiffers():
            return drift_problem_text(found)
    return comparison_problem_text(found)


def problem_reason(check: Check, found: Problem) -> str:  # noqa: C901 - a case for each kind
    """Return the reason of a check that has no measure, without a full stop."""
    where = runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else ""
    criterion, about = check.criterion, f"{whom(check)}{where}"
    match found:
        case NoSuchMetric():
            return _no_such_metric(criterion, found)
        case NotListed():
            metric = criterion.reference if isinstance(criterion, MetricPresent) else ""
            return (
                f"Coval announced the metric {metric} for the run, but does not list it; to do without it, set "
                "metric_ids to the other metrics"
            )
        case NotSettled():
            return (
                "Coval does not say how many simulations and metrics the run has, and its lists still changed at the "
                "deadline"
            )
        case SeveralMetrics(ids=ids):
            named = _metric_named(criterion)
            return f"The run has {len(ids)} metrics named {named}; use the id of one of them: {' or '.join(ids)}"
        case NoValues(metric=metric) if isinstance(criterion, ValueAbsent):
            return f"{metric} has no single value{about}, so fail_on_metric_value cannot be judged"
        case NoValues(metric=metric):
            return f"{metric} has no value at all{about}"
        case OneValue(metric=metric):
            return f"{metric} has only one value{about}, so {aggregate_text(criterion)} is not known"
        case NoNumbers(metric=metric, samples=samples):
            shown = _samples_text(samples)
            unknown = f"{aggregate_text(criterion)} is not known{about}"
            return f"{metric} has values that are not numbers ({shown}), so {unknown}"
        case CannotOccur(metric=metric, wanted=wanted):
            named = " or ".join(quoted(each, VALUE_SHOWN) for each in wanted)
            why = f"they are {_kind(found)} ({_different_text(found)})"
            return f"No value of {metric}{about} can be {named}: {why}, so {words_of(criterion).left_open(criterion)}"
        case NoSuchValue():
            return _no_such_value(criterion, found)
        case OnlySummary(metric=metric) if isinstance(criterion, MetricsHaveTargets):
            return f"Coval reports neither the id nor the single values of {metric}, so its target cannot be judged"
        case OnlySummary(metric=metric):
            return f"Coval reports no single values of {metric}, so {aggregate_text(criterion)} is not known{about}"
        case NoTargets():
            return (
                "No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check"
            )
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
        case OtherCases(new=new, gone=gone):
            return f"Its test cases are not those of the first run ({new:,} new, {gone:,} missing)"
        case Flaky(runs=runs):
            return f"The first run failed, but {all_runs_text(runs)} together did not (flaky), and on_flaky is fail"
        case ReferenceGrows() | ReferenceUnreadable() | ReferenceDiffers():
            return drift_problem_reason(found, about)
    return comparison_problem_reason(check, found, about)


def _no_such_metric(criterion: Criterion, found: NoSuchMetric) -> str:
    named = _metric_named(criterion)
    if not found.known:
        return f"The run has no metric {named}; it has no metrics at all"
    meant = f"did you mean {found.similar}? It has" if found.similar else "it has"
    return f"The run has no metric {named}; {meant} {in_words(found.known, most=NAMES_SHOWN)}"


def _no_such_value(criterion: Criterion, found: NoSuchValue) -> str:
    named = " or ".join(quoted(each, VALUE_SHOWN) for each in found.wanted)
    verb = "can be" if found.allowed else "is"
    meant = f" (did you mean {value_text(found.similar)}?)" if found.similar else ""
    left_open = words_of(criterion).left_open(criterion)
    return f"No value of {found.metric} {verb} {named}{meant}: {_known_values(found)}, so {left_open}"


def _known_values(found: NoSuchValue) -> str:
    """Return which values the metric can have, and which were seen, as a part of a sentence."""
    if not found.allowed:
        return f"the values seen are {_values_text(found)}"
    return f"they are {_values_text(found)}" + (
        f" (seen: {seen_text(found.seen, found.different)})" if found.seen else ""
    )


def _values_text(found: NoSuchValue) -> str:
    if found.allowed:
        return in_words([value_text(each) for each in found.allowed], "or", VALUES_SHOWN)
    return seen_text(found.seen, found.different)


def seen_text(seen: Sequence[str], different: int) -> str:
    """Return some of the texts that a metric has, and how many more there are."""
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(each) for each in seen) + more


def _metric_named(criterion: Criterion) -> str:
    """Return the metric as the user named it; an advisory threshold has no criterion of its own for that."""
    if isinstance(criterion, ThresholdHolds):
        return quoted(criterion.threshold.metric)
    return quoted(criterion.reference) if isinstance(criterion, MetricPresent) else ""


def _samples_text(samples: Sequence[Value]) -> str:
    return ", ".join(sorted({value_text(each) for each in samples}))


def _kind(found: CannotOccur) -> str:
    return "numbers" if isinstance(found.samples[0], float) else "texts"


def _different_text(found: CannotOccur) -> str:
    """Return samples of the values. Numbers have no commas, because users must write them so."""
    shown = [f"{each:.10g}" if isinstance(each, float) else value_text(each) for each in found.samples]
    more = found.different - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
