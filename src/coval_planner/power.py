"""How many test cases detect a change from a baseline. Pure: all randomness comes from the generator passed in.

A case is easy or hard in both runs. `icc`, the intraclass correlation, is the share of the variance due to the case.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Final, NamedTuple

from coval_gate.features.comparisons.changes import RateChange
from coval_gate.features.comparisons.words import MOST_TRIED
from coval_gate.features.confidence.bounds import normal_quantile, t_quantile
from coval_gate.features.planning.decidable import Fall, Generator, drawn, is_red
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.statistics import FEWEST_CASES, POWER
from coval_gate.inputs.thresholds import Threshold

SIMULATED_RUNS: Final = 500  # enough to measure a share of 80 % to two points


class Level(NamedTuple):
    """The confidence of a step, and how many of its thresholds compare with a baseline (`family`)."""

    confidence: float
    family: int = 1

    @property
    def strictest(self) -> float:
        """Return the confidence that one of these thresholds needs at the strictest of Holm's levels."""
        return 1.0 - (1.0 - self.confidence) / self.family


class Step(NamedTuple):
    """A distance that a run must show with a `confidence`; 0: as counted. Each test case adds this `variance`."""

    gap: float
    variance: float
    confidence: float


class Agents(NamedTuple):
    """An agent `before` and `now`: its true rates as shares, or its true means with a standard deviation, `spread`.

    `iterations`: conversations of each test case in a run. `runs`: runs in the baseline. `breaks`: some test cases now
    always fail; otherwise, each fails more often.
    """

    before: float
    now: float
    icc: float
    runs: int = 1
    iterations: int = 1
    spread: float = 0.0
    breaks: bool = False


def misses(threshold: Threshold, agents: Agents) -> bool:
    """Return whether the agent's true rate or mean misses the threshold, so the step should fail."""
    return not threshold.against(agents.before).holds(agents.now)


def cases_to_decide(threshold: Threshold, agents: Agents, level: Level, random: Callable[[], Generator]) -> int | None:
    """Return how many test cases decide a threshold correctly in a share POWER of runs; None if MOST_TRIED do not.

    Averages use a formula. For rates, the formula is too optimistic, so runs are simulated. `random` returns a new
    generator in the same state each time, so only the number of cases makes a difference.
    """
    estimate = _estimate(threshold, agents, level)
    if not threshold.aggregate.is_rate or estimate is None:
        return estimate
    counts = range(max(FEWEST_CASES, estimate // 2), min(MOST_TRIED, 4 * estimate + 20) + 1)
    place = bisect_left(counts, True, key=lambda cases: chance(threshold, agents, cases, level, random()) >= POWER)
    return counts[place] if place < len(counts) else None


def chance(threshold: Threshold, agents: Agents, cases: int, level: Level, rng: Generator) -> float:
    """Return the share of runs with this number of test cases that decide a threshold correctly."""
    if threshold.aggregate.is_rate:
        return sum(_decides(threshold, agents, cases, level, rng) for _ in range(SIMULATED_RUNS)) / SIMULATED_RUNS
    if cases < aggregation_of(threshold).fewest_cases:
        return 0.0
    return min(_chance(step, cases) for step in _steps(threshold, agents, level))


def _chance(step: Step, cases: int) -> float:
    spread = math.sqrt(step.variance / cases)
    reach = t_quantile(step.confidence, cases - 1) if step.confidence else 0.0
    return NormalDist().cdf(step.gap / spread - reach) if spread else 1.0


def _estimate(threshold: Threshold, agents: Agents, level: Level) -> int | None:
    cases = max(map(_cases, _steps(threshold, agents, level)))
    fewest = max(FEWEST_CASES + 1, aggregation_of(threshold).fewest_cases)
    return max(fewest, math.ceil(cases)) if cases <= MOST_TRIED else None


def _cases(step: Step) -> float:
    reach = normal_quantile(POWER) + (normal_quantile(step.confidence) if step.confidence else 0.0)
    return reach**2 * step.variance / step.gap**2 if step.gap else math.inf


def _steps(threshold: Threshold, agents: Agents, level: Level) -> Iterator[Step]:
    """Yield what a run must show. A regression needs a significant change, and a measured one beyond the margin."""
    factor, gap = threshold.bound.factor, abs(agents.now - threshold.bound.of(agents.before))
    if not _is_regression(threshold, agents):
        yield Step(gap, _variance(threshold, agents, factor), level.confidence)
        return
    yield Step(abs(agents.now - agents.before), _variance(threshold, agents, 1.0), level.strictest)
    yield Step(gap, _variance(threshold, agents, factor), 0.0)


def _is_regression(threshold: Threshold, agents: Agents) -> bool:
    return misses(threshold, agents) and not threshold.asks_for_improvement


def _variance(threshold: Threshold, agents: Agents, factor: float) -> float:
    """Return the variance of what one test case adds to the value now minus `factor` times the earlier one."""
    if threshold.aggregate.is_rate:
        before, now = (math.sqrt(rate * (1.0 - rate)) for rate in (agents.before, agents.now))
    else:
        before, now = agents.spread, agents.spread * abs(agents.now / agents.before if agents.before else 1.0)
    within = now**2 / agents.iterations + (factor * before) ** 2 / (agents.runs * agents.iterations)
    return agents.icc * (now - factor * before) ** 2 + (1.0 - agents.icc) * within


def _decides(threshold: Threshold, agents: Agents, cases: int, level: Level, rng: Generator) -> bool:
    fall = Fall(agents.before, agents.now, agents.runs, agents.iterations, agents.breaks, agents.icc)
    pairs = [drawn(fall, rng) for _ in range(cases)]
    if _is_regression(threshold, agents):
        return is_red(threshold, pairs, 1.0 - level.strictest)
    bounds = RateChange(pairs).excess(level.confidence, threshold.bound.factor, threshold.bound.number)
    above = misses(threshold, agents) is threshold.wants_less
    return bounds.lower > 0.0 if above else bounds.upper < 0.0
