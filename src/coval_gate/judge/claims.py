"""Decide with a confidence what a run shows about the agent: an interval for a threshold's aggregate, and a verdict.

A run is a sample of the agent's behaviour. As counted, 9 of 10 meets `>= 90%`, but an agent that solves 70 % does that
well in one of seven runs. With a confidence, a threshold passes only if the whole interval meets it, and fails only if
no part of the interval does.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from coval_gate.judge.confidence import hits_of, rate_bounds
from coval_gate.judge.measure import Interval
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.confidence import Bounds
    from coval_gate.judge.measure import Measure
    from coval_gate.judge.sample import Sample
    from coval_gate.model.results import Simulation


def rate_interval(
    simulations: Sequence[Simulation], hits: Collection[str], unknown: Collection[str], confidence: float
) -> Interval:
    """Return the interval of the share of `hits`; it holds for every possible value of the `unknown` simulations."""
    cases = by_case(simulations)
    fewest = rate_bounds([hits_of(case, hits) for case in cases], confidence)
    if not unknown:
        return Interval(*fewest, confidence, len(cases))
    perhaps = {*hits, *unknown}
    most = rate_bounds([hits_of(case, perhaps) for case in cases], confidence)
    return Interval(fewest.lower, most.upper, confidence, len(cases))


def number_interval(
    bounds: Callable[[Sequence[Sequence[float]], float], Bounds],
    simulations: Sequence[Simulation],
    sample: Sample,
    confidence: float,
) -> Interval:
    """Return the interval that `bounds` computes from each test case's numbers; missing values are left out."""
    cases = [numbers for case in by_case(simulations) if (numbers := _numbers(case, sample.values))]
    return Interval(*bounds(cases, confidence), confidence, len(cases))


def unknown_interval(confidence: float) -> Interval:
    """Return the interval of a metric without single values: it claims nothing."""
    return Interval(-math.inf, math.inf, confidence, 0)


def by_case(simulations: Iterable[Simulation]) -> list[list[str]]:
    """Return the ids of each test case's simulations; nothing if any simulation's test case is unknown."""
    cases: dict[str, list[str]] = defaultdict(list)
    for simulation in simulations:
        cases[simulation.test_case_id].append(simulation.id)
    return [] if "" in cases else list(cases.values())


def verdict(threshold: Threshold, measure: Measure) -> Verdict:
    """Return the verdict of a measure on a threshold; a conclusive one never contradicts the value as counted."""
    holds, interval = threshold.holds(measure.value), measure.interval
    if interval is None:
        return Verdict.PASSED if holds else Verdict.FAILED
    wants_less = threshold.wants_less
    best, worst = (interval.lower, interval.upper) if wants_less else (interval.upper, interval.lower)
    if holds and threshold.holds(worst):
        return Verdict.PASSED
    if not holds and not threshold.holds(best):
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE


def _numbers(case: Sequence[str], values: Mapping[str, object]) -> list[float]:
    return [value for simulation in case if isinstance(value := values.get(simulation), float)]
