"""Experiments for `bench/noise.py` on whole steps: families of thresholds, repetition, and invariants."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Final

from bench.agents import Size, latencies, rates, scores
from bench.experiments import CASES, CONFIDENCE, ICCS, Experiment, Limit, hits_now
from bench.judged import (
    Pairs,
    as_counted,
    checks,
    criteria,
    decide,
    holds_as_counted,
    is_called,
    is_red,
    run,
    runs,
    without_family,
)
from coval_gate.gate.checks import Check
from coval_gate.gate.judge import judge
from coval_gate.gate.statistics import Hits
from coval_gate.gate.variants import pooled
from coval_gate.gate.verdict import Verdict

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
FIVE: Final = """
    Resolved: rate(YES) >= baseline - 5pp
    Polite: rate(YES) >= baseline - 5pp
    Latency: avg <= baseline * 1.1
    Latency: p(95) <= baseline * 1.1
    Clarity: avg >= baseline - 0.2
"""
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
                Limit("  the same runs without the rule for families", None),
                Limit("  the same runs without confidence", None),
                Limit("  the same runs: called worse", 5.0, overall=True),
                Limit("  the same runs: called improved", 5.0, overall=True),
            ),
            tuple(partial(unchanged, cases, margins) for cases in CASES),
        )


def family_power() -> Experiment:
    """Return how often a regression is noticed among other thresholds."""
    return Experiment(
        (Limit("95 -> 80 % among five thresholds, `>= baseline - 5pp`, 50 cases, 3/3: noticed", 72, least=True),),
        (partial(drop_among_five, Size(50, 3, 3)),),
    )


def unchanged(cases: int, margins: bool, rng: Random) -> tuple[bool, ...]:
    """Draw two runs of one agent, and return whether the step is red with all rules, without Holm, and as counted.

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
    return is_red(judgement), without_family(judgement), as_counted(judgement), *called


def drop_among_five(size: Size, rng: Random) -> tuple[bool]:
    """Return whether a step with five thresholds is red if one rate falls from 95 to 80 %."""
    metrics: dict[str, Pairs] = {
        "Resolved": rates(rng, size, 0.95, 0.3, now=0.8),
        "Polite": rates(rng, size, 0.9, 0.3),
        "Latency": latencies(rng, size, 0.5, 0.3),
        "Clarity": scores(rng, size, 4.2, 0.3),
    }
    return (is_red(decide(FIVE, metrics, CONFIDENCE)),)


def ten_large_thresholds(rng: Random) -> Callable[[], bool]:
    """Return a function that judges ten thresholds on 1,000 cases with 10 conversations each; all values change."""
    size = Size(1000, 10, 10)
    metrics: dict[str, Pairs] = {
        **{name: rates(rng, size, 0.95, 0.3, now=0.8) for name in ("Resolved", "Polite", "Understood")},
        **{name: latencies(rng, size, 0.5, 0.3, slower=1.3) for name in ("Latency", "Duration", "Delay")},
    }
    now, baseline = runs(metrics)
    return lambda: is_red(judge(now, criteria(LARGE, CONFIDENCE), baseline=baseline))


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


# Invariants


def invariants() -> Experiment:
    """Return how often verdicts contradict themselves, over all kinds and sizes of agents."""
    return Experiment(
        (
            Limit("a conclusive verdict contradicts the numbers as they are", 0.0),
            Limit("more confidence is more conclusive", 0.0),
            Limit("a bound is not a number", 0.0),
            Limit("the order of cases matters", 0.0),
        ),
        (contradictions, contradictions, contradictions),
    )


def contradictions(rng: Random) -> tuple[bool, bool, bool, bool]:
    """Judge a pair of runs, and return which invariants it breaks."""
    size = Size(rng.choice((1, 2, 3, 5, 12, 40)), rng.choice((1, 3)), rng.choice((1, 3)))
    icc, moved = rng.choice((*ICCS, 0.95)), rng.choice((0.8, 1.0, 1.3))
    level, more = sorted((rng.uniform(0.6, 0.999), rng.uniform(0.6, 0.999)))
    hits, values = rates(rng, size, 0.9, icc, now=0.9 * min(moved, 1.0)), latencies(rng, size, 0.5, icc, slower=moved)
    aggregates = (("Resolved", "rate(YES)"), ("Latency", "avg"), ("Latency", "med"), ("Latency", "p(90)"))
    thresholds = "\n".join(
        f"{metric}: {aggregate} {rng.choice(('<', '<=', '>', '>='))} baseline{rng.choice(('', ' * 1.1', ' - 0.05'))}"
        for metric, aggregate in rng.sample(aggregates, rng.choice((1, 2, 4)))
    )
    shuffled = rng.sample(range(size.cases), size.cases)
    metrics: dict[str, Pairs] = {"Resolved": hits, "Latency": values}
    reordered: dict[str, Pairs] = {
        "Resolved": [hits[place] for place in shuffled],
        "Latency": [values[place] for place in shuffled],
    }
    sure, surer, again = (
        checks(decide(thresholds, drawn, confidence))
        for drawn, confidence in ((metrics, level), (metrics, more), (reordered, level))
    )
    bounds = [[_shown(check) for check in judged] for judged in (sure, surer, again)]
    return (
        any(_contradicts(check) for check in (*sure, *surer)),
        any(one.verdict not in (other.verdict, Verdict.INCONCLUSIVE) for one, other in zip(surer, sure, strict=True)),
        any(math.isnan(bound) for pairs in bounds for pair in pairs for bound in pair),
        [one.verdict for one in sure] != [one.verdict for one in again] or bounds[0] != bounds[2],
    )


def _contradicts(check: Check) -> bool:
    if check.problem or check.verdict is Verdict.INCONCLUSIVE:
        return False
    return holds_as_counted(check) is not (check.verdict is Verdict.PASSED)


def _shown(check: Check) -> tuple[float, float]:
    """Return the bounds of the change; infinite without a comparison."""
    change = check.measure.comparison.change if check.measure and check.measure.comparison else None
    return (change.lower, change.upper) if change else (-math.inf, math.inf)
