"""One threshold on one variant: what its aggregate is, and whether it holds. Pure and total."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.judge.checks import Check
from coval_gate.judge.claims import number_interval, percentile_of, rate_interval, unknown_interval, verdict
from coval_gate.judge.measure import Measure, Requirement, Weighed, margin
from coval_gate.judge.problems import NoValues, OnlySummary
from coval_gate.judge.statistics import even_mean, even_percentile
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from coval_gate.config.aggregates import Aggregate
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.criteria import ThresholdHolds
    from coval_gate.judge.measure import Interval
    from coval_gate.judge.problems import Problem
    from coval_gate.judge.sample import Sample
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult, Summary


def evaluate(criterion: ThresholdHolds, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """Check a threshold for the agent and for each mutation apart; nothing where its metric is in doubt already."""
    threshold = criterion.threshold
    metrics = result.find_metrics(threshold.metric) if threshold.metric else ()
    if threshold.metric and len(metrics) != 1:
        return
    for variant in variants:
        yield check_variant(criterion, variant, metrics[0] if metrics else None)


def check_variant(criterion: ThresholdHolds, variant: Variant, metric: Metric | None) -> Check:
    """Check a threshold, whose bound is a number, on one variant; `metric` is the one that it names, if any."""
    if metric is None:
        return _of_run(criterion, variant)
    return replace(_of_metric(criterion, variant.sample(metric), variant), metric=metric.id)


def value_of(threshold: Threshold, variant: Variant, metric: Metric | None) -> Weighed:
    """Return what a threshold's aggregate is in a comparison, as counted.

    A rate counts simulations without a value as misses; numeric aggregates leave them out, and need numbers.
    """
    aggregate = threshold.aggregate
    if aggregate.is_rate:
        return _share(variant, counted_hits(threshold, variant, metric))
    if metric is None:
        return Weighed(float(_count(aggregate, variant)))
    sample = variant.sample(metric)
    if aggregate.name == "missing":
        return Weighed(float(sample.missing))
    if aggregate.is_numeric:
        return _number(aggregate, variant, sample)
    return Weighed(float(len(sample.having(aggregate.values))))


def counted_hits(threshold: Threshold, variant: Variant, metric: Metric | None) -> Collection[str]:
    """Return the simulations that a comparison counts as hits of a rate.

    One without a value is a miss, which is a hit where the threshold wants few of them.
    """
    if metric is None:
        passing = threshold.aggregate.name == "pass_rate"
        return variant.passing if passing else frozenset(each.id for each in variant.completed)
    sample = variant.sample(metric)
    hits = sample.having(threshold.aggregate.values)
    return hits | frozenset(_unknown_ids(variant, sample)) if threshold.wants_less else hits


def _unknown_ids(variant: Variant, sample: Sample) -> list[str]:
    """Return the simulations without a value."""
    return [each.id for each in variant.simulations if each.id not in sample.values]


def _share(variant: Variant, hits: Collection[str]) -> Weighed:
    """Return the share of hits: of the simulations or, where test cases weigh the same, the mean of their shares."""
    pooled = len(hits) / variant.total
    if not variant.even:
        return Weighed(pooled)
    shares = [sum(each in hits for each in ids) / len(ids) for ids in variant.by_case.values()]
    return _weighed(math.fsum(shares) / len(shares), pooled)


def _number(aggregate: Aggregate, variant: Variant, sample: Sample) -> Weighed:
    """Return a numeric aggregate of a sample of numbers, weighed as the variant's test cases are."""
    pooled = _AGGREGATES[aggregate.name](sample, aggregate.percentile or 0.0)
    if not variant.even or aggregate.name in ("min", "max"):
        return Weighed(pooled)
    cases = [*variant.numbers(sample.metric).values()]
    if aggregate.name == "avg":
        return _weighed(even_mean(cases), pooled)
    return _weighed(even_percentile(cases, percentile_of(aggregate)), pooled)


def _weighed(value: float, pooled: float) -> Weighed:
    return Weighed(pooled) if math.isclose(value, pooled, abs_tol=1e-12) else Weighed(value, pooled)


def _of_run(criterion: ThresholdHolds, variant: Variant) -> Check:
    threshold = criterion.threshold
    failing = (each.id for each in variant.simulations if each.id not in variant.passing)
    is_rate = threshold.aggregate.is_rate
    hits = counted_hits(threshold, variant, None) if is_rate else ()
    found = _share(variant, hits) if is_rate else Weighed(float(_count(threshold.aggregate, variant)))
    measure = Measure(
        value=found.value,
        pooled=found.pooled,
        unit="share" if is_rate else "simulations",
        count=len(variant.simulations),
        missing=variant.unlisted,
    )
    return _measured(criterion, variant, measure, failing, _rate_interval(variant, variant.passing, ()))


def _rate_interval(variant: Variant, hits: Collection[str], unknown: Collection[str]) -> Callable[[float], Interval]:
    """Return what makes the interval of a rate; simulations that are not listed leave nothing to claim."""
    return unknown_interval if variant.unlisted else partial(rate_interval, variant.simulations, hits, unknown)


def _count(aggregate: Aggregate, variant: Variant) -> int:
    """Return how many simulations an aggregate of the run counts."""
    return {"failed": variant.failed, "total": variant.total}[aggregate.name]


def _of_metric(criterion: ThresholdHolds, sample: Sample, variant: Variant) -> Check:
    threshold = criterion.threshold
    if sample.metric.summary is not None:
        return _of_summary(criterion, sample, sample.metric.summary, variant)
    if threshold.aggregate.name == "missing":
        measure = Measure(value=sample.missing, unit="simulations", count=sample.count, missing=sample.missing)
        return _measured(criterion, variant, measure, _unknown_ids(variant, sample))
    if not sample.count:
        return _unknown(criterion, variant, NoValues(metric=sample.metric.name))
    if threshold.aggregate.is_numeric:
        return _of_numbers(criterion, sample, variant)
    return _of_texts(criterion, sample, variant)


def _of_summary(criterion: ThresholdHolds, sample: Sample, summary: Summary, variant: Variant) -> Check:
    threshold = criterion.threshold
    known = {"avg": summary.mean, "min": summary.min, "max": summary.max}.get(threshold.aggregate.name)
    # Coval's own mean mixes the agent and its mutations.
    if known is None or not variant.alone:
        return _unknown(criterion, variant, OnlySummary(metric=sample.metric.name))
    measure = Measure(value=known, unit="metric", count=sample.count, missing=sample.missing)
    return _measured(criterion, variant, measure, (), unknown_interval)


def _of_texts(criterion: ThresholdHolds, sample: Sample, variant: Variant) -> Check:
    threshold = criterion.threshold
    aggregate = threshold.aggregate
    if problem := sample.obstacle(aggregate.values):
        return _unknown(criterion, variant, problem)
    hits = sample.having(aggregate.values)
    found, assumed = Weighed(float(len(hits))), 0
    if variant.even and aggregate.is_rate:
        found, assumed = value_of(threshold, variant, sample.metric), sample.missing if threshold.wants_less else 0
    elif aggregate.is_rate:
        assumed = _assumed(threshold, len(hits), sample.missing, variant.total)
        found = Weighed((len(hits) + assumed) / variant.total)
    measure = Measure(
        value=found.value,
        pooled=found.pooled,
        unit="share" if aggregate.is_rate else "simulations",
        count=sample.count,
        missing=sample.missing,
        assumed=assumed,
    )
    unknown = _unknown_ids(variant, sample)
    failing = _to_blame(threshold, measure, hits, sample, variant)
    return _measured(criterion, variant, measure, failing, _rate_interval(variant, hits, unknown))


def _assumed(threshold: Threshold, hits: int, missing: int, total: int) -> int:
    """Return how many of the missing values count as hits: the number with which a rate is furthest from holding.

    So a rate holds only if it holds whatever the missing values were.
    """
    requirement = Requirement(threshold.operator, threshold.bound.number)
    closest = round(threshold.bound.number * total) - hits  # the bound of != is met in between, if at all
    numbers = (0, missing, min(max(closest, 0), missing))
    return min(numbers, key=lambda number: margin((hits + number) / total, requirement))


def _to_blame(
    threshold: Threshold, measure: Measure, hits: frozenset[str], sample: Sample, variant: Variant
) -> Iterator[str]:
    """Yield the simulations without a hit where there are too few hits, otherwise those that have one, or may."""
    operator, bound = threshold.operator, threshold.bound.number
    if operator in (">", ">=") or (operator == "==" and measure.value < bound):
        yield from (each.id for each in variant.simulations if each.id not in hits)
        return
    hits_alone = not measure.assumed or not threshold.holds(_share(variant, hits).value)
    for each in variant.simulations:
        if (hits_alone and each.id in hits) or (measure.assumed and each.id not in sample.values):
            yield each.id


def _of_numbers(criterion: ThresholdHolds, sample: Sample, variant: Variant) -> Check:
    threshold = criterion.threshold
    if problem := sample.not_numbers():
        return _unknown(criterion, variant, problem)
    found = _number(threshold.aggregate, variant, sample)
    measure = Measure(value=found.value, pooled=found.pooled, unit="metric", count=sample.count, missing=sample.missing)
    bad = {each for each, value in sample.values.items() if isinstance(value, float) and not threshold.holds(value)}
    failing = (each.id for each in variant.completed if each.id in bad)
    return _measured(
        criterion, variant, measure, failing, partial(number_interval, threshold, variant.completed, sample)
    )


_AGGREGATES: Final[dict[str, Callable[[Sample, float], float]]] = {
    "avg": lambda sample, _: sample.mean,
    "med": lambda sample, _: sample.median,
    "min": lambda sample, _: sample.min,
    "max": lambda sample, _: sample.max,
    "p": lambda sample, n: sample.percentile(n),
}


def _measured(
    criterion: ThresholdHolds,
    variant: Variant,
    measure: Measure,
    failing: Iterable[str],
    interval: Callable[[float], Interval] | None = None,
) -> Check:
    """Check a threshold whose aggregate is known; `failing` simulations are looked for only if it does not pass.

    `interval` returns that of the aggregate for a confidence, a share.
    """
    threshold = criterion.threshold
    if interval and criterion.confidence and threshold.takes_confidence:
        measure = replace(measure, interval=interval(criterion.confidence))
    return Check(
        criterion=criterion,
        verdict=(found := verdict(threshold, measure)),
        measure=measure,
        variant=variant.name,
        several=not variant.alone,
        simulations=() if found is Verdict.PASSED else tuple(failing),
    )


def _unknown(criterion: ThresholdHolds, variant: Variant, problem: Problem) -> Check:
    return Check(
        criterion=criterion,
        verdict=Verdict.ERROR,
        problem=problem,
        variant=variant.name,
        several=not variant.alone,
    )
