"""`only_legs`: a step evaluates only the legs with these names. It leaves the others alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, RUN_TEMPLATES
from coval_sandbox.plan import RunRecord
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import TOKEN
from road.legs import NEWER, PERSONAS, RERUN, THRESHOLDS, file_of_legs, launch_count, legs_of
from road.nights import ON_MAIN, ON_PULL_REQUEST, PUSH, RunStep
from road.test_pages_github import PAGES, github_with
from support import IDS, StepResult, VirtualClock

LEGS: dict[str, dict[str, Any]] = {
    "booking, calm": {"test_set_id": "passing1"},
    "Booking, angry": {"test_set_id": "passing2"},
    "refunds": {"test_set_id": "failing1", "thresholds": THRESHOLDS},
    "all callers": {"test_set_id": "passing1", "persona_id": PERSONAS, "iteration_count": 2},
}
STUCK = {name: {"test_set_id": "stuck001", "iteration_count": number + 1} for number, name in enumerate("abc")}
NONE = ("skipped", "SKIPPED", "No leg was selected.", 0)


@pytest.fixture
def file(tmp_path: Path) -> dict[str, str]:
    """Return the inputs of a step with the legs of a file."""
    return {"config_path": file_of_legs(tmp_path, LEGS), "test_set_id": "", "json_path": "reports/coval.json"}


def ended(world: World) -> list[str]:
    """Return the legs whose runs were cancelled."""
    return sorted(leg_of(record) for record in world.runs if record.cancel_time)


def leg_of(record: RunRecord) -> str:
    return str(record.body["metadata"]["customer"]["coval_gate_leg"])


def end_of(result: StepResult) -> tuple[str, str, str, int]:
    return result.outputs["verdict"], result.outputs["status"], result.outputs["reason"], result.exit_code


def test_names_select_legs_and_the_others_appear_nowhere(run_step: RunStep, file: dict[str, str]) -> None:
    result, server = run_step(only_legs="BOOKING*", junit_path="reports/junit.xml", html_path="page.html", **file)
    assert (list(legs_of(result)), result.outputs["reason"]) == ([*LEGS][:2], "All 2 legs passed.")
    assert len(server.world.runs) == 2
    assert 'Selected 2 of 5 legs: "booking, calm" and "Booking, angry".' in result.log
    assert "\n2 of 5 legs:\n" in result.log
    assert " · only 2 of 5 legs\n" in result.summary
    assert json.loads(result.json)["selected"] == {"legs": 2, "total": 5}
    page = (result.workspace / "page.html").read_text(encoding="utf-8")
    everything = f"{result.log}{result.summary}{result.json}{result.junit}{page}{result.outputs}"
    assert not any(word in everything for word in ("refunds", "all callers"))


@pytest.mark.parametrize(
    ("only_legs", "names"),
    [
        ('["refunds", "booking, calm"]', ["booking, calm", "refunds"]),  # in the order of the file
        ("all callers", [f"all callers · {persona}" for persona in PERSONAS.split(", ")]),
        ("*000002", ["all callers · persona000000000000002"]),
        ("refund?", ["refunds"]),
    ],
)
def test_name_is_a_legs_own_or_that_in_the_file(
    only_legs: str, names: list[str], run_step: RunStep, file: dict[str, str]
) -> None:
    result, _ = run_step(only_legs=only_legs, **file)
    assert [*legs_of(result)] == names
    assert f" only {len(names)} of 5 legs\n" in result.summary


def test_combinations_without_a_file_have_their_ids_as_names(run_step: RunStep) -> None:
    """A leg that is selected alone keeps its name."""
    given = {"persona_id": PERSONAS, "test_set_id": "passing1, failing1", "thresholds": THRESHOLDS}
    result, _ = run_step(only_legs="*· Passing1", max_parallel_runs="1", **given)
    assert [*legs_of(result)] == [f"{persona} · passing1" for persona in PERSONAS.split(", ")]
    alone, server = run_step(only_legs=f"{IDS['persona_id']} · passing1", max_parallel_runs="1", **given)
    assert (len(server.world.runs), alone.annotations("warning")) == (1, [])
    assert ([*legs_of(alone)], alone.outputs["verdict"]) == ([f"{IDS['persona_id']} · passing1"], "passed")
    for only_legs in (IDS["agent_id"], f"{IDS['agent_id']}*"):  # all ids are the name of a leg that is alone
        single, _ = run_step(only_legs=only_legs)
        assert ("1 of 1 leg" in single.log) is only_legs.endswith("*")


def test_legs_of_a_run_template_have_names_too(run_step: RunStep) -> None:
    template = {"run_template_id": RUN_TEMPLATES[1]["id"], "agent_id": "", "persona_id": "", "test_set_id": ""}
    every, _ = run_step(**template)
    first, *others = legs_of(every)
    assert others
    result, server = run_step(**template, only_legs=first)
    assert ([*legs_of(result)], len(server.world.runs)) == ([first], 1)
    wrong, server = run_step(**template, only_legs=f"{first}, nothing*")
    assert wrong.outputs["reason"].startswith(
        f'only_legs names "nothing*", but this step has no such leg. Its legs are "{first}"'
    )
    assert launch_count(server) == 0


def test_pattern_that_fits_no_leg_is_an_error_before_anything_is_sent(run_step: RunStep, file: dict[str, str]) -> None:
    for mode in ("run", "launch", "plan", "wait"):
        run_id = "run0000000000000000001" if mode == "wait" else ""
        result, server = run_step(mode=mode, run_id=run_id, only_legs="booking*, refund, x?", **file)
        assert result.outputs["reason"] == (
            'only_legs names "refund" and "x?", but this step has no such leg. Its legs are "booking, calm", "Booking, '
            'angry", "refunds", "all callers · persona000000000000001" and "all callers · persona000000000000002".'
        )
        assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    bare = {"mode": "wait", "run_id": "run0000000000000000001", "agent_id": "", "persona_id": "", "test_set_id": ""}
    result, server = run_step(only_legs="booking", **bare)
    assert result.outputs["reason"] == 'only_legs names "booking", but this step has no such leg.'
    assert server.requests_seen == []


@pytest.mark.parametrize("mode", ["run", "launch", "wait", "plan"])
def test_none_is_skipped_without_a_request(mode: str, run_step: RunStep, file: dict[str, str]) -> None:
    """A launch gives no ids to the step that waits."""
    result, server = run_step(mode=mode, only_legs="[]", **file)
    assert end_of(result) == NONE
    assert (server.requests_seen, result.outputs["legs"]) == ([], "[]")
    (notice,) = result.annotations("notice")
    assert (notice.properties["title"], notice.data) == ("Coval Gate: Skipped", "No leg was selected.")
    if mode != "plan":
        assert json.loads(result.json)["selected"] == {"legs": 0, "total": 5}


@pytest.mark.parametrize("event", ["pull request", "push"])
@pytest.mark.parametrize("mode", ["run", "launch", "wait"])
def test_pages_that_a_branch_may_require_succeed_where_none_is_selected(
    mode: str, event: str, run_step: RunStep, clock: VirtualClock
) -> None:
    given, variables = (PUSH, ON_MAIN) if event == "push" else (PULL_REQUEST, ON_PULL_REQUEST)
    with github_with(now=clock.time) as github:
        github.commits.add("f" * 40)
        env = variables | {"GITHUB_API_URL": github.url}
        result, _ = run_step(mode=mode, only_legs="[]", env=env, event=given, comment="always", **PAGES)
        assert end_of(result) == NONE
        (sha,) = github.statuses
        (status,) = github.statuses[sha]
        assert (status["state"], status["description"]) == ("success", "⏭️ Skipped: No leg was selected.")
        (check,) = github.check_runs
        assert (check.conclusion, check.title) == ("success", "⏭️ Skipped: No leg was selected.")
        comments = [comment.body for comment in github.comments.get(42, [])] if event == "pull request" else []
        assert ["No leg was selected." in body for body in comments] == [True] * (event == "pull request")


def test_comment_stays_the_same_whichever_legs_are_selected(
    run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    legs = {name: leg | {"agent_id": AGENT_ID, "persona_id": PERSONAS[:22]} for name, leg in list(LEGS.items())[:3]}
    given = {"config_path": file_of_legs(tmp_path, legs), "agent_id": "", "persona_id": "", "test_set_id": ""}
    with github_with(now=clock.time) as github:
        for only_legs in ("", "refunds", "booking*", "[]"):
            env = {"GITHUB_API_URL": github.url}
            run_step(only_legs=only_legs, env=env, comment="always", github_token=TOKEN, **given)
            assert len(github.comments[42]) == 1


def test_plan_shows_only_the_selected_legs(run_step: RunStep, file: dict[str, str]) -> None:
    result, server = run_step(mode="plan", only_legs="booking*", max_simulations="20", **file)
    assert "\nRuns of 2 of 5 legs:\n" in result.log
    assert result.outputs["reason"] == "2 runs with 20 simulations would be launched, for 2 of 5 legs. Nothing was."
    assert "refunds" not in f"{result.log}{result.summary}"
    assert launch_count(server) == 0


def test_mistake_in_the_file_is_an_error_also_about_another_leg(run_step: RunStep, tmp_path: Path) -> None:
    legs = LEGS | {"wrong": {"test_set_id": "passing1", "iteration_count": 0}}
    for only_legs in ("refunds", "[]"):
        result, server = run_step(config_path=file_of_legs(tmp_path, legs), test_set_id="", only_legs=only_legs)
        assert "legs.wrong.iteration_count must be" in result.outputs["reason"]
        assert server.requests_seen == []
    odd = LEGS | {"odd": {"test_set_id": "passing1", "agent_id": "short"}}
    result, _ = run_step(config_path=file_of_legs(tmp_path, odd), test_set_id="", only_legs="booking*", mode="plan")
    assert "short" not in result.log  # a warning is about what runs
    (tmp_path / "workspace" / "legs.json").write_text('{"only_legs": "booking"}', encoding="utf-8")
    result, _ = run_step(config_path="legs.json")
    assert "only_legs cannot be set in a file: each step or command sets it itself." in result.outputs["reason"]


def test_wait_leaves_runs_of_other_legs_alone(run_step: RunStep, file: dict[str, str]) -> None:
    """They are not judged, not cancelled, and no output has them."""
    launched, server = run_step(mode="launch", base_agent_id=PREVIEW_ID, **file)
    ids, legs = json.loads(launched.outputs["run_ids"]), legs_of(launched)
    gate = file | {"base_agent_id": PREVIEW_ID, "thresholds": "Latency: avg <= base * 2"}
    result, _ = run_step(
        world=server.world, mode="wait", run_id=launched.outputs["run_ids"], only_legs="refunds", **gate
    )
    own = legs_of(result)["refunds"]
    assert (own["run_id"], own["verdict"]) == (legs["refunds"]["run_id"], "failed")
    assert json.loads(result.outputs["run_ids"]) == [own["run_id"], own["base_run_id"]]
    left = [run_id for run_id in ids if run_id not in json.loads(result.outputs["run_ids"])]
    assert [f"Leaving run {run_id} alone: its leg is not selected." in result.log for run_id in left] == [True] * 8
    assert not any(record.cancel_time for record in server.world.runs)
    lacking, _ = run_step(world=server.world, mode="wait", run_id=left[0], only_legs="refunds", **gate)
    assert 'names no run of "refunds"' in lacking.outputs["reason"]
    other, _ = run_step(world=server.world, mode="wait", run_id=", ".join(ids), **gate | {"test_set_id": "x"} | LONE)
    assert "the legs of this step are" in other.outputs["reason"]


ALIKE = (("a", 1), ("b", 2))
LONE = {"config_path": "", "persona_id": PERSONAS, "test_set_id": "passing1, passing2", "only_legs": "*passing1"}


@pytest.mark.parametrize(("at", "cancelled"), [(0.01, 0), (30, 1)])
def test_signal_cancels_no_run_that_may_be_of_another_leg(
    at: float, cancelled: int, run_step: RunStep, tmp_path: Path, clock: VirtualClock
) -> None:
    """Before Coval has shown whose they are, all are left."""
    file = {"config_path": file_of_legs(tmp_path, STUCK), "test_set_id": ""}
    launched, server = run_step(mode="launch", **file)
    faults = ("GET /runs/* #1-99 -> 503",) if at < 1 else ()
    clock.at(clock.now() + max(at, 5), clock.interrupt)
    result, _ = run_step(
        *faults, world=server.world, mode="wait", run_id=launched.outputs["run_ids"], only_legs="b", **file
    )
    assert result.outputs["verdict"] == "cancelled"
    assert sum(bool(record.cancel_time) for record in server.world.runs) == cancelled
    assert not result.post_step_cancels


def test_supersede_ends_runs_of_selected_legs_only(run_step: RunStep, tmp_path: Path) -> None:
    file = {"config_path": file_of_legs(tmp_path, STUCK), "test_set_id": "", "mode": "launch", "supersede": "true"}
    _, server = run_step(**file)
    run_step(world=server.world, env=NEWER, only_legs="a, c", **file)
    assert ended(server.world) == ["a", "c"]


def test_supersede_leaves_runs_alone_that_may_be_of_another_leg(run_step: RunStep, tmp_path: Path) -> None:
    """Lists show tags and no metadata, and the legs differ in their thresholds alone."""
    legs = {name: {"test_set_id": "stuck001", "thresholds": f"Latency: avg < {bound}"} for name, bound in ALIKE}
    file = {"config_path": file_of_legs(tmp_path, legs), "test_set_id": "", "mode": "launch", "supersede": "true"}
    _, server = run_step(quirks=Quirks(list_identity="tags", run_identity="neither"), **file)
    newer, _ = run_step(world=server.world, env=NEWER, only_legs="a", **file)
    assert ended(server.world) == []
    (warning,) = (annotation.data for annotation in newer.annotations("warning"))
    assert warning.startswith("Coval shows no metadata, so the step does not know whether this run supersedes run ")


def test_later_attempt_leaves_unfinished_runs_of_other_legs_alone(run_step: RunStep, tmp_path: Path) -> None:
    """It takes those of its own legs over, and ends one whose request has changed."""
    file = {"test_set_id": "", "mode": "launch"}
    first, server = run_step(config_path=file_of_legs(tmp_path, STUCK), **file)
    changed = STUCK | {"c": STUCK["c"] | {"iteration_count": 9}}
    legs = {"config_path": file_of_legs(tmp_path, changed)} | file
    again, _ = run_step(world=server.world, env=RERUN, only_legs="b, c", **legs)
    assert ended(server.world) == ["c"]
    assert legs_of(again)["b"]["run_id"] == legs_of(first)["b"]["run_id"]
    assert len(server.world.runs) == 4


def test_max_simulations_counts_what_is_selected(run_step: RunStep, file: dict[str, str]) -> None:
    result, _ = run_step(only_legs="booking*", max_simulations="20", **file)
    assert result.outputs["verdict"] == "passed"
    result, _ = run_step(max_simulations="20", **file)
    assert "but this step would launch 70 in 5 runs" in result.outputs["reason"]


def test_accepted_leg_leaves_the_baselines_of_others(run_step: RunStep, tmp_path: Path) -> None:
    """Unless they have the same agent, persona and test set."""
    legs = {"a": {"test_set_id": "passing1"}, "b": {"test_set_id": "passing2"}}
    given: dict[str, str] = {"config_path": file_of_legs(tmp_path, legs), "test_set_id": "", "baseline": "tag:stable"}
    given |= {"thresholds": "Latency: avg <= baseline * 1.1"}
    env = ON_MAIN | {"GITHUB_EVENT_NAME": "workflow_dispatch"}
    world: World | None = None
    server: Server | None = None
    for number, only_legs in enumerate(("", "a")):
        night = env | {"GITHUB_RUN_ID": str(number + 1)}
        result, server = run_step(world=world, env=night, event=PUSH, accept="true", only_legs=only_legs, **given)
        assert result.outputs["verdict"] == "passed", result.log
        world = server.world
    assert world
    assert [leg_of(record) for record in world.runs if "stable" not in record.tags] == ["a"]
    assert [leg_of(record) for record in world.runs[2:]] == ["a"]
