"""Mode plan shows what mode run would launch, and every mistake at once; it sends nothing but GET."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID
from coval_sandbox.server import Server
from road.legs import PERSONAS, SETS, THRESHOLDS
from support import IDS, KEY, StepResult

RunStep = Callable[..., tuple[StepResult, Server]]


def is_harmless(server: Server) -> bool:
    """Return whether nothing was launched, and nothing but GET was sent."""
    return not server.world.runs and {request.method for request in server.requests_seen} <= {"GET"}


def test_plan_shows_runs_sizes_and_thresholds(run_step: RunStep) -> None:
    result, server = run_step(
        mode="plan",
        agent_id=PREVIEW_ID,
        base_agent_id=AGENT_ID,
        persona_id=PERSONAS,
        iteration_count="3",
        confidence="95%",
        repeat_on_failure="1",
        thresholds="Latency: avg <= base * 1.1\nResolved: rate(YES) >= 99%\n? Latency: avg < 3",
    )
    assert is_harmless(server)
    assert (result.exit_code, result.outputs["verdict"], result.outputs["status"]) == (0, "", "PLANNED")
    assert result.outputs["planned_simulations"] == "120"
    assert result.outputs["reason"] == (
        "2 runs and 2 runs of the base agent with 120 simulations would be launched, and as many again for each of at "
        "most 1 repetition. Nothing was."
    )
    runs = [line for line in result.log.splitlines() if line.startswith("  30 simulations  ")]
    assert [line.split()[2:4] for line in runs] == [["agent", "Front"]] * 2 + [["base", "agent"]] * 2
    assert f"({PREVIEW_ID})" in runs[0]
    shown = result.log.partition("Thresholds, decided with 95% confidence:\n")[2].splitlines()[:4]
    assert shown[:3] == ["  Latency: avg <= base * 1.1", "  Resolved: rate(YES) >= 99%", "  ? Latency: avg < 3"]
    assert shown[3].startswith("thresholds, line 2: 10 test cases can never show Resolved: rate(YES) >= 99%")
    legs = json.loads(result.outputs["legs"])
    assert {leg["reason"] for leg in legs} == {
        "A run with 30 simulations, and one of the base agent beside it would be launched."
    }


def test_plan_reports_every_mistake_at_once(run_step: RunStep) -> None:
    result, server = run_step(
        mode="plan",
        agent_id="missing000000000000001",
        base_agent_id="missing000000000000002",
        persona_id="missing000000000000003",
        test_set_id="missing1",
        metric_ids="missing000000000000004",
        baseline="run:missing000000000000005",
        thresholds="Latencey: avg < 3\nTone: avg <= base",
        max_simulations="5",
    )
    assert is_harmless(server)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")
    (error,) = result.annotations("error")
    for wrong in (
        "agent_id names missing",
        "base_agent_id names",
        "persona_id names",
        "test_set_id names",
        "metric_ids",
    ):
        assert wrong in error.data, error.data
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
    assert result.outputs["reason"].endswith(" 4 more problems: thresholds, test_set_id, agent_id and persona_id.")
    assert "\n- agent_id names nonsense, which is not valid: " in error.data
    assert "\n- persona_id names missing000000000000001, which Coval does not have.\n" in error.data


def test_plan_sends_nothing_if_it_may_be_to_the_wrong_place(run_step: RunStep) -> None:
    result, server = run_step(mode="plan", agent_id="missing000000000000001", workspace_id="a b")
    assert server.requests_seen == []
    assert result.outputs["verdict"] == "error"


def test_wrong_ids_of_a_file_have_their_lines(run_step: RunStep, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    (workspace / "coval-gate.yml").write_text(
        f"persona_id: {IDS['persona_id']}\nlegs:\n  one: {{test_set_id: passing1}}\n  two:\n    test_set_id: missing1\n"
    )
    given = {"config_path": "coval-gate.yml", "persona_id": "", "test_set_id": "", "agent_id": "missing000000000000001"}
    result, _ = run_step(mode="plan", **given)
    (error,) = result.annotations("error")
    assert error.data.startswith("agent_id names missing000000000000001, which Coval does not have. ")
    assert (
        "\n- coval-gate.yml, line 5: legs.two: test_set_id names missing1, which Coval does not have.\n" in error.data
    )


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


def test_plan_above_the_cap_is_red(run_step: RunStep) -> None:
    result, server = run_step("GET /test-sets/* -> 403", mode="plan", max_simulations="99")
    assert (result.exit_code, is_harmless(server)) == (1, True)
    assert "the permission test-sets:read" in result.outputs["reason"]
    for most, code in (("39", 1), ("40", 0)):
        result, server = run_step(mode="plan", persona_id=PERSONAS, test_set_id=SETS, max_simulations=most)
        assert (result.exit_code, is_harmless(server)) == (code, True)


def test_plan_without_a_key_checks_the_inputs(run_step: RunStep) -> None:
    result, server = run_step(mode="plan", api_key="", thresholds=THRESHOLDS)
    assert (result.exit_code, server.requests_seen) == (0, [])
    assert "Not checked: Nothing in Coval was looked up, because there is no API key." in result.log
    result, _ = run_step(mode="plan", api_key="", max_simulations="3")
    assert result.exit_code == 0
    assert "Not checked: max_simulations, because the size is unknown." in result.log
    result, _ = run_step(mode="plan", api_key="", max_simulations="3", test_case_ids="a, b, c, d")
    assert result.exit_code == 1
    result, _ = run_step(mode="plan", api_key="", thresholds="Latency: avg <", iteration_count="0")
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")


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


def test_plan_shows_the_thresholds_of_each_leg(run_step: RunStep, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    (workspace / "coval-gate.yml").write_text(
        f"agent_id: {IDS['agent_id']}\npersona_id: {IDS['persona_id']}\n"
        "legs:\n  one: {test_set_id: passing1, thresholds: 'Latency: avg < 3'}\n  two: {test_set_id: flaky001}\n"
    )
    given = {"agent_id": "", "persona_id": "", "test_set_id": "", "config_path": "coval-gate.yml"}
    result, server = run_step(mode="plan", **given)
    assert (is_harmless(server), result.exit_code) == (True, 0), result.log
    assert "  10 simulations  two: agent " in result.log
    assert "Thresholds of one, decided as counted:\n  Latency: avg < 3\n" in result.log
    assert "Thresholds of two: none. A run passes if enough simulations complete.\n" in result.log
    result, _ = run_step(run_template_id="t", **given)
    assert "run_template_id cannot be combined with the legs in coval-gate.yml" in result.outputs["reason"]
