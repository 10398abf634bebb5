"""What a run that completed has to meet, from the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_gate.config.fields import Allowance
    from coval_gate.config.inputs import Inputs
    from coval_gate.config.thresholds import Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """A value that the metric must have on no simulation (`fail_on_metric_id` and `fail_on_metric_value`)."""

    metric: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What a run that completed has to meet.

    `metric_ids` and `mutations` (their number) are what the run was launched with: where targets count, each of these
    metrics must be there. `simulations`: how many it has at least, by what it was launched with.
    """

    max_failed: Allowance
    min_simulations: int = 1
    thresholds: tuple[Threshold, ...] = ()
    use_metric_targets: bool = False
    forbidden: Forbidden | None = None
    metric_ids: tuple[str, ...] = ()
    mutations: int = 0
    simulations: int = 1

    @classmethod
    def from_inputs(cls, inputs: Inputs) -> Criteria:
        """Read the criteria; the inputs say nothing about the content of a run that was launched elsewhere."""
        launched_here = inputs.mode == "run"
        mutations = len(inputs.mutation_ids) + bool(inputs.mutation_id) if launched_here else 0
        cases = len(inputs.test_case_ids) if launched_here else 0
        return cls(
            max_failed=inputs.max_failed_simulations,
            min_simulations=inputs.min_simulations,
            thresholds=inputs.thresholds,
            use_metric_targets=inputs.use_metric_targets,
            forbidden=Forbidden(metric=inputs.fail_on_metric_id, value=inputs.fail_on_metric_value)
            if inputs.fail_on_metric_id
            else None,
            metric_ids=inputs.metric_ids if launched_here else (),
            mutations=mutations,
            simulations=max(1, cases * inputs.iteration_count * (1 + mutations)),
        )

    @property
    def needs_targets(self) -> bool:
        """Whether the metrics' own targets matter."""
        return self.use_metric_targets or self.sets_pass_rate

    @property
    def sets_pass_rate(self) -> bool:
        """Whether a threshold says how many simulations must meet the targets; otherwise all must."""
        return any(threshold.aggregate.name == "pass_rate" for threshold in self.thresholds)

    @property
    def references(self) -> tuple[str, ...]:
        """The metrics that the criteria name."""
        named = [threshold.metric for threshold in self.thresholds if threshold.metric]
        launched = self.metric_ids if self.needs_targets else ()
        return tuple(dict.fromkeys([*named, *([self.forbidden.metric] if self.forbidden else []), *launched]))
