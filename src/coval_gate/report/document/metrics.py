"""Metrics in a few numbers, and how their values are spread out, now and before."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal

from pydantic import Field

from coval_gate.base.text import amount, drawn_symbol, percent
from coval_gate.coval.model import BASE, Metric, RunResult
from coval_gate.gate import statistics
from coval_gate.gate.checks import REFERENCE_NAMES, Check
from coval_gate.gate.criteria import TargetMet
from coval_gate.gate.measure import Requirement
from coval_gate.gate.statistics import percentile
from coval_gate.gate.values import RANGES, effective_operator, target_bounds, target_problem, target_text
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Operator
from coval_gate.report.charts import DrawnBound, binned, spread
from coval_gate.report.document.base import Model, Text, variant_key
from coval_gate.report.document.model import LegReport

STATISTICS: Final = ("mean", "stdev", "min", "median", "p95", "max")
MOST_CHARTS: Final = 2
MOST_DRAWN: Final = 24  # metrics of a leg with distributions
MOST_TEXTS: Final = 20  # different texts of one metric
SIDES: Final[Mapping[Operator, tuple[str, str]]] = {  # within and beyond a bound
    "<": ("below {}", "{} or more"),
    "<=": ("{} or less", "above {}"),
    ">": ("above {}", "{} or less"),
    ">=": ("{} or more", "below {}"),
}
TARGET_OPERATORS: Final[Mapping[str, Operator]] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class Figures(Model):
    """A metric on the simulations of a variant.

    Fields that do not apply are absent: statistics where there are no numbers, `values` where there are no texts.
    """

    count: int
    """How many simulations have a value."""
    missing: int
    """How many have none."""
    mean: float = Field(default_factory=float)
    stdev: float = Field(default_factory=float)
    min: float = Field(default_factory=float)
    median: float = Field(default_factory=float)
    p95: float = Field(default_factory=float)
    max: float = Field(default_factory=float)
    values: dict[Text, int] = Field(default_factory=dict)
    """How often each text occurs, also within sets: the most frequent."""

    @property
    def numbers(self) -> dict[str, float]:
        """Its statistics by name; empty where there are no numbers."""
        return {name: getattr(self, name) for name in STATISTICS if name in self.model_fields_set}


class BoundFacts(Model):
    """A bound on the values of a metric."""

    of: Literal["threshold", "target"]
    value: float
    text: Text
    """Such as "threshold 1.5 s"."""


class Distribution(Model):
    """How many values of a variant each range has."""

    variant: Text
    ends: list[float]
    """Where the ranges begin and, at last, end; empty where there are no numbers."""
    counts: list[int]
    """How many values each range has: on the test cases that both sides have, if `earlier` is not empty."""
    earlier: list[int]
    """How many values of the baseline or the base agent each range has; empty without a comparison."""
    least: float
    greatest: float


class MetricFacts(Model):
    """A metric, for each variant."""

    id: Text
    name: Text
    unit: Text
    """The unit of its numbers, in Coval's words; empty if it has none, or Coval did not show it."""
    target: Text
    """What meets its target in Coval, such as "at most 1.5"; empty without a usable one."""
    verdict: Literal["", "failed", "inconclusive"]
    """The gravest verdict of its criteria; empty where they are met, or only inform."""
    weight: Literal["missed", "judged", "other"]
    """Whether one of its criteria is missed, or it has any. Reports begin with those missed."""
    bounds: list[BoundFacts]
    """The bounds of its thresholds and of its target that are on the scale of its values."""
    variants: dict[Text, Figures]
    """By the variant's name."""
    distributions: list[Distribution]
    """How the values of each variant are spread out. Only the metrics of most weight have these."""

    @property
    def has_values(self) -> bool:
        return any(figures.count for figures in self.variants.values())

    @property
    def is_numeric(self) -> bool:
        return not any(figures.values for figures in self.variants.values())


class Chart(Model):
    """How the agent's values of a metric with a criterion are spread out on both sides of its bound."""

    name: Text
    """The metric's."""
    sides: Text
    """On which side of the bound the values are, or how many are beyond it; empty without a bound."""
    unit: Text
    """The title of the axis."""
    labels: list[Text]
    """The ranges of values."""
    shares: list[float]
    """Percent of the values in each range."""
    beyond: list[bool]
    """Whether each range is beyond the bound."""
    earlier: list[float]
    """Percent of the values of the baseline or the base agent; empty without a comparison."""
    compared_with: Text


def metrics_of(leg: LegReport, most_drawn: int) -> list[MetricFacts]:
    """Return the metrics of a leg. So many of them, of most weight, have distributions."""
    metrics = leg.result.metrics if leg.result else ()
    checks: dict[str, list[Check]] = {}
    for check in leg.judgement.checks:
        checks.setdefault(check.metric, []).append(check)
    heavy = sorted(metrics, key=lambda metric: _weight(checks.get(metric.id, [])))[:most_drawn]
    drawn = {metric.id for metric in heavy}
    return [_metric(leg, metric, checks.get(metric.id, []), is_drawn=metric.id in drawn) for metric in metrics]


def _metric(leg: LegReport, metric: Metric, checks: Sequence[Check], *, is_drawn: bool) -> MetricFacts:
    bounds = _bounds(metric, checks)
    verdicts = {check.verdict for check in checks if check.decides}
    gravest = (verdict.value for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE) if verdict in verdicts)
    return MetricFacts(
        id=metric.id,
        name=metric.name,
        unit=metric.unit,
        target=target_text(metric.target) if metric.target and not target_problem(metric.target) else "",
        verdict=next(gravest, ""),
        weight=("missed", "judged", "other")[_weight(checks)],
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


def _bounds(metric: Metric, checks: Sequence[Check]) -> list[BoundFacts]:
    bounds = [("threshold", requirement.bound) for check in checks if (requirement := _on_scale(check))]
    if (target := metric.target) and not target_problem(target):
        is_range = effective_operator(target) in RANGES
        is_target = target_bounds(target) if is_range else () if target.upper is None else (target.upper,)
        bounds += [("target", bound) for bound in is_target]
    return [BoundFacts(of=kind, value=bound, text=f"{kind} {amount(bound, metric.unit)}") for kind, bound in bounds]


def _on_scale(check: Check) -> Requirement | None:
    """Return the requirement of a threshold whose bound is on the scale of the metric's values; None for any other."""
    return check.requirement if check.threshold and check.threshold.aggregate.kind.is_on_scale else None


def _distributions(
    leg: LegReport, metric: Metric, checks: Sequence[Check], bounds: Sequence[BoundFacts]
) -> Iterator[Distribution]:
    pair = _paired_numbers(leg, metric, checks)
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
        )


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
    """Return None where a table shows as much."""
    bound = _bound([check for check in checks if check.variant == BASE])
    name, unit = sample.metric.name, checks[0].metric_unit
    reference = REFERENCE_NAMES["base_agent" if leg.judgement.base else "baseline"]
    for compared_with, samples in ((reference, _paired_numbers(leg, sample.metric, checks)), ("", (sample.numbers,))):
        if bars := spread(samples, bound):
            sides, axis = _sides(bound, samples[0], unit), drawn_symbol(unit)
            return Chart(name=name, sides=sides, unit=axis, compared_with=compared_with, **bars._asdict())
    return None


def _bound(checks: Sequence[Check]) -> DrawnBound | None:
    """Return a one-sided bound on the scale of the values: of the first missed criterion, else of the first."""
    for check in sorted(checks, key=lambda check: check.passed or not check.decides):
        if isinstance(check.criterion, TargetMet):
            value, operator = check.criterion.target.upper, TARGET_OPERATORS.get(check.criterion.target.operator)
        elif requirement := _on_scale(check):
            value, operator = requirement.bound, requirement.operator
        else:
            continue
        if value is not None and operator and operator in SIDES:
            return DrawnBound(value, operator)
    return None


def _sides(bound: DrawnBound | None, values: Sequence[float], unit: str) -> str:
    """Return on which side of the bound the values are, or how many of them are beyond it."""
    if bound is None:
        return ""
    within, beyond = (words.format(amount(bound.value, unit)) for words in SIDES[bound.operator])
    some = percent(sum(not bound.meets(value) for value in values) / len(values))
    return {"within": f"all {within}", "beyond": f"all {beyond}", "both": f"{some} are {beyond}"}[bound.side(values)]


def _paired_numbers(leg: LegReport, metric: Metric, checks: Sequence[Check]) -> tuple[list[float], list[float]]:
    """Return the agent's own numbers, and those of its base or baseline, on the test cases of both.

    `checks`: those of the metric. The lists are empty if none compares.
    """
    baseline = leg.judgement.base or leg.judgement.baseline
    compares = any(check.reference in ("baseline", "base_agent") and check.comparison for check in checks)
    if not compares or baseline is None or leg.result is None:
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
    values = ((one.test_case_id, metric.values.get(one.id)) for one in result.simulations if one.mutation == BASE)
    return [(case, value) for case, value in values if isinstance(value, float)]
