"""How a rate, a mean or a percentile changed from a baseline, and the smallest change that a step notices. Pure.

Each bound is one-sided, as in `statistics`. Cases are paired, because both runs find the same cases hard. Each case
weighs the same, whatever its number of conversations. Otherwise, a case in three runs of a baseline would weigh three
times as much as a new one, and a test set that grows by hard cases would look like a regression (Simpson's paradox).
The run is compared with `factor` times the baseline, which makes `baseline * 1.1` as exact as `baseline`. Over all
factors, that is Fieller's interval for a ratio (Journal of the Royal Statistical Society B 16, 1954).

A step is red if a change is shown, and is beyond the margin as counted. So a change that 80 % of runs notice is larger
than both by the part that chance explains: 0.84 standard errors.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from itertools import chain
from typing import ClassVar, Final, NamedTuple

from coval_gate.features.comparisons.permutation import HitPair, Permutation
from coval_gate.features.confidence.bounds import (
    ENOUGH_EQUAL,
    FLOAT_ERROR,
    NOTHING,
    SHORTFALL,
    Bounds,
    bounds_of,
    even_rate,
    largest_of,
    normal_quantile,
    standard_error,
    t_quantile,
)
from coval_gate.gate.statistics import FEWEST_CASES, FEWEST_FOR_MEAN, HALF, Hits, Values, weighted_percentile

OPPOSITE: Final = 0.5  # cases that are perfect now and hopeless before, and as many of the reverse
UNEVEN: Final = 0.1  # of a case more, for each case with another number of conversations
SHIFT_STEPS: Final = 16  # of the bisection for a shift: to a hundred-thousandth of the range of the values
BISECTIONS: Final = 30  # for a noticeable change
DOUBLINGS: Final = 20  # of a change, until runs detect it


class ValuePair(NamedTuple):
    now: Values
    base: Values


class PairedRates:
    """The rates of at least two cases, now and in the baseline, and the correlation of the cases' own rates."""

    def __init__(self, pairs: Sequence[HitPair]) -> None:
        self.now = even_rate([pair.now for pair in pairs])
        self.base = even_rate([pair.base for pair in pairs])
        self.correlation = _correlation(pairs)

    def difference(self, confidence: float, factor: float = 1.0) -> Bounds:
        """Return bounds on the share now minus `factor` times the baseline's.

        The bounds of both rates, squared and added (Newcombe, Statistics in Medicine 17, 1998, method 10; Zou and
        Donner, Statistics in Medicine 27, 2008).
        """
        now, base = bounds_of(self.now, confidence), bounds_of(self.base, confidence)
        difference = self.now.share - factor * self.base.share
        down = self._reach(self.now.share - now.lower, factor * (base.upper - self.base.share))
        up = self._reach(now.upper - self.now.share, factor * (self.base.share - base.lower))
        return Bounds(difference - down, difference + up)

    def _reach(self, arm: float, other: float) -> float:
        return math.sqrt(max(arm * arm - 2.0 * self.correlation * arm * other + other * other, 0.0))


class Change:
    """How a value changed. The base class claims nothing.

    `has_unit`: `excess` is in the unit of the value; otherwise it only has the same sign.
    """

    has_unit: ClassVar[bool] = True

    def __init__(self) -> None:
        self.excess = cache(self._excess)  # verdict, family and report need the same bounds
        self.least, self.most = cache(self._least), cache(self._most)

    def _excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        """Return bounds on how far the value is above `factor` times the reference's plus `number`."""
        return NOTHING

    def _least(self, confidence: float) -> float:
        """Return the lower bound on the value minus the reference's, in the value's unit."""
        return self.excess(confidence).lower

    def _most(self, confidence: float) -> float:
        return self.excess(confidence).upper

    def shows(self, error: float, *, rises: bool) -> bool:
        """Return whether it is shown that the value rose, or fell; for an unchanged one, with at most this chance."""
        lower, upper = self.excess(1.0 - error)
        return lower > 0.0 if rises else upper < 0.0

    def noticeable(self, values: tuple[float, float], confidence: float, margin: float, *, rises: bool) -> float | None:
        """Return the smallest fall or rise that runs of this size detect; None if none. `values`: now and before.

        They show it with this `confidence`, and it exceeds the `margin` as counted.
        """
        now, before = values
        reach = now - before - self.least(confidence) if rises else self.most(confidence) - (now - before)
        if not math.isfinite(reach):
            return None
        error = max(reach, 0.0) / normal_quantile(confidence)

        def grown(change: float) -> float:
            scale = (before + change) / before if rises and before > 0.0 else 1.0
            return error * math.hypot(1.0, scale) / math.sqrt(2.0)  # half of it is the baseline's

        return _noticeable(grown, normal_quantile(confidence), margin)

    def flips(self, *, wants_less: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the test cases that fail now and passed before, and the reverse; none for numbers."""
        return (), ()


class RateChange(Change):
    """Missing values are misses on both sides, as in the value as counted.

    If they left the change in doubt, the check would be green; on one side only, failing calls would be a regression.
    """

    def __init__(self, pairs: Sequence[HitPair]) -> None:
        super().__init__()
        self._pairs, self._rates = pairs, PairedRates(pairs)

    @cached_property
    def _permutation(self) -> Permutation | None:
        return Permutation.of(self._pairs)

    def _excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        return self._rates.difference(confidence, factor).less(number)

    def shows(self, error: float, *, rises: bool) -> bool:
        return self._permutation.shows(error, rises=rises) if self._permutation else super().shows(error, rises=rises)

    def noticeable(self, values: tuple[float, float], confidence: float, margin: float, *, rises: bool) -> float | None:
        now, before = values
        most = 1.0 - before if rises else before
        if self._permutation is None:  # the spread of a rate does not grow with it
            found = super().noticeable((now - before, 0.0), confidence, margin, rises=rises)
            return found if found is not None and found <= most else None
        is_noticed = partial(self._permutation.notices, margin=margin, reach=normal_quantile(confidence), rises=rises)
        return _smallest(is_noticed, most) if most else None

    def flips(self, *, wants_less: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        def passes(case: Hits) -> bool:
            return case.share < HALF if wants_less else case.share > HALF

        passing = {pair.case: (passes(pair.base), passes(pair.now)) for pair in self._pairs}
        failing = tuple(case for case, (before, now) in passing.items() if before and not now)
        return failing, tuple(case for case, (before, now) in passing.items() if now and not before)


class MeanChange(Change):
    """The change of the mean of at least two cases' means."""

    def __init__(self, pairs: Sequence[ValuePair]) -> None:
        super().__init__()
        now, base = ([math.fsum(values) / len(values) for values in side] for side in zip(*pairs, strict=True))
        self.now, self.base = math.fsum(now) / len(now), math.fsum(base) / len(base)
        self._residuals = [(mine - self.now, theirs - self.base) for mine, theirs in zip(now, base, strict=True)]
        self._largest = largest_of([values for pair in pairs for values in pair])

    def _excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        """Use Student's t over the paired cases. Hall's correction would make the bounds of a difference worse."""
        error, count = self._error(factor), len(self._residuals)
        is_unclear = count < (FEWEST_FOR_MEAN if error else ENOUGH_EQUAL)
        if is_unclear or not math.isfinite(factor * self.base + error):
            return NOTHING
        difference, reach = self.now - factor * self.base, self._quantile(confidence) * error
        return Bounds(difference - reach, difference + reach).less(number)

    def noticeable(self, values: tuple[float, float], confidence: float, margin: float, *, rises: bool) -> float | None:
        grows = rises and self.now > 0.0 and self.base > 0.0

        def error(change: float) -> float:
            return self._error(scale=max(1.0, (self.base + change) / self.now) if grows else 1.0)

        return _noticeable(error, self._quantile(confidence), margin)

    def _quantile(self, confidence: float) -> float:
        return t_quantile(confidence, len(self._residuals) - 1)

    def _error(self, factor: float = 1.0, *, scale: float = 1.0) -> float:
        return standard_error([scale * mine - factor * theirs for mine, theirs in self._residuals], self._largest)


class PercentileChange(Change):
    """The change of the `n`-th percentile, shown by the share of values above a limit, for any number of limits.

    The limit is the percentile of all values together, the baseline's times `factor` plus `number`. If the share is
    larger, so is the percentile (Mood's test, "On the Asymptotic Efficiency of Certain Nonparametric Two-Sample Tests",
    Annals of Mathematical Statistics 25, 1954; here for paired cases).
    """

    has_unit = False

    def __init__(self, pairs: Sequence[ValuePair], n: float) -> None:
        super().__init__()
        self._now = [sorted(pair.now) for pair in pairs]
        self._base = [sorted(pair.base) for pair in pairs]
        self._n = n

    def _excess(self, confidence: float, factor: float = 1.0, number: float = 0.0) -> Bounds:
        """Return no bounds if less than one value is expected beyond the percentile."""
        now, base = self._values
        tail = min(self._n, 100.0 - self._n) / 100.0
        if len(self._now) < FEWEST_CASES or min(len(now), len(base)) * tail < 1.0 - 1e-9:
            return NOTHING
        limit = self._percentile(factor, number)
        limit += FLOAT_ERROR * max(abs(limit), abs(number))  # a value that differs by rounding is not above
        before = (limit - number) / factor
        pairs = [
            HitPair(_above(now, limit), _above(base, before)) for now, base in zip(self._now, self._base, strict=True)
        ]
        return PairedRates(pairs).difference(confidence)

    def _least(self, confidence: float) -> float:
        """Return the largest shift of the reference that the value is shown to be above: as `excess` does for 0."""
        now, base = self._values
        return self._last_shift(confidence, now[0] - base[-1], now[-1] - base[0], rises=True)

    def _most(self, confidence: float) -> float:
        now, base = self._values
        return -self._last_shift(confidence, base[0] - now[-1], base[-1] - now[0], rises=False)

    def _last_shift(self, confidence: float, least: float, most: float, *, rises: bool) -> float:
        """`least`, `most`: differences between a value now and one of the baseline, upwards if it `rises`."""

        def is_beyond(shift: float) -> bool:
            lower, upper = self._excess(confidence, 1.0, shift if rises else -shift)
            return lower > 0.0 if rises else upper < 0.0

        lower, upper = self.excess(confidence)
        if not math.isfinite(lower):
            return -math.inf
        is_shown = lower > 0.0 if rises else upper < 0.0
        low, high = (0.0, most) if is_shown else (min(least, 0.0), 0.0)
        if is_beyond(high):
            return high
        return bisected(is_beyond, low, high, SHIFT_STEPS)[0] if is_beyond(low) else -math.inf

    def _percentile(self, factor: float, shift: float) -> float:
        weighted, weighted_base = self._weighted
        moved = [(value * factor + shift, weight) for value, weight in weighted_base]
        return weighted_percentile(sorted(weighted + moved), self._n)

    @cached_property
    def _weighted(self) -> tuple[list[tuple[float, float]], ...]:
        sides = ((cases, sum(map(len, cases)) / len(cases)) for cases in (self._now, self._base))
        return tuple([(value, usual / len(values)) for values in cases for value in values] for cases, usual in sides)

    @cached_property
    def _values(self) -> tuple[list[float], list[float]]:
        return sorted(chain.from_iterable(self._now)), sorted(chain.from_iterable(self._base))


def _above(ascending: Values, limit: float) -> Hits:
    return Hits(len(ascending) - bisect_right(ascending, limit), len(ascending))


def _correlation(pairs: Sequence[HitPair]) -> float:
    """Return the correlation of the cases' rates; never below 0.

    In few cases, agents that always behave alike look perfectly correlated. So half a case that is perfect now and
    hopeless before is added, and half a case of the reverse: more of both if cases differ in size, as in a growing test
    set, because they then differ in how certain they are, which looks like correlation.
    """
    weighted = [(1.0, pair.now.share, pair.base.share) for pair in pairs]
    ((_, usual),) = Counter((pair.now.size, pair.base.size) for pair in pairs).most_common(1)
    opposite = OPPOSITE + min(1.0, UNEVEN * (len(pairs) - usual))
    weighted += [(opposite, 1.0, 0.0), (opposite, 0.0, 1.0)]
    total = math.fsum(weight for weight, _, _ in weighted)
    x = math.fsum(weight * now for weight, now, _ in weighted) / total
    y = math.fsum(weight * base for weight, _, base in weighted) / total
    xy = math.fsum(weight * (now - x) * (base - y) for weight, now, base in weighted)
    xx = math.fsum(weight * (now - x) ** 2 for weight, now, _ in weighted)
    yy = math.fsum(weight * (base - y) ** 2 for weight, _, base in weighted)
    return max(0.0, xy / math.sqrt(xx * yy))


def _noticeable(error: Callable[[float], float], reach: float, margin: float) -> float | None:
    """Find the smallest change of `reach` errors: its `error` grows with it, because larger latencies vary more."""

    def is_noticed(change: float) -> bool:
        spread = error(change)
        return change >= max(reach * spread, margin) + SHORTFALL * spread

    first = (reach + SHORTFALL) * error(0.0) + margin
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
