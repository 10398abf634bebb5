"""Absurd values in the environment and in the saved state end in no traceback, and in no other verdict."""

import gc
import io
import json
from collections.abc import Iterator

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.base.text import json_in, whole_number
from coval_gate.step.post import post
from road.legs import run_post_step
from road.nights import RunStep
from road.test_pages_github import NAME, github_with, known_state
from support import VirtualClock

DIGITS = "9" * 5_000
DEEP = "[" * 100_000
STATES = (DEEP, DIGITS, f"[{DIGITS}]", "{", "[1]", "null", '[{"name": 1}]', '{"references": []}')
NESTED = json.dumps([{"leg": {}, "key": [], "run_id": {"a": []}, "ids": {}, "phase": "followed", "duties": ["cancel"]}])


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Keep the garbage collector out of deep recursion, where connections that it frees cannot be closed."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("number", "attempt"), [(DIGITS, " 7 "), ("\u0664\u0662", DIGITS)])
def test_absurd_number_of_the_workflow_run_changes_no_verdict(number: str, attempt: str, run_step: RunStep) -> None:
    result, _ = run_step(
        env={"GITHUB_RUN_ID": number, "GITHUB_RUN_ATTEMPT": attempt},
        thresholds="Latency: avg <= baseline * 2",
        baseline="tag:nightly",
    )
    assert result.outputs["verdict"] == "inconclusive", result.log
    assert "Traceback" not in result.log


def test_absurd_state_ends_in_no_traceback(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        inputs = {"check_run": NAME, "commit_status": NAME, "github_token": "ghs_the-token-of-the-workflow"}
        result, server = run_step(mode="launch", env={"GITHUB_API_URL": github.url}, **inputs)
        env = {f"INPUT_{key.upper()}": value for key, value in inputs.items()}
        for state in (*STATES, NESTED):
            for name in ("legs", "pages"):
                killed = known_state(result, "owed", "made")
                killed.state[name] = state
                log = run_post_step(killed, server.world, GITHUB_API_URL=github.url, **env)
                assert "Traceback" not in log


def test_post_step_without_anything_does_nothing(clock: VirtualClock) -> None:
    assert post(Runtime(environ={"STATE_legs": DEEP}, stdout=io.StringIO(), clock=clock)) == 0


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("42", 42), ("", None), ("+1", None), (DIGITS, None)])
def test_whole_number(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", [DEEP, DIGITS, "{", b"\xff", ""])
def test_json_that_cannot_be_read_is_none(text: str | bytes) -> None:
    assert json_in(text) is None
