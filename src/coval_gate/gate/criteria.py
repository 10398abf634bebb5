"""The criteria of the user, and those that cannot decide, or look like mistakes beside the values of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from coval_gate.base.text import number, percent, plural, with_unit
from coval_gate.coval.model import Metric
from coval_gate.gate.checks import Check
from coval_gate.gate.claims import cases_needed, cases_to_compare
from coval_gate.gate.kinds import ThresholdHolds, threshold_text
from coval_gate.gate.problems import either, seen_text
from coval_gate.gate.values import Vocabulary
from coval_gate.gate.variants import Variant
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.inputs import Inputs
from coval_gate.inputs.thresholds import Threshold

FAR: Final = 100  # times the value farthest from 0; a bound beyond it is probably in another unit


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


def undecidable_texts(criteria: Criteria, cases: int) -> Iterator[str]:
    """Yield each threshold that no run with so many test cases can decide as it should with the confidence.

    It can never pass or, if it guards against a regression, never fail.
    """
    guards = [guard for guard in criteria.thresholds if _is_guard(guard) and not guard.advisory]
    family = max(1, len(guards)) * (1 + criteria.mutations) * criteria.legs
    few, confidence = plural(cases, "test case"), f"with {percent(criteria.confidence or 0.0)} confidence"
    for threshold in criteria.thresholds:
        compares, text = bool(threshold.bound.reference), threshold.text
        if compares:
            alone = threshold.advisory or not _is_guard(threshold)
            at_once, iterations = 1 if alone else family, criteria.iterations or 1
            least = cases_to_compare(threshold, criteria.confidence, iterations=iterations, family=at_once)
        else:
            least = cases_needed(threshold, criteria.confidence)
        if least is not None and least <= cases:
            continue
        if compares:
            what, how = ("pass", "good") if threshold.asks_for_improvement else ("fail", "bad")
            enough = f"; with {least:,}, it can" if least else ""
            never = f"with {few}, {text} can never {what} {confidence}, however {how} the agent is{enough}"
        else:
            enough = f"; {least:,} can" if least else ""
            never = f"{few} can never show {text} {confidence}, however good the agent is{enough}"
        yield f"{threshold.place}: {never}."


def _is_guard(threshold: Threshold) -> bool:
    return bool(threshold.bound.reference) and threshold.takes_confidence and not threshold.asks_for_improvement


def doubts(checks: Iterable[Check], variants: Iterable[Variant]) -> tuple[str, ...]:
    """Return the doubts about the criteria, given the values of the agent and all mutations together."""
    metrics = {sample.metric.id: sample.metric for variant in variants for sample in variant.samples}
    measured = (check for check in checks if check.measure and check.metric in metrics)
    named = {check.threshold: metrics[check.metric] for check in measured if check.threshold}
    return tuple(doubt for threshold, metric in named.items() for doubt in _doubts(threshold, metric))


def _doubts(threshold: Threshold, metric: Metric) -> Iterator[str]:
    """Doubt a bound too far from the values for their unit; one close to 0 requires that there is something."""
    where, wanted = f"{threshold_text(threshold)} ({threshold.place})", threshold.aggregate.values
    vocabulary = Vocabulary.of(metric) if wanted else None
    if vocabulary and (unseen := vocabulary.unseen(wanted)):
        seen = seen_text(vocabulary.seen)
        others = f"; the values seen are {seen}" if seen else ""
        yield f"{where}: no simulation has the value {either(unseen)} for {metric.name}{others}. Is it spelt correctly?"
    farthest = max(metric.numbers, key=abs, default=0.0)
    is_of_values = threshold.aggregate.is_numeric and not threshold.bound.reference
    if is_of_values and farthest and abs(threshold.bound.number) > FAR * abs(farthest):
        largest = f"the largest{'' if farthest > 0 else ' in size'} is {with_unit(number(farthest), metric.unit)}"
        values = f"every value of {metric.name} ({largest})"
        yield f"{where}: the bound is more than {FAR} times {values}. Is it in the metric's unit?"
