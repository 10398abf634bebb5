"""Experiments for `bench/noise.py` on promotion: whether a reference that moves every night stays true to the agent.

The agent never changes. Each night's run is judged against the last promoted run, and promoted by the gate's rule. If
only winners were promoted, the reference would get faster every night. The same would happen if lucky nights were
promoted as readily as ordinary ones, because unlucky ones are red.
"""

from __future__ import annotations

import math
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.experiments import CONFIDENCE, Experiment, Limit
from bench.judged import SOURCE, criteria, is_red, run
from coval_gate.judge.confidence import Hits
from coval_gate.judge.gate import judge
from coval_gate.judge.promotion import refusal
from coval_gate.model.baseline import Baseline, BaselineRun, NotFoundReason
from coval_gate.model.run import Run
from coval_gate.model.statuses import COMPLETED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from coval_gate.judge.judgement import Judgement

NIGHTS: Final = 31
SIGMA, ICC, RATE = 0.5, 0.3, 0.95
LATENCY: Final = "Latency: avg <= baseline * 1.1"
BOTH: Final = f"{LATENCY}\nResolved: rate(YES) >= baseline - 5pp"


class Promoter:
    """The gate's rule, with its memory: whether a run that was better beyond the margin awaits confirmation."""

    def __init__(self) -> None:
        self._waits = False

    def promotes(self, judgement: Judgement) -> bool:
        """Return whether the next run is promoted."""
        reason = refusal(judgement)
        promoted = not reason or (reason == "unconfirmed" and self._waits)
        self._waits = not promoted and (self._waits or reason == "unconfirmed")
        return promoted


class Night(NamedTuple):
    """The conversations of each case in one night."""

    latencies: list[list[float]]
    resolved: list[Hits]


def ratchet() -> Iterator[Experiment]:
    """Yield how far the reference moves in a month, and how often an unchanged agent is red."""
    yield Experiment(
        (
            Limit(f"reference after {NIGHTS} nights, 50 cases, 1/1: too fast by (% of it)", 1.0),
            Limit("  too slow by", 1.0),
            Limit("  the same nights, if only runs that passed were promoted: too fast by", None),
        ),
        (partial(drift_of_reference, 50, 1, LATENCY),),
        times=0.15,
    )
    yield Experiment(
        (Limit(f"unchanged agent, margins, 100 cases, 5/5: red in any of {NIGHTS - 1} nights", 5.0),),
        (partial(any_red, 100, 5, BOTH),),
        times=0.05,
    )


def drift_of_reference(cases: int, conversations: int, thresholds: str, rng: Random) -> tuple[float, float, float]:
    """Return the relative error of the reference after all nights: too fast, too slow, and with winners only.

    The error is relative to the last night's run, which is as fast as the agent on average.
    """
    levels = [rng.gauss(0.0, SIGMA * math.sqrt(ICC)) for _ in range(cases)]
    truth = fmean(math.exp(level + SIGMA**2 * (1.0 - ICC) / 2.0) for level in levels)
    nights = [_night(rng, levels, conversations) for _ in range(NIGHTS)]
    last = _mean(nights[-1])
    error = (_mean(_reference(nights, thresholds, Promoter().promotes)) - last) / truth
    winner = _mean(_reference(nights, thresholds, lambda judgement: judgement.verdict == "passed"))
    return -error, error, (last - winner) / truth


def any_red(cases: int, conversations: int, thresholds: str, rng: Random) -> tuple[bool]:
    """Return whether the gate fails an unchanged agent in any night."""
    levels = [rng.gauss(0.0, SIGMA * math.sqrt(ICC)) for _ in range(cases)]
    red, promoter = False, Promoter()
    reference: Night | None = None
    for night in (_night(rng, levels, conversations) for _ in range(NIGHTS)):
        judgement = _judged(night, reference, thresholds)
        red = red or is_red(judgement)
        reference = night if promoter.promotes(judgement) else reference
    return (red,)


def _reference(nights: Sequence[Night], thresholds: str, promotes: Callable[[Judgement], bool]) -> Night:
    """Return the run that has the tag at the end. The first run gets it, because no run has it before."""
    first, *others = nights
    reference = first
    for night in others:
        if promotes(_judged(night, reference, thresholds)):
            reference = night
    return reference


def _judged(night: Night, reference: Night | None, thresholds: str) -> Judgement:
    result = run("now", {"Latency": night.latencies, "Resolved": night.resolved})
    if reference is None:
        baseline = Baseline(source=SOURCE, missing=NotFoundReason(kind="none"))
    else:
        earlier = run("base", {"Latency": reference.latencies, "Resolved": reference.resolved})
        baseline_run = BaselineRun(run=Run(run_id=earlier.run_id, status=COMPLETED), result=earlier)
        baseline = Baseline(source=SOURCE, runs=(baseline_run,))
    return judge(result, criteria(thresholds, CONFIDENCE), baseline=baseline)


def _night(rng: Random, levels: Sequence[float], conversations: int) -> Night:
    within = SIGMA * math.sqrt(1.0 - ICC)
    return Night(
        [[math.exp(level + rng.gauss(0.0, within)) for _ in range(conversations)] for level in levels],
        [Hits(sum(rng.random() < RATE for _ in range(conversations)), conversations) for _ in levels],
    )


def _mean(night: Night) -> float:
    return fmean(value for case in night.latencies for value in case)
