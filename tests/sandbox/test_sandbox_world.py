"""The sandbox's world on a manual clock: statuses, results, lists and deletion of runs."""

from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks
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


def simulations(world: World, run_id: str, **query: str) -> list[dict[str, Any]]:
    listing = world.list_simulations({"filter": f'run_id="{run_id}"', "order_by": "create_time", **query})
    shown = listing["simulated_conversations"]
    assert isinstance(shown, list)
    return shown


@pytest.mark.parametrize(
    ("test_set_id", "expected"),
    [
        ("passing1", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("anything", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("allFail1", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("runFails", ["PENDING", "IN QUEUE", "IN PROGRESS", "FAILED"]),
        ("cancels1", ["PENDING", "IN QUEUE", "IN PROGRESS", "CANCELLED"]),
        ("deletes1", ["PENDING", "IN QUEUE", "IN PROGRESS", "DELETED"]),
        ("errors01", ["PENDING", "IN QUEUE", "IN PROGRESS", "ERROR"]),
        ("stuck001", ["PENDING", "IN QUEUE", "IN PROGRESS"]),
        ("queued01", ["PENDING", "IN QUEUE"]),
        ("empty001", ["PENDING", "IN QUEUE", "IN PROGRESS", "COMPLETED"]),
        ("unknown1", ["PENDING", "IN QUEUE", "WARMING UP", "IN PROGRESS", "COMPLETED"]),
    ],
)
def test_run_statuses_of_scenario(test_set_id: str, expected: list[str]) -> None:
    a, clock = world()
    assert statuses(a, clock, launch(a, test_set_id), 120) == expected


def test_state_does_not_depend_on_requests() -> None:
    watched, watched_clock = world()
    unwatched, unwatched_clock = world()
    first, second = launch(watched, "flaky001"), launch(unwatched, "flaky001")
    statuses(watched, watched_clock, first, 90)
    unwatched_clock.advance(90)
    assert watched.get_run(first) == unwatched.get_run(second)


def test_progress_increases_until_end() -> None:
    a, clock = world()
    run_id = launch(a, "someFail")
    seen = []
    for _ in range(70):
        seen.append(run(a, run_id)["progress"])
        clock.advance(1)
    assert {progress["total_test_cases"] for progress in seen} == {10}
    assert {progress["in_progress_test_cases"] for progress in seen} == {0, 1}
    completed = [progress["completed_test_cases"] for progress in seen]
    assert completed == sorted(completed)
    assert seen[-1] == {
        "total_test_cases": 10,
        "completed_test_cases": 7,
        "failed_test_cases": 3,
        "in_progress_test_cases": 0,
    }


def test_delete_cancels_running_run() -> None:
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
    assert record.cancel_time == record.create_time + 20
    assert record.delete_time is None


def test_delete_removes_finished_run() -> None:
    a, clock = world()
    run_id = launch(a)
    clock.advance(100)
    a.delete_run(run_id)
    for operation in (a.get_run, a.delete_run):
        with pytest.raises(Problem, match="404"):
            operation(run_id)
    assert a.list_runs({})["runs"] == []
    assert a.list_simulations({})["simulated_conversations"] == []
    assert a.runs[0].delete_time == clock.now
    assert a.runs[0].cancel_time is None


def fields_refused(**fields: Any) -> list[str]:
    a, _ = world()
    with pytest.raises(Problem) as caught:
        launch(a, **fields)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert a.runs == ()
    return [detail["field"] for detail in caught.value.details]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"agent_id": "short"}, ["agent_id"]),
        ({"test_set_id": "too long for it"}, ["test_set_id"]),
        ({"metric_ids": ["m" * 22, "short"]}, ["metric_ids.1"]),
        ({"options": {"iteration_count": 0, "concurrency": 101}}, ["options.iteration_count", "options.concurrency"]),
        ({"options": {"iteration_count": "3"}}, ["options.iteration_count"]),
        ({"options": {"iteration_count": True}}, ["options.iteration_count"]),
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
    assert fields_refused(**fields) == wrong


def test_only_strict_world_refuses_unknown_ids() -> None:
    unknown: dict[str, Any] = {"agent_id": "a" * 22, "test_set_id": "anything", "mutation_ids": [MUTATION.id, "u" * 26]}
    assert launch(world()[0], **unknown)
    strict, _ = world(strict=True)
    for name, given in unknown.items():
        with pytest.raises(Problem, match="404") as caught:
            launch(strict, **{name: given})
        assert (given[-1] if isinstance(given, list) else given) in caught.value.details[0]["description"]
    assert strict.runs == ()


def test_only_first_run_on_test_set_is_unlucky() -> None:
    a, _ = world()
    runs = [launch(a, test_set) for test_set in ("flaky002", "passing1", "flaky002")]
    records = {record.run_id: record for record in a.runs}
    unresolved = [
        [simulation.values[catalogue.RESOLVED.id] for simulation in records[run_id].plan.simulations].count("NO")
        for run_id in runs
    ]
    assert unresolved == [2, 0, 0]
