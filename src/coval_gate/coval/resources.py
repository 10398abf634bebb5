"""Reads what a run is made of from Coval's JSON: agents, personas, test sets and their cases, run templates. Pure.

The readers raise ValueError for fields of a wrong type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import quote

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import one_line
from coval_gate.coval.shapes import (
    agent_type_in,
    count_in,
    name_in,
    needed_id,
    object_in,
    text_in,
    texts_in,
    without_numbers,
)


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T_co = TypeVar("T_co", bound="Identified", covariant=True)

LABEL_LIMIT: Final = 100  # characters
# Fields of a test case or a persona without influence on conversations.
COSMETIC: Final = frozenset(
    [
        *("id", "name", "resource_name", "test_set_id", "description", "user_notes", "tags"),
        *("create_time", "update_time", "created_at", "created_by", "updated_at", "updated_by"),
    ]
)


class Kind(NamedTuple, Generic[T_co]):
    """Resources that are read in one way. `key`: their name in a response. `query`: of their list."""

    path: str
    key: str
    read: Callable[[dict[str, Any]], T_co]
    query: tuple[tuple[str, str], ...] = ()

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


class Mutation(NamedTuple):
    id: str


def read_agent(fields: Mapping[str, Any]) -> Agent:
    return Agent(needed_id(fields, "id"), name_in(fields), texts_in(fields, "metric_ids"), agent_type_in(fields))


def read_test_set(fields: Mapping[str, Any]) -> TestSet:
    cases = count_in(fields, "test_case_count")
    return TestSet(needed_id(fields, "id"), name_in(fields), cases, bool(fields.get("parameters")))


def read_template(fields: Mapping[str, Any]) -> RunTemplate:
    """Older templates have one id of each kind, not a list."""

    def ids(name: str) -> tuple[str, ...]:
        return texts_in(fields, f"{name}s") or tuple(filter(None, [text_in(fields, name)]))

    metadata = object_in(fields, "metadata")
    return RunTemplate(
        id=needed_id(fields, "id"),
        name=name_in(fields),
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
    return Persona(needed_id(fields, "id"), _content(fields), name_in(fields))


def read_test_case(fields: Mapping[str, Any]) -> TestCase:
    return TestCase(
        id=needed_id(fields, "id"),
        content=_content(fields),
        label=one_line(without_numbers(text_in(fields, "description") or text_in(fields, "input_str")), LABEL_LIMIT),
        update_time=text_in(fields, "update_time") or text_in(fields, "create_time"),
    )


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
RUN_TEMPLATE: Final = Kind("/run-templates", "run_template", read_template)
OF_RUNS: Final = {kind.input: kind for kind in (AGENT, PERSONA, TEST_SET)}


def cases_of(test_set_id: str) -> Kind[TestCase]:
    return TEST_CASE._replace(query=(("filter", f'test_set_id="{test_set_id}"'),))


def mutations_of(agent_id: str) -> Kind[Mutation]:
    return Kind(f"/agents/{quote(agent_id, safe='')}/mutations", "mutation", read_mutation)
