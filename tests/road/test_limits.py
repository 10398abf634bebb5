"""Limits of a step: how many simulations it launches, how many runs at a time, and after how many failures it gives up.

max_simulations refuses before anything is spent, and keeps a step to what it planned. A limit of time may pass.
"""

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_sandbox.catalogue import MUTATIONS, PREVIEW_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import PERSONAS, SETS, legs_of, verdicts_of
from road.nights import RunStep
from support import VirtualClock

SHOWN = '{"test_set": {"id": "passing1"%s}}'
AGAIN = {"test_set_id": "flaky002", "repeat_on_failure": "1", "thresholds": "Resolved: rate(YES) >= 90%"}


@pytest.mark.parametrize(
    ("inputs", "planned"),
    [
        ({}, 10),
        ({"iteration_count": "3", "sub_sample_size": "4"}, 12),
        ({"persona_id": PERSONAS, "test_set_id": "passing1, flaky002"}, 40),
        ({"mutation_ids": "mutation000000000000000001, mutation000000000000000002"}, 30),
        ({"test_case_ids": "casepassing10000000001, casepassing10000000002"}, 2),
    ],
)
def test_plan_is_counted_before_anything_is_launched(inputs: dict[str, str], planned: int, run_step: RunStep) -> None:
    refused, server = run_step(max_simulations=str(planned - 1), **inputs)
    assert (refused.outputs["verdict"], len(server.world.runs)) == ("error", 0)
    assert f"this step would launch {planned}" in refused.outputs["reason"]
    launched, server = run_step(mode="launch", max_simulations=str(planned), **inputs)
    assert (launched.outputs["planned_simulations"], launched.exit_code) == (str(planned), 0)
    assert server.world.runs


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("GET /test-sets/* -> 403", "test-sets:read"),
        ("GET /test-sets/* -> 503", "returned 503"),
        ("GET /test-sets/* -> json " + SHOWN % "", "Coval does not count"),
        ("GET /test-sets/* -> json " + SHOWN % ', "test_case_count": 3, "parameters": {"a": ["b"]}', "has parameters"),
    ],
)
def test_unknown_size_is_an_error_that_explains_what_to_do(fault: str, why: str, run_step: RunStep) -> None:
    result, server = run_step(fault, max_simulations="100")
    assert (result.outputs["verdict"], len(server.world.runs)) == ("error", 0)
    assert why in result.log
    assert any(name in result.outputs["reason"] for name in ("test_case_ids", "Leave max_simulations empty"))


def test_size_of_several_runs_is_shown_without_a_limit(run_step: RunStep) -> None:
    inputs = {"base_agent_id": PREVIEW_ID, "thresholds": "Latency: avg <= base * 1.5", "persona_id": PERSONAS}
    result, server = run_step(**inputs, repeat_on_failure="1")
    expected = (
        "This step launches 40 simulations in 4 runs, 20 of them of the base agent. "
        "Repetitions of runs that fail may add up to 40."
    )
    before, _, _ = result.log.partition("Launched run")
    assert expected in before
    assert result.outputs["planned_simulations"] == "40"
    assert len([request for request in server.requests_seen if "/test-sets" in request.path]) == 1


def test_unknown_size_hinders_nothing_without_a_limit(run_step: RunStep) -> None:
    result, server = run_step("GET /test-sets/* -> 403", persona_id=PERSONAS)
    assert (result.outputs["verdict"], len(server.world.runs)) == ("passed", 2)
    assert "Could not count the simulations on test set passing1. " in result.log
    assert (result.outputs["planned_simulations"], result.annotations("warning")) == ("", [])


def size_requests(server: Server) -> list[int]:
    """Return which requests were for a test set: 1 is the first after the launch; those before are negative.

    Once the results are listed, a request is about its name.
    """
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    end = next((number for number, path in enumerate(paths) if path.startswith("/conversations")), len(paths))
    launch = next(number for number, request in enumerate(server.requests_seen) if request.method == "POST")
    return [number - launch for number, path in enumerate(paths[:end]) if path.startswith("/test-sets")]


@pytest.mark.parametrize("mode", ["run", "launch"])
def test_size_of_a_single_run_without_a_limit_is_shown_before_what_was_launched(mode: str, run_step: RunStep) -> None:
    result, server = run_step(mode=mode, sub_sample_size="4", iteration_count="3")
    before, _, _ = result.log.partition("\nLaunched run")
    assert before.splitlines()[-1] == "This step launches 12 simulations (agent Front desk, test set Passing)."
    assert (result.outputs["planned_simulations"], size_requests(server)) == ("12", [1])
    named, server = run_step(mode="launch", test_case_ids="casepassing10000000001, casepassing10000000002")
    assert (named.outputs["planned_simulations"], size_requests(server)) == ("2", [])
    assert "This step launches 2 simulations" in named.log


@pytest.mark.parametrize(("most", "runs", "verdict"), [("20", 2, "passed"), ("19", 1, "failed")])
def test_repetition_keeps_to_the_limit(most: str, runs: int, verdict: str, run_step: RunStep) -> None:
    result, server = run_step(max_simulations=most, **AGAIN)
    assert (len(server.world.runs), result.outputs["verdict"]) == (runs, verdict)
    assert ("max_simulations (19)" in result.log) is (runs == 1)


def test_run_that_is_larger_than_planned_is_cancelled(run_step: RunStep) -> None:
    counted = "GET /test-sets/* -> json " + SHOWN % ', "test_case_count": 5'
    result, server = run_step(counted, max_simulations="5")
    assert result.outputs["verdict"] == "error"
    assert "has 10 simulations, but 5 were planned" in result.outputs["reason"]
    assert not server.world.unfinished


# Runs at a time, and runs that are given up


class Counting(World):
    """A world that notes how many runs were under way after each launch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.under_way: list[int] = []

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run."""
        launched = super().launch(body)
        self.under_way.append(len(self.unfinished))
        return launched


def test_so_many_runs_are_under_way_at_a_time(run_step: RunStep, clock: VirtualClock) -> None:
    world = Counting(clock.time)
    result, _ = run_step(world=world, persona_id=PERSONAS, test_set_id=SETS, max_parallel_runs="2")
    assert (len(world.under_way), max(world.under_way)) == (4, 2)
    assert {leg["status"] for leg in legs_of(result).values()} == {"COMPLETED"}


def test_leg_whose_turn_does_not_come_is_an_error(run_step: RunStep) -> None:
    result, server = run_step(test_set_id="stuck001, passing1", max_parallel_runs="1", max_wait_time="120")
    assert len(server.world.runs) == 1
    assert verdicts_of(result) == {"stuck001": "timed_out", "passing1": "error"}
    assert result.outputs["reason"] == (
        "Passing: max_wait_time was over before this leg's turn came (max_parallel_runs: 1) (and 1 more leg)."
    )


def test_refused_launches_name_what_to_lower(run_step: RunStep) -> None:
    several = {"test_set_id": f"{SETS}, passing2", "max_parallel_runs": "2", "concurrency": "5"}
    lower = "Lower concurrency (5) or set max_parallel_runs below 2, and re-run the job later."
    for inputs, todo in (({}, "Re-run the job later."), (several, lower)):
        result, _ = run_step("POST /runs -> 429", max_wait_time="120", **inputs)
        assert result.outputs["verdict"] == "error"
        advice = f"\nCoval limits how much runs at a time. {todo}\nIf a quota of the plan is used up, such as a monthly"
        assert advice in result.annotations("error")[0].data


def test_leg_is_aborted_by_itself_and_the_next_waits_until_its_run_is_cancelled(run_step: RunStep) -> None:
    inputs = {"test_set_id": "allFail1, passing1", "abort_after_failures": "2", "max_parallel_runs": "1"}
    result, server = run_step("DELETE /runs/* #1-2 -> 503", **inputs)
    assert verdicts_of(result) == {"passing1": "passed", "allFail1": "failed"}
    given_up, following = server.world.runs
    assert given_up.cancel_time is not None
    assert given_up.cancel_time <= following.create_time


@pytest.mark.parametrize(
    ("test_set_id", "most", "aborts"),
    [("allFail1", "3", True), ("allFail1", "11", False), ("someFail", "1", False), ("noProgrs", "1", False)],
)
def test_run_whose_simulations_fail_is_aborted(
    test_set_id: str, most: str, aborts: bool, run_step: RunStep, clock: VirtualClock
) -> None:
    """A run that shows no progress is not aborted. None is repeated: no run makes up for what failed in another."""
    result, server = run_step(test_set_id=test_set_id, abort_after_failures=most, repeat_on_failure="1")
    assert (server.world.runs[0].cancel_time is not None, len(server.world.runs)) == (aborts, 1)
    if aborts:
        assert result.outputs["verdict"] == "failed"
        reason = result.outputs["reason"]
        assert reason.startswith("The first "), reason
        assert "none completed, so the step cancelled the run (abort_after_failures). Most failed with: " in reason
        (error,) = result.annotations("error")
        assert error.data.splitlines()[1:3] == ["The run was cancelled.", "Check that the agent can be reached."]
        assert server.world.unfinished == ()
        assert clock.now() < 60


# With on_timeout: pass, slowness does not block a merge, but it is reported everywhere, and a failure still does

LATE = Quirks(metrics_lag=600.0)
PATIENT = {"max_wait_time": "120", "junit_path": "reports/junit.xml", "json_path": "reports/coval.json"}


@pytest.mark.parametrize(
    "inputs",
    [
        {"test_set_id": "stuck001"},
        {"test_set_id": "queued01", "max_queue_time": "60"},
        {"thresholds": "Latency: avg < 9"},
    ],
)
def test_timeout_passes_and_is_reported(inputs: dict[str, str], run_step: RunStep) -> None:
    result, _ = run_step(quirks=LATE, on_timeout="pass", bare=True, **(PATIENT | inputs))
    assert (result.exit_code, result.outputs["verdict"], result.outputs["passed"]) == (0, "timed_out", "false")
    assert result.outputs["status"] == "TIMEOUT"
    assert result.summary.startswith("### ⌛ Timed out")
    assert len(result.annotations("warning")) == 1
    assert not result.annotations("error")
    root = ET.fromstring(result.junit)
    assert not [*root.iter("failure"), *root.iter("error")]
    assert [*root.iter("skipped")]
    assert json.loads(result.json)["verdict"] == "timed_out"


def polled(polls: str, **shown: Any) -> str:
    """Return a fault: from so many polls on, the run goes on, and shows this of its progress."""
    progress = {"total_test_cases": 10, "completed_test_cases": 4} | shown
    run = {"run_id": "BGvffsneXVocAfhtfe4adw", "status": "IN PROGRESS", "progress": progress}
    run["error_status"] = progress.pop("error_status", None)
    return f"GET /runs/* #{polls}- -> json {json.dumps(run)}"


FAILED_2 = polled("3", failed_test_cases=2)
NONE_COMPLETED = polled("3", completed_test_cases=0, failed_test_cases=10)
MANY: dict[str, Any] = {"simulations_trickle": 600.0}
SILENT: dict[str, Any] = {"null_progress": True}
LATE_AND_FAILED = {"test_set_id": "someFail", "thresholds": "Latency: avg < 9", "max_wait_time": "120"}
UNTIMELY: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "the list shows failures": (SILENT | {"simulations_trickle": 30.0}, "", {"test_set_id": "someFail"}),
    "polls showed failures": (MANY, "", {"test_set_id": "someFail"}),
    "nothing of a run that completed": (SILENT | MANY, "", {"test_set_id": "passing1"}),
    "nothing of a run that goes on": (SILENT, "", {}),
    "no count of failures any more": ({}, polled("12"), {"test_set_id": "someFail"}),
    "counts of test cases": ({}, FAILED_2, {"iteration_count": "3", "max_failed_simulations": "3"}),
    "one mutation": ({}, FAILED_2, {"mutation_ids": MUTATIONS[0].id, "max_failed_simulations": "20%"}),
    "none completed": ({}, NONE_COMPLETED, {"max_failed_simulations": "100%"}),
    "counts of nothing": ({}, polled("3", total_test_cases=0, completed_test_cases=0, failed_test_cases=0), {}),
    "Coval's error": ({}, polled("3", failed_test_cases=0, error_status="EXECUTION_FAILURE"), {}),
    "late values": ({"metrics_lag": 600.0}, "", LATE_AND_FAILED),
}


@pytest.mark.parametrize("name", UNTIMELY)
def test_timeout_passes_only_if_something_shows_that_nothing_failed(name: str, run_step: RunStep) -> None:
    quirks, fault, inputs = UNTIMELY[name]
    given = {"on_timeout": "pass", "test_set_id": "stuck001", "max_wait_time": "65"} | inputs
    result, _ = run_step(*([fault] if fault else []), quirks=Quirks(**quirks), bare=True, **given)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "timed_out")


def test_limit_on_parallel_runs_of_a_single_leg_is_questioned(run_step: RunStep) -> None:
    alone = "max_parallel_runs has no effect: the step tests one agent with one persona and one test set."
    for sets, warnings in (("passing1", [alone]), (SETS, [])):
        result, _ = run_step(mode="plan", max_parallel_runs="2", test_set_id=sets)
        assert [warning.data for warning in result.annotations("warning")] == warnings
