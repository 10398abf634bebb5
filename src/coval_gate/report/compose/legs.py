"""Legs for the document: their runs, what they evaluated, and all that they found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from coval_gate.gate.checks import Check
from coval_gate.gate.claims import flips_title, notes_title
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judgement import CaseStability, Judgement
from coval_gate.gate.measure import Totals, sum_of
from coval_gate.gate.variants import variants_of
from coval_gate.gate.verdict import GRAVITY, Verdict
from coval_gate.history.standing import Standing, standing_text
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import CONNECTION, FILE, GATE, LAUNCH_IDS, WHAT, effective
from coval_gate.report import wording
from coval_gate.report.compose.criteria import (
    Parts,
    baseline_facts,
    criteria_of,
    groups_of,
    missed_text,
    outcome,
    variant_key,
)
from coval_gate.report.compose.metrics import charts_of, metrics_of, trend_of
from coval_gate.report.compose.provenance import (
    WITHHELD,
    configuration,
    provenance,
    subject_in_words,
    what_ran,
)
from coval_gate.report.compose.simulations import case_names, simulations_of
from coval_gate.report.document.legs import (
    CaseFacts,
    Leg,
    RepeatFacts,
    RunFacts,
    SingleRunFacts,
    StandingFacts,
    VariantFacts,
)
from coval_gate.report.limits import MOST_CRITERIA
from coval_gate.report.model import UNFOUND, LegReport, Report, RunReport
from coval_gate.report.wording.checks import counts_text, in_figures, stability, where_text

UNSET: Final = {  # inputs that test_case_ids excludes, or that only make sense for the whole test set
    "sub_sample_size": "0",
    "sub_sample_seed": "",
}
OF_ANOTHER_RUN: Final = ("display_name", "tags", "created_by", "on_missing_api_key", "accept")


def whole(leg: LegReport, *, brief: bool = False) -> LegReport:
    """Return the leg with its variants, runs and findings, even if it has no judgement; `brief`: not of simulations."""
    judgement, status = leg.judgement, leg.run.status if leg.run else ""
    if leg.result and not judgement.variants:
        judgement = judgement._replace(variants=variants_of(leg.result))
    alone = RunReport(run_id=leg.run_id, run_url=leg.run_url, status=status, verdict=judgement.verdict)
    return leg._replace(
        judgement=judgement,
        findings=findings_of(judgement, None if brief else leg.result) if leg.findings is UNFOUND else leg.findings,
        runs=leg.runs or ((alone,) if leg.run_id else ()),
    )


def totals_of(leg: LegReport) -> Totals | None:
    """Return the totals; of a leg that was not judged, those of its last poll, with none passed."""
    if leg.judgement.totals or not (leg.run and leg.run.progress):
        return leg.judgement.totals
    polled = leg.run.progress.in_simulations(leg.planned)
    return Totals(total=polled.total, completed=polled.completed, unlisted=polled.total)


def leg_facts(report: Report, leg: LegReport, judged: dict[str, Any], places: Sequence[int]) -> Leg:
    judgement, repetition, findings = leg.judgement, leg.judgement.repetition, leg.findings
    cases = repetition.cases if repetition else ()
    metrics, metrics_left_out = metrics_of(leg)
    case_name = case_names(leg.details.labels)
    names = {f"{name.removesuffix('_id')}_name": leg.names.get(name, "") for name in LAUNCH_IDS}
    status = leg.run.status if leg.run else ""
    own, shared = provenance(report, leg), provenance(report)
    return Leg(
        name=leg.name,
        **judged,
        run=RunFacts(id=leg.run_id, url=leg.run_url, status=status, **what_ran(report, leg), **names),
        facts={} if len(report.legs) == 1 else {name: fact for name, fact in own.items() if shared.get(name) != fact},
        repeat=_repeat(report, leg),
        runs=[
            SingleRunFacts(id=run.run_id, url=run.run_url, status=run.status, verdict=outcome(run.verdict))
            for run in leg.runs
        ],
        failing_cases=[_case(case, leg, case_name(case.test_case_id)) for case in cases],
        failing_cases_text=in_figures(cases),
        replaced_simulation_ids=sorted(repetition.replaced) if repetition else [],
        baseline=baseline_facts(leg, judgement.baseline),
        tested=subject_in_words(report, leg),
        base_run_id=leg.base.run_id if leg.base else "",
        base=baseline_facts(leg, judgement.base),
        **figures_of([leg]),
        standing=_standing(leg.standing) if leg.standing else None,
        variants=_variants(leg),
        groups=groups_of(findings, leg),
        notes=notes_title(findings.checks.checks),
        flips=findings.failing + findings.passing,
        flipped_criteria=sum(bool(one.newly_failing or one.newly_passing) for one in findings.checks.comparisons),
        criteria=criteria_of(findings, case_name),
        criteria_left_out=max(0, len(judgement.checks) - MOST_CRITERIA),
        charts=charts_of(leg),
        trend=trend_of(leg),
        metrics=metrics,
        metrics_left_out=metrics_left_out,
        old_text=f"Also fail {where_text(leg)}",
        simulations=simulations_of(leg, places, case_name),
    )


def figures_of(legs: Sequence[LegReport], *, named: bool = False) -> dict[str, Any]:
    """Return the figures of a step or a leg, in fields of Judged. `named`: what is missed is a criterion."""
    totals = sum_of([totals for leg in legs if (totals := totals_of(leg))])
    judged = totals if any(leg.judgement.totals for leg in legs) else None
    failing, passing = (sum(getattr(leg.findings, name) for leg in legs) for name in ("failing", "passing"))
    rows = [(row, leg) for leg in legs for row in leg.findings.simulations]
    return {
        "total_simulations": totals.total if totals else None,
        "completed_simulations": totals.completed if totals else None,
        "unpassed_simulations": len(judged.unpassed) + judged.unlisted if judged else None,
        "pass_rate": judged.pass_rate if judged else None,
        "missed_text": missed_text([check for leg in legs for check in leg.findings.checks.checks], named=named),
        "flips_text": flips_title(failing, passing) if failing or passing else "",
        "causes_text": counts_text(rows),
        "failing_causes_text": counts_text((row, leg) for row, leg in rows if row.explains_failure),
    }


def judged_facts(judgement: Judgement) -> dict[str, Any]:
    """Return what a judgement says, in fields of Judged."""
    reasons, doubts = wording.reasons(judgement), wording.doubt_lines(judgement)
    return {
        "verdict": outcome(judgement.verdict),
        "passes": judgement.lets_pass,
        "heading": wording.heading(judgement),
        "status": judgement.status,
        "reason": wording.reason(judgement, reasons),
        "others_text": wording.others_text(judgement, len(reasons) - 1),
        "reasons": list(reasons[:MOST_CRITERIA]),
        "reasons_left_out": max(0, len(reasons) - MOST_CRITERIA),
        "advice": wording.advice(judgement, doubts),
        "is_doubtful": bool(doubts),
        "link": wording.link(judgement),
    }


def _standing(standing: Standing) -> StandingFacts:
    parts = Parts()
    return StandingFacts(
        accepted=standing.accepted,
        tag=standing.tag,
        text=standing_text(standing),
        parts=parts.of(standing_text(standing, code=parts.code)),
    )


def _variants(leg: LegReport) -> list[VariantFacts]:
    ids = {name: members[0].mutation_id for name, members in (leg.result.variants if leg.result else {}).items()}
    checks: dict[str, list[Check]] = {name: [] for name in ids}
    for check in leg.judgement.checks:
        if check.several:
            checks.setdefault(check.variant, []).append(check)
    shown = [variant for variant in leg.judgement.variants if variant.name in ids]
    decided = {name: [check.verdict for check in of_variant if check.decides] for name, of_variant in checks.items()}
    return [
        VariantFacts(
            variant=variant_key(variant.name),
            mutation_id=ids[variant.name],
            verdict=min(decided[variant.name], key=GRAVITY.index, default=Verdict.PASSED).value,
            completed=len(variant.completed),
            total=variant.total,
            missed_text=missed_text(checks[variant.name]),
        )
        for variant in shown
    ]


def _case(case: CaseStability, leg: LegReport, name: str) -> CaseFacts:
    return CaseFacts(
        test_case_id=case.test_case_id,
        test_case=leg.details.labels.get(case.test_case_id, ""),
        name=name,
        variant=variant_key(case.variant),
        stability=stability(case),
        failed=case.failed,
        total=case.total,
    )


def _repeat(report: Report, leg: LegReport) -> RepeatFacts:
    inputs = leg.inputs or report.inputs
    given = configuration(inputs) if inputs else {}
    return RepeatFacts(
        file=report.inputs.config_path if report.inputs and leg.inputs else "",
        unset={name: value for name, value in UNSET.items() if name in given},
        command=_command(given, what_ran(report, leg)),
    )


def _command(given: dict[str, str], ids: dict[str, str]) -> dict[str, str]:
    ran = {name: value for name, value in ids.items() if IDENTIFIER.fullmatch(value)}
    if len(ran) < len(LAUNCH_IDS) or any(name in given for name in WITHHELD):
        return {}
    left_out = (*ran, *UNSET, *OF_ANOTHER_RUN, "test_case_ids", FILE)
    return ran | {
        declaration.name: given[declaration.name]
        for declaration in effective()
        if declaration.group in (CONNECTION, WHAT, GATE)
        and declaration.name in given
        and declaration.name not in left_out
    }
