"""A leg in slices of its test cases: each is launched once, and the next one only while the answer is open."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from coval_gate.history.tags import BRANCH
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, RESOLVED
from coval_sandbox.runner import read_entries
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.world import World
from road.legs import NEWER, RERUN, launch_count, run_post_step, run_statuses
from road.nights import ON_MAIN, PUSH, Nights, RunStep, prolong
from road.test_files import Killed, kill
from support import StepResult, VirtualClock

UNTIL_CLEAR = {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 80%"}
ALWAYS = (1.0,)
OPEN = (0.7, 0.7, 0.7, 0.75, 0.7)  # shares of YES that are in doubt until all of 100 test cases were called
SLOW: dict[str, Any] = {"conversation": (30.0, 40.0)}


class Resolving(World):
    """A world in which these shares of the conversations of its runs, in turn, are resolved."""

    def __init__(self, clock: VirtualClock, shares: Sequence[float]) -> None:
        super().__init__(clock.time)
        self.shares = shares

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run of which the first conversations are resolved."""
        shown = super().launch(body)
        record = self.runs[-1]
        hits = round(self.shares[(len(self.runs) - 1) % len(self.shares)] * len(record.plan.simulations))
        simulations = tuple(
            replace(planned, values={**planned.values, RESOLVED.id: "YES" if planned.number < hits else "NO"})
            for planned in record.plan.simulations
        )
        self._records[record.run_id] = replace(record, plan=replace(record.plan, simulations=simulations))
        return shown


def world_of(clock: VirtualClock, shares: Sequence[float] = ALWAYS, *, cases: int = 100, **given: Any) -> World:
    world = Resolving(clock, shares)
    quick: dict[str, Any] = {"queue": 1.0, "conversation": (0.1, 0.2)}
    world.scenario = replace(BY_NAME["passing"], test_cases=cases, **quick | given)
    return world


def slices_in(world: World) -> list[list[str]]:
    """Return the test cases of each run."""
    return [list(record.request.options.test_case_ids or ()) for record in world.runs]


def slice_lines(result: StepResult) -> list[str]:
    return [line for line in result.log.splitlines() if line.startswith("After ")]


@pytest.mark.parametrize(
    ("shares", "verdict", "slices", "text"),
    [
        (ALWAYS, "passed", 1, "Decided after 20 of 100 test cases, in 1 slice. The others were not called."),
        ((0.6,), "failed", 2, "Decided after 40 of 100 test cases, in 2 slices. The others were not called."),
        (
            (0.8,),
            "inconclusive",
            2,
            "Stopped after 40 of 100 test cases, in 2 slices: the others would hardly have decided it, and were not "
            "called.",
        ),
        (OPEN, "failed", 5, "All 100 test cases were called, in 5 slices."),
    ],
)
def test_next_slice_is_launched_while_the_answer_is_open(
    shares: Sequence[float], verdict: str, slices: int, text: str, run_step: RunStep, clock: VirtualClock
) -> None:
    reports = {"json_path": "reports/coval.json", "html_path": "reports/coval.html", "digest_path": "digest.md"}
    result, server = run_step(world=world_of(clock, shares), **UNTIL_CLEAR, **reports, event=PUSH, env=ON_MAIN)
    assert result.outputs["verdict"] == verdict, result.log
    assert (result.outputs["planned_simulations"], result.outputs["total_simulations"]) == ("100", str(20 * slices))
    assert json.loads(result.outputs["run_ids"]) == [record.run_id for record in server.world.runs]
    assert [len(cases) for cases in slices_in(server.world)] == [20] * slices
    called = [*chain.from_iterable(slices_in(server.world))]
    assert len(set(called)) == len(called), "no test case is called twice"
    assert len(slice_lines(result)) == slices
    open_ = [f"After {20 * done} of 100 test cases: 0 of 1 threshold decided. Next slice." for done in range(1, slices)]
    assert slice_lines(result)[:-1] == open_
    assert text in result.log
    assert text in result.summary
    (leg,) = json.loads(result.json)["legs"]
    is_clear = {"called": 20 * slices, "cap": 100, "is_clear": True}
    assert (leg["slices"], len(leg["runs"]), len(leg["simulations"])) == (is_clear, slices, 20 * slices)
    assert not any(BRANCH.fullmatch(tag) for record in server.world.runs for tag in record.tags), "none is a baseline"
    assert not any(request.method in ("DELETE", "PATCH") for request in server.requests_seen)


@pytest.mark.parametrize(
    ("given", "cases", "faults", "what"),
    [
        ({}, 501, (), "501 test cases, but 5 slices have at most 500"),
        ({}, 0, (), "names passing1, which has no test cases that the API key can see"),
        ({}, 9, (), "9 test cases, and 5 slices need 10. Leave spend empty."),
        ({"max_simulations": "9"}, 100, (), "max_simulations leaves 9 test cases to each leg, but spend: until clear"),
        (
            {},
            100,
            ("GET /test-cases -> 403",),
            "the permission test-cases:read, set test_case_ids, or leave spend empty",
        ),
    ],
)
def test_leg_that_cannot_be_sliced_is_an_error_before_anything_is_sent(
    given: dict[str, str], cases: int, faults: tuple[str, ...], what: str, run_step: RunStep, clock: VirtualClock
) -> None:
    result, server = run_step(*faults, world=world_of(clock, cases=cases), **UNTIL_CLEAR, **given)
    assert (result.outputs["verdict"], launch_count(server)) == ("error", 0)
    assert what in result.outputs["reason"]
    plan, _ = run_step(*faults, world=world_of(clock, cases=cases), **UNTIL_CLEAR, **given, mode="plan")
    assert what in plan.outputs["reason"]


def test_signal_cancels_the_slice_that_goes_on_and_nothing_else(run_step: RunStep, clock: VirtualClock) -> None:
    world = world_of(clock, OPEN, **SLOW)
    clock.at(clock.now() + 1000, clock.interrupt)
    result, server = run_step(world=world, **UNTIL_CLEAR)
    assert (result.outputs["verdict"], run_statuses(world)) == ("cancelled", ["COMPLETED", "CANCELLED"])
    assert json.loads(result.outputs["run_ids"]) == [record.run_id for record in world.runs]
    assert result.outputs["planned_simulations"] == "100"
    assert int(result.outputs["total_simulations"]) == 40, "what was called, and not the cap"
    assert sum(request.method == "DELETE" for request in server.requests_seen) == 1


KEPT = ", kept from attempt 1: "


def left_slice(run_step: RunStep, clock: VirtualClock, **given: str) -> tuple[StepResult, World]:
    """Make an attempt leave its third slice unfinished."""
    world = world_of(clock, OPEN)
    clock.at(clock.now() + 12.5, clock.interrupt)
    result, _ = run_step(world=world, **UNTIL_CLEAR, cancel_on_interrupt="false", **given)
    prolong(world, seconds=600)
    clock.rearm()
    assert run_statuses(world) == ["COMPLETED", "COMPLETED", "IN PROGRESS"]
    return result, world


def test_rerun_takes_over_the_unfinished_slice_and_the_completed_ones_before_it(
    run_step: RunStep, clock: VirtualClock
) -> None:
    _, world = left_slice(run_step, clock)
    ids = [record.run_id for record in world.runs]
    again, server = run_step(world=world, env=RERUN, supersede="true", **UNTIL_CLEAR)
    assert (again.outputs["verdict"], again.outputs["total_simulations"]) == ("failed", "100"), again.log
    assert json.loads(again.outputs["run_ids"])[:3] == ids
    assert (launch_count(server), len(world.runs)) == (2, 5)
    assert (again.log.count("Taking over the run of an earlier attempt"), again.log.count(KEPT)) == (1, 2)
    assert run_statuses(world) == ["COMPLETED"] * 5


def test_rerun_begins_anew_where_nothing_is_unfinished_or_a_slice_is_missing(
    run_step: RunStep, clock: VirtualClock
) -> None:
    _, world = left_slice(run_step, clock)
    world.delete_run(world.runs[0].run_id)
    again, _ = run_step(world=world, env=RERUN, **UNTIL_CLEAR)
    assert (again.outputs["total_simulations"], len(world.runs)) == ("100", 8)
    assert run_statuses(world)[2] == "CANCELLED", "the slice that nothing needs"
    assert f"Cancelled run {world.runs[2].run_id}: a run of an earlier attempt, which nothing needs now." in again.log
    anew, _ = run_step(world=world, env={"GITHUB_RUN_ATTEMPT": "3"}, **UNTIL_CLEAR)
    assert (anew.outputs["total_simulations"], len(world.runs)) == ("100", 13)


@pytest.mark.parametrize("unfinished", [PREVIEW_ID, AGENT_ID], ids=["of-the-agent", "of-the-base"])
def test_rerun_takes_over_the_slices_of_the_agent_and_its_base_together(
    unfinished: str, run_step: RunStep, clock: VirtualClock
) -> None:
    world = world_of(clock, [share for share in OPEN for _ in ("agent", "base")])
    compared = {"thresholds": f"{UNTIL_CLEAR['thresholds']}\nResolved: rate(YES) >= base - 30pp"}
    given = UNTIL_CLEAR | compared | {"agent_id": PREVIEW_ID, "base_agent_id": AGENT_ID}
    clock.at(clock.now() + 12.5, clock.interrupt)
    run_step(world=world, **given, cancel_on_interrupt="false")
    ids = [record.run_id for record in world.runs]
    third = {world.runs[place].body["agent_id"]: place for place in (-1, -2)}
    prolong(world, seconds=600, place=third[unfinished])
    clock.rearm()
    clock.sleep(30)
    assert sorted(run_statuses(world)) == ["COMPLETED"] * 5 + ["IN PROGRESS"]
    again, _ = run_step(world=world, env=RERUN, **given)
    assert (again.log.count("Taking over the run of an earlier attempt"), again.log.count(KEPT)) == (1, 5), again.log
    assert {*ids} <= {*json.loads(again.outputs["run_ids"])}
    assert run_statuses(world) == ["COMPLETED"] * len(world.runs)
    sliced = [(record.body["agent_id"], *cases) for record, cases in zip(world.runs, slices_in(world), strict=True)]
    assert len({*sliced}) == len(sliced), "no slice is paid for twice"


def test_slices_that_were_drawn_from_another_test_set_end_before_the_new_ones_begin(
    run_step: RunStep, clock: VirtualClock
) -> None:
    _, world = left_slice(run_step, clock)
    world.scenario = replace(world.scenario or BY_NAME["passing"], test_cases=90)
    again, _ = run_step(world=world, env=RERUN, **UNTIL_CLEAR)
    assert f"Cancelled run {world.runs[2].run_id}: its request has changed since it was launched." in again.log
    assert (world.runs[2].cancel_time or math.inf) <= world.runs[3].create_time
    assert (again.outputs["total_simulations"], len(world.runs)) == ("90", 8)


def test_newer_step_supersedes_the_slice_that_goes_on(run_step: RunStep, clock: VirtualClock) -> None:
    _, world = left_slice(run_step, clock)
    newer, _ = run_step(world=world, env=NEWER, supersede="true", **UNTIL_CLEAR)
    assert run_statuses(world) == ["COMPLETED", "COMPLETED", "CANCELLED", *["COMPLETED"] * 5]
    assert f"Cancelled run {world.runs[2].run_id}: superseded by this run." in newer.log


def test_post_step_cancels_the_slice_that_a_killed_rerun_had_yet_to_reach(
    run_step: RunStep, clock: VirtualClock, tmp_path: Path
) -> None:
    result, world = left_slice(run_step, clock)
    clock.at(clock.now() + 1, kill)
    with pytest.raises(Killed):  # while it looks at the first slice
        run_step("GET /conversations/simulated -> 503", world=world, env=RERUN, **UNTIL_CLEAR)
    state = read_entries((tmp_path / "state").read_text(encoding="utf-8"))
    run_post_step(replace(result, state=state), world)
    assert run_statuses(world) == ["COMPLETED", "COMPLETED", "CANCELLED"]


@pytest.mark.parametrize(
    ("fault", "break_", "verdict"),
    [
        ("POST /runs #2 -> 403", None, "error"),
        ("", lambda world: world.delete_run(world.runs[1].run_id), "cancelled"),
    ],
)
def test_slice_without_data_decides_as_a_first_run_would(
    fault: str, break_: Callable[[World], object] | None, verdict: str, run_step: RunStep, clock: VirtualClock
) -> None:
    world = world_of(clock, OPEN)
    if break_:
        clock.at(clock.now() + 6, lambda: break_(world))
    result, _ = run_step(*filter(None, [fault]), world=world, **UNTIL_CLEAR)
    assert (result.outputs["verdict"], len(slice_lines(result))) == (verdict, 1), result.log
    assert ("It was slice 2 of 5." in result.summary) == (verdict != "error"), "an error names its call"


@pytest.mark.parametrize(
    ("shares", "on_timeout", "exit_code"), [(OPEN, "fail", 1), (OPEN, "pass", 1), ((0.85,), "pass", 0)]
)
def test_no_slice_is_begun_that_max_wait_time_would_cut_off(
    shares: Sequence[float], on_timeout: str, exit_code: int, run_step: RunStep, clock: VirtualClock
) -> None:
    """With on_timeout: pass, the step passes only if the test cases so far meet the threshold as counted."""
    given = UNTIL_CLEAR | {"max_wait_time": "2000", "on_timeout": on_timeout}
    result, server = run_step(world=world_of(clock, shares, **SLOW), **given, bare=True)
    assert (result.outputs["verdict"], len(server.world.runs)) == ("timed_out", 2)
    assert (result.exit_code, result.outputs["status"]) == (exit_code, "TIMEOUT")
    assert "but max_wait_time leaves" in slice_lines(result)[-1]
    why = "max_wait_time left too little for more than 40 of 100 test cases, and these do not decide it"
    assert result.outputs["reason"] == f"{why} (and 1 more reason)."
    assert why in result.summary
    assert "Raise max_wait_time, and re-run the job." in result.summary


def test_slice_that_times_out_is_left_for_a_rerun(run_step: RunStep, clock: VirtualClock) -> None:
    world = world_of(clock, OPEN)
    clock.at(clock.now() + 6, lambda: prolong(world, seconds=900))
    result, _ = run_step(world=world, **UNTIL_CLEAR, max_wait_time="300")
    assert (result.outputs["verdict"], run_statuses(world)) == ("timed_out", ["COMPLETED", "IN PROGRESS"])
    again, _ = run_step(world=world, env=RERUN, **UNTIL_CLEAR)
    assert (again.outputs["total_simulations"], len(world.runs)) == ("100", 5), again.log


def test_base_agent_and_mutations_run_in_the_same_slices(run_step: RunStep, clock: VirtualClock) -> None:
    given = UNTIL_CLEAR | {"thresholds": "Resolved: rate(YES) >= base - 5pp"}
    beside, server = run_step(
        world=world_of(clock, (0.9,)), **given, agent_id=PREVIEW_ID, base_agent_id=AGENT_ID, max_simulations="150"
    )
    by_agent = {
        agent: [
            cases
            for run, cases in zip(server.world.runs, slices_in(server.world), strict=True)
            if run.body["agent_id"] == agent
        ]
        for agent in (PREVIEW_ID, AGENT_ID)
    }
    assert by_agent[PREVIEW_ID] == by_agent[AGENT_ID], beside.log
    assert [len(cases) for cases in by_agent[AGENT_ID]] == [15] * len(by_agent[AGENT_ID])
    assert beside.outputs["planned_simulations"] == "150"
    assert beside.outputs["verdict"] in ("passed", "inconclusive")
    mutated, server = run_step(
        world=world_of(clock, (0.9,)), **given, mutation_ids="fasterModel000000000000001", max_simulations="150"
    )
    assert mutated.outputs["planned_simulations"] == "150"
    assert [len(record.plan.simulations) for record in server.world.runs] == [30] * len(server.world.runs)


def test_slices_are_compared_with_whole_runs_and_become_no_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock)
    given: dict[str, Any] = {
        "thresholds": "Resolved: rate(YES) >= baseline - 5pp",
        "confidence": "95%",
        "test_set_id": "unchang1",
    }
    for baseline in ("tag:stable last 2", "branch:main last 2"):
        nights.night("unchanged", baseline=baseline, **given)
        nights.night("unchanged", baseline=baseline, **given)
        tagged = nights.tagged("stable")
        result = nights.night("unchanged", baseline=baseline, pull_request=True, spend="until clear", **given)
        assert result.outputs["verdict"] in ("passed", "inconclusive"), result.log
        assert result.outputs["baseline_run_id"]
        assert "were not called" in result.log
        assert "only in the baseline" not in result.log
        on_main = nights.night("unchanged", baseline=baseline, spend="until clear", **given)
        (warning,) = [one.data for one in on_main.annotations("warning") if "gives the baseline no runs" in one.data]
        assert "Leave spend empty for the runs of the branch" in warning
        assert nights.tagged("stable") == tagged


def test_plan_shows_the_slices_and_what_makes_them_pointless(run_step: RunStep, clock: VirtualClock) -> None:
    thresholds = f"{UNTIL_CLEAR['thresholds']}\nLatency: avg < 2"
    given = UNTIL_CLEAR | {"thresholds": thresholds, "mode": "plan", "max_simulations": "62"}
    result, server = run_step(world=world_of(clock), **given)
    assert "at most 62 simulations" in result.log
    assert (
        "Slices of 12, 13, 12, 13 and 12 test cases: each is launched only while a threshold is undecided."
        in result.log
    )
    assert "Latency: avg < 2 passes only with all test cases, so spend: until clear saves nothing" in result.log
    assert "rate(YES) >= 80% is clear after this many of 62 test cases on average" in result.log
    assert "At most 5 runs with at most 62 simulations would be launched. Nothing was." in result.log
    assert launch_count(server) == 0


def test_slices_without_a_threshold_that_decides_are_questioned(run_step: RunStep, clock: VirtualClock) -> None:
    result, _ = run_step(world=world_of(clock), **UNTIL_CLEAR | {"thresholds": "? Resolved: rate(YES) >= 80%"})
    assert result.outputs["total_simulations"] == "20"
    assert "spend: until clear stops after the first slice: there is no threshold that decides." in result.log


def test_rejected_launch_of_a_later_slice_warns_that_a_rerun_draws_anew(run_step: RunStep, clock: VirtualClock) -> None:
    result, _ = run_step("POST /runs #2 -> 400", world=world_of(clock, OPEN), **UNTIL_CLEAR)
    assert (result.outputs["verdict"], result.outputs["total_simulations"]) == ("error", "20"), result.log
    assert "If test cases were removed since the step drew its slices, re-run the job" in result.log
