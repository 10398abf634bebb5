"""What `bench/noise.py` measures of whole steps: families of thresholds, repetition, and what must never happen."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.agents import Size, latencies, rates, scores
from bench.experiments import CASES, CONFIDENCE, ICCS, Experiment, Limit, hits_now
from coval_gate.judge.confidence import Hits, share
from coval_gate.judge.contrast import exceedance_difference, mean_difference, rate_difference
from coval_gate.judge.family import significant
from coval_gate.judge.statistics import mean, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from coval_gate.judge.confidence import Bounds
    from coval_gate.judge.contrast import HitPair, ValuePair

ERROR: Final = 1.0 - CONFIDENCE


# Many thresholds at once, as a workflow has them


class Verdicts(NamedTuple):
    """What one threshold against a baseline says: of the numbers as they are, of its bound, and of the change."""

    plain: bool
    beyond: bool
    change: Callable[[float], bool]


def families() -> Iterator[Experiment]:
    """Yield how often a step is red although nothing has changed."""
    for margins, name, most in ((True, "ten thresholds, eight with margins", 2.0), (False, "ten without margins", 5.0)):
        yield Experiment(
            (
                Limit(f"unchanged agent, {name}: red", most),
                Limit("  the same runs without the rule for families", None),
                Limit("  the same runs without confidence", None),
            ),
            tuple(partial(unchanged, cases, margins) for cases in CASES),
        )


def family_power() -> Experiment:
    """Return how often a regression is noticed although other thresholds stand beside it."""
    return Experiment(
        (Limit("95 -> 80 % among five thresholds, `>= baseline - 5pp`, 50 cases, 3/3: noticed", 72, least=True),),
        (partial(drop_among_five, Size(50, 3, 3)),),
    )


def unchanged(cases: int, margins: bool, rng: Random) -> tuple[bool, ...]:
    """Draw two runs of one agent, and tell whether the step is red: with all rules, without Holm, as counted."""
    icc, base, now = rng.choice(ICCS), rng.choice((1, 3, 5)), rng.choice((1, 3, 5))
    size = Size(cases, base, rng.choice((base, base, now)))  # about a quarter are unequal
    pp, factor, points = (-0.05, 1.1, 0.2) if margins else (0.0, 1.0, 0.0)
    slow = latencies(rng, size, 0.5, icc)
    thresholds = [
        *(rate_verdicts(rates(rng, size, truth, icc), pp) for truth in (0.8, 0.9, 0.95)),
        rate_verdicts(rates(rng, size, 0.99, icc), 0.0),
        mean_verdicts(slow, factor),
        mean_verdicts(latencies(rng, size, 0.9, icc), factor),
        percentile_verdicts(slow, 50.0, 1.0),
        percentile_verdicts(slow, 95.0, factor),
        *(score_verdicts(scores(rng, size, centre, icc), points) for centre in (3.0, 4.2)),
    ]
    return red(thresholds), any(each.beyond for each in thresholds), any(each.plain for each in thresholds)


def drop_among_five(size: Size, rng: Random) -> tuple[bool]:
    """Tell whether a step with five thresholds is red, where one rate falls from 95 to 80 %."""
    slow = latencies(rng, size, 0.5, 0.3)
    thresholds = [
        rate_verdicts(rates(rng, size, 0.95, 0.3, now=0.8), -0.05),
        rate_verdicts(rates(rng, size, 0.9, 0.3), -0.05),
        mean_verdicts(slow, 1.1),
        percentile_verdicts(slow, 95.0, 1.1),
        score_verdicts(scores(rng, size, 4.2, 0.3), 0.2),
    ]
    return (red(thresholds),)


def ten_large_thresholds(rng: Random) -> Callable[[], bool]:
    """Return a function that decides ten thresholds on 1,000 cases with 10 conversations each; all have changed."""
    size = Size(1000, 10, 10)
    hits = [rates(rng, size, 0.95, 0.3, now=0.8) for _ in range(4)]
    values = [latencies(rng, size, 0.5, 0.3, slower=1.3) for _ in range(6)]
    return lambda: red(
        [
            *(rate_verdicts(each, 0.0) for each in hits),
            *(mean_verdicts(each, 1.0) for each in values[:3]),
            *(percentile_verdicts(each, 95.0, 1.0) for each in values[3:]),
        ]
    )


def red(thresholds: Sequence[Verdicts]) -> bool:
    """Tell whether a step fails: a bound lies beyond the limit, and that threshold's change is significant."""
    if not any(each.beyond for each in thresholds):
        return False
    real = significant([each.change for each in thresholds], ERROR)
    return any(each.beyond and changed for each, changed in zip(thresholds, real, strict=True))


def rate_verdicts(pairs: Sequence[HitPair], margin: float) -> Verdicts:
    """Decide `>= baseline` with a margin that is at most 0."""
    difference = share(hits_now(pairs)) - share([pair.base for pair in pairs])
    return Verdicts(
        difference < margin - 1e-12,
        rate_difference(pairs, CONFIDENCE).upper < margin,
        lambda error: rate_difference(pairs, 1.0 - error).upper < 0.0,
    )


def mean_verdicts(pairs: Sequence[ValuePair], factor: float) -> Verdicts:
    """Decide `avg <= baseline * factor`."""
    now, base = (mean(each) for each in _sorted(pairs))
    return Verdicts(
        now > factor * base,
        mean_difference(pairs, CONFIDENCE, factor=factor).lower > 0.0,
        lambda error: mean_difference(pairs, 1.0 - error).lower > 0.0,
    )


def percentile_verdicts(pairs: Sequence[ValuePair], n: float, factor: float) -> Verdicts:
    """Decide `p(n) <= baseline * factor`."""
    now, base = (percentile(each, n) for each in _sorted(pairs))
    return Verdicts(
        now > factor * base,
        exceedance_difference(pairs, n, CONFIDENCE, factor=factor).lower > 0.0,
        lambda error: exceedance_difference(pairs, n, 1.0 - error).lower > 0.0,
    )


def score_verdicts(pairs: Sequence[ValuePair], points: float) -> Verdicts:
    """Decide `avg >= baseline - points`."""
    now, base = (mean(each) for each in _sorted(pairs))
    return Verdicts(
        now < base - points - 1e-12,
        mean_difference(pairs, CONFIDENCE).upper < -points,
        lambda error: mean_difference(pairs, 1.0 - error).upper < 0.0,
    )


def _sorted(pairs: Sequence[ValuePair]) -> tuple[list[float], list[float]]:
    return sorted(value for pair in pairs for value in pair.now), sorted(value for pair in pairs for value in pair.base)


# The whole selection once more, if the step would be red


def repetition() -> Iterator[Experiment]:
    """Yield how often a step is red if it runs the whole selection again before it says so."""
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
    """Tell whether a step is red after a repetition, and whether it is without."""
    pairs = rates(rng, Size(50, 1, 1), 0.8, icc)  # two runs of one agent
    first = share(hits_now(pairs)) < 0.9 - 1e-12
    return first and share([_pooled(pair) for pair in pairs]) < 0.9 - 1e-12, first


def repeated_unchanged(icc: float, rng: Random) -> tuple[bool, bool]:
    """Tell the same of an unchanged agent against a baseline."""
    drawn = rates(rng, Size(50, 3, 2), 0.95, icc)
    once = [pair._replace(now=Hits(_one_of(pair.now, rng), 1)) for pair in drawn]
    first = rate_difference(once, CONFIDENCE).upper < 0.0
    return first and rate_difference(drawn, CONFIDENCE).upper < 0.0, first


def _one_of(case: Hits, rng: Random) -> int:
    return int(rng.random() * case.size < case.hits)


def _pooled(pair: HitPair) -> Hits:
    return Hits(pair.now.hits + pair.base.hits, pair.now.size + pair.base.size)


# What must never happen


def invariants() -> Experiment:
    """Return how often a verdict contradicts itself, over agents of all kinds and sizes."""
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
    """Draw a pair of runs and a threshold, and tell which of the invariants it breaks."""
    size = Size(rng.choice((2, 3, 5, 12, 40)), rng.choice((1, 3)), rng.choice((1, 3)))
    icc, moved = rng.choice((*ICCS, 0.95)), rng.choice((0.8, 1.0, 1.3))
    level, more = sorted((rng.uniform(0.6, 0.999), rng.uniform(0.6, 0.999)))
    kind = rng.choice(("rate", "mean", "percentile"))
    decide: Callable[[Sequence[HitPair | ValuePair], float], Bounds]
    pairs: Sequence[HitPair | ValuePair]
    if kind == "rate":
        pairs = hits = rates(rng, size, 0.9, icc, now=0.9 * min(moved, 1.0))
        difference = share(hits_now(hits)) - share([pair.base for pair in hits])
        decide = rate_difference  # type: ignore[assignment]
    else:
        pairs = values = latencies(rng, size, 0.5, icc, slower=moved)
        now, base = _sorted(values)
        n = rng.choice((50.0, 90.0, 95.0))
        difference = mean(now) - mean(base) if kind == "mean" else percentile(now, n) - percentile(base, n)
        decide = mean_difference if kind == "mean" else partial(_shares_above, n)  # type: ignore[assignment]
    bounds, wider = decide(pairs, level), decide(pairs, more)
    again = decide(rng.sample(pairs, len(pairs)), level)
    return (
        (bounds.lower > 0.0 and difference < -1e-12) or (bounds.upper < 0.0 and difference > 1e-12),
        wider.lower > bounds.lower + 1e-9 or wider.upper < bounds.upper - 1e-9,
        any(map(math.isnan, (*bounds, *wider))),
        any(abs(one - other) > 1e-9 for one, other in zip(bounds, again, strict=True) if math.isfinite(one)),
    )


def _shares_above(n: float, pairs: Sequence[ValuePair], confidence: float) -> Bounds:
    return exceedance_difference(pairs, n, confidence)
