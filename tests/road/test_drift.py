"""Nights beside a fixed reference: a slow decline turns the check red, and only `accept` moves the reference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.model.baseline import REFERENCE_RUNS
from coval_sandbox import catalogue
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import BY_NAME, Numbers
from coval_sandbox.world import World
from selection import shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

NIGHT = 86_400.0  # s
ENV = {"GITHUB_EVENT_NAME": "schedule", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
BY_HAND = ENV | {"GITHUB_EVENT_NAME": "workflow_dispatch"}
THRESHOLDS = "Latency: avg <= baseline * 1.1"
STEADY = replace(BY_NAME["unchanged"], before=None, queue=1.0, conversation=(0.1, 0.2))  # takes few polls


class Nights:
    """A sandbox that a step visits every night; the agent's latency is `slower` times as long."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self._run_step = run_step
        self._clock = clock

    def pass_by(
        self, *faults: str, slower: float = 1.0, env: Mapping[str, str] | None = None, **given: str
    ) -> StepResult:
        """Run the step, and wait for the next night."""
        latency = Numbers(1.0 * slower, 0.15 * slower, 0.3, 9.0)
        self.world.scenario = replace(STEADY, values={**STEADY.values, catalogue.LATENCY.id: latency})
        inputs = {"baseline": "branch:main", "drift": "tag:golden", "thresholds": THRESHOLDS} | given
        env = ENV | {"GITHUB_RUN_ID": str(5000 + len(self.world.runs))} | dict(env or {})
        event = {"ref": "refs/heads/main"}
        if inputs["drift"] and inputs.get("mode") == "launch":
            inputs = {name: value for name, value in inputs.items() if name not in ("drift", "thresholds")}
        result, self.server = self._run_step(*faults, world=self.world, event=event, env=env, **inputs)
        self._clock.sleep(NIGHT)
        return result

    def begin(self) -> None:
        """Let a reference begin, and have all of its runs."""
        self.pass_by()
        for _ in range(REFERENCE_RUNS - 1):
            self.pass_by(mode="launch")

    @property
    def holders(self) -> list[int]:
        """The numbers of the runs that have the tag, from 0."""
        return [number for number, run in enumerate(self.world.runs) if "golden" in run.tags]

    @property
    def failed(self) -> list[int]:
        """The numbers of the runs that are marked as failed."""
        return [number for number, run in enumerate(self.world.runs) if "coval-gate/failed" in run.tags]


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Callable[..., Nights]:
    return lambda **quirks: Nights(run_step, clock, **quirks)


def line(result: StepResult) -> str:
    """Return the line of the log on the check of drift."""
    (found,) = [splitline for splitline in result.log.splitlines() if "no drift: " in splitline]
    return found.strip()


def test_first_run_takes_tag_and_keeps_it(nights: Callable[..., Nights]) -> None:
    past = nights()
    first = past.pass_by()
    assert "○ no drift: Latency: avg <= baseline * 1.1  the reference has 0 of 7 runs" in line(first)
    assert past.holders == [0]
    for night in range(1, REFERENCE_RUNS):
        result = past.pass_by()
        assert f"the reference has {night} of 7 runs" in line(result)
        assert result.outputs["verdict"] in ("passed", "inconclusive")
    assert line(past.pass_by()).startswith("✓ no drift: ")
    assert past.holders == [0]


@pytest.mark.long
def test_slow_decline_fails_although_no_night_is_worse_than_the_one_before(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    slower, verdicts = 1.0, list[str]()
    for _ in range(12):
        slower *= 1.02
        result = past.pass_by(slower=slower, html_path="reports/coval.html", json_path="reports/coval.json")
        verdicts.append(result.outputs["verdict"])
        if verdicts[-1] == "failed":
            break
    else:
        pytest.fail("the decline is never seen")
    assert len(verdicts) > 2, "no single night is an alarm"
    compared = [splitline for splitline in result.log.splitlines() if "✓ Latency: avg" in splitline]
    assert compared, "the baseline of the night before does not see it"
    assert "avg of Latency drifts: " in result.outputs["reason"]
    assert " since 20" in result.outputs["reason"]
    assert "must be <= baseline * 1.1 (" in result.outputs["reason"]
    assert "xychart-beta" in result.summary
    assert past.failed == [len(past.world.runs) - 1]
    assert "accept: true" in result.log
    (leg,) = json.loads(result.json)["legs"]
    (found,) = [criterion for criterion in leg["criteria"] if criterion["kind"] == "drift"]
    path = found["drift"]
    assert len(path["nights"]) == len(verdicts)
    assert path["sum"] > path["level"]
    assert path["nights"][-1]["run_id"] == result.outputs["run_id"]
    assert path["reference_run_ids"][0] == past.world.runs[0].run_id
    again = past.pass_by(slower=slower)
    assert again.outputs["verdict"] == "failed", "a failed night counts, and the reference stays"
    assert past.holders == [0]


@pytest.mark.long
def test_unchanged_agent_stays_green(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    for _ in range(8):
        result = past.pass_by()
        assert line(result).startswith("✓ no drift: ")
    assert past.failed == []


def test_only_accept_moves_the_reference(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    past.pass_by(slower=1.3)
    past.pass_by(slower=1.3)
    assert past.failed
    accepted = past.pass_by(slower=1.3, env=BY_HAND, accept="true", promote="stable")
    assert accepted.exit_code == 0
    assert past.holders == [len(past.world.runs) - 1]
    after = past.pass_by(slower=1.3)
    assert "the reference has 1 of 7 runs" in line(after)
    assert past.holders == [len(past.world.runs) - 2]


def test_failed_run_begins_no_reference(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.pass_by(thresholds=f"{THRESHOLDS}\nLatency: avg < 0.1")
    assert past.holders == []
    past.pass_by()
    assert past.holders == [1]


def test_failed_run_is_none_of_the_reference_and_counts_after_it(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.pass_by()
    past.pass_by(slower=3.0)
    assert past.failed == [1]
    for _ in range(REFERENCE_RUNS - 2):
        past.pass_by(mode="launch")
    assert "the reference has 6 of 7 runs" in line(past.pass_by())
    assert line(past.pass_by()).startswith("✓ no drift: ")


@pytest.mark.parametrize(
    "lists",
    shares(
        [
            {"ignore_tag_filter": True},
            {"blind_tag_filter": True},
            {"refuse_tag_filter": True},
            {"list_identity": "neither"},
            {"list_identity": "metadata"},
            {"lower_case_tags": True},
        ],
        one_of=6,
    ),
)
def test_reference_is_found_whatever_lists_show(
    lists: list[dict[str, Any]], nights: Callable[..., Nights], subtests: pytest.Subtests
) -> None:
    for quirks in lists:
        with subtests.test(str(quirks)):
            past = nights(**quirks)
            past.begin()
            past.pass_by(slower=1.3)
            assert line(past.pass_by(slower=1.3)).startswith("✗ no drift: ")
            assert past.holders == [0]


def test_rerun_of_a_night_does_not_count_twice(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.pass_by()
    for _ in range(REFERENCE_RUNS):
        past.pass_by(mode="launch", env={"GITHUB_RUN_ID": "777"}, resume="false")
    assert "the reference has 2 of 7 runs" in line(past.pass_by())


def test_runs_of_pull_requests_and_other_branches_do_not_count(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.pass_by()
    past.pass_by(mode="launch", env={"GITHUB_REF": "refs/heads/dev"})
    assert "the reference has 1 of 7 runs" in line(past.pass_by())


def test_reference_of_another_branch_is_told(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.pass_by()
    result = past.pass_by(env={"GITHUB_REF": "refs/heads/dev"})
    assert line(result).startswith("? no drift: ")
    assert "belongs to another branch" in result.log
    assert past.holders == [0]


def test_new_version_of_judge_is_told_with_what_to_do(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    past.world.edits.revise(catalogue.LATENCY.id)
    result = past.pass_by()
    assert line(result).startswith("? no drift: ")
    assert "Drift cannot be judged against the reference, run " in result.log
    assert "it used another version of Latency" in result.log
    assert "accept: true" in result.log


def test_reference_that_coval_does_not_tell_is_no_pass(nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    result = past.pass_by("GET /runs -> 503")
    assert result.outputs["verdict"] != "passed"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"drift": "golden"}, "must be tag:<tag>; got 'golden'. Write tag:golden."),
        ({"drift": "tag:coval-gate/x"}, "must be a tag of at most"),
        ({"promote": "golden"}, "must not be the tag of promote, which moves from run to run: golden."),
        ({"thresholds": "Latency: avg < 2"}, "requires a threshold that compares a rate"),
        ({"thresholds": "Compliance: count(NO) <= baseline"}, "requires a threshold that compares a rate"),
        ({"tags": "golden"}, "must not be one of tags"),
        ({"mode": "cancel", "run_id": "r", "thresholds": "", "baseline": ""}, "has no effect in mode cancel"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_the_launch(given: dict[str, Any], told: str, nights: Callable[..., Nights]) -> None:
    past = nights()
    result = past.pass_by(**given)
    assert result.outputs["verdict"] == "error"
    assert told in result.log.replace('"', "'")
    assert not past.world.runs


def test_pull_request_has_no_drift(run_step: RunStep) -> None:
    result, server = run_step(baseline="branch:main", drift="tag:golden", thresholds=THRESHOLDS)
    assert "neither may move the reference." in result.log
    assert not server.world.runs


@pytest.mark.parametrize("fault", ["503", "cut", "body {}"])
@pytest.mark.parametrize("path", ["/runs", "/runs/*", "/conversations/simulated"])
def test_hiccup_does_not_hide_a_decline(path: str, fault: str, nights: Callable[..., Nights]) -> None:
    past = nights()
    past.begin()
    past.pass_by(slower=1.3)
    result = past.pass_by(f"GET {path} #3-4 -> {fault}", slower=1.3)
    assert line(result).startswith("✗ no drift: ")
