"""The commit status ends with the verdict, even if the step or GitHub fails: the post step completes it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import TOKEN, FakeGitHub
from road.legs import run_post_step
from road.test_reports import EVENTS, HEAD
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


ROOT = Path(__file__).resolve().parents[2]
UNFINISHED = "⚠️ Error: The step ended before it could reach a verdict."
FINAL = "POST /repos/*/statuses/* #2-"  # all after the pending one
STATUS = {"commit_status": "Coval", "github_token": TOKEN}


@contextmanager
def github_with(*faults: str, now: Callable[[], float] = time.time) -> Iterator[FakeGitHub]:
    """Serve a fake GitHub that has the commit of the event."""
    with FakeGitHub(faults=faults, now=now) as github:
        github.add_pull_request(42, HEAD)
        yield github


def states(github: FakeGitHub, sha: str = HEAD) -> list[tuple[str, str]]:
    """Return each status of the commit with its description."""
    return [(status["state"], status.get("description", "")) for status in github.statuses.get(sha, [])]


def run_post(result: StepResult, server: Server, github: FakeGitHub, **env: str) -> str:
    """Run the post step with the inputs of a step that sets a status, and return its log."""
    inputs = {"INPUT_COMMIT_STATUS": "Coval", "INPUT_GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": github.url}
    return run_post_step(result, server.world, **inputs | env)


def known_state(result: StepResult, *names: str) -> StepResult:
    """Return the result as if the step had been killed when it had saved its legs, and only these values of pages."""
    pages = [{name: page[name] for name in ("input", *names)} for page in json.loads(result.state["pages"])]
    state = {"legs": result.state["legs"]} | ({"pages": json.dumps(pages)} if names else {})
    return replace(result, state=state)


def done_pages(result: StepResult) -> list[str]:
    """Return the inputs of the pages that the step leaves nothing to do for."""
    return [page["input"] for page in json.loads(result.state["pages"]) if page["is_done"]]


def test_final_status_is_retried_for_as_long_as_there_is_patience(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with("POST /repos/*/statuses/* #2-7 -> 502", now=clock.time) as github:
        result, server = run_step(
            env={"GITHUB_API_URL": github.url}, comment="always", test_set_id="someFail", **STATUS
        )
        assert [state for state, _ in states(github)] == ["pending", "failure"]
        assert done_pages(result) == ["commit_status"]
        assert result.outputs["comment_url"], "the comment has time of its own"
        # `act` hands no state to post steps, so the post step cannot see whether the main step concluded.
        run_post(replace(result, state={}), server, github)
        assert [state for state, _ in states(github)] == ["pending", "failure"]


@pytest.mark.parametrize(
    ("given", "state"),
    [({}, "success"), ({"test_set_id": "someFail"}, "failure"), ({"test_set_id": "errors01"}, "error")],
    ids=str,
)
def test_post_step_sets_status_that_step_could_not(
    given: dict[str, str], state: str, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(f"{FINAL} -> 502", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **STATUS, **given)
        assert [actual for actual, _ in states(github)] == ["pending"]
        assert done_pages(result) == []
        github.faults.clear()
        run_post(result, server, github)
        ((_, _), (final, description)) = states(github)
        assert (final, result.outputs["reason"].rstrip(".")[:80] in description) == (state, True)
        assert github.statuses[HEAD][-1]["target_url"] == result.outputs["run_url"]


def test_post_step_adds_no_status_after_the_final_one(run_step: RunStep, clock: VirtualClock) -> None:
    for inputs in ({}, {"mode": "launch"}, {"agent_id": ""}):
        with github_with(now=clock.time) as github:
            result, server = run_step(env={"GITHUB_API_URL": github.url}, **STATUS, **inputs)
            before = list(github.requests_seen)
            assert run_post(result, server, github, INPUT_MODE=inputs.get("mode", "run")) == ""
            assert github.requests_seen == before


def test_post_step_of_launch_leaves_status_of_the_step_that_judged_its_run(
    run_step: RunStep, clock: VirtualClock
) -> None:
    """The launch was interrupted while GitHub was down, and a later step of the job judged the run nevertheless."""
    launch = {"mode": "launch", "cancel_on_interrupt": "false", **STATUS}
    for judges in (True, False):
        with github_with("* /repos/*/statuses* -> 502", now=clock.time) as github:
            env = {"GITHUB_API_URL": github.url}
            clock.rearm()
            clock.at(clock.now() + 0.5, clock.interrupt)
            launched, server = run_step(env=env, **launch)
            assert launched.outputs["verdict"] == "cancelled"
            github.faults.clear()
            if judges:
                run_step(mode="wait", run_id=launched.outputs["run_id"], world=server.world, env=env, **STATUS)
            before = states(github)
            run_post(launched, server, github, INPUT_MODE="launch", INPUT_CANCEL_ON_INTERRUPT="false")
            assert [state for state, _ in states(github)] == ["success" if judges else "error"]
            assert states(github) == before or not judges


def test_status_of_mode_launch_stays_pending(run_step: RunStep, clock: VirtualClock) -> None:
    """A later step may have concluded it before the post step runs."""
    with github_with("POST /repos/*/statuses/* -> 502", now=clock.time) as github:
        result, server = run_step(mode="launch", env={"GITHUB_API_URL": github.url}, **STATUS)
        github.faults.clear()
        run_post(result, server, github, INPUT_MODE="launch")
        assert states(github) == []


@pytest.mark.parametrize(
    ("at", "cancel", "down"), [(0.5, "true", FINAL), (10, "false", FINAL), (59, "true", FINAL), (1, "true", "* *")]
)
def test_interrupted_step_leaves_no_pending_status(
    at: float, cancel: str, down: str, run_step: RunStep, clock: VirtualClock
) -> None:
    """GitHub fails for longer than the runner leaves the step alone: from the interrupt on, or from the start."""
    clock.at(at, clock.interrupt)
    with github_with(f"{down} -> 502", now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        result, server = run_step(test_set_id="slow0001", cancel_on_interrupt=cancel, env=env, **STATUS)
        assert clock.now() - at <= 6
        github.faults.clear()
        run_post(result, server, github, INPUT_CANCEL_ON_INTERRUPT=cancel)
        outcome = "the run was cancelled" if cancel == "true" else "the run continues in Coval"
        assert states(github)[-1] == ("error", f"🚫 Cancelled: The step was interrupted; {outcome}.")


@pytest.mark.parametrize(
    ("event", "saved"),
    [("workflow_run-of-fork", ()), ("issue_comment", ()), ("issue_comment", ("owed",)), ("push", ())],
)
def test_status_of_killed_step_is_on_commit_under_test(
    event: str, saved: tuple[str, ...], run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    """The post step needs no API key, and finds the commit even if the step was killed before it could save it."""
    with github_with(now=clock.time) as github:
        github.commits.add("f" * 40)
        payload: dict[str, Any] = EVENTS.get(event, {"ref": "refs/heads/main"})
        result, server = run_step(
            mode="launch", test_set_id="stuck001", event=payload, env={"GITHUB_API_URL": github.url}, **STATUS
        )
        sha = HEAD if event in EVENTS else "f" * 40
        env = {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_SHA": "f" * 40, "INPUT_API_KEY": ""}
        run_post(known_state(result, *saved), server, github, **env)
        assert [state for state, _ in states(github, sha)] == ["pending", "error"]
        assert states(github, sha)[1] == ("error", UNFINISHED)
        assert len(github.statuses) == 1


@pytest.mark.parametrize(("saved", "matrix"), [((), '{"region": "eu"}'), (("owed",), "")])
def test_killed_mode_wait_reports_on_launched_commit_and_job(
    saved: tuple[str, ...], matrix: str, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(f"{FINAL} -> 502", now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(mode="launch", test_set_id="stuck001", matrix=matrix, env=env, **STATUS)
        cron: dict[str, Any] = {"schedule": "*/10 * * * *"}
        inputs = {"mode": "wait", "run_id": launch.outputs["run_id"], "max_wait_time": "60"}
        result, _ = run_step(world=server.world, event=cron, env=env, **inputs, **STATUS)
        github.faults.clear()
        of_wait = {"INPUT_MODE": "wait", "INPUT_RUN_ID": launch.outputs["run_id"], "GITHUB_SHA": "f" * 40}
        run_post(known_state(result, *saved), server, github, **of_wait)
        assert [state for state, _ in states(github)] == ["pending", "error"]
        assert {status["context"] for status in github.statuses[HEAD]} == {"Coval (eu)" if matrix else "Coval"}


class Processes:
    """The main step and the post step as real processes, against a fast sandbox."""

    def __init__(self, directory: Path, api_url: str, github: FakeGitHub, **inputs: str) -> None:
        self._runner = LocalRunner(directory, PULL_REQUEST)
        given = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": api_url, "check_interval": "1"} | STATUS | inputs
        self._environ = self._runner.environ(given) | {"GITHUB_API_URL": github.url, "PATH": os.defpath}

    def kill_main_step_when(self, condition: Callable[[], object]) -> None:
        """Run the main step until a condition holds, and kill it."""
        with subprocess.Popen(
            [sys.executable, "entrypoint.py"], cwd=ROOT, env=self._environ, stdout=subprocess.DEVNULL
        ) as process:
            end = time.monotonic() + 120
            while not condition():
                assert process.poll() is None, "the step ended too early"
                assert time.monotonic() < end, "the condition does not hold"
                time.sleep(0.01)
            process.kill()

    def run_post_step(self) -> str:
        """Run the post step with the state that the main step saved, and return its log."""
        state = {f"STATE_{name}": value for name, value in self._runner.state.items()}
        command = [sys.executable, "post_entrypoint.py"]
        return subprocess.run(
            command, cwd=ROOT, env=self._environ | state, capture_output=True, text=True, check=True
        ).stdout


@pytest.mark.parametrize(("is_final", "state"), [(False, "error"), (True, "success")], ids=["before-run", "final"])
def test_killed_process_leaves_no_pending_page(is_final: bool, state: str, tmp_path: Path) -> None:
    """kill -9 during the launch, and before the final status: that succeeds only if the verdict was reached and saved.

    What other kills leave to the post step is tested without processes.
    """
    hang = ["POST /repos/*/statuses/* #2 -> hang 60"] if is_final else []
    world = World(SpeedClock(600 if is_final else 1))
    with github_with(*hang) as github, Server(world, faults=[] if is_final else ["POST /runs -> slow 60"]) as server:
        steps = Processes(tmp_path, server.url, github, check_run="Voice gate")

        def reached() -> bool:
            seen = [*(github if is_final else server).requests_seen]
            return sum(one.method == "POST" and "check-runs" not in one.path for one in seen) == 1 + is_final

        steps.kill_main_step_when(reached)
        log = steps.run_post_step()
        assert [actual for actual, _ in states(github)] == (["pending"] if is_final else []) + [state]
        (check,) = github.check_runs
        assert check.conclusion == ("success" if is_final else "failure")
        again = steps.run_post_step()
        assert len(github.check_runs) == 1
    assert KEY not in f"{log}{again}".replace(f"::add-mask::{KEY}", "")
