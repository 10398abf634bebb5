"""The whole report as JSON, for programs. `report.json_document` has its models.

The major number of `schema_version` changes when something is removed or changes its meaning, the minor one when
something is added.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from coval_gate import __version__
from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.judge.claims import claim_text
from coval_gate.judge.findings import comparison_of
from coval_gate.judge.references import no_baseline_text
from coval_gate.judge.verdict import Verdict
from coval_gate.report.json_document import (
    SCHEMA_VERSION,
    BaselineFacts,
    BaselineRunFacts,
    CaseFacts,
    Criterion,
    Document,
    Figures,
    LeftOutFacts,
    Leg,
    MetricFacts,
    NoBaselineFacts,
    OpenSchema,
    RunFacts,
    SimulationFacts,
    SingleRunFacts,
    StandingFacts,
    StepFacts,
    VariantFacts,
)
from coval_gate.report.limits import (
    MOST_CRITERIA,
    MOST_FIGURES,
    MOST_FLIPS,
    MOST_IDS,
    MOST_RUNS,
    MOST_VALUES,
)
from coval_gate.report.metrics import entries_of, variant_key
from coval_gate.report.provenance import given_inputs, run_page, subject_in_words, what_ran
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, check_reason, margin_text, mention, shown_verdict
from coval_gate.report.wording.standing import standing_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import CaseStability, Judgement
    from coval_gate.judge.measure import Requirement
    from coval_gate.model.baseline import Baseline, BaselineRun, NotFoundReason, Standing
    from coval_gate.model.results import Metric
    from coval_gate.report.json_document import Outcome, Stability
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

T = TypeVar("T")


def render(report: Report) -> str:
    return _document(report).model_dump_json(indent=2, exclude_unset=True) + "\n"


def schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:coval-gate:report:{SCHEMA_VERSION}",
        **Document.model_json_schema(schema_generator=OpenSchema),
    }


def criterion_facts(check: Check) -> Criterion:
    measure, requirement = check.measure, check.requirement
    interval = measure.interval if measure else None
    blamed = () if check.passed and not check.informs else check.simulations
    return Criterion(
        kind=check.criterion.kind,
        criterion=check.criterion.text,
        verdict=_outcome(shown_verdict(check)) or "error",
        actual=measure.value if measure else None,
        operator=requirement.operator if requirement else None,
        bound=_bound(check, requirement),
        unit=measure.unit if measure else None,
        margin=None if check.margin is None else float(f"{check.margin:.12g}"),  # 0.10935, not 0.10935000000000006
        runs=check.runs,
        run_id=check.run_id,
        first_actual=check.first.value if check.first else None,
        count=measure.count if measure else None,
        missing=measure.missing if measure else None,
        lower=_finite(interval.lower) if interval else None,
        upper=_finite(interval.upper) if interval else None,
        confidence=interval.confidence if interval else None,
        problem=check.problem.kind if check.problem else "",
        actual_text=actual_text(check),
        claim_text=claim_text(check),
        margin_text=margin_text(check),
        reason=check_reason(check),
        variant=variant_key(check.variant),
        metric_id=check.metric,
        simulation_ids=list(blamed[:MOST_IDS]),
        simulation_ids_left_out=max(0, len(blamed) - MOST_IDS),
        **_comparison_fields(check),
    )


def _comparison_fields(check: Check) -> dict[str, Any]:
    compared, measure = comparison_of(check), check.measure
    change = compared.change if compared else None
    failing, passing = (compared.newly_failing, compared.newly_passing) if compared else ((), ())
    return {
        "reference": _as_written(check),
        "advisory": not check.decides,
        "baseline_value": compared.value if compared else None,
        "actual_pooled": measure.pooled if measure else None,
        "baseline_count": compared.count if compared else None,
        "baseline_missing": compared.missing if compared else None,
        "baseline_pooled": compared.pooled if compared else None,
        "change": float(f"{measure.value - compared.value:.12g}") if compared and measure else None,
        "change_lower": _finite(change.lower) if change else None,
        "change_upper": _finite(change.upper) if change else None,
        "change_confidence": change.confidence if change else None,
        "trend": compared.trend if compared else None,
        "by_chance": compared.by_chance if compared else 0,
        "noticeable_change": compared.noticeable if compared else None,
        "shared_test_cases": compared.cases if compared else None,
        "left_out": LeftOutFacts(**compared.left_out._asdict()) if compared else None,
        "newly_failing": list(failing[:MOST_FLIPS]),
        "newly_failing_left_out": max(0, len(failing) - MOST_FLIPS),
        "newly_passing": list(passing[:MOST_FLIPS]),
        "newly_passing_left_out": max(0, len(passing) - MOST_FLIPS),
    }


def _as_written(check: Check) -> Literal["", "baseline", "base"]:
    """Return a check's reference as thresholds write it, whichever run `base` means."""
    reference = check.reference
    return "base" if reference == "base_agent" else reference


def _baseline(leg: LegReport, baseline: Baseline | None) -> BaselineFacts | None:
    """Return the baseline of a leg, or its base; None where no threshold refers to one."""
    if baseline is None:
        return None
    return BaselineFacts(
        source=str(baseline.source),
        runs=[_baseline_run(leg, run) for run in baseline.runs[:MOST_RUNS]],
        runs_left_out=max(0, len(baseline.runs) - MOST_RUNS),
        fewer_than_asked=baseline.fewer_than_asked,
        missing=_no_baseline(baseline, baseline.missing) if baseline.missing else None,
    )


def _baseline_run(leg: LegReport, run: BaselineRun) -> BaselineRunFacts:
    return BaselineRunFacts(
        id=run.run.run_id,
        url=run_page(leg, run.run),
        created=run.run.create_time,
        changed_test_cases=len(run.changed_cases),
        changed_metrics=sorted(run.changed_metrics),
        changed_persona=run.changed_persona,
        changed_options=list(run.changed_options),
        unchecked=list(run.unchecked),
    )


def _no_baseline(baseline: Baseline, reason: NotFoundReason) -> NoBaselineFacts:
    text = no_baseline_text(baseline.source, reason)
    return NoBaselineFacts(kind=reason.kind, run_id=reason.run_id, text=f"{text[0].upper()}{text[1:]}.")


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None


def _bound(check: Check, requirement: Requirement | None) -> float | None:
    """Return the bound as the user wrote it; one from a reference without its rounding errors."""
    if requirement is None:
        return None
    return float(f"{requirement.bound:.12g}") if comparison_of(check) else requirement.bound


def _document(report: Report) -> Document:
    judgement = report.judgement
    return Document(
        schema_version=SCHEMA_VERSION,
        verdict=_outcome(judgement.verdict),
        passed=judgement.verdict is Verdict.PASSED,
        status=judgement.status,
        reason=judgements.reason(judgement),
        **_reasons(judgement),
        advice=judgements.advice(judgement),
        link=judgements.link(judgement),
        step=_step(report),
        inputs=given_inputs(report),
        legs=[_leg(report, leg) for leg in report.legs],
    )


def _leg(report: Report, leg: LegReport) -> Leg:
    judgement, totals, repetition = leg.judgement, leg.totals, leg.judgement.repetition
    metrics = leg.result.metrics if leg.result else ()
    shown = metrics[: max(1, MOST_FIGURES // max(1, len(leg.variants)))]
    return Leg(
        name=leg.name,
        verdict=_outcome(judgement.verdict),
        status=judgement.status,
        **_reasons(judgement),
        run=_run(report, leg),
        runs=[
            SingleRunFacts(id=run.run_id, url=run.run_url, status=run.status, verdict=_outcome(run.verdict))
            for run in leg.runs
        ],
        failing_cases=[_case(case, leg.details.labels) for case in repetition.cases] if repetition else [],
        replaced_simulation_ids=sorted(repetition.replaced) if repetition else [],
        baseline=_baseline(leg, leg.judgement.baseline),
        tested=subject_in_words(report, leg),
        base=_baseline(leg, leg.judgement.base),
        total_simulations=totals.total if totals else None,
        completed_simulations=totals.completed if totals else None,
        pass_rate=leg.pass_rate,
        standing=_standing(leg.standing) if leg.standing else None,
        variants=_variants(leg),
        criteria=[criterion_facts(check) for check in leg.findings.checks.first(MOST_CRITERIA)],
        criteria_left_out=max(0, len(judgement.checks) - MOST_CRITERIA),
        metrics=[_metric(metric, leg) for metric in shown],
        metrics_left_out=len(metrics) - len(shown),
        simulations=[_simulation(row, metrics, leg) for row in leg.rows],
    )


def _metric(metric: Metric, leg: LegReport) -> MetricFacts:
    entries = entries_of(metric, leg.variants)
    figures = {variant: Figures.model_validate(entry) for variant, entry in entries.items()}
    return MetricFacts(id=metric.id, name=metric.name, unit=metric.unit, variants=figures)


def _standing(standing: Standing) -> StandingFacts:
    return StandingFacts(accepted=standing.accepted, tag=standing.tag, text=standing_text(standing))


def _reasons(judgement: Judgement) -> dict[str, Any]:
    reasons = judgements.reasons(judgement)
    return {"reasons": list(reasons[:MOST_CRITERIA]), "reasons_left_out": max(0, len(reasons) - MOST_CRITERIA)}


def _variants(leg: LegReport) -> list[VariantFacts]:
    variants = leg.result.variants if leg.result else {}
    return [
        VariantFacts(variant=variant_key(name), mutation_id=members[0].mutation_id)
        for name, members in variants.items()
    ]


def _run(report: Report, leg: LegReport) -> RunFacts:
    names = {f"{name.removesuffix('_id')}_name": leg.names.get(name, "") for name in LAUNCH_IDS}
    status = leg.run.status if leg.run else ""
    return RunFacts(id=leg.run_id, url=leg.run_url, status=status, **what_ran(report, leg), **names)


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
        actor=context.actor,
        began=report.began,
        duration_seconds=round(report.seconds, 3),
        coval_gate=__version__,
    )


def _case(case: CaseStability, labels: Mapping[str, str]) -> CaseFacts:
    return CaseFacts(
        test_case_id=case.test_case_id,
        test_case=labels.get(case.test_case_id, ""),
        variant=variant_key(case.variant),
        stability=_stability(case),
        failed=case.failed,
        total=case.total,
    )


def _stability(case: CaseStability) -> Stability:
    return "flaky" if case.is_flaky else "consistent"


def _simulation(row: SimulationRow, metrics: tuple[Metric, ...], leg: LegReport) -> SimulationFacts:
    simulation = row.simulation
    all_values = {metric.id: metric.values[simulation.id] for metric in metrics if simulation.id in metric.values}
    values, explanations = _first(all_values, row), _first(row.texts, row)
    return SimulationFacts(
        id=simulation.id,
        run_id=simulation.run_id or leg.run_id,
        status=simulation.status,
        variant=variant_key(simulation.mutation),
        test_case_id=simulation.test_case_id,
        test_case=leg.details.labels.get(simulation.test_case_id, ""),
        iteration=row.iteration,
        stability=_stability(row.stability) if row.stability else None,
        verdict=_outcome(row.verdict) or "error",
        cause=row.cause.value if row.cause else None,
        missed_criteria=[mention(miss.check.criterion) for miss in row.misses],
        missed_criteria_left_out=row.more_misses,
        error=simulation.error,
        url=row.url,
        values={
            metric_id: sorted(value) if isinstance(value, frozenset) else value for metric_id, value in values.items()
        },
        values_left_out=len(all_values) - len(values),
        explanations=explanations,
        explanations_left_out=len(row.texts) - len(explanations),
    )


def _first(by_metric: Mapping[str, T], row: SimulationRow) -> dict[str, T]:
    """Return at most MOST_VALUES entries; those of missed criteria take precedence."""
    if len(by_metric) <= MOST_VALUES:
        return dict(by_metric)
    missed = {miss.check.metric for miss in row.misses}
    first = sorted(by_metric, key=lambda metric_id: metric_id not in missed)[:MOST_VALUES]
    return {metric_id: by_metric[metric_id] for metric_id in first}


def _outcome(verdict: Verdict | None) -> Outcome | None:
    return verdict.value if verdict else None
