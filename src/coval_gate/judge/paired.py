"""A run and its baseline over the same test cases: what changed, and with which confidence that is known. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.thresholds import TOLERANCE
from coval_gate.judge.claims import percentile_of
from coval_gate.judge.confidence import NOTHING, Bounds, Hits
from coval_gate.judge.contrast import Exceedances, HitPair, PairedMeans, PairedRates, ValuePair
from coval_gate.judge.distributions import normal_quantile
from coval_gate.judge.evaluate import counted_hits, value_of
from coval_gate.judge.measure import Interval
from coval_gate.judge.noticing import Rule, noticeable_mean, noticeable_rate, noticeable_shift
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.measure import Weighed
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric

ONE_SIGMA: Final = 0.8413447460685429  # the confidence whose bounds lie one standard error from a normal estimate
HALF: Final = 0.5  # of the conversations of a test case, which passes with more
STEPS: Final = 16  # of a bisection: to a hundred-thousandth of the range of the values


class Estimate(NamedTuple):
    """By how much a value is above the reference's, with the standard error of that."""

    change: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A `threshold` with a reference, and the variants `now` and `then`, which have the same test cases.

    `metric` is the one that the threshold names, if any. `value` and `reference` are what both sides have as counted.
    """

    threshold: Threshold
    now: Variant
    then: Variant
    metric: Metric | None
    value: Weighed
    reference: Weighed

    @classmethod
    def of(cls, threshold: Threshold, now: Variant, then: Variant, metric: Metric | None) -> Pairs:
        """Pair two variants that have the same test cases, with values where the threshold needs some."""
        value, reference = value_of(threshold, now, metric), value_of(threshold, then, metric)
        return cls(threshold=threshold, now=now, then=then, metric=metric, value=value, reference=reference)

    @property
    def earlier(self) -> float:
        return self.reference.value

    @property
    def cases(self) -> int:
        return len(self.now.cases)

    @property
    def then_missing(self) -> int:
        """How many simulations of the reference say nothing."""
        return self.then.sample(self.metric).missing if self.metric else 0

    @property
    def asks_for_improvement(self) -> bool:
        """Whether the reference's own value would not do, which `baseline * 1.1` means for a negative one, too."""
        excess = self.earlier - self.threshold.bound.of(self.earlier)
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by > TOLERANCE * abs(self.earlier)

    def verdict(self, holds: bool, confidence: float) -> Verdict:
        """Return what the bounds say; a conclusive verdict never contradicts the value as counted, which `holds`.

        A regression fails if the change itself is shown, and is beyond the margin as counted: to show that it is beyond
        the margin would take far larger runs. An improvement that was asked for has to be ruled out.
        """
        excess = self._excess(confidence, self.threshold.bound.factor, self.threshold.bound.number)
        best, worst = excess if self.threshold.wants_less else reversed(excess)
        if holds and self._meets(worst):
            return Verdict.PASSED
        shown = not self._meets(best) if self.asks_for_improvement else self.is_worse(1.0 - confidence)
        return Verdict.FAILED if shown and not holds else Verdict.INCONCLUSIVE

    def _meets(self, excess: float) -> bool:
        """Tell whether a value that is so far above the bound would do."""
        # That of a percentile is a share of values, so that it does not round as the bound does.
        equal = 0.0 if self._is_percentile else TOLERANCE * abs(self.threshold.bound.of(self.earlier))
        strict = self.threshold.operator in ("<", ">")
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by < -equal if strict else missed_by <= equal

    def is_worse(self, error: float) -> bool:
        """Tell whether a change for the worse is significant at the level `error`, a share."""
        lower, upper = self._excess(1.0 - error, 1.0, 0.0)
        return lower > 0.0 if self.threshold.wants_less else upper < 0.0

    def is_better(self, error: float) -> bool:
        """Tell whether a change for the better is significant at the level `error`, a share."""
        lower, upper = self._excess(1.0 - error, 1.0, 0.0)
        return upper < 0.0 if self.threshold.wants_less else lower > 0.0

    def change(self, confidence: float) -> Interval:
        """Return the bounds of the value now minus the reference's, in the unit of the value."""
        bounds = self._shift(confidence) if self._is_percentile else self._excess(confidence, 1.0, 0.0)
        return Interval(bounds.lower, bounds.upper, confidence, self.cases)

    def noticeable(self, change: Interval, family: int) -> float | None:
        """Return the smallest change for the worse that such runs notice; None if that is not known.

        `family`: among how many thresholds.
        """
        if not (math.isfinite(change.lower) or math.isfinite(change.upper)):
            return None
        margin = abs(self.threshold.bound.of(self.earlier) - self.earlier)
        rule = Rule.among(family, change.confidence, 0.0 if self.asks_for_improvement else margin)
        rises = self.threshold.wants_less
        if self._rates:
            return noticeable_rate(self._rates, rule, rises=rises)
        if self.threshold.aggregate.name == "avg":
            return noticeable_mean(self._means, rule, rises=rises)
        difference = self.value.value - self.earlier
        reach = difference - change.lower if rises else change.upper - difference
        if not math.isfinite(reach):
            return None
        return noticeable_shift(self.earlier, max(reach, 0.0) / normal_quantile(change.confidence), rule, rises=rises)

    @property
    def estimate(self) -> Estimate | None:
        """The change of the value; None where the runs are too small.

        That of a percentile is in the share of values above the percentile of both sides: it has the same sign.
        """
        if self.threshold.aggregate.name == "avg":
            bounded = math.isfinite(self._excess(ONE_SIGMA, 1.0, 0.0).lower)
            return Estimate(self._means.change, self._means.error()) if bounded else None
        rates = self._exceedances.rates(percentile_of(self.threshold.aggregate)) if self._is_percentile else self._rates
        if rates is None:
            return None
        bounds = rates.difference(ONE_SIGMA)
        return Estimate(rates.change, (bounds.upper - bounds.lower) / 2.0)

    def flips(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the test cases that fail now and passed before, and the reverse; none for numbers.

        A missing value counts as one that fails.
        """
        aggregate = self.threshold.aggregate
        if not aggregate.is_rate or not (self.threshold.wants_less or self.threshold.wants_more):
            return (), ()
        (now, before), less = self._shares, self.threshold.wants_less
        failing = tuple(case for case in now if _passes(before[case], less) and not _passes(now[case], less))
        passing = tuple(case for case in now if _passes(now[case], less) and not _passes(before[case], less))
        return failing, passing

    @property
    def _is_percentile(self) -> bool:
        return self.threshold.aggregate.name in ("med", "p")

    def _excess(self, confidence: float, factor: float, number: float) -> Bounds:
        """Return bounds on how far the value is above `factor` times the reference's plus `number`.

        Those of a percentile have another unit, but the same sign.
        """
        asked = (confidence, factor, number)
        if asked not in self._known:
            self._known[asked] = self._excess_of(*asked)
        return self._known[asked]

    def _excess_of(self, confidence: float, factor: float, number: float) -> Bounds:
        aggregate = self.threshold.aggregate
        if self._is_percentile:
            return self._exceedances.difference(percentile_of(aggregate), confidence, factor=factor, shift=number)
        paired = self._means if aggregate.name == "avg" else self._rates
        bounds = paired.difference(confidence, factor=factor) if paired else NOTHING
        return Bounds(bounds.lower - number, bounds.upper - number)

    def _shift(self, confidence: float) -> Bounds:
        """Return bounds on by how much a percentile moved: the shifts of the reference that the values rule out.

        At no shift, they say what `is_worse` and `is_better` say.
        """
        none = self._excess(confidence, 1.0, 0.0)
        if not math.isfinite(none.lower):
            return NOTHING
        least, most = self._exceedances.range

        def is_above(shift: float) -> bool:
            return self._excess_of(confidence, 1.0, shift).lower > 0.0

        def is_below(shift: float) -> bool:
            return self._excess_of(confidence, 1.0, -shift).upper < 0.0

        return Bounds(
            _last(is_above, 0.0, most) if none.lower > 0.0 else _last(is_above, min(least, 0.0), 0.0),
            -(_last(is_below, 0.0, -least) if none.upper < 0.0 else _last(is_below, min(-most, 0.0), 0.0)),
        )

    @cached_property
    def _known(self) -> dict[tuple[float, float, float], Bounds]:
        """What `_excess` returned: verdict, trend and family ask for the same."""
        return {}

    @cached_property
    def _hits(self) -> list[HitPair]:
        """The hits of each test case. A simulation without a value is a miss on both sides, as it is as counted.

        If it left a doubt, that would be green; if it counted on one side alone, failing calls would be a regression.
        """
        hits, earlier = (counted_hits(self.threshold, side, self.metric) for side in (self.now, self.then))
        now, then = self.now.by_case, self.then.by_case
        return [HitPair(_count(now[case], hits), _count(then[case], earlier)) for case in now]

    @cached_property
    def _rates(self) -> PairedRates | None:
        """The rates of both sides; None for numbers."""
        return PairedRates.of(self._hits) if self.threshold.aggregate.is_rate else None

    @cached_property
    def _means(self) -> PairedMeans:
        return PairedMeans.of(self._values)

    @cached_property
    def _values(self) -> list[ValuePair]:
        if self.metric is None:
            return []
        now, then = self.now.numbers(self.metric), self.then.numbers(self.metric)
        return [ValuePair(now[case], then[case]) for case in now]

    @cached_property
    def _exceedances(self) -> Exceedances:
        return Exceedances(self._values)

    @cached_property
    def _shares(self) -> tuple[dict[str, float], dict[str, float]]:
        """The share of hits of each test case, now and before."""
        paired = list(zip(self.now.by_case, self._hits, strict=True))
        return (
            {case: pair.now.hits / pair.now.size for case, pair in paired},
            {case: pair.base.hits / pair.base.size for case, pair in paired},
        )


def _passes(share: float, wants_less: bool) -> bool:
    return share < HALF if wants_less else share > HALF


def _count(case: Collection[str], hits: Collection[str]) -> Hits:
    return Hits(sum(each in hits for each in case), len(case))


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest number from `low` to `high` for which `holds`, which does not from there on.

    -inf if there is none.
    """
    if holds(high):
        return high
    if not holds(low):
        return -math.inf
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
