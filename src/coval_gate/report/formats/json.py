"""The whole result as JSON, for programs. Its JSON Schema is generated from these models.

`schema_version` changes its first number when something is removed or means something else, its second when something
is added. Readers should not mind fields that they do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from coval_gate import __version__
from coval_gate.judge.verdict import Check, Verdict
from coval_gate.report.aggregates import entry_of
from coval_gate.report.metrics import figures, variant_key
from coval_gate.report.provenance import configuration, what_ran
from coval_gate.report.simulations import cases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.model.results import Metric, RunResult, Simulation
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import Case

SCHEMA_VERSION: Final = "1.0"
Outcome = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]


def _encodable(value: object) -> object:
    """Half a surrogate, which an answer may hold, has no place in UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunFacts(_Model):
    """The run in Coval; empty where the step did not come so far."""

    id: Text
    url: Text
    status: Text
    """As Coval reported it last: COMPLETED, FAILED and so on."""
    agent_id: Text
    persona_id: Text
    test_set_id: Text


class StepFacts(_Model):
    """Where and when the step ran."""

    repository: Text
    commit: Text
    pull_request: int | None
    workflow: Text
    job: Text
    url: Text
    attempt: Text
    actor: Text
    began: Text
    """ISO 8601, UTC."""
    duration_seconds: float
    coval_gate: Text
    """Version of this action."""


class Criterion(_Model):
    """One thing that was asked for, for the agent or one of its mutations, and what was found."""

    asked: Text
    found: Text
    missed_by: Text
    verdict: Outcome
    reason: Text
    """A sentence, where the verdict is not passed."""
    variant: Text
    metric_id: Text
    simulation_ids: list[Text]
    """The simulations that are to blame, where the verdict is not passed."""


class SimulationFacts(_Model):
    """One conversation."""

    id: Text
    status: Text
    variant: Text
    test_case_id: Text
    test_case: Text
    """The test case in words, where the API key may read them."""
    iteration: int
    verdict: Outcome
    """passed; failed: it is to blame for a criterion that was missed; error: it did not complete; skipped: it did not
    do well, but the gate allows for that."""
    missed: list[Text]
    """The criteria that it is to blame for."""
    error: Text
    url: Text
    values: dict[Text, float | Text | list[Text]]
    """By metric id."""
    explanations: dict[Text, Text]
    """By metric id, for the first simulations to look at."""


class MetricFacts(_Model):
    """A metric in a few numbers, for each variant."""

    id: Text
    name: Text
    variants: dict[Text, dict[Text, Any]]
    """count, missing; for numbers mean, stdev, min, median, p95, max; for texts values: how often each occurs."""


class Document(_Model):
    """The result of one step of Coval Gate."""

    schema_version: Text
    verdict: Outcome | None
    """null with mode launch, where nobody asks for one."""
    passed: bool
    status: Text
    """As the output of that name."""
    reason: Text
    reasons: list[Text]
    """Every reason, the gravest first."""
    advice: Text
    link: Text
    run: RunFacts
    step: StepFacts
    inputs: dict[Text, Text]
    """Those that are not as they are by default, as they were given; of JSON objects the keys. No secrets."""
    total_simulations: int | None
    completed_simulations: int | None
    pass_rate: float | None = Field(ge=0, le=1)
    criteria: list[Criterion]
    metrics: list[MetricFacts]
    simulations: list[SimulationFacts]
    """Those to look at first."""


def document(report: Report) -> str:
    """The report as a JSON document that its schema allows."""
    return _document(report).model_dump_json(indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of `document`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def _document(report: Report) -> Document:
    judgement, population = report.judgement, report.judgement.population
    return Document(
        schema_version=SCHEMA_VERSION,
        verdict=_outcome(judgement.verdict),
        passed=judgement.verdict is Verdict.PASSED,
        status=judgement.status,
        reason=judgement.reason,
        reasons=list(judgement.reasons),
        advice=judgement.advice,
        link=judgement.link,
        run=_run(report),
        step=_step(report),
        inputs=configuration(report.inputs) if report.inputs else {},
        total_simulations=population.total if population else None,
        completed_simulations=population.completed if population else None,
        pass_rate=population.pass_rate if population else None,
        criteria=[_criterion(check) for check in judgement.checks],
        metrics=_metrics(report.result) if report.result else [],
        simulations=_simulations(report),
    )


def _run(report: Report) -> RunFacts:
    return RunFacts(
        id=report.run_id, url=report.run_url, status=report.run.status if report.run else "", **what_ran(report)
    )


def _step(report: Report) -> StepFacts:
    context = report.context
    return StepFacts(
        repository=context.repository,
        commit=context.sha,
        pull_request=context.pull_request,
        workflow=context.workflow,
        job=context.job,
        url=context.run_url,
        attempt=context.run_attempt,
        actor=context.actor,
        began=report.began,
        duration_seconds=round(report.seconds, 3),
        coval_gate=__version__,
    )


def _criterion(check: Check) -> Criterion:
    return Criterion(
        asked=check.asked,
        found=check.found,
        missed_by=check.missed,
        verdict=_outcome(check.verdict) or "error",
        reason="" if check.verdict is Verdict.PASSED else check.reason,
        variant=variant_key(check.variant),
        metric_id=check.metric,
        simulation_ids=[] if check.verdict is Verdict.PASSED else list(check.offenders),
    )


def _metrics(result: RunResult) -> list[MetricFacts]:
    variants = result.variants
    return [
        MetricFacts(
            id=metric.id,
            name=metric.name,
            variants={variant_key(name): entry_of(figures(metric, each)) for name, each in variants.items()},
        )
        for metric in result.metrics
    ]


def _simulations(report: Report) -> list[SimulationFacts]:
    metrics = report.result.metrics if report.result else ()
    return [_simulation(case, metrics, report.background.labels) for case in cases(report)]


def _simulation(case: Case, metrics: tuple[Metric, ...], labels: Mapping[str, str]) -> SimulationFacts:
    simulation = case.simulation
    return SimulationFacts(
        id=simulation.id,
        status=simulation.status,
        variant=variant_key(simulation.mutation),
        test_case_id=simulation.test_case_id,
        test_case=labels.get(simulation.test_case_id, ""),
        iteration=case.iteration,
        verdict=_outcome(case.verdict) or "error",
        missed=[check.asked for check in case.misses],
        error=simulation.error,
        url=case.url,
        values=_values(simulation, metrics),
        explanations=dict(case.texts),
    )


def _values(simulation: Simulation, metrics: tuple[Metric, ...]) -> dict[str, float | str | list[str]]:
    found = ((metric.id, metric.values.get(simulation.id)) for metric in metrics)
    return {
        metric_id: sorted(value) if isinstance(value, frozenset) else value
        for metric_id, value in found
        if value is not None
    }


def _outcome(verdict: Verdict | None) -> Outcome | None:
    return verdict.value if verdict else None
