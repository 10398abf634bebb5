"""A step judges the newest run with a tag, of a branch or of a schedule, even if Coval's lists are wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.world import World
from road.legs import run_post_step
from road.nights import HOUR, Nights, RunStep
from support import StepResult, VirtualClock

(SCHEDULE,) = catalogue.SCHEDULES
IDS = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
SHOWN_IDS = f"agent {IDS['agent_id']}, persona {IDS['persona_id']} and test set passing1"
OTHER_AGENT = "agent00000000000000002"
PHRASES = {
    "tag:nightly": "with tag nightly",
    "branch:main": "of branch main",
    f"schedule:{SCHEDULE.id}": f"of scheduled run {SCHEDULE.id}",
}
TAG, BRANCH, SCHEDULED = PHRASES
LISTS = {TAG: "/runs", BRANCH: "/runs", SCHEDULED: "/scheduled-runs/*/runs"}


class Finds(Nights):
    """Nights of runs that one of the sources finds, a few hours apart."""

    def put(self, source: str, scenario: str = "passing", *, hours: float = 2.0, **given: Any) -> str:
        """Launch a run that the source finds, and wait for so many hours. Return its id."""
        if source == SCHEDULED:
            self.play(scenario)
            ids = self.world.run_schedule(SCHEDULE.id)
            wanted = IDS.items()
            run_id = next(run.run_id for run in self.world.runs if run.run_id in ids and run.body.items() >= wanted)
        else:
            tags = {"tags": "nightly"} if source == TAG else {}
            run_id = self.launch(scenario, days=0, **IDS | tags | given)
        self.clock.sleep(hours * HOUR)
        return run_id

    def judge(self, source: str, *faults: str, **given: Any) -> StepResult:
        """Judge the newest run of the source. No such step launches or cancels a run."""
        result = self.night("passing", *faults, days=0, mode="wait", run_id=source, **IDS | given)
        assert not [request for request in self.server.requests_seen if request.method in ("POST", "DELETE")]
        assert not result.post_step_cancels
        return result

    def found(self, source: str, *faults: str, **given: Any) -> str:
        """Return the run that is judged."""
        return self.judge(source, *faults, **given).outputs["run_id"]

    def error(self, source: str, *faults: str, **given: Any) -> str:
        """Return why no run is judged, and what to do about it."""
        result = self.judge(source, *faults, **given)
        assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", "")
        return result.annotations("error")[0].data

    def calls(self, path: str) -> int:
        """Return how often the last step has read a path."""
        return sum(request.path.removeprefix("/v1") == path for request in self.server.requests_seen)

    def listed(self, source: str) -> list[dict[str, Any]]:
        """Return what the list of the source shows."""
        lists = self.world.list_scheduled_runs(SCHEDULE.id) if source == SCHEDULED else self.world.list_runs({})
        rows: list[dict[str, Any]] = lists["runs"]
        return rows


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Finds:
    return Finds(run_step, clock)


@pytest.mark.parametrize("source", PHRASES)
def test_newest_run_is_judged_and_waited_for_and_no_older_one_passes_in_its_place(source: str, nights: Finds) -> None:
    older = nights.put(source)
    newest = nights.put(source, "run-failed" if source == TAG else "failing", hours=0)
    assert nights.world.unfinished
    result = nights.judge(source, thresholds="Latency: avg < 1.5")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("failed", newest)
    line = f"Found run {newest} of 2026-01-01 02:00 UTC, the newest {PHRASES[source]}: https://app.coval.dev/runs/"
    assert f"\n{line}{newest}\n" in result.log
    assert "Taking over" not in result.log
    history = json.dumps({"runs": nights.listed(source)[::-1]})
    assert nights.found(source, f"GET {LISTS[source]} -> json {history}") == newest
    assert nights.calls(f"/runs/{older}") == 0, "older runs are not read"
    assert (nights.calls("/runs"), nights.calls(f"/scheduled-runs/{SCHEDULE.id}/runs")) in ((1, 0), (0, 1))


def test_nothing_cancels_the_run(nights: Finds, clock: VirtualClock) -> None:
    source = SCHEDULED
    newest = nights.put(source, "stuck")
    late = nights.judge(source, max_wait_time="600", cancel_on_timeout="true")
    assert late.outputs["verdict"] == "timed_out"
    (warning,) = late.annotations("warning")
    assert warning.data == f"cancel_on_timeout has no effect: a run that is found by {source} is never cancelled."
    refused = nights.judge(source, f"GET /runs/{newest} #4- -> 403")
    assert refused.outputs["verdict"] == "error"
    clock.at(clock.now() + 60, clock.interrupt)
    result = nights.judge(source, cancel_on_interrupt="true")
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("cancelled", newest)
    assert result.outputs["reason"] == "The step was interrupted; the run continues in Coval."
    assert run_post_step(result, nights.world, INPUT_MODE="wait", INPUT_RUN_ID=source) == ""
    clock.rearm()
    clock.at(clock.now() + 20, clock.interrupt)
    searching = nights.judge(source, f"GET {LISTS[source]} -> 503")
    assert (searching.outputs["verdict"], searching.outputs["run_id"]) == ("cancelled", "")
    assert nights.world.get_run(newest)["run"]["status"] == "IN PROGRESS"


@pytest.mark.parametrize(("source", "days"), [(BRANCH, -30), (SCHEDULED, 30)])
def test_newest_run_that_is_too_old_is_error(source: str, days: int, nights: Finds, clock: VirtualClock) -> None:
    """Its age is measured by the clock of Coval."""
    nights.world = World(lambda: clock.time() + days * 24 * HOUR)
    newest = nights.put(source, hours=23)
    assert nights.found(source) == newest
    clock.sleep(2 * HOUR)
    too_old = f"The newest run {PHRASES[source]}, {newest}, is 25 h old, more than run_max_age (24h).\n"
    assert nights.error(source).startswith(too_old)
    assert nights.judge(source, run_max_age="26h").outputs["verdict"] == "passed"
    clock.sleep(48 * HOUR)
    assert "is 3 days old" in nights.error(source)


def test_run_that_does_not_fit_is_not_judged(nights: Finds) -> None:
    others = {"agent_id": OTHER_AGENT, "persona_id": "persona000000000000002", "test_set_id": "passing2"}
    for name, other in others.items():
        nights.put(TAG, "passing", **{name: other})  # type: ignore[arg-type]
    nights.put(BRANCH, tags="night", pull_request=True)
    nights.put(BRANCH, agent_id=OTHER_AGENT)
    for source in (TAG, BRANCH):
        error = nights.error(source)
        assert error.startswith(f"Coval lists no run of {SHOWN_IDS} {PHRASES[source]}.\n")
        assert "Check run_id, agent_id, persona_id and test_set_id. If they are right, launch such a run" in error
    fitting = nights.put(BRANCH)
    newest = nights.put(TAG, pull_request=True)
    nights.put(TAG, test_set_id="passing2")
    nights.put(TAG, metadata='{"coval_gate_repetition": 1}')
    nights.put(BRANCH, metadata='{"github_pull_request": 7}')  # a user's own metadata may name the pull request
    assert (nights.found(TAG), nights.found(BRANCH)) == (newest, fitting)


# Lists that show less


@pytest.mark.parametrize(
    "quirks",
    [
        {"blind_tag_filter": True, "list_identity": "neither"},
        {"refuse_tag_filter": True, "lower_case_tags": True, "run_identity": "tags"},
    ],
    ids=str,
)
def test_newest_run_is_found_whatever_lists_show(
    quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    nights = Finds(run_step, clock, **quirks)
    nights.put(TAG)
    nights.put(SCHEDULED)
    scheduled = nights.put(SCHEDULED)
    branch = nights.put(BRANCH)
    nights.put(BRANCH, agent_id=OTHER_AGENT)
    nights.put(BRANCH, pull_request=True)
    nights.put(TAG, agent_id=OTHER_AGENT)
    tag = nights.put(TAG, pull_request=True)
    assert [nights.found(source) for source in (TAG, BRANCH, SCHEDULED)] == [tag, branch, scheduled]


def test_no_run_is_judged_if_nothing_shows_tags(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Finds(run_step, clock, run_identity="neither", list_identity="neither")
    nights.put(BRANCH, tags="nightly")
    newest = nights.put(BRANCH, tags="nightly")
    for source in (TAG, BRANCH):
        what = (
            f"Coval lists run {newest}, but does not show what it is, so the step does not know which run is the newest"
        )
        assert f"{what} {PHRASES[source]}." in nights.error(source)


@pytest.mark.parametrize("source", PHRASES)
def test_of_two_newest_runs_of_one_moment_none_is_the_newest(source: str, nights: Finds) -> None:
    """Otherwise, the order of Coval's list would decide."""
    older = nights.put(source)
    bad, good = nights.put(source, "failing", hours=0), nights.put(source)
    same = {"create_time": "2026-01-01T02:00:00Z"}
    listed = [row | same if row.get("run_id", row.get("id")) in (bad, good) else row for row in nights.listed(source)]
    runs = (
        f"GET /runs/{id_} -> json {json.dumps({'run': nights.world.get_run(id_)['run'] | same})}" for id_ in (bad, good)
    )
    faults = [*runs, f"GET {LISTS[source]} -> json {{}}"]
    for history in (listed, listed[::-1]):
        faults[-1] = f"GET {LISTS[source]} -> json {json.dumps({'runs': history})}"
        error = nights.error(source, *faults)
        assert "were created at the same time, 2026-01-01T02:00:00Z, so none of them is the newest" in error
        assert bad in error
        assert good in error
        assert older not in error


PARTS: dict[str, dict[str, Any]] = {
    "slices": {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 20%"},
    "repetition": {"scenario": "failing", "repeat_on_failure": "1", "thresholds": "Latency: avg < 0.1"},
    "base": {"agent_id": OTHER_AGENT, "base_agent_id": IDS["agent_id"], "thresholds": "Latency: avg <= base * 9"},
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"list_identity": "tags"},
        {"list_identity": "neither", "blind_tag_filter": True},
        {"list_identity": "metadata", "run_identity": "tags"},
        {"list_identity": "tags", "run_identity": "tags"},
    ],
    ids=str,
)
def test_part_is_not_the_newest_run(kind: str, quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock) -> None:
    nights = Finds(run_step, clock, **quirks)
    whole = nights.put(TAG, "failing")
    part = {"scenario": "passing", "tags": "nightly"} | IDS | PARTS[kind]
    ids = json.loads(nights.night(**part, days=0).outputs["run_ids"])
    nights.clock.sleep(HOUR)
    assert nights.found(TAG) == (ids[0] if kind == "repetition" else whole)


def test_run_of_a_schedule_that_no_longer_exists_is_passed_over(nights: Finds) -> None:
    older, deleted = nights.put(SCHEDULED), nights.put(SCHEDULED)
    result = nights.judge(SCHEDULED, f"GET /runs/{deleted} -> 404")
    assert result.outputs["run_id"] == older
    assert result.log.count(f"Coval lists run {deleted}, but no longer has it.") == 1
    assert "The response is not from Coval" in nights.error(SCHEDULED, f"GET /runs/{deleted} -> html 404")


# The list of a schedule


FORMS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "only ids": lambda rows: {"runs": [{"run_id": row["id"]} for row in rows[::-1]]},
    "only names": lambda rows: {"runs": [{"name": row["name"], "create_time": row["create_time"]} for row in rows]},
}


@pytest.mark.parametrize("form", FORMS)
def test_list_of_schedule_is_read_in_any_form(form: str, nights: Finds) -> None:
    nights.put(SCHEDULED)
    newest = nights.put(SCHEDULED)
    history = json.dumps(FORMS[form](nights.listed(SCHEDULED)))
    assert nights.found(SCHEDULED, f"GET /scheduled-runs/* -> json {history}") == newest
