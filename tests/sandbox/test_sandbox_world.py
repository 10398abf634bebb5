"""The sandbox's world on a manual clock: runs and their plans, refused launches, answered calls, earlier nights."""

import math
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.attachments import Session, attached_plan
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.history import DAY, TAG
from coval_sandbox.judges import NO_ANSWER, judged
from coval_sandbox.plan import Plan, make_plan
from coval_sandbox.problems import Problem, parse_launch
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import BY_NAME, SCENARIOS
from coval_sandbox.sound import Answer
from coval_sandbox.world import World

MUTATION = catalogue.MUTATIONS[0]
NOT_NULL = ("agent_id", "metric_ids", "mutation_ids", "persona_metrics", "options", "metadata")
NOT_NULL_METADATA = ("customer", "created_by", "display_name", "template_name")


def world(quirks: Quirks | None = None, **more: Any) -> tuple[World, ManualClock]:
    clock = ManualClock()
    return World(clock, quirks=quirks, **more), clock


def launch(world: World, test_set_id: str = "passing1", **fields: Any) -> str:
    ids = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id}
    run_id = world.launch(ids | fields)["run"]["run_id"]
    assert isinstance(run_id, str)
    return run_id


def run(world: World, run_id: str) -> dict[str, Any]:
    shown = world.get_run(run_id)["run"]
    assert isinstance(shown, dict)
    return shown


def statuses(world: World, clock: ManualClock, run_id: str, seconds: int) -> list[str]:
    """Return the successive statuses of a run within this many seconds."""
    seen = []
    for _ in range(seconds):
        seen.append(run(world, run_id)["status"])
        clock.advance(1)
    return list(dict.fromkeys(seen))


@pytest.mark.parametrize(
    ("test_set_id", "expected"),
    [
        ("passing1", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("runFails", ["PENDING", "IN QUEUE", "IN PROGRESS", "FAILED"]),
        ("deletes1", ["PENDING", "IN QUEUE", "IN PROGRESS", "DELETED"]),
        ("stuck001", ["PENDING", "IN QUEUE", "IN PROGRESS"]),
        ("queued01", ["PENDING", "IN QUEUE"]),
        ("empty001", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("unknown1", ["PENDING", "IN QUEUE", "WARMING UP", "IN PROGRESS", "COMPLETED"]),
    ],
)
def test_run_statuses_of_scenario(test_set_id: str, expected: list[str]) -> None:
    a, clock = world()
    assert statuses(a, clock, launch(a, test_set_id), 120) == expected


def test_delete_cancels_running_run_and_removes_finished_one() -> None:
    a, clock = world()
    run_id = launch(a)
    clock.advance(20)
    assert [record.run_id for record in a.unfinished] == [run_id]
    assert a.delete_run(run_id) == {}
    assert a.unfinished == ()
    frozen = run(a, run_id)
    assert (frozen["status"], frozen["results"], frozen["error_status"]) == ("CANCELLED", None, None)
    clock.advance(1000)
    assert run(a, run_id) == frozen
    record = a.runs[0]
    assert (record.cancel_time, record.delete_time) == (record.create_time + 20, None)
    a.delete_run(run_id)
    for operation in (a.get_run, a.delete_run):
        with pytest.raises(Problem, match="404"):
            operation(run_id)
    assert a.list_runs({})["runs"] == []
    assert a.list_simulations({})["simulated_conversations"] == []
    assert a.runs[0].delete_time == clock.now


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"agent_id": "short"}, ["agent_id"]),
        ({"metric_ids": ["m" * 22, "short"]}, ["metric_ids.1"]),
        ({"options": {"iteration_count": 0, "concurrency": 101}}, ["options.iteration_count", "options.concurrency"]),
        ({"options": {"sub_sample_seed": 2**31}}, ["options.sub_sample_seed"]),
        ({"options": {"test_case_ids": []}}, ["options.test_case_ids"]),
        ({"options": {"test_case_ids": ["x"], "sub_sample_size": 2}}, ["options.test_case_ids"]),
        ({"mutation_id": MUTATION.id, "mutation_ids": [MUTATION.id]}, ["mutation_ids"]),
        ({"metadata": {"tags": ["x"] * 21, "display_name": "x" * 201}}, ["metadata.display_name", "metadata.tags"]),
        *(({name: None}, [name]) for name in NOT_NULL),
        *(({"metadata": {name: None}}, [f"metadata.{name}"]) for name in NOT_NULL_METADATA),
    ],
)
def test_invalid_launch_is_refused(fields: dict[str, Any], wrong: list[str]) -> None:
    a, _ = world()
    with pytest.raises(Problem) as caught:
        launch(a, **fields)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert a.runs == ()
    assert [detail["field"] for detail in caught.value.details] == wrong


def test_only_strict_world_refuses_unknown_ids() -> None:
    unknown: dict[str, Any] = {"agent_id": "a" * 22, "test_set_id": "anything", "mutation_ids": [MUTATION.id, "u" * 26]}
    assert launch(world()[0], **unknown)
    strict, _ = world(strict=True)
    for name, entry in unknown.items():
        with pytest.raises(Problem, match="404") as caught:
            launch(strict, **{name: entry})
        assert (entry[-1] if isinstance(entry, list) else entry) in caught.value.details[0]["description"]
    assert strict.runs == ()


# Plans of runs


def plan(name: str = "passing", seed: object = 0, **options: Any) -> Plan:
    ids = {"agent_id": catalogue.OWN_BUILD_ID, "persona_id": catalogue.PERSONA_ID}
    asked = ids | {"test_set_id": BY_NAME[name].test_set_id, "options": options}
    return make_plan(BY_NAME[name], parse_launch(asked), seed)


def test_test_cases_are_the_requested_ones_or_a_sample_of_the_seed() -> None:
    def cases(seed: object, **options: Any) -> list[str]:
        return [simulation.test_case_id for simulation in plan(seed=seed, **options).simulations]

    ids = [case.id for case in catalogue.test_cases("passing1", 10)]
    assert cases(0, test_case_ids=[ids[4], ids[1], ids[4]]) == [ids[4], ids[1]]
    seeded = {"sub_sample_size": 4, "sub_sample_seed": 5}
    assert cases(1, **seeded) == cases(2, **seeded) == sorted(cases(1, **seeded))
    assert len({tuple(cases(seed, sub_sample_size=4)) for seed in range(5)}) > 1


# Agents whose process connects: plans of their runs, sound and judges

LIMIT = 300.0


def test_session_delays_later_simulations_until_it_ends() -> None:
    first = plan(sub_sample_size=2)
    ids = [planned.simulation_id for planned in first.simulations]
    open_ = attached_plan(first, 1, {ids[0]: Session(10.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in open_.simulations] == [(8, math.inf), (math.inf, math.inf)]
    ended = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in ended.simulations] == [(8, 15), (15, 15 + LIMIT)]
    assert [planned.failed for planned in ended.simulations] == [False, True]
    lost = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0, "Lost")}, LIMIT)
    assert (lost.simulations[0].error_message, lost.simulations[0].values) == ("Lost", {})


def test_judged_values() -> None:
    planned = plan().simulations[0].values
    latency = planned[catalogue.LATENCY.id]
    assert isinstance(latency, float)
    good = Answer(call=1.0, sent=0.5, sounding=0.4, toned=0.4, delay=0.2)
    assert judged(planned, good) == {**planned, catalogue.SPEAKING_TIME.id: 40.0}
    assert judged(planned, good._replace(delay=0.6))[catalogue.LATENCY.id] == pytest.approx(latency + 0.5)
    assert judged(planned, good._replace(toned=0.0))[catalogue.RESOLVED.id] == "NO"
    silent = Answer(call=1.0, sent=0.5)
    assert judged(planned, silent) == {**planned, **NO_ANSWER}
    assert judged({catalogue.TONE.id: 4.0}, silent) == {catalogue.TONE.id: 1.0}  # no other metric was requested


# Runs of the last nights, with which a sandbox may start


def with_history() -> World:
    return World(ManualClock(1_800_000_000.0), history=True)


def listed(of: World, run_filter: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = of.list_runs({"filter": run_filter})["runs"]
    return runs


def test_three_nights_have_completed() -> None:
    sandbox = with_history()
    for test_set_id, count in ((scenario.test_set_id, scenario.nights) for scenario in SCENARIOS if scenario.before):
        runs = listed(sandbox, f'test_set_id="{test_set_id}"')
        assert [run["status"] for run in runs] == ["COMPLETED"] * count
        assert [TAG in run["tags"] for run in runs] == [True, *[False] * (count - 1)], "the newest comes first"
        assert {(run["agent_id"], run["persona_id"]) for run in runs} == {(catalogue.AGENT_ID, catalogue.PERSONA_ID)}
        nights = [night for night in sandbox.nights if night.request.test_set_id == test_set_id]
        assert [sandbox.clock() - night.create_time for night in nights] == [
            night * DAY for night in range(count, 0, -1)
        ]
