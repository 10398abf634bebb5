"""A step with several legs goes through the functions of a step with one, and takes as long as its longest leg.

Each leg comes to its own verdict, and the log says which leg a line is about.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import file_of_legs, legs_of, run_statuses, verdicts_of
from road.nights import RunStep
from road.steps import example_thresholds
from road.test_reports import Killed, kill
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock

GATED: dict[str, Any] = {"test_set_id": "passing1", "thresholds": example_thresholds()}
LEGS: dict[str, dict[str, Any]] = {
    "good": GATED,
    "better at the second try": {**GATED, "test_set_id": "flaky002", "repeat_on_failure": 1},
    "other persona": {**GATED, "persona_id": "persona000000000000002"},
    "bad": {"test_set_id": "failing1", "thresholds": "Latency: avg < 1.5", "repeat_on_failure": 1},
}
EXPECTED = {
    "good": ["passed"],
    "better at the second try": ["failed", "passed"],
    "other persona": ["passed"],
    "bad": ["failed", "failed"],
}
REJECTED: dict[str, dict[str, Any]] = {
    "unknown agent": {**GATED, "agent_id": "missing000000000000001"},
    "misspelt metric": {**GATED, "thresholds": "Latncy: avg < 2"},
}
STUCK = {name: {"test_set_id": "stuck001", "iteration_count": number + 1} for number, name in enumerate(LEGS)}
SLACK = 60.0  # s to find the run of a launch whose response was lost

RunLegs = Callable[..., tuple[StepResult, World]]


@pytest.fixture
def run_legs(run_step: RunStep, tmp_path: Path, clock: VirtualClock) -> RunLegs:
    """Run a step with these legs. Return its result and its world."""

    def run(legs: dict[str, dict[str, Any]], *faults: str, **given: Any) -> tuple[StepResult, World]:
        world = given.pop("world", None) or World(clock.time)
        inputs = {"config_path": file_of_legs(tmp_path, legs), "test_set_id": "", "json_path": "reports/coval.json"}
        result, _ = run_step(*faults, world=world, **inputs | given)
        return result, world

    return run


def runs_of(result: StepResult) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of each leg, from the JSON report."""
    return {leg["name"]: leg["runs"] for leg in json.loads(result.json)["legs"]}


@pytest.mark.parametrize(
    "fault", ["POST /none -> 500", "POST /runs #3 -> reset-after", "POST /runs #2 -> reset-before"]
)
def test_legs_take_as_long_as_the_longest(fault: str, run_legs: RunLegs, clock: VirtualClock) -> None:
    """The response to a launch is lost, with its effect or without, and its leg alone takes longer."""
    result, world = run_legs(LEGS, fault)
    runs = runs_of(result)
    assert {name: [run["verdict"] for run in own] for name, own in runs.items()} == EXPECTED, result.log
    assert verdicts_of(result) == {name: own[-1] for name, own in EXPECTED.items()}
    assert (result.outputs["verdict"], json.loads(result.json)["verdict"]) == ("failed", "failed")
    launched = Counter(json.dumps({**record.body, "metadata": None}) for record in world.runs)
    assert sorted(launched.values()) == [1, 1, 2, 2], "each trial is launched once"
    ids = [[run["id"] for run in own] for own in runs.values()]
    assert json.loads(result.outputs["run_ids"]) == [own[0] for own in ids] + [
        again for own in ids for again in own[1:]
    ]
    ends = [record.end_time - record.create_time for record in world.runs]
    assert clock.now() < 2 * max(ends) + SLACK < sum(ends)


def test_leg_that_cannot_be_launched_leaves_the_others_alone(run_legs: RunLegs) -> None:
    result, world = run_legs(REJECTED | LEGS)
    assert verdicts_of(result) == dict.fromkeys(REJECTED, "error") | {name: own[-1] for name, own in EXPECTED.items()}
    assert set(run_statuses(world)) == {"COMPLETED"}
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    assert result.outputs["reason"].startswith("unknown agent: ")
    runs = runs_of(result)
    assert {name: leg["run_id"] for name, leg in legs_of(result).items()} == {
        name: own[0]["id"] if own else "" for name, own in runs.items()
    }
    for name in REJECTED:
        assert runs[name] == []
        assert f"\n[{name}] This leg ended in an error: " in result.log
    assert not result.post_step_cancels


def test_error_of_one_leg_is_its_own_verdict(run_legs: RunLegs) -> None:
    """Coval refuses to show the run of one leg, which is cancelled; the others go on."""
    legs = {"refused": STUCK["good"]} | LEGS
    result, world = run_legs(legs, "GET /runs/BGvffsneXVocAfhtfe4adw #3 -> 403", max_parallel_runs="1")
    assert verdicts_of(result) == {"refused": "error"} | {name: own[-1] for name, own in EXPECTED.items()}, result.log
    assert Counter(run_statuses(world)) == {"CANCELLED": 1, "COMPLETED": 6}
    assert (result.outputs["verdict"], result.outputs["status"]) == ("error", "ERROR")
    assert result.outputs["reason"].startswith("refused: ")


class _Log(io.StringIO):
    """Breaks when a leg with the name "broken" has launched its run."""

    def write(self, text: str) -> int:
        if "[broken] Launched" in text:
            raise TypeError
        return super().write(text)


def test_bug_in_one_leg_leaves_the_others_alone(tmp_path: Path, clock: VirtualClock) -> None:
    runner, log = LocalRunner(tmp_path), _Log()
    legs = {"broken": LEGS["other persona"], "good": LEGS["good"]}
    with Server(World(clock.time)) as server:
        inputs = {"api_key": KEY, "api_base_url": server.url, "config_path": file_of_legs(tmp_path, legs)}
        main(Runtime(environ=runner.environ(DEFAULTS | IDS | inputs | {"test_set_id": ""}), stdout=log, clock=clock))
    verdicts = {leg["name"]: leg["verdict"] for leg in json.loads(runner.outputs["legs"])}
    assert verdicts == {"broken": "error", "good": "passed"}
    assert runner.outputs["reason"] == "broken: Coval Gate has a bug: TypeError."
    assert "::group::[broken] Details for a bug report" in log.getvalue()


def test_run_that_timed_out_is_left_beside_a_leg_with_an_error(run_legs: RunLegs) -> None:
    legs = {"stuck": STUCK["good"], "unknown agent": REJECTED["unknown agent"]}
    result, world = run_legs(legs, cancel_on_timeout="false", max_wait_time="300")
    assert verdicts_of(result)["stuck"] == "timed_out"
    assert (result.outputs["verdict"], len(world.unfinished)) == ("error", 1)


def test_lines_of_a_leg_carry_its_name_if_it_is_not_the_only_one(run_legs: RunLegs) -> None:
    """The lines of all legs are mixed."""
    result, _ = run_legs(LEGS, "GET /runs/* #7 -> 503", supersede="true")
    following, _, _ = result.log.partition("::warning title=Coval%3A")  # the reports of the whole step begin with these
    lines = following.splitlines()
    for name, runs in runs_of(result).items():
        own = [line.removeprefix(f"[{name}] ") for line in lines if line.startswith(f"[{name}] ")]
        for run in runs:
            (launched,) = [line for line in lines if f"Launched run {run['id']}" in line]
            assert launched.startswith(f"[{name}] ")
        assert sum("Waiting for the run" in line for line in own) == len(runs)
        assert any("100%" in line or "10/10 done" in line for line in own)
    unnamed = [line for line in lines if not line.startswith(tuple(f"[{name}] " for name in LEGS))]
    assert "This step launches" in unnamed.pop(3)
    assert not [line for line in unnamed if "run" in line.lower() or "done" in line or "503" in line], unnamed
    alone, _ = run_legs({"alone": LEGS["good"]})
    assert "alone]" not in alone.log
    assert "\nLaunched run " in alone.log


def test_signal_cancels_all_legs(run_legs: RunLegs, clock: VirtualClock) -> None:
    """One leg has failed and runs again when the signal arrives, and the others still run."""
    clock.at(70, clock.interrupt)
    result, world = run_legs(STUCK | {"bad": LEGS["bad"]}, "POST /runs #3 -> reset-after")
    assert (result.outputs["verdict"], clock.now() <= 76) == ("cancelled", True)
    assert Counter(run_statuses(world)) == {"CANCELLED": 4, "COMPLETED": 1}
    assert not result.post_step_cancels
    assert len(legs_of(result)) == len(LEGS)


def test_killed_step_has_not_passed_because_one_leg_has(run_legs: RunLegs, tmp_path: Path, clock: VirtualClock) -> None:
    world = World(clock.time)
    clock.at(70, kill)
    with pytest.raises(Killed):
        run_legs(STUCK | {"good": LEGS["good"]}, world=world)
    assert "COMPLETED" in run_statuses(world)
    output = (tmp_path / "output").read_text(encoding="utf-8")
    assert re.findall(r"^verdict=(.*)$", output, re.MULTILINE)[-1] == "error"
