"""How pages of the host are named and found again, for the document."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from coval_gate.inputs.inputs import CONTEXT_LIMIT
from coval_gate.report.compose.subject import what_ran
from coval_gate.report.document.step import PageFacts

if TYPE_CHECKING:
    from coval_gate.report.model import Report


def pages_of(report: Report) -> PageFacts:
    context = report.context
    return PageFacts(
        commit=context.sha if context.sha_is_known else "",
        commit_status=_named(report, "commit_status"),
        check_run=_named(report, "check_run"),
        key=_key(report),
        references=_references(report),
    )


def _named(report: Report, input_name: str) -> str:
    name = getattr(report.inputs, input_name, "")
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""


def _key(report: Report) -> str:
    """Return a digest: names may contain even the end of an HTML comment."""
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


def _references(report: Report) -> list[str]:
    inputs, context = report.inputs, report.context
    waits_for = inputs.run_id.ids if inputs and inputs.mode == "wait" else ()
    run_ids = list(dict.fromkeys(filter(None, (*(leg.run_id for leg in report.legs), *waits_for))))
    return run_ids[::-1] or [f"{context.run_id}.{context.run_attempt}/{context.job}/{context.step}"]
