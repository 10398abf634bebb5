"""Reads the results of a run from Coval's JSON: simulations and metric values. Pure and total.

`results.metrics` has two shapes: by metric id, with a value for each simulation, and by metric name, with mean, min and
max only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from coval_gate.config.fields import IDENTIFIER
from coval_gate.model.results import BASE, LARGEST, SMALLEST, Metric, Simulation, Summary, Value
from coval_gate.model.statuses import normalize_status
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
PHONE: Final = re.compile(r"\+\d[\d ().-]{5,}\d")
NAME_LIMIT: Final = 200  # characters
TEXT_LIMIT: Final = 500  # characters


def read_value(raw: object) -> Value | None:
    """Return a value of a metric; None where there is none.

    "0.9" is a number. What is not finite, or beyond LARGEST either way, is no value: it cannot have been measured, and
    statistics need not deal with it. For the same reason, what is closer to 0 than SMALLEST is 0.
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
            # Dropping a member that is not a text would leave a smaller set, which could pass when it should not.
            members = [None if isinstance(each, list) else read_value(each) for each in raw]
            texts = [repr(member).removesuffix(".0") if isinstance(member, float) else member for member in members]
            return frozenset(each for each in texts if isinstance(each, str)) if _all_texts(texts) else None
    return None


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def read_text(raw: object) -> str:
    """Return a text as it is; empty if it is none."""
    return raw if isinstance(raw, str) else ""


def read_name(raw: object) -> str:
    """Return a foreign name on one line; empty if it is no text."""
    return one_line(read_text(raw), NAME_LIMIT)


def read_status(raw: object, unreadable: str) -> str:
    """Return a status as `normalize_status` does, or `unreadable` where it raises."""
    try:
        return normalize_status(raw)
    except ValueError:
        return unreadable


def without_numbers(text: object, limit: int = TEXT_LIMIT) -> str:
    """Return foreign text on one line, at most `limit` long, without the phone numbers that it often contains."""
    return PHONE.sub("+…", one_line(text, limit))


def read_metrics(metrics: object) -> tuple[Metric, ...]:
    """Read `results.metrics` in either shape."""
    if not isinstance(metrics, dict):
        return ()
    # An unreadable entry is a metric without values. Dropping it would hide the metric.
    return tuple(_metric(str(key), entry if isinstance(entry, dict) else {}) for key, entry in metrics.items())


def read_averages(averages: object) -> dict[str, float]:
    """Read the averages of metrics in a list of runs, by metric id, without those that are not numbers."""
    entries = averages.items() if isinstance(averages, dict) else ()
    return {key: number for key, raw in entries if isinstance(key, str) and (number := _number(raw)) is not None}


def read_simulation(fields: Mapping[str, Any]) -> Simulation | None:
    """Read one simulation of a list; None if it has no id. Personal data such as phone numbers are not read.

    Its `mutation` is not told apart from others of that name yet.
    """
    simulation_id = fields.get("simulation_id") or fields.get("id")
    if not isinstance(simulation_id, str) or not IDENTIFIER.fullmatch(simulation_id):
        return None
    mutation_id = one_line(fields.get("mutation_id") or "", NAME_LIMIT)
    return Simulation(
        id=simulation_id,
        status=read_status(fields.get("status"), "UNKNOWN"),
        test_case_id=read_name(fields.get("test_case_id")),
        mutation=read_name(fields.get("mutation_name")) or mutation_id or BASE,
        mutation_id=mutation_id,
        error=without_numbers(fields.get("error_message") or ""),
    )


def told_apart(simulations: Sequence[Simulation]) -> tuple[Simulation, ...]:
    """Return the simulations with `mutation_id` filled in, and with a `mutation` that no other mutation has.

    A mutation is its id. Names are unique among an agent's active mutations only, so a run can have two of one name,
    and one whose name has changed. A simulation may lack the id or the name. `mutation` is the name, or the id where
    there is none; mutations of one name have their id behind it.
    """
    mutated = [each for each in simulations if each.mutation != BASE]
    ids = _ids_of_names(mutated)
    names: dict[str, str] = {}
    for each in mutated:
        key = _key(each, ids)
        if names.get(key, key) == key:  # not known yet, or by its id only
            names[key] = each.mutation
    labels = _labels(names)
    known = {each.mutation_id for each in mutated if each.mutation_id}

    def labelled(simulation: Simulation) -> Simulation:
        if simulation.mutation == BASE:
            return simulation
        key = _key(simulation, ids)
        return simulation._replace(mutation=labels[key], mutation_id=key if key in known else "")

    return tuple(labelled(each) for each in simulations)


def _metric(key: str, entry: Mapping[str, Any]) -> Metric:
    metric_id = read_name(entry.get("metric_id")) or read_name(key)
    name = read_name(entry.get("metric_name")) or read_name(key)
    values = entry.get("values")
    if not isinstance(values, list):
        numbers = {each: _number(entry.get(each)) for each in ("mean", "min", "max")}
        known = any(number is not None for number in numbers.values())
        is_identified = bool(read_name(entry.get("metric_id")))  # the key of this shape is a name
        return Metric(
            id=metric_id, name=name, summary=Summary(**numbers) if known else None, is_identified=is_identified
        )
    return Metric(id=metric_id, name=name, values=_by_simulation(values))


def _by_simulation(entries: list[Any]) -> dict[str, Value]:
    """Return the values by simulation id. A simulation with two different values has none: either may be wrong."""
    found: dict[str, Value] = {}
    disputed = set()
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        simulation_id, value = entry.get("simulation_output_id"), read_value(entry.get("value"))
        if not isinstance(simulation_id, str) or value is None:
            continue
        if found.setdefault(simulation_id, value) != value:
            disputed.add(simulation_id)
    for simulation_id in disputed:
        del found[simulation_id]
    return found


def _finite(number: float | str) -> float | None:
    try:
        value = float(number)
    except OverflowError:
        return None
    if abs(value) < SMALLEST:
        return 0.0
    return value if abs(value) <= LARGEST else None  # NaN is not


def _number(raw: object) -> float | None:
    value = read_value(raw)
    return value if isinstance(value, float) else None


def _ids_of_names(mutated: Iterable[Simulation]) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = defaultdict(set)
    for each in mutated:
        if each.mutation_id:
            ids[each.mutation].add(each.mutation_id)
    return ids


def _key(simulation: Simulation, ids: dict[str, set[str]]) -> str:
    """Return the id of a simulation's mutation; its name where the id is not known."""
    if simulation.mutation_id:
        return simulation.mutation_id
    candidates = ids.get(simulation.mutation, set())
    return next(iter(candidates)) if len(candidates) == 1 else simulation.mutation


def _labels(names: dict[str, str]) -> dict[str, str]:
    """Return a different label for each mutation, by its key."""
    labels = dict(names)
    while repeated := {text for text, count in Counter(labels.values()).items() if count > 1}:
        labels |= {key: f"{text} [{key}]" for key, text in labels.items() if text in repeated}
    return labels
