"""The kinds of criteria about values and metrics: what each requires, whom it blames, and how it reads. Pure.

`population` has the kinds about simulations. A criterion's text is a sentence that is true where the criterion is met;
a threshold is as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from coval_gate.base.text import VALUE_SHOWN, one_line, plural, quoted
from coval_gate.coval.model import Metric, RunResult, Target
from coval_gate.gate import claims
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import NAMES, Check, Criterion, Problem, bound_text, check_on, runs_text, whom
from coval_gate.gate.measure import Comparison, Measure, Requirement, Scale, measured_text, on_scale, told_apart
from coval_gate.gate.values import closest_bound, meets, target_problem, target_text
from coval_gate.gate.variants import Sample, Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import Bound, Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdHolds(Criterion):
    """`confidence`: a share; None: decide as counted. `accepted`: a person accepted the run, so nothing is compared."""

    kind = "threshold"
    user_defined = True
    of_values = True
    threshold: Threshold
    confidence: float | None = None
    doubt_passes: bool = False
    accepted: bool = False

    @property
    def advisory(self) -> bool:
        return self.threshold.advisory or self.accepted

    @property
    def forbids(self) -> bool:
        is_count = self.threshold.aggregate.name == "count" and not self.advisory
        return is_count and self.threshold.operator in ("==", "<=") and self.threshold.bound == Bound(0.0)

    @property
    def is_sampled(self) -> bool:
        return self.threshold.takes_confidence or self.threshold.aggregate.kind.pools_runs

    def requirement(self, measure: Measure) -> Requirement | None:
        if self.threshold.bound.reference and measure.comparison is None:
            return None
        return Requirement(self.threshold.operator, self._bound(measure))

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        if self.threshold.metric and sample is None:
            return ()
        requirement = self.requirement(measure) if measure else None
        number = self.threshold._replace(bound=Bound(requirement.bound)) if requirement else self.threshold
        value = measure.value if measure else None
        return aggregation_of(number, sample.metric if sample else None).missing_it(variant, value)

    def contributing(self, variant: Variant, sample: Sample | None) -> Mapping[str, float]:
        return aggregation_of(self.threshold, sample.metric).contributing(variant) if sample else {}

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        if not self.threshold.aggregate.kind.is_on_scale or self.threshold.operator == "!=":
            return None
        return self._bound(measure)

    def _bound(self, measure: Measure | None) -> float:
        reference = measure.comparison if measure else None
        return self.threshold.bound.of(reference.value if reference else 0.0)

    @property
    def text(self) -> str:
        return threshold_text(self.threshold)

    def measured(self, check: Check, measure: Measure) -> str:
        if self.threshold.aggregate.kind.is_all:
            return f"{measure.value:,.0f}"
        text = measured_text(measure, Scale(measure.unit, check.metric_unit))
        if measure.assumed:
            return f"{text}, {measure.assumed:,} of them without a value"
        bound = check.requirement.bound if check.requirement else measure.value
        value, _ = told_apart(measure.value, bound, check.scale)
        return text.replace(on_scale(measure.value, check.scale), value, 1)

    def missed(self, check: Check, measure: Measure) -> str:
        now = f"{self._subject} is {self.actual(check, measure)}{whom(check)}"
        if measure.comparison:
            return self._missed_beside(check, now, measure, measure.comparison)
        required = f"{self.threshold.operator} {bound_text(check)}"
        if check.verdict is Verdict.INCONCLUSIVE:
            return f"{now}, which neither shows nor rules out {required}{claims.inconclusive_clause(check)}"
        return f"{now}{claims.shown_bound_text(check)}, must be {required}"

    @property
    def what(self) -> str:
        return one_line(self.threshold.aggregate, VALUE_SHOWN)

    def _missed_beside(self, check: Check, now: str, measure: Measure, compared: Comparison) -> str:
        """Return the reason of a check that compares. `now`: what was measured."""
        required = self._required(check)
        earlier = claims.earlier_text(check, measure, compared)
        values = f"{now}, {NAMES[self.threshold.bound.reference]} {earlier}"
        change = claims.change_clause(check, compared)
        clause = f": {change}" if change else ""
        if check.verdict is not Verdict.INCONCLUSIVE:
            return f"{values}{clause}{';' if clause else ','} must be {required}"
        if compared.by_chance:
            return f"{values}{clause}; must be {required}"
        few = "" if clause else f": {plural(compared.cases, 'shared test case')}"
        neither = "which neither shows nor rules out" if clause else "are too few to show or rule out"
        return f"{values}{clause or few}{', ' if clause else ' '}{neither} {required}"

    def _required(self, check: Check) -> str:
        """Return what the user wrote after the aggregate, with the bound that it amounts to: ">= base - 5pp (90%)"."""
        threshold = self.threshold
        is_plain = threshold.bound.factor == 1.0 and not threshold.bound.number
        written = threshold.text.rpartition(threshold.operator)[2].strip()
        return f"{threshold.operator} {written}" + ("" if is_plain else f" ({bound_text(check)})")

    @property
    def _subject(self) -> str:
        aggregate, metric = self.what, self.threshold.metric
        return self.threshold.aggregate.kind.subject.format(aggregate=aggregate, metric=metric) if metric else aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMet(Criterion):
    """`metric` meets its target in Coval. `decides`: on every simulation; otherwise `pass_rate` says on how many."""

    kind = "target_met"
    counted = "met on {}"
    of_values = True
    of_target = True
    informs = "a threshold on pass_rate decides how many simulations may miss a target"
    metric: str
    target: Target
    decides: bool = True

    @property
    def user_defined(self) -> bool:
        return self.decides

    @property
    def is_sampled(self) -> bool:
        return not self.decides

    def requirement(self, measure: Measure) -> Requirement | None:
        return Requirement(">=", measure.count) if self.decides else None

    def can_fail(self, measure: Measure) -> bool:
        return self.decides

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        values = sample.values if sample else {}
        completed = (simulation.id for simulation in variant.completed if simulation.id in values)
        return (simulation for simulation in completed if not meets(self.target, values[simulation]))

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        return closest_bound(self.target, number)

    @property
    def text(self) -> str:
        target = "" if target_problem(self.target) else f": {target_text(self.target)}"
        return f"{self.metric} meets its target{target}"

    def missed(self, check: Check, measure: Measure) -> str:
        missed = plural(measure.count - round(measure.value), "simulation")
        where = f"{whom(check)}{runs_text(check)}"
        return f"{self.metric} missed its target ({target_text(self.target)}) on {missed}{where}"

    @property
    def what(self) -> str:
        return f"its target ({target_text(self.target)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPresent(Criterion):
    """The run has exactly one metric with the id or name `reference`."""

    kind = "metric_present"
    reference: str

    @property
    def text(self) -> str:
        return f"the run has the metric {quoted(self.reference)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHasValues(Criterion):
    """At most `most` completed simulations lack a value of `metric`: the `allowance` minus failed simulations."""

    kind = "metric_has_values"
    counted = "missing on {}"
    metric: str
    allowance: Allowance
    most: int

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement("<=", self.most)

    @property
    def text(self) -> str:
        most = self.most
        where = f"all but {plural(most, 'completed simulation')}" if most else "every completed simulation"
        return f"{self.metric} has a value on {where}"

    def missed(self, check: Check, measure: Measure) -> str:
        lacking = f"{measure.value:,.0f} of {plural(measure.total, 'completed simulation')}{whom(check)}"
        return f"{self.metric} has no value on {lacking}; max_failed_simulations allows {self.allowance}"


def threshold_text(threshold: Threshold) -> str:
    """Return a threshold as the user wrote it, marked where a rate's percentage is relative, not points."""
    return f"{threshold.text} (relative)" if threshold.is_relative_rate else threshold.text


def evaluate(criterion: ThresholdHolds, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """Check a threshold on each variant; nothing if its metric is in doubt, which another check reports."""
    for metric in subjects(criterion.threshold, result):
        for variant in variants:
            yield check_variant(criterion, variant, metric)


def subjects(threshold: Threshold, result: RunResult) -> tuple[Metric | None, ...]:
    """Return the one metric that a threshold names, or None if it names none; nothing if the metric is in doubt."""
    if not threshold.metric:
        return (None,)
    metrics = result.find_metrics(threshold.metric)
    return metrics if len(metrics) == 1 else ()


def check_variant(criterion: ThresholdHolds, variant: Variant, metric: Metric | None) -> Check:
    """Check a threshold, whose bound is a number, on one variant; `metric` is the one that it names, if any."""
    threshold = criterion.threshold
    aggregation = aggregation_of(threshold, metric)
    measure = aggregation.measured(variant)
    if isinstance(measure, Problem):
        return check_on(variant, criterion, Verdict.ERROR, metric=metric, problem=measure)
    if criterion.confidence and threshold.takes_confidence:
        measure = replace(measure, interval=aggregation.interval(variant, criterion.confidence))
    decided = _verdict(threshold, measure)
    # The simulations to blame are searched only for a threshold that does not pass.
    failing = () if decided is Verdict.PASSED else tuple(aggregation.failing(variant, measure))
    return check_on(variant, criterion, decided, metric=metric, measure=measure, simulations=failing)


def _verdict(threshold: Threshold, measure: Measure) -> Verdict:
    """A conclusive verdict never contradicts the value as counted.

    As counted, 9 of 10 meets `>= 90%`; but agents that solve 70 % do that well in one of seven runs. With a confidence,
    a threshold passes only if the whole interval meets it, and fails only if no part of it does.
    """
    holds, interval = threshold.holds(measure.value), measure.interval
    if interval is None:
        return Verdict.PASSED if holds else Verdict.FAILED
    wants_less = threshold.wants_less
    best, worst = (interval.lower, interval.upper) if wants_less else (interval.upper, interval.lower)
    if holds and threshold.holds(worst):
        return Verdict.PASSED
    if not holds and not threshold.holds(best):
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE
