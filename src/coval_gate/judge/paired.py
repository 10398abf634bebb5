"""A run and its baseline over the same test cases: what changed, and with which confidence that is known. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from coval_gate.config.thresholds import TOLERANCE
from coval_gate.judge.claims import percentile_of
from coval_gate.judge.confidence import NOTHING, Bounds, Hits
from coval_gate.judge.contrast import Exceedances, HitPair, ValuePair, mean_difference, rate_difference
from coval_gate.judge.distributions import normal_quantile
from coval_gate.judge.evaluate import value_of
from coval_gate.judge.measure import Interval
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric

POWER: Final = 0.8  # the share of runs in which a change counts as noticeable
HALF: Final = 0.5  # of the conversations of a test case, which passes with more
STEPS: Final = 16  # of a bisection: to a hundred-thousandth of the range of the values


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A `threshold` with a reference, and the variants `now` and `then`, which have the same test cases.

    `metric` is the one that the threshold names, if any. `earlier` is the reference's value.
    """

    threshold: Threshold
    now: Variant
    then: Variant
    metric: Metric | None
    earlier: float

    @classmethod
    def of(cls, threshold: Threshold, now: Variant, then: Variant, metric: Metric | None) -> Pairs:
        """Pair two variants that have the same test cases, with values where the threshold needs some."""
        return cls(
            threshold=threshold, now=now, then=then, metric=metric, earlier=value_of(threshold.aggregate, then, metric)
        )

    @property
    def cases(self) -> int:
        return len(self.now.cases)

    @property
    def then_count(self) -> int:
        """How many simulations of the reference say something."""
        return self.then.sample(self.metric).count if self.metric else self.then.total

    @property
    def asks_for_improvement(self) -> bool:
        """Whether the reference's own value would not do, which `baseline * 1.1` means for a negative one, too."""
        excess = self.earlier - self.threshold.bound.of(self.earlier)
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by > TOLERANCE * abs(self.earlier)

    def verdict(self, holds: bool, confidence: float) -> Verdict:
        """Return what the bounds say; a conclusive verdict never contradicts the value as counted, which `holds`.

        A regression fails only if it is evident itself, as it nearly always is where it exceeds `baseline * 1.1`.
        """
        excess = self._excess(confidence, self.threshold.bound.factor, self.threshold.bound.number)
        best, worst = excess if self.threshold.wants_less else reversed(excess)
        if holds and self._meets(worst):
            return Verdict.PASSED
        missed = not holds and not self._meets(best)
        evident = self.asks_for_improvement or self.is_worse(1.0 - confidence)
        return Verdict.FAILED if missed and evident else Verdict.INCONCLUSIVE

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

    def noticeable(self, change: Interval) -> float | None:
        """Return the smallest change for the worse that fails the threshold in a share of POWER of such runs."""
        difference = value_of(self.threshold.aggregate, self.now, self.metric) - self.earlier
        reach = difference - change.lower if self.threshold.wants_less else change.upper - difference
        if not math.isfinite(reach):
            return None
        margin = abs(self.threshold.bound.of(self.earlier) - self.earlier)
        margin = 0.0 if self.asks_for_improvement else margin
        return margin + reach * (1.0 + normal_quantile(POWER) / normal_quantile(change.confidence))

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
        if aggregate.is_rate:
            bounds = rate_difference(self._hits, confidence, factor=factor)
            return Bounds(bounds.lower - number, bounds.upper - number)
        if aggregate.name == "avg":
            bounds = mean_difference(self._values, confidence, factor=factor)
            return Bounds(bounds.lower - number, bounds.upper - number)
        return self._exceedances.difference(percentile_of(self.threshold), confidence, factor=factor, shift=number)

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
        """The hits of each test case. A simulation without a value counts against the run, as it does as counted.

        Otherwise, missing values would leave a doubt, and against a baseline doubt is green.
        """
        hits, unknown = _hits(self.threshold, self.now, self.metric)
        hits = hits | unknown if self.threshold.wants_less else hits
        earlier, _ = _hits(self.threshold, self.then, self.metric)
        now, then = self.now.by_case, self.then.by_case
        return [HitPair(_count(now[case], hits), _count(then[case], earlier)) for case in now]

    @cached_property
    def _values(self) -> list[ValuePair]:
        now, then = _numbers(self.now, self.metric), _numbers(self.then, self.metric)
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


def _hits(threshold: Threshold, variant: Variant, metric: Metric | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the ids of the simulations that are hits of a rate, and of those that may be."""
    if metric is None:
        passing = threshold.aggregate.name == "pass_rate"
        return variant.passing if passing else frozenset(each.id for each in variant.completed), frozenset()
    sample = variant.sample(metric)
    unknown = frozenset(each.id for each in variant.simulations if each.id not in sample.values)
    return sample.having(threshold.aggregate.values), unknown


def _count(case: Collection[str], hits: Collection[str]) -> Hits:
    return Hits(sum(each in hits for each in case), len(case))


def _numbers(variant: Variant, metric: Metric | None) -> dict[str, list[float]]:
    """Return the numbers of each test case that has some."""
    found: dict[str, list[float]] = defaultdict(list)
    if metric is None:
        return found
    values = variant.sample(metric).values
    for each in variant.simulations:
        if isinstance(value := values.get(each.id), float):
            found[each.test_case_id].append(value)
    return dict(sorted(found.items()))


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
