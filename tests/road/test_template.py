"""`run_template_id` fills the inputs that are empty, and each leg takes what is its own of a template."""

import json
from collections import Counter
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.catalogue import AGENT_ID, MUTATIONS, PREVIEW_ID, RUN_TEMPLATES
from coval_sandbox.server import Server
from road.legs import legs_of
from road.nights import RunStep
from support import StepResult

SMOKE, NIGHTLY, OLD = (str(template["id"]) for template in RUN_TEMPLATES)
EMPTY = {"agent_id": "", "persona_id": "", "test_set_id": ""}


def of_template(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch, template: dict[str, Any], *faults: str, **given: str
) -> tuple[StepResult, Server]:
    """Run a step with a template of its own."""
    own = {"id": "template00000000000001", "display_name": "Own", **template}
    monkeypatch.setattr(catalogue, "RUN_TEMPLATES", (own,))
    return run_step(*faults, run_template_id=own["id"], **EMPTY | given)


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
    _, server = run_step(
        run_template_id=SMOKE,
        test_set_id="passing2",
        iteration_count="1",
        concurrency="1",
        test_case_ids="",
        metric_ids="",
        sub_sample_size="4",
        agent_id="",
        persona_id="",
    )
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


def test_older_template_has_one_of_each(run_step: RunStep) -> None:
    result, server = run_step(run_template_id=OLD, **EMPTY)
    assert (len(server.world.runs), result.outputs["verdict"]) == (1, "passed")


def test_base_beside_the_agents_of_a_template(run_step: RunStep, monkeypatch: pytest.MonkeyPatch) -> None:
    template = {"agent_ids": [PREVIEW_ID], "persona_ids": ["p" * 22], "test_set_ids": ["passing1"]}
    template["mutation_ids"] = [MUTATIONS[0].id]
    result, server = of_template(
        run_step, monkeypatch, template, base_agent_id=AGENT_ID, thresholds="Latency: avg <= base * 3"
    )
    assert "\nThe step leaves out 1 mutation of the template: base_agent_id compares with" in result.log
    assert not [run for run in server.world.runs if run.body.get("mutation_ids")]
    assert [run.request.agent_id for run in server.world.runs] == [PREVIEW_ID, AGENT_ID]
    assert result.outputs["verdict"] == "passed"


def test_mutations_and_cases_of_others_are_left_out_and_told(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case.id for case in catalogue.test_cases("passing1", 10)[:2]]
    template = {
        "agent_ids": [AGENT_ID],
        "persona_ids": ["p" * 22],
        "test_set_ids": ["passing1", "passing2"],
        "mutation_ids": [MUTATIONS[0].id, "01JOTHERAGENTSMUTATION0000"],
        "test_case_ids": [*cases, "caseOfNoSetAtAll000001"],
    }
    result, server = of_template(run_step, monkeypatch, template)
    (run,) = server.world.runs
    assert (run.request.test_set_id, run.body["mutation_ids"]) == ("passing1", [MUTATIONS[0].id])
    assert run.body["options"]["test_case_ids"] == cases
    assert "passing1 leaves out 1 mutation of the template: of another agent." in result.log
    assert "passing1 leaves out 1 test case of the template: of another test set." in result.log
    assert "passing2 is left out: the template names no test case of its test set." in result.log


def test_lists_without_ids_are_an_error_before_the_launch(run_step: RunStep, monkeypatch: pytest.MonkeyPatch) -> None:
    template = {
        "agent_ids": [AGENT_ID],
        "persona_ids": ["p" * 22],
        "test_set_ids": ["passing1"],
        "mutation_ids": [MUTATIONS[0].id],
    }
    fault = f'GET /agents/*/mutations -> json {{"mutations": [{{"mutation_id": "{MUTATIONS[0].id}"}}]}}'
    result, server = of_template(run_step, monkeypatch, template, fault)
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert "(id: missing)" in result.outputs["reason"]


@pytest.mark.parametrize(
    ("faults", "given", "problem"),
    [
        (
            (),
            {"run_template_id": "nowhere000000000000001"},
            "run_template_id names nowhere000000000000001, which Coval does not have.",
        ),
        (("GET /run-templates/* -> 403",), {"run_template_id": SMOKE}, "run-templates:read"),
        (
            (),
            {"run_template_id": SMOKE, "base_agent_id": AGENT_ID, "thresholds": "Latency: avg <= base"},
            "base_agent_id is the tested agent",
        ),
    ],
)
def test_template_that_cannot_be_used_is_an_error_before_the_launch(
    faults: tuple[str, ...], given: dict[str, str], problem: str, run_step: RunStep
) -> None:
    result, server = run_step(*faults, **EMPTY | given)
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert problem in result.annotations("error")[0].data


@pytest.mark.parametrize(("name", "count"), [("iteration_count", "2"), ("iteration_count", 0), ("concurrency", 101)])
def test_count_of_a_template_that_no_run_can_have_is_an_error(
    name: str, count: object, run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, server = of_template(run_step, monkeypatch, {**RUN_TEMPLATES[0], name: count})
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert name in result.outputs["reason"]


def test_template_without_a_persona_needs_one(run_step: RunStep, monkeypatch: pytest.MonkeyPatch) -> None:
    template = {"agent_ids": [AGENT_ID], "persona_ids": [], "test_set_ids": ["passing1"]}
    result, _ = of_template(run_step, monkeypatch, template)
    assert result.outputs["reason"] == "persona_id is required: run template template00000000000001 names none."


def test_plan_expands_the_template(run_step: RunStep) -> None:
    result, server = run_step(mode="plan", run_template_id=NIGHTLY, **EMPTY)
    assert (result.outputs["planned_simulations"], server.world.runs) == ("160", ())
    result, _ = run_step(mode="plan", run_template_id=NIGHTLY, api_key="", thresholds="Latency: avg < 1", **EMPTY)
    assert "Runs: unknown, because the run template was not looked up." in result.log
    assert "\n  Latency: avg < 1\n" in result.log
    assert result.outputs["reason"] == "The runs of the run template would be launched. Nothing was."
    assert json.loads(result.outputs["legs"] or "[]") == []
