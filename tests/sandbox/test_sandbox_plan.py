"""The plan of a run: its simulations, their times and values."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox import catalogue
from coval_sandbox.deterministic import rng
from coval_sandbox.plan import Plan, make_plan
from coval_sandbox.problems import LaunchRequest, parse_launch
from coval_sandbox.scenarios import BAD, BY_NAME, GOOD, MIXED, Choices, Numbers, Sets

MUTATIONS = [mutation.id for mutation in catalogue.MUTATIONS]


def request(test_set_id: str = "passing1", **fields: Any) -> LaunchRequest:
    ids = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id}
    return parse_launch(ids | fields)


def plan(name: str = "passing", seed: object = 0, **fields: Any) -> Plan:
    scenario = BY_NAME[name]
    return make_plan(scenario, request(scenario.test_set_id, **fields), seed)


def test_passing_run_takes_about_a_minute_with_any_seed() -> None:
    ends = [plan(seed=seed).end for seed in range(200)]
    assert min(ends) > 55
    assert max(ends) < 60


@given(
    iterations=st.integers(1, 4),
    mutations=st.integers(0, 3),
    concurrency=st.integers(1, 60),
    sample=st.integers(0, 12),
    seed=st.integers(),
)
def test_number_of_simulations_and_concurrency(
    iterations: int, mutations: int, concurrency: int, sample: int, seed: int
) -> None:
    options = {"iteration_count": iterations, "concurrency": concurrency, "sub_sample_size": sample}
    planned = plan("flaky", seed, options=options, mutation_ids=MUTATIONS[:mutations])
    cases = min(sample, 10) or 10
    assert len(planned.simulations) == cases * iterations * (1 + mutations)
    changes = sorted(
        change for simulation in planned.simulations for change in ((simulation.end, -1), (simulation.start, 1))
    )
    running = 0
    for _, change in changes:
        running += change
        assert running <= concurrency
    assert planned.end == max(simulation.end for simulation in planned.simulations)
    places = Counter((s.test_case_id, s.mutation_id, s.iteration) for s in planned.simulations)
    assert set(places.values()) == {1}
    assert len({s.simulation_id for s in planned.simulations}) == len(planned.simulations)


def test_test_case_ids_select_and_order_test_cases() -> None:
    ids = [case.id for case in catalogue.test_cases("passing1", 10)]
    planned = plan(options={"test_case_ids": [ids[4], ids[1], ids[4]]})
    assert [simulation.test_case_id for simulation in planned.simulations] == [ids[4], ids[1]]


def test_sub_sample_depends_on_sub_sample_seed() -> None:
    def cases(seed: object, sub_sample_seed: int | None) -> list[str]:
        options = {"sub_sample_size": 4, "sub_sample_seed": sub_sample_seed}
        return [simulation.test_case_id for simulation in plan(seed=seed, options=options).simulations]

    assert cases(1, 5) == cases(2, 5)
    assert len({tuple(cases(seed, None)) for seed in range(5)}) > 1
    assert cases(1, 5) == sorted(cases(1, 5))


def test_mutation_shifts_values() -> None:
    planned = plan("flaky", mutation_id=MUTATIONS[0], options={"iteration_count": 20})

    def mean(mutation_id: str | None) -> float:
        values = [s.values[catalogue.LATENCY.id] for s in planned.simulations if s.mutation_id == mutation_id]
        numbers = [value for value in values if isinstance(value, float)]
        return sum(numbers) / len(numbers)

    assert mean(MUTATIONS[0]) > mean(None) + 0.1


@pytest.mark.parametrize(
    ("name", "queue", "end"), [("stuck", 8.0, math.inf), ("queued", math.inf, math.inf), ("run-failed", 8.0, 20.0)]
)
def test_queue_and_end_of_abnormal_runs(name: str, queue: float, end: float) -> None:
    planned = plan(name)
    assert (planned.queue, planned.end) == (queue, end)


@given(st.integers(), st.integers(1, 3))
def test_unlucky_run_has_two_in_ten_unresolved_conversations(seed: int, iterations: int) -> None:
    simulations = plan("unlucky", seed, options={"iteration_count": iterations}).simulations
    assert [simulation.values[catalogue.RESOLVED.id] for simulation in simulations].count("NO") == 2 * iterations


@given(luck=st.floats(-6, 6), seed=st.integers())
def test_values_stay_within_bounds_of_distribution(luck: float, seed: int) -> None:
    for values in (GOOD, BAD, MIXED):
        for distribution in values.values():
            value = distribution.at(luck, rng(seed))
            if isinstance(distribution, Numbers):
                assert isinstance(value, float)
                assert distribution.low <= value <= distribution.high
            elif isinstance(distribution, Choices):
                assert value in {word for word, weight in distribution.weights if weight}
            elif isinstance(distribution, Sets):
                assert isinstance(value, tuple)
                assert set(value) <= set(distribution.options)
                assert len(set(value)) == len(value)


@pytest.mark.parametrize(("name", "passes"), [("passing", True), ("failing", False)])
def test_only_passing_scenario_meets_all_targets(name: str, passes: bool) -> None:
    values = [simulation.values for seed in range(20) for simulation in plan(name, seed).simulations]
    words = {str(one[metric.id]) for one in values for metric in (catalogue.RESOLVED, catalogue.COMPLIANCE)}
    latencies = [one[catalogue.LATENCY.id] for one in values]
    assert (words == {"YES"}) is passes
    assert all(isinstance(latency, float) and latency <= 1.5 for latency in latencies) is passes
