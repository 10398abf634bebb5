"""A later attempt ends the runs of legs that it does not have any more, and none that another job may need."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.config.parsing import MOST_RUN_TAGS
from coval_gate.coval.client import MOST_RUNS
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.quirks import Quirks
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_sandbox.server import Server
    from coval_sandbox.world import World
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

SETS = "passing1, flaky001, stuck001"
FEWER = "passing1, flaky001"
OTHERS = "flaky001, failing1"  # of another job that nothing tells apart; one leg is the same
NO_LEGS = {"agent_id": "", "persona_id": "", "test_set_id": ""}
CONTINUES = "of no leg that this step has now, and may be another job's."


def attempt(number: int) -> dict[str, str]:
    """Return the variables of an attempt at the workflow run."""
    return {"GITHUB_RUN_ATTEMPT": str(number)}


def ended(world: World) -> set[str]:
    """Return the test sets of the runs that were cancelled."""
    return {run.body["test_set_id"] for run in world.runs if run.cancel_time is not None}


def tags_of_plan(server: Server) -> list[list[str]]:
    """Return the tags of each run that name its step and its plan."""
    ours = ("coval-gate/step/", "coval-gate/plan/")
    return [[tag for tag in run.body["metadata"].get("tags", []) if tag.startswith(ours)] for run in server.world.runs]


@pytest.mark.parametrize("mode", ["run", "launch"])
def test_leg_that_left_the_plan_is_ended(mode: str, run_step: RunStep) -> None:
    first, server = run_step(mode="launch", test_set_id=SETS)
    again, _ = run_step(world=server.world, env=attempt(2), mode=mode, test_set_id=FEWER)
    kept = json.loads(first.outputs["run_ids"])
    left = kept.pop()
    assert json.loads(again.outputs["run_ids"]) == kept
    assert (again.exit_code, ended(server.world), len(server.world.runs)) == (0, {"stuck001"}, 3)
    assert (
        f'Cancelled run {left}: attempt 1 launched it for leg "stuck001", which this step does not have any more.'
        in again.log
    )


def test_same_plan_ends_nothing(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=SETS)
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=SETS)
    assert (again.exit_code, ended(server.world), len(server.world.runs)) == (0, set(), 3)
    assert CONTINUES not in again.log


def test_larger_plan_ends_nothing(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=FEWER)
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=SETS)
    assert (ended(server.world), len(server.world.runs)) == (set(), 3)


def test_without_resume_nothing_is_ended(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=SETS)
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER, resume="false")
    assert ended(server.world) == set()


def test_later_workflow_run_ends_nothing(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=SETS)
    run_step(world=server.world, env=attempt(2) | {"GITHUB_RUN_ID": "99"}, mode="launch", test_set_id=FEWER)
    assert ended(server.world) == set()


@pytest.mark.parametrize("order", [(SETS, OTHERS), (OTHERS, SETS)])
@pytest.mark.parametrize("fewer", [FEWER, "flaky001, empty001"])
def test_jobs_that_share_the_place_end_nothing_of_each_other(
    order: tuple[str, str], fewer: str, run_step: RunStep
) -> None:
    """Nothing tells whose run a leg is that one of them does not have now."""
    _, server = run_step(mode="launch", test_set_id=order[0])
    run_step(world=server.world, mode="launch", test_set_id=order[1])
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=fewer)
    assert ended(server.world) == set()
    assert CONTINUES in again.log
    assert not [notice for notice in again.annotations("notice") if CONTINUES in notice.data]


def test_job_that_launched_in_this_attempt_shows_that_the_place_is_shared(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=SETS)
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id="failing1, empty001")
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert ended(server.world) == set()


def test_jobs_with_one_plan_end_nothing_of_each_other(run_step: RunStep) -> None:
    """The other one's job is not run again, so a later job may need all of its runs."""
    _, server = run_step(mode="launch", test_set_id=SETS)
    run_step(world=server.world, mode="launch", test_set_id=SETS)
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert ended(server.world) == set()


def test_runs_without_a_leg_of_this_plan_continue_and_are_told(run_step: RunStep) -> None:
    first, server = run_step(mode="launch", test_set_id="flaky001, stuck001")
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id="passing1, failing1")
    assert ended(server.world) == set()
    (notice,) = (notice.data for notice in again.annotations("notice") if CONTINUES in notice.data)
    assert notice.startswith("Runs ")
    assert notice.endswith(f" of earlier attempts continue: they are {CONTINUES}")
    assert all(run_id in notice for run_id in json.loads(first.outputs["run_ids"]))


@pytest.mark.parametrize(
    ("quirks", "is_ended"),
    [
        ({"list_identity": "tags"}, True),
        ({"list_identity": "metadata"}, True),
        ({"list_identity": "neither"}, False),
        ({"run_identity": "neither", "list_identity": "neither"}, False),
        ({"ignore_tag_filter": True}, True),
        ({"blind_tag_filter": True}, False),
        ({"lower_case_tags": True}, True),
    ],
)
def test_only_what_shows_its_tags_is_ended(quirks: dict[str, Any], is_ended: bool, run_step: RunStep) -> None:
    hides = "run_identity" in quirks
    _, server = run_step(mode="launch", test_set_id=SETS, quirks=Quirks(**quirks))
    run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER, bare=hides)
    assert ended(server.world) == ({"stuck001"} if is_ended else set())


def test_run_with_an_unknown_status_continues(run_step: RunStep, clock: VirtualClock) -> None:
    """It may be over, and Coval's call that cancels a run deletes one that is over."""
    quirks = Quirks(unknown_status="COMPLETED_WITH_FAILURES")
    _, server = run_step(mode="launch", test_set_id=SETS, quirks=quirks)
    clock.sleep(10)
    again, second = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert (again.exit_code, ended(server.world)) == (0, set())
    assert not [request for request in second.requests_seen if request.method == "DELETE"]


def test_list_that_does_not_end_proves_nothing(run_step: RunStep, clock: VirtualClock) -> None:
    """Coval ignores the filter, and newer runs hide those that would show that two jobs share the place."""
    _, server = run_step(mode="launch", test_set_id=FEWER, quirks=Quirks(ignore_tag_filter=True))
    for _ in range(MOST_RUNS):
        server.world.launch(IDS | {"metadata": {"tags": ["other"]}})
    run_step(world=server.world, mode="launch", test_set_id="flaky001, stuck001")
    clock.sleep(3600)
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert ended(server.world) == set()
    assert CONTINUES in again.log


@pytest.mark.parametrize(
    "fault", ["GET /runs #3-99 -> 403", "GET /runs #3-99 -> 500", "GET /runs #3-99 -> body nonsense"]
)
def test_list_that_is_refused_changes_no_verdict(fault: str, run_step: RunStep) -> None:
    """The legs have looked for their own runs before."""
    _, server = run_step(mode="launch", test_set_id=SETS)
    again, _ = run_step(fault, world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert (again.exit_code, ended(server.world)) == (0, set())
    (warning,) = again.annotations("warning")
    assert warning.data.startswith("Could not check for runs of legs that earlier attempts had")


def test_run_that_cannot_be_cancelled_changes_no_verdict(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=SETS)
    again, _ = run_step("DELETE * -> 403", world=server.world, env=attempt(2), mode="launch", test_set_id=FEWER)
    assert (again.exit_code, ended(server.world)) == (0, set())
    (warning,) = again.annotations("warning")
    left = next(run.run_id for run in server.world.runs if run.body["test_set_id"] == "stuck001")
    assert warning.data.startswith(f"Could not cancel run {left} (attempt 1 launched it for leg")


def test_base_that_left_the_plan_is_ended(run_step: RunStep) -> None:
    inputs = {"mode": "launch", "agent_id": PREVIEW_ID, "test_set_id": "flaky001, stuck001"}
    _, server = run_step(base_agent_id=AGENT_ID, **inputs)
    run_step(world=server.world, env=attempt(2), **inputs | {"base_agent_id": ""})
    assert [run.body["agent_id"] for run in server.world.runs if run.cancel_time is not None] == [AGENT_ID] * 2
    assert len(server.world.runs) == 4


def test_runs_with_several_legs_name_their_step_and_plan(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=FEWER)
    (step, one), (same_step, other) = tags_of_plan(server)
    assert step == same_step
    assert one.rpartition("/")[0] == other.rpartition("/")[0]
    assert one != other


def test_single_leg_has_no_such_tags(run_step: RunStep) -> None:
    _, server = run_step(mode="launch")
    assert tags_of_plan(server) == [[]]


def test_tags_of_users_are_not_pushed_out(run_step: RunStep) -> None:
    """The tags of the plan are the last ones: they are left out first."""
    own = [f"tag-{number}" for number in range(MOST_RUN_TAGS - 3)]
    _, server = run_step(mode="launch", test_set_id=FEWER, tags=",".join(own))
    for run in server.world.runs:
        tags = run.body["metadata"]["tags"]
        assert tags[: len(own)] == own
        assert tags[-1].startswith("coval-gate/step/")
        assert any(str(value).startswith("coval-gate/plan/") for value in run.body["metadata"]["customer"].values())


@pytest.mark.parametrize("fewer", [{"test_set_id": "passing1"}, {"persona_id": IDS["persona_id"]}])
def test_leg_is_the_same_however_many_are_beside_it(fewer: dict[str, str], run_step: RunStep) -> None:
    """What differs is the name of a leg, so a leg has another name if fewer things do."""
    plan = {"test_set_id": FEWER, "persona_id": f"{IDS['persona_id']}, persona000000000000002"}
    first, server = run_step(mode="launch", **plan)
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", **plan | fewer)
    assert len(server.world.runs) == 4
    kept = set(json.loads(again.outputs["run_ids"]))
    assert len(kept) == 2
    left = {run.run_id for run in server.world.runs if run.cancel_time is not None}
    assert kept | left == set(json.loads(first.outputs["run_ids"]))


def test_single_leg_ends_the_others(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", test_set_id=FEWER)
    again, _ = run_step(world=server.world, env=attempt(2), mode="launch", test_set_id="passing1")
    assert (ended(server.world), len(server.world.runs)) == ({"flaky001"}, 2)
    (kept,) = (run.run_id for run in server.world.runs if run.body["test_set_id"] == "passing1")
    assert again.outputs["run_id"] == kept
