"""The main step, from the environment to the files, against the sandbox on a virtual clock."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.features.spending.sequential import SLICES
from coval_gate.step.main import main
from coval_sandbox.catalogue import LATENCY, TONE
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import LocalRunner, read_log
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import World
from leaks import has_secret
from road.nights import RunStep
from road.steps import OTHERS, STEPS, THRESHOLDS
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock


def as_text(result: StepResult) -> str:
    """Return a step's log, exit code, outputs and summary as text for a golden file."""
    outputs = "\n".join(f"{name}={value}" for name, value in result.outputs.items())
    end = f"--- exit code {result.exit_code}\n\n--- outputs\n{outputs}\n\n--- summary\n{result.summary}"
    whole = f"{result.log}\n{end}"
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", whole)  # the port differs each time


@pytest.mark.parametrize("name", STEPS)
def test_log_outputs_and_summary_match_golden_file(
    name: str, run_step: RunStep, golden: Callable[[str, str], None]
) -> None:
    inputs = STEPS[name]
    result, server = run_step(**inputs)
    golden(f"road/{name}.txt", as_text(result))
    launched = [record.run_id for record in server.world.runs]
    assert len(launched) <= (SLICES if "spend" in inputs else 1 + int(inputs.get("repeat_on_failure", "0")))
    assert json.loads(result.outputs["run_ids"] or "[]") == launched
    if launched:
        assert not result.post_step_cancels
        assert result.outputs["run_id"] == launched[0]


@pytest.mark.parametrize(
    ("name", "verdict", "said"),
    [
        ("run-failed", "failed", "The run ended with the status FAILED: The agent did not answer: connection"),
        ("run-deleted", "cancelled", "The run was deleted in Coval."),
        ("run-broken", "error", "The run ended with the status ERROR: EXECUTION_FAILURE."),
        ("dirty", "failed", "The run completed, but Coval reports an error: EXECUTION_FAILURE."),
        ("unknown-status", "passed", 'Coval reports the status "WARMING UP", which is not documented; the step keeps'),
        ("no-progress", "passed", "   0:08  IN PROGRESS\n   1:01  COMPLETED\n"),
        ("timed-out-queued", "timed_out", "The run was still IN QUEUE with 0 of 10 simulations done after 1 min 30 s"),
        ("gate-forbidden", "failed", "count(no) of Resolved is 5 of 10, must be == 0."),
        ("gate-targets", "failed", "Latency missed its target (at most 1.5) on 2 simulations."),
        ("repeated-in-vain", "failed", "is not repeated, because a repetition cannot change this: count(NO) of"),
        ("slips", "error", "colour is not an input and has no effect."),
    ],
)
def test_verdict_and_its_line_of_the_log(name: str, verdict: str, said: str, run_step: RunStep) -> None:
    result, _ = run_step(**OTHERS[name])
    assert result.outputs["verdict"] == verdict
    assert said in result.log


def test_key_that_an_answer_repeats_with_an_invisible_character_inside_is_masked_everywhere(
    run_step: RunStep, clock: VirtualClock
) -> None:
    world = World(clock.time)
    world.scenario = replace(BY_NAME["run-failed"], error=f"The key {KEY[:9]}\u200b{KEY[9:]} is not welcome")
    files = {"junit_path": "junit.xml", "json_path": "report.json", "html_path": "report.html", "digest_path": "a.md"}
    result, _ = run_step(world=world, **files)
    texts = [result.log.partition("\n")[2], result.summary, result.outputs["reason"]]
    for text in (*texts, *((result.workspace / path).read_text(encoding="utf-8") for path in files.values())):
        assert "is not welcome" in text
        assert not has_secret(text.replace("\\", ""), KEY[:8])


@pytest.mark.parametrize("name", ["launched", "gate-failed", "wrong-inputs"])
def test_log_on_terminal_matches_golden_file(
    name: str, clock: VirtualClock, golden: Callable[[str, str], None]
) -> None:
    with Server(World(clock.time)) as server:
        inputs = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url} | (STEPS | OTHERS)[name]
        environ = {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
        log = io.StringIO()
        main(Runtime(environ=environ, stdout=log, clock=clock))
    assert not read_log(log.getvalue()), "no workflow commands"
    assert KEY not in log.getvalue()
    golden(f"terminal/{name}.txt", log.getvalue())


LAGGING = Quirks(
    status_spelling="running",
    launch_response="name-only",
    not_found_after_launch=20,
    null_progress=True,
    metrics_lag=100,
    duplicate_values=True,
    failed_values="null",
    superseded_outputs=True,
    simulations_api="canonical-forbidden",
    page_token_end="empty",
)
SUMMARY = Quirks(launch_response="top-level", unknown_status="WARMING_UP", metric_shape="summary")


@pytest.mark.parametrize(("quirks", "verdict"), [(LAGGING, "passed"), (SUMMARY, "error")], ids=["lagging", "summary"])
def test_quirks_do_not_change_the_verdict(quirks: Quirks, verdict: str, run_step: RunStep) -> None:
    """Metrics without values of their simulations are missing data."""
    result, _ = run_step(
        quirks=quirks,
        test_set_id="someFail",
        iteration_count="2",
        max_failed_simulations="6",
        thresholds="Latency: p(95) < 1.5\nCompliance: count(NO) == 0",
    )
    assert result.outputs["verdict"] == verdict, result.log
    assert (result.outputs["completed_simulations"], result.outputs["total_simulations"]) == ("14", "20")


def test_poll_is_retried_after_foreign_and_odd_responses(run_step: RunStep) -> None:
    """After the first response from Coval, those from others are transient. More faults: tests/unit/test_client.py."""
    faults = ("404", "html 404", "404 cut 3", "redirect https://captive.example/", "409", "304", "html 403")
    result, _ = run_step(*(f"GET /runs/* #{number} -> {fault}" for number, fault in enumerate(faults, 2)))
    assert result.outputs["verdict"] == "passed", result.log


def test_404_that_ends_an_outage_does_not_mean_that_the_run_was_deleted(run_step: RunStep, clock: VirtualClock) -> None:
    result, _ = run_step("GET /runs/* #2-21 -> 503", "GET /runs/* #22 -> 404")
    assert clock.now() > 60
    assert result.outputs["verdict"] == "passed", result.log


def test_results_need_few_requests(run_step: RunStep) -> None:
    """Besides polls of the run: its size, one page of simulations, one of test cases, the targets in use, their agent.

    Where thresholds name metrics, the agent and a page of metrics show before the launch whether it has those. What no
    response has shown by then has a look-up of its own: the units of metrics with numbers, and names.
    """

    def others(server: Server) -> list[str]:
        paths = (request.path.removeprefix("/v1") for request in server.requests_seen)
        return sorted(path for path in paths if not path.startswith("/runs"))  # some are sent side by side

    agent, size = f"/agents/{IDS['agent_id']}", f"/test-sets/{IDS['test_set_id']}"
    persona, units = f"/personas/{IDS['persona_id']}", [f"/metrics/{metric.id}" for metric in (LATENCY, TONE)]
    results = ["/conversations/simulated", *units, "/test-cases"]
    assert others(run_step()[1]) == sorted([size, *results, agent, persona])
    named = ["/metrics", size, "/conversations/simulated", "/test-cases", persona]
    assert others(run_step(thresholds=THRESHOLDS)[1]) == sorted([agent, *named])
    with_targets = others(run_step(thresholds=THRESHOLDS, use_metric_targets="true")[1])
    assert len(with_targets) == 12
    assert sum(path.startswith("/metrics/") for path in with_targets) == 5


def test_launch_metadata_names_workflow_and_commit(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", metadata='{"team": "voice"}', tags="nightly")
    metadata = server.world.runs[0].body["metadata"]
    tags = metadata["tags"][1:]
    assert metadata == {
        "display_name": "acme/voice-agent #42 · 5d1c1b0 · Voice gate",
        "tags": ["nightly", *tags],
        "created_by": "mona",
        "customer": {
            "github_repository": "acme/voice-agent",
            "github_commit": "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f",
            "github_pull_request": 42,
            "github_run_url": "https://github.com/acme/voice-agent/actions/runs/1234567890/attempts/1",
            "github_run_attempt": "1",
            "github_actor": "mona",
            "team": "voice",
            "coval_gate_0": tags[0],
            "coval_gate_1": tags[1],
            "coval_gate_leg": " · ".join(IDS.values()),
            "coval_gate_agent_type": "VOICE",
        },
    }
    commit = r"[0-9a-f]{12}\.42\.5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f"
    assert re.fullmatch(rf"coval-gate/1234567890\.1/[0-9a-f]{{28}}/[0-9a-f]{{8}}/{commit}", tags[0])
    assert re.fullmatch(r"coval-gate/line/[0-9a-f]{24}", tags[1])


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"])
def test_unwritable_runner_file_is_error_before_launch_but_for_the_summary(
    variable: str, tmp_path: Path, clock: VirtualClock
) -> None:
    is_needed = variable != "GITHUB_STEP_SUMMARY"
    with Server(World(clock.time)) as server:
        runner, log = LocalRunner(tmp_path), io.StringIO()
        environ = runner.environ(DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url})
        code = main(Runtime(environ=environ | {variable: str(tmp_path / "no" / "where")}, stdout=log, clock=clock))
        assert (code, not server.requests_seen) == ((1, True) if is_needed else (0, False))
    assert variable in log.getvalue()
    assert is_needed or (runner.outputs["verdict"], "::warning" in log.getvalue()) == ("passed", True)
