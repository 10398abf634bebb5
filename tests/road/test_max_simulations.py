"""max_simulations says no before anything is spent, and keeps a step to what it planned."""

import pytest

from coval_sandbox.server import Server
from road.legs import PERSONAS, RERUN
from road.nights import RunStep

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
def test_unknown_size_is_an_error_that_says_what_to_do(fault: str, why: str, run_step: RunStep) -> None:
    result, server = run_step(fault, max_simulations="100")
    assert (result.outputs["verdict"], len(server.world.runs)) == ("error", 0)
    assert why in result.log
    assert any(name in result.outputs["reason"] for name in ("test_case_ids", "Leave max_simulations empty"))


def test_hiccup_while_the_size_is_asked_for_turns_no_run_red(run_step: RunStep) -> None:
    result, server = run_step("GET /test-sets/* #1-8 -> 503", max_simulations="100")
    assert (result.outputs["verdict"], len(server.world.runs)) == ("passed", 1)
    assert result.outputs["planned_simulations"] == "10"


def test_size_of_several_runs_is_told_without_a_limit(run_step: RunStep) -> None:
    result, server = run_step(
        persona_id=PERSONAS,
        base_agent_id="agentPreview0000000002",
        thresholds="Latency: avg <= base * 1.5",
        repeat_on_failure="1",
    )
    told = (
        "This step launches 40 simulations in 4 runs, 20 of them of the base agent. "
        "Repetitions of runs that fail may add up to 40."
    )
    before, _, _ = result.log.partition("Launched run")
    assert told in before
    assert result.outputs["planned_simulations"] == "40"
    assert len([request for request in server.requests_seen if "/test-sets" in request.path]) == 1


def test_unknown_size_hinders_nothing_without_a_limit(run_step: RunStep) -> None:
    result, server = run_step("GET /test-sets/* -> 403", persona_id=PERSONAS)
    assert (result.outputs["verdict"], len(server.world.runs)) == ("passed", 2)
    assert "Could not count the simulations on test set passing1. " in result.log
    assert (result.outputs["planned_simulations"], result.annotations("warning")) == ("", [])


def sizes_asked_for(server: Server) -> list[int]:
    """Return which requests asked for a test set: 1 is the first after the launch; those before are negative.

    Once the results are listed, a request is about its name.
    """
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    end = next((number for number, path in enumerate(paths) if path.startswith("/conversations")), len(paths))
    launch = next(number for number, request in enumerate(server.requests_seen) if request.method == "POST")
    return [number - launch for number, path in enumerate(paths[:end]) if path.startswith("/test-sets")]


@pytest.mark.parametrize("mode", ["run", "launch"])
def test_size_of_a_single_run_without_a_limit_is_told_before_what_was_launched(mode: str, run_step: RunStep) -> None:
    result, server = run_step(mode=mode, sub_sample_size="4", iteration_count="3")
    before, _, _ = result.log.partition("\nLaunched run")
    agent = "agent Front desk, " if mode == "launch" else ""  # whose type it reads before
    assert before.splitlines()[-1] == f"This step launches 12 simulations ({agent}test set Passing)."
    assert (result.outputs["planned_simulations"], sizes_asked_for(server)) == ("12", [1])
    named, server = run_step(mode=mode, test_case_ids="casepassing10000000001, casepassing10000000002")
    assert (named.outputs["planned_simulations"], sizes_asked_for(server)) == ("2", [])
    assert "This step launches 2 simulations" in named.log


@pytest.mark.parametrize(
    ("mode", "action"),
    [
        ("run", "403"),
        ("run", "json " + SHOWN % ', "test_case_count": 3, "parameters": {"a": ["b"]}'),
        ("launch", "503"),
        pytest.param("launch", "hang 60", marks=pytest.mark.long),  # waits in real time
    ],
)
def test_unknown_size_of_a_single_run_is_silent_and_hinders_nothing(mode: str, action: str, run_step: RunStep) -> None:
    result, server = run_step(f"GET /test-sets/* -> {action}", mode=mode)
    usual, _ = run_step(mode=mode)
    assert (result.exit_code, result.outputs["verdict"]) == (0, usual.outputs["verdict"])
    assert (result.outputs["planned_simulations"], len(sizes_asked_for(server))) == ("", 1)
    assert not any(word in result.log for word in ("test-sets", "test set", "simulations it launches", "::warning"))
    longer = int(result.outputs["duration_seconds"]) - int(usual.outputs["duration_seconds"])
    assert longer <= (3 if action == "hang 60" else 0)


def test_size_of_a_run_that_was_taken_over_is_an_output(run_step: RunStep) -> None:
    _, server = run_step("GET /test-sets/* -> 403", mode="launch")
    result, _ = run_step(world=server.world, mode="launch", env=RERUN)
    assert "Taking over the run of an earlier attempt" in result.log
    assert "This step launches" not in result.log
    assert result.outputs["planned_simulations"] == "10"


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
