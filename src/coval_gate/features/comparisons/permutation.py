"""Tests whether a rate fell or rose, by permuting the runs or the conversations of each test case. Pure.

If nothing changed, any of a case's runs could be the judged one. With several earlier runs, and several conversations
of the case in each, any of these conversations could be of the judged run, so they are permuted. Conversations of a run
may be alike, which the earlier runs show: the test is widened by how much more they vary than conversations alone
would. With one earlier run nothing shows that, so the conversations of a run stay together, as a block.

With one run before and one conversation of each case, this is McNemar's test with the mid-p value (Fagerland, Lydersen
and Laake, BMC Medical Research Methodology 13, 2013). A case weighs the same, whatever its number of conversations, but
more if it hardly ever misses: there, a miss is stronger evidence. Weights come from the hits of all runs together. No
permutation changes them, so the test is exact. Only the widening is an estimate.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist
from types import MappingProxyType
from typing import Final, NamedTuple

from coval_gate.features.confidence.bounds import SHORTFALL
from coval_gate.gate.statistics import Hits

MOST_SUMS: Final = 2_000  # of the hits of all cases; beyond it, approximations are as good, and faster
MOST_WEIGHT: Final = 5  # of a steady case; the least is 1
SUM_ROUNDING: Final = 1e-12  # of a sum of probabilities
NEGLIGIBLE: Final = 1e-16  # the chance of a sum
NORMAL: Final = NormalDist()


class HitPair(NamedTuple):
    """`judged`, `runs`: the conversations of either side by run; empty if all are of one."""

    now: Hits
    base: Hits
    case: str = ""
    runs: Mapping[str, Hits] = MappingProxyType({})
    judged: Sequence[Hits] = ()


class Case(NamedTuple):
    """Hits of each judged run, and of each run before, among `size` conversations of each."""

    now: tuple[int, ...]
    before: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, pair: HitPair) -> "Case | None":
        """Return None if the runs differ in their number of conversations."""
        now, before = pair.judged or (pair.now,), tuple(pair.runs.values()) or (pair.base,)
        if len({run.size for run in (*now, *before)}) > 1:
            return None
        return cls(tuple(run.hits for run in now), tuple(run.hits for run in before), before[0].size)

    @property
    def judged(self) -> int:
        return len(self.now) * self.size

    @property
    def runs(self) -> int:
        return len(self.now) + len(self.before)

    @property
    def misses(self) -> int:
        return self.runs * self.size - sum(self.now) - sum(self.before)

    @property
    def mean(self) -> float:
        """The mean hits of a run before."""
        return sum(self.before) / len(self.before)

    @property
    def variance(self) -> float:
        """The variance of the hits of all runs."""
        return _squares((*self.now, *self.before)) / (self.runs * (self.runs - 1))

    @property
    def shows_alikeness(self) -> bool:
        """Whether it shows how alike the conversations of a run are."""
        return len(self.before) > 1 and self.size > 1

    def mirrored(self) -> "Case":
        now, before = (tuple(self.size - hits for hits in side) for side in (self.now, self.before))
        return Case(now, before, self.size)


class Permutation:
    """The chances, if nothing changed, of `fewer` and of `more` hits than there are; a tie counts half (mid-p).

    `excess`: how many times as much as conversations alone explain the earlier runs vary. `blocks`: conversations of a
    run are always alike, so that runs are permuted.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        excess = excess_variance(cases)
        self.blocks = math.isinf(excess)
        self.excess = 1.0 if self.blocks else excess
        sides = cases, [case.mirrored() for case in cases]
        self._falls, self._rises = (Counter(zip(side, weights(side), strict=True)) for side in sides)
        self.fewer, self.more = (self._chance(side) for side in (self._falls, self._rises))

    @classmethod
    def of(cls, pairs: Sequence[HitPair]) -> "Permutation | None":
        """Return None if the runs of a case differ in their number of conversations, or if too many sums are possible.

        The conditions must not depend on which run is the judged one.
        """
        cases = [case for pair in pairs if (case := Case.of(pair))]
        return cls(cases) if len(cases) == len(pairs) and _most(cases) * len(cases) <= MOST_SUMS else None

    def shows(self, error: float, *, rises: bool) -> bool:
        return (self.more if rises else self.fewer) <= error + SUM_ROUNDING

    def _chance(self, cases: Counter[tuple[Case, int]]) -> float:
        """Return the chance of fewer hits than there are. `cases` have their weights."""
        law, place = [1.0], 0  # of the sum above the least one considered; where the observed sum is
        for case, weight in cases.elements():
            chances = self._law(case)
            least = min(chances)
            law = _convolved(law, {(hits - least) * weight: chance for hits, chance in chances.items()})
            start = next(index for index, chance in enumerate(law) if chance > NEGLIGIBLE)
            end = next(index for index in range(len(law), 0, -1) if law[index - 1] > NEGLIGIBLE)
            law, place = law[start:end], place + (sum(case.now) - least) * weight - start
        below, at = math.fsum(law[: max(place, 0)]), math.fsum(law[max(place, 0) : max(place + 1, 0)])
        chance = below + at / 2.0
        if self.excess == 1.0 or not 0.0 < chance < 1.0:
            return chance
        return NORMAL.cdf(NORMAL.inv_cdf(chance) / math.sqrt(self.excess))

    def _law(self, case: Case) -> Mapping[int, float]:
        """Return the chances of the hits of the judged runs, if nothing changed."""
        if case.shows_alikeness and not self.blocks:
            count = case.runs * case.size
            return _hypergeometric(count - case.misses, count, case.judged)
        sums = Counter(map(sum, combinations((*case.now, *case.before), len(case.now))))
        return {hits: ways / sums.total() for hits, ways in sums.items()}

    def notices(self, change: float, margin: float, reach: float, *, rises: bool) -> bool:
        """Return whether the share POWER of runs notices a fall, or rise, of the rate by `change`.

        Each hit before, or miss, is lost as often. A fall is noticed if it shows, at `reach` standard errors, and is
        beyond the `margin` as counted. The law of the judged hits has its middle at their share of all hits.
        """
        cases = self._rises if rises else self._falls
        total = cases.total()
        rate = sum(count * case.mean / case.size for (case, _), count in cases.items()) / total
        kept = max(0.0, 1.0 - change / rate) if rate else 0.0
        distance = possible = spread = counted = 0.0  # how far the sum falls below the middle; then three variances
        for (case, weight), count in cases.items():
            before, now, runs = len(case.before), len(case.now), case.runs
            lost = (1.0 - kept) * case.mean
            after = kept * kept * case.variance + kept * lost  # the variance of a run that loses hits by chance
            share = before * now / runs
            distance += count * weight * share * lost
            if case.shows_alikeness and not self.blocks:
                hit = case.mean / case.size - now * lost / (runs * case.size)
                conversations = runs * case.size
                drawn = share * case.size * conversations / (conversations - 1) * hit * (1.0 - hit)
            else:
                drawn = share * ((before * case.variance + now * after) / runs + share * lost * lost / (runs - 1))
            possible += count * weight**2 * drawn * self.excess
            own = after / now + case.variance / before
            spread += count * (weight * share) ** 2 * own
            counted += count * own / (case.size * total) ** 2
        is_shown = distance >= reach * math.sqrt(possible) + SHORTFALL * math.sqrt(spread)
        return is_shown and change >= margin + SHORTFALL * math.sqrt(counted)


def excess_variance(cases: Iterable[Case]) -> float:
    """Return how many times as much as independent conversations the runs before vary; at least 1.

    This is the variance between the runs of each case over the one within them, as in an analysis of variance, pooled
    over the cases. It is infinite if the conversations of a run are always alike, and runs are not.
    """
    showing = [case for case in cases if case.shows_alikeness]
    between = math.fsum(
        _squares(case.before) / (len(case.before) * (len(case.before) - 1) * case.size) for case in showing
    )
    within = math.fsum(
        sum(hits * (case.size - hits) for hits in case.before) / (len(case.before) * case.size * (case.size - 1))
        for case in showing
    )
    return max(1.0, between / within) if within else math.inf if between else 1.0


def weights(cases: Sequence[Case]) -> list[int]:
    """Return how much a hit of each case counts: more if the case has conversations, or misses, less often.

    A case that misses no more conversations, over all runs, than are judged weighs most: one run alone may have missed
    them.
    """
    most = _most(cases)
    misses = sum(case.misses for case in cases) / sum(case.runs * case.size for case in cases)
    steady = [
        round(MOST_WEIGHT * (case.judged + misses) / (case.misses + misses)) if misses else 1  # no miss at all
        for case in cases
    ]
    steady = [min(max(weight, 1), MOST_WEIGHT) for weight in steady]
    if most * sum(steady) > MOST_SUMS:
        steady = [1] * len(cases)
    return [weight * most // case.judged for weight, case in zip(steady, cases, strict=True)]


def _most(cases: Iterable[Case]) -> int:
    """Return a number of hits that each case could have if all had as many judged conversations."""
    return math.lcm(*{case.judged for case in cases})


def _squares(values: Iterable[int]) -> int:
    """Return the sum of squares around the mean, times how many values there are: exact for whole numbers."""
    values = [*values]
    return len(values) * sum(value * value for value in values) - sum(values) ** 2


@lru_cache(maxsize=1024)
def _hypergeometric(hits: int, count: int, drawn: int) -> Mapping[int, float]:
    """Return the chances of each number of hits among so many conversations `drawn` of a `count` with `hits`."""
    ways = math.comb(count, drawn)
    possible = range(max(0, hits + drawn - count), min(hits, drawn) + 1)
    return {found: math.comb(hits, found) * math.comb(count - hits, drawn - found) / ways for found in possible}


def _convolved(law: list[float], chances: Mapping[int, float]) -> list[float]:
    total = [0.0] * (len(law) + max(chances))
    for hits, share in chances.items():
        for place, chance in enumerate(law, hits):
            total[place] += share * chance
    return total
