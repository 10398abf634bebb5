"""Every metric of a run in a few numbers, as JSON that fits into a step output."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from coval_gate.report.metrics import figures, variant_key

if TYPE_CHECKING:
    from coval_gate.model.results import RunResult
    from coval_gate.report.metrics import Figures

LIMIT: Final = 64 * 1024  # characters; all of a job's outputs together may have about half a million


def aggregates(result: RunResult) -> str:
    """`{name: {"id": …, "variants": {variant: {…}}}}`, with as many metrics, in their order, as fit.

    A variant has `count` (simulations with a value) and `missing`; numbers have `mean`, `stdev`, `min`, `median`,
    `p95`, `max`, texts and members of sets have `values`: how often each occurs.
    """
    whole: dict[str, Any] = {}
    size = 2
    variants = result.variants
    for metric in result.metrics:
        name = metric.name
        while name in whole:
            name = f"{name} ({metric.id})"
        entry = {
            "id": metric.id,
            "variants": {variant_key(variant): entry_of(figures(metric, each)) for variant, each in variants.items()},
        }
        more = len(json.dumps({name: entry}))
        if size + more <= LIMIT:
            size += more
            whole[name] = entry
    return json.dumps(whole)


def entry_of(found: Figures) -> dict[str, Any]:
    """The figures as JSON-ready values, without what is not known; six significant digits."""
    entry: dict[str, Any] = {"count": found.count, "missing": found.missing}
    if found.numbers:
        known = {name: value for name, value in asdict(found.numbers).items() if value is not None}
        entry |= {name: float(f"{value:.6g}") for name, value in known.items()}
    if found.texts:
        entry["values"] = dict(found.texts)
    return entry
