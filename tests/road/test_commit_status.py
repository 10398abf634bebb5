"""The commit status ends with the verdict, even if the step or GitHub fails: the post step completes it."""

from __future__ import annotations

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

from coval_sandbox.clock import SpeedClock
from coval_sandbox.github import READ_ONLY_TOKEN
from coval_sandbox.quirks import Quirks
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


VERDICTS = [({}, "success"), ({"test_set_id": "someFail"}, "failure"), ({"test_set_id": "errors01"}, "error")]


@pytest.mark.parametrize(("given", "state"), VERDICTS, ids=str)
def test_final_status_is_retried_for_as_long_as_there_is_patience(
    given: dict[str, str], state: str, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with("POST /repos/*/statuses/* #2-7 -> 502", now=clock.time) as github:
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, comment="always", **STATUS, **given)
        assert [actual for actual, _ in states(github)] == ["pending", state]
    assert done_pages(result) == ["commit_status"]
    assert result.outputs["comment_url"], "the comment has time of its own"


@pytest.mark.parametrize(
    ("given", "state"),
    [
        *VERDICTS,
        ({"test_set_id": "stuck001", "max_wait_time": "60"}, "error"),
        ({"thresholds": "Resolved: avg < 2"}, "error"),
    ],
    ids=str,
)
def test_post_step_sets_status_that_step_could_not(
    given: dict[str, str], state: str, run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(now=clock.time) as healthy:
        run_step(env={"GITHUB_API_URL": healthy.url}, **STATUS, **given)
    with github_with(f"{FINAL} -> 502", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **STATUS, **given)
        assert [actual for actual, _ in states(github)] == ["pending"]
        assert done_pages(result) == []
        github.faults.clear()
        run_post(result, server, github)
        assert states(github) == states(healthy)
        assert states(github)[-1][0] == state
        assert github.statuses[HEAD][-1]["target_url"] == result.outputs["run_url"]


def test_post_step_adds_no_status_after_the_final_one(run_step: RunStep, clock: VirtualClock) -> None:
    for inputs in ({}, {"test_set_id": "someFail"}, {"mode": "launch"}, {"agent_id": ""}):
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


def test_post_step_without_any_state_changes_nothing(run_step: RunStep, clock: VirtualClock) -> None:
    """`act` hands no state to post steps, so the post step cannot see whether the main step concluded."""
    with github_with(now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **STATUS)
        run_post(replace(result, state={}), server, github)
        assert [state for state, _ in states(github)] == ["pending", "success"]


def test_status_of_mode_launch_stays_pending(run_step: RunStep, clock: VirtualClock) -> None:
    """A later step may have concluded it before the post step runs."""
    with github_with("POST /repos/*/statuses/* -> 502", now=clock.time) as github:
        result, server = run_step(mode="launch", env={"GITHUB_API_URL": github.url}, **STATUS)
        github.faults.clear()
        run_post(result, server, github, INPUT_MODE="launch")
        assert states(github) == []


def test_forbidden_status_is_not_tried_again(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **STATUS | {"github_token": READ_ONLY_TOKEN})
        assert run_post(result, server, github, INPUT_GITHUB_TOKEN=READ_ONLY_TOKEN) == ""


@pytest.mark.parametrize("cancel", ["true", "false"])
@pytest.mark.parametrize("at", [0.5, 10, 59])
def test_interrupted_step_leaves_no_pending_status(
    at: float, cancel: str, run_step: RunStep, clock: VirtualClock
) -> None:
    """GitHub fails from the interrupt on, for longer than the runner leaves the step alone."""
    clock.at(at, clock.interrupt)
    with github_with(f"{FINAL} -> 502", now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        result, server = run_step(test_set_id="slow0001", cancel_on_interrupt=cancel, env=env, **STATUS)
        assert clock.now() - at <= 6
        github.faults.clear()
        run_post(result, server, github, INPUT_CANCEL_ON_INTERRUPT=cancel)
        outcome = "the run was cancelled" if cancel == "true" else "the run continues in Coval"
        assert states(github)[-1] == ("error", f"🚫 Cancelled: The step was interrupted; {outcome}.")


def test_interrupt_while_pending_status_is_set(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with("POST /repos/*/statuses/* -> 502", now=clock.time) as github:
        clock.at(1, clock.interrupt)
        result, server = run_step(test_set_id="slow0001", env={"GITHUB_API_URL": github.url}, **STATUS)
        assert result.outputs["verdict"] == "cancelled"
        github.faults.clear()
        run_post(result, server, github)
        assert [state for state, _ in states(github)] == ["error"]


def known_state(result: StepResult, *names: str) -> StepResult:
    """Return the result as if the step had been killed when it had saved its legs, and only these values of pages."""
    pages = [{name: page[name] for name in ("input", *names)} for page in json.loads(result.state["pages"])]
    state = {"legs": result.state["legs"]} | ({"pages": json.dumps(pages)} if names else {})
    return replace(result, state=state)


def done_pages(result: StepResult) -> list[str]:
    """Return the inputs of the pages that the step leaves nothing to do for."""
    return [page["input"] for page in json.loads(result.state["pages"]) if page["is_done"]]


def test_killed_step_gets_error_status_without_api_key(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        result, server = run_step(mode="launch", test_set_id="stuck001", env={"GITHUB_API_URL": github.url}, **STATUS)
        run_post(known_state(result, "owed"), server, github, INPUT_API_KEY="")
        assert states(github)[-1] == ("error", UNFINISHED)


@pytest.mark.parametrize("event", [*EVENTS, "push"])
@pytest.mark.parametrize("saved", [(), ("owed",)], ids=["early", "late"])
def test_status_of_killed_step_is_on_commit_under_test(
    saved: tuple[str, ...], event: str, run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    """The post step finds the commit even if the main step was killed before it could save it."""
    with github_with(now=clock.time) as github:
        github.commits.add("f" * 40)
        payload: dict[str, Any] = EVENTS.get(event, {"ref": "refs/heads/main"})
        result, server = run_step(
            mode="launch", test_set_id="stuck001", event=payload, env={"GITHUB_API_URL": github.url}, **STATUS
        )
        sha = HEAD if event in EVENTS else "f" * 40
        assert [state for state, _ in states(github, sha)] == ["pending"]
        killed = known_state(result, *saved)
        env = {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_SHA": "f" * 40}
        run_post(killed, server, github, **env)
        assert states(github, sha)[1:] == [("error", UNFINISHED)]
        assert len(github.statuses) == 1


@pytest.mark.parametrize("matrix", ["", '{"region": "eu"}'])
@pytest.mark.parametrize("saved", [(), ("owed",)], ids=["early", "late"])
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
        run_post(
            known_state(result, *saved),
            server,
            github,
            INPUT_MODE="wait",
            INPUT_RUN_ID=launch.outputs["run_id"],
            GITHUB_SHA="f" * 40,
        )
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


@pytest.mark.parametrize("cancel", ["true", "false"])
@pytest.mark.parametrize(
    ("hangs", "launched", "final"),
    [
        pytest.param("POST /runs", False, ("error", UNFINISHED), id="during-launch"),
        pytest.param("statuses #1", True, ("error", UNFINISHED), id="before-pending"),
        pytest.param("", True, ("error", UNFINISHED), id="while-waiting"),
        pytest.param(
            "statuses #2",
            True,
            ("success", "✅ Passed: All 10 simulations completed. Agent Front desk as deployed."),
            id="before-final",
        ),
    ],
)
def test_killed_process_leaves_no_pending_status(
    hangs: str, launched: bool, final: tuple[str, str], cancel: str, tmp_path: Path
) -> None:
    """kill -9 at each stage; the status succeeds only if the verdict was reached and saved."""
    stage, _, number = hangs.partition(" #")
    faults = [f"POST /repos/*/statuses/* #{number} -> hang 60"] if number else []
    world = World(SpeedClock(600 if number == "2" else 1), quirks=Quirks())
    coval = ["POST /runs -> slow 60"] if stage == "POST /runs" else []
    with github_with(*faults) as github, Server(world, faults=coval) as server:
        steps = Processes(tmp_path, server.url, github, cancel_on_interrupt=cancel)

        def reached() -> bool:
            sent = sum(request.path.endswith(f"/statuses/{HEAD}") for request in github.requests_seen)
            polled = any(request.path.startswith("/v1/runs/") for request in server.requests_seen)
            if stage == "POST /runs":
                return any(request.method == "POST" for request in server.requests_seen)
            return sent >= int(number) if number else polled

        steps.kill_main_step_when(reached)
        assert (final in states(github)) is False
        log = steps.run_post_step()
        assert states(github)[-1] == final
        assert len(states(github)) == (1 if not launched or number == "1" else 2)
        steps.run_post_step()
    assert KEY not in log.replace(f"::add-mask::{KEY}", "")
