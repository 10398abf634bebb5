"""Experiments for `bench/noise.py` on comparisons of unequal sides, and on the rule that makes them red.

A test set grows, calls fail, and reports name the change that they notice. Every run is judged as in the action.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import Any, Final

from bench.agents import Size, latencies, rates
from bench.experiments import CONFIDENCE, ICCS, Cell, Experiment, Limit, noticed, pair
from bench.judged import Pairs, baseline_of, checks, criteria, decide, is_red, run, runs
from coval_gate.coval.model import RunResult
from coval_gate.gate.checks import Check
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.statistics import Hits, Values
from coval_gate.gate.verdict import Verdict

ICC: Final = 0.3
RATE: Final = "Resolved: rate(YES) >= baseline"
MEDIAN: Final = "Latency: p(50) <= baseline"
MEAN: Final = "Latency: avg <= baseline"
ALIKE: Final = (*[f"Resolved: rate(NO, YES) >= baseline - {points}pp" for points in range(90, 99)],)  # never change
OLD: Final = 40  # test cases of a set that grows
NEW: Final = 10


def comparisons() -> Iterator[Experiment]:
    """Yield all experiments on comparisons."""
    # An unchanged agent, whose test set grew in the last of three runs of the baseline.
    for truth, name in ((0.6, "harder"), (0.99, "easier")):
        cells: Iterable[Cell] = (partial(grown_rate, iterations, truth) for iterations in (1, 3))
        yield red(f"unchanged rate, 10 {name} cases since one of three runs, `>= baseline`: red", 2.0, *cells)
    yield red("unchanged rate, a third of the cases is new and always fails, `>= baseline`: red", 2.0, grown_alike)
    names = (
        "unchanged mean, 10 slower cases since one of three runs, `<= baseline`: red",
        "  the same, `p(50) <= baseline`",
    )
    yield pair(names, (6.5, 6.5), tuple(partial(grown_mean, iterations) for iterations in (1, 3)))
    # Calls that fail as often as before, and more often
    some = product((50, 100), ((1, 1), (3, 1), (3, 3)), (0.02, 0.05))
    cells = (partial(lacking, Size(cases, *iterations), share, share) for cases, iterations, share in some)
    yield red("unchanged rate, 2 to 5 % of values missing on both sides, `>= baseline`: red", 5.0, *cells, overall=True)
    cell = partial(lacking, Size(100, 3, 3), 0.02, 0.1)
    yield noticed("missing values from 2 to 10 %, `>= baseline`, 100 cases, 3/3", 80.0, cell)
    # Margins: the change is significant, and beyond the margin as counted.
    sizes = [Size(cases, *iterations) for cases, iterations in product((20, 50), ((1, 1), (3, 1), (9, 3)))]
    cells = (partial(moved_rate, size, icc, 0.9, 0.9) for size, icc in product(sizes, ICCS))
    yield red("unchanged rate, `>= baseline - 5pp`: red", 5.0, *cells, overall=True)
    cells = (partial(moved_mean, size, icc, 1.0) for size, icc in product(sizes, (0.3, 0.6)))
    yield red("unchanged mean latency, `<= baseline * 1.1`: red", 5.0, *cells, overall=True)
    for base, now, least in ((1, 1, 70.0), (3, 1, 80.0), (9, 3, 95.0)):
        cell = partial(moved_rate, Size(50, base, now), ICC, 0.95, 0.8)
        yield noticed(f"95 -> 80 %, `>= baseline - 5pp`, 50 cases, {base}/{now}, as judged", least, cell)
    name = "average latency +20 %, `<= baseline * 1.1`, 50 cases, 1/1, as judged"
    yield noticed(name, 55.0, partial(moved_mean, Size(50, 1, 1), ICC, 1.2))
    cells = (partial(moved_rate, size, ICC, 0.95, 0.9) for size in sizes)
    yield red("rate lower by exactly 5pp, `>= baseline - 5pp`: red", None, *cells)
    # A fall that is as large as the report of an unchanged run names
    for family, name in ((1, "alone"), (10, "among ten")):
        cells = (partial(named, Size(*size), family) for size in ((20, 1, 1), (50, 1, 1), (50, 3, 3), (100, 1, 1)))
        yield noticed(f"a fall from 95 %, as large as a report names, `- 5pp`, {name}", 70.0, *cells)


def red(name: str, most: float | None, *cells: Cell, overall: bool = False) -> Experiment:
    """Return an experiment that counts red steps."""
    return Experiment((Limit(name, most, overall=overall),), cells)


def grown_rate(iterations: int, truth: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if new cases have another rate."""
    old, new = _rates_of_runs(iterations, 0.95, OLD, rng), _rates_of_runs(iterations, truth, NEW, rng)
    return (_grown_fails(RATE, old, new),)


def grown_alike(rng: Random) -> tuple[bool]:
    """Return the same if each case always has the same outcome."""
    easy = [[Hits(1, 1)] * 4 if rng.random() < 0.9 else [Hits(0, 1)] * 4 for _ in range(OLD)]
    return (_grown_fails(RATE, easy, [[Hits(0, 1)] * 4] * (OLD // 2)),)


def grown_mean(iterations: int, rng: Random) -> tuple[bool, bool]:
    """Return whether a step is red if new cases are twice as slow, by the average and by the median."""
    drawn = latencies(rng, Size(OLD + NEW, 3 * iterations, iterations), 0.5, ICC)
    cases = [_dealt([*pair.base, *pair.now], iterations) for pair in drawn]
    slow = [[[2.0 * value for value in values] for values in case] for case in cases[OLD:]]
    mean, median = (_grown_fails(kind, cases[:OLD], slow) for kind in (MEAN, MEDIAN))
    return mean, median


def _rates_of_runs(iterations: int, truth: float, count: int, rng: Random) -> list[list[Hits]]:
    """Return the hits of each case in four runs; the last one is the run to judge."""
    drawn = rates(rng, Size(count, 3 * iterations, iterations), truth, ICC)
    return [[*_shared_out(pair.base, iterations, rng), pair.now] for pair in drawn]


def _shared_out(case: Hits, iterations: int, rng: Random) -> list[Hits]:
    """Distribute the conversations of a case over three runs."""
    hits = rng.sample([1.0] * case.hits + [0.0] * (case.size - case.hits), case.size)
    return [Hits(round(sum(some)), iterations) for some in _dealt(hits, iterations)]


def _dealt(values: Sequence[float], iterations: int) -> list[Values]:
    return [values[start : start + iterations] for start in range(0, len(values), iterations)]


def _grown_fails(threshold: str, old: Sequence[Sequence[Any]], new: Sequence[Sequence[Any]]) -> bool:
    """Judge the last of four runs against the three before it; two of these lack the new cases."""
    metric, every = threshold.partition(":")[0], [*old, *new]
    *earlier, now = (
        run(f"run{place}", {metric: [case[place] for case in (old if place < 2 else every)]}) for place in range(4)
    )
    return _fails(judge(now, criteria(threshold, CONFIDENCE), baseline=baseline_of(earlier)))


def lacking(size: Size, before: float, now: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if these shares of values are missing."""
    result, baseline = runs({"Resolved": rates(rng, size, 0.95, ICC)})
    earlier = _without(baseline.runs[0].result, before, rng)
    judgement = judge(_without(result, now, rng), criteria(RATE, CONFIDENCE), baseline=baseline_of([earlier]))
    return (_fails(judgement),)


def _without(result: RunResult, share: float, rng: Random) -> RunResult:
    (metric,) = result.metrics
    values = {simulation_id: value for simulation_id, value in metric.values.items() if rng.random() >= share}
    return result._replace(metrics=(metric._replace(values=values),))


def moved_rate(size: Size, icc: float, before: float, now: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its rate moves from `before` to `now`."""
    return (_fails(decide(f"{RATE} - 5pp", {"Resolved": rates(rng, size, before, icc, now=now)}, CONFIDENCE)),)


def moved_mean(size: Size, icc: float, slower: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its latencies are `slower` times as long."""
    drawn = latencies(rng, size, 0.5, icc, slower=slower)
    return (_fails(decide(f"{MEAN} * 1.1", {"Latency": drawn}, CONFIDENCE)),)


def named(size: Size, family: int, rng: Random) -> tuple[bool]:
    """Draw two unchanged runs, and two with the change that their report names; return whether it is noticed."""
    thresholds = "\n".join([f"{RATE} - 5pp", *ALIKE[: family - 1]])
    first = checks(decide(thresholds, {"Resolved": rates(rng, size, 0.95, ICC)}, CONFIDENCE))[0]
    change = _noticeable(first)
    if change is None:
        return (False,)
    metrics: dict[str, Pairs] = {"Resolved": rates(rng, size, 0.95, ICC, now=max(0.0, 0.95 - change))}
    return (_fails(decide(thresholds, metrics, CONFIDENCE)),)


def _noticeable(check: Check) -> float | None:
    return check.measure.comparison.noticeable if check.measure and check.measure.comparison else None


def _fails(judgement: Judgement) -> bool:
    """Return whether a threshold fails, under any policy for missing values."""
    return any(check.verdict is Verdict.FAILED for check in checks(judgement))


# A baseline that stands still, and an agent that gets worse each night

CASES_OF_NIGHT: Final = 50
REFERENCE: Final = 3  # nights before the decline begins
NIGHTS: Final = 15
SOON: Final = 5
TRUTH, SIGMA = 0.95, 0.5
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
    cases = [(rng.betavariate(*_shape()), rng.gauss(0.0, SIGMA * math.sqrt(ICC))) for _ in range(CASES_OF_NIGHT)]
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
    return TRUTH * spread, (1.0 - TRUTH) * spread


def _night(run_id: str, cases: list[tuple[float, float]], worse: int, rng: Random) -> RunResult:
    """Return a run of an agent that is worse by so many percentage points, and slower by as many percent."""
    within, fewer = SIGMA * math.sqrt(1.0 - ICC), 1.0 - worse / 100.0 / TRUTH
    resolved = [Hits(int(rng.random() < rate * fewer), 1) for rate, _ in cases]
    latencies = [[(1.0 + worse / 100.0) * math.exp(level + rng.gauss(0.0, within))] for _, level in cases]
    return run(run_id, {"Resolved": resolved, "Latency": latencies})
