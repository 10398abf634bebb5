"""Simulated agents with known truth, to count the errors of verdicts about them.

A case is easy or hard, and its conversations vary around that. `icc`, the intraclass correlation, is the share of the
variance due to the case: with 0, cases do not matter; with 1, an agent always behaves the same in a case. These
distributions are assumptions: rates are beta-binomial, latencies lognormal, scores rounded normal numbers from 1 to 5.
"""

import math
from functools import lru_cache
from itertools import accumulate, product
from random import Random
from typing import Final, NamedTuple

from coval_gate.gate.changes import HitPair, ValuePair
from coval_gate.gate.statistics import Hits

SCORES: Final = (1.0, 5.0)
SCORE_SPREAD: Final = 0.7  # standard deviation before rounding


class Size(NamedTuple):
    """The number of cases of a run, and of conversations of each case before (`base`) and now."""

    cases: int
    base: int
    now: int


def rates(rng: Random, size: Size, truth: float, icc: float, *, now: float | None = None) -> list[HitPair]:
    """Return pairs of an agent with the rate `truth` before, and the rate `now` (the same if None)."""
    outcomes, cumulated = _outcomes(size.base, size.now, truth, truth if now is None else now, icc)
    return rng.choices(outcomes, cum_weights=cumulated, k=size.cases)


def latencies(rng: Random, size: Size, sigma: float, icc: float, *, slower: float = 1.0) -> list[ValuePair]:
    """Return pairs of lognormal latencies with a median of 1 s; now they are `slower` times as long."""
    pairs = []
    for _ in range(size.cases):
        case = rng.gauss(0.0, sigma * math.sqrt(icc))
        within = sigma * math.sqrt(1.0 - icc)
        now = [slower * math.exp(case + rng.gauss(0.0, within)) for _ in range(size.now)]
        pairs.append(ValuePair(now, [math.exp(case + rng.gauss(0.0, within)) for _ in range(size.base)]))
    return pairs


def scores(rng: Random, size: Size, centre: float, icc: float, *, worse: float = 0.0) -> list[ValuePair]:
    """Return pairs of scores around `centre`, now lower by `worse`."""
    pairs = []
    for _ in range(size.cases):
        case = rng.gauss(0.0, SCORE_SPREAD * math.sqrt(icc))
        within = SCORE_SPREAD * math.sqrt(1.0 - icc)
        now = [_score(centre - worse + case + rng.gauss(0.0, within)) for _ in range(size.now)]
        pairs.append(ValuePair(now, [_score(centre + case + rng.gauss(0.0, within)) for _ in range(size.base)]))
    return pairs


def mean_score(centre: float) -> float:
    """Return the mean of the scores of an agent around `centre`."""

    def below(limit: float) -> float:
        return math.erfc((centre - limit) / SCORE_SPREAD / math.sqrt(2.0)) / 2.0

    low, high = SCORES
    return low + sum(1.0 - below(step + 0.5) for step in range(int(low), int(high)))


def _score(value: float) -> float:
    low, high = SCORES
    return min(max(float(round(value)), low), high)


@lru_cache
def _outcomes(
    conversations_before: int, conversations: int, truth: float, now: float, icc: float
) -> tuple[list[HitPair], list[float]]:
    """Return all possible outcomes of a case, and their cumulative probabilities.

    A case that was hard before is hard now, too: its rate shrinks with the mean.
    """
    pairs, chances = [], []
    better = max(truth, now)
    for hits, before in product(range(conversations + 1), range(conversations_before + 1)):
        pairs.append(HitPair(Hits(hits, conversations), Hits(before, conversations_before)))
        misses, misses_before = conversations - hits, conversations_before - before
        ways = math.comb(conversations, hits) * math.comb(conversations_before, before)
        scale = (now / better) ** hits * (truth / better) ** before
        chance = 0.0
        # The better agent's rate c varies over cases. A miss at the rate f c has the probability (1 - c) + (1 - f) c.
        for own, own_before in product(range(misses + 1), range(misses_before + 1)):
            more = math.comb(misses, own) * (1 - now / better) ** own
            more *= math.comb(misses_before, own_before) * (1 - truth / better) ** own_before
            lost = own + own_before
            chance += more * _moment(better, icc, hits + before + lost, misses + misses_before - lost)
        chances.append(ways * scale * chance)
    return pairs, list(accumulate(chances))


def _moment(centre: float, icc: float, ups: int, downs: int) -> float:
    """Return the mean of c^ups (1 - c)^downs for a beta variable c with this mean and intraclass correlation."""
    if icc == 0.0:
        return centre**ups * (1.0 - centre) ** downs
    spread = (1.0 - icc) / icc
    a, b = centre * spread, (1.0 - centre) * spread
    return math.exp(_log_beta(a + ups, b + downs) - _log_beta(a, b))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
