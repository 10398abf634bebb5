"""`mode: wait` is `mode: run` without the launch: each given run is judged as the leg that its metadata name."""

import json
from typing import Any

import pytest

from coval_sandbox.catalogue import AGENT_ID, IMPATIENT_PERSONA_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from coval_sandbox.world import World
from road.legs import PERSONAS, SETS, THRESHOLDS, legs_of, verdicts_of
from road.nights import RunStep
from support import IDS, StepResult, VirtualClock

GATE = {"thresholds": THRESHOLDS}
BASE = {"base_agent_id": AGENT_ID, "thresholds": "Latency: avg <= base * 2"}
SLOWER = {"thresholds": "Latency: avg <= base"}
BARE = {"mode": "wait", "agent_id": "", "persona_id": "", "test_set_id": ""}
SHOWN = ("name", "run_id", "base_run_id", "verdict", "simulations")

PLANS: dict[str, dict[str, str]] = {
    "one": GATE,
    "several": {"persona_id": PERSONAS, "test_set_id": SETS} | GATE,
    "base": {"agent_id": PREVIEW_ID} | BASE,
    "shared bases": {"agent_id": f"{PREVIEW_ID}, {SLOW_PREVIEW_ID}", "test_set_id": "passing1, passing2"}
    | {"sub_sample_size": "2", "sub_sample_seed": "1"}
    | BASE,
    "repeated beside a base": {"agent_id": SLOW_PREVIEW_ID, "repeat_on_failure": "1", "max_simulations": "40"}
    | BASE
    | SLOWER,
}


def shown(result: StepResult) -> list[dict[str, Any]]:
    """Return the entries of the output `legs`, as far as they must not differ."""
    return [{name: leg[name] for name in SHOWN} for leg in legs_of(result).values()]


@pytest.mark.parametrize("plan", ["shared bases", "repeated beside a base"])
def test_launch_and_wait_are_run_in_two_steps(plan: str, run_step: RunStep) -> None:
    """All steps have all inputs of the step in mode run; what only another one uses causes no warning."""
    inputs = PLANS[plan]
    launched, server = run_step(mode="launch", **inputs)
    first = json.loads(launched.outputs["run_ids"])
    assert (launched.exit_code, launched.annotations("warning")) == (0, [])
    waited, _ = run_step(world=server.world, mode="wait", run_id=", ".join(first), **inputs)
    assert "has no effect" not in waited.log
    ids = json.loads(waited.outputs["run_ids"])
    assert ids[: len(first)] == first
    assert len(server.world.runs) == len(ids), "repetitions are launched by the later step"
    again, _ = run_step(world=server.world, mode="wait", run_id=", ".join(ids[::-1]), **inputs)
    assert (shown(again), len(server.world.runs)) == (shown(waited), len(ids))
    same = ("verdict", "run_id", "run_ids", "failed_criteria", "total_simulations")
    assert {name: again.outputs[name] for name in same} == {name: waited.outputs[name] for name in same}
    ran, _ = run_step(**inputs)
    assert verdicts_of(ran) == verdicts_of(again)
    assert len(json.loads(ran.outputs["run_ids"])) == len(ids)
    if plan == "shared bases":  # the legs of one test set have one
        legs = [*legs_of(ran).values()]
        bases = [leg["base_run_id"] for leg in legs]
        assert (len(legs), bases[:2]) == (4, bases[2:])
        assert json.loads(ran.outputs["run_ids"]) == [*(leg["run_id"] for leg in legs), *bases[:2]]


def test_run_of_a_base_is_marked_as_one(run_step: RunStep) -> None:
    """By itself, it would be green whatever the tested agent is worth."""
    launched, server = run_step(mode="launch", tags="nightly", **PLANS["base"])
    tested, base = json.loads(launched.outputs["run_ids"])
    for agent_id in ("", AGENT_ID):
        waited, _ = run_step(world=server.world, **BARE | {"agent_id": agent_id, "run_id": base})
        assert waited.outputs["verdict"] == "error"
        assert f"names run {base}, which is a base: a step with base_agent_id launched it" in waited.outputs["reason"]
    assert not server.world.runs[1].cancel_time
    newest = {"persona_id": IDS["persona_id"], "test_set_id": IDS["test_set_id"], "run_id": "tag:nightly"}
    for agent, found in ((PREVIEW_ID, tested), (AGENT_ID, "")):
        judged, _ = run_step(world=server.world, **BARE | newest | {"agent_id": agent})
        assert judged.outputs["run_id"] == found


def test_repetition_or_base_of_another_step_is_an_error(run_step: RunStep) -> None:
    """Two nights are not one: the luck of one does not make up for the other's failure."""
    red = {"test_set_id": "failing1", "repeat_on_failure": "1", "thresholds": "Latency: avg < 0.1"}
    for inputs in (red, PLANS["base"]):
        nights, world = [], None
        for number in ("1", "2"):
            ran, server = run_step(world=world, env={"GITHUB_RUN_ID": number}, **inputs)
            world = server.world
            nights.append(json.loads(ran.outputs["run_ids"]))
        (first, own), (_, other) = nights
        wait = inputs | {"mode": "wait"}
        mixed, _ = run_step(world=world, env={"GITHUB_RUN_ID": "3"}, **wait, run_id=f"{first}, {other}")
        assert mixed.outputs["verdict"] == "error"
        assert f"run_id names run {other}, which is a " in mixed.outputs["reason"]
        assert f"Another step launched it than run {first}." in mixed.outputs["reason"]
        waited, _ = run_step(world=world, env={"GITHUB_RUN_ID": "3"}, **wait, run_id=f"{first}, {own}")
        assert waited.outputs["verdict"] != "error"


def test_slice_or_repetition_is_marked_as_one(run_step: RunStep) -> None:
    """Its own values would decide, although a step judged several runs together."""
    sliced = {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 20%"}
    repeated = {"test_set_id": "failing1", "repeat_on_failure": "1", "thresholds": "Latency: avg < 0.1"}
    for launch, wait, what, todo in (
        (sliced, {}, "a slice: a step with spend: until clear launched it for a part of the test cases", "leave spend"),
        (
            repeated,
            repeated,
            "a repetition: a step with repeat_on_failure launched it, and it counts",
            "output run_ids",
        ),
    ):
        ran, server = run_step(**launch)
        ids, count = json.loads(ran.outputs["run_ids"]), len(server.world.runs)
        given = [(ids[-1], BARE), (ids[-1], wait | {"mode": "wait"})]
        if launch is sliced:
            given += [(ids[0], BARE), (", ".join(ids), {"mode": "wait"})]
        for run_id, inputs in given:
            waited, _ = run_step(world=server.world, **inputs, run_id=run_id)
            first = run_id.split(", ")[0]
            assert waited.outputs["verdict"] == "error"
            assert f"run_id names run {first}, which is {what}" in waited.outputs["reason"]
            assert todo in waited.outputs["reason"]
            assert not waited.post_step_cancels
        assert len(server.world.runs) == count
        named, _ = run_step(world=server.world, baseline=f"run:{ids[-1]}", thresholds="Latency: avg <= baseline")
        assert named.outputs["reason"].startswith(f"baseline names the run {ids[-1]}, which is {what}")
        assert len(server.world.runs) == count, "nothing was launched"


def test_one_run_needs_nothing_else(run_step: RunStep, clock: VirtualClock) -> None:
    """A person may have launched the run on Coval's own pages."""
    world = World(clock.time)
    ids = [world.launch({**IDS})["run"]["run_id"], run_step(world=world, mode="launch", **GATE)[0].outputs["run_id"]]
    for id_ in ids:
        result, _ = run_step(world=world, **BARE, run_id=id_)
        assert (result.outputs["verdict"], result.annotations("warning")) == ("passed", [])


@pytest.mark.parametrize(
    ("given", "first", "others", "ended"),
    [
        (
            {"agent_id": "agentOther000000000002", "test_set_id": "failing1"},
            "agent",
            "1 more problem: test_set_id.",
            True,
        ),
        ({"persona_id": IMPATIENT_PERSONA_ID}, "persona", "", False),
    ],
)
def test_run_of_another_agent_or_persona_is_an_error_and_left_alone(
    given: dict[str, str], first: str, others: str, ended: bool, run_step: RunStep, clock: VirtualClock
) -> None:
    launched, server = run_step(mode="launch")
    clock.sleep(600 if ended else 5)
    result, _ = run_step(world=server.world, mode="wait", run_id=launched.outputs["run_id"], **given)
    name, reason = f"{first}_id", result.outputs["reason"]
    assert result.outputs["verdict"] == "error"
    assert reason.startswith(f'{name} is "{given[name]}", but run {result.outputs["run_id"]} has "')
    assert f"wait for a run with this {first}, or leave {name} empty." in reason
    assert reason.endswith(others)
    assert int(result.outputs["duration_seconds"]) < 30
    assert server.world.runs[0].cancel_time is None
    assert not result.post_step_cancels


@pytest.mark.parametrize(
    ("launch", "given", "ids", "reason"),
    [
        ("several", {"test_set_id": "passing1"}, "0 1", 'names run {1}, which is of "{A} · {P} · failing1"; the legs'),
        ("several", {}, "0 1 2", 'names no run of "{A} · {Q} · failing1", which is a leg of this step.'),
        ("several", BARE, "0 1", 'names runs of "{A} · {P} · passing1" and "{A} · {P} · failing1", but this step has'),
        ("base", {}, "0", 'names no run of "base · {B} · {P} · passing1", which is'),
        ("one", {"test_set_id": SETS}, "0 other", "names run {other}, but Coval does not show its leg. A step with"),
        ("one", {}, "0 again", 'names two runs that are the first run of "{A} · {P} · passing1": {0} and {again}.'),
    ],
    ids=str,
)  # fmt: skip
def test_runs_that_the_plan_does_not_have_are_an_error(
    launch: str, given: dict[str, str], ids: str, reason: str, run_step: RunStep
) -> None:
    launched, server = run_step(mode="launch", **PLANS[launch])
    runs = {str(number): id_ for number, id_ in enumerate(json.loads(launched.outputs["run_ids"]))}
    env = {"GITHUB_RUN_ID": "2"}
    runs["again"] = run_step(world=server.world, env=env, mode="launch", **PLANS[launch])[0].outputs["run_id"]
    runs["other"] = server.world.launch({**IDS})["run"]["run_id"]
    run_id = ", ".join(runs[name] for name in ids.split())
    result, _ = run_step(world=server.world, **PLANS[launch] | {"mode": "wait"} | given, run_id=run_id)
    personas = dict(zip("PQ", PERSONAS.split(", "), strict=True))
    for name, id_ in ({"A": IDS["agent_id"], "B": AGENT_ID} | personas | runs).items():
        reason = reason.replace(f"{{{name}}}", id_)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(f"run_id {reason}"), result.outputs["reason"]
    assert not result.post_step_cancels
    assert not [run for run in server.world.runs if run.cancel_time is not None], "they are left alone"


@pytest.mark.parametrize("given", [{"agent_id": PREVIEW_ID}, {}], ids=["of a colleague", "of the leg"])
@pytest.mark.parametrize("faults", [(), ("GET /runs/* #1-99 -> 503",)], ids=["seen", "unseen"])
def test_signal_ends_a_given_run_only_once_it_was_seen_to_be_the_leg_s(
    faults: tuple[str, ...], given: dict[str, str], run_step: RunStep, clock: VirtualClock
) -> None:
    launched, server = run_step(mode="launch", test_set_id="stuck001")
    clock.at(clock.now() + 20, clock.interrupt)
    inputs = {"mode": "wait", "run_id": launched.outputs["run_id"], "test_set_id": "stuck001"}
    result, _ = run_step(*faults, world=server.world, **inputs | given)
    (record,) = server.world.runs
    assert (record.cancel_time is not None) == (not faults and not given)
    assert not result.post_step_cancels
    if faults:
        assert result.outputs["reason"] == "The step was interrupted; the run continues in Coval."
        assert f"Run {record.run_id} continues: the step had not seen yet" in result.log


def test_unknown_run_is_reported_soon_and_cancels_no_other(run_step: RunStep, clock: VirtualClock) -> None:
    launched, server = run_step(mode="launch", **PLANS["base"] | {"test_set_id": "slow0001"})
    inputs = PLANS["base"] | {"mode": "wait", "run_id": f"{launched.outputs['run_id']}, nowhere000000000000001"}
    began = clock.now()
    result, _ = run_step(world=server.world, **inputs | {"test_set_id": "slow0001"})
    assert clock.now() - began <= 20
    assert (result.outputs["verdict"], result.post_step_cancels) == ("error", False)
    assert "nowhere000000000000001" in result.outputs["reason"]
    assert len(server.world.unfinished) == 2
