"""Decides a threshold against a number with a confidence, by the interval that a run shows for the agent. Pure."""

from dataclasses import replace

from coval_gate.features.confidence.bounds import NOTHING, Bounds, hits_of, mean_bounds, percentile_bounds, rate_bounds
from coval_gate.gate.aggregates import Aggregation, Average, Figure, Percentile, Share
from coval_gate.gate.measure import Interval, Measure
from coval_gate.gate.variants import Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Threshold


def interval_of(aggregation: Aggregation, variant: Variant, confidence: float) -> Interval:
    """Return what the measured value shows for the agent. Raises ValueError for one that takes no confidence."""
    match aggregation:
        case Share():
            return _interval_of_share(aggregation, variant, confidence)
        case Figure():
            return _interval_of_figure(aggregation, variant, confidence)
    raise ValueError(f"{aggregation.aggregate.name} takes no confidence")


def _interval_of_share(aggregation: Share, variant: Variant, confidence: float) -> Interval:
    """The bounds cover each possible value of the unknown simulations; if some are not listed, there are none."""
    unknown = aggregation.unknown(variant)
    hits = frozenset(aggregation.hits(variant)).difference(unknown)
    cases = () if variant.unlisted or "" in variant.by_case else tuple(variant.by_case.values())
    least, most = (
        rate_bounds([hits_of(case, counted) for case in cases], confidence) for counted in (hits, hits.union(unknown))
    )
    return Interval(least.lower, most.upper, confidence, len(cases))


def _interval_of_figure(aggregation: Figure, variant: Variant, confidence: float) -> Interval:
    """Leave missing values out; claim nothing if Coval does not report the test case of each conversation."""
    are_known = all(simulation.test_case_id for simulation in variant.completed)
    cases = [*variant.numbers(aggregation.metric).values()] if are_known else []
    bounds: Bounds = NOTHING
    match aggregation:
        case Average():
            bounds = mean_bounds(cases, confidence)
        case Percentile():
            bounds = percentile_bounds(cases, aggregation.n, confidence)
    return Interval(*bounds, confidence, len(cases))


def with_interval(measure: Measure, interval: Interval) -> Measure:
    """A percentile is interpolated between values, and its bounds are values: it may lie beyond one of them."""
    lower, upper = min(interval.lower, measure.value), max(interval.upper, measure.value)
    return replace(measure, interval=interval._replace(lower=lower, upper=upper))


def verdict_by(threshold: Threshold, value: float, interval: Interval) -> Verdict:
    """Pass only if the whole interval meets the threshold, and fail only if no part of it does.

    A conclusive verdict never contradicts the value as counted.
    """
    holds, ends = threshold.holds(value), (interval.lower, interval.upper)
    best, worst = ends if threshold.wants_less else reversed(ends)
    if holds and threshold.holds(worst):
        return Verdict.PASSED
    return Verdict.FAILED if not holds and not threshold.holds(best) else Verdict.INCONCLUSIVE
