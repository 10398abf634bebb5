"""Reads Coval's JSON: its fields, runs with their metrics, values and simulations, and transcripts. Pure.

A field that is absent or null is empty; one of another type is a ValueError, which does not quote foreign text.

Sources disagree on the fields of a run. Its `results.metrics` has two shapes: by metric id, with a value for each
simulation; by metric name, with mean, min and max only.

They also disagree on the shape of a transcript. One is a list of messages, or the JSON text of one. Times are seconds
(`start_time`, or `start_timestamp` as text, which may count from the epoch), or offsets in seconds or milliseconds;
chats have none. Calls of tools are messages, too. Only roles, texts and times are read: neither addresses of recordings
nor arguments of tools are part of a conversation. A transcript only informs, so no shape of it is an error.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from coval_gate.base.text import json_in, one_line
from coval_gate.coval.model import (
    BASE,
    LARGEST,
    PENDING,
    SMALLEST,
    Metric,
    Run,
    RunProgress,
    Simulation,
    Summary,
    Turn,
    Value,
    normalize_status,
)
from coval_gate.inputs.fields import IDENTIFIER

T = TypeVar("T")

MOST: Final = 10**9  # test cases, simulations
PHONE: Final = re.compile(r"\+\d[\d ().-]{5,}\d")
LONGEST_TEXT: Final = 500  # characters
SCHEDULED: Final = ("runs", "scheduled_run_runs")  # possible names of the list of a scheduled run's runs
NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME_LIMIT: Final = 200  # characters
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


def parse_object(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def parse_one(content: object, keys: Sequence[str], read: Callable[[dict[str, Any]], T]) -> T:
    """Read the object under one of the `keys`, or else the response itself."""
    return read(_enveloped(parse_object(content), *keys))


def parse_page(content: object, keys: Sequence[str], read: Callable[[dict[str, Any]], T]) -> tuple[list[T], str]:
    """Return the entries and the next page's token. `keys`: the possible names of the list."""
    page = parse_object(content)
    entries = next((page[key] for key in keys if key in page), None)
    if not isinstance(entries, list):
        raise ValueError(f"{keys[0]}: not a list")
    return [read(as_object(entry, keys[0])) for entry in entries], text_in(page, "next_page_token")


def _enveloped(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return next((content[key] for key in keys if isinstance(content.get(key), dict)), content)


def as_object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: not an object")
    return value


def _typed(fields: Mapping[str, Any], name: str, type_: type[T], noun: str) -> T:
    value = fields.get(name)
    if value is None:
        return type_()
    if not isinstance(value, type_):
        raise ValueError(f"{name}: not {noun}")
    return value


def object_in(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _typed(fields, name, dict, "an object")


def text_in(fields: Mapping[str, Any], name: str) -> str:
    return _typed(fields, name, str, "a text")


def list_in(fields: Mapping[str, Any], name: str) -> list[Any]:
    return _typed(fields, name, list, "a list")


def without_numbers(text: object, limit: int = LONGEST_TEXT) -> str:
    """Mask phone numbers, and put foreign text on one line of at most `limit` characters."""
    return PHONE.sub("+…", one_line(text, limit))


def texts_in(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the different texts of a list, without spaces around them."""
    texts = list_in(fields, name)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}: not a list of texts")
    return tuple(dict.fromkeys(filter(None, map(str.strip, texts))))


def id_in(fields: Mapping[str, Any], name: str) -> str:
    id_ = text_in(fields, name)
    if id_ and not IDENTIFIER.fullmatch(id_):
        raise ValueError(f"{name}: not an id")
    return id_


def needed_id(fields: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if id_ := id_in(fields, name):
            return id_
    raise ValueError(f"{names[0]}: missing")


def count_in(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ValueError(f"{name}: not a count")
    return value


def parse_scheduled_runs(content: object) -> tuple[Run, ...]:
    """Entries show no status of theirs."""
    page = parse_object(content)
    entries = list_in(page, next((key for key in SCHEDULED if key in page), SCHEDULED[0]))
    runs = [_enveloped(as_object(entry, "run"), "run") for entry in entries]
    return tuple(Run(_run_id(run), status="", create_time=text_in(run, "create_time")) for run in runs)


def read_launched(fields: dict[str, Any]) -> Run:
    return Run(run_id=_run_id(fields), status=PENDING)


def read_run(fields: dict[str, Any]) -> Run:
    results, metadata = object_in(fields, "results"), object_in(fields, "metadata")
    return Run(
        run_id=_run_id(fields),
        status=normalize_status(fields.get("status")),
        error=_as_text(fields.get("error")),
        error_status=_as_text(fields.get("error_status")),
        progress=_progress(object_in(fields, "progress")),
        **{name: id_in(fields, name) for name in ("agent_id", "persona_id", "test_set_id")},
        create_time=text_in(fields, "create_time"),
        # Some responses have the tags in the metadata of the launch.
        tags=texts_in(fields, "tags") or texts_in(metadata, "tags"),
        # Live runs contain only the free-form part of that metadata, other sources all of it.
        metadata=object_in(metadata, "customer") or metadata,
        output_ids=None if results.get("output_ids") is None else texts_in(results, "output_ids"),
        metrics=read_metrics(object_in(results, "metrics")),
        averages={
            key: number
            for key, raw in object_in(fields, "metric_averages").items()
            if (number := _number(raw)) is not None
        },
    )


def _run_id(fields: dict[str, Any]) -> str:
    """The resource name is "runs/<id>"."""
    return needed_id(fields | {"name": text_in(fields, "name").rpartition("/")[2]}, "run_id", "id", "name")


def _as_text(value: object) -> str:
    """An error of an unexpected type still counts as an error."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


def _progress(fields: dict[str, Any]) -> RunProgress | None:
    total, completed = count_in(fields, "total_test_cases"), count_in(fields, "completed_test_cases")
    if total is None or completed is None:
        return None
    return RunProgress(total=total, completed=completed, failed=count_in(fields, "failed_test_cases"))


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
