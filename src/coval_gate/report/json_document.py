"""The models of the JSON report, from which its JSON Schema is generated.

A minor version may add fields, and words to a field whose description says so. Each schema allows what a later minor
version may add, so readers may validate with an older schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

from coval_gate.config.thresholds import Operator  # noqa: TC001 - pydantic reads the annotations
from coval_gate.judge.measure import Trend, Unit  # noqa: TC001
from coval_gate.model.baseline import (  # noqa: TC001
    NotFoundKind,
    Unchecked,
)

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core.core_schema import CoreSchema, ModelSchema

Stability = Literal["flaky", "consistent"]
CauseWord = Literal["flaky", "old", "new"]
Outcome = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]

SCHEMA_VERSION: Final = "4.0"
VERSIONS: Final = rf"^{SCHEMA_VERSION.partition('.')[0]}\.[0-9]+$"  # which the schema covers


def _encodable(value: object) -> object:
    """Return a text without lone surrogates, which a response may contain, but UTF-8 cannot encode."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


class Model(BaseModel):
    """A part of the report, described by the docstrings of its fields. A report has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MayGrow:
    """Marks words to which a minor version may add: the schema lists them as examples."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of any text."""
        return {"type": "string", "examples": handler(core)["enum"]}


class OpenSchema(GenerateJsonSchema):
    """Allows unknown fields, and gives titles to types only: code generators make a type of every title."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        """Return the schema of a model, without its `extra`, which is only about what this version writes."""
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
    """Test cases whose contents have changed."""
    valueless: int
    """Test cases that lack a value on one side."""
    runs: int
    """Runs of the baseline with another persona, without the metric, or with another version of it."""


class BaselineRunFacts(Model):
    """A run of the baseline, and how it differs from this run."""

    id: Text
    url: Text
    created: Text
    """As Coval reports it; empty where it does not."""
    changed_test_cases: int
    """How many test cases have changed contents."""
    changed_metrics: list[Text]
    """Ids of metrics of which it used another version."""
    changed_persona: bool
    """Whether it used another persona, or another version of it; then it is not compared."""
    changed_options: list[Text]
    """Launch options that differ and may matter, by the names of inputs."""
    unchecked: list[Annotated[Unchecked, MayGrow()]]
    """Coval does not say whether these have changed. More words may follow."""


class NoBaselineFacts(Model):
    """Why there is no baseline."""

    kind: Annotated[NotFoundKind, MayGrow()]
    """The reason in a word. More words may follow."""
    run_id: Text
    """The unusable run; empty where there is none."""
    text: Text


class BaselineFacts(Model):
    """The runs behind the input `baseline`."""

    source: Text
    """As the input spells it."""
    runs: list[BaselineRunFacts]
    """The newest first."""
    runs_left_out: int
    """How many more there are."""
    fewer_than_asked: int
    """How many of the requested runs do not exist."""
    missing: NoBaselineFacts | None
    """Why there is no run; null where there is one."""


class RunFacts(Model):
    """The run in Coval; empty where the step did not get that far."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported: COMPLETED, FAILED and so on."""
    agent_id: Text
    persona_id: Text
    test_set_id: Text
    agent_name: Text
    """As Coval shows it; empty where the API key may not read it, and likewise for the others."""
    persona_name: Text
    test_set_name: Text


class SingleRunFacts(Model):
    """One of the runs of a leg, judged alone."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported."""
    verdict: Outcome | None


class CaseFacts(Model):
    """A test case that failed in any of several runs, with the agent or one of its mutations."""

    test_case_id: Text
    test_case: Text
    """The test case in words, if the API key may read them."""
    variant: Text
    stability: Stability
    """consistent: each of its conversations failed; flaky: only some of them."""
    failed: int
    """How many of its conversations failed, over all runs."""
    total: int
    """How many conversations it had."""


class StepFacts(Model):
    """Where and when the step ran."""

    repository: Text
    commit: Text
    pull_request: int | None
    workflow: Text
    job: Text
    matrix: Text
    """What distinguishes the job from others with the same name; empty without a matrix."""
    url: Text
    attempt: Text
    actor: Text
    began: Text
    """ISO 8601, UTC."""
    duration_seconds: float
    coval_gate: Text
    """Version of this action."""


class Criterion(Model):
    """One requirement on the agent or a mutation, and what was measured: numbers, then words, then the comparison.

    The numbers are null where nothing was measured. The fields of the comparison, from `baseline_value` on, are null or
    empty where the criterion does not, or could not, compare.
    """

    kind: Text
    """threshold, max_failed_simulations, target_met and so on; more words may follow."""
    criterion: Text
    """A threshold as the user wrote it; otherwise a statement that is true where the criterion is met."""
    verdict: Outcome
    """skipped: it only informs, because it is advisory, or because no measured value can make it fail."""
    actual: float | None
    """The measured value, in `unit`."""
    operator: Operator | None
    bound: float | None
    """In `unit`. The requirement is `actual operator bound`."""
    unit: Unit | None
    """share: from 0 to 1; simulations: how many; metric: the metric's own unit."""
    margin: float | None
    """How far `actual` is from `bound`, in `unit`: positive on the required side, negative on the other."""
    runs: int
    """How many runs of the leg decided it."""
    run_id: Text
    """Where each of several runs must meet it alone: the run that misses it or comes closest; otherwise empty."""
    first_actual: float | None
    """Where several runs decided, and the first one alone did not meet it: its value, in `unit`."""
    count: int | None
    """How many of the simulations that it is about have a value."""
    missing: int | None
    """How many simulations should have a value, but have none."""
    lower: float | None
    """With a confidence: the agent's value is at least this, in `unit`; null where nothing is claimed."""
    upper: float | None
    """With a confidence: the agent's value is at most this."""
    confidence: float | None
    """The confidence of each bound by itself, which does not share the error; null where decided as counted."""
    problem: Text
    """Why nothing could be measured, such as no_such_metric; otherwise empty. More words may follow."""
    actual_text: Text
    claim_text: Text
    """With a confidence: the claim about the agent, such as "at least 91.2%"."""
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
    reference: Literal["", "baseline", "base"]
    """baseline: earlier runs; base: the agent itself in the same run or, with base_agent_id, that agent's run; empty: a
    number. With a reference, `actual`, `count` and `missing` are over the test cases that both sides have, and `bound`
    is computed from the reference."""
    advisory: bool
    """Whether it only informs, and can never fail."""
    baseline_value: float | None
    """The reference's value, in `unit`."""
    actual_pooled: float | None
    """`actual` weighs each test case the same, however many simulations it has. This value weighs each simulation the
    same; null where it does not differ."""
    baseline_count: int | None
    """How many simulations of the reference have a value."""
    baseline_missing: int | None
    """How many simulations of the reference have no value. A rate counts them as misses on both sides."""
    baseline_pooled: float | None
    """As `actual_pooled`, for `baseline_value`."""
    change: float | None
    """`actual` minus `baseline_value`."""
    change_lower: float | None
    """With a confidence: the change is at least this; null where nothing is claimed."""
    change_upper: float | None
    """With a confidence: the change is at most this. Each bound has the whole `change_confidence` by itself."""
    change_confidence: float | None
    """A share; null where the change was decided as counted."""
    trend: Trend | None
    """What the change amounts to: with a confidence, only what is evident given the number of thresholds."""
    by_chance: int
    """The number of thresholds, if the change would be evident alone, but one of so many thresholds may show it by
    chance; otherwise 0."""
    noticeable_change: float | None
    """The smallest change for the worse, in `unit`, that 80% of such runs would show, beyond the margin and given the
    number of thresholds; null where it is unknown."""
    shared_test_cases: int | None
    """How many test cases both sides have."""
    left_out: LeftOutFacts | None
    newly_failing: list[Text]
    """The first ids of test cases whose simulations mostly passed in the reference, and mostly fail now."""
    newly_failing_left_out: int
    """How many more there are."""
    newly_passing: list[Text]
    """The first ids of test cases whose simulations mostly failed in the reference, and mostly pass now."""
    newly_passing_left_out: int
    """How many more there are."""


class VariantFacts(Model):
    """The agent itself or a mutation, as named in `variant` and `variants` everywhere else."""

    variant: Text
    """The mutation's name, with its id if several have that name. `agent` is the agent itself."""
    mutation_id: Text
    """Empty for the agent itself, and if Coval does not report it."""


class SimulationFacts(Model):
    """One conversation."""

    id: Text
    run_id: Text
    status: Text
    variant: Text
    test_case_id: Text
    test_case: Text
    """The test case in words, if the API key may read them."""
    iteration: int
    stability: Stability | None
    """The stability of its test case, if that failed in any of several runs."""
    verdict: Outcome
    """passed; failed: it violates a missed criterion; error: it did not complete; skipped: it fell short, but that is
    tolerated, or it is one of the few that contribute the most to an average that misses its bound."""
    cause: Annotated[CauseWord, MayGrow()] | None
    """Why it did not do well, the first that fits. flaky: most other conversations of its test case pass; old: its test
    case missed the same in the baseline; new: it did not. Null where it passed, only contributes, or nothing shows the
    cause, as without a baseline. More words may follow."""
    missed_criteria: list[Text]
    """The first criteria that it misses; long ones are cut. In place of pass_rate, the targets that it misses. Also
    averages that miss their bound, if it is one of the few that contribute the most."""
    missed_criteria_left_out: int
    """How many more it misses."""
    error: Text
    url: Text
    values: dict[Text, float | Text | list[Text]]
    """By metric id; if there are too many, those of missed criteria take precedence."""
    values_left_out: int
    """How many more values it has."""
    explanations: dict[Text, Text]
    """By metric id, for the first simulations to look at."""
    explanations_left_out: int
    """How many more there are."""


class Figures(Model):
    """A metric on the simulations of a variant.

    Fields that do not apply are absent: statistics where there are no numbers, `values` where there are no texts.
    """

    count: int
    """How many simulations have a value."""
    missing: int
    """How many have none."""
    mean: float = Field(default_factory=float)
    stdev: float = Field(default_factory=float)
    min: float = Field(default_factory=float)
    median: float = Field(default_factory=float)
    p95: float = Field(default_factory=float)
    max: float = Field(default_factory=float)
    values: dict[Text, int] = Field(default_factory=dict)
    """How often each text occurs, also within sets: the most frequent."""


class MetricFacts(Model):
    """A metric in a few numbers, for each variant."""

    id: Text
    name: Text
    unit: Text
    """The unit of its numbers, in Coval's words; empty if it has none, or Coval did not show it."""
    variants: dict[Text, Figures]
    """By the variant's name."""


class StandingFacts(Model):
    """What the step made of the run for later ones."""

    accepted: bool
    """Whether a person accepted it."""
    tag: Text
    """The tag of the baseline that it has now; empty for a baseline of a branch."""
    text: Text
    """All of this in a sentence."""


class Leg(Model):
    """A run that the step launched or waited for, and its result."""

    name: Text
    """What distinguishes it from other legs; empty where there is only one."""
    verdict: Outcome | None
    status: Text
    reasons: list[Text]
    reasons_left_out: int
    """How many more there are."""
    run: RunFacts
    runs: list[SingleRunFacts]
    """The run and its repetitions (`repeat_on_failure`); everything else is about the runs that count."""
    failing_cases: list[CaseFacts]
    """Where there are several runs: the test cases that failed in any of them, consistent ones first."""
    replaced_simulation_ids: list[Text]
    """Simulations that failed, and whose conversation another run completed; they count nowhere else."""
    baseline: BaselineFacts | None
    """The earlier runs that thresholds refer to; null where none do."""
    tested: Text
    """What its run tested, in words, such as "this commit (attached)" or "agent X as deployed"; empty without a run."""
    base: BaselineFacts | None
    """The run of the agent that base_agent_id names, beside which this one was tested; null without one."""
    total_simulations: int | None
    completed_simulations: int | None
    pass_rate: float | None = Field(ge=0, le=1)
    standing: StandingFacts | None
    """Null where the step changed nothing for later runs."""
    variants: list[VariantFacts]
    """The variants that have simulations."""
    criteria: list[Criterion]
    """The gravest first; if there are too many, only the first."""
    criteria_left_out: int
    """How many more there are."""
    metrics: list[MetricFacts]
    """All; if there are too many, only the first."""
    metrics_left_out: int
    """How many more there are."""
    simulations: list[SimulationFacts]
    """In this order: those that fail the gate, tolerated ones, others; within each kind, the worst first."""


class Document(Model):
    """The result of one step of Coval Gate.

    A later minor version may have fields that are not described here, and other words where a description says that
    more words may follow. What is described here holds until the major number of `schema_version` changes.
    """

    model_config = ConfigDict(title="CovalGateReport")

    schema_version: Text = Field(pattern=VERSIONS)
    verdict: Outcome | None
    """The verdict of the step as a whole; null with mode launch, which asks for none."""
    passed: bool
    status: Text
    """As in the output `status`."""
    reason: Text
    reasons: list[Text]
    """The reasons, the gravest first; if there are too many, only the first."""
    reasons_left_out: int
    """How many more there are."""
    advice: Text
    link: Text
    step: StepFacts
    inputs: dict[Text, Text]
    """The inputs that differ from their defaults, as given; of JSON objects only the keys. No secrets."""
    legs: list[Leg]
    """One for each run; empty where the step ended before it had one."""
