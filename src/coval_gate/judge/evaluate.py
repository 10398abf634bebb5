"""One threshold on one variant: what its aggregate is, and whether it holds. Pure and total."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.judge import statistics
from coval_gate.judge.variants import VALUE_SHOWN, equals, show
from coval_gate.judge.verdict import Check, Verdict
from coval_gate.text import number, one_line, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult, Summary, Value

TEXTS_SHOWN: Final = 8  # of the values that are no numbers


def evaluate(threshold: Threshold, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """One threshold for the agent and for each mutation apart; nothing where its metric is in doubt already."""
    metrics = result.called(threshold.metric) if threshold.metric else ()
    if threshold.metric and len(metrics) != 1:
        return
    for variant in variants:
        if threshold.metric:
            yield replace(_of_metric(threshold, metrics[0], variant), metric=metrics[0].id)
        else:
            yield _of_run(threshold, variant)


def _of_run(threshold: Threshold, variant: Variant) -> Check:
    counts = {
        "pass_rate": len(variant.passing),
        "completed_rate": len(variant.completed),
        "failed": variant.failed,
        "total": variant.total,
    }
    count = counts[threshold.aggregate.name]
    offenders = (each.id for each in variant.simulations if each.id not in variant.passing)
    if not threshold.aggregate.is_rate:
        return _held(threshold, variant, float(count), f"{count:,}", offenders)
    return _held(threshold, variant, count / variant.total, _share(count, variant.total), offenders)


def _of_metric(threshold: Threshold, metric: Metric, variant: Variant) -> Check:
    if metric.summary is not None:
        return _of_summary(threshold, metric, metric.summary, variant)
    values = variant.values(metric)
    if threshold.aggregate.name == "missing":
        missing = variant.total - len(values)
        offenders = (each.id for each in variant.simulations if each.id not in values)
        return _held(threshold, variant, float(missing), f"{missing:,} of {variant.total:,}", offenders)
    if not values:
        return _unknown(threshold, variant, f"{metric.name} has no value at all{variant.whom}.")
    if threshold.aggregate.is_numeric:
        return _of_numbers(threshold, metric, values, variant)
    return _of_texts(threshold, values, variant)


def _of_summary(threshold: Threshold, metric: Metric, summary: Summary, variant: Variant) -> Check:
    known = {"avg": summary.mean, "min": summary.min, "max": summary.max}.get(threshold.aggregate.name)
    # Coval's own mean mixes the agent and its mutations.
    if known is None or not variant.alone:
        why = f"Coval reports no single values of {metric.name}, so {_plain(threshold)} is not known{variant.whom}."
        return _unknown(threshold, variant, why)
    return _held(threshold, variant, known, number(known), ())


def _of_texts(threshold: Threshold, values: Mapping[str, Value], variant: Variant) -> Check:
    aggregate = threshold.aggregate
    hits = {each for each, value in values.items() if any(equals(value, one) for one in aggregate.values)}
    missing = variant.total - len(values)
    # What has no value counts against a rate: as none that is wanted, and as one that is not.
    against = missing if aggregate.is_rate and threshold.operator in ("<", "<=") else 0
    count = len(hits) + against
    found = count / variant.total if aggregate.is_rate else float(count)
    shown = _share(count, variant.total) if aggregate.is_rate else f"{count:,} of {variant.total:,}"
    # Too few hits are the fault of the others, too many their own.
    too_few = threshold.operator in (">", ">=") or (threshold.operator == "==" and found < threshold.bound.number)
    offenders = (each.id for each in variant.simulations if (each.id in hits) is not too_few)
    offenders = (each for each in offenders if too_few or each in values)
    note = f", {against:,} of them without a value" if against else ""
    return _held(threshold, variant, found, f"{shown}{note}", offenders)


def _of_numbers(threshold: Threshold, metric: Metric, values: Mapping[str, Value], variant: Variant) -> Check:
    numbers = [value for value in values.values() if isinstance(value, float)]
    if len(numbers) < len(values):
        texts = sorted({show(value) for value in values.values() if not isinstance(value, float)})[:TEXTS_SHOWN]
        why = f"{metric.name} has values that are no numbers ({', '.join(texts)}), so {_plain(threshold)} is not known"
        return _unknown(threshold, variant, f"{why}{variant.whom}.")
    found = _AGGREGATES[threshold.aggregate.name](numbers, threshold.aggregate.percentile or 0.0)
    offenders = (each for each, value in values.items() if isinstance(value, float) and not threshold.holds(value))
    return _held(threshold, variant, found, number(found), offenders)


_AGGREGATES: Final[dict[str, Callable[[list[float], float], float]]] = {
    "avg": lambda values, _: statistics.mean(values),
    "med": lambda values, _: statistics.median(values),
    "min": lambda values, _: min(values),
    "max": lambda values, _: max(values),
    "p": statistics.percentile,
}


def _held(threshold: Threshold, variant: Variant, found: float, shown: str, offenders: Iterable[str]) -> Check:
    """The check of a threshold whose aggregate is known; `offenders` are looked for only if it is missed."""
    if threshold.holds(found):
        return Check(asked=threshold.text, found=shown, verdict=Verdict.PASSED, variant=variant.name)
    gap = threshold.missed_by(found)
    by = f"{number(gap * 100)} percentage points" if threshold.aggregate.is_rate else number(gap)
    missed = f"missed by {by}" if gap else "missed"
    return Check(
        asked=threshold.text,
        found=shown,
        missed=by if gap else "",
        verdict=Verdict.FAILED,
        reason=f"The threshold {threshold.text} was {missed}{variant.whom}: it is {shown}.",
        variant=variant.name,
        offenders=tuple(offenders),
    )


def _unknown(threshold: Threshold, variant: Variant, reason: str) -> Check:
    return Check(asked=threshold.text, found="not known", verdict=Verdict.ERROR, reason=reason, variant=variant.name)


def _plain(threshold: Threshold) -> str:
    return one_line(threshold.aggregate, VALUE_SHOWN)


def _share(count: int, total: int) -> str:
    return f"{percent(count / total)} ({count:,} of {total:,})"
