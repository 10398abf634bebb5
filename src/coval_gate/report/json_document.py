"""The models of the JSON report, from which its JSON Schema is generated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from coval_gate.config.thresholds import Operator  # noqa: TC001 - pydantic reads the annotations
from coval_gate.judge.measure import Unit  # noqa: TC001
from coval_gate.model.promotion import Obstacle  # noqa: TC001
from coval_gate.report.json_comparisons import BaselineFacts, ComparedCriterion
from coval_gate.report.json_drift import DriftFacts  # noqa: TC001 - pydantic reads the annotations
from coval_gate.report.json_models import VERSIONS, MayGrow, Model, Text

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
    """threshold, max_failed_simulations, target_met and so on; more words may follow."""
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
    """What stood in the way of measuring, such as no_such_metric; empty where nothing did. More words may follow."""
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

    drift: DriftFacts | None
    """Of a criterion of the kind `drift`: how the runs developed; null where nothing was compared yet."""


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
    """What is to become of the promotion of a run. It is promoted once the reports are written."""

    tag: Text
    promoted: bool
    """Whether the run has the tag; not before the reports are written."""
    obstacle: Annotated[Obstacle, MayGrow()]
    """Why it does not have it, in a word: `pending`, or why it will not get it. More words may follow."""
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
    """Null where the run was not to be promoted, or the step does not pass."""
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
    """The result of one step of Coval Gate.

    A later minor version may have fields that are not described here, and other words where a description says that
    more words may follow. What is described here stays as it is until the first number of `schema_version` changes.
    """

    model_config = ConfigDict(title="CovalGateReport")

    schema_version: Text = Field(pattern=VERSIONS)
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
