"""Reads agents, personas, test cases, metrics, metric outputs and transcripts from Coval's JSON. Pure.

The readers raise ValueError for fields of a wrong type, except in transcripts, which only inform. A target with an
unknown operator is reported when it is used.

Sources disagree on the shape of transcripts. One is a list of messages, or the JSON text of one. Times are seconds
(`start_time`, or `start_timestamp` as text, which may count from the epoch), or offsets in seconds or milliseconds;
chats have none. Calls of tools are messages, too. Only roles, texts and times are read: neither addresses of recordings
nor arguments of tools are part of a conversation.
"""

from __future__ import annotations

import json
from itertools import islice, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import json_in, one_line
from coval_gate.coval.model import BINARY_TEXTS, LARGEST, Target, Turn, normalize_status
from coval_gate.coval.results import read_name, read_value, without_numbers
from coval_gate.coval.shapes import agent_type_in, count_in, name_in, needed_id, object_in, text_in, texts_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from coval_gate.coval.model import Value

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
MOST_MESSAGES: Final = 500  # to read
LONGEST_TURN: Final = 1000  # characters
MOST_PARTS: Final = 20  # of a text in parts

PERSONA: Final = frozenset({"user", "persona"})
UNSPOKEN: Final = frozenset({"", "system", "tool", "function", "developer"})  # all other roles are the agent

CLOCKS: Final = (("start_time", "end_time"), ("start_timestamp", "end_timestamp"))  # s; preferred first
OFFSETS: Final = ("start_offset", "end_offset")
LONGEST_CALL: Final = 1200.0  # s; a larger whole number is in milliseconds
EPOCH: Final = 1e8  # s; a larger time counts from 1970
DAY: Final = 86_400.0  # s; no conversation lasts longer

Times = tuple[float | None, float | None]


class Agent(NamedTuple):
    """`metric_ids`: all metrics of its runs; empty if unknown. `name`: empty if Coval shows none."""

    metric_ids: tuple[str, ...] = ()
    name: str = ""
    model_type: str = ""


class Listed(NamedTuple):
    id: str
    name: str = ""


class TestSet(NamedTuple):
    """`cases`: how many are active; None if unknown. `has_parameters`: Coval may run one with several values."""

    cases: int | None = None
    has_parameters: bool = False
    name: str = ""


class Persona(NamedTuple):
    """`content`: everything that conversations depend on, as canonical JSON."""

    content: str
    name: str = ""


class RunTemplate(NamedTuple):
    """What it does not set is empty or None."""

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


def read_agent(fields: Mapping[str, Any]) -> Agent:
    return Agent(texts_in(fields, "metric_ids"), name_in(fields), agent_type_in(fields))


def read_listed(fields: Mapping[str, Any]) -> Listed:
    return Listed(needed_id(fields, "id"), name_in(fields))


def read_test_set(fields: Mapping[str, Any]) -> TestSet:
    return TestSet(count_in(fields, "test_case_count"), bool(fields.get("parameters")), name_in(fields))


def read_template(fields: Mapping[str, Any]) -> RunTemplate:
    """Older templates have one id of each kind, not a list."""

    def ids(name: str) -> tuple[str, ...]:
        return texts_in(fields, f"{name}s") or tuple(filter(None, [text_in(fields, name)]))

    metadata = object_in(fields, "metadata")
    return RunTemplate(
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


def read_mutation_id(fields: Mapping[str, Any]) -> str:
    return needed_id(fields, "id")


def read_persona(fields: Mapping[str, Any]) -> Persona:
    return Persona(_content(fields), name_in(fields))


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


def _content(resource: Mapping[str, Any]) -> str:
    """Return the fields that conversations depend on, as JSON; null and empty fields count as absent."""
    content = {
        name: value for name, value in resource.items() if name not in COSMETIC and value not in (None, "", [], {})
    }
    return json.dumps(content, sort_keys=True)


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


class _Message(NamedTuple):
    role: Literal["persona", "agent"]
    text: str
    fields: Mapping[str, Any]


def read_transcript(raw: object) -> tuple[Turn, ...]:
    """Return no turns of an unreadable transcript, and no times that contradict each other."""
    messages = list(_messages(raw))
    times = _times([message.fields for message in messages])
    return tuple(
        Turn(role=message.role, text=message.text, start=start, end=end)
        for message, (start, end) in zip(messages, times, strict=True)
    )


def _messages(raw: object) -> Iterator[_Message]:
    for entry in islice(_listed(raw), MOST_MESSAGES):
        if not isinstance(entry, dict) or entry.get("is_tool_call"):
            continue
        role = entry.get("role")
        role = role.strip().lower() if isinstance(role, str) else ""
        text = without_numbers(_text(entry.get("content")), LONGEST_TURN)
        if text and role not in UNSPOKEN:
            yield _Message("persona" if role in PERSONA else "agent", text, entry)


def _listed(raw: object) -> list[Any]:
    if isinstance(raw, str):
        raw = json_in(raw)
    return raw if isinstance(raw, list) else []


def _text(content: object) -> str:
    """`content` may be an object or several parts."""
    parts = content[:MOST_PARTS] if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return " ".join(text for text in texts if isinstance(text, str))


def _times(messages: Sequence[Mapping[str, Any]]) -> list[Times]:
    """Return each start and end in seconds, from the first pair of fields with valid times."""
    for start, end in CLOCKS:
        spans = _from_beginning([(_seconds(message.get(start)), _seconds(message.get(end))) for message in messages])
        if _is_in_order(spans):
            return spans
    spans = [(_seconds(message.get(OFFSETS[0])), _seconds(message.get(OFFSETS[1]))) for message in messages]
    offsets = [time for pair in spans for time in pair if time is not None]
    if offsets and max(offsets) > LONGEST_CALL and all(time.is_integer() for time in offsets):
        spans = [(_divided(start), _divided(end)) for start, end in spans]
    return spans if _is_in_order(spans) else [(None, None)] * len(messages)


def _seconds(raw: object) -> float | None:
    value = read_value(raw)
    return value if isinstance(value, float) and value >= 0 else None


def _divided(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _from_beginning(times: list[Times]) -> list[Times]:
    first = min((time for pair in times for time in pair if time is not None), default=0.0)
    if first < EPOCH:
        return times
    # Digits beyond the milliseconds of such differences are noise.
    return [
        (None if start is None else round(start - first, 3), None if end is None else round(end - first, 3))
        for start, end in times
    ]


def _is_in_order(times: Sequence[Times]) -> bool:
    """A turn may start before the previous one ends: people interrupt each other. All times are 0 if unset."""
    starts = [start for start, _ in times if start is not None]
    longest = max((time for pair in times for time in pair if time is not None), default=0.0)
    forwards = all(earlier <= later for earlier, later in pairwise(starts))
    return 0 < longest <= DAY and forwards and all(end is None or (start or 0.0) <= end for start, end in times)
