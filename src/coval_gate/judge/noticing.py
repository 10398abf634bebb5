"""The smallest change for the worse that turns a step red in most runs: what reports name, and planners plan. Pure.

A step is red if the change is shown, and is beyond the margin as counted. So the true change must be larger than both
by what chance takes away: 0.84 standard errors for 80 % of runs. With several thresholds, each has to show its change
at the error that the family leaves it: for the strictest of Holm's levels, an equal part.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.confidence import effective_size
from coval_gate.judge.distributions import normal_quantile, t_quantile
from coval_gate.judge.planning import POWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.confidence import Rate
    from coval_gate.judge.contrast import PairedMeans, PairedRates

STEPS: Final = 30  # of a bisection
DOUBLINGS: Final = 20  # of a change, until it is noticed
BY_CHANCE: Final = normal_quantile(POWER)  # standard errors by which one of five runs falls short


class Rule(NamedTuple):
    """What a change has to reach: to be shown with this `confidence`, and as counted more than the `margin`."""

    confidence: float
    margin: float

    @classmethod
    def among(cls, family: int, confidence: float, margin: float) -> Rule:
        """Return the rule for one of so many thresholds, which have the `confidence` together."""
        return cls(1.0 - (1.0 - confidence) / family, margin)


def noticeable_rate(rates: PairedRates, rule: Rule, *, rises: bool) -> float | None:
    """Return the smallest fall or, where the rate `rises`, rise of the baseline's rate; None if there is none.

    Each case loses the same share of its hits. The number of conversations that the data are worth stays the same.
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
    """Return the smallest fall or rise of a mean; None if there is none."""
    grows = rises and means.now > 0.0 and means.base > 0.0

    def error(change: float) -> float:
        return means.error(scale=max(1.0, (means.base + change) / means.now) if grows else 1.0)

    return _noticeable(error, t_quantile(rule.confidence, len(means.residuals) - 1), rule.margin)


def noticeable_shift(before: float, error: float, rule: Rule, *, rises: bool) -> float | None:
    """Return the smallest fall or rise of a value that was `before`, with this standard error of its change."""

    def grown(change: float) -> float:
        scale = (before + change) / before if rises and before > 0.0 else 1.0
        return error * math.hypot(1.0, scale) / math.sqrt(2.0)  # half of it is the baseline's

    return _noticeable(grown, normal_quantile(rule.confidence), rule.margin)


def _noticeable(error: Callable[[float], float], reach: float, margin: float) -> float | None:
    """Return the smallest change that is noticed: its `error` grows with it, as larger latencies vary more.

    A change is shown if it is so many errors large, the `reach`.
    """

    def is_noticed(change: float) -> bool:
        spread = error(change)
        return change >= max(reach * spread, margin) + BY_CHANCE * spread

    first = (reach + BY_CHANCE) * error(0.0) + margin
    tried = (first * 2.0**power for power in range(DOUBLINGS))
    return next((_smallest(is_noticed, most) for most in tried if is_noticed(most)), None)


def _smallest(enough: Callable[[float], bool], most: float) -> float | None:
    """Return the smallest change, up to `most`, from which on changes are enough; None if that one is not."""
    if not enough(most):
        return None
    low, high = 0.0, most
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _moved(rates: PairedRates, share: float) -> PairedRates:
    """Return the rates as if the one now had another share, because each case has fewer hits in proportion."""
    now, spread = rates.now, share * (1.0 - share)
    if not 0.0 < now.share < 1.0:
        return rates._replace(now=now._replace(share=share))
    grown = spread / (now.share * (1.0 - now.share))
    correlation = rates.correlation * min(1.0, share / now.share) / math.sqrt(grown) if grown else 0.0
    moved = now._replace(share=share, variance=now.variance * grown)
    return rates._replace(now=moved, correlation=min(rates.correlation, correlation))


def _spread(rate: Rate, confidence: float) -> float:
    """Return the standard deviation of a rate, for as many conversations as it is worth."""
    return math.sqrt(rate.share * (1.0 - rate.share) / effective_size(rate, confidence))


def _reverse(rate: Rate) -> Rate:
    """Return the rate of what is no hit."""
    return rate._replace(share=1.0 - rate.share)
