"""A step judges the newest run with a tag, of a branch or of a schedule, even if Coval's lists are wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.history.search import MOST_READ as MOST_FETCHED
from coval_gate.history.search import MOST_SCHEDULED, PATIENCE
from coval_gate.step.post import post
from coval_sandbox import catalogue
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import LocalRunner
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, KEY, StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


PUSH = {"ref": "refs/heads/main"}
ON_MAIN = {"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "push"}
(SCHEDULE,) = catalogue.SCHEDULES
IDS = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
SHOWN_IDS = f"agent {IDS['agent_id']}, persona {IDS['persona_id']} and test set passing1"
PHRASES = {
    "tag:nightly": "with tag nightly",
    "branch:main": "of branch main",
    f"schedule:{SCHEDULE.id}": f"of scheduled run {SCHEDULE.id}",
}
TAG, BRANCH, SCHEDULED = PHRASES
LISTS = {TAG: "/runs", BRANCH: "/runs", SCHEDULED: "/scheduled-runs/*/runs"}
HOUR = 3600.0


class Nights:
    """A sandbox whose runs were launched one after another, and steps that judge the newest of them."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self.server: Server
        self._run_step = run_step
        self._clock = clock

    def launch(
        self, source: str, scenario: str = "", *, hours: float = 2.0, pull_request: bool = False, **given: str
    ) -> str:
        """Launch a run that the source finds, and wait for so many hours. Return its id."""
        self.world.scenario = BY_NAME[scenario] if scenario else None
        if source == SCHEDULED:
            ids = self.world.run_schedule(SCHEDULE.id)
            wanted = (IDS | given).items()
            run_id = next(run.run_id for run in self.world.runs if run.run_id in ids and run.body.items() >= wanted)
        else:
            env = {"GITHUB_RUN_ID": str(1000 + len(self.world.runs))} | ({} if pull_request else ON_MAIN)
            tags = {"tags": "nightly"} if source == TAG else {}
            event = None if pull_request else PUSH
            result, _ = self._run_step(world=self.world, event=event, env=env, mode="launch", **(IDS | tags | given))
            run_id = result.outputs["run_id"]
        self._clock.sleep(hours * HOUR)
        return run_id

    def judge(self, source: str, *faults: str, **given: Any) -> StepResult:
        """Judge the newest run of the source. No such step launches or cancels a run."""
        env = ON_MAIN | {"GITHUB_RUN_ID": "9999"} | given.pop("env", {})
        inputs = {"mode": "wait", "run_id": source} | IDS | given
        result, self.server = self._run_step(*faults, world=self.world, event=PUSH, env=env, **inputs)
        assert not [request for request in self.server.requests_seen if request.method in ("POST", "DELETE")]
        assert not result.post_step_cancels
        return result

    def calls(self, path: str) -> int:
        """Return how often the last step has read a path."""
        return sum(request.path.removeprefix("/v1") == path for request in self.server.requests_seen)

    def listed(self, source: str) -> list[dict[str, Any]]:
        """Return what the list of the source shows."""
        if source == SCHEDULED:
            rows: list[dict[str, Any]] = self.world.list_scheduled_runs(SCHEDULE.id)["runs"]
            return rows
        listed: list[dict[str, Any]] = self.world.list_runs({})["runs"]
        return listed


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Nights:
    return Nights(run_step, clock)


@pytest.mark.parametrize("source", PHRASES)
def test_newest_run_is_judged(source: str, nights: Nights) -> None:
    nights.launch(source)
    newest = nights.launch(source)
    result = nights.judge(source)
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", newest)
    line = f"Found run {newest} of 2026-01-01 02:00 UTC, the newest {PHRASES[source]}: https://app.coval.dev/runs/"
    assert f"\n{line}{newest}\n" in result.log
    assert "Taking over" not in result.log


@pytest.mark.parametrize("source", PHRASES)
def test_failed_newest_run_is_red(source: str, nights: Nights) -> None:
    for scenario, verdict in (("run-failed", "failed"), ("cancelled", "cancelled"), ("failing", "failed")):
        nights.launch(source)
        newest = nights.launch(source, scenario)
        result = nights.judge(source, thresholds="Latency: avg < 1.5")
        assert (result.outputs["verdict"], result.outputs["run_id"]) == (verdict, newest)


@pytest.mark.parametrize("source", PHRASES)
def test_unfinished_newest_run_is_waited_for(source: str, nights: Nights) -> None:
    nights.launch(source)
    newest = nights.launch(source, hours=0.005)
    assert len(nights.world.unfinished) > 0
    result = nights.judge(source)
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", newest)


@pytest.mark.parametrize("source", PHRASES)
def test_signal_leaves_the_run_alone(source: str, nights: Nights, clock: VirtualClock, tmp_path: Path) -> None:
    newest = nights.launch(source, "stuck")
    clock.at(clock.now() + 60, clock.interrupt)
    result = nights.judge(source, cancel_on_interrupt="true", cancel_on_timeout="true")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("cancelled", newest)
    assert result.outputs["reason"] == "The step was interrupted; the run continues in Coval."
    clock.rearm()
    with Server(nights.world) as server:
        given = DEFAULTS | IDS | {"mode": "wait", "run_id": source, "api_key": KEY, "api_base_url": server.url}
        environ = LocalRunner(tmp_path, PUSH).environ(given) | {
            f"STATE_{name}": text for name, text in result.state.items()
        }
        assert post(Runtime(environ=environ, stdout=io.StringIO(), clock=clock)) == 0
        assert server.requests_seen == []
    assert nights.world.get_run(newest)["run"]["status"] == "IN PROGRESS"


def test_neither_time_out_nor_error_cancels_the_run(nights: Nights) -> None:
    newest = nights.launch(TAG, "stuck")
    late = nights.judge(TAG, max_wait_time="600", cancel_on_timeout="true")
    assert late.outputs["verdict"] == "timed_out"
    (warning,) = late.annotations("warning")
    assert warning.data == "cancel_on_timeout has no effect: a run that is found by tag:nightly is never cancelled."
    refused = nights.judge(TAG, f"GET /runs/{newest} #4- -> 403")
    assert refused.outputs["verdict"] == "error"
    assert nights.world.unfinished


@pytest.mark.parametrize("source", PHRASES)
def test_signal_during_the_search_ends_the_step(source: str, nights: Nights, clock: VirtualClock) -> None:
    nights.launch(source, "stuck")
    clock.at(clock.now() + 20, clock.interrupt)
    result = nights.judge(source, f"GET {LISTS[source]} -> 503")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("cancelled", "")
    assert nights.world.unfinished


@pytest.mark.parametrize("source", PHRASES)
def test_newest_run_that_is_too_old_is_error(source: str, nights: Nights) -> None:
    newest = nights.launch(source, hours=25)
    result = nights.judge(source)
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    too_old = f"The newest run {PHRASES[source]}, {newest}, is 25 h old, more than run_max_age (24h)."
    assert result.outputs["reason"] == too_old
    assert nights.judge(source, run_max_age="26h").outputs["verdict"] == "passed"
    nights.launch("branch:main", agent_id="agent00000000000000002", hours=47)
    assert "is 3 days old" in nights.judge(source).outputs["reason"]


@pytest.mark.parametrize("days", [-30, 30])
@pytest.mark.parametrize("source", PHRASES)
def test_age_is_measured_by_the_clock_of_coval(source: str, days: int, nights: Nights, clock: VirtualClock) -> None:
    nights.world = World(lambda: clock.time() + days * 24 * HOUR)
    nights.launch(source, hours=23)
    assert nights.judge(source).outputs["verdict"] == "passed"
    clock.sleep(2 * HOUR)
    assert "is 25 h old" in nights.judge(source).outputs["reason"]


@pytest.mark.parametrize("source", PHRASES)
def test_run_of_the_future_is_not_new(source: str, nights: Nights) -> None:
    run_id = nights.launch(source)
    future = {"create_time": "9999-01-01T00:00:00Z"}
    run = json.dumps({"run": nights.world.get_run(run_id)["run"] | future})
    listed = json.dumps({"runs": [row | future for row in nights.listed(source) if row["name"] == f"runs/{run_id}"]})
    faults = (f"GET {LISTS[source]} -> json {listed}", f"GET /runs/{run_id} -> json {run}")
    result = nights.judge(source, *faults)
    assert result.outputs["verdict"] == "error"
    text = f"The newest run {PHRASES[source]}, {run_id}, was created at 9999-01-01T00:00:00Z, which is later than"
    assert result.outputs["reason"].startswith(text)


def test_age_limit_without_source_has_no_effect(nights: Nights) -> None:
    run_id = nights.launch(TAG, hours=48)
    result = nights.judge(run_id, run_max_age="1h")
    assert result.outputs["verdict"] == "passed"
    (warning,) = result.annotations("warning")
    assert warning.data == "run_max_age has no effect: it applies only to a run_id given by tag, branch or schedule."


@pytest.mark.parametrize(
    ("source", "given"),
    [
        (TAG, {"agent_id": "agent00000000000000002"}),
        (TAG, {"persona_id": "persona000000000000002"}),
        (TAG, {"test_set_id": "passing2"}),
        (TAG, {"tags": "night"}),
        (BRANCH, {"agent_id": "agent00000000000000002"}),
        (BRANCH, {"pull_request": True}),
    ],
)
def test_run_that_does_not_fit_is_not_judged(source: str, given: dict[str, Any], nights: Nights) -> None:
    nights.launch(source, **given)
    result = nights.judge(source)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"] == f"Coval lists no run of {SHOWN_IDS} {PHRASES[source]}."
    assert (
        "Check run_id, agent_id, persona_id and test_set_id. If they are right, launch such a run first." in result.log
    )
    fitting = nights.launch(source)
    nights.launch(source, **given)
    assert nights.judge(source).outputs["run_id"] == fitting


def test_schedule_without_such_run_is_error(nights: Nights) -> None:
    nights.launch(SCHEDULED)
    result = nights.judge(SCHEDULED, persona_id="persona000000000000003")
    assert result.outputs["reason"] == (
        f"Coval lists no run of agent {IDS['agent_id']}, persona persona000000000000003 and test set passing1 "
        f"of scheduled run {SCHEDULE.id}."
    )


def test_run_of_pull_request_counts_for_tag(nights: Nights) -> None:
    nights.launch(TAG)
    newest = nights.launch(TAG, pull_request=True)
    assert nights.judge(TAG).outputs["run_id"] == newest


def test_branch_without_known_repository_is_error(nights: Nights) -> None:
    nights.launch(BRANCH)
    result = nights.judge(BRANCH, env={"GITHUB_REPOSITORY": ""})
    assert result.outputs["reason"] == (
        "run_id branch:main cannot be looked up: the repository of the branch is not known."
    )


@pytest.mark.parametrize(
    ("fault", "reason", "advice"),
    [
        ("403", "returned 403", "Give the API key the permission scheduled-runs:read"),
        ("404", "returned 404", "Check run_id: it must exist in the organization and workspace of the API key."),
        ("html 404", "returned 404", "The response is not from Coval"),
        ("401", "returned 401", "Check that api_key"),
    ],
)
def test_refused_schedule_is_error(fault: str, reason: str, advice: str, nights: Nights) -> None:
    nights.launch(SCHEDULED)
    result = nights.judge(SCHEDULED, f"GET /scheduled-runs/* -> {fault}")
    path = f"GET /scheduled-runs/{SCHEDULE.id}/runs"
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(f"Could not look up run_id {SCHEDULED}: {path} {reason}")
    assert advice in result.log
    assert nights.calls(f"/scheduled-runs/{SCHEDULE.id}/runs") == 1


def test_schedule_that_does_not_exist_is_error(nights: Nights) -> None:
    result = nights.judge("schedule:nowhere000000000000001")
    assert result.outputs["verdict"] == "error"
    assert "there is no scheduled run 'nowhere000000000000001'" in result.outputs["reason"]
    assert "Check run_id" in result.log
    assert "The API key needs the permission scheduled-runs:read." in result.log


@pytest.mark.parametrize("source", [TAG, BRANCH])
def test_refused_list_is_error(source: str, nights: Nights) -> None:
    nights.launch(source)
    result = nights.judge(source, "GET /runs -> 403")
    assert result.outputs["reason"].startswith(f"Could not look up run_id {source}: GET /runs returned 403")
    assert "Give the API key the permission runs:read" in result.log


@pytest.mark.parametrize("source", PHRASES)
def test_run_that_may_not_be_read_is_error(source: str, nights: Nights) -> None:
    nights.launch(source)
    newest = nights.launch(source)
    result = nights.judge(source, f"GET /runs/{newest} -> 403")
    assert result.outputs["verdict"] == "error"


@pytest.mark.parametrize("source", PHRASES)
def test_short_outage_is_survived_and_lasting_one_is_error(source: str, nights: Nights, clock: VirtualClock) -> None:
    newest = nights.launch(source)
    faults = [f"GET {path} #1-3 -> 503" for path in (LISTS[source], "/runs/*")]
    assert nights.judge(source, *faults).outputs["run_id"] == newest
    began = clock.now()
    result = nights.judge(source, f"GET {LISTS[source]} -> 503")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    assert result.outputs["reason"].startswith(f"Could not look up run_id {source}: ")
    assert PATIENCE <= clock.now() - began < PATIENCE + 60


# Hostile lists


QUIRKS: list[dict[str, Any]] = [
    {"ignore_tag_filter": True},
    {"blind_tag_filter": True},
    {"refuse_tag_filter": True},
    {"lower_case_tags": True},
    {"page_token_end": "empty"},
    *({"list_identity": place} for place in ("tags", "metadata", "neither")),
    {"blind_tag_filter": True, "list_identity": "neither"},
    {"ignore_tag_filter": True, "list_identity": "metadata"},
    {"run_identity": "tags"},
]


@pytest.mark.parametrize("quirks", QUIRKS)
@pytest.mark.parametrize("source", PHRASES)
def test_newest_run_is_found_whatever_lists_show(
    source: str, quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    nights = Nights(run_step, clock, **quirks)
    nights.launch(source)
    newest = nights.launch(source)
    nights.launch("branch:other" if source == TAG else TAG, pull_request=True)
    nights.launch(TAG, agent_id="agent00000000000000002")
    assert nights.judge(source).outputs["run_id"] == newest


def test_no_run_is_judged_if_nothing_shows_tags(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, run_identity="neither", list_identity="neither")
    nights.launch(BRANCH, tags="nightly")
    newest = nights.launch(BRANCH, tags="nightly")
    for source in (TAG, BRANCH):
        result = nights.judge(source)
        assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
        assert result.outputs["reason"] == (
            f"Coval lists run {newest}, but does not show what it is, so the step cannot tell which run is the newest "
            f"{PHRASES[source]}."
        )


@pytest.mark.parametrize("source", PHRASES)
def test_list_that_lags_is_read_again(source: str, run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, list_lag=10)
    newest = nights.launch(source, hours=0)
    assert nights.judge(source).outputs["run_id"] == newest


@pytest.mark.parametrize("source", [TAG, BRANCH])
def test_of_two_runs_of_one_moment_the_one_that_coval_lists_first_is_the_newest(source: str, nights: Nights) -> None:
    runs = {nights.launch(source), nights.launch(source)}
    listed = [entry | {"create_time": "2026-01-01T00:00:00Z"} for entry in nights.listed(source)]
    for history in (listed, listed[::-1]):
        result = nights.judge(source, f"GET {LISTS[source]} -> json {json.dumps({'runs': history})}")
        assert result.outputs["run_id"] == history[0]["run_id"]
    assert {entry["run_id"] for entry in listed} == runs


@pytest.mark.parametrize("source", PHRASES)
def test_older_runs_are_not_read(source: str, nights: Nights) -> None:
    older, newest = nights.launch(source), nights.launch(source)
    history = json.dumps({"runs": nights.listed(source)[::-1]})
    for faults in ((), (f"GET {LISTS[source]} -> json {history}",)):
        assert nights.judge(source, *faults).outputs["run_id"] == newest
        assert nights.calls(f"/runs/{older}") == 0
    assert (nights.calls("/runs"), nights.calls(f"/scheduled-runs/{SCHEDULE.id}/runs")) in ((1, 0), (0, 1))


def test_repetition_alone_is_not_the_newest_run(nights: Nights) -> None:
    ours = nights.launch(TAG)
    nights.launch(TAG, metadata='{"coval_gate_repetition": 1}')
    assert nights.judge(TAG).outputs["run_id"] == ours


def test_run_of_pull_request_does_not_count_for_branch_whatever_its_tags(nights: Nights) -> None:
    """A user's own metadata may name the pull request."""
    ours = nights.launch(BRANCH)
    nights.launch(BRANCH, metadata='{"github_pull_request": 7}')
    assert nights.judge(BRANCH).outputs["run_id"] == ours


def test_run_of_a_schedule_that_no_longer_exists_is_passed_over(nights: Nights) -> None:
    older, deleted = nights.launch(SCHEDULED), nights.launch(SCHEDULED)
    result = nights.judge(SCHEDULED, f"GET /runs/{deleted} -> 404")
    assert result.outputs["run_id"] == older
    assert result.log.count(f"Coval lists run {deleted}, but no longer has it.") == 1


@pytest.mark.parametrize("seconds", [5, 50, 500])
@pytest.mark.parametrize("source", PHRASES)
def test_run_that_is_too_new_to_be_found_is_not_passed_over(
    source: str, seconds: int, run_step: RunStep, clock: VirtualClock
) -> None:
    nights = Nights(run_step, clock, not_found_after_launch=seconds)
    nights.launch(source)
    newest = nights.launch(source, hours=0)
    result = nights.judge(source)
    if seconds < 60:  # as long as for any new run
        assert result.outputs["run_id"] == newest
        return
    assert result.outputs["verdict"] == "error"
    assert newest in result.outputs["reason"]


@pytest.mark.parametrize("quirks", [{}, {"blind_tag_filter": True}], ids=str)
def test_untagged_runs_do_not_hide_the_newest(quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, **quirks)
    newest = nights.launch(TAG)
    for _ in range(MOST_FETCHED + 5):
        nights.world.launch(dict(IDS))
    assert nights.judge(TAG).outputs["run_id"] == newest


@pytest.mark.long
def test_search_reads_on_where_other_tags_are_busy(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, refuse_tag_filter=True)
    newest = nights.launch(TAG)
    for _ in range(150):
        nights.world.launch(IDS | {"metadata": {"tags": ["other"]}})
    assert nights.judge(TAG).outputs["run_id"] == newest


# The list of a schedule


def test_schedule_finds_each_persona(nights: Nights) -> None:
    nights.launch(SCHEDULED)
    ids = nights.world.run_schedule(SCHEDULE.id)
    for persona_id in (catalogue.PERSONA_ID, catalogue.IMPATIENT_PERSONA_ID):
        run_id = nights.judge(SCHEDULED, persona_id=persona_id, max_wait_time="36000").outputs["run_id"]
        assert run_id in ids
        assert nights.world.get_run(run_id)["run"]["persona_id"] == persona_id


def test_run_of_other_persona_that_is_newer_is_passed_over(nights: Nights) -> None:
    ours = nights.launch(SCHEDULED)
    rows = nights.listed(SCHEDULED)
    others = [
        row for row in rows if nights.world.get_run(row["id"])["run"]["persona_id"] == catalogue.IMPATIENT_PERSONA_ID
    ]
    newer = [row | {"create_time": "2026-01-01T01:00:00Z"} for row in others]
    history = json.dumps({"runs": [*newer, *(row for row in rows if row not in others)]})
    result = nights.judge(SCHEDULED, f"GET /scheduled-runs/* -> json {history}")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", ours)
    assert [nights.calls(f"/runs/{row['id']}") for row in others if row["test_set_id"] == "passing1"] == [1]


def test_tags_that_coval_hides_are_kept(run_step: RunStep, clock: VirtualClock) -> None:
    """Coval shows only the metadata of its own schedule's run. Unlike those of our runs, they repeat no tags."""
    nights = Nights(run_step, clock, run_identity="metadata", list_identity="metadata")
    newest = nights.launch(SCHEDULED)
    (record,) = (run for run in nights.world.runs if run.run_id == newest)
    assert record.tags == ("nightly", "regression")
    result = nights.judge(SCHEDULED, thresholds="Latency: avg < 1.5", baseline="tag:stable")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", newest)
    assert record.tags == ("nightly", "regression")
    assert not [request for request in nights.server.requests_seen if request.method == "PATCH"]


def _renamed(rows: list[dict[str, Any]]) -> object:
    return {"scheduled_run_runs": rows}


def _reversed(rows: list[dict[str, Any]]) -> object:
    return {"runs": rows[::-1]}


def _only_ids(rows: list[dict[str, Any]]) -> object:
    return {"runs": [{"run_id": row["id"]} for row in rows[::-1]]}


def _only_names(rows: list[dict[str, Any]]) -> object:
    return {"runs": [{"name": row["name"], "create_time": row["create_time"]} for row in rows]}


def _wrapped(rows: list[dict[str, Any]]) -> object:
    return {"runs": [{"run": row} for row in rows], "next_page_token": None}


@pytest.mark.parametrize("form", [_renamed, _reversed, _only_ids, _only_names, _wrapped])
def test_list_of_schedule_is_read_in_any_form(form: Callable[[list[dict[str, Any]]], object], nights: Nights) -> None:
    nights.launch(SCHEDULED)
    newest = nights.launch(SCHEDULED)
    history = json.dumps(form(nights.listed(SCHEDULED)))
    assert nights.judge(SCHEDULED, f"GET /scheduled-runs/* -> json {history}").outputs["run_id"] == newest


@pytest.mark.parametrize(("newer", "is_found"), [(MOST_SCHEDULED - 1, True), (MOST_SCHEDULED, False)])
def test_at_most_so_many_runs_of_schedule_are_read(newer: int, is_found: bool, nights: Nights) -> None:
    ours = nights.launch(SCHEDULED)
    rows = [row for row in nights.listed(SCHEDULED) if row["id"] == ours]
    other = IDS | {"persona_id": catalogue.IMPATIENT_PERSONA_ID}
    others = [nights.world.launch(other)["run"] for _ in range(newer)]
    history = json.dumps({"runs": [{"id": run["run_id"], "create_time": run["create_time"]} for run in others] + rows})
    result = nights.judge(SCHEDULED, f"GET /scheduled-runs/* -> json {history}")
    if is_found:
        assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", ours)
        return
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
    assert result.outputs["reason"].endswith(f"of scheduled run {SCHEDULE.id}.")


def test_nights_of_sandbox_have_runs_of_the_schedule(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time, history=True)
    result, _ = run_step(world=world, mode="wait", run_id=SCHEDULED, **IDS)
    assert (result.outputs["verdict"], len(world.list_scheduled_runs(SCHEDULE.id)["runs"])) == ("passed", 12)
