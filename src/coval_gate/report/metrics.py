"""A metric on the simulations of a variant in a few numbers, as tables and JSON show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from coval_gate.coval.model import BASE
from coval_gate.report.limits import MOST_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.coval.model import Metric, RunResult
    from coval_gate.gate.variants import Sample, Variant
    from coval_gate.report.model import LegReport

AGENT: Final = "agent"  # the name of the agent itself among its mutations
MUTATION: Final = " (mutation)"  # distinguishes a mutation of that name
MOST_TEXTS: Final = 20  # different texts of one metric
LIMIT: Final = 64 * 1024  # characters of an output; all outputs of a job may have about half a million


def variant_key(variant: str) -> str:
    """Return a unique name for a variant, also for the agent itself."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def figures(sample: Sample) -> dict[str, float]:
    """Return numbers in the metric's unit; without individual values, those that Coval reports for all variants."""
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
    reported = {"mean": summary.mean, "min": summary.min, "max": summary.max} if summary else {}
    return {name: value for name, value in reported.items() if value is not None}


def figures_of(sample: Sample, digits: int = 6) -> dict[str, Any]:
    """Return JSON-ready figures; `values` counts each text, or each member of sets."""
    entry: dict[str, Any] = {"count": sample.count, "missing": sample.missing}
    entry |= {name: float(f"{value:.{digits}g}") for name, value in figures(sample).items()}
    if sample.texts:
        entry["values"] = dict(sample.texts[:MOST_TEXTS])
    return entry


def aggregates(metrics: Sequence[Metric], variants: Sequence[Variant]) -> str:
    """Return `{name: {"id": …, "variants": {variant: entry}}}` as JSON, of as many metrics as fit an output."""
    entries: dict[str, Any] = {}
    size = 2
    for metric in metrics:
        name = metric.name
        while name in entries:
            name = f"{name} ({metric.id})"
        entry = {"id": metric.id, "variants": entries_of(metric, variants)}
        more = len(json.dumps({name: entry}))
        if size + more <= MOST_OUTPUT:
            size += more
            entries[name] = entry
    return json.dumps(entries)


def entries_of(metric: Metric, variants: Sequence[Variant], digits: int = 6) -> dict[str, dict[str, Any]]:
    return {variant_key(variant.name): figures_of(variant.sample(metric), digits) for variant in variants}


def paired_numbers(leg: LegReport, metric: Metric) -> tuple[list[float], list[float]]:
    """Return a metric's numbers of the agent itself, and of its base or baseline, on the test cases of both."""
    baseline = leg.judgement.base or leg.judgement.baseline
    if baseline is None or leg.result is None:
        return [], []
    now = _numbers(leg.result, metric)
    earlier: list[tuple[str, float]] = []
    for run in baseline.runs:
        same = run.result.find_metrics(metric.id) or run.result.find_metrics(metric.name)
        if len(same) == 1 and not run.changed_persona and metric.id not in run.changed_metrics:
            earlier += [number for number in _numbers(run.result, same[0]) if number[0] not in run.changed_cases]
    shared = {case for case, _ in now} & {case for case, _ in earlier}
    return [value for case, value in now if case in shared], [value for case, value in earlier if case in shared]


def _numbers(result: RunResult, metric: Metric) -> list[tuple[str, float]]:
    """Return the numbers of the agent itself, each with its test case."""
    values = (
        (simulation, metric.values.get(simulation.id))
        for simulation in result.simulations
        if simulation.mutation == BASE
    )
    return [(member.test_case_id, value) for member, value in values if isinstance(value, float)]
