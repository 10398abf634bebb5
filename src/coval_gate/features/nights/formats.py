"""A history in the log, in the summary, and as JSON. The HTML page has a module of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from coval_gate.base.text import in_words, one_line, plural
from coval_gate.ci.host import SUMMARY_LIMIT
from coval_gate.features.nights.document import HistoryDocument, HistoryLeg
from coval_gate.features.nights.page import render as html
from coval_gate.inputs.fields import MOST_SHOWN_RUNS
from coval_gate.report.markdown import Listing, escape, fenced, link, page, row, table, utf8_size

LOGGED: Final = 20  # test cases
LONGEST_CELL: Final = 60  # characters in the log
MARKS_BEFORE: Final = {True: "✓ ", False: "✗ ", None: ""}
FLIPPING_TITLE: Final = "Test cases that flip: 20 to 90% of their conversations meet the thresholds"
KNOWN_TITLE: Final = "Known failures for the configuration file, once each has a reason"


class _Table(NamedTuple):
    """`rows`: of texts, each with the address to which it leads. `logged`: how many of them the log shows.

    `under`: columns that the summary shows below the text of the first one, so that a phone shows all.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[tuple[str, str]]]
    logged: int = LOGGED
    under: tuple[int, ...] = ()
    lead: str = ""


def json(history: HistoryDocument) -> str:
    return history.model_dump_json(indent=2) + "\n"


def log_lines(history: HistoryDocument) -> Iterator[str]:
    for shown in _tables(history):
        yield f"{one_line(shown.title)}{':' if shown.rows else ''}"
        cells = [[one_line(text, LONGEST_CELL) for text, _ in cells] for cells in shown.rows[: shown.logged]]
        lines = [[one_line(text, LONGEST_CELL) for text in shown.head], *cells] if cells else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            yield f"  {'  '.join(f'{text:<{width}}' for text, width in zip(line, widths, strict=True))}".rstrip()
        if (more := len(shown.rows) - shown.logged) > 0:
            yield f"  … and {plural(more, 'more test case')}"
    if history.known_failures:
        yield from (f"{KNOWN_TITLE}:", *(f"  {line}" for line in history.known_failures.splitlines()))


def summary(history: HistoryDocument) -> str:
    """Return Markdown of at most SUMMARY_LIMIT bytes."""
    parts: list[str | Listing] = [f"### 📈 History: {escape(history.title)}"]
    for shown in _tables(history):
        parts += [f"**{escape(shown.title)}**", escape(shown.lead)]
        if shown.rows:
            head = [escape(text) for place, text in enumerate(shown.head) if place not in shown.under]
            parts.append(table(tuple(head), map(partial(_narrow, shown.under), shown.rows), len(shown.rows)))
    if history.known_failures:
        parts += [f"**{KNOWN_TITLE}**", fenced(history.known_failures.splitlines(), "yaml")]
    return page(parts, limit=SUMMARY_LIMIT, size=utf8_size)


def _narrow(under: Sequence[int], cells: Sequence[tuple[str, str]]) -> str:
    texts = [link(escape(text), url) for text, url in cells]
    first = "<br>".join(filter(None, (texts[place] for place in (0, *under))))
    return row(first, *(text for place, text in enumerate(texts) if place and place not in under))


def _tables(history: HistoryDocument) -> Iterator[_Table]:
    several = len(history.legs) > 1
    for leg in history.legs:
        named = f"{leg.title}: " if several else ""
        head = ("day", "commit", *(one.name for one in leg.thresholds), "")
        under = (1, len(head) - 1)
        title = f"{named}{leg.trouble or history.title}"
        yield _Table(title, head, _run_rows(leg), MOST_SHOWN_RUNS, under, leg.newest_text)
        failing = [case for case in leg.cases if case.failed]
        rows = [((case.name, ""), (case.signs, ""), (case.failed_text, ""), (case.known, "")) for case in failing]
        if failing:
            head = ("test case", "", "failed", "known" * any(case.known for case in failing))
            yield _Table(f"{named}Test cases that failed most", head, rows)
    flipping = [
        ((f"{leg.title}: {case.name}" if several else case.name, ""), (f"{case.met:,} of {case.conversations:,}", ""))
        for leg, case in history.flipping
    ]
    if flipping:
        yield _Table(FLIPPING_TITLE, ("test case", "met"), flipping)


def _run_rows(leg: HistoryLeg) -> list[list[tuple[str, str]]]:
    rows = []
    for nth, run in enumerate(leg.runs):
        values = (one.values[nth] for one in leg.thresholds)
        texts = (f"{MARKS_BEFORE[value.met]}{value.text}" if value else "" for value in values)
        marks = ["accepted"] * run.accepted + ["baseline"] * run.is_baseline
        changed = f"changed: {in_words(run.changes)}" if run.changes else ""
        note = "; ".join(filter(None, (*marks, changed, run.unread)))
        rows.append([(run.day, run.url), (run.commit, run.commit_url), *((text, "") for text in texts), (note, "")])
    return rows


RENDERERS: Final[Mapping[str, Callable[[HistoryDocument], str]]] = {"html": html, "json": json}
