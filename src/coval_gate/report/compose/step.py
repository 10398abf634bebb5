"""The document of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coval_gate import __version__
from coval_gate.gate.claims import flips_title
from coval_gate.gate.judgement import gravity
from coval_gate.gate.verdict import Verdict
from coval_gate.report.compose.criteria import missed_text, outcome
from coval_gate.report.compose.legs import leg_facts, reasons_of
from coval_gate.report.compose.simulations import places_of
from coval_gate.report.document.base import SCHEMA_VERSION, Link
from coval_gate.report.document.step import AdviceFacts, Document, EvaluatedFacts, PlaceFacts, StepFacts
from coval_gate.report.limits import MOST_SHOWN
from coval_gate.report.provenance import (
    all_subjects,
    given_inputs,
    links,
    named_in_heading,
    places,
    provenance,
)
from coval_gate.report.wording import judgements
from coval_gate.report.wording.causes import counts_text

if TYPE_CHECKING:
    from coval_gate.report.model import Report


def document_of(report: Report) -> Document:
    judgement = report.judgement
    findings = [leg.findings for leg in report.legs]
    failing, passing = (sum(getattr(one, name) for one in findings) for name in ("failing", "passing"))
    checks = [check for one in findings for check in one.checks.checks]
    rows = [(row, leg) for leg in report.legs for row in leg.findings.simulations]
    ranks = places_of(report.legs)
    advice = judgements.advice(judgement)
    return Document(
        schema_version=SCHEMA_VERSION,
        verdict=outcome(judgement.verdict),
        passed=judgement.verdict is Verdict.PASSED,
        passes=judgement.lets_pass,
        heading=judgements.heading(judgement),
        title=judgements.title(judgement),
        evaluation=report.context.matrix.after("Coval evaluation"),
        evaluated=[
            EvaluatedFacts(word=word, text=called.text, is_name=called.is_name)
            for word, called in named_in_heading(report).items()
        ],
        places=[PlaceFacts(**place._asdict()) for place in places(report)],
        tested=all_subjects(report),
        status=judgement.status,
        reason=judgements.reason(judgement),
        **reasons_of(judgement),
        **_untold(report),
        decided_by=judgement.of_legs.decisive if judgement.of_legs else "",
        failing_legs_left_out=judgement.of_legs.others if judgement.of_legs else 0,
        missed_text=missed_text(checks, named=True),
        flips_text=flips_title(failing, passing) if failing or passing else "",
        causes_text=counts_text(rows),
        failing_causes_text=counts_text((row, leg) for row, leg in rows if row.explains_failure),
        is_doubtful=bool(judgements.doubt_lines(judgement)),
        advice=advice,
        advice_parts=[AdviceFacts(style=style, text=text) for style, text in judgements.advice_parts(advice)],
        link=judgements.link(judgement),
        links=_links(report),
        step=_step(report),
        facts=provenance(report, report.legs[0] if len(report.legs) == 1 else None),
        inputs=given_inputs(report),
        legs=[leg_facts(report, leg, own) for leg, own in zip(report.legs, ranks, strict=True)],
        gravest_first=sorted(range(len(report.legs)), key=lambda place: gravity(report.legs[place].judgement)),
    )


def _untold(report: Report) -> dict[str, Any]:
    """Return whether the tables, which show misses, lack the first reason, and which of the others they lack."""
    judgement = report.judgement
    if judgement.of_legs and judgement.of_legs.decisive:  # the table of legs has each one's reason, but no advice
        return {"reason_is_untold": bool(judgements.advice(judgement)), "untold_reasons": []}
    shown = [check for leg in report.legs for check in leg.findings.checks.first(MOST_SHOWN)]
    is_missing, others = judgements.untold_reasons(judgement, shown)
    is_missing = is_missing or judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)
    return {"reason_is_untold": is_missing, "untold_reasons": others}


def _links(report: Report) -> list[Link]:
    others = links(report, with_runs=False)
    return [Link(text=text, url=url, of_run=text not in others) for text, url in links(report).items()]


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
