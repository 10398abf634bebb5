"""A later attempt keeps what earlier ones measured if any leg lacks a completed run, and launches only the rest."""

import json
from collections import Counter
from typing import Any

import pytest

from coval_gate.ci.host import AGENT_TYPE
from coval_gate.features.reruns.step import ALL_COMPLETED, HIDDEN
from coval_gate.history.tags import ATTACHED, UNANSWERED
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from own_build import with_own_builds
from road.legs import RERUN, SETS, THRESHOLDS, legs_of, run_post_step, run_statuses, verdicts_of
from road.nights import HOUR, ON_MAIN, PUSH, RunStep
from road.test_base_agent import agents
from road.test_legs_together import LEGS as ALL_LEGS
from road.test_legs_together import TOGETHER, Legs
from road.test_spending import ALWAYS, OPEN, UNTIL_CLEAR, world_of
from support import KEY, StepResult, VirtualClock

LEGS = {  # in their order, so that a fault meets a certain one
    "test_set_id": f"{SETS}, flaky001",
    "thresholds": THRESHOLDS,
    "json_path": "result.json",
    "max_parallel_runs": "1",
}
THIRD = {"GITHUB_RUN_ATTEMPT": "3"}
NEW_KEY = "coval_sk_test_new_one"
OF_ATTEMPT_2 = "on attempt 2 of this commit"
PATHS = {"html_path": "r.html", "junit_path": "r.xml", "digest_path": "r.md"}


def document_of(result: StepResult) -> dict[str, Any]:
    document = json.loads((result.workspace / "result.json").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def kept_from(result: StepResult) -> dict[str, int | None]:
    """Return the attempt that launched each leg's run, where it was kept."""
    return {leg["name"]: leg["run"]["kept_from"] for leg in document_of(result)["legs"]}


def launches(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests_seen)


def test_only_the_leg_without_a_completed_run_is_launched_again(run_step: RunStep) -> None:
    """The one that failed its thresholds is kept, and fails again; a third attempt, which lacks none, is all new."""
    first, server = run_step("POST /runs #3-99 -> 429", max_wait_time="600", **LEGS)
    assert verdicts_of(first) == {"passing1": "passed", "failing1": "failed", "flaky001": "error"}
    again, server = run_step(world=server.world, env=RERUN, max_simulations="10", **LEGS)
    assert launches(server) == 1
    assert verdicts_of(again) == {"passing1": "passed", "failing1": "failed", "flaky001": "failed"}
    assert kept_from(again) == {"passing1": 1, "failing1": 1, "flaky001": None}
    assert document_of(again)["attempt"] == 2
    assert {leg["run_id"] for leg in legs_of(again).values()} == {record.run_id for record in server.world.runs}
    assert "Earlier attempts completed runs of 2 of 3 legs. They are kept, and only the rest is launched." in again.log
    assert "This step launches 10 simulations in 1 run. At most 10 are allowed." in again.log
    assert again.outputs["planned_simulations"] == "10"
    for record in server.world.runs[:2]:
        assert f"Run {record.run_id}, kept from attempt 1: " in again.log
        assert f"`{record.run_id}` kept from attempt 1<br>" in again.summary
    third, server = run_step(world=server.world, env=THIRD, **LEGS)
    assert (launches(server), {*kept_from(third).values()}) == (3, {None})
    assert ALL_COMPLETED in third.log
    assert "### ❌ Failed on attempt 3 of this commit: " in third.summary


def test_a_new_key_continues_the_run_whose_step_lost_the_old_one(run_step: RunStep, clock: VirtualClock) -> None:
    """As docs/change-the-key.md promises."""
    world = World(clock.time, api_keys=dict.fromkeys((KEY, NEW_KEY), ("*",)))
    clock.at(30, lambda: setattr(world, "api_keys", {NEW_KEY: ("*",)}))
    left, _ = run_step(world=world)
    assert "API key rejected" in left.log
    assert "The run could not be cancelled" in left.log
    again, server = run_step(world=world, env=RERUN, api_key=NEW_KEY)
    assert (again.outputs["verdict"], launches(server)) == ("passed", 0)
    assert again.outputs["run_id"] == left.outputs["run_id"]


def test_every_report_names_the_attempt_of_a_whole_new_run(run_step: RunStep) -> None:
    first, server = run_step(test_set_id="failing1", thresholds=THRESHOLDS, json_path="result.json", **PATHS)
    assert document_of(first)["attempt"] is None
    assert "of this commit" not in f"{first.log}{first.summary}"
    again, server = run_step(
        world=server.world, env=RERUN, test_set_id="failing1", thresholds=THRESHOLDS, json_path="result.json", **PATHS
    )
    assert (launches(server), len(server.world.runs)) == (1, 2)
    assert (document_of(again)["attempt"], document_of(again)["legs"][0]["run"]["kept_from"]) == (2, None)
    (error,) = again.annotations("error")
    assert "This was attempt 2 of this commit." in error.data
    assert again.summary.startswith(f"### ❌ Failed {OF_ATTEMPT_2}: ")
    for name in PATHS.values():
        assert "2 of this commit" in (again.workspace / name).read_text(encoding="utf-8"), name
    assert '<testsuites name="Coval Gate (attempt 2)"' in (again.workspace / PATHS["junit_path"]).read_text()


@pytest.mark.parametrize(
    ("given", "launched"),
    [({"resume": "false"}, 3), ({"run_max_age": "1h"}, 3), ({"run_max_age": "3h"}, 1), ({"iteration_count": "2"}, 3)],
    ids=["resume false", "too old", "young enough", "another request"],
)
def test_a_run_is_kept_only_of_the_same_request_and_if_it_is_young(
    given: dict[str, str], launched: int, run_step: RunStep, clock: VirtualClock
) -> None:
    _, server = run_step("POST /runs #3 -> 403", **LEGS)
    clock.sleep(2 * HOUR)
    again, server = run_step(world=server.world, env=RERUN, **LEGS | given)
    assert launches(server) == launched
    assert document_of(again)["attempt"] == 2


@pytest.mark.parametrize(
    ("quirks", "launched"),
    [
        (Quirks(list_identity="neither"), 3),
        (Quirks(list_identity="neither", run_identity="neither"), 3),
        (Quirks(list_identity="tags", run_identity="neither"), 1),
        (Quirks(list_identity="metadata", run_identity="neither", refuse_tag_filter=True), 1),
        (Quirks(list_identity="metadata", ignore_tag_filter=True), 1),
        (Quirks(list_identity="metadata", blind_tag_filter=True), 1),
    ],
    ids=["nothing in the list", "nothing anywhere", "tags", "no tags, refused", "no tags, ignored", "no tags, blind"],
)
def test_runs_are_kept_where_the_list_shows_what_they_are(quirks: Quirks, launched: int, run_step: RunStep) -> None:
    _, server = run_step("POST /runs #3 -> 403", quirks=quirks, **LEGS)
    again, server = run_step(world=server.world, env=RERUN, **LEGS)
    assert launches(server) == launched
    assert (HIDDEN in again.log) == (launched == 3)


def test_newest_completed_run_of_all_attempts_counts(run_step: RunStep) -> None:
    """Attempt 2 launches the second leg in vain; attempt 3 keeps the others, from where each was measured."""
    _, server = run_step("POST /runs #2-3 -> 403", **LEGS)
    _, server = run_step("POST /runs #2 -> 403", world=server.world, env=RERUN, **LEGS)
    assert launches(server) == 2
    third, server = run_step(world=server.world, env=THIRD, **LEGS)
    assert launches(server) == 1
    assert sorted(kept_from(third).values(), key=str) == [1, 2, None]
    assert document_of(third)["attempt"] == 3


def test_more_runs_than_a_page_lists_are_all_found(run_step: RunStep, clock: VirtualClock) -> None:
    """Between the two attempts, a hundred others have launched runs of the same concurrency group."""
    _, server = run_step("POST /runs #3 -> 403", **LEGS)
    old = server.world.runs[0]
    for _ in range(110):
        server.world.launch({**old.body, "metadata": {**old.body["metadata"], "tags": [old.tags[1]]}})
    clock.sleep(600)
    again, server = run_step(world=server.world, env=RERUN, **LEGS)
    assert launches(server) == 1, again.log


# What interrupts an attempt that keeps runs


def test_signal_and_post_step_leave_kept_runs_alone(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = run_step("POST /runs #3 -> 403", **LEGS)
    clock.at(clock.now() + 12, clock.interrupt)
    again, server = run_step(world=server.world, env=RERUN, **LEGS)
    assert run_statuses(server.world) == ["COMPLETED", "COMPLETED", "CANCELLED"]
    run_post_step(again, server.world)
    assert not any(record.delete_time for record in server.world.runs)


def test_kept_runs_need_no_turn(run_step: RunStep) -> None:
    _, server = run_step("POST /runs #3 -> 403", **LEGS)
    again, server = run_step(world=server.world, env=RERUN, **LEGS)
    assert (launches(server), verdicts_of(again)["flaky001"] in ("passed", "failed")) == (1, True)


def test_single_run_of_a_later_attempt_is_reported_as_such_by_the_step_that_waits(
    run_step: RunStep, clock: VirtualClock
) -> None:
    _, server = run_step(mode="launch")
    clock.sleep(600)
    again, _ = run_step(world=server.world, env=RERUN, mode="launch")
    assert len(server.world.runs) == 2
    for run_id, attempt in ((again.outputs["run_id"], 2), (server.world.runs[0].run_id, None)):
        waited, _ = run_step(world=server.world, env=THIRD, mode="wait", run_id=run_id, json_path="result.json")
        assert document_of(waited)["attempt"] == attempt
        assert document_of(waited)["legs"][0]["run"]["kept_from"] is None


def test_kept_run_that_is_gone_is_launched_again(run_step: RunStep) -> None:
    _, server = run_step("POST /runs #3 -> 403", **LEGS)
    run_id = server.world.runs[0].run_id
    again, server = run_step(f"GET /runs/{run_id} -> 404", world=server.world, env=RERUN, **LEGS)
    assert launches(server) == 2
    assert run_id not in again.outputs["run_ids"]


# Mode launch, and the step that waits


def test_launch_keeps_runs_and_the_step_that_waits_reports_it(run_step: RunStep, clock: VirtualClock) -> None:
    given = LEGS | {"thresholds": ""}
    _, server = run_step("POST /runs #3 -> 403", mode="launch", **given)
    clock.sleep(600)
    launched, server = run_step(world=server.world, env=RERUN, mode="launch", **given)
    assert launches(server) == 1
    assert kept_from(launched) == {"passing1": 1, "failing1": 1, "flaky001": None}
    ids = ",".join(json.loads(launched.outputs["run_ids"]))
    waited, _ = run_step(world=server.world, env=RERUN, mode="wait", run_id=ids, **LEGS)
    assert kept_from(waited) == {"passing1": 1, "failing1": 1, "flaky001": None}
    assert document_of(waited)["attempt"] == 2
    assert f"❌ Failed {OF_ATTEMPT_2}" in waited.summary


@pytest.mark.parametrize(
    ("tags", "launched"), [([], 2), ([UNANSWERED], 2), ([ATTACHED], 1), ([UNANSWERED, ATTACHED], 1)]
)
def test_run_that_its_own_build_left_unanswered_is_not_kept(
    tags: list[str], launched: int, run_step: RunStep, clock: VirtualClock
) -> None:
    given = {"mode": "launch", "test_set_id": "passing1, failing1"}
    _, server = run_step("POST /runs #2 -> 403", world=with_own_builds(World(clock.time)), **given)
    (record,) = server.world.runs
    assert record.body["metadata"]["customer"][AGENT_TYPE] == "SDK_WEBSOCKET"
    server.world.update_run(record.run_id, {"tags": [*record.tags, *tags]})
    clock.sleep(600)
    _, server = run_step(world=server.world, env=RERUN, **given)
    assert launches(server) == launched


# A base, a repetition, slices


@pytest.mark.parametrize("number", [2, 3, 4])
def test_run_is_kept_together_with_its_base_or_not_at_all(number: int, run_step: RunStep, clock: VirtualClock) -> None:
    """Two legs, each with a base of its own; the launches of the bases follow."""
    given = {
        "agent_id": PREVIEW_ID,
        "base_agent_id": AGENT_ID,
        "thresholds": "Latency: med <= base * 9",
        "test_set_id": "passing1, unknown1",
        "json_path": "result.json",
    }
    _, server = run_step(f"POST /runs #{number} -> 403", world=World(clock.time), bare=True, **given)
    before = [*server.world.runs]
    again, server = run_step(world=server.world, env=RERUN, bare=True, **given)
    after = server.world.runs[len(before) :]
    kept = {record.body["test_set_id"] for record in before if record.run_id in again.outputs["run_ids"]}
    assert len(kept) == 1, again.log
    assert {record.body["test_set_id"] for record in after}.isdisjoint(kept)
    assert len(after) == 2
    assert again.outputs["verdict"] == "passed"


def test_repetition_is_kept_with_its_run(run_step: RunStep) -> None:
    given = {
        "test_set_id": "flaky002, passing1",
        "thresholds": "Resolved: rate(YES) >= 90%",
        "repeat_on_failure": "1",
        "json_path": "result.json",
        "max_parallel_runs": "1",
    }
    _, server = run_step("POST /runs #3 -> 403", **given)
    first, second = server.world.runs
    again, server = run_step(world=server.world, env=RERUN, **given)
    assert (launches(server), again.outputs["verdict"]) == (1, "passed"), again.log
    (flaky,) = (leg for leg in document_of(again)["legs"] if leg["name"] == "flaky002")
    assert [(run["id"], run["kept_from"]) for run in flaky["runs"]] == [(first.run_id, 1), (second.run_id, 1)]


def test_kill_after_slice_two_pays_for_the_other_three(run_step: RunStep, clock: VirtualClock) -> None:
    world = world_of(clock, OPEN)
    clock.at(clock.now() + 12.5, clock.interrupt)
    run_step(world=world, **UNTIL_CLEAR)
    clock.rearm()
    assert run_statuses(world) == ["COMPLETED", "COMPLETED", "CANCELLED"]
    given = {"json_path": "result.json", "max_simulations": "100"}
    again, server = run_step(world=world, env=RERUN, **UNTIL_CLEAR | given)
    assert (launches(server), again.outputs["total_simulations"]) == (3, "100"), again.log
    (leg,) = document_of(again)["legs"]
    assert [run["kept_from"] for run in leg["runs"]] == [1, 1, None, None, None]
    assert "This step launches at most 60 simulations" in again.log
    assert again.summary.count(": kept from attempt 1") == 2


@pytest.mark.parametrize("refused", [False, True])
def test_slices_that_decide_are_kept_if_another_leg_lacks_its_run(
    refused: bool, run_step: RunStep, clock: VirtualClock
) -> None:
    world = world_of(clock, ALWAYS)
    given = UNTIL_CLEAR | {"test_set_id": "passing1, passing2", "json_path": "result.json"}
    _, server = run_step(*["POST /runs #2 -> 403"] * refused, world=world, **given)
    assert len(world.runs) == (1 if refused else 2)
    again, server = run_step(world=world, env=RERUN, **given)
    assert launches(server) == (1 if refused else 2), again.log
    assert {*kept_from(again).values()} == ({1, None} if refused else {None})
    assert (ALL_COMPLETED in again.log) is not refused


def test_slices_with_a_base_are_judged_beside_it_and_kept_if_that_fails(run_step: RunStep, clock: VirtualClock) -> None:
    world = world_of(clock, ALWAYS)
    given = UNTIL_CLEAR | {
        "agent_id": PREVIEW_ID,
        "base_agent_id": AGENT_ID,
        "thresholds": f"{UNTIL_CLEAR['thresholds']}\nResolved: rate(YES) >= base - 30pp",
        "json_path": "result.json",
    }
    run_step(world=world, **given)
    before = len(world.runs)
    again, server = run_step(world=world, env=RERUN, **given)
    assert (launches(server), kept_from(again)) == (before, {"": None})
    assert "of earlier attempts, to find out whether they decide." in again.log
    run_id = world.runs[-1].run_id
    third, server = run_step(
        f"GET /runs/{run_id} #1 -> 403", world=world, env=THIRD, **given | {"max_failed_simulations": "1"}
    )
    assert document_of(third)["legs"][0]["run"]["kept_from"] == 2, third.log


# Baselines do not change


def test_all_legs_together_compares_kept_and_new_runs_alike(run_step: RunStep, clock: VirtualClock) -> None:
    legs = Legs(run_step, clock)
    legs.night("passing", **ALL_LEGS)
    given: dict[str, Any] = ALL_LEGS | {"json_path": "result.json", "env": {"GITHUB_RUN_ID": "5000"}}
    first = legs.night("a little worse", "POST /runs #6 -> 403", days=0.01, **given)
    again = legs.night("a little worse", **given | {"env": {"GITHUB_RUN_ID": "5000"} | RERUN})
    assert launches(legs.server) == 1
    assert Counter(kept_from(again).values()) == {1: 5, None: 1}
    assert (again.outputs["verdict"], document_of(again)["decided_by"]) == ("failed", TOGETHER)
    assert "over 6 runs" in again.log
    assert "over 6 runs" not in first.log


def test_kept_run_is_never_its_own_baseline(run_step: RunStep) -> None:
    """The first attempt gave its run the tag, which the second one finds on it."""
    given = LEGS | {"test_set_id": SETS, "baseline": "tag:stable", "thresholds": "Latency: avg <= baseline * 9"}
    main: dict[str, Any] = {"event": PUSH}
    first, server = run_step("POST /runs #2 -> 403", env=ON_MAIN, **main, **given)
    (record,) = server.world.runs
    assert "stable" in record.tags
    again, server = run_step(world=server.world, env=ON_MAIN | RERUN, **main, **given)
    assert launches(server) == 1
    baselines = {leg["name"]: leg["baseline"] for leg in document_of(again)["legs"]}
    assert record.run_id not in json.dumps(baselines)
    assert verdicts_of(again)["passing1"] == verdicts_of(first)["passing1"]


def test_leg_that_a_comparison_failed_is_kept_and_fails_again(run_step: RunStep, clock: VirtualClock) -> None:
    world = agents(clock, tested="failing1")
    given = {
        "agent_id": PREVIEW_ID,
        "base_agent_id": AGENT_ID,
        "test_set_id": "passing1, unknown1",
        "thresholds": "Resolved: rate(YES) >= base - 1pp",
        "json_path": "result.json",
    }
    _, server = run_step("POST /runs #2 -> 403", world=world, bare=True, event=PUSH, env=ON_MAIN, **given)
    again, server = run_step(world=world, bare=True, event=PUSH, env=ON_MAIN | RERUN, **given)
    assert launches(server) == 2
    assert sorted(kept_from(again).values(), key=str) == [1, None]
    assert {*verdicts_of(again).values()} == {"failed"}
