"""Experiments for `bench/noise.py` on a baseline that stands still: when it notices a slow decline."""

import math
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Final

from bench.experiments import CONFIDENCE, Experiment, Limit
from bench.judged import baseline_of, criteria, is_red, run
from coval_gate.coval.model import RunResult
from coval_gate.gate.judge import judge
from coval_gate.gate.statistics import Hits

CASES: Final = 50
REFERENCE: Final = 3  # nights before the decline begins
NIGHTS: Final = 15
SOON: Final = 5
RATE, SIGMA, ICC = 0.95, 0.5, 0.3
RATES: Final = "Resolved: rate(YES) >= baseline - 5pp"
AVERAGES: Final = "Latency: avg <= baseline * 1.1"


def declines() -> Iterator[Experiment]:
    """Yield when a decline turns red against a reference that stands still, and how often an unchanged agent does."""
    for name, thresholds, limits in (
        (f"{RATES}, one percentage point a night", RATES, (40.0, 99.0, 3.5)),
        (f"{AVERAGES}, one percent a night", AVERAGES, (None, 85.0, 5.0)),
    ):
        soon, late, unchanged = limits
        yield Experiment(
            (
                Limit(f"{name}: red within {SOON} nights", soon, least=True),
                Limit(f"  red within {NIGHTS} nights", late, least=True),
                Limit("  unchanged agent: red nights", unchanged),
            ),
            (partial(decline, thresholds),),
            times=0.3,
        )


def decline(thresholds: str, rng: Random) -> tuple[bool, bool, float]:
    """Return whether the decline was red soon, whether it was red at all, and the share of red nights without one."""
    cases = [(rng.betavariate(*_shape()), rng.gauss(0.0, SIGMA * math.sqrt(ICC))) for _ in range(CASES)]
    baseline = baseline_of([_night(f"before{number}", cases, 0, rng) for number in range(REFERENCE)])
    red = {
        kind: [
            is_red(judge(_night("now", cases, night * step, rng), criteria(thresholds, CONFIDENCE), baseline=baseline))
            for night in range(1, NIGHTS + 1)
        ]
        for kind, step in (("declines", 1), ("unchanged", 0))
    }
    return any(red["declines"][:SOON]), any(red["declines"]), sum(red["unchanged"]) / NIGHTS


def _shape() -> tuple[float, float]:
    """Return the parameters of the beta distribution of the cases' rates."""
    spread = (1.0 - ICC) / ICC
    return RATE * spread, (1.0 - RATE) * spread


def _night(run_id: str, cases: list[tuple[float, float]], worse: int, rng: Random) -> RunResult:
    """Return a run of an agent that is worse by so many percentage points, and slower by as many percent."""
    within, fewer = SIGMA * math.sqrt(1.0 - ICC), 1.0 - worse / 100.0 / RATE
    resolved = [Hits(int(rng.random() < rate * fewer), 1) for rate, _ in cases]
    latencies = [[(1.0 + worse / 100.0) * math.exp(level + rng.gauss(0.0, within))] for _, level in cases]
    return run(run_id, {"Resolved": resolved, "Latency": latencies})
