"""Reads the results of a run from Coval's JSON: simulations, metrics with their values, and transcripts. Pure.

`results.metrics` has two shapes: by metric id, with a value for each simulation; by metric name, with mean, min and
max only. A target with an unknown operator is reported when it is used.

Sources disagree on the shape of a transcript. One is a list of messages, or the JSON text of one. Times are seconds
(`start_time`, or `start_timestamp` as text, which may count from the epoch), or offsets in seconds or milliseconds;
chats have none. Calls of tools are messages, too. Only roles, texts and times are read: neither addresses of recordings
nor arguments of tools are part of a conversation. A transcript only informs, so no shape of it is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import json_in, one_line
from coval_gate.coval.model import (
    BASE,
    BINARY_TEXTS,
    LARGEST,
    SMALLEST,
    Metric,
    Simulation,
    Summary,
    Target,
    Turn,
    Value,
    normalize_status,
)
from coval_gate.coval.resources import Kind
from coval_gate.coval.shapes import as_object, list_in, needed_id, object_in, text_in, texts_in, without_numbers

NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME_LIMIT: Final = 200  # characters
EXPLANATION_LIMIT: Final = 300  # characters
OPERATOR_LIMIT: Final = 80  # characters
BINARY: Final = "_BINARY"  # suffix of the types of metrics whose judge says YES, NO or UNKNOWN
CATEGORICAL: Final = "_CATEGORICAL"
LESS_IS_BETTER: Final = ("_TTFB", "_WER")  # likewise: times to the first byte, word error rates
UNIT_LIMIT: Final = 20  # characters
MOST_MESSAGES: Final = 500  # to read
LONGEST_TURN: Final = 1000  # characters
MOST_PARTS: Final = 20  # of a text in parts

PERSONA: Final = frozenset({"user", "persona"})
UNSPOKEN: Final = frozenset({"", "system", "tool", "function", "developer"})  # all other roles are the agent

CLOCKS: Final = (("start_time", "end_time"), ("start_timestamp", "end_timestamp"))  # s; preferred first
OFFSETS: Final = ("start_offset", "end_offset")
LONGEST_CALL: Final = 1200.0  # s; a larger whole number is in milliseconds
EPOCH: Final = 1e8  # s; a larger time counts from 1970
LATEST: Final = 1e10  # s; a larger time is none

Times = tuple[float | None, float | None]


def read_value(raw: object) -> Value | None:
    """Return None if there is no value. "0.9" is a number.

    Nothing can have measured infinity, NaN and numbers beyond ±LARGEST, and statistics need not handle them. A number
    closer to 0 than SMALLEST becomes 0.
    """
    match raw:
        case bool():
            return str(raw).lower()
        case int() | float():
            return _finite(raw)
        case str():
            text = raw.strip()
            return _finite(text) if NUMBER.fullmatch(text) else text or None
        case list():
            # Without an unreadable member, the set would be smaller, and could pass when it should not.
            members = [None if isinstance(item, list) else read_value(item) for item in raw]
            texts = [repr(member).removesuffix(".0") if isinstance(member, float) else member for member in members]
            plain = frozenset(member for member in texts if isinstance(member, str))
            return plain if all(isinstance(member, str) for member in texts) else None
    return None


def read_name(fields: Mapping[str, Any], name: str) -> str:
    return one_line(text_in(fields, name), NAME_LIMIT)


def read_metrics(metrics: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Entries with the same id are one metric; as in one entry, two different values of a simulation count as none."""
    by_id: dict[str, Metric] = {}
    for key, entry in metrics.items():
        metric = _metric(key, as_object(entry, "metrics"))
        first = by_id.setdefault(metric.id, metric)
        if first is not metric:
            values = {**metric.values, **first.values}
            agreed = {id_: value for id_, value in values.items() if metric.values.get(id_, value) == value}
            by_id[metric.id] = first._replace(values=agreed)
    return tuple(by_id.values())


def read_averages(averages: Mapping[str, Any]) -> dict[str, float]:
    """By metric id, without any that are not numbers."""
    return {key: number for key, raw in averages.items() if (number := _number(raw)) is not None}


def read_simulation(fields: Mapping[str, Any]) -> Simulation:
    """Do not read phone numbers. `mutation` may still be the name of several; see `told_apart`."""
    mutation_id = read_name(fields, "mutation_id")
    return Simulation(
        id=needed_id(fields, "simulation_id", "id"),
        status=normalize_status(fields.get("status")),
        test_case_id=read_name(fields, "test_case_id"),
        mutation=read_name(fields, "mutation_name") or mutation_id or BASE,
        mutation_id=mutation_id,
        error=without_numbers(text_in(fields, "error_message")),
    )


def told_apart(simulations: Sequence[Simulation]) -> tuple[Simulation, ...]:
    """Make `mutation` unique for each mutation: its name, or its id if it has none.

    Names are unique among an agent's active mutations only, so a run can have two of one name, or one whose name has
    changed. Their ids tell them apart.
    """
    mutated = [simulation for simulation in simulations if simulation.mutation != BASE]
    names: dict[str, str] = {}
    for simulation in mutated:
        key = simulation.mutation_id or simulation.mutation
        if names.get(key, key) == key:  # new, or known by its id only
            names[key] = simulation.mutation
    labels = {BASE: BASE} | _labels(names)
    return tuple(
        simulation._replace(mutation=labels[simulation.mutation_id or simulation.mutation])
        for simulation in simulations
    )


def _metric(key: str, entry: Mapping[str, Any]) -> Metric:
    given = read_name(entry, "metric_id")
    metric_id, name = given or one_line(key, NAME_LIMIT), read_name(entry, "metric_name") or one_line(key, NAME_LIMIT)
    if "values" in entry:
        return Metric(id=metric_id, name=name, values=_by_simulation(list_in(entry, "values")))
    # In this shape, the key is a name.
    numbers = {statistic: _number(entry.get(statistic)) for statistic in ("mean", "min", "max")}
    summary = Summary(**numbers) if any(number is not None for number in numbers.values()) else None
    return Metric(id=metric_id, name=name, summary=summary, is_identified=bool(given))


def _by_simulation(entries: list[Any]) -> dict[str, Value]:
    """Two different values for a simulation count as none: either may be wrong."""
    values: dict[str, Value] = {}
    disputed = set()
    for entry in entries:
        simulation_id = needed_id(as_object(entry, "values"), "simulation_output_id")
        value = read_value(entry.get("value"))
        if value is not None and values.setdefault(simulation_id, value) != value:
            disputed.add(simulation_id)
    return {simulation_id: value for simulation_id, value in values.items() if simulation_id not in disputed}


def _finite(number: float | str) -> float | None:
    try:
        value = float(number)
    except OverflowError:
        return None
    if abs(value) < SMALLEST:
        return 0.0
    return value if abs(value) <= LARGEST else None  # also for NaN


def _number(raw: object) -> float | None:
    value = read_value(raw)
    return value if isinstance(value, float) else None


def _labels(names: dict[str, str]) -> dict[str, str]:
    labels = dict(names)
    while repeated := {text for text, count in Counter(labels.values()).items() if count > 1}:
        labels |= {key: f"{text} [{key}]" for key, text in labels.items() if text in repeated}
    return labels


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


METRIC: Final = Kind("/metrics", "metric", read_definition, (("include_builtin", "true"),))


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


def read_transcript(raw: object) -> tuple[Turn, ...]:
    """Return no turns of an unreadable transcript."""
    messages = list(_messages(raw))
    times = _times([fields for _, fields in messages])
    return tuple(turn._replace(start=start, end=end) for (turn, _), (start, end) in zip(messages, times, strict=True))


def _messages(raw: object) -> Iterator[tuple[Turn, Mapping[str, Any]]]:
    listed = json_in(raw) if isinstance(raw, str) else raw
    for entry in islice(listed if isinstance(listed, list) else (), MOST_MESSAGES):
        if not isinstance(entry, dict) or entry.get("is_tool_call"):
            continue
        role = entry.get("role")
        role = role.strip().lower() if isinstance(role, str) else ""
        text = without_numbers(_text(entry.get("content")), LONGEST_TURN)
        if text and role not in UNSPOKEN:
            yield Turn("persona" if role in PERSONA else "agent", text), entry


def _text(content: object) -> str:
    """`content` may be an object or several parts."""
    parts = content[:MOST_PARTS] if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return " ".join(text for text in texts if isinstance(text, str))


def _times(messages: Sequence[Mapping[str, Any]]) -> list[Times]:
    """Return each start and end in seconds, from the first pair of fields with times that are not all 0, or unset."""
    for start, end in (*CLOCKS, OFFSETS):
        spans = [(_seconds(message.get(start)), _seconds(message.get(end))) for message in messages]
        times = [time for span in spans for time in span if time is not None]
        if any(times):
            begin = min(times) if min(times) >= EPOCH else 0.0
            in_milliseconds = start == OFFSETS[0] and max(times) > LONGEST_CALL and all(map(float.is_integer, times))
            unit = 1000 if in_milliseconds else 1
            return [(_since(begin, start, unit), _since(begin, end, unit)) for start, end in spans]
    return [(None, None)] * len(messages)


def _seconds(raw: object) -> float | None:
    value = read_value(raw)
    return value if isinstance(value, float) and 0 <= value <= LATEST else None


def _since(begin: float, time: float | None, unit: int) -> float | None:
    """Digits beyond the milliseconds of such differences are noise."""
    return None if time is None else round((time - begin) / unit, 3)
