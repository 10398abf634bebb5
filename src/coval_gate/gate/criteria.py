"""The criteria that a completed run must meet, as the user set them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coval_gate.gate.kinds import ThresholdHolds

if TYPE_CHECKING:
    from coval_gate.inputs.fields import Allowance
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.inputs.thresholds import Threshold


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
