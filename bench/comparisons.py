"""Experiments for `bench/noise.py` on comparisons of unequal sides, and on the rule that makes them red.

A test set grows, calls fail, and reports name the change that they notice. Every run is judged as in the action.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import Any, Final

from bench.agents import Size, latencies, rates
from bench.experiments import CONFIDENCE, ICCS, Experiment, Limit
from bench.judged import Pairs, baseline_of, checks, criteria, decide, run, runs
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
    yield from composition()
    yield from missing()
    yield from margins()
    yield from named_change()


def composition() -> Iterator[Experiment]:
    """Yield how often an unchanged agent is red if its test set grew in the last of three runs of the baseline."""
    for truth, name in ((0.6, "harder"), (0.99, "easier")):
        yield Experiment(
            (Limit(f"unchanged rate, 10 {name} cases since one of three runs, `>= baseline`: red", 2.0),),
            tuple(partial(grown_rate, iterations, truth) for iterations in (1, 3)),
        )
    yield Experiment(
        (Limit("unchanged rate, a third of the cases is new and always fails, `>= baseline`: red", 2.0),),
        (grown_alike,),
    )
    yield Experiment(
        (
            Limit("unchanged mean, 10 slower cases since one of three runs, `<= baseline`: red", 6.5),
            Limit("  the same, `p(50) <= baseline`", 6.5),
        ),
        tuple(partial(grown_mean, iterations) for iterations in (1, 3)),
    )


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


# Calls that fail


def missing() -> Iterator[Experiment]:
    """Yield how often a step is red if calls fail as often as before, and if they fail more often."""
    yield Experiment(
        (Limit("unchanged rate, 2 to 5 % of values missing on both sides, `>= baseline`: red", 5.0, overall=True),),
        tuple(
            partial(lacking, Size(cases, *iterations), share, share)
            for cases, iterations, share in product((50, 100), ((1, 1), (3, 1), (3, 3)), (0.02, 0.05))
        ),
    )
    yield Experiment(
        (Limit("missing values from 2 to 10 %, `>= baseline`, 100 cases, 3/3: noticed", 80.0, least=True),),
        (partial(lacking, Size(100, 3, 3), 0.02, 0.1),),
    )


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


# Margins


def margins() -> Iterator[Experiment]:
    """Yield how often a threshold with a margin is red: the change is significant, and beyond the margin as counted."""
    sizes = [Size(cases, *iterations) for cases, iterations in product((20, 50), ((1, 1), (3, 1), (9, 3)))]
    yield Experiment(
        (Limit("unchanged rate, `>= baseline - 5pp`: red", 5.0, overall=True),),
        tuple(partial(moved_rate, size, icc, 0.9, 0.9) for size, icc in product(sizes, ICCS)),
    )
    yield Experiment(
        (Limit("unchanged mean latency, `<= baseline * 1.1`: red", 5.0, overall=True),),
        tuple(partial(moved_mean, size, icc, 1.0) for size, icc in product(sizes, (0.3, 0.6))),
    )
    for iterations, least in (((1, 1), 70.0), ((3, 1), 80.0), ((9, 3), 95.0)):
        name = f"95 -> 80 %, `>= baseline - 5pp`, 50 cases, {iterations[0]}/{iterations[1]}, as judged: noticed"
        yield Experiment(
            (Limit(name, least, least=True),), (partial(moved_rate, Size(50, *iterations), ICC, 0.95, 0.8),)
        )
    yield Experiment(
        (Limit("average latency +20 %, `<= baseline * 1.1`, 50 cases, 1/1, as judged: noticed", 55.0, least=True),),
        (partial(moved_mean, Size(50, 1, 1), ICC, 1.2),),
    )
    yield Experiment(
        (Limit("rate lower by exactly 5pp, `>= baseline - 5pp`: red", None),),
        tuple(partial(moved_rate, size, ICC, 0.95, 0.9) for size in sizes),
    )


def moved_rate(size: Size, icc: float, before: float, now: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its rate moves from `before` to `now`."""
    return (_fails(decide(f"{RATE} - 5pp", {"Resolved": rates(rng, size, before, icc, now=now)}, CONFIDENCE)),)


def moved_mean(size: Size, icc: float, slower: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its latencies are `slower` times as long."""
    drawn = latencies(rng, size, 0.5, icc, slower=slower)
    return (_fails(decide(f"{MEAN} * 1.1", {"Latency": drawn}, CONFIDENCE)),)


# The change that reports name


def named_change() -> Iterator[Experiment]:
    """Yield how often a fall is noticed if it is as large as the report of an unchanged run requires."""
    for family, name in ((1, "alone"), (10, "among ten")):
        yield Experiment(
            (Limit(f"a fall from 95 %, as large as a report names, `- 5pp`, {name}: noticed", 70.0, least=True),),
            tuple(partial(named, Size(*size), family) for size in ((20, 1, 1), (50, 1, 1), (50, 3, 3), (100, 1, 1))),
        )


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
