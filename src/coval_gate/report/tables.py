"""Comparisons, metrics, simulations and test cases as tables in Markdown, with links to their pages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import number, plural
from coval_gate.judge.claims import (
    CHANCE,
    claimed_text,
    difference_text,
    earlier_text,
    flips_title,
    noticeable_text,
    reference_text,
    shows_text,
    trend_text,
)
from coval_gate.judge.clauses import NAMES, in_figures, named_with_unit, stability_word
from coval_gate.judge.findings import comparison_of, lacks_baseline
from coval_gate.judge.verdict import GRAVITY, Verdict
from coval_gate.model.results import BASE
from coval_gate.report.charts import drawn
from coval_gate.report.compose.metrics import charts_of
from coval_gate.report.markdown import Table, code, escape, folding, link, row
from coval_gate.report.metrics import MOST_TEXTS, figures, variant_key
from coval_gate.report.provenance import base_name, of_leg, run_page
from coval_gate.report.wording.causes import counts_text
from coval_gate.report.wording.checks import actual_text, here_text, informs_text, shown_verdict
from coval_gate.report.wording.judgements import MARKS, heading, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coval_gate.config.thresholds import Reference
    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import CheckGroup
    from coval_gate.judge.variants import Sample, Variant
    from coval_gate.report.markdown import Listing
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

MOST_CHECKS: Final = 100  # of a table
MOST_UNFOLDED: Final = 10  # rows of a table; the others are folded
FEW_FLIPS: Final = 6  # test cases that flipped; more are folded
MOST_FLIPS: Final = 20  # of a criterion, in each direction
LONGEST_NAME: Final = 200  # characters of a test case's name
MOST_COLUMNS: Final = 4  # criteria of the table of variants; more are counted
TEXTS_SHOWN: Final = 8  # different texts of a metric
WORDS: Final = 200  # characters of an explanation
JUDGED: Final[Mapping[Reference, str]] = {"baseline": "now", "base": "mutation", "base_agent": "tested"}


def leg_table(report: Report) -> Iterator[Table]:
    """Yield the verdict on each leg, the gravest on top, if the step has several, with how many criteria it missed."""
    if len(report.legs) > 1:
        rows = (
            row(
                heading(leg.judgement),
                link(escape(leg.name, LONGEST_NAME), leg.run_url),
                "<br>".join([code(leg.run_id), *(link(code(run.run_id), run.run_url) for run in leg.runs[1:])]),
                f"{leg.totals.completed:,} of {leg.totals.total:,}" if leg.totals else "",
                missed_count(leg.findings.checks.checks),
                escape(reason(leg.judgement)),
            )
            for leg in report.gravest_first
        )
        yield Table(head=("", "leg", "run", "completed", "criteria", "reason"), rows=rows, total=len(report.legs))


def variant_table(leg: LegReport) -> Iterator[Table]:
    """Yield a row for the agent and each mutation, if any. Few criteria have a column each; many are counted."""
    if len(leg.variants) <= 1:
        return
    checks = [check for check in leg.findings.checks.checks if check.several]
    of_user = dict.fromkeys(check.criterion.text for check in checks if check.user_defined)
    columns = list(of_user) if len(of_user) <= MOST_COLUMNS else []
    of_variants = [(variant, [check for check in checks if check.variant == variant.name]) for variant in leg.variants]
    of_variants.sort(key=lambda pair: GRAVITY.index(_gravest(pair[1])))
    rows = (_variant(variant, own, columns) for variant, own in of_variants)
    head = ("", "variant", "completed", *(map(code, columns) if columns else ("criteria",)))
    yield Table(head=head, rows=rows, total=len(leg.variants))


def _gravest(checks: Sequence[Check]) -> Verdict:
    return min((check.verdict for check in checks if check.decides), key=GRAVITY.index, default=Verdict.PASSED)


def _variant(variant: Variant, checks: Sequence[Check], columns: Sequence[str]) -> str:
    by_text = {check.criterion.text: check for check in checks}
    cells = [_value(by_text.get(column)) for column in columns] or [missed_count(checks)]
    name = escape(variant_key(variant.name), LONGEST_NAME)
    return row(MARKS[_gravest(checks)], name, f"{len(variant.completed):,} of {variant.total:,}", *cells)


def _value(check: Check | None) -> str:
    """Return what was measured, marked; empty for a criterion that the variant does not have."""
    return f"{MARKS[shown_verdict(check)]} {escape(actual_text(check))}" if check else ""


def missed_count(checks: Sequence[Check], *, named: bool = False) -> str:
    """Return how many criteria that decide are missed: "1 of 3 missed", "3 met"; empty without any."""
    checks = [check for check in checks if not check.informs]
    total = plural(len(checks), "criterion", "criteria") if named else f"{len(checks):,}"
    doubtful = sum(check.verdict is Verdict.INCONCLUSIVE for check in checks)
    counts = {"missed": sum(not check.passed for check in checks) - doubtful, "inconclusive": doubtful}
    unmet = [f"{count:,} of {total} {word}" for word, count in counts.items() if count]
    return ", ".join(unmet) or (f"{total} met" if checks else "")


def folds_met(leg: LegReport) -> bool:
    """Return whether a table of legs or variants has the criteria that are met, so that they may be folded."""
    return len(leg.variants) > 1 or (bool(leg.name) and leg.judgement.verdict is not Verdict.PASSED)


def comparison_parts(leg: LegReport, group: CheckGroup) -> Iterator[str | Listing]:
    first = next(iter(leg.findings.checks.missed), None)  # its reason stands above
    yield reference_text(
        group,
        why=first is None or not lacks_baseline(first),
        title=lambda text: f"**{text}**",
        source=lambda source: code(base_name(leg, source)),
        foreign=escape,
        run_text=lambda run: link(code(run.run_id), run_page(leg, run)),
    )
    now = JUDGED[group.reference]
    values = (NAMES[group.reference], now, "change") if group.comparisons else ()
    head = ("", "criterion", *values, shows_text(group.checks))
    yield from check_tables(group, head, partial(_row, len(values)), only_missed=folds_met(leg))
    if any(_noticeable(check) for check in group.checks):
        yield f"Noticeable: the smallest change for the worse that {CHANCE} of such runs would show."


def check_tables(
    group: CheckGroup, head: tuple[str, ...], to_row: Callable[[Check], str], *, only_missed: bool = False
) -> Iterator[Table]:
    """Yield one table or, of many checks, the gravest and the others folded; `only_missed` folds all others."""
    first = group.missed[:MOST_UNFOLDED] if only_missed else group.first(MOST_UNFOLDED)
    taken = set(map(id, first))
    others = [check for check in group.first(MOST_CHECKS) if id(check) not in taken]
    left = [check for check in group.checks if id(check) not in taken]
    met = "" if not all(check.passed for check in left) else ", all met" if len(left) > 1 else ", met"
    if first:
        yield from folding(
            head,
            map(to_row, [*first, *others]),
            len(group.checks),
            most=len(first) if only_missed else MOST_UNFOLDED,
            rest=lambda more: f"{plural(more, 'more criterion', 'more criteria')}{met}",
        )
    else:
        title = f"{plural(len(group.checks), 'criterion', 'criteria')}{met}"
        yield Table(head=head, rows=map(to_row, others), total=len(group.checks), folded=title)


def _row(columns: int, check: Check) -> str:
    return row(MARKS[shown_verdict(check)], criterion_cell(check), *_values(check, columns), _shown(check))


def _values(check: Check, columns: int) -> Iterator[str]:
    if check.problem:
        yield from [""] * columns
    else:
        yield from map(escape, (earlier_text(check), actual_text(check), difference_text(check)))


def _shown(check: Check) -> str:
    if check.problem:
        return "<br>".join(map(escape, filter(None, (actual_text(check), informs_text(check)))))
    lines = (escape(claimed_text(check)), escape(informs_text(check)), _noticeable(check))
    return "<br>".join([f"**{trend_text(check)}**", *filter(None, lines)])


def _noticeable(check: Check) -> str:
    """Return which change would show, where none did."""
    compared = comparison_of(check)
    if compared is None or compared.trend not in ("inconclusive", "unchanged"):
        return ""
    change = noticeable_text(check, short=True)
    return f"noticeable: {escape(change)}" if change else ""


def flipped(leg: LegReport) -> Iterator[str | Listing]:
    failing, passing = leg.findings.failing, leg.findings.passing
    if not leg.findings.flips:
        return
    title, many = flips_title(failing, passing), failing + passing > FEW_FLIPS
    if not many:
        yield f"**{title}**"
    columns = [("fails now", failing), ("passes now", passing)]
    rows = (
        row(
            criterion_cell(flip.check),
            *(_cases(leg, cases) for cases, (_, some) in zip(flip[1:], columns, strict=True) if some),
        )
        for flip in leg.findings.first_flips(MOST_CHECKS)
    )
    head = ("criterion", *(word for word, some in columns if some))
    yield Table(head=head, rows=rows, total=len(leg.findings.flips), folded=title if many else "")


def _cases(leg: LegReport, cases: Sequence[str]) -> str:
    more = len(cases) - MOST_FLIPS
    shown = [escape(leg.case_name(case), LONGEST_NAME) for case in cases[:MOST_FLIPS]]
    return "<br>".join([*shown, *([f"… and {more:,} more"] if more > 0 else [])])


def criterion_cell(check: Check) -> str:
    return code(check.criterion.text) + (f" ({escape(check.variant)})" if check.variant else "")


def metric_parts(leg: LegReport) -> Iterator[str | Listing]:
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
    name = escape(named_with_unit(sample.metric.name, sample.metric.unit if figures(sample) else ""))
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
    for chart in charts_of(leg):
        name, sides = escape(chart.name), escape(chart.sides)
        if chart.compared_with:
            bars = "; ".join(filter(None, ("bars", sides)))
            yield f"How {name} is distributed now ({bars}) and in the {chart.compared_with} (line):"
        else:
            yield f"How {name} is distributed{f' ({sides})' if sides else ''}:"
        yield drawn(chart)


def troubled(report: Report) -> Iterator[str | Listing]:
    """Yield the simulations to look at; all but the worst are folded."""
    if ill := [(simulation, leg) for leg in report.legs for simulation in leg.rows if simulation.is_to_look_at]:
        ill.sort(key=lambda pair: pair[0].order[:2])  # by cause; within a cause, the legs keep their order
        counts = counts_text(ill)
        yield f"#### {plural(len(ill), 'simulation')} to look at{f': {escape(counts)}' if counts else ''}"
        explained = any(_reasons(simulation) for simulation, _ in ill)
        columns = (("cause",) if counts else (), ("why",) if explained else ())
        yield from folding(
            ("", "simulation", *columns[0], "missed criteria", *columns[1]),
            (_simulation(simulation, leg, caused=bool(counts), explained=explained) for simulation, leg in ill),
            len(ill),
            most=MOST_UNFOLDED,
            rest=lambda more: f"{plural(more, 'more simulation')} to look at",
        )


def unstable(report: Report) -> Iterator[str | Listing]:
    """Yield the test cases that failed in any of several runs, and whether they always fail or only sometimes."""
    for leg in report.gravest_first:
        cases = leg.judgement.repetition.cases if leg.judgement.repetition else ()
        if not cases:
            continue
        several = len(leg.variants) > 1
        rows = (
            row(
                escape(leg.case_name(case.test_case_id)),
                *((escape(variant_key(case.variant)),) if several else ()),
                stability_word(case),
                f"{case.failed:,} of {case.total:,}",
            )
            for case in cases
        )
        head = ("test case", *(("variant",) if several else ()), "stability", "failed")
        title = of_leg(leg, f"Test cases that failed: {in_figures(cases)}")
        long = len(cases) > MOST_UNFOLDED
        if not long:
            yield f"#### {escape(title)}"
        yield Table(head=head, rows=rows, total=len(cases), folded=title if long else "")


def passed(report: Report) -> Iterator[Table]:
    well = [(simulation, leg) for leg in report.legs for simulation in leg.rows if not simulation.is_to_look_at]
    if well:
        rows = (row(_which(simulation, leg)) for simulation, leg in well)
        yield Table(
            head=("simulation",), rows=rows, total=len(well), folded=f"{plural(len(well), 'simulation')} passed"
        )


def _simulation(simulation: SimulationRow, leg: LegReport, *, caused: bool, explained: bool) -> str:
    criteria = ((code(miss.check.criterion.text), escape(here_text(miss))) for miss in simulation.misses)
    misses = [" – ".join(filter(None, criterion)) for criterion in criteria]
    if simulation.more_misses:
        misses.append(f"… and {plural(simulation.more_misses, 'more criterion', 'more criteria')}")
    if not simulation.simulation.completed:
        misses.append("did not complete")
    why = ("<br>".join(escape(text, WORDS) for text in _reasons(simulation)),) if explained else ()
    cause = (simulation.cause or "",) if caused else ()
    return row(MARKS[simulation.verdict], _which(simulation, leg), *cause, "<br>".join(misses) or "a target", *why)


def _reasons(simulation: SimulationRow) -> list[str]:
    texts = [
        simulation.simulation.error,
        *(simulation.reasons.get(miss.check.metric, "") for miss in simulation.misses),
    ]
    return [text for text in dict.fromkeys(texts) if text]


def _which(simulation: SimulationRow, leg: LegReport) -> str:
    """Return a simulation's title with a link to its page or, if that is unknown, with its id; below it, its leg."""
    title, url = escape(simulation.title), simulation.url
    linked = link(title, url) if url else title
    variant = f" ({escape(simulation.simulation.mutation)})" if simulation.simulation.mutation != BASE else ""
    unlinked = linked == title and simulation.title != simulation.simulation.id
    # How often the test case failed is in its own table.
    more = [
        code(simulation.simulation.id) if unlinked else "",
        stability_word(simulation.stability) if simulation.stability else "",
        escape(leg.name, LONGEST_NAME),
    ]
    return "<br>".join(filter(None, [f"{linked}{variant}", *more]))
