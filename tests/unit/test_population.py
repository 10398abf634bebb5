"""A list that lacks simulations never looks complete, even if Coval reports the run as complete."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Metric, Run, RunProgress, Simulation
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.population import Population, population
from coval_gate.inputs.fields import Allowance


def simulations(cases: int, iterations: int, variants: int, *, named: bool = True) -> list[Simulation]:
    return [
        Simulation(
            id=f"s{variant}-{case}-{iteration}",
            status="COMPLETED",
            test_case_id=f"c{case}" if named else "",
            mutation=f"m{variant}" if variant else "",
        )
        for variant, case, iteration in product(range(variants), range(cases), range(iterations))
    ]


def criteria(*, iterations: int | None = 1, mutations: int = 0, cases: int = 0) -> Criteria:
    return Criteria(max_failed=Allowance(0), iterations=iterations, mutations=mutations, cases=cases)


def run(progress: int | None = None, **changes: Any) -> Run:
    counted = None if progress is None else RunProgress(total=progress, completed=progress)
    return Run(run_id="r1", status="COMPLETED", progress=counted, **changes)


def looks_complete(expectation: Population, listed: Sequence[Simulation]) -> bool:
    return expectation.certain and len(listed) >= expectation.expected


UNLISTED = (Metric(id="m", name="m", values={"x": 1.0}),)


@pytest.mark.parametrize(
    ("shown", "listed", "launched", "expected"),
    [
        (run(10), simulations(10, 1, 1), criteria(), Population(10, certain=True)),
        (run(None), simulations(10, 1, 1), criteria(), Population(10, certain=False)),
        (run(4), simulations(4, 1, 1), criteria(iterations=3), Population(12, certain=True)),
        (run(4), simulations(4, 3, 1), criteria(iterations=3), Population(12, certain=True)),
        (run(4), simulations(2, 3, 1), criteria(iterations=3), Population(12, certain=True)),
        (run(12), simulations(4, 3, 1), criteria(iterations=3), Population(12, certain=False)),
        (run(None), simulations(4, 1, 1), criteria(iterations=3), Population(12, certain=False)),
        (run(None), simulations(4, 1, 1), criteria(cases=5), Population(5, certain=True)),
        (run(4), simulations(4, 1, 1), criteria(mutations=1), Population(8, certain=False)),
        (run(4), simulations(4, 1, 2)[:5], criteria(mutations=1), Population(8, certain=True)),
        (run(None), simulations(4, 1, 2)[:5], criteria(iterations=None), Population(8, certain=False)),
        (run(None), simulations(4, 1, 2, named=False)[:5], criteria(iterations=None), Population(8, certain=False)),
        (run(None), simulations(4, 2, 1, named=False)[:5], criteria(iterations=2), Population(6, certain=False)),
        (run(None), [], criteria(), Population(1, certain=False)),
        (run(None, output_ids=("a", "b")), [], criteria(), Population(2, certain=True)),
        (run(3, metrics=UNLISTED), simulations(3, 1, 1), criteria(), Population(4, certain=True)),
    ],
)  # fmt: skip
def test_population(shown: Run, listed: list[Simulation], launched: Criteria, expected: Population) -> None:
    expectation = population(shown, listed, launched)
    assert (max(1, expectation.expected), expectation.certain) == expected


TWICE = [*simulations(10, 1, 1), Simulation(id="again", status="COMPLETED", test_case_id="c3")]
TWICE_OF_TWO = [*simulations(10, 2, 1), Simulation(id="again", status="COMPLETED", test_case_id="c3")]
NAMED = tuple(simulation.id for simulation in TWICE)


@pytest.mark.parametrize(
    ("shown", "listed", "launched", "expected"),
    [
        (run(11), TWICE, criteria(), Population(11, certain=True)),
        (run(10), TWICE, criteria(), Population(11, certain=True)),
        (run(None), TWICE, criteria(cases=10), Population(11, certain=True)),
        (run(11), TWICE[1:], criteria(), Population(11, certain=True)),
        (run(12), TWICE, criteria(), Population(12, certain=True)),
        (run(10), TWICE_OF_TWO, criteria(iterations=2), Population(21, certain=True)),
        (run(21), TWICE_OF_TWO, criteria(iterations=2), Population(21, certain=False)),
        (run(10), TWICE_OF_TWO[1:], criteria(iterations=2), Population(21, certain=True)),
        (run(11, output_ids=NAMED), TWICE, criteria(iterations=None), Population(11, certain=True)),
        (run(11), TWICE, criteria(iterations=None), Population(11, certain=False)),
        (run(10), TWICE, criteria(iterations=None), Population(20, certain=False)),  # a part of 20 may look like this
        (run(None), TWICE, criteria(iterations=None), Population(20, certain=False)),
        (run(None, output_ids=NAMED[1:]), TWICE[1:], criteria(iterations=None), Population(10, certain=True)),
    ],
)  # fmt: skip
def test_test_case_that_occurs_twice_is_one_simulation_more(
    shown: Run, listed: list[Simulation], launched: Criteria, expected: Population
) -> None:
    assert population(shown, listed, launched) == expected


@given(data=st.data(), cases=st.integers(1, 5), iterations=st.integers(1, 3), variants=st.integers(1, 3))
def test_part_of_list_never_looks_complete(data: st.DataObject, cases: int, iterations: int, variants: int) -> None:
    everything = simulations(cases, iterations, variants, named=data.draw(st.booleans()))
    listed = data.draw(st.lists(st.sampled_from(everything), unique_by=lambda simulation: simulation.id))
    total = data.draw(st.sampled_from([None, cases, len(everything)]))
    output_ids = data.draw(st.sampled_from([(), tuple(simulation.id for simulation in everything)]))
    chosen = data.draw(st.sampled_from([0, cases]))
    launched = data.draw(
        st.sampled_from(
            [
                criteria(iterations=iterations, mutations=variants - 1, cases=chosen),
                criteria(iterations=None),
            ]
        )
    )
    expectation = population(run(total, output_ids=output_ids), listed, launched)
    assert looks_complete(expectation, listed) <= (len(listed) == len(everything))


@given(cases=st.integers(1, 5), iterations=st.integers(1, 3), variants=st.integers(1, 3), data=st.data())
def test_whole_list_is_complete(data: st.DataObject, cases: int, iterations: int, variants: int) -> None:
    everything = simulations(cases, iterations, variants, named=data.draw(st.booleans()))
    total = data.draw(st.sampled_from([None, cases, len(everything)]))
    launched = data.draw(
        st.sampled_from([criteria(iterations=iterations, mutations=variants - 1), criteria(iterations=None)])
    )
    assert population(run(total), everything, launched).expected == len(everything)
