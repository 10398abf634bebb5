"""A mutation that the step names must be one of the agent of its leg: every wrong one is named before the launch."""

import pytest

from coval_sandbox import catalogue
from coval_sandbox.catalogue import AGENT_ID, MUTATIONS, PREVIEW_ID, PREVIEW_MUTATIONS
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from road.nights import RunStep
from road.test_planning import is_harmless

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


def test_mutations_that_cannot_be_distinguished_are_error(run_step: RunStep) -> None:
    ids = ",".join(mutation.id for mutation in catalogue.MUTATIONS)
    quirks = Quirks(mutation_fields="name-only", same_mutation_names=True)
    result, _ = run_step(quirks=quirks, mutation_ids=ids, metrics_grace_time="5")
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(
        "The run was launched with 3 mutations, but Coval lists simulations of 1"
    )
