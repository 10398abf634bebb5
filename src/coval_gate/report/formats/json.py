"""The whole result as JSON, for programs. Its JSON Schema is generated from these models.

`schema_version` changes its first number when something is removed or means something else, its second when something
is added. Readers should not mind fields that they do not know.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from pydantic import Field

from coval_gate import __version__
from coval_gate.config.thresholds import Operator  # noqa: TC001 - pydantic reads the annotations
from coval_gate.judge.measure import Unit  # noqa: TC001
from coval_gate.judge.verdict import Verdict
from coval_gate.model.promotion import Obstacle  # noqa: TC001
from coval_gate.report.json_comparisons import BaselineFacts, ComparedCriterion, baseline_facts, comparison_fields
from coval_gate.report.json_models import Model, Text
from coval_gate.report.limits import MOST_CRITERIA, MOST_FIGURES, MOST_IDS, MOST_VALUES
from coval_gate.report.metrics import entries_of, variant_key
from coval_gate.report.provenance import configuration, what_ran
from coval_gate.report.simulations import leg_rows
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, check_reason, margin_text, shown_verdict
from coval_gate.report.wording.claims import claim_text
from coval_gate.report.wording.comparisons import comparison_of
from coval_gate.report.wording.criteria import criterion_text, mention
from coval_gate.report.wording.promotion import report_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import CaseStability, Judgement
    from coval_gate.judge.measure import Requirement
    from coval_gate.model.promotion import Promotion
    from coval_gate.model.results import Metric
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

T = TypeVar("T")

SCHEMA_VERSION: Final = "3.1"
Stability = Literal["flaky", "consistent"]
Outcome = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]


class RunFacts(Model):
    """The run in Coval; empty where the step did not come so far."""

    id: Text
    url: Text
    status: Text
    """As Coval reported it last: COMPLETED, FAILED and so on."""
    agent_id: Text
    persona_id: Text
    test_set_id: Text


class SingleRunFacts(Model):
    """One of the runs of a leg, judged alone."""

    id: Text
    url: Text
    status: Text
    """As Coval reported it last."""
    verdict: Outcome | None


class CaseFacts(Model):
    """A test case that failed in any of several runs, with the agent or one of its mutations."""

    test_case_id: Text
    test_case: Text
    """The test case in words, where the API key may read them."""
    variant: Text
    stability: Stability
    """consistent: each of its conversations failed; flaky: only some of them."""
    failed: int
    """How many of its conversations failed, over all runs."""
    total: int
    """How many it had."""


class StepFacts(Model):
    """Where and when the step ran."""

    repository: Text
    commit: Text
    pull_request: int | None
    workflow: Text
    job: Text
    matrix: Text
    """What distinguishes the job from others of its name; empty without a matrix."""
    url: Text
    attempt: Text
    actor: Text
    began: Text
    """ISO 8601, UTC."""
    duration_seconds: float
    coval_gate: Text
    """Version of this action."""


class PlainCriterion(Model):
    """A criterion without what a comparison adds to it."""

    kind: Text
    """threshold, max_failed_simulations, target_met and so on."""
    criterion: Text
    """A threshold as the user wrote it; otherwise a statement that is true where the criterion is met."""
    verdict: Outcome
    """skipped: it only informs, because it is advisory, or because nothing that is measured can make it fail."""
    actual: float | None
    """The measured value, in `unit`."""
    operator: Operator | None
    bound: float | None
    """In `unit`. `actual operator bound` is what is required."""
    unit: Unit | None
    """share: from 0 to 1; simulations: how many; metric: the metric's own unit."""
    margin: float | None
    """How far `actual` is from `bound`, in `unit`: positive on the side that is required, negative on the other."""
    runs: int
    """How many runs of the leg it was decided by: all, or the first one."""
    first_actual: float | None
    """Where several runs decided: what the first one alone had, in `unit`."""
    count: int | None
    """How many simulations were looked at and have a value."""
    missing: int | None
    """How many simulations should have a value, and have none."""
    lower: float | None
    """With a confidence: the agent has at least so much, in `unit`; null where nothing is claimed."""
    upper: float | None
    """With a confidence: the agent has at most so much."""
    confidence: float | None
    """That of each bound by itself, a share; null where the criterion was decided as counted."""
    sides: Literal["one"] | None
    """one: each bound has the whole confidence, and they do not share the error."""
    problem: Text
    """What stood in the way of measuring, such as no_such_metric; empty where nothing did."""
    actual_text: Text
    claim_text: Text
    """With a confidence: what is claimed of the agent, such as "at least 91.2%"."""
    margin_text: Text
    """By how much the criterion is missed; empty where it is met."""
    reason: Text
    """A sentence, if the verdict is not passed."""
    variant: Text
    metric_id: Text
    simulation_ids: list[Text]
    """The first simulations that miss the criterion, if the verdict is not passed."""
    simulation_ids_left_out: int
    """How many more miss it."""


class Criterion(ComparedCriterion, PlainCriterion):
    """One thing that is required of the agent or one of its mutations, and what was measured: numbers, then words.

    The numbers are null where nothing was measured.
    """


class VariantFacts(Model):
    """The agent itself or one of its mutations, as it is called in `variant` and `variants` everywhere else."""

    variant: Text
    """The mutation's name, with its id if several have that name. `agent` is the agent itself."""
    mutation_id: Text
    """Empty for the agent itself, and if Coval does not give it."""


class SimulationFacts(Model):
    """One conversation."""

    id: Text
    run_id: Text
    status: Text
    variant: Text
    test_case_id: Text
    test_case: Text
    """The test case in words, where the API key may read them."""
    iteration: int
    stability: Stability | None
    """That of its test case, if that failed in any of several runs."""
    verdict: Outcome
    """passed; failed: it is to blame for a missed criterion; error: it did not complete; skipped: it did not do well,
    but that is tolerated."""
    missed_criteria: list[Text]
    """The first criteria that it misses; long ones are cut. In place of pass_rate, the targets that it misses."""
    missed_criteria_left_out: int
    """How many more it misses."""
    error: Text
    url: Text
    values: dict[Text, float | Text | list[Text]]
    """By metric id; if there are too many, those of the missed criteria take precedence."""
    values_left_out: int
    """How many more it has."""
    explanations: dict[Text, Text]
    """By metric id, for the first simulations to look at."""
    explanations_left_out: int
    """How many more there are."""


class MetricFacts(Model):
    """A metric in a few numbers, for each variant."""

    id: Text
    name: Text
    variants: dict[Text, dict[Text, Any]]
    """count, missing; for numbers mean, stdev, min, median, p95, max; for texts values: how often each occurs."""


class PromotionFacts(Model):
    """What became of the promotion of a run that passed."""

    tag: Text
    promoted: bool
    """Whether the run has the tag."""
    obstacle: Obstacle
    """Why it does not have it, in a word; empty where it does."""
    previous_run_ids: list[Text]
    """The runs that had the tag, and lost it."""
    remaining_run_ids: list[Text]
    """Older runs that could not be changed, and still have the tag."""
    text: Text
    """All of this in sentences."""


class Leg(Model):
    """One run that the step launched or waited for, and what became of it."""

    name: Text
    """What tells it from the other legs; empty where there is one only."""
    verdict: Outcome | None
    status: Text
    reasons: list[Text]
    reasons_left_out: int
    """How many more there are."""
    run: RunFacts
    runs: list[SingleRunFacts]
    """The run and its repetitions (`repeat_on_failure`); everything else is about those of them that count."""
    failing_cases: list[CaseFacts]
    """Where there are several runs: the test cases that failed in any of them, consistent ones first."""
    replaced_simulation_ids: list[Text]
    """Simulations without a result that one of a later run replaces; they count nowhere else."""
    baseline: BaselineFacts | None
    """The earlier runs that thresholds refer to; null where none do."""
    total_simulations: int | None
    completed_simulations: int | None
    pass_rate: float | None = Field(ge=0, le=1)
    promotion: PromotionFacts | None
    """Null unless the run passed and was to be promoted."""
    variants: list[VariantFacts]
    """Those that have simulations."""
    criteria: list[Criterion]
    """All, in their order; if there are too many, only the gravest."""
    criteria_left_out: int
    """How many more there are."""
    metrics: list[MetricFacts]
    """All; if there are too many, only the first."""
    metrics_left_out: int
    """How many more there are."""
    simulations: list[SimulationFacts]
    """Those to look at first: those that fail the gate, then tolerated ones; of each kind, the worst first."""


class Document(Model):
    """The result of one step of Coval Gate."""

    schema_version: Text
    verdict: Outcome | None
    """That of the step as a whole; null with mode launch, where no verdict is asked for."""
    passed: bool
    status: Text
    """As the output of that name."""
    reason: Text
    reasons: list[Text]
    """The reasons, the gravest first; if there are too many, only the first."""
    reasons_left_out: int
    """How many more there are."""
    advice: Text
    link: Text
    step: StepFacts
    inputs: dict[Text, Text]
    """Those that differ from their defaults, as they were given; of JSON objects the keys. No secrets."""
    legs: list[Leg]
    """One for each run; empty where the step ended before it had one."""


def render(report: Report) -> str:
    """Return the report as a JSON document that its schema allows."""
    return _document(report).model_dump_json(indent=2) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of what `render` returns."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def criterion_facts(check: Check) -> Criterion:
    """Return the entry of a criterion."""
    measure, requirement = check.measure, check.requirement
    interval = measure.interval if measure else None
    blamed = () if check.passed and not check.informs else check.simulations
    return Criterion(
        kind=check.criterion.kind,
        criterion=criterion_text(check.criterion),
        verdict=_outcome(shown_verdict(check)) or "error",
        actual=measure.value if measure else None,
        operator=requirement.operator if requirement else None,
        bound=_bound(check, requirement),
        unit=measure.unit if measure else None,
        margin=None if check.margin is None else float(f"{check.margin:.12g}"),  # 0.10935, not 0.10935000000000006
        runs=check.runs,
        first_actual=check.first.value if check.first else None,
        count=measure.count if measure else None,
        missing=measure.missing if measure else None,
        lower=interval.lower if interval and math.isfinite(interval.lower) else None,
        upper=interval.upper if interval and math.isfinite(interval.upper) else None,
        confidence=interval.confidence if interval else None,
        sides="one" if interval else None,
        problem=check.problem.kind if check.problem else "",
        actual_text=actual_text(check),
        claim_text=claim_text(check),
        margin_text=margin_text(check),
        reason=check_reason(check),
        variant=variant_key(check.variant),
        metric_id=check.metric,
        simulation_ids=list(blamed[:MOST_IDS]),
        simulation_ids_left_out=max(0, len(blamed) - MOST_IDS),
        **comparison_fields(check),
    )


def _bound(check: Check, requirement: Requirement | None) -> float | None:
    """Return the bound as the user wrote it; one that a reference makes without its rounding errors."""
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
        inputs=configuration(report.inputs) if report.inputs else {},
        legs=[_leg(report, leg) for leg in report.legs],
    )


def _leg(report: Report, leg: LegReport) -> Leg:
    judgement, totals, repetition = leg.judgement, leg.judgement.totals, leg.judgement.repetition
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
        baseline=baseline_facts(report, judgement.baseline),
        total_simulations=totals.total if totals else None,
        completed_simulations=totals.completed if totals else None,
        pass_rate=totals.pass_rate if totals else None,
        promotion=_promotion(leg.promotion) if leg.promotion else None,
        variants=_variants(leg),
        criteria=[criterion_facts(check) for check in judgement.first_checks(MOST_CRITERIA)],
        criteria_left_out=max(0, len(judgement.checks) - MOST_CRITERIA),
        metrics=[
            MetricFacts(id=metric.id, name=metric.name, variants=entries_of(metric, leg.variants)) for metric in shown
        ],
        metrics_left_out=len(metrics) - len(shown),
        simulations=[_simulation(row, metrics, leg) for row in leg_rows(report, leg)],
    )


def _promotion(promotion: Promotion) -> PromotionFacts:
    return PromotionFacts(
        tag=promotion.tag,
        promoted=promotion.promoted,
        obstacle=promotion.obstacle,
        previous_run_ids=list(promotion.previous[:MOST_IDS]),
        remaining_run_ids=list(promotion.remaining[:MOST_IDS]),
        text=report_text(promotion),
    )


def _reasons(judgement: Judgement) -> dict[str, Any]:
    found = judgements.reasons(judgement)
    return {"reasons": list(found[:MOST_CRITERIA]), "reasons_left_out": max(0, len(found) - MOST_CRITERIA)}


def _variants(leg: LegReport) -> list[VariantFacts]:
    dealt = leg.result.variants if leg.result else {}
    return [
        VariantFacts(variant=variant_key(name), mutation_id=members[0].mutation_id) for name, members in dealt.items()
    ]


def _run(report: Report, leg: LegReport) -> RunFacts:
    return RunFacts(id=leg.run_id, url=leg.run_url, status=leg.run.status if leg.run else "", **what_ran(report, leg))


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
    known = {metric.id: metric.values[simulation.id] for metric in metrics if simulation.id in metric.values}
    values, explanations = _first(known, row), _first(row.texts, row)
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
        missed_criteria=[mention(miss.check.criterion) for miss in row.misses],
        missed_criteria_left_out=row.more_misses,
        error=simulation.error,
        url=row.url,
        values={each: sorted(value) if isinstance(value, frozenset) else value for each, value in values.items()},
        values_left_out=len(known) - len(values),
        explanations=explanations,
        explanations_left_out=len(row.texts) - len(explanations),
    )


def _first(found: Mapping[str, T], row: SimulationRow) -> dict[str, T]:
    """Return at most MOST_VALUES of what is known by metric id; those of missed criteria take precedence."""
    if len(found) <= MOST_VALUES:
        return dict(found)
    missed = {miss.check.metric for miss in row.misses}
    return {each: found[each] for each in sorted(found, key=lambda each: each not in missed)[:MOST_VALUES]}


def _outcome(verdict: Verdict | None) -> Outcome | None:
    return verdict.value if verdict else None
