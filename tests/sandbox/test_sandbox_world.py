"""The sandbox's world on a manual clock: statuses, results, lists and deletion of runs."""

from __future__ import annotations

from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.clock import ManualClock, SpeedClock
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import SCENARIOS
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


@pytest.mark.parametrize("test_set_id", ["passing1", "someFail", "allFail1", "empty001", "large001"])
def test_completed_run_has_results(test_set_id: str) -> None:
    a, clock = world()
    run_id = launch(a, test_set_id)
    assert run(a, run_id)["results"] is None
    clock.advance(200)
    results = run(a, run_id)["results"]
    listed = simulations(a, run_id, page_size="1000")
    assert results["output_ids"] == [simulation["simulation_id"] for simulation in listed]
    completed = {simulation["simulation_id"] for simulation in listed if simulation["status"] == "COMPLETED"}
    assert len(listed) - len(completed) == {"someFail": 3, "allFail1": 10}.get(test_set_id, 0)
    assert [m["metric_name"] for m in results["metrics"].values()] == [m.name for m in catalogue.DEFAULT_METRICS]
    for metric in results["metrics"].values():
        assert {entry["simulation_output_id"] for entry in metric["values"]} == completed


@pytest.mark.parametrize("test_set_id", ["runFails", "cancels1", "deletes1", "errors01", "stuck001"])
def test_unfinished_or_failed_run_has_no_results(test_set_id: str) -> None:
    a, clock = world()
    run_id = launch(a, test_set_id)
    clock.advance(200)
    assert run(a, run_id)["results"] is None


def test_error_and_error_status_of_scenarios() -> None:
    shown = {}
    for scenario in SCENARIOS:
        a, clock = world()
        run_id = launch(a, scenario.test_set_id)
        assert run(a, run_id)["error_status"] is None
        clock.advance(10_000)
        ended = run(a, run_id)
        shown[scenario.name] = (ended["error"] is not None, ended["error_status"])
    failure = "EXECUTION_FAILURE"
    assert shown.pop("run-failed") == (True, failure)
    assert {shown.pop(name) for name in ("some-failed", "all-failed", "error", "dirty")} == {(False, failure)}
    assert {shown.pop(name) for name in ("cancelled", "deleted", "stuck", "queued")} == {(False, None)}
    assert set(shown.values()) == {(False, "SUCCESS")}


@pytest.mark.parametrize(("test_set_id", "status"), [("cancels1", "CANCELLED"), ("runFails", "FAILED")])
def test_failed_or_cancelled_run_ends_its_simulations(test_set_id: str, status: str) -> None:
    a, clock = world()
    run_id = launch(a, test_set_id)
    clock.advance(200)
    ends = [simulation["status"] for simulation in simulations(a, run_id)]
    assert ends.count("COMPLETED") == 2
    assert ends.count(status) == 8


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


def test_list_runs_with_filter_order_and_pages() -> None:
    a, clock = world()
    ids = []
    for tags in (["a"], ["a", "b"], [" b ", "b", ""], None):
        ids.append(launch(a, metadata={"tags": tags, "created_by": "ci", "display_name": "Night"}))
        clock.advance(30)

    def listed(**query: str) -> list[str]:
        return [run["run_id"] for run in a.list_runs(query)["runs"]]

    assert listed() == ids[::-1]
    assert listed(order_by="create_time") == ids
    assert listed(filter='tag="b"') == [ids[2], ids[1]]
    assert listed(filter='tag="a" AND tag="b"') == [ids[1]]
    assert listed(filter='created_by="ci" AND status="COMPLETED"') == [ids[2], ids[1], ids[0]]
    assert listed(filter='status="COMPLETED" OR status="IN PROGRESS"') == ids[::-1]
    assert listed(page_size="3") == ids[:0:-1]
    token = a.list_runs({"page_size": "3"})["next_page_token"]
    assert listed(page_size="3", page_token=token) == [ids[0]]
    assert run(a, ids[2])["tags"] == ["b"]


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


UNKNOWN: dict[str, Any] = {
    "agent_id": "a" * 22,
    "persona_id": "p" * 22,
    "test_set_id": "anything",
    "metric_ids": [catalogue.LATENCY.id, "m" * 22],
    "mutation_id": "u" * 26,
    "mutation_ids": [MUTATION.id, "u" * 26],
}


@pytest.mark.parametrize("field", UNKNOWN)
def test_only_strict_world_refuses_unknown_ids(field: str) -> None:
    fields = {"test_set_id": "passing1", field: UNKNOWN[field]}
    assert launch(world()[0], **fields)
    strict, _ = world(strict=True)
    with pytest.raises(Problem, match="404") as caught:
        launch(strict, **fields)
    unknown = UNKNOWN[field][-1] if isinstance(UNKNOWN[field], list) else UNKNOWN[field]
    assert unknown in caught.value.details[0]["description"]
    assert strict.runs == ()


def test_strict_world_launches_with_ids_of_catalogue() -> None:
    a, _ = world(strict=True)
    for scenario in SCENARIOS:
        assert launch(a, scenario.test_set_id, metric_ids=[metric.id for metric in catalogue.METRICS])
    for template in catalogue.RUN_TEMPLATES:
        ids = {f"{name}_id": template.get(f"{name}_id") or template[f"{name}_ids"][0] for name in ("agent", "persona")}
        assert launch(a, **ids, mutation_ids=template.get("mutation_ids", []))


def test_scenario_option_overrides_test_set() -> None:
    a, clock = world(scenario="failing")
    run_id = launch(a, "passing1")
    clock.advance(100)
    values = run(a, run_id)["results"]["metrics"][catalogue.LATENCY.id]["values"]
    assert min(entry["value"] for entry in values) > 1.5


def test_speed_clock_runs_faster_than_real_time() -> None:
    slow, fast = SpeedClock(1), SpeedClock(1000)
    start, slow_start = fast(), slow()
    while slow() - slow_start < 0.005:
        pass
    assert fast() - start >= 5
    with pytest.raises(ValueError, match="above 0"):
        SpeedClock(0)


def test_edited_test_case_and_persona_show_change_and_its_time() -> None:
    organization, clock = world()
    case = catalogue.test_cases("passing1", 1)[0]
    shelf = organization.catalogue
    before = shelf.get_test_case(case.id)["test_case"]
    clock.advance(60)
    organization.edits.change(case.id, input_str="Another question")
    organization.edits.change(catalogue.PERSONA_ID, persona_prompt="Be brief.")
    after = shelf.get_test_case(case.id)["test_case"]
    assert (before["update_time"], after["update_time"]) == ("2025-06-15T15:06:40.000Z", "2027-01-15T08:01:00.000Z")
    assert after["input_str"] == "Another question"
    listed = shelf.list_test_cases({"filter": 'test_set_id="passing1"'})["test_cases"]
    assert [case_row["id"] for case_row in listed if case_row["update_time"] != before["update_time"]] == [case.id]
    persona = shelf.get_persona(catalogue.PERSONA_ID)["persona"]
    assert (persona["persona_prompt"], persona["update_time"]) == ("Be brief.", after["update_time"])
    other = shelf.get_persona(catalogue.IMPATIENT_PERSONA_ID)["persona"]
    assert other["update_time"] == before["update_time"]


def test_run_is_judged_by_versions_of_its_launch() -> None:
    organization, clock = world()
    ids = [launch(organization)]
    organization.edits.revise(catalogue.LATENCY.id)
    ids.append(launch(organization))
    clock.advance(100)
    versions = []
    for run_id in ids:
        simulation_id = run(organization, run_id)["results"]["output_ids"][0]
        outputs = organization.list_metric_outputs(simulation_id, {})["metrics"]
        versions.append({output["metric_id"]: output["metric_version_ulid"] for output in outputs})
    assert {metric_id for metric_id in versions[0] if versions[0][metric_id] != versions[1][metric_id]} == {
        catalogue.LATENCY.id
    }
    current = organization.catalogue.get_metric(catalogue.LATENCY.id)["metric"]["current_version"]
    assert (current["ulid"], current["version_number"]) == (versions[1][catalogue.LATENCY.id], 2)


def test_only_first_run_on_test_set_is_unlucky() -> None:
    a, _ = world()
    runs = [launch(a, test_set) for test_set in ("flaky002", "passing1", "flaky002")]
    records = {record.run_id: record for record in a.runs}
    unresolved = [
        [simulation.values[catalogue.RESOLVED.id] for simulation in records[run_id].plan.simulations].count("NO")
        for run_id in runs
    ]
    assert unresolved == [2, 0, 0]
