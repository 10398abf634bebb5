"""Looks at a growing sample: when a share of hits is decided, and at which error a change may be shown. Pure.

A look at each of several slices gives chance several tries. So each look may spend only a part of the error.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Final, NamedTuple

from coval_gate.features.confidence.bounds import beta_binomial, normal_quantile

SLICES: Final = 5
MOST_SLICED: Final = 500  # in all slices together: Coval accepts 100 test_case_ids for a run
TRUTHS: Final = (0.7, 0.8, 0.9, 0.95, 0.99)  # true rates for which a plan shows what slices save
GRID: Final = 120  # even; intervals of Simpson's rule
FARTHEST: Final = 6.0  # standard deviations of a sum of steps; what lies beyond is below a billionth
ROUNDS: Final = 8  # of the secant method, which needs about four
CONVERGED: Final = 1e-9  # standard deviations
OUT_OF_REACH: Final = 0.1  # chance of an answer; below it, further slices are not worth their price
MOST_ERROR: Final = 0.49  # of one bound, which must stay on its side of the measured value


def slices_of(cap: int) -> tuple[int, ...]:
    """Return how many test cases are called after each slice, up to the `cap`."""
    return tuple(sorted({round(cap * number / SLICES) for number in range(1, SLICES + 1)} - {0}))


class Look(NamedTuple):
    """The look after slice `number`, from 1. `cases`: how many test cases were called after each slice, to the cap."""

    number: int
    cases: tuple[int, ...]

    @property
    def is_last(self) -> bool:
        return self.number == len(self.cases)

    @property
    def called(self) -> int:
        return self.cases[self.number - 1]

    @property
    def cap(self) -> int:
        return self.cases[-1]

    def error(self, error: float) -> float:
        """Return the error that this look may spend so that all together spend `error`.

        O'Brien and Fleming, "A Multiple Testing Procedure for Clinical Trials" (Biometrics 35, 1979), one-sided.
        """
        looks = len(self.cases)
        return 1.0 - NormalDist().cdf(_constant(looks, error) * math.sqrt(looks / self.number))

    def boundaries(self, share: float, count: int, confidence: float) -> "Boundaries":
        """`count`: of conversations so far; fewer than test cases if some have no value."""
        called = self.called
        counts = (round(cases * count / called) if cases <= called else count + cases - called for cases in self.cases)
        return Boundaries.of(share, tuple(counts), round(1.0 - confidence, 9))


class Ends(NamedTuple):
    """How likely a leg in slices passes and fails, and how many conversations it has on average."""

    passed: float
    failed: float
    conversations: float


class Boundaries(NamedTuple):
    """At look k, at most `fails[k]` of `counts[k]` hits show that the share is missed, `passes[k]` that it is met.

    Where no number of hits shows it yet, that is -1, or one more than the count.
    """

    share: float
    counts: tuple[int, ...]
    fails: tuple[int, ...]
    passes: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, share: float, counts: tuple[int, ...], error: float) -> "Boundaries":
        """Return them for `rate >= share`. Each side is wrong in at most the share `error` of all series of looks.

        Pocock's spending function (Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials", Biometrika 70,
        1983), exact for independent conversations.
        """
        misses = _crossings(1.0 - share, counts, error)
        fails = tuple(count - most for count, most in zip(counts, misses, strict=True))
        return cls(share, counts, fails, tuple(_crossings(share, counts, error)))

    def errors(self, look: int) -> tuple[float, float]:
        """Return the errors at which one-sided bounds on the share decide exactly as `fails` and `passes` do.

        Each lies between the chances of the boundary and of the next number of hits, so no rounding matters.
        """
        law = _binomial(self.counts[look], self.share)
        failing, passing = self.fails[look], self.passes[look]
        low, high = sum(law[: failing + 1]), sum(law[passing:])
        next_low, next_high = law[failing + 1], law[passing - 1]  # a boundary is never beyond the value that is likely
        return min(low + next_low / 2, MOST_ERROR), min(high + next_high / 2, MOST_ERROR)

    def chance(self, look: int, hits: int) -> float:
        """Return the chance that a later look decides, from the `hits` so far: beta-binomial, by Jeffreys' prior."""
        undecided = {hits: 1.0}
        for now, after in pairwise(range(look, len(self.counts))):
            count, more = self.counts[now], self.counts[after] - self.counts[now]
            reached: dict[int, float] = defaultdict(float)
            for before, chance in undecided.items():
                for gained, share in enumerate(beta_binomial(more, before + 0.5, count - before + 0.5)):
                    reached[before + gained] += chance * share
            fails, passes = self.fails[after], self.passes[after]
            undecided = {total: chance for total, chance in reached.items() if fails < total < passes}
        return 1.0 - sum(undecided.values())

    def is_open(self, look: int, hits: int) -> bool:
        """Return whether the next slice is worth its price: nothing is decided, and an answer is within reach."""
        if not self.fails[look] < hits < self.passes[look] or look == len(self.counts) - 1:
            return False
        return self.chance(look, hits) >= OUT_OF_REACH

    def ends(self, truth: float) -> Ends:
        law, before, passed, failed, conversations = [1.0], 0, 0.0, 0.0, 0.0
        for look, count in enumerate(self.counts):
            law = _sum_of(law, _binomial(count - before, truth))
            over = [0.0 if self.is_open(look, hits) else chance for hits, chance in enumerate(law)]
            failed += sum(over[: self.fails[look] + 1])
            passed += sum(over[self.passes[look] :])
            conversations += count * sum(over)
            law = [chance - ended for chance, ended in zip(law, over, strict=True)]
            before = count
        return Ends(passed, failed, conversations)


def _crossings(share: float, counts: Sequence[int], error: float) -> Iterator[int]:
    """Yield the least hits at each look that a true `share` reaches with no more than the error spent by then."""
    law, spent, before = [1.0], 0.0, 0
    for count in counts:
        law = _sum_of(law, _binomial(count - before, share))
        allowed = error * math.log(1.0 + (math.e - 1.0) * count / counts[-1])
        least = len(law)
        while least and spent + law[least - 1] <= allowed:
            least -= 1
            spent += law[least]
        before = count
        yield least if least < len(law) else count + 1
        del law[least:]


def _sum_of(law: Sequence[float], other: Sequence[float]) -> list[float]:
    total = [0.0] * (len(law) + len(other) - 1)
    for hits, chance in enumerate(law):
        for more, share in enumerate(other):
            total[hits + more] += chance * share
    return total


def _binomial(count: int, share: float) -> list[float]:
    return [math.comb(count, hits) * share**hits * (1.0 - share) ** (count - hits) for hits in range(count + 1)]


@lru_cache(maxsize=256)
def _constant(looks: int, error: float) -> float:
    """Return the c for which a walk of `looks` standard normal steps exceeds c √looks with the chance `error`."""
    wanted = normal_quantile(1.0 - error)
    low, high = wanted, wanted + 0.2
    missed = [normal_quantile(1.0 - _exceeds(c * math.sqrt(looks), looks)) - wanted for c in (low, high)]
    for _ in range(ROUNDS):
        if abs(missed[1]) < CONVERGED or missed[0] == missed[1]:
            break
        low, high = high, high - missed[1] * (high - low) / (missed[1] - missed[0])
        missed = [missed[1], normal_quantile(1.0 - _exceeds(high * math.sqrt(looks), looks)) - wanted]
    return high


def _exceeds(barrier: float, steps: int) -> float:
    """Return the chance that a walk of standard normal steps is ever above the barrier."""
    normal = NormalDist()
    if steps == 1:
        return 1.0 - normal.cdf(barrier)
    lowest = -FARTHEST * math.sqrt(steps)
    width = (barrier - lowest) / GRID
    places = [lowest + width * place for place in range(GRID + 1)]
    weights = [width / 3.0 * (1.0 if place in (0, GRID) else 4.0 if place % 2 else 2.0) for place in range(GRID + 1)]
    step = [normal.pdf(width * place) for place in range(GRID + 1)]
    density = [normal.pdf(place) for place in places]
    for _ in range(steps - 2):
        weighted = [one * weight for one, weight in zip(density, weights, strict=True)]
        density = [sum(one * step[abs(there - here)] for here, one in enumerate(weighted)) for there in range(GRID + 1)]
    return 1.0 - sum(
        one * weight * normal.cdf(barrier - place) for one, weight, place in zip(density, weights, places, strict=True)
    )
