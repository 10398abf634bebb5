"""Reads Coval's JSON: pages, runs with their metrics and values, and simulations. Pure.

Models name the fields of Coval, and accept what its sources disagree on; runs and simulations become types of ours. A
field that is absent or null is empty, and one that no model names is ignored. One of another type is a ValueError,
which does not quote foreign text.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from coval_gate.base.text import one_line
from coval_gate.coval.model import (
    BASE,
    LARGEST_VALUE,
    PENDING,
    SMALLEST_VALUE,
    Metric,
    Run,
    RunProgress,
    Simulation,
    Summary,
    Value,
    normalize_status,
)
from coval_gate.inputs.fields import IDENTIFIER

T = TypeVar("T")
TAnswer = TypeVar("TAnswer", bound="Answer")

Read = Callable[[list[dict[str, Any]]], Sequence[T]]  # of all entries of a page

MOST_COUNTED: Final = 10**9  # test cases, simulations
PHONE: Final = re.compile(r"\+\d[\d ().-]{5,}\d")
LONGEST_MASKED_TEXT: Final = 500  # characters
NUMERIC: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME_LIMIT: Final = 200  # characters
MISREAD: Final = {  # by pydantic's types of errors
    "missing": "missing",
    "string_type": "not a text",
    "tuple_type": "not a list",
    "list_type": "not a list",
    "string_pattern_mismatch": "not an id",
    "int_type": "not a count",
    "float_type": "not a number",
    "greater_than_equal": "not a possible number",
    "less_than_equal": "not a possible number",
    "dict_type": "not an object",
    "model_type": "not an object",
    "dataclass_type": "not an object",
}


class Answer(BaseModel):
    """An object in a response of Coval. A field that is absent, null or an empty text has its default."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, fields: object) -> object:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None and value != ""}

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Raises ValueError as `read_all`."""
        return cls.read_all([fields])[0]

    @classmethod
    def read_all(cls, entries: Sequence[Mapping[str, Any]]) -> list[Self]:
        """Read a page in one call. Raises ValueError, which names the first field that is not as documented."""
        try:
            return _page_of(cls).validate_python(entries)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
        names = [part for part in first["loc"] if isinstance(part, str)]
        problem = MISREAD.get(first["type"]) or first.get("ctx", {}).get("error", "not as documented")
        raise ValueError(f"{names[-1]}: {problem}")


@cache
def _page_of(kind: type[TAnswer]) -> TypeAdapter[list[TAnswer]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


def without_numbers(text: object, limit: int = LONGEST_MASKED_TEXT) -> str:
    """Mask phone numbers, and put foreign text on one line of at most `limit` characters."""
    return PHONE.sub("+…", one_line(text, limit))


def read_value(raw: object) -> Value | None:
    """Return None if there is no value. "0.9" is a number.

    Nothing can have measured infinity, NaN and numbers beyond ±LARGEST_VALUE, and statistics need not handle them. A
    number closer to 0 than SMALLEST_VALUE becomes 0.
    """
    match raw:
        case bool():
            return str(raw).lower()
        case int() | float():
            return _finite(raw)
        case str():
            text = raw.strip()
            return _finite(text) if NUMERIC.fullmatch(text) else text or None
        case list():
            # Without an unreadable member, the set would be smaller, and could pass when it should not.
            members = [None if isinstance(item, list) else read_value(item) for item in raw]
            texts = [repr(member).removesuffix(".0") if isinstance(member, float) else member for member in members]
            plain = frozenset(member for member in texts if isinstance(member, str))
            return plain if all(isinstance(member, str) for member in texts) else None
    return None


def _finite(number: float | str) -> float | None:
    try:
        value = float(number)
    except OverflowError:
        return None
    if abs(value) < SMALLEST_VALUE:
        return 0.0
    return value if abs(value) <= LARGEST_VALUE else None  # also for NaN


def read_number(raw: object) -> float | None:
    value = read_value(raw)
    return value if isinstance(value, float) else None


def _error_text(value: object) -> str:
    """An error of an unexpected type still counts as an error."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


def on_one_line(limit: int) -> AfterValidator:
    return AfterValidator(lambda text: one_line(text, limit))


Id = Annotated[str, Field(pattern=f"^{IDENTIFIER.pattern}$")]
WholeNumber = Annotated[int, Field(strict=True, ge=0, le=MOST_COUNTED)]
Name = Annotated[str, on_one_line(NAME_LIMIT)]
Status = Annotated[str, BeforeValidator(normalize_status), Field(validate_default=True)]
ErrorText = Annotated[str, BeforeValidator(_error_text)]
Masked = Annotated[str, AfterValidator(without_numbers)]
Number = Annotated[float | None, BeforeValidator(read_number)]
Texts = Annotated[  # the different texts of a list, without spaces around them
    tuple[str, ...], AfterValidator(lambda texts: tuple(dict.fromkeys(filter(None, map(str.strip, texts)))))
]


class ListPage(Answer):
    next_page_token: str = ""


def parse_object(content: object, name: str = "response") -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{name}: not an object")
    return content


def parse_one(content: object, keys: Sequence[str], read: Read[T]) -> T:
    """Read the object under one of the `keys`, or else the response itself."""
    response = parse_object(content)
    (one,) = read([next((response[key] for key in keys if isinstance(response.get(key), dict)), response)])
    return one


def parse_page(content: object, keys: Sequence[str], read: Read[T]) -> tuple[Sequence[T], str]:
    """Return the entries and the next page's token. `keys`: the possible names of the list."""
    page = parse_object(content)
    entries = next((page[key] for key in keys if key in page), None)
    if not isinstance(entries, list):
        raise ValueError(f"{keys[0]}: not a list")
    return read([parse_object(entry, keys[0]) for entry in entries]), ListPage.read(page).next_page_token


class LaunchedRun(Answer):
    """Sources disagree on the name of the id, and some have only the resource's name, "runs/<id>"."""

    run_id: Annotated[
        str,
        Field(validation_alias=AliasChoices("run_id", "id", "name"), pattern=f"^(runs/)?{IDENTIFIER.pattern}$"),
        AfterValidator(lambda name: name.removeprefix("runs/")),
    ]


class ListedRun(LaunchedRun):
    create_time: str = ""


class Progress(Answer):
    total_test_cases: WholeNumber | None = None
    completed_test_cases: WholeNumber | None = None
    failed_test_cases: WholeNumber | None = None


class Results(Answer):
    """Sources disagree on `metrics`: by id, with a value for each simulation; by name, with mean, min and max only."""

    output_ids: Texts | None = None
    metrics: dict[str, Any] = {}


class LaunchMetadata(Answer):
    """Live runs contain only the free-form part of the metadata, other sources all of it, and some the tags."""

    customer: dict[str, Any] = {}
    tags: Texts = ()


class RunAnswer(ListedRun):
    status: Status = ""
    error: ErrorText = ""
    error_status: ErrorText = ""
    agent_id: Id = ""
    persona_id: Id = ""
    test_set_id: Id = ""
    tags: Texts = ()
    metadata: dict[str, Any] = {}
    launch: Annotated[LaunchMetadata, Field(validation_alias="metadata", default_factory=LaunchMetadata)]
    progress: Annotated[Progress, Field(default_factory=Progress)]
    results: Annotated[Results, Field(default_factory=Results)]


def read_launched(entries: list[dict[str, Any]]) -> list[Run]:
    """Read the ids alone: whatever else is wrong, the runs exist."""
    return [Run(status=PENDING, run_id=run.run_id) for run in LaunchedRun.read_all(entries)]


def read_listed(entries: list[dict[str, Any]]) -> list[Run]:
    """Read runs of a list that need not show their status."""
    return [Run(status="", **dict(run)) for run in ListedRun.read_all(entries)]


def read_runs(entries: list[dict[str, Any]]) -> list[Run]:
    return [*map(_run, RunAnswer.read_all(entries))]


def read_run(fields: dict[str, Any]) -> Run:
    return _run(RunAnswer.read(fields))


def _run(run: RunAnswer) -> Run:
    total, completed = run.progress.total_test_cases, run.progress.completed_test_cases
    progress = None
    if total is not None and completed is not None:
        progress = RunProgress(total, completed, run.progress.failed_test_cases)
    as_they_are = {name: value for name, value in run if name in Run._fields}
    return Run(
        **as_they_are
        | {
            "progress": progress,
            "tags": run.tags or run.launch.tags,
            "metadata": run.launch.customer or run.metadata,
            "output_ids": run.results.output_ids,
            "metrics": read_metrics(run.results.metrics),
        }
    )


@dataclass(slots=True)
class SimulationValue:
    """One of so many that a model of each would be slow."""

    simulation_output_id: Id
    value: Any = None


class MetricAnswer(Answer):
    metric_id: Name = ""
    metric_name: Name = ""
    values: list[SimulationValue] | None = None
    mean: Number = None
    min: Number = None
    max: Number = None


def read_metrics(metrics: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Entries with the same id are one metric. Without values, the key of an entry is a name."""
    by_id: dict[str, Metric] = {}
    values: dict[str, list[tuple[str, Value]]] = defaultdict(list)
    for key, fields in metrics.items():
        entry, key = MetricAnswer.read(parse_object(fields, "metrics")), one_line(key, NAME_LIMIT)
        has_values = entry.values is not None
        summary = Summary(entry.mean, entry.min, entry.max)
        metric = Metric(
            id=entry.metric_id or key,
            name=entry.metric_name or key,
            summary=None if has_values or summary == Summary() else summary,
            is_identified=has_values or bool(entry.metric_id),
        )
        by_id.setdefault(metric.id, metric)
        pairs = ((one.simulation_output_id, read_value(one.value)) for one in entry.values or ())
        values[metric.id] += [(id_, value) for id_, value in pairs if value is not None]
    return tuple(metric._replace(values=_agreed(values[id_])) for id_, metric in by_id.items())


def _agreed(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Two different values for a simulation count as none: either may be wrong."""
    values: dict[str, Value] = {}
    disputed = {simulation_id for simulation_id, value in pairs if values.setdefault(simulation_id, value) != value}
    return {simulation_id: value for simulation_id, value in values.items() if simulation_id not in disputed}


class SimulationAnswer(Answer):
    """Phone numbers are not read."""

    id: Annotated[Id, Field(validation_alias=AliasChoices("simulation_id", "id"))]
    status: Status = ""
    test_case_id: Name = ""
    mutation: Annotated[Name, Field(validation_alias="mutation_name")] = BASE
    mutation_id: Name = ""
    error: Annotated[Masked, Field(validation_alias="error_message")] = ""


def read_simulations(entries: list[dict[str, Any]]) -> list[Simulation]:
    """`mutation` may still be the name of several; see `with_unique_mutations`."""
    simulations = [Simulation(**dict(simulation)) for simulation in SimulationAnswer.read_all(entries)]
    return [one if one.mutation else one._replace(mutation=one.mutation_id) for one in simulations]


def with_unique_mutations(simulations: Sequence[Simulation]) -> tuple[Simulation, ...]:
    """Make `mutation` unique for each mutation: its name, or its id if it has none.

    Names are unique among an agent's active mutations only, so a run can have two of one name, or one whose name has
    changed. Their ids distinguish them.
    """
    mutated = [simulation for simulation in simulations if simulation.mutation != BASE]
    names: dict[str, str] = {}
    for simulation in mutated:
        key = simulation.mutation_id or simulation.mutation
        if names.get(key, key) == key:  # new, or known by its id only
            names[key] = simulation.mutation
    labels = dict(names)
    while repeated := {text for text, count in Counter(labels.values()).items() if count > 1}:
        labels |= {key: f"{text} [{key}]" for key, text in labels.items() if text in repeated}
    labels = {BASE: BASE} | labels
    return tuple(
        simulation._replace(mutation=labels[simulation.mutation_id or simulation.mutation])
        for simulation in simulations
    )
