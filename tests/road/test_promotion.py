"""A run that passed gets the tag of `promote`, and the run that had it loses it, even if calls fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.base.times import PROMOTING
from coval_gate.config.parsing import MOST_RUN_TAGS
from coval_gate.runs.promote import OURS
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.world import World
from fake_github import TOKEN, FakeGitHub
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

PUSH: dict[str, Any] = {"ref": "refs/heads/main"}
ENV = {"GITHUB_EVENT_NAME": "push", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
NIGHT = 86_400.0  # s


def tags(world: World, run_id: str) -> tuple[str, ...]:
    """Return the tags of a run, without the gate's."""
    (record,) = [run for run in world.runs if run.run_id == run_id]
    return tuple(tag for tag in record.tags if not tag.startswith("coval-gate/"))


def holders(world: World) -> list[str]:
    """Return the runs that have the tag, oldest first."""
    return [run.run_id for run in world.runs if "stable" in map(str.lower, run.tags) and run.delete_time is None]


def launch(world: World, *own: str, **body: Any) -> str:
    """Launch a run by hand, as in Coval's dashboard."""
    world.launch({**IDS, "metadata": {"tags": list(own)}, **body})
    return world.runs[-1].run_id


def promote(run_step: RunStep, *faults: str, **given: Any) -> tuple[StepResult, Server]:
    """Run a step that promotes its run, after a push."""
    judges = {} if given.get("mode") == "launch" else {"promote": "stable", "thresholds": "Latency: avg < 9"}
    given = {"event": PUSH, **judges, **given}
    return run_step(*faults, env=ENV | given.pop("env", {}), **given)


def world_with(clock: VirtualClock, *own: str, quirks: Quirks | None = None, **body: Any) -> tuple[World, str]:
    """Return a world with one run of the night before, and its id."""
    world = World(clock.time, quirks=quirks or Quirks())
    run_id = launch(world, *own, **body)
    clock.sleep(NIGHT)
    return world, run_id


def requests(server: Server, method: str) -> list[str]:
    return [request.path for request in server.requests_seen if request.method == method]


def test_first_promotion_adds_tag_and_keeps_others(run_step: RunStep) -> None:
    result, server = promote(run_step, tags="nightly", json_path="reports/coval.json")
    (record,) = server.world.runs
    assert tags(server.world, record.run_id) == ("nightly", "stable")
    launched_with = record.request.metadata.tags or []
    assert record.tags == (*launched_with, "stable"), "the gate's own tags are kept"
    assert f"Promoted run {record.run_id} to tag stable.\n" in result.log
    planned = "o be promoted to `stable` once all reports are written; the log says whether it was.\n"
    assert planned in result.summary
    assert result.summary.endswith("\nPromoted to `stable`.\n")
    (leg,) = json.loads(result.json)["legs"]
    assert leg["promotion"] == {
        "tag": "stable",
        "promoted": False,
        "obstacle": "pending",
        "previous_run_ids": [],
        "remaining_run_ids": [],
        "text": "To be promoted to stable once all reports are written; the log says whether it was.",
    }
    assert result.annotations("warning") == []


def test_old_holder_loses_tag_and_keeps_others(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "nightly", "Stable", "mine")
    result, _ = promote(run_step, world=world)
    new = result.outputs["run_id"]
    assert (tags(world, old), holders(world)) == (("nightly", "mine"), [new])
    assert f"Promoted run {new} to tag stable (previously run {old})." in result.log
    assert f"Promoted to `stable` (previously run `{old}`)." in result.summary


def test_tag_is_set_before_old_holder_loses_it(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    result, server = promote(run_step, world=world)
    assert requests(server, "PATCH") == [f"/v1/runs/{result.outputs['run_id']}", f"/v1/runs/{old}"]


@pytest.mark.parametrize(
    "other", [{"agent_id": "a" * 22}, {"persona_id": "p" * 22}, {"test_set_id": "unknown1"}], ids=str
)
def test_run_of_other_agent_persona_or_test_set_keeps_tag(
    other: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    world, old = world_with(clock, "stable", **other)
    result, _ = promote(run_step, world=world)
    assert holders(world) == [old, result.outputs["run_id"]]


def test_many_holders_lose_tag(run_step: RunStep, clock: VirtualClock) -> None:
    """Steps that were killed between the two changes, or people, have left several."""
    world, first = world_with(clock, "stable")
    olds = [first, *(launch(world, "stable") for _ in range(24))]
    clock.sleep(NIGHT)
    result, _ = promote(run_step, world=world)
    assert holders(world) == [result.outputs["run_id"]]
    assert "and 22 more)." in result.summary
    assert [tags(world, old) for old in olds] == [()] * 25


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(ignore_tag_filter=True),
        Quirks(blind_tag_filter=True),
        Quirks(list_identity="metadata"),
        Quirks(list_identity="neither"),
        Quirks(list_identity="tags", run_identity="tags"),
    ],
    ids=str,
)
def test_old_holder_is_found_whatever_lists_show(quirks: Quirks, run_step: RunStep, clock: VirtualClock) -> None:
    world, _ = world_with(clock, "stable", quirks=quirks)
    result, _ = promote(run_step, world=world)
    assert holders(world) == [result.outputs["run_id"]]


def test_old_holder_is_found_among_many_later_runs(run_step: RunStep, clock: VirtualClock) -> None:
    """The list without a filter for the tag ends before it."""
    world, _ = world_with(clock, "stable")
    for _ in range(150):
        launch(world, "nightly")
    clock.sleep(NIGHT)
    result, _ = promote(run_step, world=world)
    assert holders(world) == [result.outputs["run_id"]]


def test_refused_tag_filter_is_done_without(run_step: RunStep, clock: VirtualClock) -> None:
    world, _ = world_with(clock, "stable")
    result, _ = promote(run_step, "GET /runs #2 -> 400", world=world)
    assert holders(world) == [result.outputs["run_id"]]


@pytest.mark.parametrize("run_identity", ["metadata", "neither"])
def test_run_whose_tags_are_hidden_is_not_promoted(run_identity: Any, run_step: RunStep) -> None:
    """A change would remove the tags that Coval does not show."""
    result, server = promote(run_step, quirks=Quirks(run_identity=run_identity), tags="nightly")
    assert tags(server.world, result.outputs["run_id"]) == ("nightly",)
    (warning,) = result.annotations("warning")
    assert "Coval does not show all of its tags, and the hidden ones would be lost." in warning.data
    assert result.outputs["verdict"] == "passed"


@pytest.mark.parametrize(
    "given",
    [
        {"test_set_id": "failing1", "thresholds": "Latency: p(95) < 1.5"},
        {"test_set_id": "stuck001", "max_wait_time": "90"},
        {"test_set_id": "errors01"},
        {"test_set_id": "someFail"},
        {"thresholds": "Resolved: rate(YES) >= 95%", "confidence": "95%", "on_inconclusive": "pass"},
    ],
    ids=["failed", "timed out", "error", "simulations failed", "inconclusive that lets pass"],
)
def test_only_passed_run_is_promoted(given: dict[str, str], run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable", test_set_id=given.get("test_set_id", "passing1"))
    result, server = promote(run_step, world=world, json_path="reports/coval.json", **given)
    assert result.outputs["verdict"] != "passed"
    assert holders(world) == [old]
    assert not [
        request for request in server.requests_seen if request.method == "PATCH" and "stable" in request.json["tags"]
    ]
    promotion = json.loads(result.json)["legs"][0]["promotion"]
    assert promotion is None or promotion["obstacle"] == "in_doubt"
    assert bool(promotion) is ("Not promoted to `stable`: a threshold" in result.summary)


@pytest.mark.parametrize(
    ("event", "env"),
    [
        (PULL_REQUEST, {"GITHUB_EVENT_NAME": "pull_request"}),
        (PULL_REQUEST, {"GITHUB_EVENT_NAME": "pull_request_target"}),
        ({"issue": {"number": 5, "pull_request": {"url": "…"}}}, {"GITHUB_EVENT_NAME": "issue_comment"}),
        ({"merge_group": {"head_sha": "0" * 40}}, {"GITHUB_EVENT_NAME": "merge_group"}),
        (PUSH, {"GITHUB_EVENT_NAME": "merge_group"}),
        (
            {
                "workflow_run": {
                    "event": "pull_request",
                    "head_sha": "0" * 40,
                    "head_branch": "patch-1",
                    "head_repository": {"owner": {"login": "mallory"}},
                }
            },
            {"GITHUB_EVENT_NAME": "workflow_run"},
        ),
    ],
    ids=["pull_request", "pull_request_target", "comment", "merge_group", "merge_group without event", "workflow_run"],
)
@pytest.mark.parametrize("mode", ["run", "wait"])
def test_pull_request_cannot_promote(event: dict[str, Any], env: dict[str, str], mode: str, run_step: RunStep) -> None:
    run_id = {"run_id": "BGvffsneXVocAfhtfe4adw"} if mode == "wait" else {}
    result, server = promote(run_step, event=event, env=env, mode=mode, **run_id)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    # Schedules, pushes and all other events still promote.
    name = env.get("GITHUB_EVENT_NAME", "pull_request")
    assert f"promote: ${{{{ github.event_name != '{name}' && 'stable' || '' }}}}" in result.log
    assert result.outputs["reason"].startswith("promote must be empty if a pull request or a merge queue started")


def judge(run_step: RunStep, server: Server, run_id: str, **given: Any) -> StepResult:
    """Judge a run in another workflow, which no pull request started."""
    env = {"GITHUB_EVENT_NAME": "repository_dispatch", "GITHUB_RUN_ID": "777"}
    result, _ = promote(run_step, world=server.world, mode="wait", run_id=run_id, env=env, **given)
    return result


@pytest.mark.parametrize("shown", ["both", "tags", "metadata"])
def test_run_of_pull_request_is_not_promoted_elsewhere(shown: Any, run_step: RunStep) -> None:
    """Its metadata or its tags show where a run comes from."""
    launched, server = run_step(mode="launch", quirks=Quirks(run_identity=shown))
    result = judge(run_step, server, launched.outputs["run_id"])
    assert (result.outputs["verdict"], holders(server.world)) == ("passed", [])
    (warning,) = result.annotations("warning")
    assert "it evaluates pull request #42, and pull requests must not move the baseline." in warning.data
    assert "Not promoted to `stable`: it evaluates pull request #42" in result.summary


@pytest.mark.parametrize("number", ["5 | <b>", [5], {"a": 1}, True])
def test_run_with_odd_pull_request_is_not_promoted(number: object, run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    run_id = launch(world, metadata={"customer": {"github_pull_request": number}})
    result, _ = promote(run_step, world=world, mode="wait", run_id=run_id)
    assert holders(world) == []
    assert "it evaluates a pull request, and pull requests" in result.summary


def test_run_of_push_is_promoted_elsewhere(run_step: RunStep) -> None:
    launched, server = promote(run_step, mode="launch")
    judge(run_step, server, run_id := launched.outputs["run_id"])
    assert holders(server.world) == [run_id]


def test_run_without_any_origin_is_not_promoted(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    result, _ = promote(run_step, world=world, mode="wait", run_id=launch(world))
    assert (result.outputs["verdict"], holders(world)) == ("passed", [])
    assert "Coval shows neither its tags nor its metadata, so it may evaluate a pull request." in result.summary


def test_newer_holder_keeps_tag(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    clock.at(clock.now() + 30, lambda: launch(world, "stable"))
    result, server = promote(run_step, world=world)
    newer = world.runs[-1].run_id
    assert (holders(world), requests(server, "PATCH")) == ([old, newer], [])
    assert f"was not promoted to tag stable: the newer run {newer} has the tag." in result.log
    assert f"Not promoted to `stable`: the newer run `{newer}` has the tag." in result.summary
    assert (result.annotations("warning"), result.outputs["verdict"]) == ([], "passed")


class RacingWorld(World):
    """A world in which another step promotes its own, newer run just before the tag of ours is set."""

    def update_run(self, run_id: str, body: object) -> dict[str, Any]:
        if len(self.runs) == 1:
            launch(self, "stable")
        return super().update_run(run_id, body)


def test_newer_run_that_is_promoted_meanwhile_keeps_tag(run_step: RunStep, clock: VirtualClock) -> None:
    world = RacingWorld(clock.time)
    result, _ = promote(run_step, world=world)
    ours, newer = (run.run_id for run in world.runs)
    assert (result.outputs["run_id"], holders(world)) == (ours, [newer])


def test_newer_run_of_pull_request_with_tag_does_not_count(run_step: RunStep) -> None:
    """A pull request may edit its workflow: then its run has the tag from the beginning."""
    _, server = run_step(mode="launch", tags="stable")
    promoted, _ = promote(run_step, world=server.world)
    assert promoted.outputs["run_id"] in holders(server.world)


@pytest.mark.parametrize(
    "faults",
    [
        ("PATCH /runs/* #1 -> 429 retry-after=2",),
        ("PATCH /runs/* #1-3 -> 503",),
        ("PATCH /runs/* #1 -> 500",),
        ("PATCH /runs/* #1 -> reset-before",),
        ("PATCH /runs/* #1 -> reset-after",),
        ("PATCH /runs/* #1 -> cut",),
        ("PATCH /runs/* #1 -> json {}",),
        ('PATCH /runs/* #1 -> json {"run": {"tags": []}}',),
        ("PATCH /runs/* #2 -> reset-after",),
        ("PATCH /runs/* #2 -> 503",),
        ("GET /runs #1-2 -> 503",),
        ("GET /runs #2 -> 500",),
    ],
    ids=" ".join,
)
def test_passing_fault_does_not_hinder_promotion(
    faults: tuple[str, ...], run_step: RunStep, clock: VirtualClock
) -> None:
    world, old = world_with(clock, "nightly", "stable")
    result, _ = promote(run_step, *faults, world=world, tags="mine")
    assert holders(world) == [result.outputs["run_id"]]
    assert (tags(world, old), tags(world, result.outputs["run_id"])) == (("nightly",), ("mine", "stable"))
    assert result.annotations("warning") == []


class ForgetfulWorld(World):
    """A world in which another client overwrites our tags once, with an older copy."""

    forgot = False

    def update_run(self, run_id: str, body: object) -> dict[str, Any]:
        answer = super().update_run(run_id, body)
        if not self.forgot:
            self.forgot = True
            (record,) = [run for run in self.runs if run.run_id == run_id]
            super().update_run(run_id, {"tags": [*(tag for tag in record.tags if tag != "stable"), "theirs"]})
        return answer


def test_lost_update_is_repaired(run_step: RunStep, clock: VirtualClock) -> None:
    world = ForgetfulWorld(clock.time)
    result, _ = promote(run_step, world=world)
    assert tags(world, result.outputs["run_id"]) == ("theirs", "stable")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("PATCH /runs/* -> 403", "Give the API key the permission runs:write"),
        ("PATCH /runs/* -> 503", "PATCH /runs/"),
        ("GET /runs -> 503", "GET /runs returned 503"),
        ("GET /runs -> 403", "Give the API key the permission runs:read"),
    ],
)
def test_failed_promotion_is_warning_and_verdict_stays(
    fault: str, text: str, run_step: RunStep, clock: VirtualClock
) -> None:
    world, old = world_with(clock, "stable")
    result, _ = promote(run_step, fault, world=world)
    assert (result.outputs["verdict"], result.exit_code, holders(world)) == ("passed", 0, [old])
    (warning,) = result.annotations("warning")
    assert warning.data.startswith(f"Run {result.outputs['run_id']} was not promoted to tag stable: ")
    assert text in warning.data
    assert "add the tag to the run in Coval" in warning.data
    assert "Not promoted to `stable`: " in result.summary
    assert clock.now() < NIGHT + 60 + PROMOTING + 10


def test_change_whose_responses_are_lost_counts(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    result, _ = promote(run_step, "PATCH /runs/* -> reset-after", world=world)
    assert holders(world) == [result.outputs["run_id"]]
    assert f"Promoted run {result.outputs['run_id']} to tag stable (previously run {old})." in result.log


def test_old_holder_that_cannot_be_changed_is_warning(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    result, _ = promote(run_step, f"PATCH /runs/{old} -> 403", world=world)
    new = result.outputs["run_id"]
    assert holders(world) == [old, new]
    (warning,) = result.annotations("warning")
    assert warning.data.startswith(f"The older run {old} still has the tag stable, and loses it at the next promotion:")
    assert f"Promoted run {new} to tag stable.\n" in result.log
    clock.sleep(NIGHT)
    result, _ = promote(run_step, world=world, env={"GITHUB_RUN_ID": "2"})
    assert holders(world) == [result.outputs["run_id"]], "the next promotion repairs it"


def test_deleted_holder_is_no_problem(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    result, _ = promote(run_step, f"GET /runs/{old} -> 404", world=world)
    assert result.annotations("warning") == []
    assert "Promoted to `stable`.\n" in result.summary


def test_interrupted_promotion_leaves_newer_holder(run_step: RunStep, clock: VirtualClock) -> None:
    world, old = world_with(clock, "stable")
    clock.at(clock.now() + 75, clock.interrupt)
    result, _ = promote(run_step, f"PATCH /runs/{old} -> 503", world=world)
    assert result.outputs["verdict"] == "passed", "an interrupt takes nothing away from a step that has come this far"
    assert holders(world) == [old, result.outputs["run_id"]]
    clock.rearm()
    clock.sleep(NIGHT)
    result, _ = promote(run_step, world=world, env={"GITHUB_RUN_ID": "2"})
    assert holders(world) == [result.outputs["run_id"]]


def test_signal_while_pages_are_shown_begins_no_promotion(run_step: RunStep, clock: VirtualClock) -> None:
    with FakeGitHub(faults=["* * -> 502"], now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        pages = {"commit_status": "Coval", "github_token": TOKEN}
        world, old = world_with(clock, "stable")
        clock.at(clock.now() + 75, clock.interrupt)
        result, _ = promote(run_step, world=world, env=env, **pages)
    assert result.outputs["verdict"] == "passed", "an interrupt takes nothing away from a step that has come this far"
    assert holders(world) == [old]
    assert any(
        warning.data.endswith(
            "was not promoted to tag stable: the step was interrupted first.\n"
            "To promote it anyway, add the tag to the run in Coval."
        )
        for warning in result.annotations("warning")
    ), result.log


def test_run_that_has_tag_is_not_changed(run_step: RunStep) -> None:
    first, server = promote(run_step)
    again = judge(run_step, server, first.outputs["run_id"])
    assert "Promoted to `stable`.\n" in again.summary
    assert holders(server.world) == [first.outputs["run_id"]]


@pytest.mark.parametrize("through", ["tags", "metadata"])
def test_room_for_tag_is_checked_before_launch(through: str, run_step: RunStep) -> None:
    def with_tags(count: int) -> dict[str, str]:
        own = [f"t{number}" for number in range(count)]
        return {"tags": ",".join(own)} if through == "tags" else {"metadata": json.dumps({"tags": own})}

    most = MOST_RUN_TAGS - OURS - 1
    result, server = promote(run_step, **with_tags(most + 1))
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert result.outputs["reason"] == f"promote adds a tag, so there may be at most {most} other tags; got {most + 1}."
    result, server = promote(run_step, **with_tags(most))
    assert holders(server.world) == [result.outputs["run_id"]]
    assert len(server.world.runs[0].tags) <= MOST_RUN_TAGS


def test_run_without_room_is_not_promoted(run_step: RunStep, clock: VirtualClock) -> None:
    world, run_id = world_with(clock, *(f"t{number}" for number in range(MOST_RUN_TAGS)))
    result, _ = promote(run_step, world=world, mode="wait", run_id=run_id)
    (warning,) = result.annotations("warning")
    assert "it already has as many tags as Coval allows.\nLaunch runs with fewer tags." in warning.data
    assert len(tags(world, run_id)) == MOST_RUN_TAGS


def test_own_tags_of_steps_are_counted(run_step: RunStep) -> None:
    _, server = promote(run_step, mode="launch")
    assert len(server.world.runs[0].tags) <= OURS


def test_run_must_not_have_tag_from_its_launch(run_step: RunStep) -> None:
    result, server = promote(run_step, tags="nightly, Stable")
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert result.outputs["reason"] == (
        "promote must not be one of tags: the run would have the tag stable before its verdict."
    )


def test_promotion_keeps_deadline(run_step: RunStep, clock: VirtualClock) -> None:
    """The run takes a minute; a promotion that Coval does not let succeed ends at the deadline of the step."""
    result, _ = promote(run_step, "PATCH /runs/* -> 503", max_wait_time="70")
    assert result.outputs["verdict"] == "passed"
    assert clock.now() <= 75


BASELINE = {"baseline": "tag:stable", "thresholds": "Latency: avg <= baseline * 5"}


def test_first_run_becomes_the_baseline_that_it_lacks(run_step: RunStep) -> None:
    first, server = promote(run_step, **BASELINE)
    assert (first.outputs["verdict"], first.exit_code) == ("inconclusive", 0)
    assert holders(server.world) == [first.outputs["run_id"]]
    assert f"Promoted run {first.outputs['run_id']} to tag stable.\n" in first.log


def test_first_run_that_fails_the_check_becomes_no_baseline(run_step: RunStep) -> None:
    result, server = promote(run_step, **BASELINE, on_inconclusive="fail")
    assert (result.outputs["verdict"], result.exit_code) == ("inconclusive", 1)
    assert holders(server.world) == []


def test_later_run_is_compared_with_the_promoted_one(run_step: RunStep, clock: VirtualClock) -> None:
    first, server = promote(run_step, **BASELINE)
    clock.sleep(NIGHT)
    second, _ = promote(run_step, world=server.world, env={"GITHUB_RUN_ID": "2"}, **BASELINE)
    assert (second.outputs["verdict"], second.outputs["baseline_run_id"]) == ("passed", first.outputs["run_id"])
    assert holders(server.world) == [second.outputs["run_id"]]


def test_run_that_lacks_more_than_a_baseline_is_not_promoted(run_step: RunStep) -> None:
    thresholds = f"{BASELINE['thresholds']}\nLatency: avg < 0.1"
    result, server = promote(run_step, **BASELINE | {"thresholds": thresholds})
    assert result.outputs["verdict"] == "failed"
    assert holders(server.world) == []


def test_run_that_passed_with_its_repetitions_only_is_not_promoted(run_step: RunStep) -> None:
    result, server = promote(
        run_step, test_set_id="flaky002", thresholds="Resolved: rate(YES) >= 90%", repeat_on_failure="1"
    )
    assert result.outputs["verdict"] == "passed"
    assert holders(server.world) == []
    why = "it failed at first, and passed only together with its repetitions."
    assert f"Run {result.outputs['run_id']} was not promoted to tag stable: {why}" in result.log


def test_run_that_was_not_compared_does_not_take_the_tag_of_a_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    """Coval's list left the baseline out, so the run may be worse."""
    world, old = world_with(clock, "stable")
    world.scenario = BY_NAME["failing"]
    compared = {"baseline": "tag:stable", "thresholds": "Resolved: rate(YES) >= baseline"}
    result, _ = promote(run_step, *['GET /runs #1-12 -> json {"runs": []}'], world=world, **compared)
    assert (result.outputs["verdict"], holders(world)) == ("inconclusive", [old])
    message = f"Not promoted to `stable`: it was not compared with a baseline, and run `{old}` has the tag."
    assert message in result.summary
