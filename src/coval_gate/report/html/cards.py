"""The metrics of the HTML report: the distribution of each, and its average over the last runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import number, one_line, percent, plural
from coval_gate.judge import targets
from coval_gate.judge.clauses import named_with_unit, target_text, with_unit
from coval_gate.judge.findings import comparison_of
from coval_gate.judge.references import day_text
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE
from coval_gate.report.charts import threshold_on_scale
from coval_gate.report.html.plots import WIDTH, PlottedBar, Point, histogram, trend
from coval_gate.report.html.table import web_address
from coval_gate.report.limits import MOST_CARDS
from coval_gate.report.metrics import MOST_TEXTS, figures, paired_numbers, variant_key
from coval_gate.report.provenance import run_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.variants import Sample, Variant
    from coval_gate.model.results import Metric, Target, TrendRun
    from coval_gate.report.html.plots import Histogram, Line
    from coval_gate.report.model import LegReport

NAME: Final = 200  # characters
AXIS: Final = 50  # characters below a chart
FIGURES: Final = ("mean", "median", "p95", "min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    text: str
    count: str
    bar: PlottedBar


class SampleView(NamedTuple):
    """A metric on the simulations of one variant."""

    variant: str
    figures: tuple[tuple[str, str], ...]
    histogram: Histogram | None
    shares: tuple[Share, ...]
    more_texts: int
    missing: str


class CardView(NamedTuple):
    """`axis`: the title of the axis of values."""

    name: str
    axis: str
    target: str
    verdict: str
    samples: tuple[SampleView, ...]
    marks: tuple[tuple[str, str], ...]
    trend: Line | None
    paired: bool

    @property
    def baseline(self) -> bool:
        """Whether a run of the trend is the baseline."""
        return self.trend is not None and any(dot.kind == "baseline" for dot in self.trend.dots)

    @property
    def failed(self) -> bool:
        """Whether the gate failed a run of the trend."""
        return self.trend is not None and any(dot.failed for dot in self.trend.dots)


def cards(leg: LegReport) -> tuple[CardView, ...]:
    """Return the first metrics of a leg: those with missed criteria, those with other criteria, then the rest."""
    if leg.result is None:
        return ()
    by_metric: dict[str, list[Check]] = {}
    for check in leg.judgement.checks:
        by_metric.setdefault(check.metric, []).append(check)
    metrics = sorted(leg.result.metrics, key=lambda metric: _order(by_metric.get(metric.id, [])))
    return tuple(_card(leg, metric, by_metric.get(metric.id, [])) for metric in metrics[:MOST_CARDS])


def _order(checks: Sequence[Check]) -> int:
    return 0 if _missed(checks) else 1 if checks else 2


def _missed(checks: Sequence[Check]) -> bool:
    return any(check.decides and not check.passed for check in checks)


def _verdict(checks: Sequence[Check]) -> str:
    """Return the gravest verdict of the criteria that decide; empty where all are met."""
    verdicts = {check.verdict for check in checks if check.decides}
    return next((verdict.value for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE) if verdict in verdicts), "")


def _card(leg: LegReport, metric: Metric, checks: Sequence[Check]) -> CardView:
    paired = any(check.reference in ("baseline", "base_agent") and comparison_of(check) for check in checks)
    pair = paired_numbers(leg, metric) if paired else ([], [])
    marks = list(_marks(metric, checks))
    several = len(leg.variants) > 1
    target = metric.target if metric.target and not targets.problem(metric.target) else None
    return CardView(
        name=one_line(metric.name, NAME),
        axis=one_line(named_with_unit(metric.name, metric.unit), AXIS),
        target=f"target: {target_text(target)}" if target else "",
        verdict=_verdict(checks),
        samples=tuple(_sample(variant, variant.sample(metric), pair, marks, several) for variant in leg.variants),
        marks=tuple((kind, f"{kind} {with_unit(number(bound), metric.unit)}") for kind, bound in marks),
        trend=_trend(leg, metric),
        paired=bool(pair[0] and pair[1]),
    )


def _sample(
    variant: Variant,
    sample: Sample,
    pair: tuple[Sequence[float], Sequence[float]],
    marks: Sequence[tuple[str, float]],
    several: bool,
) -> SampleView:
    values = figures(sample)
    compared = variant.name == BASE and pair[0] and pair[1]
    unit = sample.metric.unit
    chart = histogram(*pair, marks, unit) if compared else histogram(sample.numbers, (), marks, unit)
    return SampleView(
        variant=one_line(variant_key(variant.name), NAME) if several else "",
        figures=(
            ("count", f"{sample.count:,}"),
            *((name, with_unit(number(values[name]), unit)) for name in FIGURES if name in values),
        ),
        histogram=chart,
        shares=tuple(_shares(sample)),
        more_texts=max(0, len(sample.texts) - MOST_TEXTS),
        missing=f"{plural(sample.missing, 'simulation')} without a value" if sample.missing else "",
    )


def _shares(sample: Sample) -> Iterator[Share]:
    """Yield the most frequent texts; a full bar stands for all simulations with a value."""
    for text, count in sample.texts[:MOST_TEXTS]:
        share = count / max(1, sample.count)
        bar = PlottedBar(x=0, width=round(max(1.0, WIDTH * min(1.0, share)), 1), y=0, height=0, text="")
        yield Share(text=text, count=f"{count:,} ({percent(share)})", bar=bar)


def _marks(metric: Metric, checks: Sequence[Check]) -> Iterator[tuple[str, float]]:
    """Yield the bounds of thresholds and of the target on the scale of the values."""
    for check in checks:
        if requirement := threshold_on_scale(check):
            yield "threshold", requirement.bound
    if metric.target and not targets.problem(metric.target):
        for bound in _bounds(metric.target):
            yield "target", bound


def _bounds(target: Target) -> tuple[float, ...]:
    if targets.effective_operator(target) in targets.RANGES:
        return targets.bounds(target)
    return (target.upper,) if target.upper is not None else ()


def _trend(leg: LegReport, metric: Metric) -> Line | None:
    """Return the metric's averages over the last runs, ending with the agent's own average in this one."""
    shown = [run for run in reversed(leg.trend) if metric.id in run.averages]
    earlier = [_point(leg, run, run.averages[metric.id], metric.unit) for run in shown]
    agent = next((variant for variant in leg.variants if variant.name == BASE), None)
    mean = figures(agent.sample(metric)).get("mean") if agent else None
    failed = leg.judgement.verdict is Verdict.FAILED
    this = _words("this run", mean, failed, metric.unit) if mean is not None else ""
    now = [Point(mean, this, "now", "", failed)] if mean is not None and earlier else []
    days = [day_text(run.created) for run in shown] or [""]
    return trend([*earlier, *now], first=days[0], last="this run" if now else days[-1], unit=metric.unit)


def _point(leg: LegReport, run: TrendRun, mean: float, unit: str) -> Point:
    is_baseline = " (baseline)" if run.is_baseline else ""
    return Point(
        value=mean,
        text=_words(f"{dated_run(run.created)}{is_baseline}", mean, run.failed, unit),
        kind="baseline" if run.is_baseline else "",
        url=web_address(run_page(leg, run)),
        failed=run.failed,
    )


def _words(run: str, value: float, failed: bool, unit: str) -> str:
    return f"{run}: {with_unit(number(value), unit)}{', failed' if failed else ''}"


def dated_run(created: str) -> str:
    return f"run of {day_text(created) or 'an unknown day'}"
