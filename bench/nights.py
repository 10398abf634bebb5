"""Experiments for `bench/noise.py` on histories: baselines that do not change, and baselines that move.

A night is a run of an agent with one conversation of each test case, which the gate's own judge decides.
"""

import math
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from bench.agents import baseline_of, criteria, is_red, run
from bench.experiments import CONFIDENCE, Experiment, Limit
from coval_gate.coval.model import RunResult
from coval_gate.gate.judge import judge
from coval_gate.gate.statistics import Hits

LAST: Final = 7  # nights in the baseline
NIGHTS: Final = 15
MONTH: Final = 30
SOON: Final = 5
ICC, SIGMA = 0.3, 0.5
RATES: Final = "Resolved: rate(YES) >= baseline - 5pp"
AVERAGES: Final = "Latency: avg <= baseline * 1.1"
ABSOLUTE: Final = "Resolved: rate(YES) >= 90%\nLatency: avg <= 1.2"


class Agent(NamedTuple):
    """The rate of each test case, and the level of its latencies (a logarithm)."""

    cases: list[tuple[float, float]]

    @classmethod
    def drawn(cls, cases: int, truth: float, rng: Random) -> "Agent":
        """Return an agent with a true rate, and a median latency of 1 s."""
        spread = (1.0 - ICC) / ICC
        shape = truth * spread, (1.0 - truth) * spread
        return cls([(rng.betavariate(*shape), rng.gauss(0.0, SIGMA * math.sqrt(ICC))) for _ in range(cases)])

    def night(self, rng: Random, worse: float = 0.0) -> RunResult:
        """Return a run of the agent when it is `worse` by percentage points of 95 %, and slower by as many percent."""
        within, fewer = SIGMA * math.sqrt(1.0 - ICC), 1.0 - worse / 95.0
        resolved = [Hits(int(rng.random() < rate * fewer), 1) for rate, _ in self.cases]
        latencies = [[(1.0 + worse / 100.0) * math.exp(level + rng.gauss(0.0, within))] for _, level in self.cases]
        return run(f"run{rng.random()}", {"Resolved": resolved, "Latency": latencies})

    def rate(self) -> float:
        """Return the true rate of these test cases."""
        return math.fsum(rate for rate, _ in self.cases) / len(self.cases)

    def latency(self) -> float:
        """Return the true mean latency of these test cases."""
        within = SIGMA**2 * (1.0 - ICC) / 2.0
        return math.fsum(math.exp(level + within) for _, level in self.cases) / len(self.cases)


def histories() -> Iterator[Experiment]:
    """Yield what a baseline of seven nights notices, how often it is red wrongly, and which nights a baseline keeps."""
    for cases, thresholds, step, (gradual, sudden, night, twice) in (
        (50, RATES, "one percentage point", (99.0, 95.0, 5.0, 10.0)),
        (20, RATES, "one percentage point", (None, None, 5.0, 10.0)),
        (50, AVERAGES, "one percent", (85.0, None, 5.0, 10.0)),
    ):
        yield Experiment(
            (
                Limit(f"{thresholds}, {cases} cases, {step} a night: red within {NIGHTS} nights", gradual, least=True),
                Limit(f"  15 times that at once: red within {SOON} nights", sudden, least=True),
                Limit("  unchanged agent: red nights", night),
                Limit("  unchanged agent: two red nights in a row, in a month", twice),
            ),
            (partial(standing, cases, thresholds),),
            times=0.1,
        )
    for name, extra, nights, most, times in (
        ("seven nights with absolute thresholds", "", LAST, 0.5, 2.0),
        ("a month of nights with a baseline that moves", f"\n{RATES}\n{AVERAGES}", MONTH, 1.0, 0.1),
    ):
        titles = (f"{name}: reference too high, in pp", "  too low", "  average too high, in %", "  average too low")
        cell = partial(kept, f"{ABSOLUTE}{extra}", nights)
        yield Experiment(tuple(Limit(title, most) for title in titles), (cell,), times=times)


def standing(cases: int, thresholds: str, rng: Random) -> tuple[bool, bool, float, bool]:
    """Return whether seven nights notice a decline, and a fall, and how often an unchanged agent is red."""
    agent = Agent.drawn(cases, 0.95, rng)
    baseline = baseline_of([agent.night(rng) for _ in range(LAST)])

    def reds(*steps: float) -> Iterator[bool]:
        for worse in steps:
            yield is_red(judge(agent.night(rng, worse), criteria(thresholds, CONFIDENCE), baseline=baseline))

    gradual, sudden = any(reds(*range(1, NIGHTS + 1))), any(reds(*[NIGHTS] * SOON))
    month = list(reds(*[0.0] * MONTH))
    return gradual, sudden, sum(month) / MONTH, any(first and second for first, second in pairwise(month))


def kept(thresholds: str, nights: int, rng: Random) -> tuple[float, ...]:
    """Return how far the last seven nights that count for a baseline are from the truth."""
    agent, required = Agent.drawn(50, 0.92, rng), criteria(thresholds, CONFIDENCE)
    runs = [agent.night(rng)]
    for _ in range(nights - 1):
        night = agent.night(rng)
        runs += [] if judge(night, required, baseline=baseline_of(runs[-LAST:])).is_barred else [night]
    resolved, latency = ([value for run in runs[-LAST:] for value in run.metrics[at].values.values()] for at in (0, 1))
    rate = resolved.count("YES") / len(resolved) - agent.rate()
    mean = math.fsum(value for value in latency if isinstance(value, float)) / len(latency) / agent.latency() - 1.0
    return rate, -rate, mean, -mean
