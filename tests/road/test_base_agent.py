"""`base_agent_id` runs another agent beside the tested one, and `base` in thresholds means that agent's run."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from coval_sandbox.scenarios import for_test_set
from coval_sandbox.world import World
from road.legs import legs_of
from road.nights import RunStep
from support import VirtualClock

THRESHOLDS = "Latency: med <= base * 1.3\nResolved: rate(YES) >= base - 5pp\nCompliance: count(NO) == 0"
BESIDE = {
    "agent_id": PREVIEW_ID,
    "base_agent_id": AGENT_ID,
    "thresholds": THRESHOLDS,
    "confidence": "95%",
    "iteration_count": "3",
}


class Agents(World):
    """A world in which a run has its agent's scenario, if there is one: `"<agent>"`, or `"<agent> <test set>"`."""

    def __init__(self, clock: Callable[[], float], scenarios: dict[str, str]) -> None:
        super().__init__(clock)
        self.scenarios = scenarios

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run in the scenario of its agent."""
        assert isinstance(body, dict)
        agent, test_set = body["agent_id"], body["test_set_id"]
        self.scenario = for_test_set(self.scenarios.get(f"{agent} {test_set}") or self.scenarios.get(agent) or test_set)
        return super().launch(body)


def agents(clock: VirtualClock, **scenarios: str) -> World:
    """Return a world with the scenarios of the `base` and of the `tested` agent, named by test sets."""
    ids = {"base": AGENT_ID, "tested": PREVIEW_ID}
    return Agents(clock.time, {ids[name]: test_set for name, test_set in scenarios.items()})


def run_of(world: World, agent_id: str) -> str:
    """Return the id of the only run of an agent."""
    (run_id,) = [run.run_id for run in world.runs if run.request.agent_id == agent_id]
    return run_id


def running(world: World) -> list[str]:
    """Return the agents whose runs go on."""
    return [run.request.agent_id for run in world.unfinished]


@pytest.mark.parametrize(
    ("agent", "verdicts"), [(PREVIEW_ID, ("passed", "inconclusive")), (SLOW_PREVIEW_ID, ("failed",))]
)
def test_agent_is_compared_with_the_other_one_case_by_case(
    agent: str, verdicts: tuple[str, ...], run_step: RunStep
) -> None:
    given = {"agent_id": agent, "thresholds": THRESHOLDS.replace("1.3", "1.1")}
    home = "https://app.coval.dev/acme" if agent == PREVIEW_ID else "https://app.coval.dev"
    result, server = run_step(**BESIDE | given, json_path="reports/coval.json", dashboard_url=home)
    world = server.world
    assert [run.request.agent_id for run in world.runs] == [agent, AGENT_ID]
    first, second = (run.body | {"agent_id": "", "metadata": {}} for run in world.runs)
    assert first == second, "both run the same"
    assert result.outputs["verdict"] in verdicts
    tested, base = run_of(world, agent), run_of(world, AGENT_ID)
    assert (result.outputs["run_id"], json.loads(result.outputs["run_ids"])) == (tested, [tested, base])
    (leg,) = legs_of(result).values()
    assert (leg["run_id"], leg["base_run_id"]) == (tested, base)
    assert result.outputs["total_simulations"] == "30", "the outputs are about the tested agent"
    assert f"**Base agent `Front desk`**: run [`{base}`]" in result.summary
    assert "10 shared test cases" in result.summary
    (leg,) = json.loads(result.json)["legs"]
    assert [run["id"] for run in leg["base"]["runs"]] == [base]
    compared = [criterion for criterion in leg["criteria"] if criterion["compared_with"] == "base"]
    assert [criterion["shared_test_cases"] for criterion in compared] == [10, 10]
    assert " the base" in result.outputs["reason"]
    page = f"[Open the runs side by side]({home}/reports/new?run_ids={tested},{base})"
    assert (page in result.summary) is ("side by side" in result.summary) is (agent == PREVIEW_ID), "of an organization"


def test_criteria_that_compare_with_nothing_inform_about_the_base(run_step: RunStep, clock: VirtualClock) -> None:
    """The base misses `Compliance: count(NO) == 0`, and the step passes."""
    result, server = run_step(world=agents(clock, base="failing1"), **BESIDE)
    assert result.outputs["verdict"] == "passed"
    assert "[base · Front desk] By itself, which decides nothing:" in result.log
    assert "[base · Front desk]   ✗ Compliance: count(NO) == 0" in result.log
    assert not any("coval-gate/failed" in run.tags for run in server.world.runs)


@pytest.mark.parametrize(
    ("test_set", "on_timeout", "why"),
    [
        ("runFails", "fail", "did not complete (status FAILED)"),
        ("stuck001", "pass", "had not ended when the time was over (status IN PROGRESS); raise max_wait_time"),
        ("queued01", "fail", "had not ended when the time was over (status IN QUEUE); raise max_queue_time"),
        ("someFail", "fail", "cannot be used. "),
    ],
)
def test_base_without_data_is_an_error(
    test_set: str, on_timeout: str, why: str, run_step: RunStep, clock: VirtualClock
) -> None:
    given = BESIDE | {"on_timeout": on_timeout, "max_wait_time": "600", "max_queue_time": "60"}
    result, server = run_step(world=agents(clock, base=test_set), on_inconclusive="pass", **given)
    assert (result.outputs["verdict"], result.exit_code) == ("error", 1)
    reason = result.outputs["reason"]
    assert reason.startswith("Nothing can be compared with the base, because "), reason
    assert why in reason
    assert f"its run {run_of(server.world, AGENT_ID)} " in reason
    assert running(server.world) == [] or test_set in ("stuck001", "queued01")


def test_refused_base_is_an_error_and_hides_nothing(run_step: RunStep, clock: VirtualClock) -> None:
    fault = "POST /runs #2 -> 403"
    result, server = run_step(fault, world=agents(clock, tested="failing1"), **BESIDE)
    assert [run.request.agent_id for run in server.world.runs] == [PREVIEW_ID]
    assert result.outputs["verdict"] == "error"
    failed = json.loads(result.outputs["failed_criteria"])
    assert [(criterion["criterion"], criterion["verdict"]) for criterion in failed] == [
        ("Latency: med <= base * 1.3", "error"),
        ("Resolved: rate(YES) >= base - 5pp", "error"),
        ("Compliance: count(NO) == 0", "failed"),
    ]
    assert [leg["base_run_id"] for leg in legs_of(result).values()] == [""]
    launch, server = run_step(fault, **BESIDE | {"mode": "launch", "thresholds": "", "confidence": ""})
    assert launch.outputs["verdict"] == "error"
    assert running(server.world) == [], "no later step can compare the run with anything"


def test_repetition_repeats_both(run_step: RunStep) -> None:
    given = BESIDE | {
        "agent_id": SLOW_PREVIEW_ID,
        "confidence": "",
        "repeat_on_failure": "1",
        "thresholds": THRESHOLDS.replace("1.3", "1.1"),
    }
    result, server = run_step(**given)
    world = server.world
    assert Counter(run.request.agent_id for run in world.runs) == {SLOW_PREVIEW_ID: 2, AGENT_ID: 2}
    tested = [run.run_id for run in world.runs if run.request.agent_id == SLOW_PREVIEW_ID]
    bases = [run.run_id for run in world.runs if run.request.agent_id == AGENT_ID]
    assert json.loads(result.outputs["run_ids"]) == [tested[0], bases[0], tested[1], bases[1]]
    assert result.outputs["verdict"] == "failed"
    assert result.outputs["total_simulations"] == "60"
    assert f"**Base agent `Front desk`**: runs [`{bases[1]}`]" in result.summary
    assert f"[`{bases[0]}`]" in result.summary
    assert {run.tags.count("coval-gate/failed") for run in world.runs if run.request.agent_id == AGENT_ID} == {0}


def test_both_draw_the_same_sample_and_count_for_the_limit(run_step: RunStep) -> None:
    inputs = BESIDE | {"sub_sample_size": "4", "mode": "launch"}
    refused, server = run_step(**inputs, max_simulations="23")
    assert (refused.outputs["verdict"], server.world.runs) == ("error", ())
    assert "would launch 24 in 2 runs" in refused.outputs["reason"]
    launched, server = run_step(**inputs, max_simulations="24")
    assert launched.outputs["planned_simulations"] == "24"
    (seed,) = {run.request.options.sub_sample_seed for run in server.world.runs}
    assert seed is not None
    cases = [{simulation.test_case_id for simulation in run.plan.simulations} for run in server.world.runs]
    assert cases[0] == cases[1]


def test_launch_of_a_base_that_nothing_needs_is_given_up(run_step: RunStep, clock: VirtualClock) -> None:
    refused = "POST /runs #2-99 -> 429 retry-after=20"
    result, server = run_step(refused, world=agents(clock, tested="runFails"), max_wait_time="1800", **BESIDE)
    assert result.outputs["verdict"] == "failed"
    assert (len(server.world.runs), server.world.unfinished) == (1, ())
    assert clock.now() < 60
