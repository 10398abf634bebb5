"""A run template fills the inputs that are empty, and each leg uses its own part of it."""

import json
from collections import Counter
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.catalogue import AGENT_ID, MUTATIONS, PERSONA_ID, PREVIEW_ID, RUN_TEMPLATES
from coval_sandbox.server import Server
from road.legs import legs_of
from road.nights import RunStep
from road.test_planning import EMPTY
from support import StepResult

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
