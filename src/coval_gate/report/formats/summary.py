"""The step's summary on the workflow run's page, and the parts that a comment shares with it."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE
from coval_gate.report.charts import histogram
from coval_gate.report.headings import MARKS, heading
from coval_gate.report.markdown import code, escape, link
from coval_gate.report.metrics import figures, numbers_of, variant_key
from coval_gate.report.page import Listing, Table, page, row
from coval_gate.report.provenance import configuration, provenance
from coval_gate.report.simulations import cases
from coval_gate.text import number, plural, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.judge.verdict import Judgement
    from coval_gate.model.results import Metric, RunResult
    from coval_gate.report.metrics import Numbers
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import Case

LIMIT: Final = 1024 * 1024  # bytes of UTF-8; the runner drops a larger summary whole
MOST_REASONS: Final = 20
MOST_CHECKS: Final = 100
MOST_MISSES: Final = 20  # criteria in a row
MOST_CHARTS: Final = 2
TEXTS_SHOWN: Final = 8  # different texts of a metric
WORDS: Final = 200  # characters of an explanation


def summary(report: Report) -> str:
    """All of it: verdict and reason first, what there is to look at next, the rest folded."""
    found = cases(report)
    parts = [
        *opening(report),
        *_metrics(report),
        *troubled(found),
        *_passed(found),
        *_background(report),
        links(report),
    ]
    return page(parts, limit=LIMIT, size=lambda text: len(text.encode("utf-8", "replace")))


def opening(report: Report) -> Iterator[str | Listing]:
    """Verdict, reason, advice, and the criteria with what was found."""
    judgement = report.judgement
    yield f"### {heading(judgement)}: Coval evaluation"
    yield escape(judgement.reason)
    if judgement.advice:
        advice = list(_advice(judgement.advice))
        yield Listing(rows=advice, total=len(advice))
    if reasons := _more_reasons(judgement):
        rows = (f"- {escape(reason)}" for reason in reasons[:MOST_REASONS])
        yield Listing(rows=rows, total=len(reasons))
    if judgement.checks:
        yield _checks(judgement)


def troubled(found: Sequence[Case]) -> Iterator[str | Listing]:
    """The simulations to look at."""
    ill = [case for case in found if case.verdict is not Verdict.PASSED]
    if ill:
        yield f"#### {plural(len(ill), 'simulation')} to look at"
        yield Table(head=("", "test case", "what missed", "why"), rows=map(_case, ill), total=len(ill))


def links(report: Report) -> str:
    """Where to read on."""
    targets = {
        "Open the run in Coval": report.run_url,
        "Workflow run": report.context.run_url,
        "Read more": report.judgement.link,
    }
    return " · ".join(link(label, url) for label, url in targets.items() if url)


def _more_reasons(judgement: Judgement) -> list[str]:
    """The reasons that neither the first line nor the table of criteria tells."""
    told = {check.reason for check in judgement.checks if check.missed}
    return [reason for reason in judgement.reasons[1:] if reason not in told]


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
            MARKS[check.verdict],
            code(check.asked) + (f" ({escape(check.variant)})" if check.variant else ""),
            escape(check.found),
            escape(check.missed),
        )
        for check in judgement.first_checks(MOST_CHECKS)
    )
    return Table(head=("", "asked", "found", "missed by"), rows=rows, total=len(judgement.checks))


def _metrics(report: Report) -> Iterator[str | Listing]:
    result = report.result
    if result is None or not result.metrics:
        return
    variants = result.variants
    several = len(variants) > 1
    entries = [
        (metric, variant, figures(metric, simulations))
        for metric in result.metrics
        for variant, simulations in variants.items()
    ]
    yield "#### Metrics"
    who = ("variant",) if several else ()
    numeric = [each for each in entries if each[2].numbers]
    if numeric:
        rows = (
            row(*_of_whom(metric, variant, several), f"{found.count:,}", *_cells(found.numbers))
            for metric, variant, found in numeric
            if found.numbers
        )
        head = ("metric", *who, "count", "mean", "spread (SD)", "min", "median", "p95", "max")
        yield Table(head=head, rows=rows, total=len(numeric))
    yield from _charts(report, result)
    other = [each for each in entries if not each[2].numbers or each[2].texts]
    if other:
        rows = (
            row(*_of_whom(metric, variant, several), f"{found.count:,}", _texts(found.texts) or "no values")
            for metric, variant, found in other
        )
        yield Table(head=("metric", *who, "count", "values"), rows=rows, total=len(other))


def _of_whom(metric: Metric, variant: str, several: bool) -> tuple[str, ...]:
    return (escape(metric.name), escape(variant_key(variant))) if several else (escape(metric.name),)


def _cells(numbers: Numbers) -> Iterator[str]:
    for value in (numbers.mean, numbers.stdev, numbers.min, numbers.median, numbers.p95, numbers.max):
        yield "" if value is None else number(value)


def _texts(texts: Sequence[tuple[str, int]]) -> str:
    more = len(texts) - TEXTS_SHOWN
    shown = [f"{escape(text, 40)} × {count:,}" for text, count in texts[:TEXTS_SHOWN]]
    return " · ".join(shown) + (f" · … {more} more" if more > 0 else "")


def _charts(report: Report, result: RunResult) -> Iterator[str]:
    """How the values of the metrics that decide are spread out: those that missed or, if none did, all of them."""
    checks = [check for check in report.judgement.checks if check.metric]
    decisive = [check for check in checks if check.verdict is not Verdict.PASSED] or checks
    metrics = {metric.id: metric for metric in result.metrics}
    wanted = [metrics[each] for each in dict.fromkeys(check.metric for check in decisive) if each in metrics]
    simulations = result.variants.get(BASE, ())
    charts = ((metric, histogram(numbers_of(metric, simulations))) for metric in wanted)
    for metric, chart in islice(((metric, chart) for metric, chart in charts if chart), MOST_CHARTS):
        yield f"How {escape(metric.name)} is spread out:"
        yield chart


def _case(case: Case) -> str:
    label = link(escape(case.title), case.url)
    misses = [code(check.asked) for check in case.misses[:MOST_MISSES]]
    if not case.simulation.completed:
        misses.append("did not complete")
    texts = [case.simulation.error, *(case.texts.get(check.metric, "") for check in case.misses)]
    why = [escape(text, WORDS) for text in dict.fromkeys(texts) if text]
    whom = f" ({escape(case.simulation.mutation)})" if case.simulation.mutation != BASE else ""
    return row(MARKS[case.verdict], label + whom, "<br>".join(misses) or "a target", "<br>".join(why))


def _passed(found: Sequence[Case]) -> Iterator[Table]:
    well = [case for case in found if case.verdict is Verdict.PASSED]
    if well:
        several = any(case.simulation.mutation != BASE for case in found)
        rows = (
            row(
                link(escape(case.title), case.url),
                *((escape(variant_key(case.simulation.mutation)),) if several else ()),
                code(case.simulation.id),
            )
            for case in well
        )
        head = ("test case", *(("variant",) if several else ()), "simulation")
        yield Table(head=head, rows=rows, total=len(well), folded=f"{plural(len(well), 'simulation')} passed")


def _background(report: Report) -> Iterator[Table]:
    known = provenance(report)
    given = configuration(report.inputs) if report.inputs else {}
    rows = [row(escape(name), code(value)) for name, value in known.items()]
    rows += [
        row(code(name), "<br>".join(code(line) for line in value.split("\n")[:MOST_REASONS]))
        for name, value in given.items()
        if name not in LAUNCH_IDS  # they are told above
    ]
    yield Table(head=("", ""), rows=rows, total=len(rows), folded="Configuration and provenance")
