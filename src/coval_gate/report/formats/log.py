"""What the log says at the end: every check, the simulations to look at, and the annotations of a step that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.verdict import Verdict
from coval_gate.report.headings import heading
from coval_gate.report.simulations import cases
from coval_gate.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.verdict import Check, Judgement
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import Case

MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}
WIDEST: Final = 60  # characters of a column
MOST_REASONS: Final = 10  # in an annotation
MOST_CHECKS: Final = 100  # lines
MOST_CASES: Final = 20  # simulations
MOST_MISSES: Final = 10  # criteria of a simulation


class Annotation(NamedTuple):
    """A title, and a message of one or more lines."""

    title: str
    message: str


def closing_line(report: Report) -> str:
    """Verdict and reason on one line."""
    return f"{heading(report.judgement)}. {report.judgement.reason}"


def annotation(report: Report) -> Annotation:
    """The verdict's: the reasons, what to do about them, where to look."""
    judgement = report.judgement
    reasons = judgement.reasons[:MOST_REASONS]
    more = len(judgement.reasons) - len(reasons)
    lines = (
        *reasons,
        f"… and {plural(more, 'reason')} more." if more else "",
        judgement.advice,
        f"Run: {report.run_url}" if report.run_url else "",
        f"More: {judgement.link}" if judgement.link else "",
    )
    return Annotation(f"Coval Gate: {judgement.title}", "\n".join(line for line in lines if line))


def case_annotations(report: Report, most: int) -> list[Annotation]:
    """Those of the worst simulations; the last says how many more there are."""
    ill = _ill(report)
    found = [Annotation(f"Coval: {one_line(case.title, WIDEST)}", "\n".join(_told(case))) for case in ill[:most]]
    more = len(ill) - len(found)
    if found and more:
        title, message = found[-1]
        found[-1] = Annotation(title, f"{message}\n… and {plural(more, 'simulation')} more: see the summary.")
    return found


def check_lines(judgement: Judgement) -> Iterator[str]:
    """A line for each check: a mark, what was asked, what was found, by how much it missed."""
    shown = judgement.first_checks(MOST_CHECKS)
    asked = [_asked(check) for check in shown]
    width = min(WIDEST, max((len(each) for each in asked), default=0))
    for text, check in zip(asked, shown, strict=True):
        missed = f", missed by {check.missed}" if check.missed else ""
        yield f"  {MARKS[check.verdict]} {text:<{width}}  {check.found}{missed}"
    if len(judgement.checks) > MOST_CHECKS:
        yield f"    … and {len(judgement.checks) - MOST_CHECKS:,} more"


def case_lines(report: Report) -> Iterator[str]:
    """A line for each simulation to look at, and below it what is known of it."""
    ill = _ill(report)
    for case in ill[:MOST_CASES]:
        yield f"{case.title} ({case.simulation.id})"
        if not case.simulation.completed:
            yield f"    failed: {case.trouble}"
        for check in case.misses[:MOST_MISSES]:
            yield f"    {MARKS[check.verdict]} {_asked(check)}"
            if text := case.texts.get(check.metric):
                yield f"      {text}"
    if len(ill) > MOST_CASES:
        yield f"… and {len(ill) - MOST_CASES:,} more, in the summary"


def _ill(report: Report) -> list[Case]:
    """The simulations that are to blame for the verdict."""
    return [case for case in cases(report) if case.verdict in (Verdict.FAILED, Verdict.ERROR)]


def _told(case: Case) -> Iterator[str]:
    """A simulation in an annotation: what went wrong, and what judges say of it."""
    if not case.simulation.completed:
        yield f"Did not complete: {case.simulation.error or case.simulation.status}"
    for check in case.misses[:MOST_MISSES]:
        text = case.texts.get(check.metric)
        yield f"Missed: {check.asked}{f' – {text}' if text else ''}"
    yield case.url or f"Simulation {case.simulation.id}"


def _asked(check: Check) -> str:
    return one_line(f"{check.asked} [{check.variant}]" if check.variant else check.asked, WIDEST)
