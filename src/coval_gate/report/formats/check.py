"""The check run: the verdict and its reason as the title, and the step's summary as far as GitHub takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.ci.github.host import MOST_WARNINGS
from coval_gate.config.inputs import CONTEXT_LIMIT
from coval_gate.judge.verdict import Verdict
from coval_gate.report.formats import log, summary
from coval_gate.report.formats.status import RUNNING
from coval_gate.report.markdown import escape
from coval_gate.report.wording.judgements import headline, reason
from coval_gate.text import one_line, shortened, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.report.model import Report

LIMIT: Final = 65_535  # bytes of UTF-8; GitHub refuses a longer summary
TITLE_LIMIT: Final = 255  # characters
MESSAGE_LIMIT: Final = 16_000  # characters of an annotation; GitHub takes 64 KiB
CONCLUSIONS: Final = {
    Verdict.PASSED: "success",
    Verdict.TIMED_OUT: "timed_out",
    Verdict.CANCELLED: "cancelled",
    Verdict.SKIPPED: "",  # nothing was evaluated, and GitHub's own "skipped" would satisfy a branch that requires it
    None: "",
}  # every other verdict is a "failure", the only other one that stops a merge without asking for an action


class CheckOutput(NamedTuple):
    """What a check run says. `conclusion` is a word of GitHub's, empty while there is nothing to conclude."""

    conclusion: str
    title: str
    summary: str
    annotations: tuple[log.Annotation, ...] = ()


def check_name(report: Report) -> str:
    """Return the name of the check run, which tells the jobs of a matrix apart; empty where none was asked for."""
    name = report.inputs.check_run if report.inputs else ""
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""


def render(report: Report) -> CheckOutput:
    """Return what the check run says at the end."""
    return brief(report)._replace(summary=summary.render(report, LIMIT), annotations=tuple(_annotations(report)))


def brief(report: Report) -> CheckOutput:
    """Return what the check run says while there is no verdict, and what is short enough for the post step."""
    judgement = report.judgement
    tolerated = judgement.verdict is Verdict.INCONCLUSIVE and judgement.lets_pass
    title = one_line(headline(judgement, TITLE_LIMIT) if judgement.verdict else RUNNING, TITLE_LIMIT)
    is_cut = bool(judgement.verdict) and not title.endswith(reason(judgement))
    parts = (escape(reason(judgement)) if is_cut else "", summary.links(report))
    return CheckOutput(
        conclusion="neutral" if tolerated else CONCLUSIONS.get(judgement.verdict, "failure"),
        title=title,
        summary="\n\n".join(filter(None, parts)) or escape(title),  # GitHub takes no empty summary
    )


def _annotations(report: Report) -> Iterator[log.Annotation]:
    """Yield those of a failing step's log, if there is a file to show them on: GitHub takes no other."""
    file = log.annotated_file(report)
    if file and not report.judgement.lets_pass:
        for title, message, _ in log.render(report).annotations(MOST_WARNINGS):
            lines = "\n".join(map(visible, message.split("\n")))
            yield log.Annotation(one_line(title, TITLE_LIMIT), shortened(lines, MESSAGE_LIMIT), file)
