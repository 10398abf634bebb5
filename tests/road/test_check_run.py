"""The check run is in progress from the launch on, and completed once, even if the step or GitHub fails."""

from collections.abc import Callable
from typing import Any

import pytest

from coval_sandbox.server import Server
from fake_github import REPOSITORY, TOKEN, FakeGitHub
from fake_host import Fault
from road.legs import RERUN, run_post_step
from road.test_commit_status import UNFINISHED, done_pages, github_with, known_state
from road.test_reports import EVENTS, HEAD
from road.test_takeover import cancel_first
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


NAME = "Voice gate"
CHECK = {"check_run": NAME, "github_token": TOKEN}
DOWN = f"* /repos/{REPOSITORY}/*check-runs*"
COMPLETING = f"PATCH /repos/{REPOSITORY}/check-runs/*"
CRON: dict[str, Any] = {"schedule": "*/10 * * * *"}


def checks(github: FakeGitHub, sha: str = HEAD) -> list[tuple[str, str, str | None]]:
    """Return name, external id and conclusion of each check run of a commit."""
    return [
        (check_run.name, check_run.external_id, check_run.conclusion)
        for check_run in github.check_runs
        if check_run.head_sha == sha
    ]


def run_post(result: StepResult, server: Server, github: FakeGitHub, **env: str) -> str:
    """Run the post step with the inputs of a step that has a check run, and return its log."""
    inputs = {"INPUT_CHECK_RUN": NAME, "INPUT_GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": github.url}
    return run_post_step(result, server.world, **inputs | env)


def test_check_run_is_in_progress_and_then_has_the_verdict(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        seen = list[tuple[str, str, str]]()
        clock.at(5, lambda: seen.extend((one.status, one.title, one.summary) for one in github.check_runs))
        given = {"test_set_id": "stuck001", "max_wait_time": "60"}
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **CHECK, **given)
        ((status, title, text),) = seen
        assert (status, title) == ("in_progress", "⏳ The evaluation is running.")
        assert result.outputs["run_url"] in text
        assert checks(github) == [(NAME, result.outputs["run_id"], "timed_out")]
        (check,) = github.check_runs
        assert check.status == "completed"
        assert result.outputs["reason"].removesuffix(".") in check.title
        assert check.summary == result.summary
        assert done_pages(result) == ["check_run"]
        before = list(github.requests_seen)
        assert run_post(result, server, github) == ""
        assert github.requests_seen == before, "the post step leaves it alone"


def test_step_without_run_completes_check_run(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, **CHECK | {"agent_id": ""})
        assert result.outputs["verdict"] == "error"
        assert checks(github) == [(NAME, "1234567890.1/evaluate/__acme_coval-gate", "failure")]


def test_skipped_step_has_no_check_run(run_step: RunStep, clock: VirtualClock) -> None:
    """GitHub's conclusion "skipped" would satisfy a branch that requires the check."""
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url, "GITHUB_ACTOR": "dependabot[bot]"}
        inputs = {"api_key": "", "on_missing_api_key": "skip"}
        result, server = run_step(env=env, **CHECK | inputs)
        assert result.outputs["verdict"] == "skipped"
        run_post(result, server, github, INPUT_API_KEY="", INPUT_ON_MISSING_API_KEY="skip")
        assert github.check_runs == []


def test_name_of_the_job_is_refused(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **CHECK | {"check_run": "Evaluate"})
        assert result.outputs["reason"].startswith('check_run must differ from the job\'s id, "evaluate":')
        assert (server.requests_seen, github.check_runs) == ([], [])


def test_unknown_commit_is_told_once(run_step: RunStep, clock: VirtualClock) -> None:
    """A comment's event names no commit, and the pull request cannot be found."""
    with github_with(now=clock.time) as github:
        github.commits.add("f" * 40)
        github.pull_requests.clear()
        inputs = CHECK | {"commit_status": NAME}
        result, server = run_step(event=EVENTS["issue_comment"], env={"GITHUB_API_URL": github.url}, **inputs)
        assert "github_commit" not in server.requests_seen[0].json["metadata"]["customer"]
        run_post(result, server, github, INPUT_COMMIT_STATUS=NAME)
        assert (result.outputs["verdict"], github.check_runs, github.statuses) == ("passed", [], {})
        lines = [notice.data for notice in result.annotations("notice") if notice.data.startswith("Skipping")]
        assert lines == ["Skipping commit status and check run: the tested commit is unknown."]


def test_later_workflow_makes_check_run_of_launch_anew(run_step: RunStep, clock: VirtualClock) -> None:
    """The waiting workflow has neither pull request, commit nor matrix, and the launch's check run is gone."""
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(mode="launch", matrix='{"region": "eu"}', env=env, **CHECK)
        name, run_id = f"{NAME} (eu)", launch.outputs["run_id"]
        assert checks(github) == [(name, run_id, None)]
        assert done_pages(launch) == ["check_run"]
        github.check_runs.clear()
        github.add_check_run(name, HEAD, external_id="another run", status="in_progress")
        run_step(mode="wait", run_id=run_id, world=server.world, event=CRON, env=env, **CHECK)
        assert checks(github) == [(name, "another run", None), (name, run_id, "success")]


@pytest.mark.parametrize("kills", [False, True])
def test_waiting_job_of_another_matrix_completes_check_run_of_launch(
    kills: bool, run_step: RunStep, clock: VirtualClock
) -> None:
    """The waiting job has another matrix: its check run would get another name than the launch's."""
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(mode="launch", matrix='{"region": "eu"}', env=env, **CHECK)
        run_id = launch.outputs["run_id"]
        github.add_check_run(f"{NAME} (us)", HEAD, external_id="another run", status="in_progress")
        github.add_check_run(f"{NAME} strict", HEAD, external_id=run_id, status="in_progress")
        before = [(name, external_id) for name, external_id, _ in checks(github)]
        if kills:
            github.faults.append(Fault(f"{COMPLETING} -> 502"))
        inputs = {"mode": "wait", "run_id": run_id, "matrix": f'{{"run": "{run_id}"}}'}
        result, _ = run_step(world=server.world, event=CRON, env=env, **inputs, **CHECK)
        github.faults.clear()
        if kills:
            run_post(result, server, github, INPUT_MODE="wait", INPUT_RUN_ID=run_id, INPUT_MATRIX=inputs["matrix"])
        assert [(name, external_id) for name, external_id, _ in checks(github)] == before
        assert [conclusion for *_, conclusion in checks(github)] == ["success", None, None]


def test_rerun_gets_check_run_of_its_own(run_step: RunStep, clock: VirtualClock) -> None:
    """GitHub cannot put a completed one back in progress. The second attempt resumes the run of the first."""
    with github_with(now=clock.time) as github:
        inputs = {"test_set_id": "stuck001", "max_wait_time": "60"}
        env = {"GITHUB_API_URL": github.url}
        first, server = run_step(env=env, **CHECK | inputs)
        run_step(world=server.world, env=env | RERUN, **CHECK | inputs)
        assert checks(github) == [(NAME, first.outputs["run_id"], "timed_out")] * 2


def test_rerun_whose_first_leg_comes_late_completes_check_run_of_the_earlier_attempt(
    run_step: RunStep, clock: VirtualClock
) -> None:
    """A check run is found by the first leg's run, which the second attempt takes over after that of another leg."""
    legs = {"test_set_id": "passing1, unknown1"}
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        first, server = run_step(env=env, **CHECK | legs | {"mode": "launch"})
        assert checks(github) == [(NAME, first.outputs["run_id"], None)]
        late = "GET /runs #1 -> 503 retry-after=10"  # the look-up of one of the legs
        again, _ = run_step(late, world=server.world, env=env | RERUN, **CHECK | legs)
        assert again.outputs["run_id"] == first.outputs["run_id"]
        assert {conclusion for *_, conclusion in checks(github)} == {"success"}


def test_check_run_of_replaced_run_is_that_of_the_new_one(run_step: RunStep, clock: VirtualClock) -> None:
    """An earlier attempt was cancelling the run, and GitHub did not say that it had created the check run."""
    _, server = cancel_first(run_step, clock, cancel_lag=20, delete_running="cancelled")
    with github_with(f"POST /repos/{REPOSITORY}/check-runs #1 -> drop-after", now=clock.time) as github:
        inputs = {"test_set_id": "slow0001", "max_wait_time": "9000", "check_interval": "60"}
        second, _ = run_step(world=server.world, env={"GITHUB_API_URL": github.url} | RERUN, **CHECK | inputs)
        old, new = server.world.runs
        assert second.outputs["run_id"] == new.run_id != old.run_id
        assert checks(github) == [(NAME, new.run_id, "success")]


@pytest.mark.parametrize("down", [COMPLETING, DOWN], ids=["completing", "all"])
def test_post_step_completes_what_step_could_not(down: str, run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(f"{down} -> 502", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **CHECK)
        assert [actual for *_, actual in checks(github)] == ([None] if down == COMPLETING else [])
        assert done_pages(result) == []
        github.faults.clear()
        run_post(result, server, github)
        assert checks(github) == [(NAME, result.outputs["run_id"], "success")]
        (check,) = github.check_runs
        assert result.outputs["reason"].removesuffix(".") in check.title
        assert result.outputs["run_url"] in check.summary


@pytest.mark.parametrize(("down", "at", "cancel"), [(DOWN, 10, "true"), ("", 0.5, "true"), (COMPLETING, 59, "false")])
def test_interrupted_step_leaves_no_check_run_in_progress(
    down: str, at: float, cancel: str, run_step: RunStep, clock: VirtualClock
) -> None:
    clock.at(at, clock.interrupt)
    with github_with(*([f"{down} -> 502"] if down else []), now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        result, server = run_step(test_set_id="slow0001", cancel_on_interrupt=cancel, env=env, **CHECK)
        assert clock.now() - at <= 6
        github.faults.clear()
        run_post(result, server, github, INPUT_CANCEL_ON_INTERRUPT=cancel)
        assert [conclusion for *_, conclusion in checks(github)] == ["cancelled"]


@pytest.mark.parametrize("saved", [(), ("owed",), ("owed", "made")])
def test_check_run_of_killed_step_is_completed(saved: tuple[str, ...], run_step: RunStep, clock: VirtualClock) -> None:
    """The post step finds the check run by its external id if the main step was killed before it had its id."""
    faults = [f"{DOWN} -> 502"] if saved == () else []
    with github_with(*faults, now=clock.time) as github:
        result, server = run_step(mode="launch", test_set_id="stuck001", env={"GITHUB_API_URL": github.url}, **CHECK)
        github.faults.clear()
        run_post(known_state(result, *saved), server, github)
        assert [conclusion for *_, conclusion in checks(github)] == ["failure"]
        assert [check_run.title for check_run in github.check_runs] == [UNFINISHED]


@pytest.mark.parametrize("hiccups", [(), ("GET /runs #1 -> 502",)], ids=["", "first-leg-is-found-last"])
def test_check_run_of_a_killed_attempt_is_that_of_the_run_it_took_over(
    hiccups: tuple[str, ...], run_step: RunStep, clock: VirtualClock
) -> None:
    """The second attempt was killed before it could save anything of its pages, but it had saved the run."""
    legs = {"test_set_id": "slow0001, stuck001"}
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        first, server = run_step(env=env, **CHECK | legs | {"mode": "launch"})
        github.faults.append(Fault(f"{DOWN} -> 502"))
        clock.at(clock.now() + 60, clock.interrupt)
        again, _ = run_step("DELETE * -> 503", *hiccups, world=server.world, env=env | RERUN, **CHECK | legs)
        assert again.outputs["run_ids"] == first.outputs["run_ids"]
        github.faults.clear()
        run_post(known_state(again), server, github, **RERUN)
        assert checks(github) == [(NAME, first.outputs["run_id"], "failure")]
        assert [check_run.title for check_run in github.check_runs] == [UNFINISHED]


@pytest.mark.parametrize(("saved", "conclusion"), [((), "failure"), (("owed",), "timed_out")])
def test_killed_mode_wait_completes_check_run_of_launch(
    saved: tuple[str, ...], conclusion: str, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(f"{COMPLETING} -> 502", now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(mode="launch", test_set_id="stuck001", matrix='{"region": "eu"}', env=env, **CHECK)
        run_id = launch.outputs["run_id"]
        inputs = {"mode": "wait", "run_id": run_id, "max_wait_time": "60", "test_set_id": ""}
        result, _ = run_step(world=server.world, event=CRON, env=env, **inputs, **CHECK)
        github.faults.clear()
        of_wait = {"INPUT_MODE": "wait", "INPUT_RUN_ID": run_id, "GITHUB_SHA": "f" * 40}
        run_post(known_state(result, *saved), server, github, **of_wait)
        assert checks(github) == [(f"{NAME} (eu)", run_id, conclusion)]


@pytest.mark.parametrize("end", ["interrupted", "unavailable"])
def test_post_step_completes_what_waits_for_commit(end: str, run_step: RunStep, clock: VirtualClock) -> None:
    """Only the run names the commit, and mode wait ended before it could read the run."""
    pages = CHECK | {"commit_status": NAME}
    with github_with(now=clock.time) as github:
        github.commits.add("f" * 40)
        env = {"GITHUB_API_URL": github.url, "GITHUB_SHA": "f" * 40}
        launch, server = run_step(mode="launch", test_set_id="slow0001", env=env, **pages)
        given = {"mode": "wait", "run_id": launch.outputs["run_id"], "max_wait_time": "60"} | pages
        if end == "interrupted":
            clock.at(clock.now() + 10, clock.interrupt)
        result, _ = run_step("GET /runs/* -> 503", world=server.world, event=CRON, env=env, **given)
        inputs = {f"INPUT_{name.upper()}": value for name, value in given.items()}
        run_post_step(result, server.world, GITHUB_API_URL=github.url, GITHUB_SHA="f" * 40, **inputs)
        ((*_, conclusion),) = checks(github)
        _, status = github.statuses[HEAD]
        assert (conclusion, status["state"]) == ("cancelled" if end == "interrupted" else "failure", "error")
        for text in (github.check_runs[0].title, status["description"]):
            assert result.outputs["reason"].removesuffix(".")[:80] in text


@pytest.mark.parametrize("late", [15, None], ids=["while-waiting", "before-post-step"])
def test_late_effect_of_lost_creation_is_completed_too(
    late: float | None, run_step: RunStep, clock: VirtualClock
) -> None:
    """A request without a response was repeated, and takes effect only then."""
    creating = f"POST /repos/{REPOSITORY}/check-runs #1 -> drop"
    with github_with(creating, now=clock.time) as github:

        def take_effect() -> None:
            (first,) = github.check_runs
            github.add_check_run(NAME, HEAD, external_id=first.external_id, status="in_progress")

        if late:
            clock.at(late, take_effect)
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **CHECK)
        if not late:
            take_effect()
        run_post(result, server, github)
        assert [conclusion for *_, conclusion in checks(github)] == ["success", "success"]


def test_check_run_that_is_not_listed_yet_is_updated_by_its_id(run_step: RunStep, clock: VirtualClock) -> None:
    faults = (f"{COMPLETING} #1 -> 502", f'GET /repos/{REPOSITORY}/*check-runs* -> json {{"check_runs": []}}')
    with github_with(*faults, now=clock.time) as github:
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, **CHECK)
        assert checks(github) == [(NAME, result.outputs["run_id"], "success")]
