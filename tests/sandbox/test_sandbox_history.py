"""Runs of the last nights, with which a sandbox may start."""

from datetime import datetime
from statistics import mean
from typing import Any

import pytest

from coval_sandbox.catalogue import AGENT_ID, LATENCY, PERSONA_ID, RESOLVED, SCHEDULES
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.history import DAY, NIGHTS, SINCE_SCHEDULED, TAG
from coval_sandbox.scenarios import SCENARIOS
from coval_sandbox.world import World

(SCHEDULE,) = SCHEDULES
WITH_HISTORY = [scenario.test_set_id for scenario in SCENARIOS if scenario.before]


def world(**given: Any) -> World:
    return World(ManualClock(1_800_000_000.0), history=True, **given)


def listed(of: World, run_filter: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = of.list_runs({"filter": run_filter})["runs"]
    return runs


def launched(of: World, test_set_id: str) -> dict[str, Any]:
    """Launch a run, wait for its end, and return it."""
    of.launch({"agent_id": AGENT_ID, "persona_id": PERSONA_ID, "test_set_id": test_set_id})
    assert isinstance(of.clock, ManualClock)
    of.clock.advance(3600)
    run: dict[str, Any] = of.get_run(of.runs[-1].run_id)["run"]
    return run


def latency(run: dict[str, Any]) -> float:
    return float(mean(value["value"] for value in run["results"]["metrics"][LATENCY.id]["values"]))


def resolved(run: dict[str, Any]) -> float:
    values = [value["value"] for value in run["results"]["metrics"][RESOLVED.id]["values"]]
    return values.count("YES") / len(values)


@pytest.mark.parametrize("test_set_id", WITH_HISTORY)
def test_three_nights_have_completed(test_set_id: str) -> None:
    sandbox = world()
    runs = listed(sandbox, f'test_set_id="{test_set_id}"')
    assert [run["status"] for run in runs] == ["COMPLETED"] * NIGHTS
    assert [TAG in run["tags"] for run in runs] == [True, False, False], "the newest comes first"
    assert {(run["agent_id"], run["persona_id"]) for run in runs} == {(AGENT_ID, PERSONA_ID)}
    ages = [sandbox.clock() - night.create_time for night in sandbox.nights if night.request.test_set_id == test_set_id]
    assert ages == [3 * DAY, 2 * DAY, DAY]


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


def test_schedule_has_launched_a_run_of_each_combination_each_night() -> None:
    sandbox = world()
    rows = sandbox.list_scheduled_runs(SCHEDULE.id)["runs"]
    ages = [sandbox.clock() - datetime.fromisoformat(row["create_time"]).timestamp() for row in rows]
    assert ages == [night * DAY + SINCE_SCHEDULED for night in range(NIGHTS) for _ in range(4)], "the newest come first"
    assert not any("persona_id" in row for row in rows)
    runs = [sandbox.get_run(row["id"])["run"] for row in rows[:4]]
    personas = SCHEDULE.template["persona_ids"]
    assert sorted((run["persona_id"], run["test_set_id"]) for run in runs) == sorted(
        (persona, test_set) for persona in personas for test_set in ("passing1", "flaky001")
    )
    assert {(run["status"], *run["tags"]) for run in runs} == {("COMPLETED", "nightly", "regression")}
    assert not {row["id"] for row in rows} & {night.run_id for night in sandbox.nights}
