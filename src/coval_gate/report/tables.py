"""Comparisons, metrics, simulations and test cases as tables in Markdown, with links to their pages."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from coval_gate.base.text import named_with_unit, number, plural
from coval_gate.gate.verdict import GRAVITY
from coval_gate.report import CRITERIA_SHOWN
from coval_gate.report.document import Document
from coval_gate.report.document.base import ITSELF
from coval_gate.report.document.criteria import NOTICEABLE, CriterionFacts
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.document.metrics import STATISTICS, Chart, Figures
from coval_gate.report.document.references import CriteriaGroup
from coval_gate.report.document.simulations import SimulationFacts
from coval_gate.report.markdown import MARKS, Listing, code, escape, folding, link, row, sentence, table

MOST_UNFOLDED: Final = 10  # rows of a table; the others are folded
FEW_FLIPS: Final = 6  # test cases that flipped; more are folded
FLIPS_SHOWN: Final = 20  # of a criterion, in each direction
CELL_NAME: Final = 200  # characters of a test case's name
CRITERIA_COLUMNS: Final = 4  # criteria of the table of variants; more are counted
TEXTS_SHOWN: Final = 8  # different texts of a metric
WORDS: Final = 200  # characters of an explanation
JUDGED: Final = {"baseline": "now", "agent": "mutation", "base": "tested"}
# Visible in both themes, unlike the default colour of bars on white.
BLUE, ORANGE, GREY = "#3b82d0", "#d9822b", "#8b949e"
CHART_WIDTH: Final = 640  # pixels
SMALLEST_TEXT, LARGEST_TEXT = 9, 14  # pixels; the labels of all ranges must fit side by side
TEXT_WIDTH: Final = 0.6  # of a character with its share of the gap between labels, in heights


def leg_table(document: Document) -> Iterator[Listing]:
    """Yield the verdict on each leg, the gravest on top, if the step has several, with how many criteria it missed."""
    if len(document.legs) > 1:
        rows = (
            row(
                leg.heading,
                "<br>".join([link(escape(leg.title, CELL_NAME), leg.run.url), *_runs(leg)]),
                "<br>".join(filter(None, (leg.missed_text, escape(leg.reason)))),
            )
            for leg in document.ranked
        )
        yield table(head=("", "leg", "result"), rows=rows, total=len(document.judged))


def _runs(leg: LegFacts) -> list[str]:
    """Return the runs of a leg, and how many of its simulations completed."""
    ids = [code(leg.run.id), *(link(code(run.id), run.url) for run in leg.runs[1:])]
    kept = [run.kept_text for run in leg.runs] or [""]
    completed = _completed(leg.completed_simulations or 0, leg.total_simulations)
    texts = [
        *(" ".join(filter(None, pair)) for pair in zip(ids, kept, strict=True)),
        completed and f"{completed} completed",
    ]
    return [*filter(None, texts)]


def _completed(completed: int, total: int | None) -> str:
    return "" if total is None else f"{completed:,} of {total:,}"


def variant_table(leg: LegFacts) -> Iterator[Listing]:
    """Yield a row for the agent and each mutation, if any. Few criteria have a column each; many are counted."""
    if len(leg.variants) <= 1:
        return
    cells = {
        (one.variant, one.criterion): f"{MARKS[one.verdict]} {escape(one.actual_text)}"
        for one in leg.criteria
        if one.is_about_variant
    }
    user_defined = dict.fromkeys(one.criterion for one in leg.criteria if one.is_about_variant and one.user_defined)
    columns = list(user_defined) if len(user_defined) <= CRITERIA_COLUMNS else []
    variants = sorted(leg.variants, key=lambda variant: [*map(str, GRAVITY)].index(variant.verdict))
    rows = (
        row(
            MARKS[variant.verdict],
            escape(variant.variant, CELL_NAME),
            _completed(variant.completed, variant.total),
            *([cells.get((variant.variant, column), "") for column in columns] or [variant.missed_text]),
        )
        for variant in variants
    )
    head = ("", "variant", "completed", *(map(code, columns) if columns else ("criteria",)))
    yield table(head=head, rows=rows, total=len(leg.variants))


def criteria_parts(leg: LegFacts, group: CriteriaGroup) -> Iterator[str | Listing]:
    yield sentence(group.reference)
    criteria = leg.group_criteria(group)
    if group.compared_with:
        values = (group.compared_with, f"{JUDGED[group.compared_with]}, change") if group.compared else ()
        head: tuple[str, ...] = ("", "criterion", *values)
        to_row = partial(_compared_row, len(values))
    else:
        noted = any(criterion.note_text for criterion in criteria[:CRITERIA_SHOWN])
        head = ("", "criterion", "actual", *([group.shows] if noted else []))
        to_row = partial(_row, noted)
    # A table of legs or variants has the criteria that are met, so they may be folded.
    only_missed = len(leg.variants) > 1 or (bool(leg.name) and leg.verdict != "passed")
    yield from _tables(criteria, group.total, head, to_row, only_missed=only_missed)
    under = f"Under each criterion: {group.shows}." if group.compared_with and group.shows else ""
    noticeable = NOTICEABLE if any(map(_noticeable, criteria)) else ""
    yield " ".join(filter(None, (under, noticeable)))


def _tables(
    criteria: Sequence[CriterionFacts],
    total: int,
    head: tuple[str, ...],
    to_row: Callable[[CriterionFacts], str],
    *,
    only_missed: bool,
) -> Iterator[Listing]:
    """Yield one table or, of many criteria, the gravest and the others folded; `only_missed` folds all others."""
    first = [criterion for criterion in criteria if criterion.is_missed or not only_missed][:MOST_UNFOLDED]
    left = [criterion for criterion in criteria if not any(criterion is taken for taken in first)]
    met = "" if not all(criterion.met for criterion in left) else ", all met" if len(left) > 1 else ", met"
    rows = map(to_row, [*first, *left[: CRITERIA_SHOWN - len(first)]])
    if first:
        yield from folding(
            head,
            rows,
            total,
            most=len(first) if only_missed else MOST_UNFOLDED,
            rest=lambda more: f"{plural(more, 'more criterion', 'more criteria')}{met}",
        )
    else:
        yield table(head=head, rows=rows, total=total, folded=f"{plural(total, 'criterion', 'criteria')}{met}")


def _row(noted: bool, criterion: CriterionFacts) -> str:
    notes = (escape(criterion.note_text),) if noted else ()
    actual = escape("; ".join(filter(None, (criterion.actual_text, criterion.first_text))))
    return row(MARKS[criterion.verdict], _criterion(criterion), actual, *notes)


def _compared_row(columns: int, criterion: CriterionFacts) -> str:
    cells = (
        (criterion.earlier_text, criterion.range_text),
        (criterion.actual_text, criterion.first_text, criterion.difference_text),
    )
    values = (
        ["<br>".join(map(escape, filter(None, cell))) for cell in cells] if not criterion.problem else [""] * columns
    )
    named = "<br>".join(filter(None, (_criterion(criterion), _shown(criterion))))
    return row(MARKS[criterion.verdict], named, *values)


def _shown(criterion: CriterionFacts) -> str:
    if criterion.problem:
        return "<br>".join(map(escape, filter(None, (criterion.actual_text, criterion.informs_text))))
    what = f"**{criterion.trend_text}**" if criterion.trend_text else escape(criterion.margin_text)
    texts = (criterion.claimed_text, criterion.moved_text, criterion.informs_text)
    return "<br>".join(filter(None, (what, *map(escape, texts), _noticeable(criterion))))


def _noticeable(criterion: CriterionFacts) -> str:
    """Return which change would show, where none did."""
    if criterion.trend not in ("inconclusive", "unchanged") or not criterion.noticeable_text:
        return ""
    return f"noticeable: {escape(criterion.noticeable_text)}"


def flipped(leg: LegFacts) -> Iterator[str | Listing]:
    if not leg.flips_text:
        return
    if leg.flips <= FEW_FLIPS:
        yield f"**{leg.flips_text}**"
    flips = [criterion for criterion in leg.criteria[:CRITERIA_SHOWN] if criterion.flipped]
    words = [word for word in ("fails now", "passes now") if any(word in criterion.flipped for criterion in flips)]
    rows = (row(_criterion(one), *(_cases(one.flipped.get(word, [])) for word in words)) for one in flips)
    folded = leg.flips_text if leg.flips > FEW_FLIPS else ""
    yield table(head=("criterion", *words), rows=rows, total=leg.flipped_criteria, folded=folded)


def _cases(cases: Sequence[str]) -> str:
    more = [f"… and {len(cases) - FLIPS_SHOWN:,} more"] if len(cases) > FLIPS_SHOWN else []
    return "<br>".join([*(escape(case, CELL_NAME) for case in cases[:FLIPS_SHOWN]), *more])


def _criterion(criterion: CriterionFacts) -> str:
    return code(criterion.criterion) + (f" ({escape(criterion.mutation)})" if criterion.mutation else "")


def metric_parts(leg: LegFacts) -> Iterator[str | Listing]:
    if not leg.metrics:
        return
    yield "#### Metrics"
    numeric, other = [], []
    head = ("metric", *(["variant"] if len(leg.variants) > 1 else []))
    for metric in leg.metrics:
        for variant, figures in metric.variants.items():
            numbers = figures.numbers
            name = escape(named_with_unit(metric.name, metric.unit if numbers else ""))
            cells = (
                f"{name}<br>{plural(figures.count, 'value')}",
                *([escape(variant)] if len(leg.variants) > 1 else []),
            )
            if numbers:
                shown = {key: number(numbers[key]) if key in numbers else "" for key in STATISTICS}
                mean = shown["mean"] + (f" ({shown['stdev']})" if shown["stdev"] else "")
                ends = " – ".join(filter(None, (shown["min"], shown["max"])))
                numeric.append(row(*cells, mean, shown["median"], shown["p95"], ends))
            if not numbers or figures.values:
                other.append(row(*cells, _texts(figures)))
    yield from _metric_table((*head, "mean (SD)", "median", "p95", "range"), numeric)
    for chart in leg.charts:
        name, sides = escape(chart.name), escape(chart.sides)
        if chart.compared_with:
            bars = "; ".join(filter(None, ("bars", sides)))
            yield f"How {name} is distributed now ({bars}) and in the {chart.compared_with} (line):"
        else:
            yield f"How {name} is distributed{f' ({sides})' if sides else ''}:"
        yield drawn(chart)
    yield from _metric_table((*head, "values"), other)


def _metric_table(head: tuple[str, ...], rows: Sequence[str]) -> Iterator[Listing]:
    if rows:
        yield from folding(head, rows, len(rows), most=MOST_UNFOLDED, rest=lambda more: plural(more, "more row"))


def _texts(figures: Figures) -> str:
    more = [f"… {len(figures.values) - TEXTS_SHOWN} more"] if len(figures.values) > TEXTS_SHOWN else []
    shown = [f"{escape(text, 40)} × {count:,}" for text, count in list(figures.values.items())[:TEXTS_SHOWN]]
    return " · ".join(shown + more) or "no values"


def drawn(chart: Chart) -> str:
    """Return a fenced chart: bars, and a line of earlier values.

    GitHub draws it in the reader's theme. It contains only numbers: no text from outside can become a part of the
    drawing. Mermaid draws no line at a bound, so the ranges meet there. It has no bars of different colours without
    some of 0, and draws even those with the height of half a label. Notation: its documentation of xychart.
    """
    plots = [(ORANGE if all(chart.beyond) else BLUE, "bar", chart.shares)]
    plots += [(GREY, "line", chart.earlier)] if chart.earlier else []
    top = 10 * math.ceil(max(max(shares) for _, _, shares in plots) / 10)
    labels = [f'"{label}"' for label in chart.labels]
    size = max(SMALLEST_TEXT, min(LARGEST_TEXT, math.floor(CHART_WIDTH / (TEXT_WIDTH * sum(map(len, chart.labels))))))
    colours = ", ".join(colour for colour, _, _ in plots)
    axis = f'"{chart.unit}" ' if chart.unit else ""
    return "\n".join(
        [
            "```mermaid",
            f'%%{{init: {{"xyChart": {{"width": {CHART_WIDTH}, "height": 240, "xAxis": {{"labelFontSize": {size}}}}}, '
            f'"themeVariables": {{"xyChart": {{"plotColorPalette": "{colours}"}}}}}}}}%%',
            "xychart-beta",
            f"    x-axis {axis}[{', '.join(labels)}]",
            f'    y-axis "% of simulations" 0 --> {top}',
            *(f"    {kind} [{', '.join(f'{round(value, 2):g}' for value in values)}]" for _, kind, values in plots),
            "```",
        ]
    )


def troubled(document: Document) -> Iterator[str | Listing]:
    """Yield the simulations to look at; all but the worst are folded."""
    bad = [(leg, one) for leg in document.legs for one in leg.simulations if one.is_to_look_at]
    if not bad:
        return
    bad.sort(key=lambda pair: pair[1].place)
    counts = document.causes_text
    yield f"#### {plural(len(bad), 'simulation')} to look at{f': {escape(counts)}' if counts else ''}"
    yield from folding(
        ("", "simulation", "missed criteria"),
        (_simulation(leg, simulation) for leg, simulation in bad),
        len(bad),
        most=MOST_UNFOLDED,
        rest=lambda more: f"{plural(more, 'more simulation')} to look at",
    )


def unstable(document: Document) -> Iterator[str | Listing]:
    """Yield the test cases that failed in any of several runs, and whether they always fail or only sometimes."""
    for leg in document.ranked:
        cases = leg.failing_cases
        if not cases:
            continue
        several = len(leg.variants) > 1
        variants = [[escape(case.variant)] if several else [] for case in cases]
        rows = (
            row(escape(case.name), *variant, case.stability, f"{case.failed:,} of {case.total:,}")
            for case, variant in zip(cases, variants, strict=True)
        )
        head = ("test case", *(["variant"] if several else []), "stability", "failed")
        title = leg.named(f"Test cases that failed: {leg.failing_cases_text}")
        is_folded = len(cases) > MOST_UNFOLDED
        if not is_folded:
            yield f"#### {escape(title)}"
        yield table(head=head, rows=rows, total=len(cases), folded=title if is_folded else "")


def known(document: Document) -> Iterator[str | Listing]:
    """Yield what known failures leave out of all criteria."""
    entries = [(leg, entry) for leg in document.legs for entry in leg.known_failures]
    if not entries:
        return
    several = len(document.legs) > 1
    rows = (
        row(
            MARKS["skipped"],
            *([escape(leg.title, CELL_NAME)] if several else []),
            escape(entry.name, CELL_NAME),
            escape(entry.metric or "all"),
            f"{escape(entry.reason)}{' (passes again)' if entry.passes else ''}",
            entry.until,
        )
        for leg, entry in entries
    )
    head = ("", *(["leg"] if several else []), "test case", "metric", "reason", "until")
    yield f"#### {plural(document.known_failures, 'known failure')} left out"
    yield table(head=head, rows=rows, total=len(entries))


def passed(document: Document) -> Iterator[Listing]:
    if good := [(leg, one) for leg in document.legs for one in leg.simulations if one.verdict == "passed"]:
        rows = (row(_which(leg, simulation)) for leg, simulation in good)
        title = f"{plural(len(good), 'simulation')} passed"
        yield table(head=("simulation",), rows=rows, total=len(good), folded=title)


def _simulation(leg: LegFacts, simulation: SimulationFacts) -> str:
    criteria = ((code(miss.text), escape(miss.here)) for miss in simulation.misses)
    misses = [" – ".join(filter(None, criterion)) for criterion in criteria]
    if more := simulation.misses_left_out:
        misses.append(f"… and {plural(more, 'more criterion', 'more criteria')}")
    if simulation.trouble:
        misses.append("did not complete")
    which = "<br>".join(filter(None, (_which(leg, simulation), simulation.cause_text)))
    reasons = (escape(text, WORDS) for text in _reasons(simulation))
    return row(MARKS[simulation.verdict], which, "<br>".join([*(misses or ["a target"]), *reasons]))


def _reasons(simulation: SimulationFacts) -> list[str]:
    texts = (simulation.error, *(simulation.why(miss.metric_id) for miss in simulation.misses))
    return [text for text in dict.fromkeys(texts) if text]


def _which(leg: LegFacts, simulation: SimulationFacts) -> str:
    """Return a simulation's title with a link to its page or, if that is unknown, with its id; below it, its leg."""
    title, url = escape(simulation.title), simulation.url
    linked = link(title, url) if url else title
    variant = f" ({escape(simulation.variant)})" if simulation.variant != ITSELF else ""
    id_ = code(simulation.id) if linked == title and simulation.title != simulation.id else ""
    # How often the test case failed is in its own table.
    more = (id_, simulation.stability, escape(leg.title, CELL_NAME))
    return "<br>".join(filter(None, (f"{linked}{variant}", *more)))
