"""What a run is made of: agents, personas, test sets, metrics, run templates, as models of Coval's JSON. Pure.

`read` raises ValueError for a field of a wrong type. A target with an unknown operator is reported when it is used.
"""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, AliasChoices, AliasPath, BeforeValidator, Field, PlainValidator, model_validator

from coval_gate.coval.model import BINARY_TEXTS, LARGEST_VALUE, Simulation, Target, Turn, Value
from coval_gate.coval.results import (
    Answer,
    Id,
    Masked,
    Name,
    Read,
    Status,
    Texts,
    WholeNumber,
    on_one_line,
    read_runs,
    read_simulations,
    read_value,
)
from coval_gate.coval.transcripts import read_transcript


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T_co = TypeVar("T_co", covariant=True)

SHOWN_NAME: Final = 100  # characters
TYPE: Final = re.compile("(?:MODEL_TYPE_)?([A-Z0-9_]{1,60})")  # of an agent
BINARY_SUFFIX: Final = "_BINARY"  # suffix of the types of metrics whose judge answers YES, NO or UNKNOWN
LESS_IS_BETTER: Final = ("_TTFB", "_WER")  # likewise: times to the first byte, word error rates
# Fields of a test case or a persona without influence on conversations.
COSMETIC: Final = frozenset(
    [
        *("id", "name", "resource_name", "test_set_id", "description", "user_notes", "tags"),
        *("create_time", "update_time", "created_at", "created_by", "updated_at", "updated_by"),
    ]
)


class Resource(NamedTuple, Generic[T_co]):
    """Resources that are read in one way. `key`: their name in a response, or `other_key`. `query`: of their list."""

    path: str
    key: str
    read: Read[T_co]
    query: tuple[tuple[str, str], ...] = ()
    other_key: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.other_key) if self.other_key else (self.key,)

    @property
    def input(self) -> str:
        """The input for their ids."""
        return f"{self.key}_id"

    @property
    def noun(self) -> str:
        return self.key.replace("_", " ")


def _model_type(written: str) -> str:
    match = TYPE.fullmatch(written.strip().upper())
    return match[1] if match else ""


TargetNumber = Annotated[float, Field(strict=True, ge=-LARGEST_VALUE, le=LARGEST_VALUE)] | None
Ids = Annotated[Texts, BeforeValidator(lambda ids: [ids] if isinstance(ids, str) else ids)]


class NamedResource(Answer):
    id: Id
    name: Annotated[str, on_one_line(SHOWN_NAME), Field(validation_alias=AliasChoices("display_name", "name"))] = ""


class WithContent(Answer):
    """`content`: everything that conversations depend on, as canonical JSON; null and empty fields count as absent."""

    content: str = ""

    @model_validator(mode="before")
    @classmethod
    def _with_content(cls, fields: Any) -> Any:
        content = {
            name: value for name, value in fields.items() if name not in COSMETIC and value not in (None, "", [], {})
        }
        return {**fields, "content": json.dumps(content, sort_keys=True)}


class Agent(NamedResource):
    """`metric_ids`: all metrics of its runs; empty if unknown. `model_type`: such as VOICE; empty if unknown."""

    metric_ids: Texts = ()
    model_type: Annotated[str, AfterValidator(_model_type)] = ""


class TestSet(NamedResource):
    """`cases`: how many are active; None if unknown. `has_parameters`: Coval may run one with several values."""

    cases: Annotated[WholeNumber | None, Field(validation_alias="test_case_count")] = None
    has_parameters: Annotated[bool, BeforeValidator(bool), Field(validation_alias="parameters")] = False


class Persona(WithContent, NamedResource):
    pass


class TestCase(WithContent):
    """`label`: its description or input."""

    id: Id
    label: Annotated[Masked, on_one_line(100), Field(validation_alias=AliasChoices("description", "input_str"))] = ""
    update_time: Annotated[str, Field(validation_alias=AliasChoices("update_time", "create_time"))] = ""


class RunTemplate(NamedResource):
    """What it does not set is empty or None. The documentation has one id of each kind, the SDK lists."""

    agent_ids: Annotated[Ids, Field(validation_alias=AliasChoices("agent_ids", "agent_id"))] = ()
    persona_ids: Annotated[Ids, Field(validation_alias=AliasChoices("persona_ids", "persona_id"))] = ()
    test_set_ids: Annotated[Ids, Field(validation_alias=AliasChoices("test_set_ids", "test_set_id"))] = ()
    metric_ids: Texts = ()
    mutation_ids: Texts = ()
    test_case_ids: Texts = ()
    iteration_count: WholeNumber | None = None
    concurrency: WholeNumber | None = None
    sub_sample_size: WholeNumber | None = None
    sub_sample_seed: WholeNumber | None = None
    tags: Texts = ()
    customer: Annotated[
        dict[str, Any],
        Field(validation_alias=AliasChoices(AliasPath("metadata", "customer"), "metadata"), default_factory=dict),
        BeforeValidator(lambda metadata: {} if metadata is None else metadata),
    ]


class Condition(Answer):
    """Conditions of metrics and thresholds of organizations accept both names of upper bounds and single numbers."""

    comparison_operator: Annotated[str, on_one_line(80), AfterValidator(str.lower)] = ""
    upper: Annotated[TargetNumber, Field(validation_alias=AliasChoices("target_float_upper", "target_float"))] = None
    lower: Annotated[TargetNumber, Field(validation_alias="target_float_lower")] = None
    target_values: Texts = ()

    @property
    def target(self) -> Target:
        return Target(self.comparison_operator, self.upper, self.lower, self.target_values)


class MetricDefinition(Answer):
    """`unit`: of its numbers; empty if Coval shows none."""

    id: Id
    name: Annotated[Name, Field(validation_alias="metric_name")] = ""
    metric_type: str = ""
    categories: Texts = ()
    unit: Annotated[str, on_one_line(20)] = ""
    target_condition: Condition | None = None
    organization_threshold: Condition | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """All that its values can be; empty if unknown."""
        if self.metric_type.endswith(BINARY_SUFFIX):
            return BINARY_TEXTS
        return self.categories if self.metric_type.endswith("_CATEGORICAL") else ()

    @property
    def target(self) -> Target | None:
        """The organization's threshold, unless its operator is unset, precedes the metric's own condition.

        Coval does not document which applies; this is the order in which users can override them.
        """
        threshold, own = self.organization_threshold, self.target_condition
        if threshold and threshold.comparison_operator:
            return threshold.target
        return own.target if own and own.target != Target("") else None

    @property
    def wants_less(self) -> bool:
        """Whether it is one of Coval's own measures of delays or errors, so smaller numbers are better."""
        return self.metric_type.endswith(LESS_IS_BETTER)


class MetricOutput(Answer):
    id: Annotated[str, Field(validation_alias="metric_output_id")] = ""
    metric_id: Id
    status: Status = ""
    value: Annotated[Value | None, PlainValidator(read_value)] = None
    explanation: Annotated[Masked, on_one_line(300)] = ""
    version: Annotated[str, Field(validation_alias="metric_version_ulid")] = ""


class Mutation(Answer):
    id: Id


def newest(outputs: Iterable[MetricOutput]) -> tuple[MetricOutput, ...]:
    """A list may contain superseded outputs; ids sort by time."""
    return tuple({output.metric_id: output for output in sorted(outputs, key=lambda output: output.id)}.values())


AGENT: Final = Resource("/agents", "agent", Agent.read_all)
PERSONA: Final = Resource("/personas", "persona", Persona.read_all)
TEST_SET: Final = Resource("/test-sets", "test_set", TestSet.read_all)
TEST_CASE: Final = Resource("/test-cases", "test_case", TestCase.read_all)
METRIC: Final = Resource("/metrics", "metric", MetricDefinition.read_all, (("include_builtin", "true"),))
RUN_TEMPLATE: Final = Resource("/run-templates", "run_template", RunTemplate.read_all)
RUN: Final = Resource("/runs", "run", read_runs)
RUN_RESOURCES: Final = {kind.input: kind for kind in (AGENT, PERSONA, TEST_SET)}


def cases_of(test_set_id: str) -> Resource[TestCase]:
    return TEST_CASE._replace(query=(("filter", f'test_set_id="{test_set_id}"'),))


def simulations_of(run_id: str, path: str) -> Resource[Simulation]:
    """The oldest comes first."""
    query = (("filter", f'run_id="{run_id}"'), ("order_by", "create_time"))
    return Resource(path, "simulated_conversation", read_simulations, query, other_key="simulation")


def conversation_at(path: str) -> Resource[tuple[Turn, ...]]:
    def read(entries: list[dict[str, Any]]) -> list[tuple[Turn, ...]]:
        return [read_transcript(fields.get("transcript")) for fields in entries]

    return Resource(path, "simulated_conversation", read, other_key="simulation")


def outputs_of(simulation_id: str, path: str) -> Resource[MetricOutput]:
    """Without transcripts."""
    return Resource(
        f"{path}/{quote(simulation_id, safe='')}/metrics", "metric", MetricOutput.read_all, (("view", "BASIC"),)
    )


def mutations_of(agent_id: str) -> Resource[Mutation]:
    return Resource(f"/agents/{quote(agent_id, safe='')}/mutations", "mutation", Mutation.read_all)
