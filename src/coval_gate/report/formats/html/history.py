"""The page of a history: a chart of each threshold over time, and below them the test cases of every run.

It is as self-contained as the report, has the same style sheet, and needs no script.
"""

from collections.abc import Sequence, Set
from typing import Final, NamedTuple

from coval_gate.base.text import folded, in_words
from coval_gate.report.document.history import HistoryCase, HistoryCell, HistoryDocument, HistoryLeg, HistoryRun
from coval_gate.report.formats.html import filled, icon_of, part
from coval_gate.report.formats.html.plots import timeline

ICON: Final = ("#0969da", "M3.5 10.5l3-4 3 2.5 3-5")
MOST_FLIPPING: Final = 50  # test cases
MOST_CELLS: Final = 20_000  # of a leg's matrix; about 5 MB


class Change(NamedTuple):
    """What is noted at a run. Places count from 0, numbers from 1. `only`: metrics that it concerns; empty for all."""

    place: int
    number: int
    run: HistoryRun
    text: str
    only: frozenset[str]

    def matters_to(self, metric: str) -> bool:
        return not self.only or folded(metric) in self.only


def render(document: HistoryDocument) -> str:
    """Return the history as an HTML document, whose text is valid UTF-8."""
    style = part("report.css") + part("history.css")
    return filled(
        "history.html.j2",
        style=style,
        icon=icon_of(*ICON),
        document=document,
        timeline=timeline,
        changes_of=changes_of,
        cases_shown=cases_shown,
        level=level,
        sign=sign,
        MOST_FLIPPING=MOST_FLIPPING,
    )


def changes_of(leg: HistoryLeg) -> dict[str, Change]:
    """Return by run id what changed, and which runs were accepted, numbered from the oldest on."""
    drawn = {folded(threshold.title) for threshold in leg.thresholds}
    noted = [(place, run) for place, run in enumerate(leg.runs) if run.accepted or run.changes]
    return {run.id: _change(place, nth, run, drawn) for nth, (place, run) in enumerate(noted, start=1)}


def _change(place: int, number: int, run: HistoryRun, drawn: Set[str]) -> Change:
    """A new version of a metric that a threshold calls by its id matters to all: the id is not known here."""
    changed = f"{in_words(run.changes)} changed" if run.changes else ""
    text = ", ".join(filter(None, ["accepted" * run.accepted, changed]))
    metrics = frozenset(map(folded, run.changed_metrics))
    concerns_all = run.accepted or run.changed_test_set or run.changed_persona or not metrics <= drawn
    return Change(place, number, run, text, frozenset() if concerns_all else metrics)


def cases_shown(leg: HistoryLeg) -> Sequence[HistoryCase]:
    """Return the first test cases, so that the page is not too large for a browser."""
    return leg.cases[: max(1, MOST_CELLS // max(1, len(leg.runs)))]


def level(cell: HistoryCell) -> int:
    """Return how many of its conversations met, in steps: 0 for none, 4 for all."""
    return 0 if not cell.met else 4 if cell.met == cell.conversations else 1 + 3 * cell.met // cell.conversations


def sign(cell: HistoryCell) -> str:
    return ("✗", "✓")[cell.met] if cell.conversations == 1 else f"{cell.met:,}/{cell.conversations:,}"
