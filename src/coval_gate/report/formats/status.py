"""The commit's status: the verdict and its reason on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.inputs import CONTEXT_LIMIT
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.judgements import headline
from coval_gate.text import one_line

if TYPE_CHECKING:
    from coval_gate.report.model import Report

RUNNING: Final = "⏳ The evaluation is running."
LIMIT: Final = 140  # characters; GitHub refuses a longer description
STATES: Final = {
    Verdict.PASSED: "success",
    Verdict.FAILED: "failure",
    Verdict.INCONCLUSIVE: "failure",
    Verdict.SKIPPED: "pending",  # nothing was evaluated, so a status that a branch requires is not satisfied
    None: "pending",
}  # every other verdict says nothing of the agent: "error"


class Status(NamedTuple):
    """A commit status as GitHub has it: `state` is pending, success, failure or error."""

    state: str
    description: str
    target_url: str


def context_name(report: Report) -> str:
    """Return the name of the status, which tells the jobs of a matrix apart; empty where none was asked for."""
    name = report.inputs.commit_status if report.inputs else ""
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""


def render(report: Report) -> Status:
    """Return the commit's status; pending while there is no verdict."""
    judgement = report.judgement
    tolerated = judgement.verdict is Verdict.INCONCLUSIVE and judgement.lets_pass
    told = headline(judgement, LIMIT) if judgement.verdict else RUNNING
    return Status(
        state="success" if tolerated else STATES.get(judgement.verdict, "error"),
        description=one_line(told, LIMIT),
        target_url=report.run_url or report.context.run_url,
    )
