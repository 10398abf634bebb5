"""Every metric of a run in a few numbers, as JSON that fits into a step output."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from coval_gate.judge import statistics
from coval_gate.text import one_line

if TYPE_CHECKING:
    from coval_gate.result import Metric, RunResult, Simulation

LIMIT: Final = 64 * 1024  # characters; all of a job's outputs together may have about half a million
AGENT: Final = "agent"  # what stands for the agent itself among its mutations
TEXT_SHOWN: Final = 100  # characters of a text
MOST_TEXTS: Final = 20  # different texts of one metric


def aggregates(result: RunResult) -> str:
    """`{name: {"id": …, "variants": {variant: {…}}}}`, with as many metrics, in their order, as fit.

    A variant has `count` (simulations with a value) and `missing`; numbers have `mean`, `median`, `min`, `max`, `p95`,
    texts and members of sets have `values`: how often each occurs.
    """
    whole: dict[str, Any] = {}
    size = 2
    variants = result.variants
    for metric in result.metrics:
        name = metric.name if metric.name not in whole else f"{metric.name} ({metric.id})"
        entry = {
            "id": metric.id,
            "variants": {_key(variant): _variant(metric, each) for variant, each in variants.items()},
        }
        more = len(json.dumps({name: entry}))
        if size + more <= LIMIT:
            size += more
            whole[name] = entry
    return json.dumps(whole)


def _key(variant: str) -> str:
    return f"{variant} (mutation)" if variant == AGENT else variant or AGENT


def _variant(metric: Metric, simulations: tuple[Simulation, ...]) -> dict[str, Any]:
    values = [metric.values[each.id] for each in simulations if each.completed and each.id in metric.values]
    numbers = sorted(value for value in values if isinstance(value, float))
    texts = Counter(
        one_line(text, TEXT_SHOWN)
        for value in values
        if not isinstance(value, float)
        for text in (value if isinstance(value, frozenset) else (value,))
    )
    entry: dict[str, Any] = {"count": len(values), "missing": len(simulations) - len(values)}
    if numbers:
        found = {
            "mean": statistics.mean(numbers),
            "median": statistics.median(numbers),
            "min": numbers[0],
            "max": numbers[-1],
            "p95": statistics.percentile(numbers, 95),
        }
        entry |= {name: float(f"{value:.6g}") for name, value in found.items()}
    if texts:
        # Sets have no order of their own; a tie must not make two equal runs differ.
        entry["values"] = dict(sorted(texts.items(), key=lambda item: (-item[1], item[0]))[:MOST_TEXTS])
    return entry
