"""A run that is better than its baseline beyond the margin takes the tag only once a second run is so much better."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.config.parsing import MOST_RUN_TAGS, MOST_TAGS
from coval_gate.runs.promote import OURS
from coval_gate.runs.tags import ACCEPTED, BETTER, FAILED
from coval_sandbox import catalogue
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.scenarios import BY_NAME, Numbers
from coval_sandbox.world import World
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

NIGHT = 86_400.0  # s
ENV = {"GITHUB_EVENT_NAME": "schedule", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
BY_HAND = ENV | {"GITHUB_EVENT_NAME": "workflow_dispatch"}
OF_PULL_REQUEST = {
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_HEAD_REF": "patch-1",
    "GITHUB_REF": "refs/pull/42/merge",
}
GIVEN = {
    "baseline": "tag:stable",
    "promote": "stable",
    "thresholds": "Latency: avg <= baseline * 1.1",
    "confidence": "95%",
}
STEADY = replace(BY_NAME["unchanged"], before=None, queue=1.0, conversation=(0.1, 0.2))  # takes few polls
SLOW, USUAL = 1.5, 1.0
WAITS = (
    "it is better than its baseline by more than the margin, which in a single run may be chance. The next run that "
    "is as good gets the tag. To move it at once, run the workflow manually with accept: true."
)


class Nights:
    """Nightly steps on main, which promote their run; the agent's latency is `slower` times as long."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self._run_step = run_step
        self._clock = clock

    def night(self, slower: float, *faults: str, **given: Any) -> StepResult:
        """Run the step of one night, and wait for the next."""
        latency = Numbers(slower, 0.15 * slower, 0.1, 9.0)
        self.world.scenario = replace(STEADY, values={**STEADY.values, catalogue.LATENCY.id: latency})
        env = ENV | {"GITHUB_RUN_ID": str(5000 + len(self.world.runs))} | given.pop("env", {})
        event = given.pop("event", {"ref": "refs/heads/main"})
        result, self.server = self._run_step(*faults, world=self.world, event=event, env=env, **GIVEN | given)
        self._clock.sleep(NIGHT)
        return result

    def elsewhere(self, slower: float, **given: Any) -> StepResult:
        """Run a step that promotes nothing."""
        return self.night(slower, promote="", baseline="", thresholds="Latency: avg < 9", **given)

    def having(self, tag: str) -> list[int]:
        """The numbers of the runs that have a tag, from 0."""
        return [number for number, run in enumerate(self.world.runs) if tag in run.tags]

    @property
    def holders(self) -> list[int]:
        return self.having("stable")


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Nights:
    return Nights(run_step, clock)


def test_better_run_waits_for_another_one(nights: Nights) -> None:
    nights.night(SLOW, tags="nightly")
    result = nights.night(USUAL, tags="nightly")
    assert (result.outputs["verdict"], result.annotations("warning")) == ("passed", [])
    assert (nights.holders, nights.having(BETTER)) == ([0], [1])
    record = nights.world.runs[1]
    assert record.tags == (*(record.request.metadata.tags or ()), BETTER), "the other tags are kept"
    assert f"Run {record.run_id} was not promoted to tag stable: {WAITS}" in result.log
    assert f"\nNot promoted to `stable`: {WAITS}" in result.summary


def test_second_better_run_takes_the_tag(nights: Nights) -> None:
    nights.night(SLOW)
    nights.night(USUAL)
    second = nights.night(USUAL)
    assert (second.outputs["verdict"], second.outputs["baseline_run_id"]) == ("passed", nights.world.runs[0].run_id)
    assert nights.holders == [2]
    assert BETTER not in nights.world.runs[2].tags
    third = nights.night(USUAL)
    assert third.outputs["baseline_run_id"] == second.outputs["run_id"], "it is compared as usual"
    assert nights.holders == [3]


def test_ordinary_run_in_between_ends_the_wait(nights: Nights) -> None:
    nights.night(SLOW)
    nights.night(USUAL)
    nights.night(SLOW)
    assert nights.holders == [2], "an ordinary run is promoted as usual"
    nights.night(USUAL)
    assert (nights.holders, nights.having(BETTER)) == ([2], [1, 3])
    nights.night(USUAL)
    assert nights.holders == [4]


def test_runs_that_are_not_promoted_do_not_end_the_wait(nights: Nights) -> None:
    nights.night(SLOW)
    nights.night(USUAL)
    assert nights.night(2 * SLOW).outputs["verdict"] == "failed"
    nights.elsewhere(SLOW)
    nights.world.launch({**IDS, "metadata": {"tags": ["by hand"]}})
    nights.night(USUAL)
    assert (nights.holders, nights.having(FAILED)) == ([5], [2])


def test_better_run_within_the_margin_is_promoted_at_once(nights: Nights) -> None:
    thresholds = {"thresholds": "Latency: avg <= baseline * 1.6"}
    nights.night(SLOW, **thresholds)
    nights.night(USUAL, **thresholds)
    assert (nights.holders, nights.having(BETTER)) == ([1], [])


def test_accepted_run_takes_the_tag_at_once(nights: Nights) -> None:
    nights.night(SLOW)
    nights.night(USUAL)
    nights.night(USUAL, env=BY_HAND, accept="true")
    assert (nights.holders, nights.having(ACCEPTED)) == ([2], [2])


@pytest.mark.parametrize("promoted", ["", "stable"])
def test_accepted_run_waits_no_more(promoted: str, nights: Nights) -> None:
    nights.night(SLOW)
    run_id = nights.night(USUAL).outputs["run_id"]
    nights.night(USUAL, env=BY_HAND, accept="true", mode="wait", run_id=run_id, promote=promoted)
    assert (nights.having(ACCEPTED), nights.having(BETTER)) == ([1], [])


def test_promoted_run_waits_no_more(nights: Nights) -> None:
    nights.night(SLOW)
    run_id = nights.night(USUAL).outputs["run_id"]
    nights.night(USUAL, mode="wait", run_id=run_id, thresholds="Latency: avg <= baseline * 1.6")
    assert (nights.holders, nights.having(BETTER)) == ([1], [])


def test_run_that_has_the_tag_keeps_it(nights: Nights) -> None:
    first = nights.night(SLOW).outputs["run_id"]
    run_id = nights.night(USUAL, baseline="", thresholds="Latency: avg < 9").outputs["run_id"]
    result = nights.night(USUAL, mode="wait", run_id=run_id, baseline=f"run:{first}")
    assert (result.outputs["baseline_run_id"], nights.holders, nights.having(BETTER)) == (first, [1], [])


def test_later_run_confirms_no_earlier_one(nights: Nights) -> None:
    nights.night(SLOW)
    run_id = nights.elsewhere(USUAL).outputs["run_id"]
    nights.night(USUAL)
    nights.night(USUAL, mode="wait", run_id=run_id)
    assert (nights.holders, nights.having(BETTER)) == ([0], [1, 2])


def test_run_does_not_confirm_itself(nights: Nights) -> None:
    nights.night(SLOW)
    run_id = nights.night(USUAL).outputs["run_id"]
    nights.night(USUAL, mode="wait", run_id=run_id)
    assert (nights.holders, nights.having(BETTER)) == ([0], [1])


def test_run_that_failed_after_all_confirms_nothing(nights: Nights) -> None:
    nights.night(SLOW)
    run_id = nights.night(USUAL).outputs["run_id"]
    nights.night(USUAL, mode="wait", run_id=run_id, promote="", thresholds="Latency: avg < 0.1", baseline="")
    assert (nights.having(FAILED), nights.having(BETTER)) == ([1], [])
    nights.night(USUAL)
    assert nights.holders == [0]


def test_run_that_is_marked_as_failed_confirms_nothing(nights: Nights) -> None:
    """Another step failed it at the same time."""
    nights.night(SLOW)
    nights.night(USUAL)
    record = nights.world.runs[1]
    nights.world.update_run(record.run_id, {"tags": [*record.tags, FAILED]})
    nights.night(USUAL)
    assert nights.holders == [0]


def test_cancelled_run_confirms_nothing(nights: Nights) -> None:
    """A person may have copied the mark from another run."""
    nights.night(SLOW)
    nights.world.launch({**IDS, "metadata": {"tags": [BETTER]}})
    nights.world.delete_run(nights.world.runs[1].run_id)
    nights.night(USUAL)
    assert nights.holders == [0]


def test_run_of_pull_request_confirms_nothing(nights: Nights) -> None:
    """A pull request may edit its workflow: then its run has the mark."""
    nights.night(SLOW)
    nights.elsewhere(USUAL, event=PULL_REQUEST, env=OF_PULL_REQUEST)
    record = nights.world.runs[1]
    nights.world.update_run(record.run_id, {"tags": [*record.tags, BETTER]})
    nights.night(USUAL)
    assert (nights.holders, nights.having(BETTER)) == ([0], [1, 2])


def test_run_of_another_persona_confirms_nothing(nights: Nights) -> None:
    nights.night(SLOW)
    nights.world.launch({**IDS, "persona_id": "p" * 22, "metadata": {"tags": [BETTER]}})
    nights.night(USUAL)
    assert (nights.holders, nights.having(BETTER)) == ([0], [1, 2])


def test_run_that_waits_may_still_be_a_baseline(nights: Nights) -> None:
    nights.night(SLOW)
    waiting = nights.night(USUAL).outputs["run_id"]
    result = nights.night(USUAL, baseline="branch:main", promote="")
    assert result.outputs["baseline_run_id"] == waiting


@pytest.mark.parametrize(
    "quirks",
    [
        {"ignore_tag_filter": True},
        {"blind_tag_filter": True},
        {"list_identity": "metadata"},
        {"list_identity": "neither"},
    ],
    ids=str,
)
def test_earlier_better_run_is_found_whatever_lists_show(
    quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    nights = Nights(run_step, clock, **quirks)
    nights.night(SLOW)
    nights.night(USUAL)
    assert nights.holders == [0]
    nights.night(USUAL)
    assert nights.holders == [2]


def test_earlier_better_run_is_found_among_many_later_runs(nights: Nights) -> None:
    nights.night(SLOW)
    nights.night(USUAL)
    for _ in range(150):
        nights.world.launch({**IDS, "metadata": {"tags": ["by hand"]}})
    nights.night(USUAL)
    assert nights.holders == [152]


def test_later_holder_is_found_among_many_later_runs(nights: Nights) -> None:
    """It ends the wait, however many runs came after it."""
    for slower in (SLOW, USUAL, SLOW):
        nights.night(slower)
    for _ in range(150):
        nights.world.launch({**IDS, "metadata": {"tags": ["by hand"]}})
    nights.night(USUAL)
    assert (nights.holders, nights.having(BETTER)) == ([2], [1, 153])


def test_missing_permission_for_the_mark_is_told_as_a_failed_promotion(nights: Nights) -> None:
    nights.night(SLOW)
    result = nights.night(USUAL, "PATCH /runs/* -> 403")
    (warning,) = result.annotations("warning")
    assert warning.data.startswith(f"Run {result.outputs['run_id']} was not promoted to tag stable: ")
    assert "runs:write" in warning.data
    assert (result.outputs["verdict"], nights.holders, nights.having(BETTER)) == ("passed", [0], [])


@pytest.mark.parametrize("fault", ["PATCH /runs/* #1 -> 503", "PATCH /runs/* #1 -> reset-after", "GET /runs #1 -> 503"])
def test_passing_fault_does_not_hinder_the_mark(fault: str, nights: Nights) -> None:
    nights.night(SLOW)
    result = nights.night(USUAL, fault)
    assert (result.annotations("warning"), nights.holders, nights.having(BETTER)) == ([], [0], [1])


def test_mark_and_tag_find_room_among_many_tags_of_the_user(nights: Nights) -> None:
    inputs = {"tags": ",".join(f"t{number}" for number in range(MOST_RUN_TAGS - OURS - 1))}
    nights.night(SLOW)
    run_id = nights.night(USUAL, **inputs).outputs["run_id"]
    assert nights.having(BETTER) == [1]
    nights.night(USUAL, env=BY_HAND, accept="true", mode="wait", run_id=run_id)
    assert nights.holders == nights.having(ACCEPTED) == [1]


def test_mark_takes_the_place_of_the_group_where_no_room_is_left(nights: Nights) -> None:
    nights.night(SLOW)
    nights.elsewhere(USUAL, tags=",".join(own := [f"t{number}" for number in range(MOST_TAGS)]))
    nights.night(USUAL, mode="wait", run_id=nights.world.runs[1].run_id)
    assert nights.having(BETTER) == [1]
    assert {*own} <= {*nights.world.runs[1].tags}
