"""A metric on the simulations of one variant in a few numbers, as tables and JSON show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.sample import Sample
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric

AGENT: Final = "agent"  # what stands for the agent itself among its mutations
MUTATION: Final = " (mutation)"  # what tells a mutation of that name from it
MOST_TEXTS: Final = 20  # different texts of one metric
LIMIT: Final = 64 * 1024  # characters; all of a job's outputs together may have about half a million


def variant_key(variant: str) -> str:
    """Return a variant's name where the agent itself needs one, too; no two variants have the same."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def figures(sample: Sample) -> dict[str, float]:
    """Return `mean`, `stdev`, `min`, `median`, `p95`, `max` in the metric's unit; empty where there are no numbers.

    Where Coval reports no single values, they are those that it reports of all variants together.
    """
    if sample.numbers:
        return {
            "mean": sample.mean,
            "stdev": sample.stdev,
            "min": sample.min,
            "median": sample.median,
            "p95": sample.percentile(95),
            "max": sample.max,
        }
    summary = sample.metric.summary
    known = {"mean": summary.mean, "min": summary.min, "max": summary.max} if summary else {}
    return {name: value for name, value in known.items() if value is not None}


def entry_of(sample: Sample) -> dict[str, Any]:
    """Return the figures as JSON-ready values, with six significant digits: `count`, `missing`, what is known.

    `count` simulations have a value, `missing` ones have none; texts and members of sets have `values`: how often
    each occurs.
    """
    entry: dict[str, Any] = {"count": sample.count, "missing": sample.missing}
    entry |= {name: float(f"{value:.6g}") for name, value in figures(sample).items()}
    if sample.texts:
        entry["values"] = dict(sample.texts[:MOST_TEXTS])
    return entry


def aggregates(metrics: Sequence[Metric], variants: Sequence[Variant]) -> str:
    """Return a run's metrics as JSON that fits into a step output: as many of them, in their order, as fit.

    The JSON is `{name: {"id": …, "variants": {variant: entry}}}`.
    """
    whole: dict[str, Any] = {}
    size = 2
    for metric in metrics:
        name = metric.name
        while name in whole:
            name = f"{name} ({metric.id})"
        entry = {"id": metric.id, "variants": entries_of(metric, variants)}
        more = len(json.dumps({name: entry}))
        if size + more <= LIMIT:
            size += more
            whole[name] = entry
    return json.dumps(whole)


def entries_of(metric: Metric, variants: Sequence[Variant]) -> dict[str, dict[str, Any]]:
    """Return the metric's figures for each variant by its key."""
    return {variant_key(variant.name): entry_of(variant.sample(metric)) for variant in variants}
