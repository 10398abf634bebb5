"""The page of a history: a chart of each threshold over time, and below them the test cases of every run.

It is as self-contained as the report, has the same style sheet, and needs no script.
"""

from typing import Final, NamedTuple

from coval_gate.base.text import in_words
from coval_gate.features.files.html import filled, icon_of, part
from coval_gate.features.nights.document import HistoryCell, HistoryDocument, HistoryLeg, HistoryRun
from coval_gate.features.nights.plot import timeline

PACKAGE: Final = "coval_gate.features.nights"
ICON: Final = ("#0969da", "M3.5 10.5l3-4 3 2.5 3-5")


class NumberedChange(NamedTuple):
    """What is noted at a run. Places count from 0, numbers from 1."""

    place: int
    number: int
    run: HistoryRun
    text: str


def render(document: HistoryDocument) -> str:
    """Return the history as an HTML document, whose text is valid UTF-8."""
    return filled(
        part("history.html.j2", PACKAGE),
        style=part("report.css") + part("history.css", PACKAGE),
        icon=icon_of(*ICON),
        document=document,
        timeline=timeline,
        changes_of=changes_of,
        level=level,
        sign=sign,
    )


def changes_of(leg: HistoryLeg) -> dict[str, NumberedChange]:
    """Return by run id what changed, and which runs were accepted, numbered from the oldest on."""
    changes = dict[str, NumberedChange]()
    for place, run in enumerate(leg.runs):
        parts = ["accepted"] * run.accepted + [f"{in_words(run.changes)} changed"] * bool(run.changes)
        if parts:
            changes[run.id] = NumberedChange(place, len(changes) + 1, run, ", ".join(parts))
    return changes


def level(cell: HistoryCell) -> int:
    """Return how many of its conversations met, in steps: 0 for none, 4 for all."""
    return 0 if not cell.met else 4 if cell.met == cell.conversations else 1 + 3 * cell.met // cell.conversations


def sign(cell: HistoryCell) -> str:
    return ("✗", "✓")[cell.met] if cell.conversations == 1 else f"{cell.met:,}/{cell.conversations:,}"
