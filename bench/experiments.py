"""Experiments for `bench/noise.py` on single thresholds: agents, sizes, and limits.

Errors are one-sided: the truth lies exactly at the bound, so a confidence bound on the wrong side of it is an error.
The limits were set before these methods were chosen.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from random import Random
from typing import Final, NamedTuple

from bench.agents import Size, latencies, mean_score, rates, scores
from coval_gate.gate.changes import HitPair, MeanChange, PairedRates, PercentileChange, ValuePair
from coval_gate.gate.statistics import Bounds, Hits, mean_bounds, normal_quantile, percentile_bounds, rate_bounds

Cell = Callable[[Random], tuple[float, ...]]


CONFIDENCE: Final = 0.95
CASES: Final = (5, 10, 20, 50, 100)
ICCS: Final = (0.0, 0.3, 0.6)
# One run: its conversations, and their correlation within a case, which has no effect with one conversation.
ONE: Final = tuple(
    (Size(cases, 0, now), icc) for cases in CASES for now, icc in ((1, 0.0), (3, 0.3), (5, 0.0), (5, 0.6))
)
TWO: Final = tuple(
    (Size(cases, base, now), icc)
    for cases, (base, now), icc in product(CASES, ((1, 1), (3, 1), (3, 3), (5, 1)), (0.0, 0.6))
)
TOO_HIGH, TOO_LOW = "lower bound above the truth", "upper bound below the truth"


class Limit(NamedTuple):
    """The name of a share, and the largest acceptable share in percent; with `least`, the smallest.

    It holds for the worst cell; with `overall`, for all cells together.
    """

    name: str
    percent: float | None
    least: bool = False
    overall: bool = False


@dataclass(frozen=True)
class Experiment:
    """Similar cells. A call of a cell draws runs, and returns whether each of `limits` happened, or how much."""

    limits: tuple[Limit, ...]
    cells: tuple[Cell, ...]
    times: float = 1  # factor of the number of runs: more for close limits, fewer for long calls


# One run against a number


def one_run() -> Iterator[Experiment]:
    """Yield the errors of the bounds that decide thresholds against a number."""
    yield Experiment(
        (Limit(f"rates of 50 to 95 %: {TOO_HIGH}", 7.0), Limit(f"rates of 50 to 95 %: {TOO_LOW}", 5.5)),
        tuple(partial(rate_error, *setting, truth) for setting, truth in product(ONE, (0.5, 0.8, 0.9, 0.95))),
    )
    yield Experiment(
        (Limit(f"rates of 99 %: {TOO_HIGH}", 12.0), Limit(f"rates of 99 %: {TOO_LOW}", 5.5)),
        tuple(partial(rate_error, *setting, 0.99) for setting in ONE),
    )
    yield Experiment(
        (Limit(f"percentiles 50, 90, 95: {TOO_HIGH}", 6.5), Limit(f"percentiles 50, 90, 95: {TOO_LOW}", 6.5)),
        tuple(partial(percentile_error, *setting, n) for setting, n in product(ONE, (50.0, 90.0, 95.0))),
    )
    large, few = (
        [setting for setting in ONE if setting[0].cases >= 20],
        [setting for setting in ONE if setting[0].cases < 20],
    )
    for name, chosen, sigmas, most, times in (
        ("latency, sigma 0.5, from 20 cases", large, (0.5,), 8.0, 1),
        ("latency, sigma 0.9, from 20 cases", large, (0.9,), 11.0, 1),
        ("latency, 5 and 10 cases", few, (0.5, 0.9), 14.0, 5),
    ):
        yield Experiment(
            (Limit(f"mean of {name}: {TOO_HIGH}", most), Limit(f"mean of {name}: {TOO_LOW}", most)),
            tuple(partial(latency_error, *setting, sigma) for setting, sigma in product(chosen, sigmas)),
            times,
        )
    for name, chosen, most in (("from 20 cases", large, 8.0), ("5 and 10 cases", few, 14.0)):
        yield Experiment(
            (Limit(f"mean of scores, {name}: {TOO_HIGH}", most), Limit(f"mean of scores, {name}: {TOO_LOW}", most)),
            tuple(partial(score_error, *setting, centre) for setting, centre in product(chosen, (3.0, 4.2))),
        )


def rate_error(size: Size, icc: float, truth: float, rng: Random) -> tuple[bool, bool]:
    """Draw a run, and return whether its lower bound is above the truth, and whether its upper bound is below it."""
    return _beyond(rate_bounds(hits_now(rates(rng, size, truth, icc)), CONFIDENCE), truth)


def percentile_error(size: Size, icc: float, n: float, rng: Random) -> tuple[bool, bool]:
    """Return the same for a percentile of latencies."""
    return _beyond(percentile_bounds(_values(latencies(rng, size, 0.5, icc)), n, CONFIDENCE), _percentile(n))


def latency_error(size: Size, icc: float, sigma: float, rng: Random) -> tuple[bool, bool]:
    """Return the same for the mean of latencies."""
    return _beyond(mean_bounds(_values(latencies(rng, size, sigma, icc)), CONFIDENCE), math.exp(sigma**2 / 2.0))


def score_error(size: Size, icc: float, centre: float, rng: Random) -> tuple[bool, bool]:
    """Return the same for the mean of scores."""
    return _beyond(mean_bounds(_values(scores(rng, size, centre, icc)), CONFIDENCE), mean_score(centre))


def _percentile(n: float) -> float:
    return math.exp(0.5 * normal_quantile(n / 100.0))


def _beyond(bounds: Bounds, truth: float) -> tuple[bool, bool]:
    return bounds.lower > truth + 1e-12, bounds.upper < truth - 1e-12


def hits_now(pairs: Sequence[HitPair]) -> list[Hits]:
    """Return the later run of pairs."""
    return [pair.now for pair in pairs]


def _values(pairs: Sequence[ValuePair]) -> list[Sequence[float]]:
    return [pair.now for pair in pairs]


# A run against a baseline


def two_runs() -> Iterator[Experiment]:
    """Yield the errors of the bounds that decide thresholds against a baseline."""
    yield Experiment(
        (Limit("unchanged rate: called worse", 6.5), Limit("unchanged rate: called better", 6.5)),
        tuple(partial(rate_change, *setting, truth, 0.0) for setting, truth in product(TWO, (0.8, 0.95, 0.99))),
    )
    yield Experiment(
        (Limit("rate lower by exactly 5pp: shown as more", 6.0), Limit("rate lower by exactly 5pp: passed", 6.0)),
        tuple(partial(rate_change, *setting, truth, -0.05) for setting, truth in product(TWO, (0.8, 0.95))),
    )
    for icc, most in ((0.9, 6.5), (0.999, None)):
        alike = tuple((size, icc) for size in {size: None for size, _ in TWO})
        yield Experiment(
            (
                Limit(f"the same, agents that behave alike (ICC {icc}): shown as more", most),
                Limit(f"the same, agents that behave alike (ICC {icc}): passed", most),
            ),
            tuple(partial(rate_change, *setting, truth, -0.05) for setting, truth in product(alike, (0.6, 0.95))),
        )
    yield Experiment(
        # Unequal numbers of conversations leave skewness in the difference: 9.3 % of 10,000 runs at 5/1 and 5 cases.
        (Limit("unchanged mean latency: called slower", 6.5), Limit("unchanged mean latency: called faster", 10.5)),
        tuple(partial(mean_change, *setting) for setting in TWO),
    )
    yield Experiment(
        (Limit("unchanged p50 and p95: called slower", 6.5), Limit("unchanged p50 and p95: called faster", 6.5)),
        tuple(partial(percentile_change, *setting, n) for setting, n in product(TWO, (50.0, 95.0))),
    )


def rate_change(size: Size, icc: float, truth: float, change: float, rng: Random) -> tuple[bool, bool]:
    """Draw a pair of runs, and return whether the rate seems to change by less, or by more, than it does."""
    bounds = PairedRates.of(rates(rng, size, truth, icc, now=truth + change)).difference(CONFIDENCE)
    return bounds.upper < change - 1e-12, bounds.lower > change + 1e-12


def mean_change(size: Size, icc: float, rng: Random) -> tuple[bool, bool]:
    """Return whether an unchanged mean latency seems longer, and whether it seems shorter."""
    bounds = MeanChange(latencies(rng, size, 0.5, icc)).excess(CONFIDENCE)
    return bounds.lower > 0.0, bounds.upper < 0.0


def percentile_change(size: Size, icc: float, n: float, rng: Random) -> tuple[bool, bool]:
    """Return whether an unchanged percentile of latencies seems longer, and whether it seems shorter."""
    bounds = PercentileChange(latencies(rng, size, 0.5, icc), n).excess(CONFIDENCE)
    return bounds.lower > 0.0, bounds.upper < 0.0


# How often a regression is noticed


def power() -> Iterator[Experiment]:
    """Yield how often a regression is noticed; the names give conversations per case in the baseline and in the run."""
    for base, now, margin, least in ((1, 1, 0, 68), (3, 1, 0, 84), (3, 3, 0, 92), (3, 3, -5, 63), (5, 5, -5, 72)):
        bound = "baseline - 5pp" if margin else "baseline"
        yield Experiment(
            (Limit(f"95 -> 80 %, `>= {bound}`, 50 cases, {base}/{now}: noticed", least, least=True),),
            tuple(partial(drop, Size(50, base, now), margin / 100, icc) for icc in ICCS),
        )
    for base, now, margin in ((1, 1, 0), (3, 3, 0), (3, 3, -5)):
        bound = "baseline - 5pp" if margin else "baseline"
        yield Experiment(
            (Limit(f"95 -> 80 %, some cases always fail, `>= {bound}`, {base}/{now}: noticed", None, least=True),),
            tuple(partial(breakage, Size(50, base, now), margin / 100, icc) for icc in ICCS),
        )
    for base, now, factor, least in ((1, 1, 1.0, 85), (3, 3, 1.1, 86)):
        bound = "baseline" if factor == 1.0 else f"baseline * {factor}"
        name = f"average latency +30 %, `<= {bound}`, 50 cases, {base}/{now}"
        yield Experiment(
            (Limit(f"{name}: noticed", least, least=True),),
            tuple(partial(slower, Size(50, base, now), factor, icc) for icc in ICCS if icc > 0.0),
        )
        # If cases do not differ, pairing gains nothing. The limits were set for cases that differ.
        yield Experiment(
            (Limit(f"{name}, cases that do not differ: noticed", None, least=True),),
            (partial(slower, Size(50, base, now), factor, 0.0),),
        )
    yield Experiment(
        (Limit("p(95) of latency +30 %, `<= baseline`, 100 cases, 3/3: noticed", 84, least=True),),
        tuple(partial(slower_tail, Size(100, 3, 3), icc) for icc in ICCS),
    )


def drop(size: Size, margin: float, icc: float, rng: Random) -> tuple[bool]:
    """Return whether a fall of a rate from 95 to 80 % is noticed."""
    return (_is_noticed(rates(rng, size, 0.95, icc, now=0.8), margin),)


def breakage(size: Size, margin: float, icc: float, rng: Random) -> tuple[bool]:
    """Return whether the same fall is noticed if some cases always fail, and the others are as good as before."""
    pairs = [
        pair if rng.random() < 0.8 / 0.95 else pair._replace(now=Hits(0, size.now))
        for pair in rates(rng, size, 0.95, icc)
    ]
    return (_is_noticed(pairs, margin),)


def _is_noticed(pairs: Sequence[HitPair], margin: float) -> bool:
    """Return whether a fall is significant, and beyond the margin as counted."""
    rates = PairedRates.of(pairs)
    return rates.difference(CONFIDENCE).upper < 0.0 and rates.now.share - rates.base.share < margin - 1e-12


def slower(size: Size, factor: float, icc: float, rng: Random) -> tuple[bool]:
    """Return whether a mean latency that is longer by 30 % is noticed."""
    means = MeanChange(latencies(rng, size, 0.5, icc, slower=1.3))
    return (means.excess(CONFIDENCE).lower > 0.0 and means.now > factor * means.base,)


def slower_tail(size: Size, icc: float, rng: Random) -> tuple[bool]:
    """Return whether latencies that are longer by 30 % are noticed in their 95th percentile."""
    return (PercentileChange(latencies(rng, size, 0.5, icc, slower=1.3), 95.0).excess(CONFIDENCE).lower > 0.0,)
