"""The step's summary on the workflow run's page, and the parts that a comment shares with it."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE
from coval_gate.report.charts import compared_histogram, histogram
from coval_gate.report.comparison_tables import MOST_CHECKS, comparison_parts, criterion_cell
from coval_gate.report.comparisons import absolute, lacks_baseline, paired_numbers
from coval_gate.report.markdown import Listing, Table, code, escape, link, page, row
from coval_gate.report.metrics import MOST_TEXTS, figures, variant_key
from coval_gate.report.provenance import configuration, provenance
from coval_gate.report.simulations import case_title, simulation_rows, to_look_at
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, check_reason, first_text, here_text, note_text, shown_verdict
from coval_gate.report.wording.comparisons import comparison_of, reference_of
from coval_gate.report.wording.criteria import criterion_text
from coval_gate.report.wording.judgements import MARKS
from coval_gate.report.wording.promotion import report_text
from coval_gate.report.wording.repetition import in_figures, stability_text, stability_word
from coval_gate.text import number, plural, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.sample import Sample
    from coval_gate.judge.variants import Variant
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

LIMIT: Final = 1024 * 1024  # bytes of UTF-8; the runner drops a larger summary whole
MOST_REASONS: Final = 20
MOST_CHARTS: Final = 2
MOST_UNFOLDED: Final = 10  # rows of a table that is folded if it is longer
TEXTS_SHOWN: Final = 8  # different texts of a metric
WORDS: Final = 200  # characters of an explanation


def render(report: Report) -> str:
    """Return the summary's Markdown: verdict and reason first, what needs attention next, the rest folded."""
    found = simulation_rows(report)
    parts = [
        *opening(report),
        *unstable(report),
        *(part for leg in report.legs for part in _metrics(leg)),
        *troubled(found),
        *_passed(found),
        *_background(report),
        links(report),
    ]
    return page(parts, limit=LIMIT, size=lambda text: len(text.encode("utf-8", "replace")))


def opening(report: Report) -> Iterator[str | Listing]:
    """Yield verdict, reason, advice, and the criteria with what was measured."""
    judgement = report.judgement
    yield f"### {judgements.heading(judgement)}: {escape(report.context.matrix.after('Coval evaluation'))}"
    yield escape(judgements.reason(judgement))
    if text := judgements.advice(judgement):
        advice = list(_advice(text))
        yield Listing(rows=advice, total=len(advice))
    for leg in report.legs:
        if leg.promotion:
            yield report_text(leg.promotion, code=code, escape=escape)
    if reasons := _more_reasons(report):
        rows = (f"- {escape(reason)}" for reason in reasons[:MOST_REASONS])
        yield Listing(rows=rows, total=len(reasons))
    for leg in report.legs:
        if leg.name:
            yield f"#### {escape(leg.name)}"
        if (judgement := absolute(leg.judgement)).checks:
            yield _checks(judgement)
        yield from comparison_parts(report, leg)


def troubled(found: Sequence[SimulationRow]) -> Iterator[str | Listing]:
    """Yield the simulations to look at."""
    if ill := to_look_at(found):
        yield f"#### {plural(len(ill), 'simulation')} to look at"
        yield Table(head=("", "simulation", "missed criteria", "why"), rows=map(_simulation, ill), total=len(ill))


def unstable(report: Report) -> Iterator[str | Listing]:
    """Yield the test cases that failed in any of several runs, and whether they fail always or only at times."""
    for leg in report.legs:
        cases = leg.judgement.repetition.cases if leg.judgement.repetition else ()
        if not cases:
            continue
        several = len(leg.variants) > 1
        rows = (
            row(
                escape(case_title(case.test_case_id, leg.details.labels)),
                *((escape(variant_key(case.variant)),) if several else ()),
                stability_word(case),
                f"{case.failed:,} of {case.total:,}",
            )
            for case in cases
        )
        head = ("test case", *(("variant",) if several else ()), "stability", "failed")
        heading = f"Test cases that failed: {in_figures(cases)}"
        long = len(cases) > MOST_UNFOLDED
        if not long:
            yield f"#### {heading}"
        yield Table(head=head, rows=rows, total=len(cases), folded=heading if long else "")


def links(report: Report) -> str:
    """Return where to read on."""
    runs = [run for leg in report.legs for run in leg.runs]
    targets = {
        **{
            "Open the run in Coval" if len(runs) == 1 else f"Open run {escape(run.run_id)}": run.run_url for run in runs
        },
        "Workflow run": report.context.run_url,
        "Read more": judgements.link(report.judgement),
    }
    return " · ".join(link(label, url) for label, url in targets.items() if url)


def _more_reasons(report: Report) -> list[str]:
    """Return the reasons that neither the first line nor the table of criteria tells."""
    shown = (check for leg in report.legs for check in leg.judgement.first_checks(MOST_CHECKS))
    told = {check_reason(check) for check in shown if check.measure or lacks_baseline(check)}
    return [reason for reason in judgements.reasons(report.judgement)[1:] if reason not in told]


def _advice(advice: str) -> Iterator[str]:
    """Sentences, bullets, and blocks of lines that are indented because the place of each character matters."""
    for indented, lines in groupby(advice.split("\n"), key=lambda line: line.startswith("    ")):
        if indented:
            shown = (visible(line).removeprefix("    ").replace("```", "'''") for line in lines)
            yield "\n".join(["```text", *shown, "```"])
        else:
            yield from (f"- {escape(line[2:])}" if line.startswith("- ") else escape(line) for line in lines)


def _checks(judgement: Judgement) -> Table:
    rows = (
        row(
            MARKS[shown_verdict(check)],
            criterion_cell(check),
            escape(f"{actual_text(check)}{first_text(check)}"),
            escape(note_text(check)),
        )
        for check in judgement.first_checks(MOST_CHECKS)
    )
    claims = any(check.measure and check.measure.interval for check in judgement.checks)
    last = "what it shows" if claims else "margin"
    return Table(head=("", "criterion", "actual", last), rows=rows, total=len(judgement.checks))


def _metrics(leg: LegReport) -> Iterator[str | Listing]:
    if leg.result is None or not leg.result.metrics:
        return
    several = len(leg.variants) > 1
    samples = [(variant.sample(metric), variant) for metric in leg.result.metrics for variant in leg.variants]
    yield "#### Metrics"
    variant_head = ("variant",) if several else ()
    numeric = [each for each in samples if figures(each[0])]
    if numeric:
        rows = (
            row(*_named(sample, variant, several), f"{sample.count:,}", *_cells(sample)) for sample, variant in numeric
        )
        head = ("metric", *variant_head, "count", "mean", "spread (SD)", "min", "median", "p95", "max")
        yield Table(head=head, rows=rows, total=len(numeric))
    yield from _charts(leg)
    other = [each for each in samples if not figures(each[0]) or each[0].texts]
    if other:
        rows = (
            row(*_named(sample, variant, several), f"{sample.count:,}", _texts(sample.texts) or "no values")
            for sample, variant in other
        )
        yield Table(head=("metric", *variant_head, "count", "values"), rows=rows, total=len(other))


def _named(sample: Sample, variant: Variant, several: bool) -> tuple[str, ...]:
    name = escape(sample.metric.name)
    return (name, escape(variant_key(variant.name))) if several else (name,)


def _cells(sample: Sample) -> Iterator[str]:
    known = figures(sample)
    for name in ("mean", "stdev", "min", "median", "p95", "max"):
        yield number(known[name]) if name in known else ""


def _texts(texts: Sequence[tuple[str, int]]) -> str:
    texts = texts[:MOST_TEXTS]
    more = len(texts) - TEXTS_SHOWN
    shown = [f"{escape(text, 40)} × {count:,}" for text, count in texts[:TEXTS_SHOWN]]
    return " · ".join(shown) + (f" · … {more} more" if more > 0 else "")


def _charts(leg: LegReport) -> Iterator[str]:
    """Yield how the agent's values are spread out: of the metrics that missed or, if none did, of all that decide."""
    checks = [check for check in leg.judgement.checks if check.metric]
    decisive = [check for check in checks if check.decides and not check.passed] or checks
    agent = next((variant for variant in leg.variants if variant.name == BASE), None)
    samples = {sample.metric.id: sample for sample in agent.samples} if agent else {}
    wanted = [samples[each] for each in dict.fromkeys(check.metric for check in decisive) if each in samples]
    compared = {check.metric for check in checks if reference_of(check) == "baseline" and comparison_of(check)}
    charts = (chart for sample in wanted for chart in [_chart(leg, sample, pair=sample.metric.id in compared)] if chart)
    yield from (part for chart in islice(charts, MOST_CHARTS) for part in chart)


def _chart(leg: LegReport, sample: Sample, *, pair: bool) -> tuple[str, ...]:
    """Return a title and a chart, with `pair` beside the baseline; nothing where a table says as much."""
    name = escape(sample.metric.name)
    if pair and (chart := compared_histogram(*paired_numbers(leg, sample.metric))):
        return f"How {name} is spread out now (bars) and in the baseline (line):", chart
    chart = histogram(sample.numbers)
    return (f"How {name} is spread out:", chart) if chart else ()


def _simulation(found: SimulationRow) -> str:
    criteria = ((code(criterion_text(miss.check.criterion)), escape(here_text(miss))) for miss in found.misses)
    misses = [" – ".join(filter(None, each)) for each in criteria]
    if found.more_misses:
        misses.append(f"… and {plural(found.more_misses, 'more criterion', 'more criteria')}")
    if not found.simulation.completed:
        misses.append("did not complete")
    texts = [found.simulation.error, *(found.texts.get(miss.check.metric, "") for miss in found.misses)]
    why = [escape(text, WORDS) for text in dict.fromkeys(texts) if text]
    variant = f" ({escape(found.simulation.mutation)})" if found.simulation.mutation != BASE else ""
    stability = f"<br>{stability_text(found.stability)}" if found.stability else ""
    which = f"{link(escape(found.title), found.url)}{variant}<br>{code(found.simulation.id)}{stability}"
    return row(MARKS[found.verdict], which, "<br>".join(misses) or "a target", "<br>".join(why))


def _passed(found: Sequence[SimulationRow]) -> Iterator[Table]:
    well = [each for each in found if each.verdict is Verdict.PASSED]
    if well:
        several = any(each.simulation.mutation != BASE for each in found)
        rows = (
            row(
                link(escape(each.title), each.url),
                *((escape(variant_key(each.simulation.mutation)),) if several else ()),
                code(each.simulation.id)
                + (f"<br>{stability_text(each.stability)}" if each.failed_alone and each.stability else ""),
            )
            for each in well
        )
        head = ("test case", *(("variant",) if several else ()), "simulation")
        yield Table(head=head, rows=rows, total=len(well), folded=f"{plural(len(well), 'simulation')} passed")


def _background(report: Report) -> Iterator[Table]:
    known = provenance(report, report.legs[0] if report.legs else None)
    given = configuration(report.inputs) if report.inputs else {}
    rows = [row(escape(name), code(value)) for name, value in known.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in given.items()
        if name not in (*LAUNCH_IDS, "matrix")  # they are told above
    ]
    yield Table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance")
