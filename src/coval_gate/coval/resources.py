"""Reads what a run is made of from Coval's JSON: agents, personas, test sets, metrics, run templates. Pure.

The readers raise ValueError for fields of a wrong type. A target with an unknown operator is reported when it is used.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from coval_gate.base.text import one_line
from coval_gate.coval.model import BINARY_TEXTS, LARGEST, Simulation, Target, Turn, Value, normalize_status
from coval_gate.coval.results import (
    count_in,
    needed_id,
    object_in,
    read_name,
    read_run,
    read_simulation,
    read_transcript,
    read_value,
    text_in,
    texts_in,
    without_numbers,
)


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T_co = TypeVar("T_co", covariant=True)

LONGEST_NAME: Final = 100  # characters
TYPE_PREFIX: Final = "MODEL_TYPE_"  # of the types of agents
TYPE: Final = re.compile("[A-Z0-9_]{1,60}")
LABEL_LIMIT: Final = 100  # characters
EXPLANATION_LIMIT: Final = 300  # characters
OPERATOR_LIMIT: Final = 80  # characters
BINARY: Final = "_BINARY"  # suffix of the types of metrics whose judge says YES, NO or UNKNOWN
CATEGORICAL: Final = "_CATEGORICAL"
LESS_IS_BETTER: Final = ("_TTFB", "_WER")  # likewise: times to the first byte, word error rates
UNIT_LIMIT: Final = 20  # characters
# Fields of a test case or a persona without influence on conversations.
COSMETIC: Final = frozenset(
    [
        *("id", "name", "resource_name", "test_set_id", "description", "user_notes", "tags"),
        *("create_time", "update_time", "created_at", "created_by", "updated_at", "updated_by"),
    ]
)


class Kind(NamedTuple, Generic[T_co]):
    """Resources that are read in one way. `key`: their name in a response, or `other_key`. `query`: of their list."""

    path: str
    key: str
    read: Callable[[dict[str, Any]], T_co]
    query: tuple[tuple[str, str], ...] = ()
    other_key: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.other_key) if self.other_key else (self.key,)

    @property
    def input(self) -> str:
        """The input that takes their ids."""
        return f"{self.key}_id"

    @property
    def noun(self) -> str:
        return self.key.replace("_", " ")


class Agent(NamedTuple):
    """`metric_ids`: all metrics of its runs; empty if unknown. `model_type`: such as VOICE; empty if unknown."""

    id: str
    name: str = ""
    metric_ids: tuple[str, ...] = ()
    model_type: str = ""


class TestSet(NamedTuple):
    """`cases`: how many are active; None if unknown. `has_parameters`: Coval may run one with several values."""

    id: str
    name: str = ""
    cases: int | None = None
    has_parameters: bool = False


class Persona(NamedTuple):
    """`content`: everything that conversations depend on, as canonical JSON."""

    id: str
    content: str
    name: str = ""


class RunTemplate(NamedTuple):
    """What it does not set is empty or None."""

    id: str
    name: str = ""
    agent_ids: tuple[str, ...] = ()
    persona_ids: tuple[str, ...] = ()
    test_set_ids: tuple[str, ...] = ()
    metric_ids: tuple[str, ...] = ()
    mutation_ids: tuple[str, ...] = ()
    test_case_ids: tuple[str, ...] = ()
    iteration_count: int | None = None
    concurrency: int | None = None
    sub_sample_size: int | None = None
    sub_sample_seed: int | None = None
    tags: tuple[str, ...] = ()
    customer: Mapping[str, Any] = MappingProxyType({})


class TestCase(NamedTuple):
    """`label`: its description or input. `content`: as of a persona."""

    id: str
    content: str
    label: str = ""
    update_time: str = ""


class MetricDefinition(NamedTuple):
    """`texts`: all that its values can be; empty if unknown. `unit`: of its numbers; empty if Coval shows none.

    `wants_less`: it is one of Coval's own measures of delays or errors, so smaller numbers are better.
    """

    id: str
    name: str = ""
    texts: tuple[str, ...] = ()
    target: Target | None = None
    unit: str = ""
    wants_less: bool = False


class MetricOutput(NamedTuple):
    id: str
    metric_id: str
    status: str
    value: Value | None = None
    explanation: str = ""
    version: str = ""


class Mutation(NamedTuple):
    id: str


def read_agent(fields: Mapping[str, Any]) -> Agent:
    type_ = text_in(fields, "model_type").strip().upper().removeprefix(TYPE_PREFIX)
    metric_ids = texts_in(fields, "metric_ids")
    return Agent(needed_id(fields, "id"), _name(fields), metric_ids, type_ if TYPE.fullmatch(type_) else "")


def read_test_set(fields: Mapping[str, Any]) -> TestSet:
    cases = count_in(fields, "test_case_count")
    return TestSet(needed_id(fields, "id"), _name(fields), cases, bool(fields.get("parameters")))


def read_template(fields: Mapping[str, Any]) -> RunTemplate:
    """Older templates have one id of each kind, not a list."""

    def ids(name: str) -> tuple[str, ...]:
        return texts_in(fields, f"{name}s") or tuple(filter(None, [text_in(fields, name)]))

    metadata = object_in(fields, "metadata")
    return RunTemplate(
        id=needed_id(fields, "id"),
        name=_name(fields),
        agent_ids=ids("agent_id"),
        persona_ids=ids("persona_id"),
        test_set_ids=ids("test_set_id"),
        metric_ids=ids("metric_id"),
        mutation_ids=ids("mutation_id"),
        test_case_ids=ids("test_case_id"),
        iteration_count=count_in(fields, "iteration_count"),
        concurrency=count_in(fields, "concurrency"),
        sub_sample_size=count_in(fields, "sub_sample_size"),
        sub_sample_seed=count_in(fields, "sub_sample_seed"),
        tags=texts_in(fields, "tags"),
        customer=object_in(metadata, "customer") if "customer" in metadata else metadata,
    )


def read_mutation(fields: Mapping[str, Any]) -> Mutation:
    return Mutation(needed_id(fields, "id"))


def read_persona(fields: Mapping[str, Any]) -> Persona:
    return Persona(needed_id(fields, "id"), _content(fields), _name(fields))


def read_test_case(fields: Mapping[str, Any]) -> TestCase:
    return TestCase(
        id=needed_id(fields, "id"),
        content=_content(fields),
        label=one_line(without_numbers(text_in(fields, "description") or text_in(fields, "input_str")), LABEL_LIMIT),
        update_time=text_in(fields, "update_time") or text_in(fields, "create_time"),
    )


def read_definition(fields: Mapping[str, Any]) -> MetricDefinition:
    """Let the organization's threshold, if it has an operator, precede the metric's own condition.

    Coval does not document which applies; this is the order in which users can override them. Both accept both names of
    upper bounds and single numbers, `target_float` and `target_float_upper`.
    """
    kind, categories = text_in(fields, "metric_type"), texts_in(fields, "categories")
    threshold = _target(object_in(fields, "organization_threshold"), operator_required=False)
    return MetricDefinition(
        id=needed_id(fields, "id"),
        name=read_name(fields, "metric_name"),
        texts=BINARY_TEXTS if kind.endswith(BINARY) else categories if kind.endswith(CATEGORICAL) else (),
        target=threshold or _target(object_in(fields, "target_condition"), operator_required=True),
        unit=one_line(text_in(fields, "unit"), UNIT_LIMIT),
        wants_less=kind.endswith(LESS_IS_BETTER),
    )


def read_output(fields: Mapping[str, Any]) -> MetricOutput:
    return MetricOutput(
        id=text_in(fields, "metric_output_id"),
        metric_id=needed_id(fields, "metric_id"),
        status=normalize_status(fields.get("status")),
        value=read_value(fields.get("value")),
        explanation=one_line(without_numbers(text_in(fields, "explanation")), EXPLANATION_LIMIT),
        version=text_in(fields, "metric_version_ulid"),
    )


def newest(outputs: Iterable[MetricOutput]) -> tuple[MetricOutput, ...]:
    """A list may contain superseded outputs; ids sort by time."""
    return tuple({output.metric_id: output for output in sorted(outputs, key=lambda output: output.id)}.values())


def _name(fields: Mapping[str, Any]) -> str:
    return one_line(text_in(fields, "display_name") or text_in(fields, "name"), LONGEST_NAME)


def _target(fields: Mapping[str, Any], *, operator_required: bool) -> Target | None:
    """None if it is all null. A null operator unsets an organization's threshold."""
    operator = one_line(text_in(fields, "comparison_operator"), OPERATOR_LIMIT).lower()
    upper, values = _number_in(fields, "target_float_upper"), texts_in(fields, "target_values")
    upper = _number_in(fields, "target_float") if upper is None else upper
    lower = _number_in(fields, "target_float_lower")
    if not operator and not (operator_required and (upper is not None or lower is not None or values)):
        return None
    return Target(operator=operator, upper=upper, lower=lower, values=values)


def _number_in(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name}: not a number")
    return float(value)


def _content(resource: Mapping[str, Any]) -> str:
    """Return the fields that conversations depend on, as JSON; null and empty fields count as absent."""
    content = {
        name: value for name, value in resource.items() if name not in COSMETIC and value not in (None, "", [], {})
    }
    return json.dumps(content, sort_keys=True)


AGENT: Final = Kind("/agents", "agent", read_agent)
PERSONA: Final = Kind("/personas", "persona", read_persona)
TEST_SET: Final = Kind("/test-sets", "test_set", read_test_set)
TEST_CASE: Final = Kind("/test-cases", "test_case", read_test_case)
METRIC: Final = Kind("/metrics", "metric", read_definition, (("include_builtin", "true"),))
RUN_TEMPLATE: Final = Kind("/run-templates", "run_template", read_template)
RUN: Final = Kind("/runs", "run", read_run)
OF_RUNS: Final = {kind.input: kind for kind in (AGENT, PERSONA, TEST_SET)}


def cases_of(test_set_id: str) -> Kind[TestCase]:
    return TEST_CASE._replace(query=(("filter", f'test_set_id="{test_set_id}"'),))


def simulations_of(run_id: str, path: str) -> Kind[Simulation]:
    """The oldest comes first."""
    query = (("filter", f'run_id="{run_id}"'), ("order_by", "create_time"))
    return Kind(path, "simulated_conversation", read_simulation, query, other_key="simulation")


def conversation_at(path: str) -> Kind[tuple[Turn, ...]]:
    return Kind(
        path, "simulated_conversation", lambda fields: read_transcript(fields.get("transcript")), other_key="simulation"
    )


def outputs_of(simulation_id: str, path: str) -> Kind[MetricOutput]:
    """Without transcripts."""
    return Kind(f"{path}/{quote(simulation_id, safe='')}/metrics", "metric", read_output, (("view", "BASIC"),))


def mutations_of(agent_id: str) -> Kind[Mutation]:
    return Kind(f"/agents/{quote(agent_id, safe='')}/mutations", "mutation", read_mutation)
