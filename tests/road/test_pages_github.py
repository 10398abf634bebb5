"""Commit status and check run on GitHub: open from the launch on, and closed by the verdict or by the post step.

What a page shows, and how a request to GitHub is repeated, tests/unit has; the campaign draws kills and outages.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox.server import Server
from fake_github import REPOSITORY, TOKEN, FakeGitHub
from fake_host import Fault
from road.legs import run_post_step
from road.nights import RunStep
from road.test_files import EVENTS, HEAD
from support import StepResult, VirtualClock

ROOT = Path(__file__).resolve().parents[2]
NAME = "Voice gate"
CHECK = {"check_run": NAME, "github_token": TOKEN}
STATUS = {"commit_status": NAME, "github_token": TOKEN}
PAGES = CHECK | STATUS
UNFINISHED = "⚠️ Error: The step ended before it could reach a verdict."
SETTING = f"POST /repos/{REPOSITORY}/statuses/*"
FINAL = f"{SETTING} #2-"  # all after the pending one
COMPLETING = f"PATCH /repos/{REPOSITORY}/check-runs/*"
DOWN = f"* /repos/{REPOSITORY}/*"
CRON: dict[str, Any] = {"schedule": "*/10 * * * *"}
EU = '{"region": "eu"}'


@contextmanager
def github_with(*faults: str, now: Callable[[], float] = time.time) -> Iterator[FakeGitHub]:
    """Serve a fake GitHub that has the commit of the event."""
    with FakeGitHub(faults=faults, now=now) as github:
        github.add_pull_request(42, HEAD)
        yield github


def states(github: FakeGitHub, sha: str = HEAD) -> list[str]:
    """Return the state of each status of the commit."""
    return [status["state"] for status in github.statuses.get(sha, [])]


def checks(github: FakeGitHub) -> list[tuple[str, str, str | None]]:
    """Return name, external id and conclusion of each check run of the commit."""
    return [(one.name, one.external_id, one.conclusion) for one in github.check_runs if one.head_sha == HEAD]


def ends(github: FakeGitHub) -> tuple[str, str | None]:
    """Return the last state of the commit's status, and the conclusion of its only check run."""
    ((*_, conclusion),) = checks(github)
    return states(github)[-1], conclusion


def run_post(result: StepResult, server: Server, github: FakeGitHub, **env: str) -> str:
    """Run the post step with the inputs of a step that has both pages, and return its log."""
    inputs = {f"INPUT_{name.upper()}": value for name, value in PAGES.items()}
    return run_post_step(result, server.world, **inputs | {"GITHUB_API_URL": github.url} | env)


def known_state(result: StepResult, *names: str) -> StepResult:
    """Return the result as if the step had been killed when it had saved its legs, and only these values of pages."""
    pages = [{name: page[name] for name in ("input", *names)} for page in json.loads(result.state["pages"])]
    state = {"legs": result.state["legs"]} | ({"pages": json.dumps(pages)} if names else {})
    return replace(result, state=state)


def done_pages(result: StepResult) -> list[str]:
    """Return the inputs of the pages that the step leaves nothing to do for."""
    return [page["input"] for page in json.loads(result.state["pages"]) if page["is_done"]]


def test_pages_are_open_and_then_have_the_verdict(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        seen = list[tuple[str, str, str]]()
        clock.at(5, lambda: seen.extend((one.status, one.title, one.summary) for one in github.check_runs))
        given = {"test_set_id": "stuck001", "max_wait_time": "60"}
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES, **given)
        ((status, title, text),) = seen
        assert (status, title) == ("in_progress", "⏳ The evaluation is running.")
        assert result.outputs["run_url"] in text
        assert checks(github) == [(NAME, result.outputs["run_id"], "timed_out")]
        assert states(github) == ["pending", "error"]
        (check,) = github.check_runs
        assert check.status == "completed"
        assert result.outputs["reason"].removesuffix(".") in check.title
        assert check.summary == result.summary
        assert done_pages(result) == ["commit_status", "check_run"]
        before = list(github.requests_seen)
        assert run_post(result, server, github) == ""
        assert github.requests_seen == before, "the post step leaves them alone"


def test_verdict_is_the_last_line_after_the_pages(run_step: RunStep, clock: VirtualClock) -> None:
    """A log ends with what a reader looks for, whatever the pages report."""
    with github_with(now=clock.time) as github:
        inputs = {"comment": "always", "github_token": TOKEN, "test_set_id": "allFail1"}
        for annotations, begin in (("true", "::error title=Coval Gate%3A Gate failed::"), ("false", "❌ Failed: ")):
            result, _ = run_step(env={"GITHUB_API_URL": github.url}, bare=True, **inputs, annotations=annotations)
            before, last = result.log.splitlines()[-2:]
            assert last.startswith(begin)
            assert "omment" in before, result.log


def test_step_without_run_concludes_its_pages(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES | {"agent_id": ""})
        assert checks(github) == [(NAME, "1234567890.1/evaluate/__acme_coval-gate", "failure")]
        assert (result.outputs["verdict"], states(github)) == ("error", ["error"])
        before = list(github.requests_seen)
        assert run_post(result, server, github) == ""
        assert github.requests_seen == before


def test_skipped_step_has_no_check_run(run_step: RunStep, clock: VirtualClock) -> None:
    """GitHub's conclusion "skipped" would satisfy a branch that requires the check."""
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url, "GITHUB_ACTOR": "dependabot[bot]"}
        inputs = {"api_key": "", "on_missing_api_key": "skip"}
        result, server = run_step(env=env, **CHECK | inputs)
        assert result.outputs["verdict"] == "skipped"
        run_post_step(result, server.world, INPUT_API_KEY="", INPUT_CHECK_RUN=NAME, INPUT_ON_MISSING_API_KEY="skip")
        assert github.check_runs == []


def test_name_of_the_job_is_refused(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **CHECK | {"check_run": "Evaluate"})
        assert result.outputs["reason"].startswith('check_run must differ from the job\'s id, "evaluate":')
        assert (server.requests_seen, github.check_runs) == ([], [])


@pytest.mark.parametrize(
    ("faults", "given", "expected"),
    [
        ((FINAL, COMPLETING), {}, ("success", "success")),
        ((DOWN,), {"test_set_id": "someFail"}, ("failure", "failure")),
        ((FINAL, COMPLETING), {"test_set_id": "errors01"}, ("error", "failure")),
    ],
    ids=["passed", "failed-and-all-down", "error"],
)
def test_post_step_concludes_what_the_step_could_not(
    faults: tuple[str, ...], given: dict[str, str], expected: object, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(*(f"{fault} -> 502" for fault in faults), now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES, **given)
        was_down = DOWN in faults
        assert (states(github), len(github.check_runs)) == (([], 0) if was_down else (["pending"], 1))
        assert done_pages(result) == []
        github.faults.clear()
        run_post(result, server, github)
        assert ends(github) == expected
        (check,), status = github.check_runs, github.statuses[HEAD][-1]
        assert result.outputs["reason"].removesuffix(".") in check.title
        assert result.outputs["reason"].rstrip(".")[:80] in status["description"]
        assert status["target_url"] == result.outputs["run_url"] in check.summary


@pytest.mark.parametrize(
    ("event", "saved"),
    [
        ("workflow_run-of-fork", ()),
        ("issue_comment", ("owed",)),
        ("push", ("owed", "made")),
    ],
)
def test_post_step_closes_pages_of_a_killed_step(
    event: str, saved: tuple[str, ...], run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    """It needs no API key, finds the commit under test, and finds the check run by its external id, if there is one."""
    with github_with(*([] if saved else [f"POST {DOWN[2:]}check-runs -> 502"]), now=clock.time) as github:
        github.commits.add("f" * 40)
        payload: dict[str, Any] = EVENTS.get(event, {"ref": "refs/heads/main"})
        inputs = {"mode": "launch", "test_set_id": "stuck001"} | PAGES
        result, server = run_step(event=payload, env={"GITHUB_API_URL": github.url}, **inputs)
        github.faults.clear()
        sha = HEAD if event in EVENTS else "f" * 40
        env = {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_SHA": "f" * 40, "INPUT_API_KEY": ""}
        run_post(known_state(result, *saved), server, github, **env)
        assert (states(github, sha), len(github.statuses)) == (["pending", "error"], 1)
        assert github.statuses[sha][1]["description"] == UNFINISHED
        (check,) = github.check_runs
        assert (check.head_sha, check.conclusion, check.title) == (sha, "failure", UNFINISHED)


def test_waiting_job_of_another_matrix_completes_check_run_of_launch(run_step: RunStep, clock: VirtualClock) -> None:
    """The waiting job has another matrix: its check run would get another name than the launch's."""
    with github_with(now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(mode="launch", matrix=EU, env=env, **CHECK)
        run_id = launch.outputs["run_id"]
        github.add_check_run(f"{NAME} (us)", HEAD, external_id="another run", status="in_progress")
        github.add_check_run(f"{NAME} strict", HEAD, external_id=run_id, status="in_progress")
        before = [(name, external_id) for name, external_id, _ in checks(github)]
        inputs = {"mode": "wait", "run_id": run_id, "matrix": f'{{"run": "{run_id}"}}'}
        run_step(world=server.world, event=CRON, env=env, **inputs, **CHECK)
        assert [(name, external_id) for name, external_id, _ in checks(github)] == before
        assert [conclusion for *_, conclusion in checks(github)] == ["success", None, None]


def test_hiccups_about_pages_that_the_step_made_are_retried_while_there_is_patience(
    run_step: RunStep, clock: VirtualClock
) -> None:
    """A 404 about a page that the step made is no missing permission."""
    updating = f"PATCH /repos/{REPOSITORY}/issues/comments/* #1 -> 404"
    faults = (f"{SETTING} #2-7 -> 502", f"{COMPLETING} #1-3 -> 404", updating)
    with github_with(*faults, now=clock.time) as github:
        given = {"env": {"GITHUB_API_URL": github.url}, "comment": "always", **PAGES}
        result, server = run_step(**given)
        assert ends(github) == ("success", "success")
        assert "permission" not in result.log
        # `act` hands no state to post steps, so the post step cannot see whether the main step concluded.
        for ended in (result, replace(result, state={})):
            run_post(ended, server, github)
            assert states(github) == ["pending", "success"]
        again, _ = run_step(**given)
        (comment,) = github.comments[42]
        assert again.outputs["comment_url"] == comment.html_url
        assert again.outputs["run_id"] in comment.body


def test_hiccup_that_lasts_is_left_to_the_post_step(run_step: RunStep, clock: VirtualClock) -> None:
    """There it comes once more: a pause of a minute fits, too."""
    fault = "secondary 60"
    with github_with(f"{FINAL} -> {fault}", f"{COMPLETING} -> {fault}", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        assert ends(github) == ("pending", None)
        github.faults[:] = [Fault(f"{SETTING} #1 -> {fault}"), Fault(f"{COMPLETING} #1 -> 404")]
        run_post(result, server, github)
        assert ends(github) == ("success", "success")
