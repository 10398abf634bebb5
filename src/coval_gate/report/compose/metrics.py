"""Metrics, and how their values are spread out, for the document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from coval_gate.base.text import drawn_symbol, number, with_unit
from coval_gate.coval.model import BASE, Metric, RunResult
from coval_gate.gate import statistics
from coval_gate.gate.checks import NAMES, Check
from coval_gate.gate.criteria import TargetMet
from coval_gate.gate.measure import Requirement
from coval_gate.gate.statistics import percentile
from coval_gate.gate.values import RANGES, effective_operator, target_bounds, target_problem, target_text
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Operator
from coval_gate.report.charts import DrawnBound, Spread, binned, spread
from coval_gate.report.compose.criteria import variant_key
from coval_gate.report.compose.provenance import run_page
from coval_gate.report.document.results import BoundFacts, Chart, Distribution, Figures, MetricFacts, TrendRunFacts
from coval_gate.report.limits import MOST_CARDS, MOST_DISTRIBUTIONS, MOST_FIGURES
from coval_gate.report.model import LegReport

MOST_CHARTS: Final = 2
MOST_TEXTS: Final = 20  # different texts of one metric
WEIGHTS: Final = ("missed", "judged", "other")
SIDES: Final[Mapping[Operator, tuple[str, str]]] = {  # within and beyond a bound
    "<": ("below {}", "{} or more"),
    "<=": ("{} or less", "above {}"),
    ">": ("above {}", "{} or less"),
    ">=": ("{} or more", "below {}"),
}
OF_TARGET: Final[Mapping[str, Operator]] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def metrics_of(leg: LegReport) -> tuple[list[MetricFacts], int]:
    """Return the first metrics of a leg, and how many more it has. Those of most weight have distributions."""
    metrics = leg.result.metrics if leg.result else ()
    shown = metrics[: max(1, MOST_FIGURES // max(1, len(leg.judgement.variants)))]
    checks: dict[str, list[Check]] = {}
    for check in leg.judgement.checks:
        checks.setdefault(check.metric, []).append(check)
    most = max(1, min(MOST_CARDS, MOST_DISTRIBUTIONS // max(1, len(leg.judgement.variants))))
    heavy = sorted(metrics, key=lambda metric: _weight(checks.get(metric.id, [])))[:most]
    drawn = {metric.id for metric in heavy}
    facts = [_metric(leg, metric, checks.get(metric.id, []), is_drawn=metric.id in drawn) for metric in shown]
    return facts, len(metrics) - len(shown)


def _metric(leg: LegReport, metric: Metric, checks: Sequence[Check], *, is_drawn: bool) -> MetricFacts:
    bounds = list(_bounds(metric, checks))
    verdicts = {check.verdict for check in checks if check.decides}
    gravest = (verdict.value for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE) if verdict in verdicts)
    return MetricFacts(
        id=metric.id,
        name=metric.name,
        unit=metric.unit,
        target=target_text(metric.target) if metric.target and not target_problem(metric.target) else "",
        verdict=next(gravest, ""),
        weight=WEIGHTS[_weight(checks)],
        bounds=bounds,
        variants={variant_key(variant.name): _figures(variant.sample(metric)) for variant in leg.judgement.variants},
        distributions=list(_distributions(leg, metric, checks, bounds)) if is_drawn else [],
    )


def _figures(sample: Sample) -> Figures:
    """Return the texts, and numbers in the metric's unit; without values, those that Coval reports for all variants."""
    given: dict[str, Any] = {"values": dict(sample.texts[:MOST_TEXTS])} if sample.texts else {}
    if numbers := sample.numbers:
        given |= {"mean": statistics.mean(numbers), "stdev": statistics.stdev(numbers), "p95": percentile(numbers, 95)}
        given |= {"min": numbers[0], "median": percentile(numbers, 50), "max": numbers[-1]}
    elif summary := sample.metric.summary:
        reported = {"mean": summary.mean, "min": summary.min, "max": summary.max}
        given |= {name: value for name, value in reported.items() if value is not None}
    return Figures(count=sample.count, missing=sample.missing, **given)


def _weight(checks: Sequence[Check]) -> int:
    return 0 if any(check.decides and not check.passed for check in checks) else 1 if checks else 2


def _bounds(metric: Metric, checks: Sequence[Check]) -> Iterator[BoundFacts]:
    bounds = [("threshold", requirement.bound) for check in checks if (requirement := _on_scale(check))]
    if (target := metric.target) and not target_problem(target):
        is_range = effective_operator(target) in RANGES
        of_target = target_bounds(target) if is_range else () if target.upper is None else (target.upper,)
        bounds += [("target", bound) for bound in of_target]
    for kind, bound in bounds:
        yield BoundFacts(of=kind, value=bound, text=f"{kind} {with_unit(number(bound), metric.unit)}")


def _on_scale(check: Check) -> Requirement | None:
    """Return the requirement of a threshold whose bound is on the scale of the metric's values; None for any other."""
    return check.requirement if check.threshold and check.threshold.aggregate.kind.is_on_scale else None


def _distributions(
    leg: LegReport, metric: Metric, checks: Sequence[Check], bounds: Sequence[BoundFacts]
) -> Iterator[Distribution]:
    paired = any(check.reference in ("baseline", "base_agent") and check.comparison for check in checks)
    pair = _paired_numbers(leg, metric) if paired else ([], [])
    for variant in leg.judgement.variants:
        sample = variant.sample(metric)
        now, earlier = pair if variant.name == BASE and pair[0] and pair[1] else (sample.numbers, ())
        bins = binned(now, earlier, [bound.value for bound in bounds]) if now else None
        yield Distribution(
            variant=variant_key(variant.name),
            ends=[float(f"{end:.12g}") for end in bins.ends] if bins else [],  # 0.7, not 0.7000000000000001
            counts=bins.counts(now) if bins else [],
            earlier=bins.counts(earlier) if bins and earlier else [],
            least=min(now, default=0.0),
            greatest=max(now, default=0.0),
            texts_left_out=max(0, len(sample.texts) - MOST_TEXTS),
        )


def trend_of(leg: LegReport) -> list[TrendRunFacts]:
    return [
        TrendRunFacts(
            id=run.run_id,
            url=run_page(leg, run),
            created=run.created,
            is_baseline=run.is_baseline,
            failed=run.failed,
            averages=dict(run.averages),
        )
        for run in leg.trend
    ]


def charts_of(leg: LegReport) -> list[Chart]:
    """Return charts of the agent's values: of metrics with missed criteria or, if there are none, with any criteria."""
    checks = [check for check in leg.judgement.checks if check.metric]
    charted = [check for check in checks if check.decides and not check.passed] or checks
    agent = next((variant for variant in leg.judgement.variants if variant.name == BASE), None)
    samples = {sample.metric.id: sample for sample in agent.samples} if agent else {}
    metrics = dict.fromkeys(check.metric for check in charted if check.metric in samples)
    charts = (_chart(leg, samples[metric], [check for check in checks if check.metric == metric]) for metric in metrics)
    return list(islice(filter(None, charts), MOST_CHARTS))


def _chart(leg: LegReport, sample: Sample, checks: Sequence[Check]) -> Chart | None:
    """Return None where a table says as much."""
    bound = _bound([check for check in checks if check.variant == BASE])
    name, unit, reference = sample.metric.name, checks[0].metric_unit, ""
    numbers: Sequence[float] = sample.numbers
    bars: Spread | None = None
    if any(check.reference in ("baseline", "base_agent") and check.comparison for check in checks):
        now, earlier = _paired_numbers(leg, sample.metric)
        if bars := spread([now, earlier], bound):
            numbers, reference = now, NAMES["base_agent" if leg.judgement.base else "baseline"]
    bars = bars or spread([numbers], bound)
    return chart_of(bars, name, _sides(bound, numbers, unit), drawn_symbol(unit), reference) if bars else None


def chart_of(bars: Spread, name: str, sides: str, unit: str, reference: str) -> Chart:
    shares = [[round(100 * count / max(1, sum(counts)), 1) for count in counts] for counts in bars.counts]
    return Chart(
        name=name,
        sides=sides,
        unit=unit,
        labels=bars.labels,
        shares=shares[0],
        beyond=bars.beyond,
        earlier=shares[1] if reference else [],
        compared_with=reference,
    )


def _bound(checks: Sequence[Check]) -> DrawnBound | None:
    """Return a one-sided bound on the scale of the values: of the first missed criterion, else of the first."""
    for check in sorted(checks, key=lambda check: check.passed or not check.decides):
        if isinstance(check.criterion, TargetMet):
            value, operator = check.criterion.target.upper, OF_TARGET.get(check.criterion.target.operator)
        elif requirement := _on_scale(check):
            value, operator = requirement.bound, requirement.operator
        else:
            continue
        if value is not None and operator and operator in SIDES:
            return DrawnBound(value, operator)
    return None


def _sides(bound: DrawnBound | None, values: Sequence[float], unit: str) -> str:
    """Return on which side of the bound the values are, and which of them are orange."""
    if bound is None:
        return ""
    within, beyond = (words.format(with_unit(number(bound.value), unit)) for words in SIDES[bound.operator])
    return {"within": f"all {within}", "beyond": f"all {beyond}", "both": f"orange: {beyond}"}[bound.side(values)]


def _paired_numbers(leg: LegReport, metric: Metric) -> tuple[list[float], list[float]]:
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
