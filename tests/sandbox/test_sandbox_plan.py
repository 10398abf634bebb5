"""The plan of a run: simulations and times, and earlier nights."""

import math
from collections import Counter
from statistics import mean
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.history import DAY, NIGHTS, TAG
from coval_sandbox.plan import Plan, make_plan
from coval_sandbox.problems import LaunchRequest, parse_launch
from coval_sandbox.scenarios import BY_NAME, SCENARIOS
from coval_sandbox.world import World

MUTATIONS = [mutation.id for mutation in catalogue.MUTATIONS]


def request(test_set_id: str = "passing1", **fields: Any) -> LaunchRequest:
    ids = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id}
    return parse_launch(ids | fields)


def plan(name: str = "passing", seed: object = 0, **fields: Any) -> Plan:
    scenario = BY_NAME[name]
    return make_plan(scenario, request(scenario.test_set_id, **fields), seed)


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


def test_test_cases_are_those_asked_for_or_a_sample_of_the_seed() -> None:
    def cases(seed: object, **options: Any) -> list[str]:
        return [simulation.test_case_id for simulation in plan(seed=seed, options=options).simulations]

    ids = [case.id for case in catalogue.test_cases("passing1", 10)]
    assert cases(0, test_case_ids=[ids[4], ids[1], ids[4]]) == [ids[4], ids[1]]
    seeded = {"sub_sample_size": 4, "sub_sample_seed": 5}
    assert cases(1, **seeded) == cases(2, **seeded) == sorted(cases(1, **seeded))
    assert len({tuple(cases(seed, sub_sample_size=4)) for seed in range(5)}) > 1


def test_queue_and_end_of_runs() -> None:
    expected = {"stuck": (8.0, math.inf), "queued": (math.inf, math.inf), "run-failed": (8.0, 20.0)}
    assert {name: (plan(name).queue, plan(name).end) for name in expected} == expected
    assert all(55 < plan(seed=seed).end < 60 for seed in range(50)), "a run that passes takes about a minute"


# Runs of the last nights, with which a sandbox may start


def world(**given: Any) -> World:
    return World(ManualClock(1_800_000_000.0), history=True, **given)


def listed(of: World, run_filter: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = of.list_runs({"filter": run_filter})["runs"]
    return runs


def launched(of: World, test_set_id: str) -> dict[str, Any]:
    """Launch a run, wait for its end, and return it."""
    of.launch({"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id})
    assert isinstance(of.clock, ManualClock)
    of.clock.advance(3600)
    run: dict[str, Any] = of.get_run(of.runs[-1].run_id)["run"]
    return run


def latency(run: dict[str, Any]) -> float:
    return float(mean(value["value"] for value in run["results"]["metrics"][catalogue.LATENCY.id]["values"]))


def resolved(run: dict[str, Any]) -> float:
    values = [value["value"] for value in run["results"]["metrics"][catalogue.RESOLVED.id]["values"]]
    return values.count("YES") / len(values)


def test_three_nights_have_completed() -> None:
    sandbox = world()
    for test_set_id in (scenario.test_set_id for scenario in SCENARIOS if scenario.before):
        runs = listed(sandbox, f'test_set_id="{test_set_id}"')
        assert [run["status"] for run in runs] == ["COMPLETED"] * NIGHTS
        assert [TAG in run["tags"] for run in runs] == [True, False, False], "the newest comes first"
        assert {(run["agent_id"], run["persona_id"]) for run in runs} == {(catalogue.AGENT_ID, catalogue.PERSONA_ID)}
        nights = [night for night in sandbox.nights if night.request.test_set_id == test_set_id]
        assert [sandbox.clock() - night.create_time for night in nights] == [3 * DAY, 2 * DAY, DAY]


def test_history_changes_no_later_run() -> None:
    with_history, without = world(), World(ManualClock(1_800_000_000.0))
    assert launched(with_history, "flaky001") == launched(without, "flaky001")


def test_later_run_is_worse_or_as_good() -> None:
    for test_set_id, is_worse in (("regress1", True), ("unchang1", False)):
        sandbox = world()
        before, now = listed(sandbox, f'test_set_id="{test_set_id}"')[0], launched(sandbox, test_set_id)
        before = sandbox.get_run(before["run_id"])["run"]
        assert (latency(now) > latency(before) * 1.2) is is_worse
        assert (resolved(now) < resolved(before) - 0.2) is is_worse
        assert (latency(now) < latency(before) * 1.1) is not is_worse
        cases = [sorted(simulation.test_case_id for simulation in run.plan.simulations) for run in sandbox.runs
                 if run.request.test_set_id == test_set_id]  # fmt: skip
        assert len({tuple(case) for case in cases}) == 1
