"""A run and its baseline over the same test cases: what changed, and with which confidence. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from coval_gate.config.thresholds import TOLERANCE
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.changes import Values
from coval_gate.judge.confidence import NOTHING
from coval_gate.judge.measure import Interval
from coval_gate.judge.noticing import Rule
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.changes import Change, Estimate
    from coval_gate.judge.confidence import Bounds
    from coval_gate.judge.measure import Weighed
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A `threshold` with a reference, and the variants `now` and `then`, which have the same test cases.

    `metric` is the one that the threshold names, if any. `value` and `reference` are both sides' values, as counted.
    """

    threshold: Threshold
    now: Variant
    then: Variant
    metric: Metric | None
    value: Weighed
    reference: Weighed

    @classmethod
    def of(cls, threshold: Threshold, now: Variant, then: Variant, metric: Metric | None) -> Pairs:
        """Pair two variants that have the same test cases, and values if the threshold needs some."""
        aggregation = aggregation_of(threshold)
        value, reference = aggregation.value(now, metric), aggregation.value(then, metric)
        return cls(threshold=threshold, now=now, then=then, metric=metric, value=value, reference=reference)

    @property
    def earlier(self) -> float:
        return self.reference.value

    @property
    def cases(self) -> int:
        return len(self.now.cases)

    @property
    def then_missing(self) -> int:
        """How many simulations of the reference lack a value."""
        return self.then.sample(self.metric).missing if self.metric else 0

    @property
    def asks_for_improvement(self) -> bool:
        """Whether the reference's own value misses the bound, as a negative one misses `<= baseline * 1.1`."""
        excess = self.earlier - self.threshold.bound.of(self.earlier)
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by > TOLERANCE * abs(self.earlier)

    def verdict(self, holds: bool, confidence: float) -> Verdict:
        """Return the verdict of the bounds; a conclusive one never contradicts whether the value as counted `holds`.

        A regression fails if the change itself is shown, and is beyond the margin as counted: showing that it is beyond
        the margin would take far larger runs. A required improvement fails only if the bounds rule it out.
        """
        excess = self._excess(confidence, self.threshold.bound.factor, self.threshold.bound.number)
        best, worst = excess if self.threshold.wants_less else reversed(excess)
        if holds and self._meets(worst):
            return Verdict.PASSED
        shown = not self._meets(best) if self.asks_for_improvement else self.is_worse(1.0 - confidence)
        return Verdict.FAILED if shown and not holds else Verdict.INCONCLUSIVE

    def _meets(self, excess: float) -> bool:
        """Return whether a value that is so far above the bound meets it."""
        # A share of values does not round as the bound does.
        has_unit = self._change is None or self._change.has_unit
        equal = TOLERANCE * abs(self.threshold.bound.of(self.earlier)) if has_unit else 0.0
        strict = self.threshold.operator in ("<", ">")
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by < -equal if strict else missed_by <= equal

    def is_worse(self, error: float) -> bool:
        """Return whether a change for the worse is significant at the level `error`, a share."""
        lower, upper = self._excess(1.0 - error)
        return lower > 0.0 if self.threshold.wants_less else upper < 0.0

    def is_better(self, error: float) -> bool:
        """Return whether a change for the better is significant at the level `error`, a share."""
        lower, upper = self._excess(1.0 - error)
        return upper < 0.0 if self.threshold.wants_less else lower > 0.0

    def change(self, confidence: float) -> Interval:
        """Return the bounds of the value now minus the reference's, in the unit of the value."""
        bounds = self._change.shift(confidence) if self._change else NOTHING
        return Interval(bounds.lower, bounds.upper, confidence, self.cases)

    def noticeable(self, change: Interval, family: int) -> float | None:
        """Return the smallest change for the worse that such runs detect among `family` thresholds; None if unknown."""
        if self._change is None or not (math.isfinite(change.lower) or math.isfinite(change.upper)):
            return None
        margin = abs(self.threshold.bound.of(self.earlier) - self.earlier)
        rule = Rule.among(family, change.confidence, 0.0 if self.asks_for_improvement else margin)
        values = Values(self.value.value, self.earlier, change)
        return self._change.noticeable(values, rule, rises=self.threshold.wants_less)

    @property
    def estimate(self) -> Estimate | None:
        """The change of the value; None if the runs are too small.

        For a percentile, it is the change in the share of values above both sides' percentile, which has the same sign.
        """
        return self._change.estimate if self._change else None

    def flips(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the test cases that passed before and fail now, and the reverse; none for numbers.

        A missing value counts as a failure.
        """
        if self._change is None or not (self.threshold.wants_less or self.threshold.wants_more):
            return (), ()
        return self._change.flips(wants_less=self.threshold.wants_less)

    def _excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        """Return bounds on how far the value is above `factor` times the reference's plus `number`.

        For a percentile, they are in another unit, but have the same sign.
        """
        return self._change.excess(confidence, factor, number) if self._change else NOTHING

    @cached_property
    def _change(self) -> Change | None:
        """The change between the two; None for an aggregate that only describes these runs."""
        return aggregation_of(self.threshold).change(self.now, self.then, self.metric)
