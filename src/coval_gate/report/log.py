"""What the log says at the end: every check, the simulations to look at, and the annotation of a step that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict
from coval_gate.report.summary import heading
from coval_gate.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.collect import Explanation
    from coval_gate.judge.verdict import Check, Judgement
    from coval_gate.report.model import Report

MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.ERROR: "!"}
WIDEST: Final = 60  # characters of a column
MOST_REASONS: Final = 10  # in an annotation
MOST_CHECKS: Final = 100  # lines


def closing_line(report: Report) -> str:
    """Verdict and reason on one line."""
    return f"{heading(report.judgement.verdict)}. {report.judgement.reason}"


def annotation(report: Report) -> tuple[str, str]:
    """Title and message: the reasons, what to do about them, where to look."""
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
    return f"Coval Gate: {judgement.title}", "\n".join(line for line in lines if line)


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


def offender_lines(judgement: Judgement, explanations: Sequence[Explanation]) -> Iterator[str]:
    """A line for each simulation to look at, and below it what is known of it."""
    for explanation in explanations:
        yield f"{explanation.label or 'Simulation'} ({explanation.simulation_id})"
        if explanation.error:
            yield f"    failed: {explanation.error}"
        for check in judgement.checks:
            if not check.optional or explanation.simulation_id not in check.offenders:
                continue
            if check.verdict is not Verdict.PASSED:
                yield f"    {MARKS[check.verdict]} {_asked(check)}"
                if text := explanation.texts.get(check.metric):
                    yield f"      {text}"
    more = len(judgement.offenders) - len(explanations)
    if more > 0:
        yield f"… and {more:,} more, in Coval"


def _asked(check: Check) -> str:
    return one_line(f"{check.asked} [{check.variant}]" if check.variant else check.asked, WIDEST)
