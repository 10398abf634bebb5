"""Whether a rate fell or rose: the exact permutation of the runs of each test case. Pure.

If nothing changed, each run of a test case could be the judged one. Its conversations are alike, so they stay together,
as a block. With one run before and one conversation of each case, this is McNemar's test with the mid-p value
(Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13, 2013). Hits are scaled so that each case weighs the
same. A permutation within cases does not see what moves a whole run, such as a slow hour: from three runs before on,
they show it themselves, and widen the test.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from statistics import NormalDist
from types import MappingProxyType
from typing import Final, NamedTuple

from coval_gate.gate.statistics import SHORTFALL, Hits

MOST_SUMS: Final = 2_000  # of the hits of all cases; beyond it, approximations are as good, and faster
FEWEST_RUNS: Final = 3  # that show how much runs vary
BY_CHANCE: Final = 0.1  # of baselines whose runs may vary so much by chance
SUM_ROUNDING: Final = 1e-12  # of a sum of probabilities
NEGLIGIBLE: Final = 1e-16  # the chance of a sum
NORMAL: Final = NormalDist()


class HitPair(NamedTuple):
    """`runs`: the base's conversations by run; empty if all are of one."""

    now: Hits
    base: Hits
    case: str = ""
    runs: Mapping[str, Hits] = MappingProxyType({})

    @property
    def blocks(self) -> Mapping[str, Hits]:
        return self.runs or {"": self.base}


class Case(NamedTuple):
    """Hits of the judged run, and of each run before; each conversation counts `scale` times."""

    now: int
    before: Mapping[str, int]
    scale: int

    @classmethod
    def of(cls, pair: HitPair, most: int) -> "Case":
        scale = most // pair.now.size
        return cls(pair.now.hits * scale, {run: block.hits * scale for run, block in pair.blocks.items()}, scale)

    @property
    def hits(self) -> tuple[int, ...]:
        return self.now, *self.before.values()


class Permutation:
    """The chances, if nothing changed, of `fewer` and of `more` hits than there are; a tie counts half (mid-p)."""

    def __init__(self, cases: Sequence[Case], most: int) -> None:
        """`most`: the possible hits of a case."""
        self._cases, self._most, self.excess = cases, most, excess_variance([case.before for case in cases])
        below, at, above = _tails(cases)
        self.fewer, self.more = (_widened(tail + at / 2.0, self.excess) for tail in (below, above))

    @classmethod
    def of(cls, pairs: Sequence[HitPair]) -> "Permutation | None":
        """Return None if the runs of a case differ in their number of conversations, or if too many sums are possible.

        The conditions must not depend on which run is the judged one.
        """
        most = math.lcm(*{pair.now.size for pair in pairs})
        sizes_differ = any(block.size != pair.now.size for pair in pairs for block in pair.blocks.values())
        if sizes_differ or most * len(pairs) > MOST_SUMS:
            return None
        return cls([Case.of(pair, most) for pair in pairs], most)

    def shows(self, error: float, *, rises: bool) -> bool:
        return (self.more if rises else self.fewer) <= error + SUM_ROUNDING

    def notices(self, change: float, margin: float, reach: float, *, rises: bool) -> bool:
        """Return whether the share POWER of runs notices a fall, or rise, of the rate by `change`.

        Each hit before, or miss, is lost as often. A fall is noticed if it shows, at `reach` standard errors, and is
        beyond the `margin` as counted. A law of k + 1 runs has the middle at the mean of them, and the variance of a
        draw of one of them.
        """
        possible = self._most * len(self._cases)
        hits = sum(mean * count for (_, mean, _, _), count in self._kinds.items())
        kept = max(0.0, 1.0 - change * possible / (possible - hits if rises else hits))
        distance = law = spread = change_spread = 0.0  # how far the sum falls below the middle; variances
        for (runs, mean, variance, scale), count in self._kinds.items():
            lost = (1.0 - kept) * (self._most - mean if rises else mean)
            share, now = runs / (runs + 1), kept * kept * variance + kept * lost * scale
            distance += count * share * lost
            law += count * share * ((runs * variance + now) / (runs + 1) + lost * lost / (runs + 1))
            spread += count * share * share * (now + variance / runs)
            change_spread += count * (now + variance / runs) / possible**2
        is_shown = distance >= reach * math.sqrt(self.excess * law) + SHORTFALL * math.sqrt(spread)
        return is_shown and change >= margin + SHORTFALL * math.sqrt(change_spread)

    @cached_property
    def _kinds(self) -> Counter[tuple[int, float, float, int]]:
        """Count the cases by their runs before, the mean hits of these, the variance of all runs, and the scale."""
        kinds: Counter[tuple[int, float, float, int]] = Counter()
        for case in self._cases:
            runs = len(case.before)
            kinds[runs, sum(case.before.values()) / runs, _squares(case.hits) / (runs * (runs + 1)), case.scale] += 1
        return kinds


def excess_variance(cases: Iterable[Mapping[str, int]]) -> float:
    """Return how many times as much the totals of runs vary as the runs of each case, and chance, explain; at least 1.

    `cases`: hits by run. Only cases that all of the runs have count. Few runs vary a lot by chance, which would hide
    what one of ten thresholds shows: so the ratio of variances is divided by the one that chance exceeds in a tenth of
    baselines, a chi-square over its degrees of freedom (Wilson and Hilferty, PNAS 17, 1931).
    """
    cases = [*cases]
    runs = dict.fromkeys(chain.from_iterable(cases))
    common = [case for case in cases if len(case) == len(runs)]
    within = sum(_squares(case.values()) for case in common)
    if len(runs) < FEWEST_RUNS or not within:
        return 1.0
    ratio = _squares([sum(case[run] for case in common) for run in runs]) / within
    spread = 2.0 / (9.0 * (len(runs) - 1))
    return max(1.0, ratio / (1.0 - spread + NORMAL.inv_cdf(1.0 - BY_CHANCE) * math.sqrt(spread)) ** 3)


def _squares(values: Iterable[int]) -> int:
    """Return the sum of squares around the mean, times how many values there are: exact for whole numbers."""
    values = [*values]
    return len(values) * sum(value * value for value in values) - sum(values) ** 2


def _tails(cases: Iterable[Case]) -> tuple[float, float, float]:
    """Return the chances that the sum of the hits is below the observed one, at it, and above it."""
    law, place = [1.0], 0  # of the sum above the least one considered; where the observed sum is
    for case in cases:
        hits, least = case.hits, min(case.hits)
        if least == max(hits):
            continue
        law = _convolved(law, Counter(value - least for value in hits), len(hits))
        start = next(index for index, chance in enumerate(law) if chance > NEGLIGIBLE)
        end = next(index for index in range(len(law), 0, -1) if law[index - 1] > NEGLIGIBLE)
        law, place = law[start:end], place + case.now - least - start
    below, above = max(place, 0), max(place + 1, 0)
    return math.fsum(law[:below]), math.fsum(law[below:above]), math.fsum(law[above:])


def _convolved(law: list[float], ways: Mapping[int, int], runs: int) -> list[float]:
    total = [0.0] * (len(law) + max(ways))
    for hits, count in ways.items():
        share = count / runs
        for place, chance in enumerate(law, hits):
            total[place] += share * chance
    return total


def _widened(chance: float, excess: float) -> float:
    """Return a chance as if the sum varied more, by the root of `excess`."""
    if excess == 1.0 or not 0.0 < chance < 1.0:
        return chance
    return NORMAL.cdf(NORMAL.inv_cdf(chance) / math.sqrt(excess))
