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
from coval_gate.features.comparisons.changes import MeanChange, PairedRates, PercentileChange, ValuePair
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.features.confidence.bounds import Bounds, mean_bounds, normal_quantile, percentile_bounds, rate_bounds
from coval_gate.gate.statistics import Hits

Cell = Callable[[Random], tuple[float, ...]]


CONFIDENCE: Final = 0.95
CASES: Final = (5, 10, 20, 50, 100)
FEWEST_MEAN_CASES: Final = 20  # cases; with fewer, averages have no bounds
ICCS: Final = (0.0, 0.3, 0.6)
# One run: its conversations, and their correlation within a case, which has no effect with one conversation.
ONE: Final = tuple(
    (Size(cases, 0, now), icc) for cases in CASES for now, icc in ((1, 0.0), (3, 0.3), (5, 0.0), (5, 0.6))
)
TWO: Final = tuple(
    (Size(cases, base, now), icc)
    for cases, (base, now), icc in product(CASES, ((1, 1), (3, 1), (3, 3), (5, 1)), (0.0, 0.6))
)


class Limit(NamedTuple):
    """The name of a share, and the largest acceptable share in percent; with `least`, the smallest.

    It applies to the worst cell; with `overall`, to the mean of all cells.
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


def pair(
    names: tuple[str, str], most: tuple[float | None, float | None], cells: tuple[Cell, ...], times: float = 1
) -> Experiment:
    """Return an experiment with two outcomes, and the largest acceptable share of each."""
    return Experiment(tuple(Limit(name, percent) for name, percent in zip(names, most, strict=True)), cells, times)


def noticed(name: str, least: float | None, *cells: Cell, times: float = 1) -> Experiment:
    """Return an experiment that counts how often a change is noticed."""
    return Experiment((Limit(f"{name}: noticed", least, least=True),), cells, times)


def spread(
    cell: Callable[..., tuple[float, ...]], settings: Sequence[tuple[Size, float]], *values: Sequence[float]
) -> tuple[Cell, ...]:
    """Return a cell for each setting with each combination of values."""
    return tuple(partial(cell, *setting, *chosen) for setting in settings for chosen in product(*values))


# One run against a number


def one_run() -> Iterator[Experiment]:
    """Yield the errors of the bounds that decide thresholds against a number."""
    large = [one for one in ONE if one[0].cases >= FEWEST_MEAN_CASES]
    for name, most, cells, times in (
        ("rates of 50 to 95 %", (7.0, 5.5), spread(rate_error, ONE, (0.5, 0.8, 0.9, 0.95)), 1.0),
        ("rates of 99 %", (12.0, 5.5), spread(rate_error, ONE, (0.99,)), 1.0),
        ("percentiles 50, 90, 95", (6.5, 6.5), spread(percentile_error, ONE, (50.0, 90.0, 95.0)), 0.5),
        ("mean of latency, sigma 0.5, from 20 cases", (8.0, 8.0), spread(latency_error, large, (0.5,)), 1.0),
        ("mean of latency, sigma 0.9, from 20 cases", (11.0, 11.0), spread(latency_error, large, (0.9,)), 1.0),
        ("mean of scores, from 20 cases", (8.0, 8.0), spread(score_error, large, (3.0, 4.2)), 1.0),
    ):
        names = f"{name}: lower bound above the truth", f"{name}: upper bound below the truth"
        yield pair(names, most, cells, times)


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
    alike = [(size, 0.9) for size in dict.fromkeys(size for size, _ in TWO)]
    lower, same = "rate lower by exactly 5pp", "the same, agents that behave alike (ICC 0.9)"
    for names, most, cells in (
        (
            ("unchanged rate: called worse", "unchanged rate: called better"),
            (6.5, 6.5),
            spread(rate_change, TWO, (0.8, 0.95, 0.99), (0.0,)),
        ),
        (
            (f"{lower}: shown as more", f"{lower}: passed"),
            (6.0, 6.0),
            spread(rate_change, TWO, (0.8, 0.95), (-0.05,)),
        ),
        (
            (f"{same}: shown as more", f"{same}: passed"),
            (6.5, 6.5),
            spread(rate_change, alike, (0.6, 0.95), (-0.05,)),
        ),
        (
            ("unchanged p50 and p95: called slower", "unchanged p50 and p95: called faster"),
            (6.5, 6.5),
            spread(percentile_change, TWO, (50.0, 95.0)),
        ),
    ):
        yield pair(names, most, cells, 0.75)
    # Unequal numbers of conversations leave skewness in the difference.
    means = spread(mean_change, [two for two in TWO if two[0].cases >= FEWEST_MEAN_CASES])
    yield pair(
        ("unchanged mean latency: called slower", "unchanged mean latency: called faster"), (6.5, 8.5), means, 1.5
    )


def rate_change(size: Size, icc: float, truth: float, change: float, rng: Random) -> tuple[bool, bool]:
    """Draw a pair of runs, and return whether the rate seems to change by less, or by more, than it does."""
    bounds = PairedRates(rates(rng, size, truth, icc, now=truth + change)).difference(CONFIDENCE)
    return bounds.upper < change - 1e-12, bounds.lower > change + 1e-12


def mean_change(size: Size, icc: float, rng: Random) -> tuple[bool, bool]:
    """Return whether an unchanged mean latency seems longer, and whether it seems shorter."""
    bounds = MeanChange(latencies(rng, size, 0.5, icc)).excess(CONFIDENCE)
    return bounds.lower > 0.0, bounds.upper < 0.0


def percentile_change(size: Size, icc: float, n: float, rng: Random) -> tuple[bool, bool]:
    """Return whether an unchanged percentile of latencies seems longer, and whether it seems shorter."""
    bounds = PercentileChange(latencies(rng, size, 0.5, icc), n).excess(CONFIDENCE)
    return bounds.lower > 0.0, bounds.upper < 0.0
