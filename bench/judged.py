"""Experiments for `bench/noise.py` on steps that the gate's own judge decides, as in the action.

Many thresholds, regressions, test sets that grow, calls that fail, margins, slow declines and repetition.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import Any, Final

from bench.agents import (
    Pairs,
    Size,
    as_counted,
    baseline_of,
    checks,
    criteria,
    decide,
    is_called,
    is_red,
    latencies,
    rates,
    run,
    runs,
    scores,
)
from bench.experiments import CASES, CONFIDENCE, ICCS, Cell, Experiment, Limit, hits_now, noticed, pair
from coval_gate.coval.model import RunResult
from coval_gate.gate.checks import Check
from coval_gate.gate.judge import judge
from coval_gate.gate.statistics import Hits, Values
from coval_gate.gate.variants import pooled

ICC: Final = 0.3
RATE: Final = "Resolved: rate(YES) >= baseline"
MEDIAN: Final = "Latency: p(50) <= baseline"
MEAN: Final = "Latency: avg <= baseline"
ALIKE: Final = (*[f"Resolved: rate(NO, YES) >= baseline - {points}pp" for points in range(90, 99)],)  # never change
OLD: Final = 40  # test cases of a set that grows
NEW: Final = 10
MARGINS: Final = """
    Resolved: rate(YES) >= baseline - 5pp
    Polite: rate(YES) >= baseline - 5pp
    Understood: rate(YES) >= baseline - 5pp
    Safe: rate(YES) >= baseline
    Latency: avg <= baseline * 1.1
    Duration: avg <= baseline * 1.1
    Latency: med <= baseline
    Latency: p(95) <= baseline * 1.1
    Tone: avg >= baseline - 0.2
    Clarity: avg >= baseline - 0.2
"""
NO_MARGINS: Final = MARGINS.replace(" - 5pp", "").replace(" * 1.1", "").replace(" - 0.2", "")
LARGE: Final = """
    Resolved: rate(YES) >= baseline
    Polite: rate(YES) >= baseline - 5pp
    Understood: rate(YES) >= baseline * 0.95
    Latency: avg <= baseline
    Latency: avg <= baseline * 1.1
    Latency: med <= baseline
    Duration: p(90) <= baseline
    Duration: p(95) <= baseline * 1.1
    Delay: p(95) <= baseline
    Delay: p(99) <= baseline + 0.1
"""


# Many thresholds at once, as in a workflow


def families() -> Iterator[Experiment]:
    """Yield how often a step is red although nothing changed."""
    for margins, name, most in ((True, "ten thresholds, eight with margins", 2.0), (False, "ten without margins", 5.0)):
        yield Experiment(
            (
                Limit(f"unchanged agent, {name}: red", most, overall=True),
                Limit("  the same runs without confidence", None),
                Limit("  the same runs: called worse", 5.0, overall=True),
                Limit("  the same runs: called improved", 5.0, overall=True),
            ),
            tuple(partial(unchanged, cases, margins) for cases in CASES),
        )


def unchanged(cases: int, margins: bool, rng: Random) -> tuple[bool, ...]:
    """Draw two runs of one agent, and return whether the step is red with all rules, and as counted.

    Also return whether it calls a change worse, and whether it calls one improved.
    """
    icc, base, now = rng.choice(ICCS), rng.choice((1, 3, 5)), rng.choice((1, 3, 5))
    size = Size(cases, base, rng.choice((base, base, now)))  # about a quarter are unequal
    judgement = decide(
        MARGINS if margins else NO_MARGINS,
        {
            "Resolved": rates(rng, size, 0.8, icc),
            "Polite": rates(rng, size, 0.9, icc),
            "Understood": rates(rng, size, 0.95, icc),
            "Safe": rates(rng, size, 0.99, icc),
            "Latency": latencies(rng, size, 0.5, icc),
            "Duration": latencies(rng, size, 0.9, icc),
            "Tone": scores(rng, size, 3.0, icc),
            "Clarity": scores(rng, size, 4.2, icc),
        },
        CONFIDENCE,
    )
    called = is_called(judgement, "worse"), is_called(judgement, "improved")
    return is_red(judgement), as_counted(judgement), *called


def ten_large_thresholds(rng: Random) -> Callable[[], bool]:
    """Return a function that judges ten thresholds on 1,000 cases with 10 conversations each; all values change."""
    size = Size(1000, 10, 10)
    metrics: dict[str, Pairs] = {
        **{name: rates(rng, size, 0.95, 0.3, now=0.8) for name in ("Resolved", "Polite", "Understood")},
        **{name: latencies(rng, size, 0.5, 0.3, slower=1.3) for name in ("Latency", "Duration", "Delay")},
    }
    now, baseline = runs(metrics)
    return lambda: is_red(judge(now, criteria(LARGE, CONFIDENCE), baseline=baseline))


# How often a regression is noticed


def power() -> Iterator[Experiment]:
    """Yield how often a regression is noticed; the names give conversations per case in the baseline and in the run."""
    fall = "95 -> 80 %"
    for base, now, margin, least in (
        (1, 1, "", 68),
        (3, 1, "", 84),
        (3, 3, "", 92),
        (3, 3, " - 5pp", 63),
        (5, 5, " - 5pp", 72),
    ):
        cells = (partial(moved_rate, Size(50, base, now), icc, 0.95, 0.8, margin=margin) for icc in ICCS)
        yield noticed(f"{fall}, `>= baseline{margin}`, 50 cases, {base}/{now}", least, *cells)
    for base, now, margin in ((1, 1, ""), (3, 3, ""), (3, 3, " - 5pp")):
        cells = (partial(breakage, Size(50, base, now), margin, icc) for icc in ICCS)
        yield noticed(f"{fall}, some cases always fail, `>= baseline{margin}`, {base}/{now}", None, *cells)
    for base, now, factor, least in ((1, 1, "", 85), (3, 3, " * 1.1", 86)):
        name = f"average latency +30 %, `<= baseline{factor}`, 50 cases, {base}/{now}"
        same, *others = (partial(moved_latency, f"{MEAN}{factor}", Size(50, base, now), icc, 1.3) for icc in ICCS)
        yield noticed(name, least, *others)
        # If cases do not differ, pairing gains nothing. The limits were set for cases that differ.
        yield noticed(f"{name}, cases that do not differ", None, same)
    cells = (partial(moved_latency, "Latency: p(95) <= baseline", Size(100, 3, 3), icc, 1.3) for icc in ICCS)
    yield noticed("p(95) of latency +30 %, `<= baseline`, 100 cases, 3/3", 84, *cells)


# Unequal sides, margins, and changes that reports name


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
    cells = (partial(moved_latency, f"{MEAN} * 1.1", size, icc, 1.0) for size, icc in product(sizes, (0.3, 0.6)))
    yield red("unchanged mean latency, `<= baseline * 1.1`: red", 5.0, *cells, overall=True)
    cell = partial(moved_rate, Size(50, 1, 1), ICC, 0.95, 0.8)
    yield noticed("95 -> 80 %, `>= baseline - 5pp`, 50 cases, 1/1, as judged", 70.0, cell)
    name = "average latency +20 %, `<= baseline * 1.1`, 50 cases, 1/1, as judged"
    yield noticed(name, 55.0, partial(moved_latency, f"{MEAN} * 1.1", Size(50, 1, 1), ICC, 1.2))
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
    return is_red(judge(now, criteria(threshold, CONFIDENCE), baseline=baseline_of(earlier)))


def lacking(size: Size, before: float, now: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if these shares of values are missing."""
    result, baseline = runs({"Resolved": rates(rng, size, 0.95, ICC)})
    earlier = _without(baseline.runs[0].result, before, rng)
    judgement = judge(_without(result, now, rng), criteria(RATE, CONFIDENCE), baseline=baseline_of([earlier]))
    return (is_red(judgement),)


def _without(result: RunResult, share: float, rng: Random) -> RunResult:
    (metric,) = result.metrics
    values = {simulation_id: value for simulation_id, value in metric.values.items() if rng.random() >= share}
    return result._replace(metrics=(metric._replace(values=values),))


def moved_rate(size: Size, icc: float, before: float, now: float, rng: Random, margin: str = " - 5pp") -> tuple[bool]:
    """Return whether a step is red if its rate moves from `before` to `now`."""
    drawn = rates(rng, size, before, icc, now=now)
    return (is_red(decide(f"{RATE}{margin}", {"Resolved": drawn}, CONFIDENCE)),)


def breakage(size: Size, margin: str, icc: float, rng: Random) -> tuple[bool]:
    """Return whether a fall from 95 to 80 % is noticed if some cases always fail, and the others are as good."""
    pairs = [
        pair if rng.random() < 0.8 / 0.95 else pair._replace(now=Hits(0, size.now))
        for pair in rates(rng, size, 0.95, icc)
    ]
    return (is_red(decide(f"{RATE}{margin}", {"Resolved": pairs}, CONFIDENCE)),)


def moved_latency(threshold: str, size: Size, icc: float, slower: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its latencies are `slower` times as long."""
    drawn = latencies(rng, size, 0.5, icc, slower=slower)
    return (is_red(decide(threshold, {"Latency": drawn}, CONFIDENCE)),)


def named(size: Size, family: int, rng: Random) -> tuple[bool]:
    """Draw two unchanged runs, and two with the change that their report names; return whether it is noticed."""
    thresholds = "\n".join([f"{RATE} - 5pp", *ALIKE[: family - 1]])
    first = checks(decide(thresholds, {"Resolved": rates(rng, size, 0.95, ICC)}, CONFIDENCE))[0]
    change = _noticeable(first)
    if change is None:
        return (False,)
    metrics: dict[str, Pairs] = {"Resolved": rates(rng, size, 0.95, ICC, now=max(0.0, 0.95 - change))}
    return (is_red(decide(thresholds, metrics, CONFIDENCE)),)


def _noticeable(check: Check) -> float | None:
    return check.measure.comparison.noticeable if check.measure and check.measure.comparison else None


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


# Repetition of a run that is red


def repetition() -> Iterator[Experiment]:
    """Yield how often a step is red if it repeats a red run."""
    yield Experiment(
        (
            Limit("agent at 80 %, `>= 90%` as counted, 50 cases, repeated once if red: red", 94.0, least=True),
            Limit("  the same without repetition", None, least=True),
        ),
        tuple(partial(repeated, icc) for icc in (*ICCS, 0.99)),
        times=5,
    )
    yield Experiment(
        (
            Limit("unchanged rate, `>= baseline`, 50 cases, 3/1, repeated once if red: red", 5.0),
            Limit("  the same without repetition", None),
        ),
        tuple(partial(repeated_unchanged, icc) for icc in ICCS),
    )


def repeated(icc: float, rng: Random) -> tuple[bool, bool]:
    """Return whether a step is red with a repetition, and whether it is without."""
    pairs = rates(rng, Size(50, 1, 1), 0.8, icc)  # two runs of one agent
    first = run("first", {"Resolved": hits_now(pairs)})
    second = run("second", {"Resolved": [pair.base for pair in pairs]})
    required = criteria("Resolved: rate(YES) >= 90%", None)
    once = is_red(judge(first, required))
    return once and is_red(judge(pooled([first, second]), required)), once


def repeated_unchanged(icc: float, rng: Random) -> tuple[bool, bool]:
    """Return the same for an unchanged agent against a baseline."""
    drawn = rates(rng, Size(50, 3, 2), 0.95, icc)
    once = [pair._replace(now=Hits(_one_of(pair.now, rng), 1)) for pair in drawn]
    rest = [Hits(pair.now.hits - one.now.hits, 1) for pair, one in zip(drawn, once, strict=True)]
    now, baseline = runs({"Resolved": once})
    required = criteria("Resolved: rate(YES) >= baseline", CONFIDENCE)
    first = is_red(judge(now, required, baseline=baseline))
    if not first:
        return False, False
    both = pooled([now, run("again", {"Resolved": rest})])
    return is_red(judge(both, required, baseline=baseline)), first


def _one_of(case: Hits, rng: Random) -> int:
    return int(rng.random() * case.size < case.hits)
