"""Mutations are told apart by their ids, whatever they are called and whichever fields a simulation has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import BASE, Simulation
from coval_gate.coval.results import read_simulation, told_apart


def listed(*rows: tuple[str | None, str | None]) -> tuple[Simulation, ...]:
    """Return simulations whose rows have these ids and names of mutations."""
    found = [
        read_simulation(
            {"simulation_id": f"s{number}", "status": "COMPLETED", "mutation_id": mutation_id, "mutation_name": name}
        )
        for number, (mutation_id, name) in enumerate(rows)
    ]
    return told_apart(found)


@pytest.mark.parametrize(
    ("rows", "variants"),
    [
        ([(None, None), ("u1", "Fast")], [("", ""), ("Fast", "u1")]),
        ([("u1", "Fast"), ("u2", "Fast"), ("u1", "Fast")],
         [("Fast [u1]", "u1"), ("Fast [u2]", "u2"), ("Fast [u1]", "u1")]),
        ([("u1", "Fast"), ("u2", "Calm")], [("Fast", "u1"), ("Calm", "u2")]),
        ([("u1", "Fast"), ("u1", "Faster")], [("Fast", "u1"), ("Fast", "u1")]),
        ([("u1", None), ("u2", None)], [("u1", "u1"), ("u2", "u2")]),
        ([("u1", None), ("u1", "Fast")], [("Fast", "u1"), ("Fast", "u1")]),
        ([(None, "Fast"), (None, "Calm")], [("Fast", ""), ("Calm", "")]),
        ([("u1", "X"), ("u2", "X"), ("u3", "X [u1]")],
         [("X [u1] [u1]", "u1"), ("X [u2]", "u2"), ("X [u1] [u3]", "u3")]),
    ],
)  # fmt: skip
def test_simulations_have_label_and_id_of_their_mutation(
    rows: list[tuple[str | None, str | None]], variants: list[tuple[str, str]]
) -> None:
    assert [(simulation.mutation, simulation.mutation_id) for simulation in listed(*rows)] == variants


IDS = st.sampled_from(["a", "A", "b", "a] [b", "a [b]", "X"])
NAMES = st.sampled_from(["X", "x", "X [a]", "X [a] [a]", "X [b] [a]", "a", "agent", "X [A", "b] [a"])


@given(st.lists(st.tuples(IDS, st.none() | NAMES), max_size=10))
def test_labels_are_as_different_as_ids(rows: list[tuple[str | None, str | None]]) -> None:
    found = listed(*rows)
    assert [simulation.mutation_id for simulation in found] == [mutation_id for mutation_id, _ in rows]
    assert len({simulation.mutation for simulation in found}) == len({simulation.mutation_id for simulation in found})


@given(st.lists(st.tuples(st.none() | IDS, st.none() | NAMES), max_size=10))
def test_agent_is_what_has_neither_id_nor_name(rows: list[Any]) -> None:
    for row, found in zip(rows, listed(*rows), strict=True):
        assert (found.mutation == BASE) is (row == (None, None))
