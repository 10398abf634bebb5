"""A history shows the newest nights side by side, and only reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from coval_gate.base.text import day_at
from coval_gate.features.nights.document import HistoryDocument, HistoryLeg
from coval_gate.history.tags import ACCEPTED_TAG
from coval_sandbox import catalogue
from coval_sandbox.catalogue import RESOLVED
from road.nights import DAY, Nights, RunStep
from support import IDS, StepResult, VirtualClock

THRESHOLDS = "Resolved: rate(YES) >= 90%\nLatency: avg <= baseline * 1.1"


@pytest.fixture
def nights(run_step: RunStep, clock: VirtualClock) -> Nights:
    return Nights(run_step, clock)


def history(nights: Nights, *faults: str, run_id: str = "branch:main last 8", **given: Any) -> StepResult:
    before = [(run.run_id, run.tags) for run in nights.world.runs]
    given = {"baseline": "branch:main last 2", "thresholds": THRESHOLDS, "json_path": "history.json"} | given
    result = nights.night("passing", *faults, mode="history", run_id=run_id, **given)
    assert [(run.run_id, run.tags) for run in nights.world.runs] == before
    assert {request.method for request in nights.server.requests_seen} <= {"GET"}
    return result


def document(result: StepResult) -> HistoryDocument:
    path = result.workspace / result.outputs["json_path"]
    return HistoryDocument.model_validate_json(path.read_text(encoding="utf-8"))


def only(result: StepResult) -> HistoryLeg:
    (leg,) = document(result).legs
    return leg


def launch(nights: Nights, *scenarios: str, **given: Any) -> list[str]:
    return [nights.launch(scenario, **{"baseline": "branch:main"} | given) for scenario in scenarios]


def test_nights_of_a_branch_stand_side_by_side(nights: Nights) -> None:
    ids = launch(nights, "passing", "failing", "passing", "failing", "failing")
    nights.tag(ids[1], ACCEPTED_TAG)
    launch(nights, "failing", pull_request=True)
    nights.launch("slow")
    result = history(nights)
    leg = only(result)
    assert (result.exit_code, result.outputs["verdict"], result.outputs["status"]) == (0, "", "HISTORY")
    assert [run.id for run in leg.runs][:5] == ids
    assert [run.day for run in leg.runs][:5] == [f"2026-01-0{day}" for day in range(1, 6)]
    assert [value and value.met for value in leg.thresholds[0].values][:5] == [True, False, True, False, False]
    assert {value and value.met for value in leg.thresholds[1].values} == {None}
    assert [run.accepted for run in leg.runs][:5] == [False, True, False, False, False]
    assert leg.cases[0].title == "Angry caller"
    assert leg.cases[0].signs[:5] == "✓✗✓✗✗"
    assert "known_failures:" in result.log
    assert "| day | " in result.summary
    run = leg.runs[0]
    assert run.url.endswith(f"/runs/{run.id}")
    assert run.commit_url.startswith("https://github.com/acme/voice-agent/commit/")


def test_page_is_written_as_a_file(nights: Nights) -> None:
    launch(nights, "passing", "failing", "passing")
    result = history(nights, html_path="reports/history.html", dashboard_url="https://app.coval.dev/acme")
    page = (result.workspace / result.outputs["html_path"]).read_text(encoding="utf-8")
    leg = only(result)
    assert all(page.count(f'href="{run.url}"') >= len(leg.thresholds) + 2 for run in leg.runs)  # dots, values, matrix
    assert all(f'href="{cell.url}"' in page for case in leg.cases for cell in case.cells if cell)


def test_three_requests_a_run_and_the_requested_number_of_newest(nights: Nights) -> None:
    ids = launch(nights, *["passing"] * 6)
    result = history(nights, run_id="branch:main last 4")
    assert [run.id for run in only(result).runs] == ids[2:]
    by_run = [request.path for request in nights.server.requests_seen if request.path.startswith("/v1/runs/")]
    assert len(by_run) == 4
    assert len(nights.server.requests_seen) <= 3 * 4 + 6


def test_runs_that_are_the_baseline_today_have_a_mark(nights: Nights) -> None:
    launch(nights, *["passing"] * 4)
    assert [run.is_baseline for run in only(history(nights)).runs] == [False, False, True, True]
    tagged = launch(nights, "passing", tags="nightly")
    nights.tag(tagged[0], "stable")
    by_tag = only(history(nights, run_id="tag:nightly", baseline="tag:stable last 3"))
    assert [(run.id, run.is_baseline) for run in by_tag.runs] == [(tagged[0], True)]
    named = only(history(nights, run_id="tag:nightly last 5", baseline=f"run:{tagged[0]}"))
    assert [run.is_baseline for run in named.runs] == [True]


def test_a_run_without_enough_data_is_no_baseline(nights: Nights) -> None:
    """No step judged what was only launched, so it has no mark; a step would not compare with it."""
    launch(nights, "passing", "passing")
    nights.launch("some-failed", baseline="branch:main")
    leg = only(history(nights, baseline="branch:main last 2"))
    assert [run.is_baseline for run in leg.runs] == [True, True, False]
    named = only(history(nights, baseline=f"run:{leg.runs[-1].id}"))
    assert not any(run.is_baseline for run in named.runs)
    unread = only(history(nights, f"GET /runs/{leg.runs[0].id} -> 404", baseline=f"run:{leg.runs[0].id}"))
    assert not any(run.is_baseline for run in unread.runs)


@pytest.mark.parametrize("by_target", ["true", ""], ids=["targets", "thresholds"])
def test_a_metric_version_is_compared_with_the_last_run_that_shows_it(nights: Nights, by_target: str) -> None:
    launch(nights, "passing", "run-failed")
    nights.world.edits.revise(RESOLVED.id)
    launch(nights, "empty", "passing", "passing")
    judged = {"use_metric_targets": by_target, "thresholds": "" if by_target else "Resolved: rate(YES) >= 90%"}
    changes = [run.changes for run in only(history(nights, **judged)).runs]
    assert changes == [[], [], [], ["version of Resolved"], []]


def test_what_changed_since_the_run_before_has_a_mark(nights: Nights) -> None:
    """What is no longer so after the next run is not marked again."""
    change, case = nights.world.edits.change, catalogue.test_cases("passing1", 1)[0].id
    launch(nights, "passing", "passing")
    nights.world.edits.revise(RESOLVED.id)
    launch(nights, "passing")
    change(case, input_str="Another question")
    launch(nights, "passing")
    change(IDS["persona_id"], voice_name="another")
    launch(nights, "passing", "passing")
    change(case, input_str="A third question")
    change(IDS["persona_id"], name="Only another name")
    launch(nights, "passing")
    assert [run.changes for run in only(history(nights)).runs] == [
        [],
        [],
        ["version of Resolved"],
        ["test set"],
        ["persona"],
        [],
        ["test set"],
    ]


def test_run_that_cannot_be_read_stays_with_the_reason(nights: Nights) -> None:
    first, second = launch(nights, "passing", "failing")
    result = history(nights, f"GET /runs/{first} -> 404")
    leg = only(result)
    assert (result.exit_code, [bool(run.unread) for run in leg.runs]) == (0, [True, False])
    assert [cell is None for cell in leg.cases[0].cells] == [True, False]
    assert [value is None for value in leg.thresholds[0].values] == [True, False]
    assert second == leg.runs[1].id


def test_run_that_did_not_complete_is_shown_as_such(nights: Nights) -> None:
    launch(nights, "passing", "run-failed", "stuck", "empty")
    result = history(nights)
    leg = only(result)
    passed, failed, going_on, empty = (run.unread for run in leg.runs)
    assert (result.exit_code, passed) == (0, "")
    assert failed.startswith("The run ended as FAILED: ")
    assert going_on == "The run is IN PROGRESS"
    assert empty.startswith("Coval lists no simulation of run ")


def test_list_that_hides_what_runs_are_is_reported(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, list_identity="neither", run_identity="neither")
    launch(nights, "passing")
    result = history(nights)
    assert "Coval does not show of all runs what they are" in result.log
    assert (result.exit_code, result.outputs["reason"]) == (1, "Coval lists no run of branch main.")


def test_run_that_stays_unreadable_hides_no_others(nights: Nights) -> None:
    first, second = launch(nights, "passing", "failing")
    result = history(nights, f"GET /runs/{first} -> 503", use_metric_targets="true")
    leg = only(result)
    assert (result.exit_code, [bool(run.unread) for run in leg.runs]) == (0, [True, False])
    assert (leg.runs[1].id, leg.cases[0].title) == (second, "Angry caller")


def test_list_that_hides_what_many_runs_are_is_read_as_far_as_requested(run_step: RunStep, clock: VirtualClock) -> None:
    nights = Nights(run_step, clock, list_identity="neither")
    ids = launch(nights, *["passing"] * 24)
    result = history(nights, run_id="branch:main last 23")
    assert [run.id for run in only(result).runs] == ids[1:]
    assert "may lack some" not in result.log


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (("GET /runs -> 403",), "GET /runs returned 403"),
        (("GET /runs/* -> 403",), "GET /runs/"),
        (("GET /runs -> 503",), "GET /runs "),
        (("GET /conversations/simulated -> 403", "GET /simulations -> 403"), "simulat"),
    ],
)
def test_leg_that_cannot_be_read_at_all_is_an_error(faults: tuple[str, ...], reason: str, nights: Nights) -> None:
    launch(nights, "passing", "passing")
    result = history(nights, *faults)
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")
    assert only(result).trouble
    assert reason in f"{result.outputs['reason']}{only(result).trouble}"


def test_branch_without_a_run_is_an_error(nights: Nights) -> None:
    launch(nights, "passing")
    result = history(nights, run_id="branch:mian last 8")
    assert result.outputs["reason"] == "Coval lists no run of branch mian."
    report = json.loads((result.workspace / "history.json").read_text(encoding="utf-8"))
    assert (result.exit_code, report["verdict"]) == (1, "error")


def test_each_leg_has_its_own_nights(nights: Nights) -> None:
    launch(nights, "passing", test_set_id="passing1, passing2")
    result = history(nights, test_set_id="passing1, passing2, flaky001")
    legs = document(result).legs
    assert (result.exit_code, [len(leg.runs) for leg in legs]) == (0, [1, 1, 0])
    assert legs[2].trouble == "Coval lists no run of branch main."
    assert all(leg.title and leg.title != leg.name for leg in legs)


def test_only_selected_legs_are_shown(nights: Nights) -> None:
    launch(nights, "passing", test_set_id="passing1, passing2")
    result = history(nights, test_set_id="passing1, passing2", only_legs="*passing2")
    assert (result.exit_code, only(result).name, result.outputs["status"]) == (0, "passing2", "HISTORY")
    assert "1 of 2 legs" in result.log


def test_slices_repetitions_and_bases_stand_for_no_run(nights: Nights) -> None:
    gate: dict[str, Any] = {"thresholds": "Latency: avg < 0.1", "repeat_on_failure": "1"}
    first = nights.night("passing", **gate).outputs["run_id"]
    assert [run.id for run in only(history(nights, thresholds="Latency: avg < 0.1")).runs] == [first]


@pytest.mark.parametrize(("days", "known"), [(30, "ticket 4711"), (-1, "")])
def test_known_failure_of_the_file_is_shown_with_its_reason_until_it_ends(
    days: int, known: str, nights: Nights, tmp_path: Path
) -> None:
    launch(nights, "failing", "failing", "failing")
    (tmp_path / "workspace").mkdir(exist_ok=True)
    until = str(day_at(nights.clock.time() + days * DAY))
    entry = {"test_case": "casepassing10000000004", "reason": "ticket 4711", "until": until}
    (tmp_path / "workspace" / "gate.json").write_text(json.dumps({"known_failures": [entry]}), encoding="utf-8")
    result = history(nights, config_path="gate.json")
    (case,) = [case for case in only(result).cases if case.id == entry["test_case"]]
    assert (result.exit_code, case.known, case.failed > 0) == (0, known, True)
    assert ("1 known" in result.log) is bool(known)


def test_targets_of_metrics_count(nights: Nights) -> None:
    launch(nights, "passing", "failing")
    given = {"thresholds": "", "baseline": "", "use_metric_targets": "true"}
    assert only(history(nights, **given)).cases[0].failed == 1
    refused = history(nights, "GET /metrics/* -> 403", **given)
    assert refused.outputs["verdict"] == "error"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"run_id": ""}, "run_id must be branch:<name> last <N> or tag:<tag> last <N> in mode history."),
        ({"run_id": "schedule:x"}, "run_id must be branch:<name> last <N> or tag:<tag> last <N> in mode history."),
        ({"run_id": "branch:main last 101"}, "run_id must request the last 1 to 100 runs; got 101."),
        ({"mode": "wait", "run_id": "branch:main last 3"}, "run_id must name one run in mode wait"),
        ({"agent_id": ""}, "agent_id is required in mode history"),
        ({"confidence": "95%"}, "confidence has no effect in mode history, which judges nothing"),
    ],
)
def test_mistake_is_an_error_before_anything_is_read(given: dict[str, str], problem: str, nights: Nights) -> None:
    own: dict[str, Any] = {"mode": "history", "run_id": "branch:main", "thresholds": "total > 0", **given}
    result = nights.night("passing", **own)
    assert (result.exit_code, problem in result.log) == (1, True), result.log
    assert nights.server.requests_seen == []


def test_inputs_without_effect_are_reported(nights: Nights) -> None:
    launch(nights, "passing")
    result = history(nights, junit_path="junit.xml", tags="nightly", commit_status="Voice", html_path="history.html")
    warnings = "\n".join(warning.data for warning in result.annotations("warning"))
    assert "junit_path has no effect in mode history" in warnings
    assert "tags has no effect in mode history." in warnings
    assert "commit_status has no effect in mode history." in warnings
    assert not (result.workspace / "junit.xml").exists()
    assert "<html" in (result.workspace / "history.html").read_text(encoding="utf-8")
