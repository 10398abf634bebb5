"""The comment on a pull request, which each run of the workflow updates."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from coval_gate.report.formats.status import page_text
from coval_gate.report.formats.summary import links_line, opening
from coval_gate.report.markdown import escape, page
from coval_gate.report.provenance import what_ran
from coval_gate.report.tables import troubled, unstable

if TYPE_CHECKING:
    from coval_gate.ci.host import PageText
    from coval_gate.report.model import Report

LIMIT: Final = 65_536  # characters; GitHub refuses a longer comment


def render(report: Report) -> PageText:
    return page_text(report, name=marker(report), summary=body(report))


def body(report: Report) -> str:
    """Return the comment's Markdown: what needs attention; the summary has the rest."""
    document = report.document
    step = document.step
    where = escape(" / ".join(name for name in (step.workflow, step.after(step.job)) if name))
    attempt = f"attempt {step.later_attempt}" if step.later_attempt else ""
    links = links_line((link.text, link.url) for link in document.links)
    footer = " · ".join(part for part in (where, escape(attempt), links) if part)
    parts = [
        marker(report),
        *opening(document),
        *unstable(document),
        *troubled(document),
        f"<sub>{footer}</sub>" if footer else "",
    ]
    return page(parts, limit=LIMIT)


def marker(report: Report) -> str:
    """Return what identifies the step's comment: an HTML comment, which GitHub does not show."""
    return f"<!-- coval-gate {identity(report)} -->"


def identity(report: Report) -> str:
    """Return a key that differs between workflows, jobs (also of a matrix), steps and what they evaluate, but not runs.

    Names may contain even the end of an HTML comment, hence the digest.
    """
    context, inputs = report.context, report.inputs
    mutations = inputs.mutation_ids if inputs else ()
    # What the user wrote is the same before the launch and after it; a step that waits knows only what the run tells.
    template = (inputs.run_template_id,) if inputs and inputs.run_template_id else ()
    asked = what_ran(report)
    only = report.legs[0] if len(report.legs) == 1 and not any((*asked.values(), *template)) else None
    evaluated = [*what_ran(report, only).values(), *mutations, *template]
    matrix = [context.matrix.digest] if context.matrix else []
    workflow = context.lasting_workflow or context.workflow
    key = json.dumps([workflow, context.job, context.step, evaluated, *matrix])
    return hashlib.sha256(key.encode()).hexdigest()[:24]
