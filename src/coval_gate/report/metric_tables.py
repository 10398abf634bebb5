"""Metrics in Markdown: their figures, charts of those that matter, and how often texts occur."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from coval_gate.judge.criteria import TargetMet
from coval_gate.judge.findings import comparison_of, reference_of
from coval_gate.judge.measure import Requirement
from coval_gate.model.results import BASE
from coval_gate.report.charts import Bound, compared_histogram, histogram, threshold_on_scale
from coval_gate.report.comparison_tables import MOST_UNFOLDED
from coval_gate.report.markdown import escape, folding, row
from coval_gate.report.metrics import MOST_TEXTS, figures, paired_numbers, variant_key
from coval_gate.text import number, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.config.thresholds import Operator
    from coval_gate.judge.checks import Check
    from coval_gate.judge.sample import Sample
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Target
    from coval_gate.report.markdown import Listing
    from coval_gate.report.model import LegReport

MOST_CHARTS: Final = 2
TEXTS_SHOWN: Final = 8  # different texts of a metric
KINDS: Final[Mapping[Operator, tuple[bool, bool]]] = {  # whether a bound is upper, and whether it is exclusive
    "<": (True, True),
    "<=": (True, False),
    ">": (False, True),
    ">=": (False, False),
}
SIDES: Final[Mapping[Operator, tuple[str, str]]] = {  # within and beyond a bound
    "<": ("below {}", "{} or more"),
    "<=": ("{} or less", "above {}"),
    ">": ("above {}", "{} or less"),
    ">=": ("{} or more", "below {}"),
}
OF_TARGET: Final[Mapping[str, Operator]] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def metric_parts(leg: LegReport) -> Iterator[str | Listing]:
    """Yield the figures of numeric metrics, charts of those that matter, and the values of other metrics."""
    if leg.result is None or not leg.result.metrics:
        return
    several = len(leg.variants) > 1
    samples = [(variant.sample(metric), variant) for metric in leg.result.metrics for variant in leg.variants]
    yield "#### Metrics"
    variant_head = ("variant",) if several else ()
    numeric = [pair for pair in samples if figures(pair[0])]
    if numeric:
        rows = (
            row(*_named(sample, variant, several), f"{sample.count:,}", *_cells(sample)) for sample, variant in numeric
        )
        head = ("metric", *variant_head, "count", "mean", "spread (SD)", "min", "median", "p95", "max")
        yield from folding(head, rows, len(numeric), most=MOST_UNFOLDED, rest=_more_rows)
    yield from _charts(leg)
    other = [pair for pair in samples if not figures(pair[0]) or pair[0].texts]
    if other:
        rows = (
            row(*_named(sample, variant, several), f"{sample.count:,}", _texts(sample.texts) or "no values")
            for sample, variant in other
        )
        head = ("metric", *variant_head, "count", "values")
        yield from folding(head, rows, len(other), most=MOST_UNFOLDED, rest=_more_rows)


def _more_rows(more: int) -> str:
    return plural(more, "more row")


def _named(sample: Sample, variant: Variant, several: bool) -> tuple[str, ...]:
    name = escape(sample.metric.name)
    return (name, escape(variant_key(variant.name))) if several else (name,)


def _cells(sample: Sample) -> Iterator[str]:
    values = figures(sample)
    for name in ("mean", "stdev", "min", "median", "p95", "max"):
        yield number(values[name]) if name in values else ""


def _texts(texts: Sequence[tuple[str, int]]) -> str:
    texts = texts[:MOST_TEXTS]
    more = len(texts) - TEXTS_SHOWN
    shown = [f"{escape(text, 40)} × {count:,}" for text, count in texts[:TEXTS_SHOWN]]
    return " · ".join(shown) + (f" · … {more} more" if more > 0 else "")


def _charts(leg: LegReport) -> Iterator[str]:
    """Yield charts of the agent's values: of metrics with missed criteria or, if there are none, with any criteria."""
    checks = [check for check in leg.judgement.checks if check.metric]
    charted = [check for check in checks if check.decides and not check.passed] or checks
    agent = next((variant for variant in leg.variants if variant.name == BASE), None)
    samples = {sample.metric.id: sample for sample in agent.samples} if agent else {}
    metrics = dict.fromkeys(check.metric for check in charted)
    compared = {check.metric for check in checks if reference_of(check) == "baseline" and comparison_of(check)}
    own = [check for check in checks if check.variant == BASE]
    charts = (
        chart
        for sample in (samples[metric] for metric in metrics if metric in samples)
        for of_metric in [[check for check in own if check.metric == sample.metric.id]]
        for chart in [_chart(leg, sample, _requirement(of_metric), pair=sample.metric.id in compared)]
        if chart
    )
    yield from (part for chart in islice(charts, MOST_CHARTS) for part in chart)


def _chart(leg: LegReport, sample: Sample, required: Requirement | None, *, pair: bool) -> tuple[str, ...]:
    """Return a title and a chart, with `pair` beside the baseline; empty where a table says as much."""
    name = escape(sample.metric.name)
    bound = Bound(required.bound, *KINDS[required.operator]) if required else None
    if pair:
        now, earlier = paired_numbers(leg, sample.metric)
        if chart := compared_histogram(now, earlier, bound):
            bars = "; ".join(filter(None, ("bars", _sides(required, bound, now))))
            return f"How {name} is distributed now ({bars}) and in the baseline (line):", chart
    if chart := histogram(sample.numbers, bound):
        sides = _sides(required, bound, sample.numbers)
        return f"How {name} is distributed{f' ({sides})' if sides else ''}:", chart
    return ()


def _requirement(checks: Sequence[Check]) -> Requirement | None:
    """Return a one-sided bound on the scale of the values: that of the first missed criterion, else of the first."""
    for check in sorted(checks, key=lambda check: check.passed or not check.decides):
        requirement = threshold_on_scale(check)
        if isinstance(check.criterion, TargetMet):
            requirement = _of_target(check.criterion.target)
        if requirement and requirement.operator in KINDS:
            return requirement
    return None


def _of_target(target: Target) -> Requirement | None:
    """Return the bound of a one-sided target; None for any other."""
    if target.operator not in OF_TARGET or target.upper is None:
        return None
    return Requirement(OF_TARGET[target.operator], target.upper)


def _sides(required: Requirement | None, bound: Bound | None, values: Sequence[float]) -> str:
    """Return on which side of the bound the values are, and which of them are orange."""
    if required is None or bound is None:
        return ""
    within, beyond = (words.format(number(required.bound)) for words in SIDES[required.operator])
    return {"within": f"all {within}", "beyond": f"all {beyond}", "both": f"orange: {beyond}"}[bound.side(values)]
