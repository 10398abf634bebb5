"""The criteria of the user: what each requires, whom it blames, and how it reads. Pure.

`population` has the rules that every run must meet. A criterion's text is a sentence that is true where the criterion
is met; a threshold is as the user wrote it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from coval_gate.base.text import VALUE_SHOWN, one_line, plural
from coval_gate.coval.model import Metric, RunResult, Target
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import Check, Criterion, Problem, bound_text, runs_text, whom
from coval_gate.gate.measure import Measure, Requirement, distinguished, measured_text, shown, side, tolerated_text
from coval_gate.gate.values import closest_bound, meets, target_problem, target_text
from coval_gate.gate.variants import Sample, Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.inputs import Inputs
from coval_gate.inputs.thresholds import Bound, Threshold

if TYPE_CHECKING:
    from coval_gate.features.known_failures.entries import KnownFailure
    from coval_gate.features.spending.sequential import Look

KnownCheck = Literal["twice", "metric", "case"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdHolds(Criterion):
    """`confidence`: a share; None: decide as counted. `accepted`: a person accepted the run, so nothing is compared."""

    kind = "threshold"
    user_defined = True
    by_values = True
    threshold: Threshold
    confidence: float | None = None
    look: "Look | None" = None
    doubt_passes: bool = False
    accepted: bool = False

    @property
    def advisory(self) -> bool:
        return self.threshold.advisory or self.accepted

    @property
    def about_each(self) -> bool:
        kind = self.threshold.aggregate.kind
        if kind.unit == "metric":
            return kind.is_on_scale and kind.name != "avg"
        return not kind.is_all and (self.threshold.is_about_none_or_all or self.threshold.operator not in ("==", "!="))

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
        lacking = measure.missing if measure.unit == "share" and self.threshold.metric else 0
        if lacking and check.passed and not measure.comparison:
            return tolerated_text(measure, measure.hits - measure.assumed)
        text = measured_text(measure, check.scale, self.value_text(check, measure), _cases_text(check, measure))
        return f"{text}, {lacking:,} of them without a value" if lacking else text

    def value_text(self, check: Check, measure: Measure) -> str:
        """Return the value on its side of the bound, and within what is claimed, as these are shown."""
        value, scale, requirement = measure.value, check.scale, check.requirement
        if requirement is None or self.threshold.bound.reference:
            return distinguished(value, requirement.bound if requirement else value, scale)[0]
        lower, upper = measure.interval[:2] if measure.interval else (-math.inf, math.inf)

        def fits(near: float) -> bool:
            return side(near, lower) >= 0 >= side(near, upper) and check.keeps_side(value, near)

        return shown(value, scale, fits)

    def missed(self, check: Check, measure: Measure) -> str:
        if measure.comparison:
            from coval_gate.features.comparisons.words import missed_clause

            return f"{self._subject} is {missed_clause(self, check, measure, measure.comparison)}"
        now = f"{self._subject} is {self.actual(check, measure)}{whom(check)}"
        required = f"{self.threshold.operator} {bound_text(check)}"
        if measure.interval or check.verdict is Verdict.INCONCLUSIVE:
            from coval_gate.features.confidence.words import claim_clause

            return f"{now}{claim_clause(check, measure, required)}"
        return f"{now}, must be {required}"

    @property
    def what(self) -> str:
        return one_line(self.threshold.aggregate, VALUE_SHOWN)

    @property
    def _subject(self) -> str:
        aggregate, metric = self.what, self.threshold.metric
        return self.threshold.aggregate.kind.subject.format(aggregate=aggregate, metric=metric) if metric else aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMet(Criterion):
    """`metric` meets its target in Coval: on every simulation or, if not `user_defined`, as `pass_rate` says."""

    kind = "target_met"
    counted = "met on {}"
    by_values = True
    is_target = True
    about_each = True
    informs = "a threshold on pass_rate decides how many simulations may miss a target"
    metric: str
    target: Target
    user_defined: bool = True

    def requirement(self, measure: Measure) -> Requirement | None:
        return Requirement(">=", measure.count) if self.user_defined else None

    def can_fail(self, measure: Measure) -> bool:
        return self.user_defined

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        values = sample.values if sample else {}
        unmet = {value for value in {*values.values()} if not meets(self.target, value)}
        return (one.id for one in variant.completed if one.id in values and values[one.id] in unmet)

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        return closest_bound(self.target, number)

    def measured(self, check: Check, measure: Measure) -> str:
        text = tolerated_text(measure, round(measure.value)) if measure.missing and check.passed else ""
        return self.counted.format(text) if text else super(TargetMet, self).measured(check, measure)

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


def _cases_text(check: Check, measure: Measure) -> str:
    """Return the test cases that miss a bound on each, the worst one by its name; empty if there are none."""
    first, *others = measure.low_cases or ("",)
    return check.case_names.get(first, first) + (f", and {plural(len(others), 'more test case')}" if others else "")


def threshold_text(threshold: Threshold) -> str:
    """Mark where a rate's percentage is relative, not points."""
    return f"{threshold.text} (relative)" if threshold.is_relative_rate else threshold.text


def subjects(threshold: Threshold, result: RunResult) -> tuple[Metric | None, ...]:
    """Return the one metric that a threshold names, or None if it names none; nothing if it is not exactly one."""
    if not threshold.metric:
        return (None,)
    metrics = result.find_metrics(threshold.metric)
    return metrics if len(metrics) == 1 else ()


def check_variant(criterion: ThresholdHolds, variant: Variant, metric: Metric | None) -> Check:
    threshold, variant = criterion.threshold, variant.about(metric.id if metric else "")
    aggregation = aggregation_of(threshold, metric)
    measure = aggregation.measured(variant)
    if isinstance(measure, Problem):
        return Check(criterion=criterion, verdict=Verdict.ERROR, problem=measure).on(variant, metric)
    decided = Verdict.PASSED if threshold.holds(measure.value) else Verdict.FAILED
    if criterion.confidence and threshold.takes_confidence:
        from coval_gate.features.confidence.judge import interval_of, verdict_by, with_interval

        if criterion.look:
            from coval_gate.features.spending.judge import interval_at

            interval = interval_at(criterion.look, criterion, aggregation, variant, measure)
        else:
            interval = interval_of(aggregation, variant, criterion.confidence)
        measure = with_interval(measure, interval)
        decided = verdict_by(threshold, measure.value, measure.interval or interval)
    # The simulations to blame are searched only for a threshold that does not pass.
    failing = () if decided is Verdict.PASSED else tuple(aggregation.failing(variant, measure))
    return Check(criterion=criterion, verdict=decided, measure=measure, simulations=failing).on(variant, metric)


def with_outlier(check: Check, variant: Variant, judged: Callable[[Variant], Check]) -> Check:
    """Return the check of a variant with the one value that moves its average: without no other, the verdict differs.

    `judged`: judges the variant again. Two values at each end are tried: those in between move it less.
    """
    threshold, sample = check.threshold, variant.find_sample(check.metric)
    if threshold is None or threshold.aggregate.name != "avg" or check.measure is None or sample is None:
        return check
    values = sorted((value, id_) for id_, value in sample.values.items() if isinstance(value, float))
    if len(values) < 2:
        return check
    ends = dict.fromkeys((*values[:2], *values[-2:]))
    moving = [value for value, id_ in ends if judged(variant.without(sample, id_)).verdict is not check.verdict]
    return replace(check, moved_by=moving[0]) if len(moving) == 1 else check


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The criteria that a completed run must meet.

    `metric_ids`, `mutations`, `cases` (0: unknown) and `iterations` (None: unknown) come from the launch. If targets
    count, each of these metrics must be there. `persona_metrics`: the run has further metrics with unknown ids.
    `confidence`: a share; None: as counted. `on_inconclusive`: pass or fail; empty: fail, except against a baseline.
    `accept`: the run is not compared with a baseline. `legs`: of the step. `baseline_runs`: how many at most. `known`:
    the known failures that have an effect; `known_checks`: what only the run can show of them, which is that no two are
    the same, that something reads their metrics, and that their test cases exist.
    """

    max_failed: Allowance
    thresholds: tuple[Threshold, ...] = ()
    use_metric_targets: bool = False
    metric_ids: tuple[str, ...] = ()
    persona_metrics: bool = False
    mutations: int = 0
    cases: int = 0
    iterations: int | None = None
    confidence: float | None = None
    on_inconclusive: str = ""
    accept: bool = False
    legs: int = 1
    look: "Look | None" = None
    baseline_runs: int = 1
    known: "tuple[KnownFailure, ...]" = ()
    known_checks: tuple[KnownCheck, ...] = ()

    @classmethod
    def from_inputs(cls, inputs: Inputs, *, legs: int = 1) -> "Criteria":
        """Return the criteria of the inputs, which do not describe a run that was launched elsewhere."""
        launched_here = inputs.mode in ("run", "plan")
        return cls(
            max_failed=inputs.max_failed_simulations,
            thresholds=tuple(_resolved(threshold, inputs) for threshold in inputs.thresholds),
            use_metric_targets=inputs.use_metric_targets,
            metric_ids=inputs.metric_ids if launched_here else (),
            persona_metrics=bool(inputs.persona_metrics) and launched_here,
            mutations=len(inputs.mutation_ids) if launched_here else 0,
            cases=len(inputs.test_case_ids) if launched_here else 0,
            iterations=inputs.iteration_count if launched_here else None,
            confidence=inputs.confidence,
            on_inconclusive=inputs.on_inconclusive,
            accept=inputs.accept,
            legs=legs,
            baseline_runs=inputs.baseline.last if inputs.baseline else 1,
        )

    def threshold_criterion(self, threshold: Threshold) -> ThresholdHolds:
        """Against a number, or for an improvement, the agent must prove itself, so doubt fails.

        Otherwise doubt passes, because a regression must be proved.
        """
        return ThresholdHolds(
            threshold=threshold,
            confidence=self.confidence,
            look=self.look,
            doubt_passes=(self.on_inconclusive or ("pass" if threshold.guards else "fail")) == "pass",
            accepted=self.accept and threshold.bound.reference == "baseline",
        )

    @property
    def parts(self) -> int:
        """Into how many parts the error goes, one for each leg. Of several legs, half is for all of them together."""
        return 2 * self.legs if self.legs > 1 else 1

    @property
    def needs_targets(self) -> bool:
        return self.use_metric_targets or any(threshold.aggregate.kind.uses_targets for threshold in self.thresholds)

    @property
    def needs_test_cases(self) -> bool:
        by_case = (one.bound.reference or one.aggregate.kind.is_lowest for one in self.thresholds)
        return self.confidence is not None or any(by_case)

    @property
    def judges_targets(self) -> bool:
        """Whether an unknown target leaves the run without a verdict."""
        deciding = (threshold for threshold in self.thresholds if not threshold.advisory)
        return self.use_metric_targets or any(threshold.aggregate.kind.uses_targets for threshold in deciding)

    @property
    def requires_every_target(self) -> bool:
        """Whether every simulation must meet its targets; otherwise, they only inform."""
        return self.use_metric_targets and not any(threshold.sets_share for threshold in self.thresholds)

    @property
    def named_values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        named = ((threshold.metric, threshold.aggregate.values) for threshold in self.thresholds)
        return tuple((metric, values) for metric, values in named if values)

    @property
    def references(self) -> tuple[str, ...]:
        """The metrics that the criteria name, except in advisory thresholds."""
        named = [threshold.metric for threshold in self.thresholds if threshold.metric and not threshold.advisory]
        return tuple(dict.fromkeys([*named, *(self.metric_ids if self.judges_targets else ())]))


def _resolved(threshold: Threshold, inputs: Inputs) -> Threshold:
    """Return a threshold with what its reference means: `baseline: base` is `base`, and `base` may be another agent."""
    reference, source = threshold.bound.reference, inputs.baseline
    if reference == "baseline" and source and source.kind == "base":
        reference = "base"
    if reference == "base" and inputs.base_agent_id:
        reference = "base_agent"
    return threshold._replace(bound=threshold.bound._replace(reference=reference))
