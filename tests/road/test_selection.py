"""In mode wait, a run of another agent, persona or test set than the inputs name is not judged."""

import json
from typing import Any

import pytest

from coval_sandbox.catalogue import IMPATIENT_PERSONA_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.world import World
from road.nights import RunStep
from support import VirtualClock

RUN = "<the id of the run>"
OTHER_AGENT = "agentOther000000000002"


@pytest.fixture
def wait_for(run_step: RunStep, clock: VirtualClock) -> RunStep:
    """Launch a run of the sandbox's usual ids, let it end by default, and wait for it in another step."""

    def wait(*faults: str, quirks: Quirks = Quirks(), ended: bool = True, **inputs: str) -> Any:  # noqa: B008
        world = World(clock.time, quirks=quirks)
        run_id = run_step(world=world, mode="launch")[0].outputs["run_id"]
        clock.sleep(600 if ended else 5)
        return run_step(
            *(fault.replace(RUN, run_id) for fault in faults), world=world, mode="wait", run_id=run_id, **inputs
        )

    return wait


@pytest.mark.parametrize(
    ("name", "given", "noun", "ended"),
    [
        ("agent_id", OTHER_AGENT, "agent", True),
        ("persona_id", IMPATIENT_PERSONA_ID, "persona", False),
        ("test_set_id", "failing1", "test set", False),
    ],
)
def test_other_run_is_error_and_left_alone(name: str, given: str, noun: str, ended: bool, wait_for: RunStep) -> None:
    result, server = wait_for(ended=ended, **{name: given})
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(f'{name} is "{given}", but run {result.outputs["run_id"]} has "')
    assert f"wait for a run with this {noun}, or leave {name} empty." in result.outputs["reason"]
    assert int(result.outputs["duration_seconds"]) < 30
    assert server.world.runs[0].cancel_time is None
    assert not result.post_step_cancels


def test_every_difference_is_told(wait_for: RunStep) -> None:
    result, _ = wait_for(agent_id=OTHER_AGENT, test_set_id="failing1")
    assert result.outputs["reason"].endswith("1 more problem: test_set_id.")


@pytest.mark.parametrize("inputs", [{}, {"agent_id": "", "persona_id": "", "test_set_id": ""}])
def test_run_that_is_meant_is_judged(inputs: dict[str, str], wait_for: RunStep) -> None:
    result, _ = wait_for(**inputs)
    assert result.outputs["verdict"] == "passed"
    assert not result.annotations("warning")


def test_what_coval_does_not_show_is_told(wait_for: RunStep) -> None:
    result, _ = wait_for(f"GET /runs/* -> json {json.dumps({'run': {'run_id': RUN, 'status': 'FAILED'}})}")
    (warning,) = result.annotations("warning")
    assert warning.data == (
        f"Coval does not show every id of run {result.outputs['run_id']}, so these inputs cannot be checked: "
        "agent_id, persona_id, test_set_id."
    )
