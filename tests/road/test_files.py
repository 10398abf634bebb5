"""All reports of a step: files in the workspace, commit status, comment on the pull request, and transcripts."""

import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markupsafe import escape

from coval_gate.base.times import DETAILS
from coval_gate.report.formats.outputs import CRITERION_FIELDS
from coval_sandbox.github import READ_ONLY_TOKEN
from coval_sandbox.runner import PULL_REQUEST
from fake_github import TOKEN, FakeGitHub, pull_request_on_github
from fake_host import Fault
from leaks import SPELLINGS, has_secret
from road.nights import RunStep
from road.steps import ALL_REPORTS, FORK_EVENT, OTHERS, STATUS, STEPS, THRESHOLDS
from support import KEY, StepResult, VirtualClock
from validation import junit_schema, report_validator

Reported = Callable[..., StepResult]


HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]
# The reports of each step that stand in golden files: each element of each format once.
GOLDEN: dict[str, tuple[str, ...]] = {
    "gate-flaky": ("status.txt", "comment.md", "junit.xml", "result.json", "digest.md"),
    "gate-mutations": ("comment.md",),
    "gate-in-doubt": ("status.txt", "comment.md"),
    "gate-unknown-metric": ("comment.md", "junit.xml"),
    "repeated-flaky": ("status.txt", "comment.md", "digest.md"),
    "failed-tolerated": ("status.txt", "comment.md"),
    "timed-out": ("status.txt", "comment.md", "junit.xml", "digest.md"),
    "fork-skipped": ("status.txt", "comment.md", "junit.xml", "digest.md"),
    "launched": ("status.txt", "junit.xml", "digest.md"),
    "wrong-inputs": ("status.txt", "comment.md", "junit.xml", "digest.md"),
    "gate-failed": (),
    "repeated-failed": (),
}


@pytest.fixture
def github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    """Start a fake GitHub that has the pull request of the event."""
    with pull_request_on_github(clock) as server:
        yield server


@pytest.fixture
def run_step_with_reports(run_step: RunStep, github: FakeGitHub) -> Reported:
    """Run a step with all reports turned on."""

    def run(*faults: str, token: str = TOKEN, env: dict[str, str] | None = None, **given: Any) -> StepResult:
        inputs = ALL_REPORTS | {"github_token": token} | given
        result, _ = run_step(*faults, env={"GITHUB_API_URL": github.url} | (env or {}), **inputs)
        assert TOKEN not in result.log.replace(f"::add-mask::{TOKEN}", "")
        return result

    return run


def reports_of(result: StepResult, github: FakeGitHub) -> dict[str, str]:
    """Return all reports by file name."""
    statuses = [f"{entry['state']:<8} {entry.get('description', '')}" for entry in github.statuses.get(HEAD, [])]
    ET.indent(junit := ET.fromstring(result.junit))
    reports = {
        "status.txt": "".join(f"{status}\n" for status in statuses),
        "comment.md": "\n".join(comment.body for comment in github.comments.get(42, [])),
        "junit.xml": ET.tostring(junit, encoding="unicode") + "\n",
        "result.json": json.dumps(with_short_lists(json.loads(result.json)), indent=2, ensure_ascii=False) + "\n",
        "digest.md": (result.workspace / "reports" / "digest.md").read_text(encoding="utf-8"),
    }
    return {name: re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", text) for name, text in reports.items()}


def with_short_lists(value: Any) -> Any:
    """Return the first of all objects that stand in a list."""
    if isinstance(value, dict):
        return {name: with_short_lists(member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_short_lists(member) for member in (value[:1] if value and isinstance(value[0], dict) else value)]
    return value


@pytest.mark.parametrize("name", GOLDEN)
def test_reports_match_golden_files_and_each_other(
    name: str, run_step_with_reports: Reported, github: FakeGitHub, golden: Callable[[str, str], None]
) -> None:
    result = run_step_with_reports(**(STEPS | OTHERS)[name])
    reports = reports_of(result, github)
    for report in GOLDEN[name]:
        golden(f"reports/{name}/{report}", reports[report])
    assert_annotations_repeat_nothing(result)
    verdict = result.outputs["verdict"]
    document = json.loads(result.json)
    report_validator().validate(document)
    assert (document["verdict"] or "", document["reason"]) == (verdict, result.outputs["reason"])
    for leg in document["legs"]:
        assert_order_matches_the_json_report(leg, result)
        assert leg["verdict"] == document["verdict"]
        is_judged = leg["pass_rate"] is not None
        assert len(leg["simulations"]) == (leg["total_simulations"] if is_judged else 0)
        missed = [criterion for criterion in leg["criteria"] if criterion["verdict"] not in ("passed", "skipped")]
        assert (missed == []) == (verdict in ("passed", "") or not is_judged)
        assert {criterion["reason"] for criterion in missed} <= set(document["reasons"])
    assert [leg["run"]["id"] for leg in document["legs"]] == [run_id for run_id in [result.outputs["run_id"]] if run_id]

    junit_schema().validate(result.junit)
    suites = ET.fromstring(result.junit)
    assert (int(suites.attrib["failures"]) + int(suites.attrib["errors"]) == 0) == (result.exit_code == 0)
    html = (result.workspace / "reports/coval.html").read_text(encoding="utf-8")
    assert escape(result.outputs["reason"]) in html
    assert html.count('<tr class="row ') == sum(len(leg["simulations"]) for leg in document["legs"])
    comments = github.comments.get(42, [])
    assert len(comments) == (verdict != ""), "no comment on a run that has only begun"
    assert result.outputs["comment_url"] == (comments[0].html_url if comments else "")
    assert KEY not in f"{result.json}{result.junit}{[shown.body for shown in comments]}{github.statuses}"


def assert_order_matches_the_json_report(leg: dict[str, Any], result: StepResult) -> None:
    missed = [criterion for criterion in leg["criteria"] if criterion["verdict"] not in ("passed", "skipped")]
    assert json.loads(result.outputs["failed_criteria"] or "[]") == [
        {name: criterion[name] for name in CRITERION_FIELDS} | {"leg": ""} for criterion in missed
    ]
    warnings = [warning.data.split("\n")[0] for warning in result.annotations("warning")]
    annotated = [found for line in warnings for found in re.findall(r"\((\w{22})\)$", line)]
    worst = [simulation["id"] for simulation in leg["simulations"]][: len(annotated)]
    assert annotated == worst[::-1], "the runner shows the last one first"


def assert_annotations_repeat_nothing(result: StepResult) -> None:
    """Assert that a failing step has one error, and that no line of an annotation is in another."""
    errors, others = result.annotations("error"), [*result.annotations("warning"), *result.annotations("notice")]
    assert len(errors) == (result.exit_code != 0)
    lines = {line for error in errors for line in error.data.split("\n")}
    assert not lines & {line for other in others for line in other.data.split("\n")}
    assert len({other.data for other in others}) == len(others)


def test_comment_on_failure_appears_with_first_failure_and_is_updated_until_a_newer_commit(
    run_step_with_reports: Reported, github: FakeGitHub
) -> None:
    bad = {"comment": "on_failure", "thresholds": "Latency: p(95) < 0.001"}
    run_step_with_reports(comment="on_failure")
    assert github.comments == {}
    run_step_with_reports(**bad)
    assert "❌ Failed" in github.comments[42][0].body
    run_step_with_reports(comment="on_failure")
    github.pull_requests[42].sha = "b" * 40
    result = run_step_with_reports(**bad)
    (comment,) = github.comments[42]
    assert "✅ Passed" in comment.body
    assert "has a newer commit, bbbbbbb" in result.log
    assert github.statuses[HEAD][-1]["state"] == "failure", "the status belongs to the commit"


EVENTS: dict[str, dict[str, Any]] = {
    "workflow_run-of-fork": {
        "workflow_run": {
            "event": "pull_request",
            "head_sha": HEAD,
            "head_branch": "better-greeting",
            "head_repository": {"owner": {"login": "mallory"}},
            "pull_requests": [],
        }
    },
    "issue_comment": {"issue": {"number": 42, "pull_request": {"url": "…"}}, "comment": {"body": "/evaluate"}},
}


def test_wait_in_other_workflow_reports_on_launched_commit(run_step: RunStep, github: FakeGitHub) -> None:
    """The waiting workflow has neither pull request, commit nor matrix; the run shows what launched it."""
    inputs = {"commit_status": STATUS, "comment": "always", "github_token": TOKEN}
    env = {"GITHUB_API_URL": github.url}
    launch, server = run_step(mode="launch", env=env, matrix='{"region": "eu"}', **inputs)
    run_id, cron = launch.outputs["run_id"], {"schedule": "*/10 * * * *"}
    result, _ = run_step(mode="wait", run_id=run_id, world=server.world, event=cron, env=env, **inputs)
    assert result.outputs["verdict"] == "passed"
    assert [(status["context"], status["state"]) for status in github.statuses[HEAD]] == [
        (f"{STATUS} (eu)", "pending"),
        (f"{STATUS} (eu)", "success"),
    ]
    assert github.statuses[HEAD][-1]["target_url"] == result.outputs["run_url"]
    assert f"`{HEAD[:7]}`" in github.comments[42][0].body


FILES = {"junit_path": "reports/a", "json_path": "reports/b", "html_path": "reports/c", "digest_path": "d"}


class Killed(BaseException):
    """The process is killed."""


def kill() -> None:
    raise Killed


def test_report_of_earlier_step_does_not_survive_a_killed_one(run_step: RunStep, clock: VirtualClock) -> None:
    first, _ = run_step(**FILES)
    written = [first.workspace / path for path in FILES.values()]
    assert all(file.is_file() for file in written)
    (first.workspace / "reports" / "other").touch()
    clock.at(clock.now(), kill)
    with pytest.raises(Killed):
        run_step("POST /runs -> 429", **FILES)
    assert not any(file.exists() for file in written)
    assert (first.workspace / "reports" / "other").exists()


def test_unwritable_report_is_error(run_step: RunStep, tmp_path: Path, clock: VirtualClock) -> None:
    """While the run is in progress, the directory is replaced with a symlink out of the workspace."""
    elsewhere, reports = tmp_path / "elsewhere", tmp_path / "workspace" / "reports"
    elsewhere.mkdir()
    clock.at(10, reports.rmdir)
    clock.at(10, lambda: reports.symlink_to(elsewhere))
    result, _ = run_step(junit_path="reports/junit.xml")
    assert (result.exit_code, result.outputs["verdict"]) == (1, "error")
    assert "reports/junit.xml cannot be written" in result.outputs["reason"]
    assert not any(elsewhere.iterdir())


def test_read_only_token_is_notice_with_advice(run_step_with_reports: Reported, github: FakeGitHub) -> None:
    result = run_step_with_reports(token=READ_ONLY_TOKEN)
    assert (result.exit_code, result.outputs["verdict"]) == (0, "passed")
    assert (github.comments, github.statuses) == ({}, {})
    notices = "\n".join(annotation.data for annotation in result.annotations("notice"))
    assert "`pull-requests: write`" in notices
    assert "`statuses: write`" in notices
    assert result.annotations("warning") == result.annotations("error") == []
    assert all(page["is_done"] for page in json.loads(result.state["pages"])), "nothing is left to the post step"


def written_by(result: StepResult, github: FakeGitHub) -> dict[str, str]:
    """Return everything that a step wrote or sent to GitHub, without the commands that mask secrets."""
    return {
        "log": "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::")),
        "annotations": "\n".join(
            f"{command.properties}{command.data}" for command in result.commands if command.name != "add-mask"
        ),
        "outputs": json.dumps(result.outputs, ensure_ascii=False),
        "state": json.dumps(result.state, ensure_ascii=False),
        "summary": result.summary,
        "JSON": result.json,
        "JUnit": result.junit,
        "GitHub": "\n".join(
            f"{request.path} {request.query} {json.dumps(request.json, ensure_ascii=False)}"
            for request in github.requests_seen
        ),
    }


OTHER = "coval_sk_prod_OfAnotherOne"


@pytest.mark.parametrize(
    "given",
    [{"agent_id": OTHER}, {"thresholds": OTHER}, {"run_id": KEY, "mode": "wait"}, {"check_run": KEY}],
    ids=str,
)
def test_api_key_in_wrong_input_is_an_error_that_does_not_show_it(
    given: dict[str, str], run_step_with_reports: Reported, github: FakeGitHub
) -> None:
    result = run_step_with_reports(**{"check_run": "Check"} | given)
    assert result.outputs["verdict"] == "error"
    assert next(iter(given)) in result.outputs["reason"]
    assert github.check_runs
    for text in written_by(result, github).values():
        assert KEY not in text
        assert OTHER not in text


@pytest.mark.parametrize(("place", "spelling"), [("test case", "plain"), ("error", "HTML-safe"), ("run", "escaped")])
def test_secrets_in_responses_are_in_no_report_however_they_are_spelled(
    place: str, spelling: str, run_step_with_reports: Reported, github: FakeGitHub
) -> None:
    """A server repeats the key in its texts."""
    inside = SPELLINGS[spelling](KEY)
    cases = f'{{"test_cases": [{{"id": "echo", "description": "{inside}"}}]}}'
    error = f'{{"error": {{"message": "no such key {inside}", "details": [{{"description": "{inside}"}}]}}}}'
    run = f'{{"run": {{"status": "FAILED", "error": "{"x" * 300} {inside}", "error_status": "{inside}"}}}}'
    fault, given = {
        "test case": (f"GET /test-cases -> json {cases}", {"test_set_id": "failing1", "thresholds": THRESHOLDS}),
        "error": (f"GET /runs/* #2- -> body {error}", {"max_wait_time": "60"}),
        "run": (f"GET /runs/* #2- -> body {run}", {}),
    }[place]
    github.faults.append(Fault(f"POST */statuses/* -> 422 {TOKEN} and {KEY}"))
    github.faults.append(Fault(f"POST */check-runs #1 -> 422 {TOKEN} and {KEY}"))
    result = run_step_with_reports(fault, check_run="Check", **given)
    for face, text in written_by(result, github).items():
        assert not has_secret(text, KEY), face
        assert not has_secret(text, TOKEN), face


SKIPPED = {"api_key": "", "on_missing_api_key": "skip", "event": FORK_EVENT}


def test_pass_with_advisory_thresholds_only_reports_that_they_do_not_decide(run_step: RunStep) -> None:
    told = "All thresholds are advisory: the agent's quality did not decide the verdict."
    result, _ = run_step(test_set_id="failing1", thresholds="? Resolved: rate(YES) >= 90%\n? Latency: avg < 1.5")
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("passed", "All 10 simulations completed.")
    assert (result.log.count(told), told in result.summary) == (1, True)


# The transcripts of the worst simulations only inform: nothing of them changes a verdict

BAD = {"test_set_id": "failing1", "thresholds": "Latency: max < 1.5\nResolved: rate(YES) >= 90%"}
TRANSCRIPT = "/conversations/simulated"  # the words of judges are below each


def test_transcripts_never_change_verdict(run_step: RunStep, clock: VirtualClock) -> None:
    plain, _ = run_step(**BAD)
    began = clock.now()
    with_transcripts, _ = run_step(f"GET {TRANSCRIPT}/* -> 503", include_transcripts="failures", **BAD)
    assert clock.now() - began <= float(plain.outputs["duration_seconds"]) + DETAILS + 1
    for name in ("verdict", "reason", "metrics", "failed_simulations"):
        assert with_transcripts.outputs[name] == plain.outputs[name]


def test_transcripts_give_junit_its_times_and_are_never_in_the_json_report(run_step: RunStep) -> None:
    """Each conversation has four turns, which begin 1 s apart and last 0.8 s."""
    given = BAD | {"test_set_id": "flaky001", "include_transcripts": "failures", "junit_path": "junit.xml"}
    result, _ = run_step(**given, json_path="coval.json", html_path="coval.html")
    page, report = ((result.workspace / f"coval.{form}").read_text(encoding="utf-8") for form in ("html", "json"))
    spoken = {unescape(text) for text in re.findall(r'<li class="turn .*?<p>(.*?)</p>', page)}
    assert spoken
    assert [text for text in spoken if json.dumps(text, ensure_ascii=False) in report] == []
    suite, _ = ET.parse(result.workspace / "junit.xml").getroot()
    assert {case.get("time") for case in suite if case.find("failure") is not None} == {"3.8"}
    assert {case.get("time") for case in suite if case.find("failure") is None} == {None}
