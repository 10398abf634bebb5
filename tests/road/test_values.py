"""A criterion about a value that cannot occur, or a bound that is far away, is never simply met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coval_sandbox.catalogue import LATENCY, TONE
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


@pytest.fixture
def follow_run(run_step: RunStep, clock: VirtualClock) -> RunStep:
    """Launch a run, and follow it in another step: nothing can be checked before the launch."""

    def follow(*faults: str, quirks: Quirks = Quirks(), launch: dict[str, str] | None = None, **inputs: str) -> Any:  # noqa: B008
        world = World(clock.time, quirks=quirks)
        run_id = run_step(world=world, mode="launch", **(launch or {}))[0].outputs["run_id"]
        return run_step(*faults, world=world, mode="wait", run_id=run_id, **inputs)

    return follow


def definitions_read(server: Server) -> int:
    """Count how often the step read a metric without numbers. It reads others for their units."""
    numbers = tuple(metric.id for metric in (LATENCY, TONE))
    paths = [request.path for request in server.requests_seen if request.method == "GET"]
    return sum("/metrics/" in path and not path.endswith(numbers) for path in paths)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"thresholds": "Resolved: count(NOO) == 0"},
         'Resolved cannot be "NOO" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has YES), '
         'so count(NOO) '
         "cannot be judged."),
        ({"fail_on_metric_id": "Resolved", "fail_on_metric_value": "false"},
         'Resolved cannot be "false" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has YES), '
         'so count(false) cannot '
         "be judged."),
        ({"thresholds": "Topics: count(lawsuit) == 0"},
         'Topics cannot be "lawsuit". Its values are billing, booking, identity, legal, opening hours or refund '
         "(this run has billing, booking, identity, opening hours, refund), so count(lawsuit) cannot be judged."),
    ],
)  # fmt: skip
def test_impossible_value_is_error_in_mode_wait(inputs: dict[str, str], expected: str, follow_run: RunStep) -> None:
    result, _ = follow_run(**inputs)
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("error", expected)


def test_value_that_definition_lists_is_no_doubt(follow_run: RunStep) -> None:
    result, server = follow_run(thresholds="Topics: count(legal) == 0")
    assert result.outputs["verdict"] == "passed"
    assert definitions_read(server) == 1
    assert not result.annotations("warning")


def test_usual_values_cost_no_call(follow_run: RunStep) -> None:
    result, server = follow_run(thresholds="Resolved: rate(YES) >= 90%\nCompliance: count(NO) == 0")
    assert (result.outputs["verdict"], definitions_read(server)) == ("passed", 0)


@pytest.mark.parametrize("fault", ["GET /metrics/* -> 403", 'GET /metrics/* -> json {"metric": {}}'])
def test_unseen_value_is_questioned_where_definition_is_unreadable(fault: str, follow_run: RunStep) -> None:
    result, _ = follow_run(fault, thresholds="Topics: count(legal) == 0")
    assert result.outputs["verdict"] == "passed"
    (warning,) = result.annotations("warning")
    assert "no simulation has the value" in result.summary
    assert 'no simulation has the value "legal" for Topics' in warning.data
    misspelt, _ = follow_run(fault, thresholds="Topics: count(refunds) == 0")
    assert misspelt.outputs["verdict"] == "error"


def test_distant_bound_is_questioned(run_step: RunStep) -> None:
    result, _ = run_step(thresholds="Latency: p(95) < 1500")
    assert result.outputs["verdict"] == "passed"
    question = "Latency: p(95) < 1500 (thresholds, line 1): the bound is more than 100 times every value of Latency"
    (warning,) = result.annotations("warning")
    assert question in warning.data
    assert "the bound is more than 100 times every value of Latency" in result.summary
