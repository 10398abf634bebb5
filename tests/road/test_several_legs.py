"""A step with several agents, personas or test sets launches, follows and judges a run of each combination."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_gate.step.post import post
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import PERSONAS, RERUN, SETS, THRESHOLDS, legs_of, verdicts_of
from road.nights import RunStep
from road.test_github_pages import CHECK, github_with
from road.test_reports import Killed, kill
from support import DEFAULTS, IDS, KEY, VirtualClock
from validation import junit_schema

NAMES = [f"{persona} · {test_set}" for persona in PERSONAS.split(", ") for test_set in SETS.split(", ")]


def test_each_combination_is_a_leg_named_by_what_differs(run_step: RunStep) -> None:
    result, server = run_step(persona_id=PERSONAS, test_set_id=SETS, thresholds=THRESHOLDS)
    launched = Counter((record.body["persona_id"], record.body["test_set_id"]) for record in server.world.runs)
    assert launched == Counter((persona, test_set) for persona in PERSONAS.split(", ") for test_set in SETS.split(", "))
    legs = legs_of(result)
    assert list(legs) == NAMES
    assert [leg["verdict"] for leg in legs.values()] == ["passed", "failed", "passed", "failed"]
    assert json.loads(result.outputs["run_ids"]) == [leg["run_id"] for leg in legs.values()]
    assert (result.outputs["run_id"], result.outputs["run_url"]) == (
        legs[NAMES[0]]["run_id"],
        legs[NAMES[0]]["run_url"],
    )
    assert result.outputs["reason"].startswith(f"{NAMES[1]}: avg of Latency is ")
    assert result.outputs["reason"].endswith(" (and 1 more criterion and 1 more leg).")
    assert (result.outputs["verdict"], result.exit_code) == ("failed", 1)
    assert (result.outputs["total_simulations"], result.outputs["completed_simulations"]) == ("40", "40")
    missed = json.loads(result.outputs["failed_criteria"])
    assert Counter(criterion["leg"] for criterion in missed) == {NAMES[1]: 2, NAMES[3]: 2}


def test_annotations_and_lines_of_the_log_name_the_leg(run_step: RunStep) -> None:
    result, _ = run_step(persona_id=PERSONAS, test_set_id="failing1", thresholds=THRESHOLDS)
    legs = tuple(PERSONAS.split(", "))
    warnings = result.annotations("warning")
    assert {next(leg for leg in legs if f"Coval: {leg}: " in warning.properties["title"]) for warning in warnings}
    assert all(warning.data.startswith(legs) for warning in warnings)
    (error,) = result.annotations("error")
    first, second, others, *_ = error.data.splitlines()
    assert first.startswith(legs[0])
    assert second.startswith(legs[0])
    assert others == "1 more leg did not pass."
    _, _, lines = result.log.partition("Other simulations to look at: ")
    simulations = [line for line in lines.partition("::endgroup::")[0].splitlines()[1:] if line[0] not in " …"]
    assert simulations
    assert all(line.startswith(legs) for line in simulations)


def test_step_passes_if_all_legs_do(run_step: RunStep) -> None:
    """An undocumented status is told once: GitHub shows ten warnings of a step, and more important ones may follow."""
    result, _ = run_step(quirks=Quirks(unknown_status="WARMING UP"), persona_id=PERSONAS)
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("passed", "All 2 legs passed.")
    assert "2 legs:\n  ✅ Passed  " in result.log
    (warning,) = result.annotations("warning")
    assert 'Coval reports the status "WARMING UP", which is not documented' in warning.data


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
    junit_schema().validate(result.junit)
    root = ET.fromstring(result.junit)
    ET.indent(root)
    golden("reports/several-legs/junit.xml", ET.tostring(root, encoding="unicode") + "\n")
    kinds = {
        (suite.get("name"), case.get("name")): next((node.tag for node in case if node.tag != "system-out"), "passed")
        for suite in root
        for case in suite.iter("testcase")
        if "simulations of" not in str(suite.get("name"))
    }
    names = ["no simulation failed", *THRESHOLDS.splitlines()]
    assert kinds == {
        **{("Coval.passing1: criteria of the gate", name): "passed" for name in (*names, "evaluation")},
        ("Coval.failing1: criteria of the gate", names[0]): "passed",
        ("Coval.failing1: criteria of the gate", names[1]): "failure",
        ("Coval.failing1: criteria of the gate", names[2]): "passed",
        ("Coval.stuck001: criteria of the gate", "evaluation"): "error",
        ("Coval.missing1: criteria of the gate", "evaluation"): "error",
    }


def test_all_reports_count_the_simulations_of_a_leg_without_a_result(run_step: RunStep) -> None:
    """Coval counts test cases, each of which has three simulations here."""
    result, _ = run_step(
        test_set_id="passing1, stuck001",
        iteration_count="3",
        max_wait_time="600",
        json_path="reports/coval.json",
        html_path="reports/coval.html",
    )
    done = 27
    outputs = result.outputs
    assert [outputs["total_simulations"], outputs["completed_simulations"]] == ["60", str(30 + done)]
    assert outputs["pass_rate"] == "0.5"
    stuck = json.loads(result.json)["legs"][1]
    assert [stuck["total_simulations"], stuck["completed_simulations"], stuck["pass_rate"]] == [30, done, None]
    assert [legs_of(result)["stuck001"][name] for name in ("simulations", "pass_rate")] == [30, None]
    assert f"| {done} of 30 |" in result.summary
    assert f"with {done} of 30 simulations done" in result.summary
    assert f"{done}/30 done" in result.log
    assert f"{done} of 30 completed" in (result.workspace / "reports" / "coval.html").read_text(encoding="utf-8")


def test_what_the_step_decides_has_a_suite_of_its_own_in_junit(run_step: RunStep, clock: VirtualClock) -> None:
    """A leg that was stopped has the end of its own run, and one that the step never came to is skipped."""
    clock.at(90, clock.interrupt)
    result, server = run_step(test_set_id="passing1, stuck001", junit_path="reports/junit.xml")
    assert verdicts_of(result) == {"passing1": "passed", "stuck001": "cancelled"}
    assert result.outputs["verdict"] == "cancelled"
    assert "stuck001  The step was interrupted; the run was cancelled." in result.log
    assert not server.world.unfinished
    assert evaluations_in(result.junit) == {"passing1: ": "passed", "stuck001: ": "error", "": "error"}
    result, _ = run_step(test_set_id=SETS, max_simulations="1", junit_path="reports/junit.xml")
    assert evaluations_in(result.junit) == {"passing1: ": "skipped", "failing1: ": "skipped", "": "error"}
    assert 'message="Not evaluated: max_simulations allows 1 simulation, but' in result.junit


def evaluations_in(junit: str) -> dict[str, str]:
    """Return the kinds of the cases that are about whole legs, or about the step, by what their suites are named."""
    cases = [case for case in ET.fromstring(junit).iter("testcase") if case.get("name") == "evaluation"]
    return {
        str(case.get("classname")).removeprefix("Coval.").removesuffix("criteria of the gate"): next(
            (node.tag for node in case), "passed"
        )
        for case in cases
    }


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


def test_run_of_a_leg_that_gave_up_is_cancelled_at_once(run_step: RunStep, clock: VirtualClock) -> None:
    _, server = run_step(test_set_id="queued01, slow0001", max_queue_time="130", cancel_on_timeout="true")
    stuck = next(run for run in server.world.runs if run.body["test_set_id"] == "queued01")
    assert stuck.cancel_time is not None
    assert stuck.cancel_time - stuck.create_time < 150 < clock.now()


def test_leg_does_not_wait_for_the_launch_of_another(run_step: RunStep) -> None:
    """One launch is refused for five minutes; the other leg has the time to run again."""
    result, server = run_step(
        "POST /runs #2-12 -> 429 retry-after=30",
        test_set_id="flaky002, passing1",
        thresholds="Resolved: rate(YES) >= 90%",
        repeat_on_failure="1",
        max_wait_time="600",
    )
    assert "does not run again" not in result.log
    assert [run.body["test_set_id"] for run in server.world.runs].count("flaky002") == 2


def test_state_grows_with_the_number_of_legs(run_step: RunStep) -> None:
    """Each change writes the state of one run, which Linux passes in a variable of at most 128 KiB."""
    sizes = {}
    for legs in (10, 30):
        personas = ", ".join(f"persona{number:015d}" for number in range(legs))
        result, _ = run_step(mode="launch", persona_id=personas, bare=True)
        state = (result.workspace.parent / "state").read_text(encoding="utf-8")
        sizes[legs] = len(state)
        assert max(map(len, state.splitlines())) < 1000
    assert sizes[30] < 3.2 * sizes[10]


@pytest.mark.parametrize("at", [1, 40])
def test_post_step_ends_every_run_of_a_step_that_was_killed(at: float, clock: VirtualClock, tmp_path: Path) -> None:
    """Some legs are over by then."""
    world = World(clock.time)
    clock.at(at, kill)
    inputs = {"test_set_id": "passing1, stuck001, slow0001", "persona_id": PERSONAS}
    with Server(world) as server:
        runner = LocalRunner(tmp_path, PULL_REQUEST)
        environ = runner.environ(DEFAULTS | {"api_key": KEY, "api_base_url": server.url} | IDS | inputs)
        with pytest.raises(Killed):
            main(Runtime(environ=environ, stdout=io.StringIO(), clock=clock))
        states = {f"STATE_{name}": text for name, text in runner.state.items()}
        assert post(Runtime(environ=environ | states, stdout=io.StringIO(), clock=clock)) == 0
    assert len(world.runs) == 6
    assert not world.unfinished


@pytest.mark.parametrize(("first", "conclusion"), [("429 retry-after=20", "success"), ("403", "failure")])
def test_later_step_finds_check_run_that_another_leg_was_first_to_need(
    first: str, conclusion: str, run_step: RunStep, clock: VirtualClock
) -> None:
    """`first`: the first leg's launch comes late, or is refused. The launch could not tell GitHub of it."""
    with github_with("PATCH * -> 502", now=clock.time) as github:
        env = {"GITHUB_API_URL": github.url}
        launch, server = run_step(f"POST /runs #1 -> {first}", mode="launch", persona_id=PERSONAS, env=env, **CHECK)
        assert [check.status for check in github.check_runs] == ["in_progress"]
        github.faults.clear()
        run_step(
            world=server.world, env=env, mode="wait", persona_id=PERSONAS, **CHECK, run_id=launch.outputs["run_ids"]
        )
        assert [check.conclusion for check in github.check_runs] == [conclusion]
