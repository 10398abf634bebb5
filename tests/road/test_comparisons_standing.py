"""What later runs are compared with: a tag stands still, a branch moves, and a person accepts."""

import json
import re
from dataclasses import replace
from typing import Any, cast

import pytest

from coval_gate.history.search import MOST_READ
from coval_gate.history.tags import ACCEPTED_TAG, FAILED_TAG
from coval_sandbox.catalogue import AGENT_ID, IMPATIENT_PERSONA_ID, PERSONA_ID, PREVIEW_ID, RESOLVED
from coval_sandbox.scenarios import BY_NAME, Scenario
from road.legs import run_post_step
from road.nights import DAY, ON_MAIN, PUSH, Nights, RunStep
from support import IDS, StepResult, VirtualClock

BY_HAND = ON_MAIN | {"GITHUB_EVENT_NAME": "workflow_dispatch"}
COMPARED = {"baseline": "branch:main", "thresholds": "Resolved: rate(YES) >= baseline - 25pp"}
WITH_BASE = f"{COMPARED['thresholds']}\nLatency: avg <= base * 9"
TAGGED = COMPARED | {"baseline": "tag:stable"}


class Standing(Nights):
    """Nights that compare with what stands on main, or with the tag stable."""

    def night(self, scenario: str | Scenario, *faults: str, **given: Any) -> StepResult:
        return super().night(scenario, *faults, **COMPARED | given)

    def holders(self) -> list[str]:
        return self.tagged("stable")


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Standing:
    return Standing(run_step, clock)


# The mark of a failed run


def test_same_commit_is_red_again_beside_the_run_before_it_got_worse(nights: Standing) -> None:
    """All runs of a failed step are marked, and none of a pull request, with which nothing is compared."""
    for_pull_request = nights.night("some-failed", pull_request=True)
    assert for_pull_request.outputs["verdict"] == "failed"
    assert not [request for request in nights.server.requests_seen if request.method == "PATCH"]
    good = nights.night("passing").outputs["run_id"]
    first = nights.night("failing", repeat_on_failure="1")
    again = nights.night("failing")
    assert [night.outputs["verdict"] for night in (first, again)] == ["failed", "failed"]
    assert again.outputs["baseline_run_id"] == good
    marked = json.loads(first.outputs["run_ids"])
    assert (len(marked), nights.tagged(FAILED_TAG)) == (2, [*marked, again.outputs["run_id"]])
    assert f"Marked run {marked[0]}: no later run is compared with it." in first.log
    fixed = nights.night("passing")
    assert (fixed.outputs["verdict"], fixed.outputs["baseline_run_id"]) == ("passed", good)


def test_red_night_that_both_runs_clear_counts_as_a_baseline(nights: Standing, clock: VirtualClock) -> None:
    """With a confidence, a comparison that failed is decided by both runs; one that both fail is marked."""
    line = "Resolved: rate(YES) >= baseline - 5pp"
    gate = {"thresholds": line, "confidence": "95%", "baseline": "branch:main", "repeat_on_failure": "1"}
    nights.night("passing", **gate)
    worse = replace(BY_NAME["passing"], values=BY_NAME["regressed"].values)
    clock.at(clock.now() + 3, lambda: nights.play("passing"))  # the first run is launched by then
    cleared = nights.night(worse, **gate)
    first, second = json.loads(cleared.outputs["run_ids"])
    assert "The run failed: " in cleared.log, cleared.log
    assert "Both runs together:" in cleared.log
    assert f"Ran twice: run {first} failed, run {second} " in cleared.log
    assert (cleared.outputs["verdict"], cleared.exit_code) == ("inconclusive", 0), cleared.log
    assert nights.tagged(FAILED_TAG) == []
    assert nights.night("passing", **gate).outputs["baseline_run_id"] == first
    red = nights.night("failing", **gate)
    assert red.outputs["verdict"] == "failed"
    assert nights.tagged(FAILED_TAG) == json.loads(red.outputs["run_ids"])


def test_missing_permission_to_change_tags_is_reported_once(nights: Standing) -> None:
    result = nights.night("some-failed", "PATCH /runs/* -> 403", repeat_on_failure="1")
    (warning,) = [text.data for text in result.annotations("warning") if "could not be marked" in text.data]
    assert (result.outputs["verdict"], "runs:write" in warning) == ("failed", True)
    assert not any("mark" in leg["duties"] for leg in result.saved_runs)
    result = nights.night("passing", "PATCH /runs/* -> 403", **TAGGED)
    (warning,) = [text.data for text in result.annotations("warning") if "could not get the tag stable" in text.data]
    assert (result.outputs["verdict"], "runs:write" in warning) == ("inconclusive", True)


def test_post_step_adds_the_mark_that_a_killed_step_owed(nights: Standing, clock: VirtualClock) -> None:
    clock.at(70, clock.interrupt)
    result = nights.night("some-failed", "PATCH /runs/* -> 503", days=0)
    assert nights.tagged(FAILED_TAG) == []
    assert any("mark" in leg["duties"] for leg in result.saved_runs)
    run_post_step(result, nights.world, **ON_MAIN)
    assert nights.tagged(FAILED_TAG) == [run.run_id for run in nights.world.runs]


@pytest.mark.parametrize(("cancels", "expected"), [("false", 1), ("true", 0)])
def test_run_that_goes_on_unjudged_is_reported(cancels: str, expected: int, nights: Standing) -> None:
    result = nights.night("failing", max_wait_time="2", cancel_on_timeout=cancels)
    warnings = [text for text in result.annotations("warning") if "a baseline given by branch may use it" in text.data]
    assert (result.outputs["verdict"], len(warnings)) == ("timed_out", expected)


@pytest.mark.parametrize("lacks", ["simulations", "values"])
def test_run_that_lacks_data_is_no_baseline_though_no_step_judged_it(lacks: str, nights: Standing) -> None:
    scenario = "some-failed" if lacks == "simulations" else "passing"
    assert nights.night(scenario, max_wait_time="2").outputs["verdict"] == "timed_out"
    if lacks == "values":
        for simulation in nights.world.runs[0].plan.simulations[:5]:
            cast("dict[str, object]", simulation.values)[RESOLVED.id] = None
    result = nights.night("failing")
    assert (result.outputs["verdict"], result.outputs["baseline_run_id"]) == ("inconclusive", "")
    expected = "3 of 10 simulations of run " if lacks == "simulations" else "Resolved has no value on 5 of 10 completed"
    assert expected in result.outputs["reason"]


# A tag stands still


def test_tag_fills_itself_with_the_first_runs_that_count_and_then_stands_still(nights: Standing) -> None:
    inputs = TAGGED | {"baseline": "tag:stable last 2"}
    first = nights.night("passing", **inputs)
    assert (first.outputs["verdict"], nights.holders()) == ("inconclusive", [first.outputs["run_id"]])
    assert "It has the tag `stable` now, as 1 of 2 runs." in first.summary
    assert f"Run {first.outputs['run_id']}: It has the tag stable now, as 1 of 2 runs." in first.log
    assert nights.night("failing", **inputs).outputs["verdict"] == "failed"
    holders = [first.outputs["run_id"], nights.night("passing", **inputs).outputs["run_id"]]
    assert nights.night("failing", **inputs).outputs["verdict"] == "failed"
    last = nights.night("passing", **inputs, json_path="report.json")
    assert (last.outputs["verdict"], nights.holders(), nights.tagged(ACCEPTED_TAG)) == ("passed", holders, [])
    document = json.loads((last.workspace / "report.json").read_text())
    assert [run["id"] for run in document["legs"][0]["baseline"]["runs"]] == holders[::-1]


def test_absolute_threshold_that_fails_keeps_no_run_out_of_the_baseline(nights: Standing) -> None:
    """Absolute thresholds judge each run anyway, and a baseline of lucky runs would be too good."""
    tagged, absolute = TAGGED | {"baseline": "tag:stable last 2"}, "Latency: avg < 0.01"
    first = nights.night("passing", **tagged | {"thresholds": absolute})
    compared = nights.night("passing", **tagged | {"thresholds": f"{COMPARED['thresholds']}\n{absolute}"})
    assert [night.outputs["verdict"] for night in (first, compared)] == ["failed", "failed"]
    assert nights.holders() == [first.outputs["run_id"], compared.outputs["run_id"]]
    assert not [warning for warning in first.annotations("warning") if "no effect" in warning.data]
    assert nights.tagged(FAILED_TAG) == []


@pytest.mark.parametrize(
    ("scenario", "given"),
    [
        ("passing", {"thresholds": "No such metric: avg < 1"}),  # data are missing
        ("passing", {"pull_request": True}),
        ("passing", {"env": {"GITHUB_EVENT_NAME": "merge_group", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/x"}}),
    ],
    ids=["metric", "pull request", "merge queue"],
)
def test_run_that_does_not_count_gets_no_tag(scenario: str, given: dict[str, Any], nights: Standing) -> None:
    nights.night(scenario, "GET /agents/* -> 503", bare=True, **TAGGED | given)
    assert nights.holders() == []


def test_run_that_no_job_of_a_branch_launched_gets_no_tag_from_a_step_on_main_that_judges_it(nights: Standing) -> None:
    launch = {"mode": "launch", "thresholds": "", "baseline": ""}
    on_main = nights.night("passing", **launch).outputs["run_id"]
    of_pull_request = nights.night("passing", **launch, pull_request=True).outputs["run_id"]
    branch = next(run for run in nights.world.runs if run.run_id == on_main).tags
    of_both = nights.night("passing", **launch, pull_request=True).outputs["run_id"]
    nights.tag(of_both, next(tag for tag in branch if tag.startswith("coval-gate/branch")))
    elsewhere = nights.world.launch({**IDS, "metadata": {"tags": ["mine"]}})["run"]["run_id"]
    for run_id, holders in ((of_pull_request, []), (of_both, []), (elsewhere, []), (on_main, [on_main])):
        result = nights.night("passing", mode="wait", run_id=run_id, **TAGGED)
        assert (result.outputs["verdict"], nights.holders()) == ("inconclusive", holders)


def test_tag_fills_once_though_lists_show_no_tags(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Standing(run_step, clock, blind_tag_filter=True, list_identity="neither")
    first = nights.night("passing", **TAGGED).outputs["run_id"]
    nights.night("passing", **TAGGED)
    assert nights.holders() == [first]


@pytest.mark.parametrize("through", ["tags", "metadata"])
def test_launches_cannot_carry_the_tag_of_the_baseline(through: str, run_step: RunStep) -> None:
    tags = {"tags": "Stable"} if through == "tags" else {"metadata": '{"tags": ["stable"]}'}
    result, server = run_step(event=PUSH, env=ON_MAIN, **TAGGED | tags)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith("baseline must not be one of tags")


# Acceptance


def accept(nights: Standing, scenario: str = "failing", *faults: str, **given: Any) -> StepResult:
    return nights.night(scenario, *faults, env=BY_HAND, accept="true", **given)


def test_accepted_run_begins_the_comparisons(nights: Standing) -> None:
    nights.night("passing")
    accepted = accept(nights)
    assert (accepted.outputs["verdict"], accepted.outputs["baseline_run_id"]) == ("passed", "")
    assert nights.tagged(ACCEPTED_TAG) == [accepted.outputs["run_id"]]
    assert "| ⚪ | `Resolved: rate(YES) >= baseline - 25pp`<br>accepted |" in accepted.summary
    assert "\nAccepted: later runs are compared with this one.\n" in accepted.summary
    after = nights.night("failing", baseline="branch:main last 3")
    assert (after.outputs["verdict"], after.outputs["baseline_run_id"]) == ("passed", accepted.outputs["run_id"])


def test_only_a_person_accepts(run_step: RunStep) -> None:
    result, server = run_step(event=PUSH, env=ON_MAIN, accept="true", **COMPARED)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith("accept must be false here: a person accepts a run by starting")


def test_accepted_run_is_the_only_one_with_the_tag(nights: Standing) -> None:
    inputs = TAGGED | {"baseline": "tag:stable last 2"}
    nights.night("passing", **inputs)
    failed = nights.night("failing", **inputs).outputs["run_id"]
    newer = nights.night("failing", **inputs).outputs["run_id"]
    accepted = accept(nights, **inputs, mode="wait", run_id=failed)
    assert (accepted.outputs["verdict"], nights.tagged(ACCEPTED_TAG), nights.holders()) == (
        "passed",
        [failed],
        [failed],
    )
    assert nights.tagged(FAILED_TAG) == [newer]
    assert "Runs that were not accepted with it lost the tag stable." in accepted.log
    after = nights.night("failing", **inputs)
    assert (after.outputs["verdict"], after.outputs["baseline_run_id"]) == ("passed", failed)
    assert nights.holders() == [failed, after.outputs["run_id"]]


def test_absolute_thresholds_do_not_keep_a_run_from_being_accepted_and_missing_data_do(nights: Standing) -> None:
    nights.night("passing")
    result = accept(nights, "some-failed")
    assert nights.tagged(ACCEPTED_TAG) == []
    assert [text for text in result.annotations("warning") if "was not accepted: it did not complete" in text.data]
    result = accept(nights, thresholds=f"{COMPARED['thresholds']}\nLatency: avg < 0.01")
    assert (result.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("failed", [result.outputs["run_id"]])
    assert result.outputs["run_id"] not in nights.tagged(FAILED_TAG)


def test_red_step_that_repeated_its_run_explains_how_to_accept_it(nights: Standing) -> None:
    nights.night("passing")
    red = nights.night("failing", repeat_on_failure="1")
    run_id, again = json.loads(red.outputs["run_ids"])
    what = f"start the workflow by hand with mode: wait, run_id: {run_id} and accept: true."
    (error,) = red.annotations("error")
    assert what in error.data
    assert what in red.summary
    refused = accept(nights, mode="wait", run_id=again)
    assert (refused.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("error", [])
    accepted = accept(nights, mode="wait", run_id=run_id)
    assert (accepted.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("passed", [run_id])
    after = nights.night("failing")
    assert (after.outputs["verdict"], after.outputs["baseline_run_id"]) == ("passed", run_id)


def test_run_that_cannot_be_accepted_is_an_error(nights: Standing, clock: VirtualClock) -> None:
    refused = accept(nights, "passing", "PATCH /runs/* -> 403")
    assert (refused.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("error", [])
    assert "runs:write" in refused.log
    clock.at(clock.now() + 70, clock.interrupt)
    killed = accept(nights, "passing", "PATCH /runs/* -> 503", days=0)
    assert (killed.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("cancelled", [])


def test_run_of_pull_request_or_without_origin_is_not_accepted(nights: Standing) -> None:
    launch = {"mode": "launch", "thresholds": "", "baseline": "", "tags": "mine"}
    for_pull_request = nights.night("passing", **launch, pull_request=True).outputs["run_id"]
    elsewhere = nights.world.launch({**IDS, "metadata": {"tags": ["mine"]}})
    for run_id, why in (
        (for_pull_request, "it tests a pull request"),
        (elsewhere["run"]["run_id"], "no CI job launched"),
    ):
        result = accept(nights, "passing", mode="wait", run_id=run_id, baseline="tag:stable")
        assert (result.outputs["verdict"], nights.tagged(ACCEPTED_TAG)) == ("error", [])
        assert f"Run {run_id} was not accepted: {why}" in result.outputs["reason"]


@pytest.mark.parametrize(
    ("inputs", "runs", "these"),
    [
        ({"persona_id": f"{PERSONA_ID}, {IMPATIENT_PERSONA_ID}"}, 2, "these"),
        ({"agent_id": PREVIEW_ID, "base_agent_id": AGENT_ID, "thresholds": WITH_BASE}, 2, "this one"),
    ],
    ids=["legs", "base"],
)
def test_red_step_with_several_runs_can_be_accepted_as_it_explains(
    nights: Standing, inputs: dict[str, str], runs: int, these: str
) -> None:
    inputs = TAGGED | inputs
    nights.night("passing", **inputs)
    red = nights.night("failing", **inputs)
    (named,) = re.findall(r"run_id: ([\w, ]+) and accept: true\. Later runs are then compared with " + these, red.log)
    assert (red.outputs["verdict"], len(named.split(", "))) == ("failed", runs)
    accepted = accept(nights, mode="wait", run_id=named, **inputs)
    assert accepted.outputs["verdict"] == "passed"
    assert {*nights.holders()} == {*nights.tagged(ACCEPTED_TAG)} <= {*named.split(", ")}


def test_run_gets_no_tag_if_too_many_runs_may_have_it(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Standing(run_step, clock, refuse_tag_filter=True, list_identity="neither")
    first = nights.night("passing", **TAGGED).outputs["run_id"]
    for _ in range(MOST_READ):
        nights.world.launch({**IDS, "metadata": {"tags": ["other"]}})
        clock.sleep(60)
    clock.sleep(DAY)
    result = nights.night("failing", **TAGGED)
    assert (result.outputs["verdict"], nights.holders()) == ("inconclusive", [first])
    assert "Coval lists more runs than the step reads" in result.outputs["reason"]
