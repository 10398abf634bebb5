"""Tells the mutations of a run apart. Pure and total.

A mutation is its id. Names are unique among an agent's active mutations only, so a run can have two of one name, and
one whose name has changed. A simulation may lack the id or the name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate.model.results import BASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.model.results import Simulation


def told_apart(simulations: Sequence[Simulation]) -> tuple[Simulation, ...]:
    """Return the simulations with `mutation_id` filled in, and with a `mutation` that no other mutation has.

    `mutation` is the name, or the id where there is none; mutations of one name have their id behind it.
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
        return replace(simulation, mutation=labels[key], mutation_id=key if key in known else "")

    return tuple(labelled(each) for each in simulations)


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
