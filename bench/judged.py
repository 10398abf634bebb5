"""Experiments for `bench/noise.py` on steps that the gate's own judge decides, as in the action.

Many thresholds, regressions, test sets that grow, calls that fail, margins and repetition.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from random import Random
from typing import Any, Final

from bench.agents import (
    Pairs,
    Size,
    baseline_of,
    case_id,
    checks,
    criteria,
    dealt,
    decide,
    is_called,
    is_red,
    latencies,
    mean_score,
    rates,
    run,
    runs,
    scores,
)
from bench.experiments import CASES, CONFIDENCE, ICCS, Cell, Experiment, Limit, hits_now, noticed, pair
from coval_gate.coval.model import RunResult
from coval_gate.features.confidence.bounds import normal_quantile
from coval_gate.features.legs.judge import compare_legs
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.gate.statistics import Hits
from coval_gate.gate.variants import pooled
from coval_gate.gate.verdict import Completed

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
    """Yield how often a step is red although nothing changed, and how often it reports a change wrongly."""
    for margins, name, most, times in (
        (True, "ten thresholds, eight with margins", 2.0, 0.2),
        (False, "ten without margins", 5.0, 0.2),
    ):
        yield Experiment(
            (
                Limit(f"unchanged agent, {name}: red", most, overall=True),
                Limit("  the same runs: called worse", 5.0, overall=True),
                Limit("  the same runs: called improved", 5.0, overall=True),
            ),
            tuple(partial(unchanged, cases, margins) for cases in CASES),
            times,
        )
    cells = (partial(called_as_counted, cases) for cases in (20, 100))
    yield red("  ten without margins or confidence: called worse or improved", 5.0, *cells, times=0.1)
    names = "agent that got worse, ten thresholds: a bound shows more than that", "  a bound shows less than that"
    yield pair(names, (5.0, 5.0), tuple(partial(changed, cases) for cases in CASES), times=0.25)


def unchanged(cases: int, margins: bool, rng: Random) -> tuple[bool, ...]:
    """Return whether a step is red by two runs of one agent, or calls a change worse, or calls one improved."""
    judgement = decide(MARGINS if margins else NO_MARGINS, _two_runs(cases, rng), CONFIDENCE)
    return is_red(judgement), is_called(judgement, "worse"), is_called(judgement, "improved")


def called_as_counted(cases: int, rng: Random) -> tuple[bool]:
    """Return whether a step without a confidence calls any change of an unchanged agent worse or improved."""
    judgement = decide(NO_MARGINS, _two_runs(cases, rng), None)
    return (is_called(judgement, "worse") or is_called(judgement, "improved"),)


def changed(cases: int, rng: Random) -> tuple[bool, bool]:
    """Return whether a bound that a step shows claims more than the true change for the worse, and whether less."""
    drop, slower, worse = 0.1, 1.2, 0.4
    more = slower - 1.0
    truths = (
        *[-drop] * 4,
        *(more * math.exp(sigma**2 / 2.0) for sigma in (0.5, 0.9)),
        *(more * math.exp(0.5 * quantile) for quantile in (0.0, normal_quantile(0.95))),
        *(mean_score(centre - worse) - mean_score(centre) for centre in (3.0, 4.2)),
    )
    judgement = decide(MARGINS, _two_runs(cases, rng, drop, slower, worse), CONFIDENCE)
    wrong = {True: False, False: False}
    for check, truth in zip(checks(judgement), truths, strict=True):
        change = check.comparison.change if check.comparison else None
        if change:
            wrong[truth > 0.0] |= change.lower > truth + 1e-9
            wrong[truth < 0.0] |= change.upper < truth - 1e-9
    return wrong[True], wrong[False]


def _two_runs(cases: int, rng: Random, drop: float = 0.0, slower: float = 1.0, worse: float = 0.0) -> dict[str, Pairs]:
    icc, base, now = rng.choice(ICCS), rng.choice((1, 3, 5)), rng.choice((1, 3, 5))
    size = Size(cases, base, rng.choice((base, base, now)))  # about a quarter are unequal
    truths = {"Resolved": 0.8, "Polite": 0.9, "Understood": 0.95, "Safe": 0.99}
    return {
        **{name: rates(rng, size, truth, icc, now=truth - drop) for name, truth in truths.items()},
        "Latency": latencies(rng, size, 0.5, icc, slower=slower),
        "Duration": latencies(rng, size, 0.9, icc, slower=slower),
        "Tone": scores(rng, size, 3.0, icc, worse=worse),
        "Clarity": scores(rng, size, 4.2, icc, worse=worse),
    }


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
    """Yield how often a regression is noticed.

    "3x3/1": a baseline of three runs with three conversations of each case, and one conversation of each now.
    """
    usual = (ICC,)
    for size, margin, family, least, iccs in (
        (Size(50, 1, 1), "", 1, 68, ICCS),
        (Size(50, 3, 1), "", 1, 84, ICCS),
        (Size(50, 3, 3), "", 1, 92, ICCS),
        (Size(50, 1, 1), " - 5pp", 1, 70, ICCS),
        (Size(50, 3, 3), " - 5pp", 1, 63, ICCS),
        (Size(50, 3, 3), " - 5pp", 5, 72, ICCS),
        (Size(50, 5, 5), " - 5pp", 1, 72, ICCS),
        (Size(50, 3, 3, 3), " - 5pp", 1, 95, usual),
        (Size(20, 3, 3), " - 5pp", 1, 80, usual),
        (Size(20, 3, 3, 3), " - 5pp", 1, 92, usual),
        (Size(50, 1, 1, 3), " - 5pp", 1, 90, usual),
        (Size(50, 1, 1, 3), " - 5pp", 10, 70, usual),
    ):
        cells = (partial(moved_rate, size, icc, 0.95, 0.8, margin=margin, family=family) for icc in iccs)
        among = f", one of {family}" if family > 1 else ""
        yield noticed(
            f"95 -> 80 %, `>= baseline{margin}`, {size}{among}", least, *cells, times=0.6 / len(iccs) / min(3, family)
        )
    # If cases do not differ, pairing gains nothing. The limits were set for cases that differ.
    for size, factor, slower, least in (
        (Size(50, 1, 1), "", 1.3, 85),
        (Size(50, 3, 3), " * 1.1", 1.3, 86),
        (Size(50, 1, 1), " * 1.1", 1.2, 55),
    ):
        cells = (partial(moved_latency, f"{MEAN}{factor}", size, icc, slower) for icc in (0.3, 0.6))
        name = f"average latency +{100 * slower - 100:.0f} %, `<= baseline{factor}`, {size}"
        yield noticed(name, least, *cells, times=0.5)
    cells = (partial(moved_latency, "Latency: p(95) <= baseline", Size(100, 3, 3), icc, 1.3) for icc in ICCS)
    yield noticed("p(95) of latency +30 %, `<= baseline`, 100 cases, 1x3/3", 84, *cells, times=0.25)


# Unequal sides, margins, and changes that reports name


def comparisons() -> Iterator[Experiment]:
    """Yield all experiments on comparisons."""
    # An unchanged agent, whose test set grew in the last of three runs of the baseline.
    for truth, name in ((0.6, "harder"), (0.99, "easier")):
        cells: Iterable[Cell] = (partial(grown_rate, iterations, truth) for iterations in (1, 3))
        yield red(
            f"unchanged rate, 10 {name} cases since one of three runs, `>= baseline`: red", 5.5, *cells, times=0.5
        )
    yield red(
        "unchanged rate, a third of the cases is new and always fails, `>= baseline`: red", 2.0, grown_alike, times=0.5
    )
    names = (
        "unchanged mean, 10 slower cases since one of three runs, `<= baseline`: red",
        "  the same, `p(50) <= baseline`",
    )
    yield pair(names, (6.5, 6.5), tuple(partial(grown_mean, iterations) for iterations in (1, 3)), times=0.5)
    # Calls that fail as often as before, and more often
    some = product((50, 100), ((1, 1), (3, 1), (3, 3)), (0.02, 0.05))
    cells = (partial(lacking, Size(cases, *iterations), share, share) for cases, iterations, share in some)
    name = "unchanged rate, 2 to 5 % of values missing on both sides, `>= baseline`: red"
    yield red(name, 5.0, *cells, overall=True, times=0.2)
    cell = partial(lacking, Size(100, 3, 3), 0.02, 0.1)
    yield noticed("missing values from 2 to 10 %, `>= baseline`, 100 cases, 3/3", 80.0, cell, times=0.5)
    # Margins: the change is significant, and beyond the margin as counted.
    sizes = [Size(cases, *size) for cases, size in product((20, 50), ((1, 1), (3, 1), (3, 3, 3)))]
    cells = (partial(moved_rate, size, icc, 0.9, 0.9) for size, icc in product(sizes, ICCS))
    yield red("unchanged rate, `>= baseline - 5pp`: red", 5.0, *cells, overall=True, times=0.15)
    cells = (partial(moved_latency, f"{MEAN} * 1.1", size, icc, 1.0) for size, icc in product(sizes, (0.3, 0.6)))
    yield red("unchanged mean latency, `<= baseline * 1.1`: red", 5.0, *cells, overall=True, times=0.25)
    cells = (partial(moved_rate, size, ICC, 0.95, 0.9) for size in sizes)
    yield red("rate lower by exactly 5pp, `>= baseline - 5pp`: red", None, *cells, times=0.25)
    # A fall that is as large as the report of an unchanged run names
    for family, name in ((1, "alone"), (10, "among ten")):
        cells = (partial(named, Size(*size), family) for size in ((20, 1, 1), (50, 1, 1), (50, 3, 3), (100, 1, 1)))
        times = 0.25 if family == 1 else 0.1
        yield noticed(f"a fall from 95 %, as large as a report names, `- 5pp`, {name}", 70.0, *cells, times=times)


def red(name: str, most: float | None, *cells: Cell, overall: bool = False, times: float = 1) -> Experiment:
    """Return an experiment that counts red steps."""
    return Experiment((Limit(name, most, overall=overall),), cells, times)


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
    drawn = latencies(rng, Size(OLD + NEW, iterations, iterations, 3), 0.5, ICC)
    cases = [[*dealt(pair.base, 3, rng), pair.now] for pair in drawn]
    slow = [[[2.0 * value for value in values] for values in case] for case in cases[OLD:]]
    mean, median = (_grown_fails(kind, cases[:OLD], slow) for kind in (MEAN, MEDIAN))
    return mean, median


def _rates_of_runs(iterations: int, truth: float, count: int, rng: Random) -> list[list[Hits]]:
    """Return the hits of each case in four runs; the last one is the run to judge."""
    drawn = rates(rng, Size(count, iterations, iterations, 3), truth, ICC)
    return [[*dealt(pair.base, 3, rng), pair.now] for pair in drawn]


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


def moved_rate(
    size: Size, icc: float, before: float, now: float, rng: Random, *, margin: str = " - 5pp", family: int = 1
) -> tuple[bool]:
    """Return whether a step with so many thresholds is red if its rate moves from `before` to `now`."""
    thresholds = "\n".join([f"{RATE}{margin}", *ALIKE[: family - 1]])
    drawn = rates(rng, size, before, icc, now=now)
    return (is_red(decide(thresholds, {"Resolved": drawn}, CONFIDENCE, size.runs, rng)),)


def moved_latency(threshold: str, size: Size, icc: float, slower: float, rng: Random) -> tuple[bool]:
    """Return whether a step is red if its latencies are `slower` times as long."""
    drawn = latencies(rng, size, 0.5, icc, slower=slower)
    return (is_red(decide(threshold, {"Latency": drawn}, CONFIDENCE, size.runs, rng)),)


def named(size: Size, family: int, rng: Random) -> tuple[bool]:
    """Return whether a step notices a change that is as large as the report of an unchanged run names."""
    thresholds = "\n".join([f"{RATE} - 5pp", *ALIKE[: family - 1]])
    first = checks(decide(thresholds, {"Resolved": rates(rng, size, 0.95, ICC)}, CONFIDENCE))[0]
    change = first.comparison.noticeable if first.comparison else None
    if change is None:
        return (False,)
    metrics: dict[str, Pairs] = {"Resolved": rates(rng, size, 0.95, ICC, now=max(0.0, 0.95 - change))}
    return (is_red(decide(thresholds, metrics, CONFIDENCE)),)


# All legs of a step together

LEGS: Final = 20


def legs() -> Iterator[Experiment]:
    """Yield what steps with many legs notice: a fall of all of them, and of one."""
    cell = partial(legs_noise, " - 5pp", 20, LEGS, 0.85)
    yield noticed(f"95 -> 85 %, `>= baseline - 5pp`, all of {LEGS} legs of 20 cases", 95, cell, times=0.1)
    for margin, least, most in (("", 23, 5.0), (" - 5pp", None, 2.0)):
        cell = partial(legs_noise, margin, 50, 1, 0.8)
        yield noticed(f"95 -> 80 %, `>= baseline{margin}`, one of {LEGS} legs of 50 cases", least, cell, times=0.1)
        name = f"unchanged rate, `>= baseline{margin}`, {LEGS} legs of 20 cases: red"
        yield red(name, most, partial(legs_noise, margin, 20, 0, 0.95), times=0.1)


def legs_noise(margin: str, cases: int, bad: int, now: float, rng: Random) -> tuple[bool]:
    """Return whether a leg, or all legs together, are red if the rate of so many of them falls from 95 % to `now`."""
    required = replace(criteria(f"{RATE}{margin}", CONFIDENCE), legs=LEGS)
    judged = []
    for place in range(LEGS):
        pairs = rates(rng, Size(cases, 1, 1), 0.95, ICC, now=now if place < bad else 0.95)
        result, baseline = runs({"Resolved": pairs}, first=cases * place)
        judged.append((judge(result, required, baseline=baseline), required))
    every = compare_legs(judged)
    return (any(is_red(judgement) for judgement in (every, *(leg for leg, _ in judged)) if judgement),)


# Which failures are called new


def causes() -> Iterator[Experiment]:
    """Yield how often an unchanged agent's failures are called "new", and how often "new" is right if cases broke."""
    sizes = [Size(50, *size) for size in ((1, 1), (3, 3), (1, 1, 7), (3, 3, 3))]
    cells = (partial(calls_any_new, size, truth) for size, truth in product(sizes, (0.9, 0.95)))
    yield red('unchanged rate, 50 cases: some failure is called "new"', 20.0, *cells, times=0.25)
    names = ('10 % of 50 cases broke, 1x3/3: what is called "new" is', 90.0), ("  what is new is called so", 85.0)
    limits = *(Limit(name, least, least=True) for name, least in names), Limit("  runs that say it", None, least=True)
    yield Experiment(limits, (partial(called_new, Size(50, 3, 3), 0.95, 0.1),), times=0.5)


def calls_any_new(size: Size, truth: float, rng: Random) -> tuple[bool]:
    """Return whether any failure of an unchanged agent is called new."""
    return (called_new(size, truth, 0.0, rng)[2],)


def called_new(size: Size, truth: float, share: float, rng: Random) -> tuple[float, float, bool]:
    """Break a share of the cases. A case that mostly failed before cannot break.

    Return the share of broken cases among those called new, the share called new among the broken ones, and whether any
    failure is called new.
    """
    pairs = rates(rng, size, truth, ICC)
    breaks = {place for place, pair in enumerate(pairs) if pair.base.hits > pair.base.size / 2 and rng.random() < share}
    pairs = [pair._replace(now=Hits(0, size.now)) if place in breaks else pair for place, pair in enumerate(pairs)]
    judgement = decide(f"Resolved: count(NO) == 0\n{RATE} - 5pp", {"Resolved": pairs}, CONFIDENCE, size.runs, rng)
    broken = {case_id(place) for place in breaks}
    findings = findings_of(judgement, judgement.cause.result if isinstance(judgement.cause, Completed) else None)
    new = {row.simulation.test_case_id for row in findings.simulations if row.cause == "new"}
    right = len(new & broken)
    return right / len(new) if new else 1.0, right / len(broken) if broken else 1.0, bool(new)


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


def repeated(icc: float, rng: Random) -> tuple[bool, bool]:
    """Return whether a step is red with a repetition, and whether it is red without one."""
    pairs = rates(rng, Size(50, 1, 1), 0.8, icc)  # two runs of one agent
    first = run("first", {"Resolved": hits_now(pairs)})
    second = run("second", {"Resolved": [pair.base for pair in pairs]})
    required = criteria("Resolved: rate(YES) >= 90%", None)
    once = is_red(judge(first, required))
    return once and is_red(judge(pooled([first, second]), required)), once
