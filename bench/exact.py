"""Exact figures for `bench/noise.py`: legs that are paid for in slices, and test cases of unequal size."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import comb
from random import Random
from typing import Final

from bench.experiments import CONFIDENCE, Experiment, Limit
from coval_gate.features.confidence.bounds import rate_bounds
from coval_gate.features.spending.sequential import Boundaries, slices_of
from coval_gate.gate.statistics import Hits
from coval_planner.passing import chances

BOUNDS: Final = (*(percent / 100 for percent in (*range(50, 100, 5), 98, 99)),)
CAPS: Final = (20, 50, 100, 200, 400, 1000)
WORST: Final = 0.15  # below the bound: the worst agent of the mix; the best one has 99 %


def slices() -> Iterator[Experiment]:
    """Yield how often slices decide wrongly at the bound, and what they save."""
    names = "slices, 50 to 99 % and caps of 20 to 1,000: passed at the bound", "  failed at the bound"
    cells = tuple(partial(wrong, bound, cap) for bound, cap in product(BOUNDS, CAPS))
    yield Experiment((Limit(names[0], 5.0), Limit(names[1], 5.0)), cells, times=0)
    for bound, cap, least in ((0.8, 200, None), (0.9, 200, 40.0), (0.95, 400, None)):
        name = f"slices, `>= {100 * bound:.0f}%`, at most {cap}, agents from 15pp below to 99 %"
        limits = Limit(f"{name}: saved", least, least=True), Limit("  decided less often, in points", 4.0)
        yield Experiment(limits, (partial(saved, bound, cap),), times=0)


def sizes() -> Iterator[Experiment]:
    """Yield how often an agent at the bound passes if half of the cases have one conversation, and half have five."""
    cells = tuple(partial(uneven, cases, bound) for cases, bound in ((10, 0.74), (24, 0.88), (60, 0.95)))
    limit = Limit("half of the cases with one conversation, half with five that agree: passed at the bound", 21.0)
    yield Experiment((limit,), cells, times=0)


def uneven(cases: int, bound: float, _: Random) -> tuple[float]:
    """Return the chance that so many cases pass. The conversations of a case agree."""
    half, passed = cases // 2, 0.0
    for large, small in product(range(half + 1), repeat=2):
        hits = [Hits(size * (case < good), size) for size, good in ((5, large), (1, small)) for case in range(half)]
        if rate_bounds(hits, CONFIDENCE).lower >= bound:
            good = large + small
            passed += comb(half, large) * comb(half, small) * bound**good * (1.0 - bound) ** (cases - good)
    return (passed,)


def wrong(bound: float, cap: int, _: Random) -> tuple[float, float]:
    """Return the chances that slices pass, and that they fail, an agent exactly at the bound."""
    boundaries = _boundaries(bound, cap)
    law, before, passed, failed = [1.0], 0, 0.0, 0.0
    for count, most, least in zip(boundaries.counts, boundaries.fails, boundaries.passes, strict=True):
        more = count - before
        step = [comb(more, hits) * bound**hits * (1.0 - bound) ** (more - hits) for hits in range(more + 1)]
        total = [0.0] * (count + 1)
        for hits, chance in enumerate(law):
            for gained, share in enumerate(step if chance else ()):
                total[hits + gained] += chance * share
        passed, failed = passed + sum(total[least:]), failed + sum(total[: most + 1])
        law = [chance if most < hits < least else 0.0 for hits, chance in enumerate(total)]
        before = count
    return passed, failed


def saved(bound: float, cap: int, _: Random) -> tuple[float, float]:
    """Return the share of conversations that slices save, and how much less often they decide, over many agents."""
    truths = [percent / 100 for percent in range(round(100 * (bound - WORST)), 100)]
    ends = [_boundaries(bound, cap).ends(truth) for truth in truths]
    at_once = [sum(chances(bound, truth, cap, CONFIDENCE)) for truth in truths]
    decided = [end.passed + end.failed for end in ends]
    mean = sum(end.conversations for end in ends) / len(ends)
    return 1.0 - mean / cap, (sum(at_once) - sum(decided)) / len(truths)


def _boundaries(bound: float, cap: int) -> Boundaries:
    return Boundaries.of(bound, slices_of(cap), 1.0 - CONFIDENCE)
