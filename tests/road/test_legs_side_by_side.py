"""A step with five legs goes through the functions of a step with one, and takes as long as its longest leg."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coval_gate.config.thresholds import parse_thresholds
from coval_gate.flow.progress import Progress
from coval_gate.main import evaluate
from coval_gate.post import post
from coval_gate.runs.leg import Leg
from coval_gate.runs.schedule import run
from coval_gate.runtime import Runtime
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.steps import example_thresholds
from road.test_run_lifecycle import run_statuses
from support import DEFAULTS, IDS, KEY, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coval_gate.config.inputs import Inputs

AGAIN: dict[str, Any] = {"repeat_on_failure": 1}
LEGS: dict[str, dict[str, Any]] = {
    "good": {"test_set_id": "passing1"},
    "better at the second try": {"test_set_id": "flaky002", **AGAIN},
    "other persona": {"test_set_id": "passing1", "persona_id": "persona000000000000002"},
    "bad": {"test_set_id": "failing1", "thresholds": parse_thresholds("Latency: avg < 1.5"), **AGAIN},
    "more conversations": {"test_set_id": "passing1", "iteration_count": 2},
}
EXPECTED = {
    "good": ["passed"],
    "better at the second try": ["failed", "passed"],
    "other persona": ["passed"],
    "bad": ["failed", "failed"],
    "more conversations": ["passed"],
}
STUCK = {name: {"test_set_id": "stuck001", "iteration_count": number + 1} for number, name in enumerate(LEGS)}
SLACK = 60.0  # s to find the run of a launch whose response was lost


class Ended(NamedTuple):
    """What a step with several legs leaves."""

    document: dict[str, Any]
    outputs: dict[str, str]
    state: dict[str, str]
    log: str

    @property
    def legs(self) -> dict[str, dict[str, Any]]:
        """The legs of the JSON report, by their names."""
        return {leg["name"]: leg for leg in self.document["legs"]}


class Steps:
    """Runs steps with several legs against one world."""

    def __init__(self, directory: Path, clock: VirtualClock, *faults: str, quirks: Quirks | None = None) -> None:
        self.world = World(clock.time, quirks=quirks or Quirks())
        self.clock = clock
        self._directory = directory
        self._faults = faults
        self._count = 0

    def run(self, legs: dict[str, dict[str, Any]], **inputs: str) -> Ended:
        """Run the main step."""
        with Server(self.world, faults=self._faults) as server:
            runtime = self._runtime(server, **inputs)

            def plan(inputs: Inputs) -> list[Leg]:
                return [Leg(name=name, inputs=replace(inputs, **given)) for name, given in legs.items()]

            run(evaluate(Progress(runtime), plan), self.clock)
        runner = self.runner
        document = json.loads((runner.workspace / "coval.json").read_text(encoding="utf-8"))
        return Ended(document, runner.outputs, runner.state, self._log.getvalue())

    def run_post(self, states: Sequence[dict[str, Any]]) -> str:
        """Run the post step with what the main step saved, and return its log."""
        with Server(self.world, faults=self._faults) as server:
            runtime = self._runtime(server)
            environ = {**runtime.environ, "STATE_legs": json.dumps(list(states))}
            assert post(replace(runtime, environ=environ)) == 0
        return self._log.getvalue()

    def _runtime(self, server: Server, **inputs: str) -> Runtime:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        self.runner, self._log = LocalRunner(directory, PULL_REQUEST), io.StringIO()
        given = DEFAULTS | {"api_key": KEY, "api_base_url": server.url} | IDS | inputs
        given |= {"json_path": "coval.json"}
        return Runtime(environ=self.runner.environ(given), stdout=self._log, clock=self.clock)


@pytest.mark.parametrize(
    "fault", ["POST /none -> 500", "POST /runs #3 -> reset-after", "POST /runs #2 -> reset-before"]
)
def test_legs_take_as_long_as_the_longest(fault: str, tmp_path: Path, clock: VirtualClock) -> None:
    """The response to a launch is lost, with its effect or without, and its leg alone takes longer."""
    steps = Steps(tmp_path, clock, fault)
    ended = steps.run(LEGS, thresholds=example_thresholds())
    verdicts = {name: [trial["verdict"] for trial in leg["runs"]] for name, leg in ended.legs.items()}
    assert verdicts == {name: EXPECTED[name] for name in LEGS}, ended.log
    assert [ended.legs[name]["verdict"] for name in LEGS] == ["passed", "passed", "passed", "failed", "passed"]
    assert (ended.outputs["verdict"], ended.document["verdict"]) == ("failed", "failed")
    launched = Counter(json.dumps({**record.body, "metadata": None}) for record in steps.world.runs)
    assert sorted(launched.values()) == [1, 1, 1, 2, 2], "each trial is launched once"
    assert json.loads(ended.outputs["run_ids"]) == [run["id"] for leg in ended.legs.values() for run in leg["runs"]]
    ends = [record.end_time - record.create_time for record in steps.world.runs]
    assert clock.now() < 2 * max(ends) + SLACK < sum(ends)


def test_signal_cancels_all_legs(tmp_path: Path, clock: VirtualClock) -> None:
    """One leg has failed and runs again when the signal arrives, and the others still run."""
    steps = Steps(tmp_path, clock, "POST /runs #3 -> reset-after")
    clock.at(70, clock.interrupt)
    ended = steps.run(STUCK | {"bad": LEGS["bad"]}, thresholds=example_thresholds())
    assert (ended.outputs["verdict"], clock.now() <= 76) == ("cancelled", True)
    assert Counter(run_statuses(steps.world)) == {"CANCELLED": 5, "COMPLETED": 1}
    assert not any(entry["cancel"] for entry in json.loads(ended.state["legs"]))
    assert len(ended.legs) == len(LEGS)


def test_killed_step_has_not_passed_because_one_leg_has(tmp_path: Path, clock: VirtualClock) -> None:
    steps = Steps(tmp_path, clock)

    def kill() -> None:
        raise SystemExit

    clock.at(70, kill)
    with pytest.raises(SystemExit):
        steps.run(STUCK | {"good": LEGS["good"]})
    assert "COMPLETED" in run_statuses(steps.world)
    assert steps.runner.outputs["verdict"] == "error"


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(blind_tag_filter=True), Quirks(refuse_tag_filter=True)])
def test_post_step_cancels_runs_of_all_legs(quirks: Quirks, tmp_path: Path, clock: VirtualClock) -> None:
    """The main step was killed before it knew the ids, and the inputs name one of the legs only."""
    steps = Steps(tmp_path, clock, quirks=quirks)
    ended = steps.run(STUCK, mode="launch")
    assert len(steps.world.unfinished) == len(STUCK)
    states = [entry | {"run_id": "", "cancel": True} for entry in json.loads(ended.state["legs"])]
    assert [state["leg"] for state in states] == list(STUCK)
    log = steps.run_post(states)
    assert run_statuses(steps.world) == ["CANCELLED"] * 5, log
