"""What a pull request's page shows of a step: one comment that is kept up to date, and the commit's status."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.verdict import Verdict
from coval_gate.report.formats.summary import links, opening, troubled
from coval_gate.report.headings import heading
from coval_gate.report.markdown import code, escape
from coval_gate.report.page import page
from coval_gate.report.provenance import what_ran
from coval_gate.report.simulations import cases
from coval_gate.text import one_line

if TYPE_CHECKING:
    from coval_gate.config.inputs import Inputs
    from coval_gate.report.model import Report

LIMIT: Final = 65_536  # characters; GitHub refuses a longer comment
DESCRIPTION_LIMIT: Final = 140  # characters
STATES: Final = {
    Verdict.PASSED: "success",
    Verdict.SKIPPED: "success",
    Verdict.FAILED: "failure",
    Verdict.INCONCLUSIVE: "failure",
    None: "pending",
}  # every other verdict says nothing of the agent: "error"


class Status(NamedTuple):
    """A commit status as GitHub has it: `state` is pending, success, failure or error."""

    state: str
    description: str
    target_url: str


def marker(report: Report, inputs: Inputs) -> str:
    """What tells a step's comment from every other: an HTML comment that nobody sees.

    It stays the same from one run of the workflow to the next, and differs between workflows, jobs, steps and what
    they evaluate, so that the jobs of a matrix do not overwrite each other's. Names may hold anything, even the end of
    an HTML comment, hence the digest.
    """
    context = report.context
    leg = [*what_ran(report).values(), inputs.mutation_id, *inputs.mutation_ids]
    key = json.dumps([context.workflow, context.job, context.step, leg])
    return f"<!-- coval-gate {hashlib.sha256(key.encode()).hexdigest()[:24]} -->"


def comment(report: Report, mark: str) -> str:
    """The comment's Markdown: what there is to do something about; the summary has the rest."""
    context = report.context
    what = f"Commit {code(context.sha[:7])}" if context.sha else ""
    where = escape(" / ".join(each for each in (context.workflow, context.job) if each))
    attempt = f"attempt {context.run_attempt}" if context.run_attempt not in ("", "1") else ""
    footer = " · ".join(each for each in (what, where, escape(attempt), links(report)) if each)
    parts = [mark, *opening(report), *troubled(cases(report)), f"<sub>{footer}</sub>" if footer else ""]
    return page(parts, limit=LIMIT)


def commit_status(report: Report) -> Status:
    """The verdict and its reason on one line."""
    verdict = report.judgement.verdict
    told = f"{heading(report.judgement)}. {report.judgement.reason}" if verdict else "⏳ The evaluation is running."
    return Status(
        state=STATES.get(verdict, "error"),
        description=one_line(told, DESCRIPTION_LIMIT),
        target_url=report.run_url or report.context.run_url,
    )
