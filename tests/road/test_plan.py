"""What is known of a step before it launches: its plan, what a template fills in, and the mutations of its agents."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.catalogue import AGENT_ID, MUTATIONS, PERSONA_ID, PREVIEW_ID, PREVIEW_MUTATIONS, RUN_TEMPLATES
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from road.legs import PERSONAS, THRESHOLDS, legs_of
from road.nights import RunStep
from support import KEY, StepResult

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


# A template fills the inputs that are empty, and each leg uses its own part of it

SMOKE, NIGHTLY, OLD = (str(template["id"]) for template in RUN_TEMPLATES)
ONE: dict[str, Any] = {"agent_ids": [AGENT_ID], "persona_ids": [PERSONA_ID], "test_set_ids": ["passing1"]}
WITHOUT_IDS = f'GET /agents/*/mutations -> json {{"mutations": [{{"mutation_id": "{MUTATIONS[0].id}"}}]}}'


def step_with_template(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch, template: dict[str, Any], *faults: str, **given: str
) -> tuple[StepResult, Server]:
    """Run a step with a template of its own."""
    own = {"id": "template00000000000001", "display_name": "Own", **template}
    monkeypatch.setattr(catalogue, "RUN_TEMPLATES", (own,))
    return run_step(*faults, **{"run_template_id": own["id"]} | EMPTY | given)


def test_template_fills_what_the_step_leaves_empty(run_step: RunStep) -> None:
    result, server = run_step(run_template_id=SMOKE, tags="own", **EMPTY)
    (run,) = server.world.runs
    smoke = RUN_TEMPLATES[0]
    assert (run.request.agent_id, run.request.test_set_id) == (smoke["agent_ids"][0], smoke["test_set_ids"][0])
    assert run.body["metric_ids"] == smoke["metric_ids"]
    assert run.body["options"] == {"concurrency": 2, "sub_sample_size": 3, "sub_sample_seed": 7}
    assert run.body["metadata"]["tags"][:2] == ["own", "smoke"]
    assert run.body["metadata"]["template_name"] == "Smoke test"
    assert result.outputs["verdict"] == "passed"
    assert f"Using run template {SMOKE} (Smoke test).\n" in result.log
    assert f"| `run_template_id` | `{SMOKE}` |" in result.summary


def test_inputs_of_the_step_win(run_step: RunStep) -> None:
    own = {"test_set_id": "passing2", "iteration_count": "1", "concurrency": "1", "sub_sample_size": "4"}
    _, server = run_step(run_template_id=SMOKE, **EMPTY | own)
    (run,) = server.world.runs
    assert run.request.test_set_id == "passing2"
    assert run.body["options"] == {"sub_sample_size": 4, "sub_sample_seed": 7}, "a written 1 is not the template's 2"


def test_template_with_several_of_each_makes_legs(run_step: RunStep) -> None:
    result, server = run_step(run_template_id=NIGHTLY, **EMPTY)
    launched = Counter((run.request.persona_id, run.request.test_set_id) for run in server.world.runs)
    assert len(launched) == len(server.world.runs) == len(legs_of(result)) == 4
    for run in server.world.runs:
        assert run.body["mutation_ids"] == [MUTATIONS[0].id]
        assert run.body["options"] == {"iteration_count": 2, "concurrency": 5}
        assert run.body["metadata"]["customer"]["team"] == "voice"
    older, server = run_step(run_template_id=OLD, **EMPTY)
    assert (len(server.world.runs), older.outputs["verdict"]) == (1, "passed"), "it has one of each"


def test_mutations_and_cases_of_others_are_left_out_and_reported(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case.id for case in catalogue.test_cases("passing1", 10)[:2]]
    template = ONE | {
        "test_set_ids": ["passing1", "passing2"],
        "mutation_ids": [MUTATIONS[0].id, "01JOTHERAGENTSMUTATION0000"],
        "test_case_ids": [*cases, "caseOfNoSetAtAll000001"],
    }
    result, server = step_with_template(run_step, monkeypatch, template)
    (run,) = server.world.runs
    assert (run.request.test_set_id, run.body["mutation_ids"]) == ("passing1", [MUTATIONS[0].id])
    assert run.body["options"]["test_case_ids"] == cases
    for told in (
        "passing1 leaves out 1 mutation of the template: of another agent.",
        "passing1 leaves out 1 test case of the template: of another test set.",
        "passing2 is left out: the template names no test case of its test set.",
    ):
        assert told in result.log
    selected, _ = step_with_template(run_step, monkeypatch, template, only_legs="*")
    assert "Selected 1 of 1 leg: " in selected.log


@pytest.mark.parametrize(
    ("changes", "given", "faults", "problem"),
    [
        ({}, {"run_template_id": "nowhere000000000000001"}, (), "nowhere000000000000001, which Coval does not have."),
        ({}, {}, ("GET /run-templates/* -> 403",), "run-templates:read"),
        (
            {},
            {"base_agent_id": AGENT_ID, "thresholds": "Latency: avg <= base"},
            (),
            "base_agent_id must differ from agent_id",
        ),
        ({"iteration_count": "2"}, {}, (), "iteration_count"),
        ({"concurrency": 101}, {}, (), "concurrency"),
        ({"persona_ids": []}, {}, (), "persona_id is required: run template template00000000000001 names none."),
        ({"mutation_ids": [MUTATIONS[0].id]}, {}, (WITHOUT_IDS,), "(id: missing)"),
        # Its mutations of other agents are left out; those that the step itself names are not.
        ({"agent_ids": [AGENT_ID, PREVIEW_ID]}, {"mutation_ids": MUTATIONS[0].id}, (), "does not have as a mutation"),
    ],
)
def test_template_that_cannot_be_used_is_an_error_before_the_launch(
    changes: dict[str, Any],
    given: dict[str, str],
    faults: tuple[str, ...],
    problem: str,
    run_step: RunStep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, server = step_with_template(run_step, monkeypatch, ONE | changes, *faults, **given)
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert problem in result.annotations("error")[0].data


def test_plan_expands_the_template(run_step: RunStep) -> None:
    result, server = run_step(mode="plan", run_template_id=NIGHTLY, **EMPTY)
    assert (result.outputs["planned_simulations"], server.world.runs) == ("160", ())
    result, _ = run_step(mode="plan", run_template_id=NIGHTLY, api_key="", thresholds="Latency: avg < 1", **EMPTY)
    assert "Runs: unknown, because the run template was not looked up." in result.log
    assert "\n  Latency: avg < 1\n" in result.log
    assert result.outputs["reason"] == "The runs of the run template would be launched. Nothing was."
    assert json.loads(result.outputs["legs"] or "[]") == []


# A mutation that the step names must be one of the agent of its leg

BOTH = f"{AGENT_ID}, {PREVIEW_ID}"
OURS, OTHERS = MUTATIONS[0].id, PREVIEW_MUTATIONS[0].id
MISSING = f"names {OURS}, which agent {PREVIEW_ID} does not have as a mutation."


def lists_of(server: Server) -> list[str]:
    """Return the agents whose mutations were read, in the order of their ids."""
    paths = [request.path for request in server.requests_seen if request.path.split("?")[0].endswith("/mutations")]
    return sorted(path.split("/agents/")[1].partition("/")[0] for path in paths)


@pytest.mark.parametrize("mode", ["run", "plan"])
def test_each_agent_and_its_mutations_are_named_before_the_launch(mode: str, run_step: RunStep) -> None:
    ids = ", ".join([*(mutation.id for mutation in MUTATIONS), OTHERS])
    result, server = run_step(mode=mode, agent_id=BOTH, mutation_ids=ids)
    assert is_harmless(server)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")
    (error,) = result.annotations("error")
    ours = [mutation.id for mutation in MUTATIONS]
    assert f"mutation_ids names {OTHERS}, which agent {AGENT_ID} does not have as a mutation." in error.data
    assert f"mutation_ids names {ours[0]}, {ours[1]} and {ours[2]}, which agent {PREVIEW_ID} does not" in error.data
    assert lists_of(server) == sorted([AGENT_ID, PREVIEW_ID])


@pytest.mark.parametrize("action", ["503", "404", f'json {{"mutations": [{{"mutation_id": "{OURS}"}}]}}'])
def test_mutations_that_cannot_be_read_are_no_error(action: str, run_step: RunStep) -> None:
    """A list without ids proves nothing. The sandbox does not launch the preview with them, as Coval may or may not."""
    fault = f"GET /agents/*/mutations -> {action}"
    result, server = run_step(fault, mode="launch", agent_id=BOTH, mutation_ids=OURS)
    assert [run.request.agent_id for run in server.world.runs] == [AGENT_ID]
    assert f"Could not check whether agent {PREVIEW_ID} has the mutations. " in result.log
    result, server = run_step(fault, mode="plan", agent_id=BOTH, mutation_ids=OURS)
    assert (result.exit_code, is_harmless(server)) == (0, True)
    assert f"Not checked: the mutations of agent {PREVIEW_ID}: " in result.log


def test_step_with_one_agent_leaves_its_mutations_to_coval(run_step: RunStep) -> None:
    """Its launch waits for no look-up; a plan has nothing to lose."""
    result, server = run_step(mode="launch", agent_id=AGENT_ID, test_set_id="passing1, passing2", mutation_ids=OURS)
    assert (result.exit_code, lists_of(server)) == (0, [])
    refused, server = run_step(agent_id=PREVIEW_ID, mutation_ids=OURS)
    assert (refused.outputs["verdict"], server.world.runs, lists_of(server)) == ("error", (), [])
    planned, server = run_step(mode="plan", agent_id=PREVIEW_ID, mutation_ids=OURS)
    assert (planned.outputs["reason"], lists_of(server)) == (f"mutation_ids {MISSING}", [PREVIEW_ID])


def test_plan_counts_repetitions(run_step: RunStep) -> None:
    result, _ = run_step(mode="plan", repeat_on_failure="1", thresholds="Resolved: rate(YES) >= 50%")
    assert result.outputs["reason"].endswith("launched, and as many again for each run that fails. Nothing was.")


def test_mutations_that_cannot_be_distinguished_are_error(run_step: RunStep) -> None:
    ids = ",".join(mutation.id for mutation in catalogue.MUTATIONS)
    quirks = Quirks(mutation_fields="name-only", same_mutation_names=True)
    result, _ = run_step(quirks=quirks, mutation_ids=ids, metrics_grace_time="5")
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(
        "The run was launched with 3 mutations, but Coval lists simulations of 1"
    )


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
