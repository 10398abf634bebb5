"""What a run shows about the agent itself, with a confidence: an interval for a threshold's aggregate, and a verdict.

A run is a sample of what the agent does. As counted, 9 of 10 meets `>= 90%`; but agents that solve 70 % do that well in
one of seven runs. With a confidence, a threshold passes only if the whole interval meets it, and fails only if no part
of it does.
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
    """Return the interval of a share of `simulations`, whatever the `unknown` ones among them are."""
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
    """Return the interval that `bounds` makes of the numbers of each test case; missing values are left out."""
    cases = [numbers for case in by_case(simulations) if (numbers := _numbers(case, sample.values))]
    found = bounds(cases, confidence)
    return Interval(found.lower, found.upper, confidence, len(cases))


def unknown_interval(confidence: float) -> Interval:
    """Return the interval of a metric whose values Coval does not tell one by one: it claims nothing."""
    return Interval(-math.inf, math.inf, confidence, 0)


def by_case(simulations: Iterable[Simulation]) -> list[list[str]]:
    """Return the ids of the simulations of each test case; none at all if the test case of one is not known."""
    cases: dict[str, list[str]] = defaultdict(list)
    for simulation in simulations:
        cases[simulation.test_case_id].append(simulation.id)
    return [] if "" in cases else list(cases.values())


def verdict(threshold: Threshold, measure: Measure) -> Verdict:
    """Return what a measure says of a threshold; a conclusive verdict never contradicts the value as counted."""
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
