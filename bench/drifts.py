"""Experiments for `bench/noise.py` on drift: how often an unchanged agent raises an alarm, and how often declines do.

Each cell draws seven runs as the reference and a run for each night after it, and uses the functions that ship. A run
has one or more conversations of each case. With a `wobble`, the provider also has better and worse days.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.experiments import Experiment, Limit
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.chart import level_for
from coval_gate.model.baseline import REFERENCE_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from coval_gate.judge.chart import Chart

NIGHTS: Final = 30
ICC: Final = 0.3
SIGMA: Final = 0.5
RATE, MEAN = "Resolved: rate(YES) >= baseline", "Latency: avg <= baseline"


class Agent(NamedTuple):
    """An agent and the threshold that watches it: a rate of `truth`, or lognormal latencies if that is 0.

    Each run has `conversations` of each of `cases`. `wobble`: the relative standard deviation between runs.
    """

    threshold: str
    cases: int
    conversations: int = 1
    truth: float = 0.0
    wobble: float = 0.0


def drifts() -> Iterator[Experiment]:
    """Yield how often steps raise an alarm in a month without a change, and how often they notice a change."""
    rates = [
        Agent(RATE, cases, iterations, truth)
        for truth in (0.8, 0.95)
        for cases, iterations in ((20, 1), (50, 1), (50, 3))
    ]
    means = [Agent(MEAN, cases, iterations) for cases, iterations in ((20, 1), (50, 1), (50, 3))]
    wobbling = [mean._replace(wobble=0.05) for mean in means]
    percentiles = [
        Agent(f"Latency: {aggregate} <= baseline", cases) for aggregate in ("med", "p(95)") for cases in (20, 50)
    ]
    for agents, name, most in (
        ([*rates, *means], "rates and averages", 5.0),
        (wobbling, "averages whose runs differ by 5 %", 5.0),
        ([Agent(RATE, 50, 3, 0.9, 0.02)], "a rate whose runs differ by 2pp", 12.0),
        (percentiles, "medians and percentiles", 5.0),
    ):
        yield Experiment(
            (Limit(f"drift: an unchanged agent, {name}: any alarm in {NIGHTS} nights", most, overall=True),),
            tuple(partial(alarms, (drifting,), steady, NIGHTS) for drifting in agents),
        )
    ten = [*(Agent(RATE, 50, 1, truth) for truth in (0.8, 0.9, 0.95, 0.98, 0.99)), *[Agent(MEAN, 50)] * 5]
    yield Experiment(
        (Limit("drift: an unchanged agent, ten thresholds: any alarm in 30 nights", 5.0),),
        (partial(alarms, tuple(ten), steady, NIGHTS),),
    )
    for least, cases, truth, name, change, nights in (
        (91, 20, 0.95, "-1pp a night, 15 nights", falling, 15),
        (95, 50, 0.95, "-1pp a night, 15 nights", falling, 15),
        (41, 20, 0.95, "95 -> 90 %, 10 nights", partial(step, 0.9 / 0.95), 10),
        (76, 50, 0.95, "95 -> 90 %, 10 nights", partial(step, 0.9 / 0.95), 10),
        (90, 20, 0.95, "95 -> 80 %, 5 nights", partial(step, 0.8 / 0.95), 5),
        (95, 50, 0.95, "95 -> 80 %, 5 nights", partial(step, 0.8 / 0.95), 5),
        (65, 50, 0.0, "average +10 %, 10 nights", partial(step, 1.1), 10),
        (94, 50, 0.0, "average +1 % a night, 20 nights", rising, 20),
    ):
        agent = Agent(RATE if truth else MEAN, cases, truth=truth)
        yield Experiment(
            (Limit(f"drift: {name}, {cases} cases: noticed", least, least=True),),
            (partial(alarms, (agent,), change, nights),),
            times=4 if least == 65 else 1,  # it is close to its limit
        )


def steady(night: int) -> float:
    """Return the agent's rate or latency relative to the reference: unchanged."""
    del night
    return 1.0


def falling(night: int) -> float:
    """Return the same for a rate of 95 % that loses a percentage point every night."""
    return (0.95 - 0.01 * (night + 1)) / 0.95


def rising(night: int) -> float:
    """Return the same for a latency that grows by 1 % every night."""
    return 1.0 + 0.01 * (night + 1)


def step(factor: float, night: int) -> float:
    """Return the same for an agent that changed once, after the reference."""
    del night
    return factor


def alarms(agents: Sequence[Agent], change: Callable[[int], float], nights: int, rng: Random) -> tuple[bool]:
    """Return whether one of the agents' charts raises an alarm in any night."""
    level = level_for(len(agents))
    return (any(any(total > level for total in _chart(agent, change, nights, level, rng).sums) for agent in agents),)


def _chart(agent: Agent, change: Callable[[int], float], nights: int, level: float, rng: Random) -> Chart:
    (threshold,) = _thresholds(agent.threshold)
    draw = _rate(agent, rng) if agent.truth else _latency(agent, rng)
    runs = [draw(1.0) for _ in range(REFERENCE_RUNS)] + [draw(change(night)) for night in range(nights)]
    named = [{str(case): values for case, values in enumerate(run)} for run in runs]
    return aggregation_of(threshold).chart(list(named[0]), named[:REFERENCE_RUNS], named[REFERENCE_RUNS:], level)


def _rate(agent: Agent, rng: Random) -> Callable[[float], list[list[float]]]:
    spread = (1.0 - ICC) / ICC
    chances = [rng.betavariate(agent.truth * spread, (1.0 - agent.truth) * spread) for _ in range(agent.cases)]

    def draw(change: float) -> list[list[float]]:
        off = rng.gauss(0.0, agent.wobble) if agent.wobble else 0.0
        return [[float(rng.random() < change * chance + off) for _ in range(agent.conversations)] for chance in chances]

    return draw


def _latency(agent: Agent, rng: Random) -> Callable[[float], list[list[float]]]:
    means = [rng.gauss(0.0, SIGMA * math.sqrt(ICC)) for _ in range(agent.cases)]
    within = SIGMA * math.sqrt(1.0 - ICC)

    def draw(change: float) -> list[list[float]]:
        slower = change * math.exp(rng.gauss(0.0, agent.wobble) if agent.wobble else 0.0)
        return [
            [slower * math.exp(mean + rng.gauss(0.0, within)) for _ in range(agent.conversations)] for mean in means
        ]

    return draw


_thresholds = lru_cache(parse_thresholds)
