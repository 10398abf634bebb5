"""A step with several legs goes through the functions of a step with one, and takes as long as its longest leg.

Each leg comes to its own verdict, and the log says which leg a line is about.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_gate.step.post import post
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import run_statuses
from road.steps import example_thresholds
from support import DEFAULTS, IDS, KEY, VirtualClock, saved_runs, state_of

AGAIN: dict[str, Any] = {"repeat_on_failure": 1}
GATED: dict[str, Any] = {"test_set_id": "passing1", "thresholds": example_thresholds()}
LEGS: dict[str, dict[str, Any]] = {
    "good": GATED,
    "better at the second try": {**GATED, "test_set_id": "flaky002", **AGAIN},
    "other persona": {**GATED, "persona_id": "persona000000000000002"},
    "bad": {"test_set_id": "failing1", "thresholds": "Latency: avg < 1.5", **AGAIN},
    "more conversations": {**GATED, "iteration_count": 2},
}
EXPECTED = {
    "good": ["passed"],
    "better at the second try": ["failed", "passed"],
    "other persona": ["passed"],
    "bad": ["failed", "failed"],
    "more conversations": ["passed"],
}
REJECTED: dict[str, dict[str, Any]] = {
    "unknown agent": {**GATED, "agent_id": "missing000000000000001"},
    "misspelt metric": {**GATED, "thresholds": "Latncy: avg < 2"},
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


class _Log(io.StringIO):
    """Breaks when a leg with the name "broken" has launched its run."""

    def write(self, text: str) -> int:
        if "[broken] Launched" in text:
            raise TypeError
        return super().write(text)


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
        with Server(self.world, faults=self._faults) as self.server:
            runtime = self._runtime(self.server, config_path="legs.json", **inputs)
            (self.runner.workspace / "legs.json").write_text(json.dumps({"legs": legs}), encoding="utf-8")
            main(runtime)
        runner = self.runner
        document = json.loads((runner.workspace / "coval.json").read_text(encoding="utf-8"))
        return Ended(document, runner.outputs, runner.state, self._log.getvalue())

    def run_post(self, states: Sequence[dict[str, Any]]) -> str:
        """Run the post step with what the main step saved, and return its log."""
        with Server(self.world, faults=self._faults) as server:
            runtime = self._runtime(server)
            environ = {**runtime.environ, "STATE_legs": json.dumps(list(states))}
            assert post(runtime._replace(environ=environ)) == 0
        return self._log.getvalue()

    def _runtime(self, server: Server, **inputs: str) -> Runtime:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        self.runner, self._log = LocalRunner(directory, PULL_REQUEST), _Log()
        given = DEFAULTS | {"api_key": KEY, "api_base_url": server.url} | IDS | inputs
        given |= {"test_set_id": "", "json_path": "coval.json"}
        return Runtime(environ=self.runner.environ(given), stdout=self._log, clock=self.clock)


@pytest.mark.parametrize(
    "fault", ["POST /none -> 500", "POST /runs #3 -> reset-after", "POST /runs #2 -> reset-before"]
)
def test_legs_take_as_long_as_the_longest(fault: str, tmp_path: Path, clock: VirtualClock) -> None:
    """The response to a launch is lost, with its effect or without, and its leg alone takes longer."""
    steps = Steps(tmp_path, clock, fault)
    ended = steps.run(LEGS)
    verdicts = {name: [trial["verdict"] for trial in leg["runs"]] for name, leg in ended.legs.items()}
    assert verdicts == {name: EXPECTED[name] for name in LEGS}, ended.log
    assert [ended.legs[name]["verdict"] for name in LEGS] == ["passed", "passed", "passed", "failed", "passed"]
    assert (ended.outputs["verdict"], ended.document["verdict"]) == ("failed", "failed")
    launched = Counter(json.dumps({**record.body, "metadata": None}) for record in steps.world.runs)
    assert sorted(launched.values()) == [1, 1, 1, 2, 2], "each trial is launched once"
    ids = [[run["id"] for run in leg["runs"]] for leg in ended.legs.values()]
    assert json.loads(ended.outputs["run_ids"]) == [own[0] for own in ids] + [again for own in ids for again in own[1:]]
    assert [leg["name"] for leg in json.loads(ended.outputs["legs"])] == list(LEGS)
    ends = [record.end_time - record.create_time for record in steps.world.runs]
    assert clock.now() < 2 * max(ends) + SLACK < sum(ends)


@pytest.mark.parametrize("rejected", [["unknown agent"], ["misspelt metric"], list(REJECTED)])
def test_leg_that_cannot_be_launched_leaves_the_others_alone(
    rejected: list[str], tmp_path: Path, clock: VirtualClock
) -> None:
    steps = Steps(tmp_path, clock)
    ended = steps.run({name: REJECTED[name] for name in rejected} | LEGS)
    verdicts = {name: leg["verdict"] for name, leg in ended.legs.items()}
    assert verdicts == dict.fromkeys(rejected, "error") | {name: EXPECTED[name][-1] for name in LEGS}, ended.log
    assert set(run_statuses(steps.world)) == {"COMPLETED"}
    assert (ended.outputs["verdict"], ended.document["verdict"]) == ("error", "error")
    assert ended.outputs["reason"].startswith(f"{rejected[0]}: ")
    assert {leg["name"]: leg["run_id"] for leg in json.loads(ended.outputs["legs"])} == {
        name: leg["run"]["id"] for name, leg in ended.legs.items()
    }
    assert ended.outputs["run_id"] == ""
    assert all(ended.legs[name]["runs"] == [] for name in rejected)
    for name in rejected:
        assert f"\n[{name}] This leg ended in an error: " in ended.log
    assert not any(entry["duties"] for entry in saved_runs(ended.state))


def test_error_of_one_leg_is_its_own_verdict(tmp_path: Path, clock: VirtualClock) -> None:
    """Coval refuses to show the run of one leg, which is cancelled; the others go on."""
    steps = Steps(tmp_path, clock)

    def refuse() -> None:
        (stuck,) = [record.run_id for record in steps.world.runs if record.body["test_set_id"] == "stuck001"]
        steps.server.faults.add(f"GET /runs/{stuck} #1 -> 403")

    clock.at(8, refuse)
    ended = steps.run({"refused": STUCK["good"]} | LEGS)
    verdicts = {name: leg["verdict"] for name, leg in ended.legs.items()}
    assert verdicts == {"refused": "error"} | {name: EXPECTED[name][-1] for name in LEGS}, ended.log
    assert Counter(run_statuses(steps.world)) == {"CANCELLED": 1, "COMPLETED": 7}
    assert (ended.outputs["verdict"], ended.outputs["status"]) == ("error", "ERROR")
    assert ended.outputs["reason"].startswith("refused: ")


def test_bug_in_one_leg_leaves_the_others_alone(tmp_path: Path, clock: VirtualClock) -> None:
    ended = Steps(tmp_path, clock).run({"broken": LEGS["other persona"], "good": LEGS["good"]})
    assert {name: leg["verdict"] for name, leg in ended.legs.items()} == {"broken": "error", "good": "passed"}
    assert ended.outputs["reason"] == "broken: Coval Gate has a bug: TypeError."
    assert "::group::[broken] Details for a bug report" in ended.log


def test_run_that_timed_out_is_left_beside_a_leg_with_an_error(tmp_path: Path, clock: VirtualClock) -> None:
    steps = Steps(tmp_path, clock)
    legs = {"stuck": STUCK["good"], "unknown agent": REJECTED["unknown agent"]}
    ended = steps.run(legs, cancel_on_timeout="false", max_wait_time="300")
    assert ended.legs["stuck"]["verdict"] == "timed_out"
    assert (ended.outputs["verdict"], len(steps.world.unfinished)) == ("error", 1)


def test_lines_of_a_leg_carry_its_name(tmp_path: Path, clock: VirtualClock) -> None:
    """The lines of all legs are mixed."""
    steps = Steps(tmp_path, clock, "GET /runs/* #7 -> 503")
    ended = steps.run(LEGS, supersede="true")
    following, _, _ = ended.log.partition("::warning title=Coval%3A")  # the reports of the whole step begin with these
    lines = following.splitlines()
    for name, leg in ended.legs.items():
        own = [line.removeprefix(f"[{name}] ") for line in lines if line.startswith(f"[{name}] ")]
        for run_id in (single_run["id"] for single_run in leg["runs"]):
            (launched,) = [line for line in lines if f"Launched run {run_id}" in line]
            assert launched.startswith(f"[{name}] ")
        assert sum("Waiting for the run" in line for line in own) == len(leg["runs"])
        assert any("100%" in line or "10/10 done" in line for line in own)
    unnamed = [line for line in lines if not line.startswith(tuple(f"[{name}] " for name in LEGS))]
    assert "This step launches" in unnamed.pop(3)
    assert not [line for line in unnamed if "run" in line.lower() or "done" in line or "503" in line], unnamed


def test_lines_of_the_only_leg_carry_no_name(tmp_path: Path, clock: VirtualClock) -> None:
    ended = Steps(tmp_path, clock).run({"alone": LEGS["good"]})
    assert "alone]" not in ended.log
    assert "\nLaunched run " in ended.log


def test_signal_cancels_all_legs(tmp_path: Path, clock: VirtualClock) -> None:
    """One leg has failed and runs again when the signal arrives, and the others still run."""
    steps = Steps(tmp_path, clock, "POST /runs #3 -> reset-after")
    clock.at(70, clock.interrupt)
    ended = steps.run(STUCK | {"bad": LEGS["bad"]})
    assert (ended.outputs["verdict"], clock.now() <= 76) == ("cancelled", True)
    assert Counter(run_statuses(steps.world)) == {"CANCELLED": 5, "COMPLETED": 1}
    assert not any("cancel" in entry["duties"] for entry in saved_runs(ended.state))
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
    assert saved_runs(ended.state) == [], "only what is open is saved"
    states = [state_of(record) | {"run_id": ""} for record in steps.world.runs]
    assert {state["leg"] for state in states} == {*STUCK}
    log = steps.run_post(states)
    assert run_statuses(steps.world) == ["CANCELLED"] * 5, log
    assert all(f"\n[{name}] The main step left a run behind: " in log for name in STUCK), log
