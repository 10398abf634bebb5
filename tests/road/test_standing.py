"""A failed run is marked, and never a baseline. A run that a person accepts begins comparisons. The tag moves last."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.config.parsing import MOST_TAGS
from coval_gate.post import post
from coval_gate.runs.tags import ACCEPTED, FAILED
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

PUSH: dict[str, Any] = {"ref": "refs/heads/main"}
ON_MAIN = {"GITHUB_EVENT_NAME": "push", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
BY_HAND = ON_MAIN | {"GITHUB_EVENT_NAME": "workflow_dispatch"}
OF_PULL_REQUEST = {
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_HEAD_REF": "patch-1",
    "GITHUB_REF": "refs/pull/42/merge",
}
DAY = 86_400.0
COMPARED = {"baseline": "branch:main", "thresholds": "Resolved: rate(YES) >= baseline - 25pp"}
OF_TAG = COMPARED | {"baseline": "tag:stable"}
FAILING = {"thresholds": "Latency: avg < 0.01"}


class Nights:
    """Nightly steps on main, one world, a day apart. The agent of a night is a scenario of the sandbox."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self._run_step = run_step
        self._clock = clock
        self._count = 0

    def night(self, scenario: str, *faults: str, **given: Any) -> StepResult:
        """Run the step of one night, and wait for so many `days`."""
        self._count += 1
        days = given.pop("days", 1.0)
        self.world.scenario = replace(BY_NAME[scenario], queue=1.0, conversation=(0.1, 0.2))  # takes few polls
        env = {"GITHUB_RUN_ID": str(1000 + self._count)} | ON_MAIN | given.pop("env", {})
        event = given.pop("event", PUSH)
        result, _ = self._run_step(*faults, world=self.world, event=event, env=env, **COMPARED | given)
        self._clock.sleep(days * DAY)
        return result

    def marked(self, mark: str) -> list[str]:
        return [run.run_id for run in self.world.runs if mark in run.tags]

    def holders(self) -> list[str]:
        return [run.run_id for run in self.world.runs if "stable" in run.tags]


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Nights:
    return Nights(run_step, clock)


# The mark of a failed run


def test_same_commit_is_red_again_beside_the_run_before_it_got_worse(nights: Nights) -> None:
    good = nights.night("passing").outputs["run_id"]
    first, again = nights.night("failing"), nights.night("failing")
    assert [night.outputs["verdict"] for night in (first, again)] == ["failed", "failed"]
    assert again.outputs["baseline_run_id"] == good
    assert nights.marked(FAILED) == [first.outputs["run_id"], again.outputs["run_id"]]
    assert f"Marked run {first.outputs['run_id']} as failed: it will not be a baseline." in first.log
    fixed = nights.night("passing")
    assert (fixed.outputs["verdict"], fixed.outputs["baseline_run_id"]) == ("passed", good)


def test_rerun_is_compared_with_the_run_that_the_first_attempt_promoted(nights: Nights) -> None:
    inputs = OF_TAG | {"promote": "stable"}
    nights.night("passing", **inputs)
    first = nights.night("passing", env={"GITHUB_RUN_ID": "2000"}, **inputs).outputs["run_id"]
    assert nights.holders() == [first]
    again = nights.night("failing", env={"GITHUB_RUN_ID": "2000", "GITHUB_RUN_ATTEMPT": "2"}, **inputs)
    assert (again.outputs["verdict"], again.outputs["baseline_run_id"]) == ("failed", first)
    assert nights.holders() == [first]


def test_rerun_is_not_compared_with_a_run_that_the_first_attempt_launched_with_the_tag(nights: Nights) -> None:
    tagged = {"tags": "nightly", "baseline": "tag:nightly"}
    good = nights.night("passing", **tagged).outputs["run_id"]
    unjudged = {"tags": "nightly", "baseline": "", "baseline_max_age": "", "thresholds": "Latency: avg < 99"}
    nights.night("failing", env={"GITHUB_RUN_ID": "2000"}, **unjudged)
    again = nights.night("failing", env={"GITHUB_RUN_ID": "2000", "GITHUB_RUN_ATTEMPT": "2"}, **tagged)
    assert (again.outputs["verdict"], again.outputs["baseline_run_id"]) == ("failed", good)


def test_failed_run_is_no_baseline_of_its_tag(nights: Nights) -> None:
    tagged = {"tags": "nightly", "baseline": "tag:nightly"}
    good = nights.night("passing", **tagged).outputs["run_id"]
    verdicts = [nights.night("failing", **tagged).outputs["verdict"] for _ in range(2)]
    assert verdicts == ["failed", "failed"]
    assert nights.night("passing", **tagged).outputs["baseline_run_id"] == good


def test_mark_keeps_other_tags(nights: Nights) -> None:
    nights.night("passing", tags="mine, nightly", **FAILING)
    (record,) = nights.world.runs
    assert record.tags == (*(record.request.metadata.tags or ()), FAILED)


def test_mark_finds_room_among_many_tags_of_the_user(nights: Nights) -> None:
    own = [f"t{number}" for number in range(MOST_TAGS)]
    result = nights.night("passing", tags=",".join(own), **FAILING)
    (record,) = nights.world.runs
    assert nights.marked(FAILED) == [result.outputs["run_id"]]
    assert set(own) <= set(record.tags)


def test_run_of_pull_request_needs_no_mark(run_step: RunStep) -> None:
    result, server = run_step(**FAILING)
    assert result.outputs["verdict"] == "failed"
    assert not [request for request in server.requests_seen if request.method == "PATCH"]


def test_missing_permission_for_the_mark_is_told_once(nights: Nights) -> None:
    result = nights.night("failing", "PATCH /runs/* -> 403", **FAILING, repeat_on_failure="1")
    (warning,) = [
        annotation for annotation in result.annotations("warning") if "could not be marked" in annotation.data
    ]
    assert result.outputs["verdict"] == "failed"
    assert "runs:write" in warning.data
    assert not any(leg["failed"] for leg in json.loads(result.state["legs"]))


def test_all_runs_of_a_failed_step_are_marked(nights: Nights) -> None:
    thresholds = {"thresholds": "Latency: avg < 1.4", "repeat_on_failure": "1"}
    result = nights.night("failing", **thresholds)
    assert len(nights.world.runs) == 2
    assert nights.marked(FAILED) == json.loads(result.outputs["run_ids"])


def test_run_that_passed_with_its_repetitions_has_no_mark(run_step: RunStep) -> None:
    inputs = {"test_set_id": "flaky002", "thresholds": "Resolved: rate(YES) >= 90%", "repeat_on_failure": "1"}
    result, server = run_step(event=PUSH, env=ON_MAIN, **inputs)
    assert result.outputs["verdict"] == "passed"
    assert not any(FAILED in run.tags for run in server.world.runs)
    assert not any(leg["failed"] for leg in json.loads(result.state["legs"]))


def test_step_that_waits_marks_a_run_that_fails(nights: Nights) -> None:
    launched = nights.night("failing", mode="launch", thresholds="").outputs["run_id"]
    result = nights.night("failing", mode="wait", run_id=launched, **FAILING | {"baseline": ""})
    assert (result.outputs["verdict"], nights.marked(FAILED)) == ("failed", [launched])


def test_failed_criterion_marks_a_run_whose_other_data_are_missing(nights: Nights) -> None:
    """The verdict is an error, but the agent failed all the same."""
    thresholds = f"{FAILING['thresholds']}\nNo such metric: avg < 1"
    result = nights.night("passing", "GET /agents/* -> 503", thresholds=thresholds, baseline="")
    assert (result.outputs["verdict"], nights.marked(FAILED)) == ("error", [result.outputs["run_id"]])


def post_step(directory: Path, result: StepResult, world: World, clock: VirtualClock) -> None:
    """Run the post step of a step that was killed."""
    with Server(world) as server:
        runner = LocalRunner(directory, PUSH)
        environ = runner.environ(DEFAULTS | {"api_key": KEY, "api_base_url": server.url} | IDS) | ON_MAIN
        states = {f"STATE_{name}": value for name, value in result.state.items()}
        clock.rearm()
        post(Runtime(environ=environ | states, stdout=io.StringIO(), clock=clock))


def test_post_step_adds_the_mark_that_a_killed_step_owed(nights: Nights, clock: VirtualClock, tmp_path: Path) -> None:
    clock.at(70, clock.interrupt)
    result = nights.night("failing", "PATCH /runs/* -> 503", **FAILING, days=0)
    assert nights.marked(FAILED) == []
    assert any(leg["failed"] for leg in json.loads(result.state["legs"]))
    post_step(tmp_path, result, nights.world, clock)
    assert nights.marked(FAILED) == [run.run_id for run in nights.world.runs]


@pytest.mark.parametrize(("cancels", "told"), [("false", 1), ("true", 0)])
def test_run_that_goes_on_unjudged_is_told(cancels: str, told: int, nights: Nights) -> None:
    nights.night("passing")
    result = nights.night("failing", max_wait_time="2", cancel_on_timeout=cancels)
    warnings = [
        annotation for annotation in result.annotations("warning") if "it may become a baseline" in annotation.data
    ]
    assert (result.outputs["verdict"], len(warnings)) == ("timed_out", told)


def test_regression_that_one_of_two_steps_sees_stays_red(nights: Nights) -> None:
    """The other step of the workflow judges the same agent by less, and its runs are of the same branch."""
    verdicts: list[tuple[str, str]] = []
    for number, scenario in enumerate(["passing", "failing", "failing", "passing", "failing"]):
        env = {"GITHUB_RUN_ID": str(3000 + number)}
        one = nights.night(scenario, env=env, days=0.1)
        other = nights.night(scenario, env=env | {"GITHUB_ACTION": "other"}, thresholds="Latency: avg < 9", baseline="")
        verdicts.append((one.outputs["verdict"], other.outputs["verdict"]))
    seen = [one for one, _ in verdicts]
    assert seen == ["inconclusive", "failed", "failed", "passed", "failed"]
    assert {other for _, other in verdicts} == {"passed"}


def test_second_attempt_makes_a_workflow_green(nights: Nights) -> None:
    nights.night("passing")
    env = {"GITHUB_RUN_ID": "4000"}
    assert nights.night("failing", env=env, days=0).outputs["verdict"] == "failed"
    fixed = nights.night("passing", env=env | {"GITHUB_RUN_ATTEMPT": "2"})
    assert nights.night("passing").outputs["baseline_run_id"] == fixed.outputs["run_id"]


def test_long_row_of_failed_runs_hides_no_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, list_identity="metadata")
    good = nights.night("passing").outputs["run_id"]
    nights.night("failing")
    failed = nights.world.runs[-1]
    for number in range(25):
        metadata = failed.request.metadata.customer
        own = [tag.replace("/1002.", f"/2{number:03}.") for tag in failed.tags]
        customer = metadata | {"coval_gate_0": own[0]}
        nights.world.launch({**IDS, "metadata": {"tags": own, "customer": customer}})
        clock.sleep(DAY)
    result = nights.night("failing", promote="stable", baseline_max_age="20d")
    assert (result.outputs["verdict"], result.outputs["baseline_run_id"]) == ("failed", good)
    assert nights.holders() == []


# Age


def test_baseline_does_not_get_older_while_the_gate_fails(nights: Nights) -> None:
    good = nights.night("passing").outputs["run_id"]
    for days in (10, 15, 10):
        nights.night("failing", days=days)
    result = nights.night("failing")
    assert (result.outputs["verdict"], result.outputs["baseline_run_id"]) == ("failed", good)


def test_run_whose_baseline_is_too_old_is_not_promoted(nights: Nights) -> None:
    """Red at 29 days, at 31 days green: the tag stays where it is."""
    inputs = OF_TAG | {"promote": "stable"}
    first = nights.night("passing", days=29, **inputs).outputs["run_id"]
    assert nights.night("failing", days=2, **inputs).outputs["verdict"] == "failed"
    result = nights.night("failing", **inputs)
    assert (result.outputs["verdict"], nights.holders()) == ("inconclusive", [first])
    assert "too old" in result.log
    assert "accept: true" in result.outputs["reason"]


# Promotion


def test_run_that_comparisons_are_too_small_to_judge_is_promoted(nights: Nights) -> None:
    inputs = OF_TAG | {"promote": "stable", "confidence": "95%"}
    nights.night("passing", **inputs | {"thresholds": "Latency: avg < 9"})
    inputs |= {"thresholds": "Resolved: rate(YES) >= baseline - 5pp"}
    second = nights.night("passing", **inputs)
    assert second.outputs["verdict"] == "inconclusive"
    assert nights.holders() == [second.outputs["run_id"]]


def test_report_that_cannot_be_written_moves_no_tag(nights: Nights, tmp_path: Path) -> None:
    nights.night("passing", promote="stable", thresholds="Latency: avg < 9", baseline="")
    first = nights.holders()
    clogged = {"json_path": "reports/late.json"}

    def clog(world: World) -> dict[str, str]:
        del world
        return clogged

    class Clogged(type(nights.world)):  # type: ignore[misc]
        """A world in which the place of the report becomes a directory while the run is under way."""

        def list_simulations(self, *given: Any, **named: Any) -> Any:
            for path in tmp_path.rglob("reports"):
                (path / "late.json").unlink(missing_ok=True)
                (path / "late.json").mkdir(exist_ok=True)
            return super().list_simulations(*given, **named)

    nights.world.__class__ = Clogged
    result = nights.night("passing", promote="stable", thresholds="Latency: avg < 9", baseline="", prepare=clog)
    assert result.outputs["verdict"] == "error"
    assert nights.holders() == first
    assert "was not promoted to tag stable: the step did not pass." in result.log


def test_run_without_any_criterion_of_quality_is_not_promoted(nights: Nights) -> None:
    population = "total >= 1\nfailed == 0\ncompleted_rate >= 50%\nLatency: missing == 0"
    for thresholds in ("", population, "? Latency: avg < 9"):
        result = nights.night("passing", promote="stable", thresholds=thresholds, baseline="")
        assert (result.outputs["verdict"], nights.holders()) == ("passed", [])
        assert "no threshold or target judged the agent's quality." in result.log


def test_run_that_the_list_lacks_is_not_promoted(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, list_lag=10_000.0)
    result = nights.night("passing", promote="stable", thresholds="Latency: avg < 9", baseline="")
    assert (result.outputs["verdict"], nights.holders()) == ("passed", [])
    assert "Coval's list of runs does not include it, so it may not include the run with the tag, either." in result.log


def test_holder_far_behind_in_the_list_is_found_before_the_first_promotion(nights: Nights, clock: VirtualClock) -> None:
    nights.world.launch({**IDS, "metadata": {"tags": ["stable"]}})
    old = nights.world.runs[-1].run_id
    for _ in range(120):
        nights.world.launch({**IDS, "metadata": {"tags": ["other"]}})
        clock.sleep(1)
    clock.sleep(DAY)
    lists = ['GET /runs #1-12 -> json {"runs": []}']
    result = nights.night("passing", *lists, promote="stable", **OF_TAG)
    assert (result.outputs["verdict"], nights.holders()) == ("inconclusive", [old])


# Acceptance


def accept(nights: Nights, scenario: str = "failing", **given: Any) -> StepResult:
    return nights.night(scenario, env=BY_HAND, accept="true", **given)


def test_accepted_run_begins_the_comparisons(nights: Nights) -> None:
    nights.night("passing")
    nights.night("failing")
    accepted = accept(nights)
    assert (accepted.outputs["verdict"], accepted.outputs["baseline_run_id"]) == ("passed", "")
    assert nights.marked(ACCEPTED) == [accepted.outputs["run_id"]]
    assert "| ⚪ | `Resolved: rate(YES) >= baseline - 25pp` | accepted |" in accepted.summary
    assert accepted.summary.endswith("\nAccepted: later runs are compared with this one.\n")
    after = nights.night("failing", baseline="branch:main last 3")
    assert (after.outputs["verdict"], after.outputs["baseline_run_id"]) == ("passed", accepted.outputs["run_id"])


def test_accepted_run_takes_the_tag_of_promote(nights: Nights) -> None:
    inputs = OF_TAG | {"promote": "stable"}
    old = nights.night("passing", **inputs)
    assert nights.night("failing", **inputs).outputs["verdict"] == "failed"
    assert nights.holders() == [old.outputs["run_id"]]
    accepted = accept(nights, **inputs)
    assert nights.holders() == nights.marked(ACCEPTED) == [accepted.outputs["run_id"]]
    assert "To be accepted and promoted to `stable` once all reports are written" in accepted.summary
    assert accepted.log.index("Accepted run") < accepted.log.index("Promoted run")


def test_absolute_thresholds_judge_an_accepted_run(nights: Nights) -> None:
    nights.night("passing")
    result = accept(nights, thresholds=f"{COMPARED['thresholds']}\nLatency: avg < 0.01", promote="stable")
    assert (result.outputs["verdict"], nights.marked(ACCEPTED), nights.holders()) == ("failed", [], [])
    assert nights.marked(FAILED) == [result.outputs["run_id"]]
    assert "was not accepted and promoted to tag stable: the step did not pass." in result.log


@pytest.mark.parametrize("event", ["push", "schedule", "repository_dispatch", "pull_request", "workflow_run"])
@pytest.mark.parametrize("mode", ["run", "wait"])
def test_only_a_person_accepts(event: str, mode: str, run_step: RunStep) -> None:
    inputs = {"run_id": "BGvffsneXVocAfhtfe4adw"} if mode == "wait" else {}
    result, server = run_step(
        event=PUSH, env=ON_MAIN | {"GITHUB_EVENT_NAME": event}, accept="true", mode=mode, **COMPARED, **inputs
    )
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith("accept must be false here: a person accepts a run by starting")
    assert f"but {event} started it." in result.outputs["reason"]


@pytest.mark.parametrize("mode", ["launch", "cancel"])
def test_accept_has_no_effect_where_nothing_is_judged(mode: str, run_step: RunStep) -> None:
    inputs = {"run_id": "BGvffsneXVocAfhtfe4adw"} if mode == "cancel" else {}
    result, server = run_step(event=PUSH, env=BY_HAND, accept="true", mode=mode, **inputs)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert f"accept has no effect in mode {mode}" in result.log


def test_acceptance_that_fails_is_a_warning(nights: Nights) -> None:
    result = accept(nights, "passing", promote="stable")
    assert result.outputs["verdict"] == "passed"
    refused = nights.night("passing", "PATCH /runs/* -> 403", env=BY_HAND, accept="true", promote="stable")
    (warning,) = [annotation for annotation in refused.annotations("warning") if "not accepted" in annotation.data]
    assert "runs:write" in warning.data
    assert nights.holders() == [result.outputs["run_id"]]


def test_run_of_pull_request_is_not_accepted_elsewhere(nights: Nights) -> None:
    launched = nights.night("passing", mode="launch", thresholds="", event=PULL_REQUEST, env=OF_PULL_REQUEST)
    inputs = {"mode": "wait", "run_id": launched.outputs["run_id"], "thresholds": "Latency: avg < 9", "baseline": ""}
    result = accept(nights, "passing", **inputs)
    assert nights.marked(ACCEPTED) == []
    assert "it evaluates pull request #42, and pull requests must not move the baseline." in result.log


def test_accepted_run_that_a_step_failed_before_begins_the_comparisons(nights: Nights) -> None:
    nights.night("passing")
    failed = nights.night("failing").outputs["run_id"]
    accept(nights, mode="wait", run_id=failed, promote="stable")
    assert (nights.marked(ACCEPTED), nights.marked(FAILED), nights.holders()) == ([failed], [], [failed])
    after = nights.night("failing", **OF_TAG)
    assert (after.outputs["verdict"], after.outputs["baseline_run_id"]) == ("passed", failed)


def test_run_that_a_step_failed_before_is_not_promoted(nights: Nights) -> None:
    inputs = OF_TAG | {"promote": "stable"}
    good = nights.night("passing", **inputs).outputs["run_id"]
    failed = nights.night("failing", **inputs).outputs["run_id"]
    looser = {"mode": "wait", "run_id": failed, "thresholds": "Latency: avg < 9", "baseline": "", "promote": "stable"}
    again = nights.night("failing", **looser)
    assert (again.outputs["verdict"], nights.holders()) == ("passed", [good])
    (warning,) = [annotation for annotation in again.annotations("warning") if "not promoted" in annotation.data]
    assert "an earlier step failed it" in warning.data
    assert nights.night("failing", **inputs).outputs["verdict"] == "failed"


def test_red_comparison_says_what_to_do(nights: Nights) -> None:
    nights.night("passing")
    red = nights.night("failing")
    what = "Fix the agent, or accept the change: run the workflow manually with accept: true."
    (error,) = red.annotations("error")
    assert what in error.data
    assert what in red.summary
