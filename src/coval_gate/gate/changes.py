"""How a rate, a mean or a percentile changed from a baseline, and the smallest change that a step notices. Pure.

A step is red if a change is shown, and is beyond the margin as counted. So the true change must be larger than both by
what chance takes away: 0.84 standard errors for 80 % of runs. With several thresholds, each must show its change at the
error that the family leaves it: for the strictest of Holm's levels, an equal part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import ClassVar, Final

from coval_gate.base.records import NamedTuple
from coval_gate.coval.model import Metric
from coval_gate.gate.confidence import (
    NOTHING,
    Bounds,
    CaseRate,
    Hits,
    effective_size,
    hits_of,
)
from coval_gate.gate.contrast import Exceedances, HitPair, PairedMeans, PairedRates, ValuePair
from coval_gate.gate.measure import Interval
from coval_gate.gate.statistics import normal_quantile, t_quantile
from coval_gate.gate.variants import Variant

HALF: Final = 0.5  # of the conversations of a test case, which passes with more
STEPS: Final = 16  # of the bisection for a shift: to a hundred-thousandth of the range of the values
POWER: Final = 0.8  # the usual chance with which an experiment should detect its effect
BISECTIONS: Final = 30  # for a noticeable change
DOUBLINGS: Final = 20  # of a change, until runs detect it
BY_CHANCE: Final = normal_quantile(POWER)  # standard errors by which one in five runs falls short


class Rule(NamedTuple):
    """What a change must reach: it is shown with this `confidence` and, as counted, exceeds the `margin`."""

    confidence: float
    margin: float


class Change:
    """How a value changed. `has_unit`: `excess` is in the unit of the value; otherwise it only has the same sign."""

    has_unit: ClassVar[bool] = True

    def __init__(self) -> None:
        self._cache: dict[tuple[float, float, float], Bounds] = {}  # verdict, trend and family need the same bounds

    def excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        """Return bounds on how far the value is above `factor` times the reference's plus `number`."""
        key = (confidence, factor, number)
        if key not in self._cache:
            self._cache[key] = self._excess(*key)
        return self._cache[key]

    def shift(self, confidence: float) -> Bounds:
        """Return bounds on the value minus the reference's, in the value's unit."""
        return self.excess(confidence)

    def noticeable(self, values: tuple[float, float], change: Interval, rule: Rule, *, rises: bool) -> float | None:
        """Return the smallest fall or rise that runs of this size detect; None if none. `values`: now and before."""
        raise NotImplementedError

    def flips(self, *, wants_less: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the test cases that passed before and fail now, and the reverse; none for numbers."""
        return (), ()

    def _excess(self, confidence: float, factor: float, number: float) -> Bounds:
        raise NotImplementedError


class RateChange(Change):
    """Missing values are misses on both sides, as in the value as counted.

    If they left the change in doubt, the check would be green; on one side only, failing calls would be a regression.
    """

    def __init__(self, now: Variant, then: Variant, hits: Collection[str], earlier: Collection[str]) -> None:
        """Pair the test cases of two variants, which have the same ones, by the ids of the `hits` on either side."""
        super().__init__()
        self._cases = {
            case: HitPair(hits_of(ids, hits), hits_of(then.by_case[case], earlier)) for case, ids in now.by_case.items()
        }
        self._rates = PairedRates.of([*self._cases.values()])

    def noticeable(self, values: tuple[float, float], change: Interval, rule: Rule, *, rises: bool) -> float | None:
        """Each case loses the same share of its hits. The data stay worth the same number of conversations."""
        rates = self._rates
        if rises:
            rates = rates._replace(now=_reverse(rates.now), base=_reverse(rates.base))
        before = rates.base.share

        def is_shown(change: float) -> bool:
            return _moved(rates, before - change).difference(rule.confidence).upper < 0.0

        def error(change: float) -> float:
            moved = _moved(rates, before - change)
            now, base = _spread(moved.now, rule.confidence), _spread(moved.base, rule.confidence)
            return math.sqrt(max(now**2 + base**2 - 2.0 * moved.correlation * now * base, 0.0))

        shown = _smallest(is_shown, before)
        if shown is None:
            return None
        least = max(shown, rule.margin)
        return _smallest(lambda change: change - BY_CHANCE * error(change) >= least, before)

    def flips(self, *, wants_less: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        passing = {
            case: (_passes(pair.base, wants_less=wants_less), _passes(pair.now, wants_less=wants_less))
            for case, pair in self._cases.items()
        }
        failing = tuple(case for case, (before, now) in passing.items() if before and not now)
        return failing, tuple(case for case, (before, now) in passing.items() if now and not before)

    def _excess(self, confidence: float, factor: float, number: float) -> Bounds:
        return self._rates.difference(confidence, factor=factor).less(number)


class MeanChange(Change):
    def __init__(self, pairs: list[ValuePair]) -> None:
        super().__init__()
        self._means = PairedMeans.of(pairs)

    def noticeable(self, values: tuple[float, float], change: Interval, rule: Rule, *, rises: bool) -> float | None:
        means = self._means
        grows = rises and means.now > 0.0 and means.base > 0.0

        def error(change: float) -> float:
            return means.error(scale=max(1.0, (means.base + change) / means.now) if grows else 1.0)

        return _noticeable(error, t_quantile(rule.confidence, len(means.residuals) - 1), rule.margin)

    def _excess(self, confidence: float, factor: float, number: float) -> Bounds:
        return self._means.difference(confidence, factor=factor).less(number)


class PercentileChange(Change):
    """The change of the `n`-th percentile, shown by the share of values above the percentile of both sides together."""

    has_unit = False

    def __init__(self, pairs: list[ValuePair], n: float) -> None:
        super().__init__()
        self._exceedances, self._n = Exceedances(pairs), n

    def shift(self, confidence: float) -> Bounds:
        """Return the bounds between which no shift of the reference is ruled out; they agree with `excess` on 0."""
        unshifted = self.excess(confidence)
        if not math.isfinite(unshifted.lower):
            return NOTHING
        least, most = self._exceedances.range

        def is_above(shift: float) -> bool:
            return self._excess(confidence, 1.0, shift).lower > 0.0

        def is_below(shift: float) -> bool:
            return self._excess(confidence, 1.0, -shift).upper < 0.0

        return Bounds(
            _last(is_above, 0.0, most) if unshifted.lower > 0.0 else _last(is_above, min(least, 0.0), 0.0),
            -(_last(is_below, 0.0, -least) if unshifted.upper < 0.0 else _last(is_below, min(-most, 0.0), 0.0)),
        )

    def noticeable(self, values: tuple[float, float], change: Interval, rule: Rule, *, rises: bool) -> float | None:
        now, before = values
        reach = now - before - change.lower if rises else change.upper - (now - before)
        if not math.isfinite(reach):
            return None
        error = max(reach, 0.0) / normal_quantile(change.confidence)

        def grown(change: float) -> float:
            scale = (before + change) / before if rises and before > 0.0 else 1.0
            return error * math.hypot(1.0, scale) / math.sqrt(2.0)  # half of it is the baseline's

        return _noticeable(grown, normal_quantile(rule.confidence), rule.margin)

    def _excess(self, confidence: float, factor: float, number: float) -> Bounds:
        return self._exceedances.difference(self._n, confidence, factor=factor, shift=number)


def value_pairs(now: Variant, then: Variant, metric: Metric) -> list[ValuePair]:
    """Return the numbers of each test case in two variants, both of which have numbers on the same test cases."""
    earlier = then.numbers(metric)
    return [ValuePair(numbers, earlier[case]) for case, numbers in now.numbers(metric).items()]


def _passes(case: Hits, *, wants_less: bool) -> bool:
    share = case.hits / case.size
    return share < HALF if wants_less else share > HALF


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest number from `low` to `high` that `holds`, given that none above it does; -inf if none does."""
    if holds(high):
        return high
    return bisected(holds, low, high, STEPS)[0] if holds(low) else -math.inf


def _noticeable(error: Callable[[float], float], reach: float, margin: float) -> float | None:
    """Find the smallest change of `reach` errors: its `error` grows with it, because larger latencies vary more."""

    def is_noticed(change: float) -> bool:
        spread = error(change)
        return change >= max(reach * spread, margin) + BY_CHANCE * spread

    first = (reach + BY_CHANCE) * error(0.0) + margin
    tried = (first * 2.0**power for power in range(DOUBLINGS))
    return next((_smallest(is_noticed, most) for most in tried if is_noticed(most)), None)


def _smallest(enough: Callable[[float], bool], most: float) -> float | None:
    """Return the smallest change that is enough, given that all larger ones are; None if even `most` is not."""
    return bisected(lambda change: not enough(change), 0.0, most, BISECTIONS)[1] if enough(most) else None


def bisected(holds: Callable[[float], bool], low: float, high: float, steps: int) -> tuple[float, float]:
    """Return the interval that so many bisections leave around the number up to which `holds` is true."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _moved(rates: PairedRates, share: float) -> PairedRates:
    """Return the rates as if the rate now had another share, because each case lost hits in proportion."""
    now, spread = rates.now, share * (1.0 - share)
    if not 0.0 < now.share < 1.0:
        return rates._replace(now=now._replace(share=share))
    grown = spread / (now.share * (1.0 - now.share))
    correlation = rates.correlation * min(1.0, share / now.share) / math.sqrt(grown) if grown else 0.0
    moved = now._replace(share=share, variance=now.variance * grown)
    return rates._replace(now=moved, correlation=min(rates.correlation, correlation))


def _spread(rate: CaseRate, confidence: float) -> float:
    """Return the standard deviation of a rate, for the number of conversations that it is worth."""
    return math.sqrt(rate.share * (1.0 - rate.share) / effective_size(rate, confidence))


def _reverse(rate: CaseRate) -> CaseRate:
    """Return the rate of misses."""
    return rate._replace(share=1.0 - rate.share)
