"""What a plan shows of a step before it launches."""

import json
from pathlib import Path

import pytest

from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.server import Server
from road.legs import PERSONAS, THRESHOLDS
from road.nights import RunStep
from support import KEY

EMPTY = {"agent_id": "", "persona_id": "", "test_set_id": ""}


def is_harmless(server: Server) -> bool:
    """Return whether nothing was launched, and nothing but GET was sent."""
    return not server.world.runs and {request.method for request in server.requests_seen} <= {"GET"}


def write(directory: Path, text: str) -> dict[str, str]:
    """Write a configuration file, and return the inputs of a step that leaves the ids to it."""
    (directory / "workspace").mkdir(exist_ok=True)
    (directory / "workspace" / "coval-gate.yml").write_text(text, encoding="utf-8")
    return EMPTY | {"config_path": "coval-gate.yml"}


def test_plan_shows_runs_sizes_and_thresholds(run_step: RunStep) -> None:
    result, server = run_step(
        mode="plan",
        agent_id=PREVIEW_ID,
        base_agent_id=AGENT_ID,
        persona_id=PERSONAS,
        iteration_count="3",
        confidence="95%",
        thresholds="Latency: avg <= base * 1.1\nResolved: rate(YES) >= 99%\n? Latency: avg < 3",
    )
    assert is_harmless(server)
    assert (result.exit_code, result.outputs["verdict"], result.outputs["status"]) == (0, "", "PLANNED")
    assert result.outputs["planned_simulations"] == "120"
    assert result.outputs["reason"] == (
        "2 runs and 2 runs of the base agent with 120 simulations would be launched. Nothing was."
    )
    runs = [line for line in result.log.splitlines() if line.startswith("  30 simulations  ")]
    assert [line.split()[2:4] for line in runs] == [["agent", "Front"]] * 2 + [["base", "agent"]] * 2
    assert f"({PREVIEW_ID})" in runs[0]
    shown = result.log.partition("Thresholds, decided with 95% confidence:\n")[2].splitlines()[:6]
    assert shown[:3] == ["  Latency: avg <= base * 1.1", "  Resolved: rate(YES) >= 99%", "  ? Latency: avg < 3"]
    assert shown[3].startswith("thresholds, line 1: with 10 test cases, Latency: avg <= base * 1.1 can never fail")
    assert shown[4].startswith("thresholds, line 2: 10 test cases can never show Resolved: rate(YES) >= 99%")
    assert shown[5].endswith(
        "10 test cases can never show Latency: avg < 3 with 95% confidence, however good the agent is; 20 can."
    )
    legs = json.loads(result.outputs["legs"])
    assert {leg["reason"] for leg in legs} == {
        "A run with 30 simulations, and one of the base agent beside it would be launched."
    }


@pytest.mark.parametrize(
    "inputs",
    [
        {"persona_id": PERSONAS},
        {"max_simulations": "50"},
        {"spend": "until clear", "max_simulations": "50"},
        {"test_case_ids": "a, b, c, d"},
        {"sub_sample_size": "5"},
        {},  # counted after the launch
    ],
    ids=" ".join,
)
def test_run_warns_once_which_thresholds_it_cannot_decide_as_a_plan_does(
    run_step: RunStep, inputs: dict[str, str]
) -> None:
    told = {"confidence": "95%", "thresholds": "Resolved: rate(YES) >= 99%", **inputs}
    planned, _ = run_step(mode="plan", **told)
    result, _ = run_step(**told)
    said = [line.data for line in result.annotations("warning") if line.data.startswith("thresholds, line 1: ")]
    assert said == [line for line in planned.log.splitlines() if line.startswith("thresholds, line 1: ")]
    assert len(said) == 1


def test_plan_reports_every_mistake_at_once(run_step: RunStep) -> None:
    names = ("agent_id", "base_agent_id", "persona_id", "test_set_id", "metric_ids")
    wrong = {name: f"missing00000000000000{number}" for number, name in enumerate(names)}
    result, server = run_step(
        mode="plan",
        baseline="run:missing000000000000005",
        thresholds="Latencey: avg < 3\nTone: avg <= base",
        max_simulations="5",
        **wrong,
    )
    assert is_harmless(server)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")
    (error,) = result.annotations("error")
    for name in names:
        assert f"{name} names missing" in error.data, error.data
    assert "max_simulations cannot be kept" in error.data


def test_plan_reports_wrong_inputs_and_wrong_ids_together(run_step: RunStep) -> None:
    result, server = run_step(
        mode="plan",
        agent_id="nonsense",
        persona_id="missing000000000000001",
        test_set_id=f"passing1, {KEY}",
        iteration_count="0",
        thresholds="Latency: avgg < 3",
    )
    assert is_harmless(server)
    assert not [request for request in server.requests_seen if KEY in request.path]
    (error,) = result.annotations("error")
    assert result.outputs["reason"].endswith(" 4 more problems: iteration_count, test_set_id, agent_id and persona_id.")
    assert "\n- agent_id names nonsense, which is not valid: " in error.data
    assert "\n- persona_id names missing000000000000001, which Coval does not have.\n" in error.data


def test_key_that_coval_rejects_is_one_mistake(run_step: RunStep) -> None:
    result, server = run_step("GET * -> 401", mode="plan")
    assert is_harmless(server)
    assert result.outputs["reason"] == "api_key is not valid: Coval accepts no call with it. Check the secret."


@pytest.mark.parametrize("status", ["403", "html 401"])
def test_what_coval_does_not_show_is_not_checked(status: str, run_step: RunStep) -> None:
    faults = [f"GET /{path}/* -> {status}" for path in ("agents", "personas", "test-sets", "metrics")]
    result, server = run_step(*faults, f"GET /metrics -> {status}", mode="plan", thresholds=THRESHOLDS)
    assert is_harmless(server)
    assert result.exit_code == 0
    for name in ("agent_id", "persona_id", "test_set_id"):
        assert f"Not checked: {name} " in result.log
    assert result.outputs["planned_simulations"] == ""
    assert "of unknown size" in result.outputs["reason"]


def test_plan_touches_no_page_and_no_report(run_step: RunStep, tmp_path: Path) -> None:
    reports = {"json_path": "coval.json", "junit_path": "junit.xml"}
    before, _ = run_step(**reports)
    kept = {path: (before.workspace / path).read_bytes() for path in reports.values()}
    result, _ = run_step(
        mode="plan", commit_status="Coval", check_run="Gate", comment="always", github_token="x", **reports
    )
    assert result.exit_code == 0
    assert {path: (before.workspace / path).read_bytes() for path in reports.values()} == kept
    assert (result.outputs["json_path"], result.outputs["comment_url"]) == ("", "")
    assert json.loads(result.state["legs"]) == []
    assert tmp_path.exists()


def test_plan_counts_repetitions(run_step: RunStep) -> None:
    result, _ = run_step(mode="plan", repeat_on_failure="1", thresholds="Resolved: rate(YES) >= 50%")
    assert result.outputs["reason"].endswith("launched, and as many again for each run that fails. Nothing was.")


SPENT = {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 60%"}


@pytest.mark.parametrize(
    ("inputs", "sentence", "planned"),
    [
        ({}, "1 run with 10 simulations would be launched. Nothing was.", "10"),
        ({"test_set_id": "passing1, flaky002"}, "2 runs with 20 simulations would be launched. Nothing was.", "20"),
        ({"test_set_id": "large001"} | SPENT, "At most 5 runs with at most 250 simulations would be launched.", "250"),
        ({"api_key": "", "test_case_ids": "a, b"}, "1 run with 2 simulations would be launched. Nothing was.", "2"),
        ({"api_key": ""}, "1 run of unknown size would be launched. Nothing was.", ""),
    ],
)
def test_planned_simulations_are_those_of_the_sentence(
    inputs: dict[str, str], sentence: str, planned: str, run_step: RunStep
) -> None:
    result, _ = run_step(mode="plan", **inputs)
    assert sentence in result.outputs["reason"]
    assert result.outputs["planned_simulations"] == planned
