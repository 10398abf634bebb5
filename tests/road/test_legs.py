"""A step with several legs launches, follows and judges a run of each, and lasts as long as its longest leg."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import PERSONAS, RERUN, SETS, THRESHOLDS, file_of_legs, legs_of, run_statuses, verdicts_of
from road.nights import RunStep
from road.steps import example_thresholds
from road.test_files import Killed, kill
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock

NAMES = [f"{persona} · {test_set}" for persona in PERSONAS.split(", ") for test_set in SETS.split(", ")]
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


def test_each_combination_is_a_leg_named_by_what_differs(run_step: RunStep) -> None:
    result, server = run_step(persona_id=PERSONAS, test_set_id=SETS, thresholds=f"{THRESHOLDS}\nLatency: p(50) < 1.5")
    launched = Counter((record.body["persona_id"], record.body["test_set_id"]) for record in server.world.runs)
    assert launched == Counter((persona, test_set) for persona in PERSONAS.split(", ") for test_set in SETS.split(", "))
    legs = legs_of(result)
    assert list(legs) == NAMES
    titles = [f"Plain caller ({id_}) · {name}" for id_ in PERSONAS.split(", ") for name in ("Passing", "Failing")]
    assert [leg["verdict"] for leg in legs.values()] == ["passed", "failed", "passed", "failed"]
    assert json.loads(result.outputs["run_ids"]) == [leg["run_id"] for leg in legs.values()]
    first = legs[NAMES[0]]
    assert (result.outputs["run_id"], result.outputs["run_url"]) == (first["run_id"], first["run_url"])
    assert result.outputs["reason"].startswith(f"{titles[1]}: ")
    assert result.outputs["reason"].endswith(" (and 2 more criteria and 1 more leg).")
    assert (result.outputs["verdict"], result.exit_code) == ("failed", 1)
    assert (result.outputs["total_simulations"], result.outputs["completed_simulations"]) == ("40", "40")
    failed = (NAMES[1], NAMES[3])
    missed = json.loads(result.outputs["failed_criteria"])
    assert Counter(criterion["leg"] for criterion in missed) == dict.fromkeys(failed, 3)
    # Annotations and lines of the log name the leg. The personas have the same name.
    failed, warnings = (titles[1], titles[3]), result.annotations("warning")
    assert {next(leg for leg in failed if f"Coval: {leg}: " in warning.properties["title"]) for warning in warnings}
    assert all(warning.data.startswith(failed) for warning in warnings)
    (error,) = result.annotations("error")
    *own, others = error.data.splitlines()[:4]
    assert all(line.startswith(titles[1]) for line in own)
    assert others == "1 more leg did not pass."
    _, _, lines = result.log.partition("Other simulations to look at: ")
    simulations = [line for line in lines.partition("::endgroup::")[0].splitlines()[1:] if line[0] not in " …"]
    assert simulations
    assert all(line.startswith(failed) for line in simulations)


def test_step_passes_if_all_legs_do(run_step: RunStep) -> None:
    """An undocumented status is shown once: GitHub shows ten warnings of a step, and more important ones may follow."""
    result, _ = run_step(quirks=Quirks(unknown_status="WARMING UP"), persona_id=PERSONAS)
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("passed", "All 2 legs passed.")
    assert "2 legs:\n  ✅ Passed  " in result.log
    (warning,) = result.annotations("warning")
    assert 'Coval reports the status "WARMING UP", which is not documented' in warning.data


def test_later_attempt_launches_only_what_is_missing(run_step: RunStep) -> None:
    """A leg is the same however many are beside it; it has another name if fewer things differ."""
    legs = {"mode": "launch", "persona_id": PERSONAS, "test_set_id": SETS}
    first, server = run_step("POST /runs #2 -> 403", **legs)
    assert (first.outputs["verdict"], len(server.world.runs)) == ("error", 3)
    again, _ = run_step(world=server.world, env=RERUN, **legs)
    assert (again.outputs["verdict"], len(server.world.runs)) == ("", 4)
    ids = {leg["run_id"] for leg in legs_of(again).values()}
    assert {leg["run_id"] for leg in legs_of(first).values() if leg["run_id"]} < ids
    third = {"GITHUB_RUN_ATTEMPT": "3"}
    fewer, _ = run_step(world=server.world, env=third, mode="launch", test_set_id=SETS)
    assert set(json.loads(fewer.outputs["run_ids"])) < ids
    assert len(server.world.runs) == 4


# Legs of a file, side by side


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


def test_legs_last_as_long_as_the_longest(run_legs: RunLegs, clock: VirtualClock) -> None:
    """The responses to launches are lost, with their effect or without, and their legs alone take longer."""
    result, world = run_legs(LEGS, "POST /runs #3 -> reset-after", "POST /runs #2 -> reset-before")
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
    """Those whose time is over are left in Coval, too."""
    legs = REJECTED | {"stuck": STUCK["good"], "good": LEGS["good"]}
    result, world = run_legs(legs, cancel_on_timeout="false", max_wait_time="300")
    assert verdicts_of(result) == dict.fromkeys(REJECTED, "error") | {"stuck": "timed_out", "good": "passed"}
    assert sorted(run_statuses(world)) == ["COMPLETED", "IN PROGRESS"]
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


def test_killed_step_has_not_passed_because_one_leg_has(run_legs: RunLegs, tmp_path: Path, clock: VirtualClock) -> None:
    world = World(clock.time)
    clock.at(70, kill)
    with pytest.raises(Killed):
        run_legs(STUCK | {"good": LEGS["good"]}, world=world)
    assert "COMPLETED" in run_statuses(world)
    output = (tmp_path / "output").read_text(encoding="utf-8")
    assert re.findall(r"^verdict=(.*)$", output, re.MULTILINE)[-1] == "error"


# Legs send Coval few requests: a look-up once, and polls at a pace that unit/test_schedule.py has

FEW = 3
SPEAKERS = ", ".join(f"persona{number:015}" for number in range(FEW))


def reads_of(server: Server) -> list[str]:
    return [request.path.removeprefix("/v1/") for request in server.requests_seen if request.method == "GET"]


def test_legs_share_look_ups_and_what_later_comparisons_need(run_step: RunStep) -> None:
    _, server = run_step(thresholds="Latency: avg < 1.5", baseline="branch:main", persona_id=SPEAKERS)
    kinds = Counter(path.partition("/")[0] for path in reads_of(server))
    del kinds["runs"]
    shared = {"agents": 1, "metrics": 1, "test-sets": 1, "test-cases": 1}
    assert kinds == shared | {"personas": FEW, "conversations": FEW}
    result, server = run_step("GET /metrics -> 403", thresholds="Latency: avg < 9", persona_id=SPEAKERS)
    assert sum("Could not check before the launch" in line for line in result.log.splitlines()) == FEW
    assert reads_of(server).count("metrics") == 1
    assert result.outputs["verdict"] == "passed"


def test_each_leg_has_its_own_suites_in_junit(run_step: RunStep, golden: Callable[[str, str], None]) -> None:
    result, _ = run_step(
        test_set_id="passing1, failing1, missing1, stuck001",
        max_parallel_runs="1",  # one after the other, so that the sandbox gives the same ids each time
        sub_sample_size="2",
        sub_sample_seed="7",
        thresholds=THRESHOLDS,
        max_wait_time="600",
        junit_path="reports/junit.xml",
    )
    assert [leg["verdict"] for leg in legs_of(result).values()] == ["passed", "failed", "error", "timed_out"]
    root = ET.fromstring(result.junit)
    ET.indent(root)
    golden("reports/several-legs/junit.xml", ET.tostring(root, encoding="unicode") + "\n")
