"""A criterion in English: a sentence that is true where the criterion is met, or a threshold as the user wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.judge.comparison import comparable
from coval_gate.judge.criteria import (
    AllEnded,
    AllListed,
    DataSettled,
    EnoughCompleted,
    FewFailed,
    MetricHasValues,
    MetricPresent,
    MetricsHaveTargets,
    NoDrift,
    NoErrorReported,
    NotFlaky,
    SameCases,
    TargetMet,
    ThresholdHolds,
    ValueAbsent,
    VariantsPresent,
)
from coval_gate.judge.targets import problem
from coval_gate.model.results import BASE
from coval_gate.report.limits import LONGEST_MENTION
from coval_gate.report.wording.targets import target_text
from coval_gate.text import number, one_line, plural, quoted, shortened

if TYPE_CHECKING:
    from coval_gate.config.fields import Allowance
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.model.results import Value

VALUE_SHOWN: Final = 40  # characters of a value, or of an aggregate


def criterion_text(criterion: Criterion) -> str:  # noqa: C901 - a case for each kind
    """Return the criterion as a sentence that is true where it is met; a threshold as the user wrote it."""
    match criterion:
        case ThresholdHolds(threshold=threshold):
            return threshold_text(threshold)
        case FewFailed(allowance=allowance):
            return f"{_allowance_text(allowance)} failed"
        case EnoughCompleted(least=least):
            return f"at least {plural(least, 'simulation')} completed"
        case AllListed():
            return "Coval lists every simulation of the run"
        case DataSettled():
            return "Coval's lists of simulations and metrics are complete"
        case AllEnded():
            return "every simulation ended"
        case VariantsPresent(mutations=mutations):
            return f"Coval lists simulations of the agent and {plural(mutations, 'mutation')}"
        case NoErrorReported():
            return "Coval reports no error of the run"
        case MetricPresent(reference=reference):
            return f"the run has the metric {quoted(reference)}"
        case MetricHasValues(metric=metric, most=most):
            where = f"all but {plural(most, 'completed simulation')}" if most else "every completed simulation"
            return f"{metric} has a value on {where}"
        case MetricsHaveTargets():
            return "at least one metric has a target in Coval"
        case TargetMet(metric=metric, target=target):
            return f"{metric} meets its target" + ("" if problem(target) else f": {target_text(target)}")
        case ValueAbsent(metric=metric, value=value):
            return f"{metric} is never {forbidden_text(value)}"
        case SameCases():
            return "the test cases are those of the first run"
        case NoDrift(threshold=threshold):
            return f"no drift: {threshold.text}"
        case NotFlaky():
            return "the run is not flaky"
    assert_never(criterion)


def threshold_text(threshold: Threshold) -> str:
    """Return a threshold as the user wrote it; of a rate, also that a percentage of the reference is no points."""
    return f"{threshold.text} (relative)" if threshold.is_relative_rate else threshold.text


def mention(criterion: Criterion) -> str:
    """Return the criterion as listed for a simulation that misses it: a long one is cut."""
    return shortened(criterion_text(criterion), LONGEST_MENTION)


def runs_text(check: Check) -> str:
    """Return which of several runs decided a criterion, with a space before it; empty where there is one."""
    if check.runs == 1:
        return ""
    if not check.run_id:
        return f" over {check.runs} runs"
    return f" in the worst of {check.runs} runs" if check.passed else f" in run {check.run_id}"


def whom(check: Check) -> str:
    """Return which variant a sentence is about; empty where there is only one."""
    if not check.several:
        return ""
    return f" for the mutation {check.variant}" if check.variant != BASE else " for the agent itself"


def aggregate_text(criterion: Criterion) -> str:
    """Return what a threshold computes from a metric: "p(95)"."""
    return one_line(criterion.threshold.aggregate, VALUE_SHOWN) if isinstance(criterion, ThresholdHolds) else "it"


def value_text(value: Value) -> str:
    """Return a value as people read it."""
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def forbidden_text(value: str) -> str:
    """Return a value that a user wrote: a text in quotation marks, since it may be a word such as "no"."""
    return one_line(value, VALUE_SHOWN) if isinstance(comparable(value), float) else quoted(value, VALUE_SHOWN)


def _allowance_text(allowance: Allowance) -> str:
    if not allowance.most:
        return "no simulation"
    if allowance.percent:
        return f"at most {allowance} of the simulations"
    return f"at most {plural(int(allowance.most), 'simulation')}"
