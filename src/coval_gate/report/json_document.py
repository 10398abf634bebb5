"""The models of the JSON report, from which its JSON Schema is generated.

A minor version may add fields, and words to a field whose description says so. The schema of a version allows what a
later minor version may add, so that readers that validate with an older one stay valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

from coval_gate.config.thresholds import Operator, Reference  # noqa: TC001 - pydantic reads the annotations
from coval_gate.judge.measure import Trend, Unit  # noqa: TC001
from coval_gate.model.baseline import NotFoundKind, Unchecked  # noqa: TC001
from coval_gate.model.promotion import Obstacle  # noqa: TC001

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core.core_schema import CoreSchema, ModelSchema

Stability = Literal["flaky", "consistent"]
Outcome = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]

SCHEMA_VERSION: Final = "3.3"
VERSIONS: Final = rf"^{SCHEMA_VERSION.partition('.')[0]}\.[0-9]+$"  # that the schema is for


def _encodable(value: object) -> object:
    """Half a surrogate, which an answer may hold, has no place in UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


class Model(BaseModel):
    """A part of the report, described by the docstrings of its fields. The report itself has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MayGrow:
    """Marks words to which a minor version may add: the schema gives them as examples."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of any text."""
        return {"type": "string", "examples": handler(core)["enum"]}


class OpenSchema(GenerateJsonSchema):
    """Allows fields that are not known, and names types only: code generators make a type of every title."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        """Return the schema of a model, whose own `extra` is about what this version writes."""
        return {name: value for name, value in super().model_schema(schema).items() if name != "additionalProperties"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Leave the names of fields as they are."""
        return False


class LeftOutFacts(Model):
    """What a comparison leaves out."""

    new: int
    """Test cases that the reference does not have."""
    gone: int
    """Test cases that only the reference has."""
    changed: int
    """Test cases whose contents changed since."""
    valueless: int
    """Test cases that both have, without a value in one of the two."""
    runs: int
    """Runs of the baseline with another persona, without the metric, or with another version of it."""


class ComparedCriterion(Model):
    """The fields of a criterion that compares; null or empty where it compares with nothing, or could not."""

    reference: Reference
    """baseline: earlier runs; base: the agent itself in the same run; empty: a number. With a reference, `actual`,
    `count` and `missing` are over the test cases that both sides have, and `bound` is the number that the reference
    makes."""
    advisory: bool
    """Whether it is shown only, and can never fail."""
    baseline_value: float | None
    """That of the reference, in `unit`."""
    actual_pooled: float | None
    """`actual` weighs each test case the same, however many simulations it has. This is the value over all simulations
    alike; null where it does not differ."""
    baseline_count: int | None
    """How many simulations of the reference have a value."""
    baseline_missing: int | None
    """How many simulations of the reference have none. A rate counts them as misses on both sides."""
    baseline_pooled: float | None
    """As `actual_pooled`, for `baseline_value`."""
    change: float | None
    """`actual` minus `baseline_value`."""
    change_lower: float | None
    """With a confidence: the change is at least so much; null where nothing is claimed."""
    change_upper: float | None
    """With a confidence: the change is at most so much. Each bound has the whole `change_confidence` by itself."""
    change_confidence: float | None
    """A share; null where the change was decided as counted."""
    trend: Trend | None
    """What the change amounts to: with a confidence, only what is evident among so many thresholds."""
    by_chance: int
    """0; or, where the change alone would be evident, how many thresholds there are: one of so many may show it by
    chance."""
    noticeable_change: float | None
    """The smallest change for the worse, in `unit`, that 80% of such runs would show, beyond the margin and among so
    many thresholds; null where it is not known."""
    shared_test_cases: int | None
    """How many test cases both sides have."""
    left_out: LeftOutFacts | None
    newly_failing: list[Text]
    """The first ids of test cases most of whose simulations pass in the reference, and most fail now."""
    newly_failing_left_out: int
    """How many more there are."""
    newly_passing: list[Text]
    """The first ids of test cases of which the reverse is true."""
    newly_passing_left_out: int
    """How many more there are."""


class BaselineRunFacts(Model):
    """A run of the baseline, and what distinguishes it from this one."""

    id: Text
    url: Text
    created: Text
    """As Coval reports it; empty where it does not."""
    changed_test_cases: int
    """How many test cases have other contents since."""
    changed_metrics: list[Text]
    """Ids of the metrics that another version judged."""
    changed_persona: bool
    """Whether it had another persona, or another version of it, so that it is not compared with."""
    changed_options: list[Text]
    """Other options of its launch that may matter, by the names of inputs."""
    unchecked: list[Annotated[Unchecked, MayGrow()]]
    """What Coval does not tell: whether these have changed since. More words may follow."""


class NoBaselineFacts(Model):
    """Why there is no baseline."""

    kind: Annotated[NotFoundKind, MayGrow()]
    """In a word. More words may follow."""
    run_id: Text
    """The run that may not be used; empty where there is none."""
    text: Text


class BaselineFacts(Model):
    """What was found of the input `baseline`."""

    source: Text
    """As the input spells it."""
    runs: list[BaselineRunFacts]
    """The newest first."""
    runs_left_out: int
    """How many more there are."""
    fewer_than_asked: int
    """How many of the runs that the input asks for there are not."""
    missing: NoBaselineFacts | None
    """Why there is no run; null where there is one."""


class NightFacts(Model):
    """A run after the reference."""

    run_id: Text
    created: Text
    """As Coval reports it; empty for the run of this report."""
    value: float
    """Over the shared test cases, in the unit of the criterion."""
    sum: float
    """The sum of the shortfalls, with this run."""


class DriftFacts(Model):
    """How runs developed beside a reference."""

    reference_value: float
    """The mean of the reference, in the unit of the criterion."""
    reference_run_ids: list[Text]
    """The oldest first, which has the tag of the input `drift`."""
    shared_test_cases: int
    sum: float
    """That of the shortfalls, with this run."""
    level: float
    """Above it, the sum is an alarm."""
    since_run_id: Text
    """The run with which the sum began to rise; `actual` is the mean since then."""
    nights: list[NightFacts]
    """The runs after the reference, the oldest first and this one last."""
    left_out_runs: int
    """How many later runs do not count: their data are not complete, or they cannot be compared."""


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
    """How many runs of the leg decided it."""
    run_id: Text
    """Where each of several runs has to meet it alone: the one that breaks it or comes closest; otherwise empty."""
    first_actual: float | None
    """Where several runs decided, and the first one did not meet it: what that had alone, in `unit`."""
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
