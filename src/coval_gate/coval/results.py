"""Reads the results of a run from Coval's JSON: simulations and metric values. Pure.

`results.metrics` has two shapes: by metric id, with a value for each simulation; by metric name, with mean, min and
max only.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import one_line
from coval_gate.coval.model import BASE, LARGEST, SMALLEST, Metric, Simulation, Summary, Value, normalize_status
from coval_gate.coval.shapes import as_object, list_in, needed_id, text_in, without_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME_LIMIT: Final = 200  # characters


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
            return frozenset(member for member in texts if isinstance(member, str)) if _all_texts(texts) else None
    return None


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


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
