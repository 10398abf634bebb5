"""A mutation that the step names must be one of the agent of its leg; several agents are checked before any launch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.catalogue import AGENT_ID, MUTATIONS, PERSONA_ID, PREVIEW_ID, PREVIEW_MUTATIONS
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from road.test_plan_mode import is_harmless
from support import StepResult

RunStep = Callable[..., tuple[StepResult, Server]]


BOTH = f"{AGENT_ID}, {PREVIEW_ID}"
OURS, OTHERS = MUTATIONS[0].id, PREVIEW_MUTATIONS[0].id
MISSING = f"names {OURS}, which agent {PREVIEW_ID} does not have as a mutation."


def lists_of(server: Server) -> list[str]:
    """Return the agents whose mutations were read, in the order of their ids."""
    paths = [request.path for request in server.requests_seen if request.path.split("?")[0].endswith("/mutations")]
    return sorted(path.split("/agents/")[1].partition("/")[0] for path in paths)


@pytest.fixture
def run_with(tmp_path: Path, run_step: RunStep) -> RunStep:
    """Run a step with a file in the workspace, which names a leg for each agent."""

    def run(*faults: str, text: str, **given: Any) -> tuple[StepResult, Server]:
        file = tmp_path / "workspace" / "coval-gate.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        ids = {"agent_id": "", "persona_id": PERSONA_ID, "test_set_id": "passing1"}
        return run_step(*faults, **ids | {"config_path": "coval-gate.yml"} | given)

    return run


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


def test_legs_with_their_own_mutations_run(run_with: RunStep) -> None:
    text = (
        f"legs:\n  ours: {{agent_id: {AGENT_ID}, mutation_ids: {OURS}}}\n"
        f"  preview: {{agent_id: {PREVIEW_ID}, mutation_id: {OTHERS}}}\n"
        "  slow: {agent_id: agentSlowPreview000003}\n"
    )
    result, server = run_with(text=text, mode="launch")
    assert result.exit_code == 0, result.log
    assert len(server.world.runs) == 3
    assert lists_of(server) == sorted([AGENT_ID, PREVIEW_ID]), "the third leg names none"


def test_mutation_of_another_leg_has_its_line(run_with: RunStep) -> None:
    text = (
        f"legs:\n  ours:\n    agent_id: {AGENT_ID}\n    mutation_ids: {OURS}\n"
        f"  preview:\n    agent_id: {PREVIEW_ID}\n    mutation_ids: {OURS}\n"
    )
    result, server = run_with(text=text)
    assert is_harmless(server)
    assert result.outputs["reason"] == f"coval-gate.yml, line 7: legs.preview: mutation_ids {MISSING}"
    given = text.replace(f"    mutation_ids: {OURS}\n", "")
    result, server = run_with(text=given, mode="plan", mutation_ids=OURS)
    assert is_harmless(server)
    assert result.outputs["reason"] == f"coval-gate.yml, line 4: legs.preview: mutation_ids {MISSING}"


def test_step_and_template_are_told_apart(run_step: RunStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template's mutations of other agents are left out; the step's own are an error beside a template, too."""
    template = {"agent_ids": BOTH.split(", "), "persona_ids": [PERSONA_ID], "test_set_ids": ["passing1"]}
    own = {"id": "template00000000000001", "display_name": "Own", **template, "mutation_ids": [OURS]}
    monkeypatch.setattr(catalogue, "RUN_TEMPLATES", (own,))
    given = {"mode": "launch", "run_template_id": own["id"], "agent_id": "", "persona_id": "", "test_set_id": ""}
    result, server = run_step(**given)
    assert result.exit_code == 0, result.log
    assert lists_of(server) == sorted([AGENT_ID, PREVIEW_ID])
    assert f"{PREVIEW_ID} leaves out 1 mutation of the template: of another agent." in result.log
    result, server = run_step(**given, mutation_ids=OTHERS)
    assert is_harmless(server)
    assert result.outputs["reason"] == (
        f"mutation_ids names {OTHERS}, which agent {AGENT_ID} does not have as a mutation."
    )


def test_mutations_that_cannot_be_told_apart_are_error(run_step: RunStep) -> None:
    ids = ",".join(mutation.id for mutation in catalogue.MUTATIONS)
    quirks = Quirks(mutation_fields="name-only", same_mutation_names=True)
    result, _ = run_step(quirks=quirks, mutation_ids=ids, metrics_grace_time="5")
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(
        "The run was launched with 3 mutations, but Coval lists simulations of 1"
    )
