"""How many test cases notice a change against a baseline. Pure: what is drawn comes from the generator that is passed.

A case is easy or hard in both runs. `icc`, the intraclass correlation, is the share of the variance that is due to it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coval_gate.judge.confidence import FEWEST_CASES, Hits
from coval_gate.judge.contrast import HitPair, rate_difference
from coval_gate.judge.distributions import normal_quantile, t_quantile
from coval_gate.judge.planning import POWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.config.thresholds import Threshold

RUNS: Final = 500  # that are drawn: a share of 80 % is known to two points
MOST_CASES: Final = 5_000


class Generator(Protocol):
    """What draws, such as random.Random."""

    def random(self) -> float: ...
    def betavariate(self, alpha: float, beta: float) -> float: ...


class Agents(NamedTuple):
    """An agent `before` and `now`: its true rates as shares, or its true means with a standard deviation, `spread`.

    Each test case has `earlier` conversations in the baseline, and `iterations` now.
    """

    before: float
    now: float
    icc: float
    earlier: int = 1
    iterations: int = 1
    spread: float = 0.0


def misses(threshold: Threshold, agents: Agents) -> bool:
    """Tell whether the agent now does not meet the threshold in truth, so that it should fail."""
    return not threshold.against(agents.before).holds(agents.now)


def cases_to_decide(
    threshold: Threshold, agents: Agents, confidence: float, random: Callable[[], Generator]
) -> int | None:
    """Return how many test cases decide a threshold rightly in a share of POWER of runs; None if MOST_CASES do not.

    For averages, by the formula; for rates, which it flatters, from runs that are drawn. `random` returns a new
    generator, the same each time, so that the number of cases makes the difference.
    """
    estimate = _estimate(threshold, agents, confidence)
    if not threshold.aggregate.is_rate or estimate is None:
        return estimate
    counts = range(max(FEWEST_CASES, estimate // 2), min(MOST_CASES, 4 * estimate + 20) + 1)
    found = bisect_left(counts, True, key=lambda cases: chance(threshold, agents, cases, confidence, random()) >= POWER)
    return counts[found] if found < len(counts) else None


def chance(threshold: Threshold, agents: Agents, cases: int, confidence: float, rng: Generator) -> float:
    """Return the share of runs with so many test cases that decide a threshold rightly."""
    if threshold.aggregate.is_rate:
        return sum(_decides(threshold, agents, cases, confidence, rng) for _ in range(RUNS)) / RUNS
    gap, spread = _gap(threshold, agents), math.sqrt(_variance(threshold, agents) / cases)
    return NormalDist().cdf(gap / spread - t_quantile(confidence, cases - 1)) if spread else 1.0


def _estimate(threshold: Threshold, agents: Agents, confidence: float) -> int | None:
    gap = _gap(threshold, agents)
    if not gap:
        return None
    found = (normal_quantile(confidence) + normal_quantile(POWER)) ** 2 * _variance(threshold, agents) / gap**2
    return max(FEWEST_CASES + 1, math.ceil(found)) if found <= MOST_CASES else None


def _gap(threshold: Threshold, agents: Agents) -> float:
    return abs(agents.now - threshold.bound.of(agents.before))


def _variance(threshold: Threshold, agents: Agents) -> float:
    """Return the variance of what one test case adds to a difference."""
    factor = threshold.bound.factor
    if threshold.aggregate.is_rate:
        before, now = (math.sqrt(rate * (1.0 - rate)) for rate in (agents.before, agents.now))
    else:
        before, now = agents.spread, agents.spread * abs(agents.now / agents.before if agents.before else 1.0)
    within = now**2 / agents.iterations + (factor * before) ** 2 / agents.earlier
    return agents.icc * (now - factor * before) ** 2 + (1.0 - agents.icc) * within


def _decides(threshold: Threshold, agents: Agents, cases: int, confidence: float, rng: Generator) -> bool:
    pairs = [_drawn(agents, rng) for _ in range(cases)]
    bounds = rate_difference(pairs, confidence, factor=threshold.bound.factor)
    above = misses(threshold, agents) is threshold.wants_less
    return bounds.lower > threshold.bound.number if above else bounds.upper < threshold.bound.number


def _drawn(agents: Agents, rng: Generator) -> HitPair:
    """Draw one test case. The better agent's rate varies over cases; the other's is smaller in proportion."""
    better = max(agents.before, agents.now)
    rate = better
    if 0.0 < agents.icc < 1.0 and 0.0 < better < 1.0:
        weight = (1.0 - agents.icc) / agents.icc
        rate = rng.betavariate(better * weight, (1.0 - better) * weight)
    shrunk = rate / better if better else 0.0
    return HitPair(
        _hits(agents.now * shrunk, agents.iterations, rng), _hits(agents.before * shrunk, agents.earlier, rng)
    )


def _hits(rate: float, size: int, rng: Generator) -> Hits:
    return Hits(sum(rng.random() < rate for _ in range(size)), size)
