"""Each kind of criterion in English: what it requires, what was measured, and why it is missed.

Each kind has one entry in WORDS. Its sentence is true where the criterion is met; a threshold is as the user wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from coval_gate.base.text import one_line, plural, quoted, shortened
from coval_gate.judge.criteria import (
    AllAnswered,
    AllEnded,
    AllListed,
    AnyCompleted,
    DataSettled,
    FewFailed,
    MetricHasValues,
    MetricPresent,
    MetricsHaveTargets,
    NoErrorReported,
    SameCases,
    TargetMet,
    ThresholdHolds,
    VariantsPresent,
)
from coval_gate.judge.measure import Scale
from coval_gate.judge.targets import problem
from coval_gate.judge.verdict import Verdict
from coval_gate.report.limits import LONGEST_MENTION
from coval_gate.report.wording.clauses import (
    VALUE_SHOWN,
    bound_text,
    measured,
    on_scale,
    required_text,
    runs_text,
    target_text,
    threshold_text,
    told_apart,
    whom,
)
from coval_gate.report.wording.comparisons import (
    NAMES,
    change_clause,
    earlier_text,
    has_bounds,
    inconclusive_clause,
    shown_bound_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.config.fields import Allowance
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.measure import Comparison, Measure

C = TypeVar("C")


def criterion_text(criterion: Criterion) -> str:
    """Return a sentence that is true where the criterion is met; a threshold as the user wrote it."""
    return words_of(criterion).sentence(criterion)


def mention(criterion: Criterion) -> str:
    """Return the criterion as listed for a simulation that misses it: cut where it is long."""
    return shortened(criterion_text(criterion), LONGEST_MENTION)


def words_of(criterion: Criterion) -> CriterionWords[Any]:
    return WORDS[type(criterion)]


class CriterionWords(Generic[C]):
    """How one kind of criterion reads, also without values of its metric. `informs`: why it cannot fail."""

    without_values = "{metric} has no values{about}"
    with_summary = "Coval reports no individual values of {metric}, so {what} is unknown{about}"
    informs = ""

    def sentence(self, criterion: C) -> str:
        """Return a sentence that is true where the criterion is met."""
        raise NotImplementedError

    def measured(self, check: Check, criterion: C, measure: Measure) -> str:
        return measured(measure, Scale(measure.unit, check.metric_unit))

    def missed(self, check: Check, criterion: C, measure: Measure) -> str:
        """Return why the measured value misses the criterion, without a full stop."""
        return f"{self.sentence(criterion)}: {self._actual(check, criterion, measure)}"

    def what(self, criterion: C) -> str:
        """Return what cannot be judged without values."""
        return "it"

    def written(self, criterion: C) -> str:
        """Return what the user wrote, and where."""
        return self.what(criterion)

    def _actual(self, check: Check, criterion: C, measure: Measure) -> str:
        return f"{self.measured(check, criterion, measure)}{runs_text(check)}"


class Sentence(CriterionWords[Any]):
    """A kind with a fixed sentence, whose measure needs no words of its own."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def sentence(self, criterion: object) -> str:
        return self._sentence


class OfThreshold(CriterionWords[ThresholdHolds]):
    def sentence(self, criterion: ThresholdHolds) -> str:
        return threshold_text(criterion.threshold)

    def measured(self, check: Check, criterion: ThresholdHolds, measure: Measure) -> str:
        return _threshold_text(criterion.threshold, measure, check)

    def missed(self, check: Check, criterion: ThresholdHolds, measure: Measure) -> str:
        threshold, actual = criterion.threshold, self._actual(check, criterion, measure)
        if measure.comparison:
            return _compared_reason(check, threshold, actual, measure.comparison)
        required = f"{threshold.operator} {bound_text(check)}"
        value = f"{_subject(threshold)} is {actual}{whom(check)}"
        if check.verdict is Verdict.INCONCLUSIVE:
            return f"{value}, which neither shows nor rules out {required}{inconclusive_clause(check)}"
        return f"{value}{shown_bound_text(check)}, must be {required}"

    def what(self, criterion: ThresholdHolds) -> str:
        return one_line(criterion.threshold.aggregate, VALUE_SHOWN)

    def written(self, criterion: ThresholdHolds) -> str:
        return f"{criterion.threshold.text} ({criterion.threshold.place})"


class OfFewFailed(CriterionWords[FewFailed]):
    informs = "max_failed_simulations lets every simulation fail"

    def sentence(self, criterion: FewFailed) -> str:
        return f"{_allowance_text(criterion.allowance)} failed"

    def measured(self, check: Check, criterion: FewFailed, measure: Measure) -> str:
        return f"{super().measured(check, criterion, measure)} failed"

    def missed(self, check: Check, criterion: FewFailed, measure: Measure) -> str:
        failed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
        where = f"{whom(check)}{runs_text(check)}"
        return f"{failed} did not complete{where}; max_failed_simulations allows {criterion.allowance}"


class OfAnyCompleted(Sentence):
    def measured(self, check: Check, criterion: AnyCompleted, measure: Measure) -> str:
        return f"{super().measured(check, criterion, measure)} completed"

    def missed(self, check: Check, criterion: AnyCompleted, measure: Measure) -> str:
        return f"No simulation completed{runs_text(check)}"


class OfAllListed(Sentence):
    def measured(self, check: Check, criterion: AllListed, measure: Measure) -> str:
        return f"{super().measured(check, criterion, measure)} listed" if measure.value else "none listed"

    def missed(self, check: Check, criterion: AllListed, measure: Measure) -> str:
        return _not_listed(measure)


class OfAllEnded(Sentence):
    def measured(self, check: Check, criterion: AllEnded, measure: Measure) -> str:
        return f"{super().measured(check, criterion, measure)} ended"

    def missed(self, check: Check, criterion: AllEnded, measure: Measure) -> str:
        running = f"{measure.missing:,} of {plural(measure.total, 'simulation')}"
        return f"The run completed, but {running} had not ended when metrics_grace_time was over"


class OfVariantsPresent(CriterionWords[VariantsPresent]):
    def sentence(self, criterion: VariantsPresent) -> str:
        return f"Coval lists simulations of the agent and {plural(criterion.mutations, 'mutation')}"


class OfMetricPresent(CriterionWords[MetricPresent]):
    def sentence(self, criterion: MetricPresent) -> str:
        return f"the run has the metric {quoted(criterion.reference)}"


class OfMetricHasValues(CriterionWords[MetricHasValues]):
    def sentence(self, criterion: MetricHasValues) -> str:
        most = criterion.most
        where = f"all but {plural(most, 'completed simulation')}" if most else "every completed simulation"
        return f"{criterion.metric} has a value on {where}"

    def measured(self, check: Check, criterion: MetricHasValues, measure: Measure) -> str:
        return f"missing on {super().measured(check, criterion, measure)}"

    def missed(self, check: Check, criterion: MetricHasValues, measure: Measure) -> str:
        lacking = f"{measure.value:,.0f} of {plural(measure.total, 'completed simulation')}{whom(check)}"
        return f"{criterion.metric} has no value on {lacking}; max_failed_simulations allows {criterion.allowance}"


class OfMetricsHaveTargets(Sentence):
    with_summary = "Coval reports neither the id nor individual values of {metric}, so its target cannot be judged"


class OfTarget(CriterionWords[TargetMet]):
    informs = "a threshold on pass_rate decides how many simulations may miss a target"

    def sentence(self, criterion: TargetMet) -> str:
        target = criterion.target
        return f"{criterion.metric} meets its target" + ("" if problem(target) else f": {target_text(target)}")

    def measured(self, check: Check, criterion: TargetMet, measure: Measure) -> str:
        return f"met on {super().measured(check, criterion, measure)}"

    def missed(self, check: Check, criterion: TargetMet, measure: Measure) -> str:
        missed = plural(measure.count - round(measure.value), "simulation")
        where = f"{whom(check)}{runs_text(check)}"
        return f"{criterion.metric} missed its target ({target_text(criterion.target)}) on {missed}{where}"

    def what(self, criterion: TargetMet) -> str:
        return f"its target ({target_text(criterion.target)})"


WORDS: Final[Mapping[type[Criterion], CriterionWords[Any]]] = {
    ThresholdHolds: OfThreshold(),
    FewFailed: OfFewFailed(),
    AnyCompleted: OfAnyCompleted("at least one simulation completed"),
    AllListed: OfAllListed("Coval lists every simulation of the run"),
    DataSettled: Sentence("Coval's lists of simulations and metrics are complete"),
    AllEnded: OfAllEnded("every simulation ended"),
    VariantsPresent: OfVariantsPresent(),
    AllAnswered: Sentence("coval-gate attach answered every simulation"),
    NoErrorReported: Sentence("Coval reports no error for the run"),
    MetricPresent: OfMetricPresent(),
    MetricHasValues: OfMetricHasValues(),
    MetricsHaveTargets: OfMetricsHaveTargets("at least one metric has a target in Coval"),
    TargetMet: OfTarget(),
    SameCases: Sentence("the test cases are the same as in the first run"),
}


def _allowance_text(allowance: Allowance) -> str:
    if not allowance.most:
        return "no simulation"
    if allowance.percent:
        return f"at most {allowance} of the simulations"
    return f"at most {plural(int(allowance.most), 'simulation')}"


def _threshold_text(threshold: Threshold, measure: Measure, check: Check) -> str:
    if threshold.aggregate.kind.is_all:
        return f"{measure.value:,.0f}"
    text = measured(measure, Scale(measure.unit, check.metric_unit))
    if measure.assumed:
        return f"{text}, {measure.assumed:,} of them without a value"
    bound = check.requirement.bound if check.requirement else measure.value
    value, _ = told_apart(measure.value, bound, check.scale)
    return text.replace(on_scale(measure.value, check.scale), value, 1)


def _compared_reason(check: Check, threshold: Threshold, actual: str, compared: Comparison) -> str:
    required = _required_text(check, threshold)
    now = f"{_subject(threshold)} is {actual}{whom(check)}"
    values = f"{now}, {NAMES[threshold.bound.reference]} {earlier_text(check)}"
    clause = f": {change_clause(check)}" if has_bounds(check) else ""
    if check.verdict is not Verdict.INCONCLUSIVE:
        return f"{values}{clause}{';' if clause else ','} must be {required}"
    if compared.by_chance:
        return f"{values}{clause}; must be {required}"
    few = "" if clause else f": {plural(compared.cases, 'shared test case')}"
    neither = "which neither shows nor rules out" if clause else "are too few to show or rule out"
    return f"{values}{clause or few}{', ' if clause else ' '}{neither} {required}"


def _required_text(check: Check, threshold: Threshold) -> str:
    """Return the requirement against a reference: the user's words, and the number that they amount to."""
    is_plain = threshold.bound.factor == 1.0 and not threshold.bound.number
    if is_plain or check.measure is None or check.requirement is None:
        return required_text(threshold, "")
    return required_text(threshold, bound_text(check))


def _not_listed(measure: Measure) -> str:
    """Return why a run is not judged while simulations are missing from its list, without a full stop."""
    if not measure.total:
        return (
            "The run has no simulations, so nothing was evaluated; check that its test set has active test cases, and "
            "that sub_sample_size or test_case_ids selects some of them"
        )
    listed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
    return f"Coval lists {listed} of the run; the rest are unaccounted for"


def _subject(threshold: Threshold) -> str:
    aggregate = one_line(threshold.aggregate, VALUE_SHOWN)
    if not threshold.metric:
        return aggregate
    return threshold.aggregate.kind.subject.format(aggregate=aggregate, metric=threshold.metric)
