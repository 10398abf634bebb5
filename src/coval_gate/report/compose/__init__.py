"""The document of a report, with what identifies the step's pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

from coval_gate import __version__
from coval_gate.gate.judgement import gravity
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import CONTEXT_LIMIT
from coval_gate.report import wording
from coval_gate.report.compose.legs import figures_of, judged_facts, leg_facts, whole
from coval_gate.report.compose.provenance import (
    all_subjects,
    configuration,
    links,
    named_in_heading,
    places,
    provenance,
    what_ran,
)
from coval_gate.report.compose.simulations import places_of
from coval_gate.report.document import Document, PageFacts, StepFacts
from coval_gate.report.document.base import SCHEMA_VERSION
from coval_gate.report.limits import MOST_LISTED, MOST_SHOWN
from coval_gate.report.model import LegReport, Report


def document_of(report: Report, *, brief: bool = False) -> Document:
    """Return everything that formats show; with `brief`, without the simulations."""
    report = report._replace(legs=tuple(whole(leg, brief=brief) for leg in report.legs))
    judgement = report.judgement
    ranks = [()] * len(report.legs) if brief else places_of(report.legs)
    failed = (id_ for leg in report.legs if leg.judgement.totals for id_ in leg.judgement.totals.unpassed)
    forbidden = dict.fromkeys(id_ for leg in report.legs for id_ in leg.judgement.metric_failures)
    run_ids = _run_ids(report.legs)
    own = [judged_facts(leg.judgement) for leg in report.legs]
    is_of_leg = len(own) == 1 and report.legs[0].judgement == judgement
    judged = own[0] if is_of_leg else judged_facts(judgement)
    return Document(
        schema_version=SCHEMA_VERSION,
        passed=judgement.verdict is Verdict.PASSED,
        title=wording.title(judgement, is_doubtful=judged["is_doubtful"]),
        evaluated=named_in_heading(report),
        places=places(report),
        tested=all_subjects(report),
        **judged,
        **_untold(report, judged),
        **figures_of(report.legs, named=True),
        run_ids=run_ids,
        planned_simulations=_planned(report.legs),
        failed_simulation_ids=list(islice(failed, MOST_LISTED)),
        forbidden_simulation_ids=list(islice(forbidden, MOST_LISTED)),
        decided_by=judgement.of_legs.decisive if judgement.of_legs else "",
        failing_legs_left_out=judgement.of_legs.others if judgement.of_legs else 0,
        links=links(report, run_ids, judged["link"]),
        step=_step(report),
        pages=pages_of(report),
        facts=provenance(report, report.legs[0] if len(report.legs) == 1 else None),
        inputs=configuration(report.inputs, report.wrong) if report.inputs else {},
        legs=[leg_facts(report, leg, said, places) for leg, said, places in zip(report.legs, own, ranks, strict=True)],
        gravest_first=sorted(range(len(report.legs)), key=lambda place: gravity(report.legs[place].judgement)),
    )


def _untold(report: Report, judged: dict[str, Any]) -> dict[str, Any]:
    """Return whether the tables, which show misses, lack the first reason, and which of the others they lack."""
    judgement = report.judgement
    if judgement.of_legs and judgement.of_legs.decisive:  # the table of legs has each one's reason, but no advice
        return {"reason_is_untold": bool(judged["advice"]), "untold_reasons": []}
    shown = [check for leg in report.legs for check in leg.findings.checks.by_gravity[:MOST_SHOWN]]
    is_missing, others = wording.untold_reasons(judgement, judged["reasons"], shown)
    is_missing = is_missing or judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)
    return {"reason_is_untold": is_missing, "untold_reasons": others}


def _run_ids(legs: Sequence[LegReport]) -> list[str]:
    bases = [leg.base for leg in legs if leg.base]
    first = [*(leg.run_id for leg in legs), *(base.run_id for base in bases)]
    again = [run.run_id for leg in legs for run in leg.runs[1:]] + [id_ for base in bases for id_ in base.again]
    return list(dict.fromkeys(filter(None, first + again)))


def _planned(legs: Sequence[LegReport]) -> int | None:
    bases = {leg.base.name: leg.base.planned for leg in legs if leg.base}
    sizes = [*(leg.planned for leg in legs), *bases.values()]
    return None if None in sizes or not sizes else sum(filter(None, sizes))


def _step(report: Report) -> StepFacts:
    context = report.context
    return StepFacts(
        repository=context.repository,
        commit=context.sha,
        pull_request=context.pull_request,
        workflow=context.workflow,
        job=context.job,
        matrix=context.matrix.label,
        url=context.run_url,
        attempt=context.run_attempt,
        later_attempt=context.later_attempt,
        actor=context.actor,
        began=report.began,
        duration_seconds=round(report.seconds, 3),
        coval_gate=__version__,
    )


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
