"""The sandbox's world on a manual clock: runs, refused launches, and calls that agents answer."""

import math
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox import catalogue
from coval_sandbox.attachments import Session, attached_plan
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.judges import NO_ANSWER, judged
from coval_sandbox.plan import Plan, make_plan
from coval_sandbox.problems import Problem, parse_launch
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.sound import (
    FRAME_SECONDS,
    SILENCE,
    Answer,
    Listener,
    tone,
)
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
        ({"test_set_id": "too long for it"}, ["test_set_id"]),
        ({"metric_ids": ["m" * 22, "short"]}, ["metric_ids.1"]),
        ({"options": {"iteration_count": 0, "concurrency": 101}}, ["options.iteration_count", "options.concurrency"]),
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


def test_only_first_run_on_test_set_is_unlucky() -> None:
    a, _ = world()
    for test_set in ("flaky002", "passing1", "flaky002"):
        launch(a, test_set)
    resolved = [[one.values[catalogue.RESOLVED.id] for one in record.plan.simulations] for record in a.runs]
    assert [values.count("NO") for values in resolved] == [2, 0, 0]


# Agents whose process connects: plans of their runs, sound and judges

BODY = {"agent_id": catalogue.OWN_BUILD_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
LIMIT = 300.0


def first_plan(scenario: str = "passing", **options: int) -> Plan:
    return make_plan(BY_NAME[scenario], parse_launch(BODY | {"options": options}), seed=0)


def test_session_delays_later_simulations_until_it_ends() -> None:
    first = first_plan(sub_sample_size=2)
    ids = [planned.simulation_id for planned in first.simulations]
    open_ = attached_plan(first, 1, {ids[0]: Session(10.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in open_.simulations] == [(8, math.inf), (math.inf, math.inf)]
    ended = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in ended.simulations] == [(8, 15), (15, 15 + LIMIT)]
    assert [planned.failed for planned in ended.simulations] == [False, True]
    lost = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0, "Lost")}, LIMIT)
    assert (lost.simulations[0].error_message, lost.simulations[0].values) == ("Lost", {})


@given(
    concurrency=st.integers(1, 4),
    calls=st.lists(st.tuples(st.floats(0, LIMIT - 1), st.floats(0, 500)), min_size=10, max_size=10),
)
def test_session_changes_nothing_before_it_begins(concurrency: int, calls: list[tuple[float, float]]) -> None:
    """Nothing that a client saw may change: only the future depends on a new session."""
    first = first_plan()
    sessions: dict[str, Session] = {}
    plan = attached_plan(first, concurrency, sessions, LIMIT)
    for _ in calls:  # in the order in which the processes connect
        waiting = [planned for planned in plan.simulations if planned.simulation_id not in sessions]
        planned = min(waiting, key=lambda planned: planned.start + calls[planned.number][0])
        wait, length = calls[planned.number]
        began = planned.start + wait
        sessions[planned.simulation_id] = Session(began, began + length)
        before, plan = plan, attached_plan(first, concurrency, sessions, LIMIT)
        for old, new in zip(before.simulations, plan.simulations, strict=True):
            for was, becomes in ((old.start, new.start), (old.end, new.end)):
                assert was == becomes or min(was, becomes) >= began
    changes = sorted(change for planned in plan.simulations for change in ((planned.start, 1), (planned.end, -1)))
    assert max(accumulate(change for _, change in changes)) <= concurrency


def test_listener_counts_sound_in_any_chunks() -> None:
    audio = SILENCE * 5 + tone(440.0) * 10 + tone(250) * 10
    listener = Listener(turn_end=0.05)
    for start in range(0, len(audio), 1234):
        listener.hear(audio[start : start + 1234], start / 32_000)
    answer = listener.answer(1.0)
    assert (answer.sent, answer.sounding, answer.toned) == pytest.approx((0.5, 0.4, 0.2))
    assert answer.delay == pytest.approx(0.05, abs=FRAME_SECONDS)
    assert answer.is_good


def test_judged_values() -> None:
    planned = first_plan().simulations[0].values
    latency = planned[catalogue.LATENCY.id]
    assert isinstance(latency, float)
    good = Answer(call=1.0, sent=0.5, sounding=0.4, toned=0.4, delay=0.2)
    assert judged(planned, good) == {**planned, catalogue.SPEAKING_TIME.id: 40.0}
    assert judged(planned, good._replace(delay=0.6))[catalogue.LATENCY.id] == pytest.approx(latency + 0.5)
    assert judged(planned, good._replace(toned=0.0))[catalogue.RESOLVED.id] == "NO"
    silent = Answer(call=1.0, sent=0.5)
    assert judged(planned, silent) == {**planned, **NO_ANSWER}
    assert judged({catalogue.TONE.id: 4.0}, silent) == {catalogue.TONE.id: 1.0}  # no other metric was asked for
