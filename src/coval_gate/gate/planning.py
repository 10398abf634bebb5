"""How many test cases a threshold needs, and the smallest change that it notices. Pure.

A step is red if a change is shown, and is beyond the margin as counted. So the true change must be larger than both by
what chance takes away: 0.84 standard errors for 80 % of runs. With several thresholds, each must show its change at the
error that the family leaves it: for the strictest of Holm's levels, an equal part.

More iterations of the same cases count for less than more cases, so numbers are numbers of test cases. A case is easy
or hard in both runs: `icc`, the intraclass correlation, is the share of the variance that is due to it. What is drawn
comes from the generator that is passed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.gate.confidence import FEWEST_CASES, CaseRate, effective_size, exact_bounds
from coval_gate.gate.statistics import normal_quantile, t_quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.gate.contrast import PairedMeans, PairedRates

POWER: Final = 0.8  # the usual chance with which an experiment should detect its effect
MOST: Final = 100_000  # conversations that a plan considers
STEPS: Final = 30  # of a bisection
DOUBLINGS: Final = 20  # of a change, until runs detect it
BY_CHANCE: Final = normal_quantile(POWER)  # standard errors by which one in five runs falls short


def needed(share: float, misses: int, confidence: float) -> int | None:
    """Return how many conversations show that a rate is at least `share`, if `misses` of them are misses.

    None if more than MOST are needed. Percentiles are rates, too: `p(95) < 1.5` is a rate of at least 95 % below 1.5.
    """
    counts = range(max(FEWEST_CASES, misses + 1), MOST + 1)
    place = bisect_left(counts, True, key=lambda count: exact_bounds(count - misses, count, confidence).lower >= share)
    return counts[place] if place < len(counts) else None


def strictest(confidence: float, members: int) -> float:
    """Return the confidence that one of so many members must reach at the strictest of Holm's levels, as a share."""
    return 1.0 - (1.0 - confidence) / members


class Rule(NamedTuple):
    """What a change must reach: it is shown with this `confidence` and, as counted, exceeds the `margin`."""

    confidence: float
    margin: float


def noticeable_rate(rates: PairedRates, rule: Rule, *, rises: bool) -> float | None:
    """Return the smallest fall of the baseline's rate that is detected, or rise if it `rises`; None if none is.

    Each case loses the same share of its hits. The data stay worth the same number of conversations.
    """
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


def noticeable_mean(means: PairedMeans, rule: Rule, *, rises: bool) -> float | None:
    """Return the smallest fall or rise of a mean that is detected; None if none is."""
    grows = rises and means.now > 0.0 and means.base > 0.0

    def error(change: float) -> float:
        return means.error(scale=max(1.0, (means.base + change) / means.now) if grows else 1.0)

    return _noticeable(error, t_quantile(rule.confidence, len(means.residuals) - 1), rule.margin)


def noticeable_shift(before: float, error: float, rule: Rule, *, rises: bool) -> float | None:
    """Return the smallest detected fall or rise of a value that was `before`; `error`: standard error of its change."""

    def grown(change: float) -> float:
        scale = (before + change) / before if rises and before > 0.0 else 1.0
        return error * math.hypot(1.0, scale) / math.sqrt(2.0)  # half of it is the baseline's

    return _noticeable(grown, normal_quantile(rule.confidence), rule.margin)


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
    return bisected(lambda change: not enough(change), 0.0, most, STEPS)[1] if enough(most) else None


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
