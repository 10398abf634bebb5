"""The criteria that a completed run must meet: one type for each kind, and all that the user defined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coval_gate.config.thresholds import Bound
from coval_gate.judge import targets
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.measure import Measure, Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.config.fields import Allowance
    from coval_gate.config.inputs import Inputs
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.variants import Sample, Variant
    from coval_gate.model.results import Target


class _Kind:
    """`of_values`: values of the run decide it. `of_target`: the metric's own target, of each simulation alone.

    `of_run`: it is about the run, whatever the simulations show, and a run that misses it is no repetition.
    """

    __slots__ = ()
    kind: ClassVar[str]
    of_user: ClassVar[bool] = False
    of_values: ClassVar[bool] = False
    of_target: ClassVar[bool] = False
    of_run: ClassVar[bool] = False

    @property
    def user_defined(self) -> bool:
        """Whether the user defined it; otherwise every run must meet it."""
        return self.of_user

    @property
    def advisory(self) -> bool:
        """Whether it is only shown, and never fails."""
        return False

    @property
    def doubt_passes(self) -> bool:
        """Whether the step passes if it is neither met nor missed."""
        return False

    @property
    def forbids(self) -> bool:
        """Whether it names values that no simulation may have."""
        return False

    @property
    def confidence(self) -> float | None:
        """The confidence with which it is decided; None: as counted."""
        return None

    @property
    def named_values(self) -> tuple[str, ...]:
        """The values that the user named, which simulations can have."""
        return ()

    @property
    def is_sampled(self) -> bool:
        """Whether a run and its repetitions decide it by all conversations together, and not each of them alone."""
        return False

    def requirement(self, measure: Measure) -> Requirement | None:
        """Return what the value of `measure` must be; None if any value will do."""
        return None

    def can_fail(self, measure: Measure) -> bool:
        """Return whether another measured value could miss the criterion; otherwise it only informs."""
        return True

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        """Return the ids that miss it by themselves. `measure`: of this variant, or another that must meet the same."""
        return ()

    def contributing(self, variant: Variant, sample: Sample | None) -> Mapping[str, float]:
        """Return the numbers, by simulation id, that contribute to a value although none misses it by itself."""
        return {}

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        """Return the bound that a number that misses it would have to reach; None if distances mean nothing here."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdHolds(_Kind):
    """`confidence`: a share; None: decide as counted. `accepted`: a person accepted the run, so nothing is compared."""

    kind: ClassVar = "threshold"
    of_user: ClassVar = True
    of_values: ClassVar = True
    threshold: Threshold
    confidence: float | None = None
    doubt_passes: bool = False
    accepted: bool = False

    @property
    def advisory(self) -> bool:
        return self.threshold.advisory or self.accepted

    @property
    def named_values(self) -> tuple[str, ...]:
        return self.threshold.aggregate.values

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
        return aggregation_of(number).missing_it(variant, sample.metric if sample else None, value)

    def contributing(self, variant: Variant, sample: Sample | None) -> Mapping[str, float]:
        return aggregation_of(self.threshold).contributing(variant, sample.metric) if sample else {}

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        if not self.threshold.aggregate.kind.is_on_scale or self.threshold.operator == "!=":
            return None
        return self._bound(measure)

    def _bound(self, measure: Measure | None) -> float:
        reference = measure.comparison if measure else None
        return self.threshold.bound.of(reference.value if reference else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewFailed(_Kind):
    """No more simulations failed than `max_failed_simulations` allows."""

    kind: ClassVar = "max_failed_simulations"
    allowance: Allowance

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement("<=", self.allowance.of(measure.total))

    def can_fail(self, measure: Measure) -> bool:
        return self.allowance.of(measure.total) < measure.total

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        return (simulation.id for simulation in variant.simulations if not simulation.completed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCompleted(_Kind):
    """At least one simulation completed, however many `max_failed_simulations` allows to fail."""

    kind: ClassVar = "any_completed"

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllListed(_Kind):
    """Coval lists every simulation of the run, and at least one. The total of the measure is how many there must be."""

    kind: ClassVar = "simulations_listed"

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", max(1, measure.total))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettled(_Kind):
    """Coval has no further simulations and metrics of the run, or listed the same for a while."""

    kind: ClassVar = "data_settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllEnded(_Kind):
    kind: ClassVar = "simulations_ended"

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", measure.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsPresent(_Kind):
    """The agent itself and each of the `mutations` that the run was launched with have simulations."""

    kind: ClassVar = "variants_present"
    mutations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllAnswered(_Kind):
    """A job answered every simulation of a run whose agent is a process of the user's."""

    kind: ClassVar = "simulations_answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoErrorReported(_Kind):
    kind: ClassVar = "no_error_reported"
    of_run: ClassVar = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPresent(_Kind):
    """The run has exactly one metric with the id or name `reference`."""

    kind: ClassVar = "metric_present"
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHasValues(_Kind):
    """At most `most` completed simulations lack a value of `metric`: the `allowance` minus failed simulations."""

    kind: ClassVar = "metric_has_values"
    metric: str
    allowance: Allowance
    most: int

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement("<=", self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsHaveTargets(_Kind):
    """At least one metric of the run has a target in Coval, because a criterion depends on targets."""

    kind: ClassVar = "metrics_have_targets"
    of_user: ClassVar = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMet(_Kind):
    """`metric` meets its target in Coval. `decides`: on every simulation; otherwise `pass_rate` says on how many."""

    kind: ClassVar = "target_met"
    of_values: ClassVar = True
    of_target: ClassVar = True
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
        return (simulation for simulation, value in values.items() if not targets.meets(self.target, value))

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        return targets.closest_bound(self.target, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class SameCases(_Kind):
    """A repetition has the same test cases as the first run, so their conversations can be pooled."""

    kind: ClassVar = "same_test_cases"


Criterion = (
    ThresholdHolds
    | FewFailed
    | AnyCompleted
    | AllListed
    | DataSettled
    | AllEnded
    | VariantsPresent
    | AllAnswered
    | NoErrorReported
    | MetricPresent
    | MetricHasValues
    | MetricsHaveTargets
    | TargetMet
    | SameCases
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The criteria that a completed run must meet.

    `metric_ids`, `mutations`, `cases` (0: unknown) and `iterations` (None: unknown) come from the launch. If targets
    count, each of these metrics must be there. `persona_metrics`: the run has further metrics with unknown ids.
    `confidence`: a share; None: as counted. `on_inconclusive`: pass or fail; empty: fail, except against a baseline.
    `accept`: a person accepts the run, so it is not compared with a baseline. `legs`: their comparisons are one family.
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

    @classmethod
    def from_inputs(cls, inputs: Inputs, *, legs: int = 1) -> Criteria:
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
        )

    def of_threshold(self, threshold: Threshold) -> ThresholdHolds:
        """Against a number, the agent must prove itself, so doubt fails.

        Against a baseline, doubt passes, because a regression must be proved, unless the threshold asks for an
        improvement.
        """
        guards = bool(threshold.bound.reference) and not threshold.asks_for_improvement
        policy = self.on_inconclusive or ("pass" if guards else "fail")
        return ThresholdHolds(
            threshold=threshold,
            confidence=self.confidence,
            doubt_passes=policy == "pass",
            accepted=self.accept and threshold.bound.reference == "baseline",
        )

    @property
    def needs_targets(self) -> bool:
        return self.use_metric_targets or any(threshold.aggregate.kind.uses_targets for threshold in self.thresholds)

    @property
    def needs_test_cases(self) -> bool:
        return self.confidence is not None or any(threshold.bound.reference for threshold in self.thresholds)

    @property
    def judges_targets(self) -> bool:
        """Whether an unknown target leaves the run without a verdict."""
        return self.use_metric_targets or self.sets_pass_rate

    @property
    def sets_pass_rate(self) -> bool:
        """Whether a threshold says how many simulations must meet the targets; otherwise, all must."""
        return any(threshold.aggregate.kind.uses_targets and not threshold.advisory for threshold in self.thresholds)

    @property
    def named_values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The metrics that the criteria name together with values, and those values."""
        return tuple(
            (threshold.metric, threshold.aggregate.values)
            for threshold in self.thresholds
            if threshold.aggregate.values
        )

    @property
    def references(self) -> tuple[str, ...]:
        """The metrics that the criteria name, except in advisory thresholds."""
        named = [threshold.metric for threshold in self.thresholds if threshold.metric and not threshold.advisory]
        launched = self.metric_ids if self.judges_targets else ()
        return tuple(dict.fromkeys([*named, *launched]))


def _resolved(threshold: Threshold, inputs: Inputs) -> Threshold:
    """Return a threshold with what its reference means: `baseline: base` is `base`, and `base` may be another agent."""
    reference, source = threshold.bound.reference, inputs.baseline
    if reference == "baseline" and source and source.kind == "base":
        reference = "base"
    if reference == "base" and inputs.base_agent_id:
        reference = "base_agent"
    return threshold._replace(bound=threshold.bound._replace(reference=reference))
