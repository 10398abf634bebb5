"""Exact figures for `bench/noise.py`, by convolution: block permutations, and legs that are paid for in slices."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import comb
from random import Random
from typing import Final

from bench.agents import Size, decide, hits_by_run, is_red, rates
from bench.experiments import CASES, CONFIDENCE, ICCS, Experiment, Limit
from coval_gate.gate.sequential import Boundaries, slices_of
from coval_planner.passing import chances

BOUNDS: Final = (*(percent / 100 for percent in (*range(50, 100, 5), 98, 99)),)
CAPS: Final = (20, 50, 100, 200, 400, 1000)
WORST: Final = 0.15  # below the bound: the worst agent of the mix; the best one has 99 %


BLOCKS: Final = ((1, 1, 1), (1, 1, 3), (1, 1, 7), (3, 3, 1), (3, 3, 3), (5, 5, 1))  # as in `Size`, after the cases


def permutations() -> Iterator[Experiment]:
    """Yield how often an unchanged rate is red, for whatever each test case may show."""
    sizes = [Size(cases, *blocks) for cases, blocks in product(CASES, BLOCKS)]
    cells = tuple(partial(red_by_chance, *cell) for cell in product(sizes, ICCS, (0.8, 0.95, 0.99)))
    yield Experiment((Limit("unchanged rate, `>= baseline`: red, exactly", 5.5),), cells, times=0.05)
    some = product((10, 50), BLOCKS, (0.9, 0.8))
    yield Experiment(
        (Limit("  the judge decides otherwise", 0.0),),
        tuple(partial(red_otherwise, Size(cases, *blocks), now) for cases, blocks, now in some),
        times=0.05,
    )


def red_by_chance(size: Size, icc: float, truth: float, rng: Random) -> tuple[float]:
    """Draw the runs of an agent, and return the chance that the one of them that is last makes the step red."""
    below, red = 0.0, 0.0
    for chance in _law(hits_by_run(rates(rng, size, truth, icc), size, rng)):
        if below + chance / 2.0 > 1.0 - CONFIDENCE + 1e-12:
            break
        below = red = below + chance
    return (red,)


def red_otherwise(size: Size, now: float, rng: Random) -> tuple[bool]:
    """Return whether the judge and the exact test differ on a rate that falls from 90 %.

    Three or more runs before may vary by more than chance, and then it takes more for the judge to be red.
    """
    pairs = rates(rng, size, 0.9, 0.3, now=now)
    state = rng.getstate()
    cases = hits_by_run(pairs, size, rng)
    rng.setstate(state)  # the judge gets the same runs
    judged = is_red(decide("Resolved: rate(YES) >= baseline", {"Resolved": pairs}, CONFIDENCE, size.runs, rng))
    law, observed = _law(cases), sum(hits[-1] - min(hits) for hits in cases)
    exact = sum(law[:observed]) + law[observed] / 2.0 <= 1.0 - CONFIDENCE + 1e-12
    return (judged and not exact if size.runs > 1 else judged is not exact,)


def _law(cases: list[list[int]]) -> list[float]:
    """Return the chances of the sum of hits, above its least value, if each run of a case may be the judged one."""
    law = [1.0]
    for hits in cases:
        least, most = min(hits), max(hits)
        total = [0.0] * (len(law) + most - least)
        for value in hits:
            for place, chance in enumerate(law, value - least):
                total[place] += chance / len(hits)
        law = total
    return law


def slices() -> Iterator[Experiment]:
    """Yield how often slices decide wrongly at the bound, and what they save."""
    names = "slices, 50 to 99 % and caps of 20 to 1,000: passed at the bound", "  failed at the bound"
    cells = tuple(partial(wrong, bound, cap) for bound, cap in product(BOUNDS, CAPS))
    yield Experiment((Limit(names[0], 5.0), Limit(names[1], 5.0)), cells, times=0)
    for bound, cap, least in ((0.8, 200, None), (0.9, 200, 40.0), (0.95, 400, None)):
        name = f"slices, `>= {100 * bound:.0f}%`, at most {cap}, agents from 15pp below to 99 %"
        limits = Limit(f"{name}: saved", least, least=True), Limit("  decided less often, in points", 4.0)
        yield Experiment(limits, (partial(saved, bound, cap),), times=0)


def wrong(bound: float, cap: int, _: Random) -> tuple[float, float]:
    """Return the chances that slices pass, and fail, an agent at the bound, also if none ends for want of an answer."""
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
