"""What the log says at the end: every check, the simulations to look at, and the annotations of a step that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.verdict import Verdict
from coval_gate.report.simulations import simulation_rows
from coval_gate.report.wording.checks import actual_text, check_text, margin_text
from coval_gate.report.wording.judgements import UNJUDGED, advice, heading, link, reason, reasons, title
from coval_gate.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import SimulationRow

MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}
WIDEST: Final = 60  # characters of a column
END_SHOWN: Final = 30  # characters of a criterion with a mutation: as many as its id takes
MOST_REASONS: Final = 10  # in an annotation
MOST_CHECKS: Final = 100  # lines
MOST_ROWS: Final = 20  # simulations


class Annotation(NamedTuple):
    """A title, and a message of one or more lines."""

    title: str
    message: str


class Closing(NamedTuple):
    """The end of the log: one line, or annotations in its place.

    `verdict` is the annotation of the whole step, `simulations` those of the simulations to look at, the worst first.
    """

    line: str
    verdict: Annotation
    simulations: tuple[Annotation, ...]

    def first_simulations(self, most: int) -> list[Annotation]:
        """Return at most `most` annotations of simulations; the last says how many more there are."""
        found = list(self.simulations[:most])
        more = len(self.simulations) - len(found)
        if found and more:
            last = found[-1]
            note = f"… and {plural(more, 'simulation')} more: see the summary."
            found[-1] = Annotation(last.title, f"{last.message}\n{note}")
        return found


def render(report: Report) -> Closing:
    """Return what to log at the end of the step."""
    judgement = report.judgement
    return Closing(
        line=f"{heading(judgement)}. {reason(judgement)}" + (f" {UNJUDGED}" if judgement.passed_unjudged else ""),
        verdict=Annotation(f"Coval Gate: {title(judgement)}", "\n".join(filter(None, _message(report)))),
        simulations=tuple(
            Annotation(f"Coval: {one_line(row.title, WIDEST)}", "\n".join(_told(row))) for row in _ill(report)
        ),
    )


def check_lines(judgement: Judgement) -> Iterator[str]:
    """Yield a line for each check: a mark, the criterion, what was measured, the margin by which it is missed."""
    shown = judgement.first_checks(MOST_CHECKS)
    texts = [_check_text(check) for check in shown]
    width = min(WIDEST, max((len(each) for each in texts), default=0))
    for text, check in zip(texts, shown, strict=True):
        margin = margin_text(check)
        yield f"  {MARKS[check.verdict]} {text:<{width}}  {actual_text(check)}{f', {margin}' if margin else ''}"
    if len(judgement.checks) > MOST_CHECKS:
        yield f"    … and {len(judgement.checks) - MOST_CHECKS:,} more"


def simulation_lines(report: Report) -> Iterator[str]:
    """Yield a line for each simulation to look at, and below it what is known of it."""
    ill = _ill(report)
    for row in ill[:MOST_ROWS]:
        yield f"{row.title} ({row.simulation.id})"
        if not row.simulation.completed:
            yield f"    failed: {row.trouble}"
        for check in row.misses:
            yield f"    {MARKS[check.verdict]} {_check_text(check)}"
            if text := row.texts.get(check.metric):
                yield f"      {text}"
        if row.more_misses:
            yield f"    … and {row.more_misses:,} more"
    if len(ill) > MOST_ROWS:
        yield f"… and {len(ill) - MOST_ROWS:,} more, in the summary"


def _message(report: Report) -> Iterator[str]:
    """Yield the reasons, what to do about them, and where to look."""
    judgement = report.judgement
    found = reasons(judgement)
    yield from found[:MOST_REASONS]
    if len(found) > MOST_REASONS:
        yield f"… and {plural(len(found) - MOST_REASONS, 'reason')} more."
    yield advice(judgement)
    for leg in report.legs:
        yield f"Run: {leg.run_url}" if leg.run_url else ""
    if page := link(judgement):
        yield f"More: {page}"


def _ill(report: Report) -> list[SimulationRow]:
    """Return the simulations that are to blame for the verdict."""
    return [row for row in simulation_rows(report) if row.verdict in (Verdict.FAILED, Verdict.ERROR)]


def _told(row: SimulationRow) -> Iterator[str]:
    """Yield what an annotation says of a simulation: what went wrong, and what judges say of it."""
    if not row.simulation.completed:
        yield f"Did not complete: {row.simulation.error or row.simulation.status}"
    for check in row.misses:
        text = row.texts.get(check.metric)
        yield f"Missed: {check_text(check)}{f' – {text}' if text else ''}"
    if row.more_misses:
        yield f"… and {row.more_misses:,} more."
    yield row.url or f"Simulation {row.simulation.id}"


def _check_text(check: Check) -> str:
    """Return the check as it fits in a column. The end of a mutation's name may be all that tells it from another."""
    text = one_line(check_text(check))
    if not check.variant or len(text) <= WIDEST:
        return one_line(text, WIDEST)
    return f"{text[: WIDEST - END_SHOWN - 1]}…{text[-END_SHOWN:]}"
