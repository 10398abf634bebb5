"""Baselines, and sentences with marks and links in them, for the document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import one_line
from coval_gate.gate.clauses import NAMES
from coval_gate.gate.references import baseline_text, no_baseline_text, shared_text
from coval_gate.report.compose.provenance import run_page
from coval_gate.report.compose.subject import base_name
from coval_gate.report.document.base import Part
from coval_gate.report.document.baselines import BaselineFacts, BaselineRunFacts, NoBaselineFacts
from coval_gate.report.limits import MOST_RUNS

if TYPE_CHECKING:
    from coval_gate.gate.compared import Baseline, BaselineRun, NotFoundReason
    from coval_gate.gate.findings import CheckGroup
    from coval_gate.report.model import LegReport

PLACE: Final = re.compile("\0([0-9]+)\0")  # of a part in a sentence; no text has this character on one line


class Parts:
    """Makes parts of a sentence whose marks are given to it as functions."""

    def __init__(self) -> None:
        self._marked: list[Part] = []

    def code(self, text: object, url: str = "") -> str:
        return self._mark(Part(text=one_line(text), is_code=True, is_title=False, url=url))

    def title(self, text: str) -> str:
        return "".join(self._mark(part.model_copy(update={"is_title": True})) for part in self.of(text))

    def of(self, sentence: str) -> list[Part]:
        pieces = list(enumerate(PLACE.split(sentence)))
        parts = (self._marked[int(piece)] if place % 2 else _plain(piece) for place, piece in pieces if piece)
        return list(parts)

    def _mark(self, part: Part) -> str:
        self._marked.append(part)
        return f"\0{len(self._marked) - 1}\0"


def _plain(text: str) -> Part:
    return Part(text=text, is_code=False, is_title=False, url="")


def reference_parts(group: CheckGroup, leg: LegReport | None) -> list[Part]:
    """Return what a group compares with; without a leg, without its names and pages."""
    parts = Parts()
    if group.baseline is None:
        name = NAMES[group.reference]
        shared = f": {shared_text(group.comparisons, name)}" if group.comparisons else ""
        return parts.of(f"{parts.title(f'Compared with the {name}')}{shared}")
    source = group.baseline.source
    named = source.name if source.kind == "base_agent" else source
    word = "Base agent" if source.kind == "base_agent" else "Baseline"
    title = parts.title(f"{word} {parts.code(base_name(leg, named) if leg else named)}")
    runs = baseline_text(
        group.baseline, group.comparisons, lambda run: parts.code(run.run_id, run_page(leg, run) if leg else "")
    )
    return parts.of(f"{title}: {runs}")


def why_missing(group: CheckGroup) -> str:
    """Return why there is no baseline, as a clause; empty where there is one."""
    baseline = group.baseline
    if baseline is None or baseline.runs or not baseline.missing:
        return ""
    return one_line(no_baseline_text(baseline.source, baseline.missing))


def baseline_facts(leg: LegReport, baseline: Baseline | None) -> BaselineFacts | None:
    """Return the baseline of a leg, or its base; None where no threshold refers to one."""
    if baseline is None:
        return None
    return BaselineFacts(
        source=str(baseline.source),
        runs=[_run(leg, run) for run in baseline.runs[:MOST_RUNS]],
        runs_left_out=max(0, len(baseline.runs) - MOST_RUNS),
        fewer_than_asked=baseline.fewer_than_asked,
        missing=_no_baseline(baseline, baseline.missing) if baseline.missing else None,
    )


def _run(leg: LegReport, run: BaselineRun) -> BaselineRunFacts:
    return BaselineRunFacts(
        id=run.run.run_id,
        url=run_page(leg, run.run),
        created=run.run.create_time,
        changed_test_cases=len(run.changed_cases),
        changed_metrics=sorted(run.changed_metrics),
        changed_persona=run.changed_persona,
        changed_options=list(run.changed_options),
        unchecked=list(run.unchecked),
    )


def _no_baseline(baseline: Baseline, reason: NotFoundReason) -> NoBaselineFacts:
    text = no_baseline_text(baseline.source, reason)
    return NoBaselineFacts(kind=reason.kind, run_id=reason.run_id, text=f"{text[0].upper()}{text[1:]}.")
