"""What a run shows about the agent itself, with a confidence: an interval for a threshold's aggregate, and a verdict.

A run is a sample of what the agent does. As counted, 9 of 10 meets `>= 90%`; but agents that solve 70 % do that well in
one of seven runs. With a confidence, a threshold passes only if the whole interval meets it, and fails only if no part
of it does.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from coval_gate.judge.confidence import Hits, mean_bounds, percentile_bounds, rate_bounds
from coval_gate.judge.measure import Interval
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from coval_gate.config.aggregates import Aggregate
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.measure import Measure
    from coval_gate.judge.sample import Sample
    from coval_gate.model.results import Simulation

MEDIAN: Final = 50.0


def rate_interval(
    simulations: Sequence[Simulation], hits: Collection[str], unknown: Collection[str], confidence: float
) -> Interval:
    """Return the interval of a share of `simulations`, whatever the `unknown` ones among them are."""
    cases = by_case(simulations)
    fewest = rate_bounds([_hits(each, hits) for each in cases], confidence)
    if not unknown:
        return Interval(*fewest, confidence, len(cases))
    perhaps = {*hits, *unknown}
    most = rate_bounds([_hits(each, perhaps) for each in cases], confidence)
    return Interval(fewest.lower, most.upper, confidence, len(cases))


def number_interval(
    threshold: Threshold, simulations: Sequence[Simulation], sample: Sample, confidence: float
) -> Interval:
    """Return the interval of an average, a median or a percentile of a metric's values; missing ones are left out."""
    cases = [numbers for each in by_case(simulations) if (numbers := _numbers(each, sample.values))]
    if threshold.aggregate.name == "avg":
        bounds = mean_bounds(cases, confidence)
    else:
        bounds = percentile_bounds(cases, percentile_of(threshold.aggregate), confidence)
    return Interval(bounds.lower, bounds.upper, confidence, len(cases))


def percentile_of(aggregate: Aggregate) -> float:
    """Return the percentile that `med` or `p(N)` asks for, 0 to 100."""
    return MEDIAN if aggregate.percentile is None else aggregate.percentile


def unknown_interval(confidence: float) -> Interval:
    """Return the interval of a metric whose values Coval does not tell one by one: it claims nothing."""
    return Interval(-math.inf, math.inf, confidence, 0)


def by_case(simulations: Iterable[Simulation]) -> list[list[str]]:
    """Return the ids of the simulations of each test case; none at all if the test case of one is not known."""
    cases: dict[str, list[str]] = defaultdict(list)
    for each in simulations:
        cases[each.test_case_id].append(each.id)
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


def _hits(case: Sequence[str], hits: Collection[str]) -> Hits:
    return Hits(sum(each in hits for each in case), len(case))


def _numbers(case: Sequence[str], values: Mapping[str, object]) -> list[float]:
    return [value for each in case if isinstance(value := values.get(each), float)]
