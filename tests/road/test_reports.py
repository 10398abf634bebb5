"""Every face of a step, on every path: files in the workspace, the commit's status, the comment on the pull request."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema

from coval_gate.report.formats.json import schema
from coval_sandbox.clock import SpeedClock
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import READ_ONLY_TOKEN, TOKEN, FakeGitHub
from road.trips import FORK, THRESHOLDS, TRIPS, trip_of
from support import DEFAULTS, IDS, KEY, Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support import VirtualClock

    Ride = Callable[..., tuple[Trip, Server]]

HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]
ROOT = Path(__file__).resolve().parents[2]
STATUS = "Coval / voice gate"
SHOWN = ["gate-passed", "gate-failed", "gate-flaky", "gate-mutations", "failed-tolerated", "gate-unknown-metric",
         "timed-out", "run-cancelled", "fork-skipped", "launched", "wrong-inputs"]  # fmt: skip
WHOLE = ["gate-flaky", "gate-unknown-metric"]  # those whose JSON is shown; the others are held against the schema


@pytest.fixture
def github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    """A fake GitHub that has the pull request of the event."""
    with FakeGitHub(now=clock.time) as server:
        server.add_pull_request(42, HEAD)
        yield server


@pytest.fixture
def report(ride: Ride, github: FakeGitHub) -> Callable[..., Trip]:
    """Take the road with every face asked for."""

    def take(*faults: str, token: str = TOKEN, env: dict[str, str] | None = None, **given: Any) -> Trip:
        asked = {
            "comment": "always",
            "commit_status": STATUS,
            "junit_path": "reports/junit.xml",
            "json_path": "reports/coval.json",
            "github_token": token,
        }
        trip, _ = ride(*faults, env={"GITHUB_API_URL": github.url} | (env or {}), **asked | given)
        assert TOKEN not in trip.log.replace(f"::add-mask::{TOKEN}", "")
        return trip

    return take


def told(trip: Trip, github: FakeGitHub) -> dict[str, str]:
    """The faces as people and programs see them, by file name."""
    statuses = [f"{each['state']:<8} {each.get('description', '')}" for each in github.statuses.get(HEAD, [])]
    comments = [each.body for each in github.comments.get(42, [])]
    faces = {
        "status.txt": "".join(f"{each}\n" for each in statuses),
        "comment.md": "\n".join(comments),
        "junit.xml": ET.tostring(indented(trip.junit), encoding="unicode") + "\n",
        "result.json": trip.json,
    }
    return {name: re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", text) for name, text in faces.items()}


@cache
def junit_schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(Path(__file__).parents[1] / "junit.xsd"))


def indented(text: str) -> ET.Element:
    root = ET.fromstring(text)
    ET.indent(root)
    return root


@pytest.mark.parametrize("name", SHOWN)
def test_what_people_and_programs_see(
    name: str, report: Callable[..., Trip], github: FakeGitHub, golden: Callable[[str, str], None]
) -> None:
    trip = report(**trip_of(name))
    for face, text in told(trip, github).items():
        if face != "result.json" or name in WHOLE:
            golden(f"reports/{name}/{face}", text)


@pytest.mark.parametrize("name", TRIPS)
def test_every_path_has_every_face(name: str, report: Callable[..., Trip], github: FakeGitHub) -> None:
    """They are well-formed, and all say the same."""
    trip = report(**trip_of(name))
    verdict = trip.outputs["verdict"]
    document = json.loads(trip.json)
    jsonschema.validate(document, schema(), jsonschema.Draft202012Validator)
    assert (document["verdict"] or "") == verdict
    assert document["reason"] == trip.outputs["reason"]
    for leg in document["legs"]:
        assert leg["verdict"] == document["verdict"]
        assert len(leg["simulations"]) == (leg["total_simulations"] or 0) or name == "empty"
        missed = [each for each in leg["criteria"] if each["verdict"] != "passed"]
        assert (missed == []) == (verdict in ("passed", "") or leg["total_simulations"] is None)
        assert {each["reason"] for each in missed} <= set(document["reasons"])
        for each in missed:
            assert (each["margin"] or 0.0) <= 0
            assert each["problem"] or each["actual"] is not None
    assert [leg["run"]["id"] for leg in document["legs"]] == [each for each in [trip.outputs["run_id"]] if each]

    junit_schema().validate(trip.junit)
    suites = ET.fromstring(trip.junit)
    bad = int(suites.attrib["failures"]) + int(suites.attrib["errors"])
    assert (bad == 0) == (trip.exit_code == 0)
    assert (trip.outputs["junit_path"], trip.outputs["json_path"]) == ("reports/junit.xml", "reports/coval.json")

    states = [each["state"] for each in github.statuses[HEAD]] if github.statuses else []
    final = {"passed": "success", "skipped": "success", "failed": "failure", "": "pending"}.get(verdict, "error")
    launched = trip.outputs["run_id"] != "" and name != "wrong-run"
    assert states == (["pending"] if launched else []) + ([final] if verdict else [])

    comments = github.comments.get(42, [])
    assert len(comments) == (1 if verdict else 0), "nothing to say of a run that only began"
    assert trip.outputs["comment_url"] == (comments[0].html_url if comments else "")
    for comment in comments:
        assert comment.body.startswith("<!-- coval-gate ")
        assert trip.outputs["run_url"] in comment.body
    assert KEY not in f"{trip.json}{trip.junit}{[each.body for each in comments]}{github.statuses}"


def test_a_second_run_updates_its_comment_and_others_have_their_own(
    report: Callable[..., Trip], github: FakeGitHub
) -> None:
    first = report(test_set_id="failing1", thresholds=THRESHOLDS)
    second = report(test_set_id="failing1", thresholds="Latency: p(95) < 100")
    assert len(github.comments[42]) == 1
    assert first.outputs["comment_url"] == second.outputs["comment_url"] != ""
    assert "✅ Passed" in github.comments[42][0].body
    for env in ({"GITHUB_JOB": "other"}, {"GITHUB_WORKFLOW": "other"}, {"GITHUB_ACTION": "gate_2"}):
        report(test_set_id="failing1", env=env)
    report(test_set_id="passing1")
    assert len(github.comments[42]) == 5


def test_on_failure_nothing_appears_before_the_first_failure_and_none_stays_red(
    report: Callable[..., Trip], github: FakeGitHub
) -> None:
    report(comment="on_failure")
    assert github.comments == {}
    report(comment="on_failure", thresholds="Latency: p(95) < 0.001")
    assert "❌ Failed" in github.comments[42][0].body
    report(comment="on_failure")
    (comment,) = github.comments[42]
    assert "✅ Passed" in comment.body


def test_a_pull_request_that_has_moved_on_keeps_its_comment(report: Callable[..., Trip], github: FakeGitHub) -> None:
    report(thresholds="Latency: p(95) < 0.001")
    github.pull_requests[42].sha = "b" * 40
    trip = report()
    assert "❌ Failed" in github.comments[42][0].body
    assert "has moved on to bbbbbbb" in trip.log
    assert github.statuses[HEAD][-1]["state"] == "success", "the status belongs to the commit, which has not moved"


RUN_BEFORE = {
    "event": "pull_request",
    "head_sha": HEAD,
    "head_branch": "better-greeting",
    "head_repository": {"owner": {"login": "mallory"}},
    "pull_requests": [],
}
EVENTS: dict[str, dict[str, Any]] = {
    "pull_request": dict(PULL_REQUEST),
    "pull_request_target": FORK | {"pull_request": FORK["pull_request"] | {"head": {"sha": HEAD, "repo": None}}},
    "workflow_run": {
        "workflow_run": RUN_BEFORE | {"pull_requests": [{"number": 42, "head": {"sha": HEAD}, "base": {}}]}
    },
    "workflow_run of a fork": {"workflow_run": RUN_BEFORE},
    "issue_comment": {"issue": {"number": 42, "pull_request": {"url": "…"}}, "comment": {"body": "/evaluate"}},
}


@pytest.mark.parametrize("event", EVENTS)
def test_events_that_have_a_pull_request(event: str, report: Callable[..., Trip], github: FakeGitHub) -> None:
    github.pull_requests.clear()
    github.add_pull_request(42, HEAD, owner="mallory", branch="better-greeting")
    trip = report(event=EVENTS[event])
    assert trip.outputs["comment_url"] == github.comments[42][0].html_url
    assert [each["state"] for each in github.statuses[HEAD]] == ["pending", "success"]
    assert f"`{HEAD[:7]}`" in github.comments[42][0].body


@pytest.mark.parametrize(
    ("event", "sha"),
    [({"merge_group": {"head_sha": "c" * 40}}, "c" * 40), ({"ref": "refs/heads/main"}, "f" * 40)],
    ids=["merge_group", "push"],
)
def test_events_without_a_pull_request_have_a_status(
    event: dict[str, Any], sha: str, report: Callable[..., Trip], github: FakeGitHub
) -> None:
    github.commits.add(sha)
    trip = report(event=event)
    assert trip.outputs["comment_url"] == ""
    assert "There is no pull request to comment on." in trip.log
    assert [each["state"] for each in github.statuses[sha]] == ["pending", "success"]


def test_a_launch_here_and_a_wait_elsewhere_gate_one_commit(ride: Ride, github: FakeGitHub) -> None:
    """The workflow that waits knows neither pull request nor commit; the run does."""
    asked = {"commit_status": STATUS, "comment": "always", "github_token": TOKEN}
    env = {"GITHUB_API_URL": github.url}
    launch, server = ride(mode="launch", env=env, **asked)
    assert [each["state"] for each in github.statuses[HEAD]] == ["pending"]
    run_id, cron = launch.outputs["run_id"], {"schedule": "*/10 * * * *"}
    trip, _ = ride(mode="wait", run_id=run_id, world=server.world, event=cron, env=env, **asked)
    assert trip.outputs["verdict"] == "passed"
    assert [each["state"] for each in github.statuses[HEAD]] == ["pending", "success"]
    assert github.statuses[HEAD][-1]["target_url"] == trip.outputs["run_url"]
    assert f"`{HEAD[:7]}`" in github.comments[42][0].body


@pytest.mark.parametrize("fault", ["GET /runs/* -> 401", "GET /runs/* -> 503"])
def test_a_wait_that_never_sees_the_run_leaves_other_commits_alone(fault: str, ride: Ride, github: FakeGitHub) -> None:
    github.commits.add("f" * 40)  # the default branch's, for which a schedule runs
    asked = {"commit_status": STATUS, "github_token": TOKEN, "max_wait_time": "60"}
    env = {"GITHUB_API_URL": github.url}
    trip, _ = ride(fault, mode="wait", run_id="r1", event={"schedule": "0 * * * *"}, env=env, **asked)
    assert trip.outputs["verdict"] == "error"
    assert not github.statuses
    assert "the tested commit is not known" in trip.annotations("notice")[0].data


def test_a_comment_on_an_issue_gives_no_status_to_another_commit(ride: Ride, github: FakeGitHub) -> None:
    github.commits.add("f" * 40)
    github.pull_requests.clear()  # so that the pull request's head cannot be found out
    asked = {"commit_status": STATUS, "github_token": TOKEN, "env": {"GITHUB_API_URL": github.url}}
    trip, server = ride(event=EVENTS["issue_comment"], **asked)
    assert trip.outputs["verdict"] == "passed"
    assert not github.statuses
    assert "github_commit" not in server.requests_seen[0].json["metadata"]["customer"]


def test_two_files_must_not_be_one(ride: Ride) -> None:
    trip, server = ride(junit_path="r/a.xml", json_path="./r/a.xml")
    assert "json_path is the same as junit_path" in trip.outputs["reason"]
    assert server.requests_seen == []


def test_a_read_only_token_is_a_notice_with_advice(report: Callable[..., Trip], github: FakeGitHub) -> None:
    trip = report(token=READ_ONLY_TOKEN)
    assert (trip.exit_code, trip.outputs["verdict"]) == (0, "passed")
    assert not github.comments
    assert not github.statuses
    notices = "\n".join(each.data for each in trip.annotations("notice"))
    assert "`pull-requests: write`" in notices
    assert "`statuses: write`" in notices
    assert trip.annotations("warning") == trip.annotations("error") == []


@pytest.mark.parametrize("fault", ["500", "422 Validation Failed", "html", "drop", "rate-limit 3600"])
def test_no_trouble_with_github_changes_the_verdict(fault: str, ride: Ride, clock: VirtualClock) -> None:
    with FakeGitHub(faults=[f"* * -> {fault}"], now=clock.time) as broken:
        asked = {"comment": "always", "commit_status": STATUS, "github_token": TOKEN}
        trip, _ = ride(env={"GITHUB_API_URL": broken.url}, **asked)
    assert (trip.exit_code, trip.outputs["verdict"]) == (0, "passed")
    assert trip.annotations("warning")


def test_without_a_token_there_is_one_notice(report: Callable[..., Trip]) -> None:
    trip = report(token="${{ github.token }}")
    (notice,) = trip.annotations("notice")
    assert "github_token is empty" in notice.data
    assert trip.exit_code == 0


TELL_MODULES = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
runpy.run_path("entrypoint.py", run_name="__main__")
"""


def test_what_only_reports_need_is_imported_where_it_is_used(tmp_path: Path) -> None:
    """A whole step that passes, in a process of its own."""
    runner = LocalRunner(tmp_path)
    with Server(World(SpeedClock(600))) as server:
        inputs = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url, "github_token": TOKEN}
        inputs["check_interval"] = "1"  # the run takes a tenth of a second
        command = [sys.executable, "-c", TELL_MODULES]
        environ = runner.environ(inputs) | {"PATH": ""}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert runner.outputs["verdict"] == "passed"
    assert imported & {"junitparser", "coval_gate.report.formats.junit", "coval_gate.report.formats.json"} == set()
    assert "coval_gate.report.formats.summary" in imported


def test_metadata_show_their_keys_only(report: Callable[..., Trip], github: FakeGitHub) -> None:
    trip = report(config_overrides='{"sip": {"password": "swordfish"}}', metadata='{"team": "voice"}')
    assert json.loads(trip.json)["inputs"]["config_overrides"] == "{sip}"
    assert "swordfish" not in f"{trip.json}{trip.junit}{trip.summary}{trip.log}{github.comments}"


def test_summary_and_annotations_can_be_left_out(ride: Ride) -> None:
    trip, _ = ride(summary="false", annotations="false", test_set_id="someFail", silent=True)
    assert trip.summary == ""
    assert not any(trip.annotations(level) for level in ("error", "warning", "notice"))
    assert "❌ Failed. 3 of 10 simulations did not complete" in trip.log
    assert trip.exit_code == 1


def test_annotations_are_one_error_and_the_worst_simulations(ride: Ride) -> None:
    trip, _ = ride(test_set_id="failing1", thresholds=THRESHOLDS)
    assert len(trip.annotations("error")) == 1
    warnings = trip.annotations("warning")
    assert len(warnings) == 9
    assert warnings[0].properties["title"] == "Coval: Books an appointment"
    assert "Missed: Latency: p(95) < 1.5 – Latency is 1.55" in warnings[0].data
    assert "and 1 simulation more: see the summary." in warnings[-1].data


@pytest.mark.parametrize("path", ["../out.xml", "/etc/out.xml", "link/out.xml", "reports/", "event.json/x", "a\x00b"])
def test_a_path_that_leads_out_is_refused_before_anything_is_launched(path: str, ride: Ride, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "workspace" / "event.json").write_text("{}")
    trip, server = ride(junit_path=path)
    assert trip.outputs["verdict"] == "error"
    assert "junit_path is" in trip.outputs["reason"]
    assert server.requests_seen == []
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_file_that_cannot_be_written_in_the_end_is_no_pass(ride: Ride, tmp_path: Path, clock: VirtualClock) -> None:
    """While the run goes on, something puts a link that leads out in the directory's place."""
    elsewhere, reports = tmp_path / "elsewhere", tmp_path / "workspace" / "reports"
    elsewhere.mkdir()
    clock.at(10, reports.rmdir)
    clock.at(10, lambda: reports.symlink_to(elsewhere))
    trip, _ = ride(junit_path="reports/junit.xml")
    assert (trip.exit_code, trip.outputs["verdict"]) == (1, "error")
    assert "reports/junit.xml cannot be written" in trip.outputs["reason"]
    assert not any(elsewhere.iterdir())


def test_faces_know_what_quirks_leave_out(report: Callable[..., Trip]) -> None:
    """An older API has no single values, and no name for test cases."""
    trip = report(quirks=Quirks(metric_shape="summary"))
    (latency,) = [each for each in json.loads(trip.json)["legs"][0]["metrics"] if each["name"] == "Latency"]
    assert latency["variants"]["agent"]["count"] == 0
    assert latency["variants"]["agent"]["mean"] > 0


def test_a_key_in_another_input_is_refused(ride: Ride) -> None:
    trip, server = ride(tags=f"nightly,{KEY}")
    assert "tags holds the API key" in trip.outputs["reason"]
    assert server.requests_seen == []


def test_an_answer_that_repeats_the_key_gives_it_to_no_face(report: Callable[..., Trip], github: FakeGitHub) -> None:
    label = json.dumps({"test_cases": [{"id": "echo", "description": KEY}]})
    error = json.dumps({"error": {"message": f"no such key {KEY}"}})
    for fault in (f"GET /test-cases -> json {label}", f"GET /runs/* #2- -> body {error}"):
        trip = report(fault, max_wait_time="100")
        assert KEY not in f"{trip.json}{trip.junit}{trip.summary}{github.comments}"
