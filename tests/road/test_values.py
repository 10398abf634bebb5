"""A criterion about a value that cannot occur, or a bound that is far away, is never simply met."""

from collections.abc import Callable

import pytest

from coval_sandbox.catalogue import LATENCY, TONE
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


@pytest.fixture
def follow_run(run_step: RunStep, clock: VirtualClock) -> RunStep:
    """Launch a run, and follow it in another step: nothing can be checked before the launch."""

    def follow(*faults: str, **inputs: str) -> tuple[StepResult, Server]:
        world = World(clock.time)
        run_id = run_step(world=world, mode="launch")[0].outputs["run_id"]
        return run_step(*faults, world=world, mode="wait", run_id=run_id, **inputs)

    return follow


def definitions_read(server: Server) -> int:
    """Count how often the step read a metric without numbers. It reads others for their units."""
    numbers = tuple(metric.id for metric in (LATENCY, TONE))
    paths = [request.path for request in server.requests_seen if request.method == "GET"]
    return sum("/metrics/" in path and not path.endswith(numbers) for path in paths)


def test_impossible_value_is_error_in_mode_wait(follow_run: RunStep) -> None:
    result, _ = follow_run(fail_on_metric_id="Resolved", fail_on_metric_value="false")
    assert (result.outputs["verdict"], result.outputs["reason"]) == (
        "error",
        'Resolved cannot be "false" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has YES), so '
        "count(false) cannot be judged.",
    )


def test_definition_is_read_only_for_a_value_that_no_simulation_has(follow_run: RunStep) -> None:
    result, server = follow_run(thresholds="Topics: count(legal) == 0")
    assert (result.outputs["verdict"], definitions_read(server)) == ("passed", 1)
    assert not result.annotations("warning")
    result, server = follow_run(thresholds="Resolved: rate(YES) >= 90%\nCompliance: count(NO) == 0")
    assert (result.outputs["verdict"], definitions_read(server)) == ("passed", 0)


def test_unseen_value_is_questioned_where_definition_is_unreadable(follow_run: RunStep) -> None:
    fault = "GET /metrics/* -> 403"
    result, _ = follow_run(fault, thresholds="Topics: count(legal) == 0")
    assert result.outputs["verdict"] == "passed"
    (warning,) = result.annotations("warning")
    assert 'no simulation has the value "legal" for Topics' in warning.data
    assert "no simulation has the value" in result.summary
    misspelt, _ = follow_run(fault, thresholds="Topics: count(refunds) == 0")
    assert misspelt.outputs["verdict"] == "error"


def test_threshold_that_run_is_too_small_for_is_told_before_launch(run_step: RunStep) -> None:
    result, _ = run_step(sub_sample_size="5", thresholds="Resolved: rate(YES) >= 90%", confidence="95%")
    assert result.annotations("warning")[0].data == (
        "thresholds, line 1: 5 test cases can never show Resolved: rate(YES) >= 90% with 95% confidence, however good "
        "the agent is; 29 can."
    )
