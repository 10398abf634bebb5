"""All reports of a step: files in the workspace, the commit status, and the comment on the pull request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markupsafe import escape

from counting import calls_of
from coval_gate.gate.findings import findings_of
from coval_gate.report.compose import document_of
from coval_gate.report.formats.outputs import CRITERION_FIELDS
from coval_sandbox import catalogue
from coval_sandbox.github import READ_ONLY_TOKEN
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, shown_lines
from coval_sandbox.server import Server
from fake_github import TOKEN, FakeGitHub, pull_request_on_github
from fake_host import Fault
from leaks import DISGUISES, holds, in_json
from road.steps import ALL_REPORTS, FORK_EVENT, STATUS, STEPS, THRESHOLDS, inputs_of
from selection import shares
from support import KEY, StepResult, VirtualClock
from validation import junit_schema, report_validator

RunStep = Callable[..., tuple[StepResult, Server]]
ReportedStep = Callable[[str], tuple[StepResult, FakeGitHub]]


HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]
ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ["gate-passed", "gate-doubtful", "gate-failed", "gate-flaky", "gate-in-doubt", "gate-in-doubt-passes",
          "gate-pass-rate", "gate-mutations", "failed-tolerated", "gate-unknown-metric", "repeated-flaky",
          "repeated-failed", "timed-out", "run-cancelled", "fork-skipped", "launched", "wrong-inputs"]  # fmt: skip
GOLDEN_JSON = ["gate-flaky", "gate-unknown-metric", "repeated-flaky"]  # the others' is only validated by the schema


@pytest.fixture
def github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    """Start a fake GitHub that has the pull request of the event."""
    with pull_request_on_github(clock) as server:
        yield server


@pytest.fixture
def run_step_with_reports(run_step: RunStep, github: FakeGitHub) -> Callable[..., StepResult]:
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
    comments = [comment.body for comment in github.comments.get(42, [])]
    reports = {
        "status.txt": "".join(f"{status}\n" for status in statuses),
        "comment.md": "\n".join(comments),
        "junit.xml": ET.tostring(indented(result.junit), encoding="unicode") + "\n",
        "result.json": result.json,
        "digest.md": (result.workspace / "reports" / "digest.md").read_text(encoding="utf-8"),
    }
    return {name: re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", text) for name, text in reports.items()}


def indented(text: str) -> ET.Element:
    root = ET.fromstring(text)
    ET.indent(root)
    return root


@pytest.mark.parametrize("name", GOLDEN)
def test_reports_match_golden_files(name: str, reported_step: ReportedStep, golden: Callable[[str, str], None]) -> None:
    result, github = reported_step(name)
    for report, text in reports_of(result, github).items():
        if report != "result.json" or name in GOLDEN_JSON:
            golden(f"reports/{name}/{report}", text)


@pytest.mark.parametrize("name", STEPS)
def test_all_reports_are_valid_and_consistent(name: str, reported_step: ReportedStep) -> None:
    result, github = reported_step(name)
    assert TOKEN not in result.log.replace(f"::add-mask::{TOKEN}", "")
    assert_annotations_tell_nothing_twice(result)
    verdict = result.outputs["verdict"]
    document = json.loads(result.json)
    report_validator().validate(document)
    assert (document["verdict"] or "") == verdict
    assert document["reason"] == result.outputs["reason"]
    for leg in document["legs"]:
        assert leg["verdict"] == document["verdict"]
        is_judged = leg["pass_rate"] is not None
        assert len(leg["simulations"]) == (leg["total_simulations"] if is_judged else 0) or name == "empty"
        missed = [criterion for criterion in leg["criteria"] if criterion["verdict"] not in ("passed", "skipped")]
        assert (missed == []) == (verdict in ("passed", "") or not is_judged)
        assert {criterion["reason"] for criterion in missed} <= set(document["reasons"])
        for criterion in missed:
            assert (criterion["margin"] or 0.0) <= 0 or criterion["verdict"] == "inconclusive"
            assert criterion["problem"] or criterion["actual"] is not None
    assert [leg["run"]["id"] for leg in document["legs"]] == [run_id for run_id in [result.outputs["run_id"]] if run_id]

    junit_schema().validate(result.junit)
    suites = ET.fromstring(result.junit)
    bad = int(suites.attrib["failures"]) + int(suites.attrib["errors"])
    assert (bad == 0) == (result.exit_code == 0)
    files = {name: result.outputs[f"{name}_path"] for name in ("junit", "json", "html")}
    assert files == {"junit": "reports/junit.xml", "json": "reports/coval.json", "html": "reports/coval.html"}

    html = (result.workspace / files["html"]).read_text(encoding="utf-8")
    assert escape(result.outputs["reason"]) in html
    assert html.count('<tr class="row ') == sum(len(leg["simulations"]) for leg in document["legs"])

    states = [status["state"] for status in github.statuses[HEAD]] if github.statuses else []
    final = {"passed": "success", "failed": "failure", "skipped": "pending", "": "pending"}.get(verdict, "error")
    if verdict == "inconclusive":
        final = "failure" if result.exit_code else "success"
    launched = result.outputs["run_id"] != "" and name != "wrong-run"
    shows_pages = STEPS[name].get("mode") != "cancel"
    assert states == ((["pending"] if launched else []) + ([final] if verdict else []) if shows_pages else [])

    comments = github.comments.get(42, [])
    assert len(comments) == (1 if verdict and shows_pages else 0), "no comment on a run that has only begun"
    assert result.outputs["comment_url"] == (comments[0].html_url if comments else "")
    for comment in comments:
        assert comment.body.startswith("<!-- coval-gate ")
        assert result.outputs["run_url"] in comment.body
    assert KEY not in f"{result.json}{result.junit}{[shown.body for shown in comments]}{github.statuses}"


def test_mutations_that_cannot_be_told_apart_are_error(run_step: RunStep) -> None:
    ids = ",".join(mutation.id for mutation in catalogue.MUTATIONS)
    quirks = Quirks(mutation_fields="name-only", same_mutation_names=True)
    result, _ = run_step(quirks=quirks, mutation_ids=ids, metrics_grace_time="5")
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(
        "The run was launched with 3 mutations, but Coval lists simulations of 1"
    )


def test_comment_on_failure_appears_with_first_failure_and_is_updated(
    run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    run_step_with_reports(comment="on_failure")
    assert github.comments == {}
    run_step_with_reports(comment="on_failure", thresholds="Latency: p(95) < 0.001")
    assert "❌ Failed" in github.comments[42][0].body
    run_step_with_reports(comment="on_failure")
    (comment,) = github.comments[42]
    assert "✅ Passed" in comment.body


def test_comment_is_kept_after_newer_commit(
    run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    run_step_with_reports(thresholds="Latency: p(95) < 0.001")
    github.pull_requests[42].sha = "b" * 40
    result = run_step_with_reports()
    assert "❌ Failed" in github.comments[42][0].body
    assert "has a newer commit, bbbbbbb" in result.log
    assert github.statuses[HEAD][-1]["state"] == "success", "the status belongs to the commit"


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


@pytest.mark.parametrize("event", EVENTS)
def test_event_with_pull_request_gets_comment_and_status(
    event: str, run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    github.pull_requests.clear()
    github.add_pull_request(42, HEAD, owner="mallory", branch="better-greeting")
    result = run_step_with_reports(event=EVENTS[event])
    assert result.outputs["comment_url"] == github.comments[42][0].html_url
    assert [status["state"] for status in github.statuses[HEAD]] == ["pending", "success"]
    assert f"`{HEAD[:7]}`" in github.comments[42][0].body


def test_event_without_pull_request_gets_status_only(
    run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    sha = "c" * 40
    github.commits.add(sha)
    result = run_step_with_reports(event={"merge_group": {"head_sha": sha}})
    assert result.outputs["comment_url"] == ""
    assert "There is no pull request to comment on." in result.log
    assert [status["state"] for status in github.statuses[sha]] == ["pending", "success"]


def test_wait_in_other_workflow_reports_on_launched_commit(run_step: RunStep, github: FakeGitHub) -> None:
    """The waiting workflow has neither pull request, commit nor matrix; the run shows what launched it."""
    inputs = {"commit_status": STATUS, "comment": "always", "github_token": TOKEN}
    env = {"GITHUB_API_URL": github.url}
    launch, server = run_step(mode="launch", env=env, matrix='{"region": "eu"}', **inputs)
    run_id, cron = launch.outputs["run_id"], {"schedule": "*/10 * * * *"}
    result, _ = run_step(mode="wait", run_id=run_id, world=server.world, event=cron, env=env, **inputs)
    assert result.outputs["verdict"] == "passed"
    name = f"{STATUS} (eu)"
    assert [(status["context"], status["state"]) for status in github.statuses[HEAD]] == [
        (name, "pending"),
        (name, "success"),
    ]
    assert github.statuses[HEAD][-1]["target_url"] == result.outputs["run_url"]
    assert f"`{HEAD[:7]}`" in github.comments[42][0].body


def test_wait_without_run_sets_no_status(run_step: RunStep, github: FakeGitHub) -> None:
    github.commits.add("f" * 40)  # the head of the default branch, on which scheduled workflows run
    inputs = {"commit_status": STATUS, "github_token": TOKEN, "env": {"GITHUB_API_URL": github.url}}
    result, _ = run_step("GET /runs/* -> 401", mode="wait", run_id="r1", event={"schedule": "0 * * * *"}, **inputs)
    assert result.outputs["verdict"] == "error"
    assert not github.statuses
    assert "the tested commit is unknown" in result.annotations("notice")[0].data


def test_issue_comment_without_known_head_sets_no_status(run_step: RunStep, github: FakeGitHub) -> None:
    github.commits.add("f" * 40)
    github.pull_requests.clear()  # then the head of the pull request is unknown
    inputs = {"commit_status": STATUS, "github_token": TOKEN, "env": {"GITHUB_API_URL": github.url}}
    result, server = run_step(event=EVENTS["issue_comment"], **inputs)
    assert result.outputs["verdict"] == "passed"
    assert not github.statuses
    assert "github_commit" not in server.requests_seen[0].json["metadata"]["customer"]


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


def test_read_only_token_is_notice_with_advice(
    run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    result = run_step_with_reports(token=READ_ONLY_TOKEN)
    assert (result.exit_code, result.outputs["verdict"]) == (0, "passed")
    assert not github.comments
    assert not github.statuses
    notices = "\n".join(annotation.data for annotation in result.annotations("notice"))
    assert "`pull-requests: write`" in notices
    assert "`statuses: write`" in notices
    assert result.annotations("warning") == result.annotations("error") == []


def test_findings_are_made_once_for_each_judgement(run_step_with_reports: Callable[..., StepResult]) -> None:
    """With every report turned on. A repetition has no reports of its own, but its criteria are logged."""
    shown = {"include_transcripts": "failures", "check_run": "Coval"}
    with calls_of(findings_of, document_of) as calls:
        run_step_with_reports(**inputs_of("repeated-failed") | shown)
    made = [given["judgement"] for called, given in calls if called == "findings_of" and given["result"]]
    assert len(set(map(id, made))) == len(made) == 3
    assert [given["brief"] for called, given in calls if called == "document_of"].count(False) == 1


def test_summary_and_annotations_can_be_disabled(run_step: RunStep) -> None:
    result, _ = run_step(summary="false", annotations="false", test_set_id="someFail", silent=True)
    assert result.summary == ""
    assert not any(result.annotations(level) for level in ("error", "warning", "notice"))
    assert "❌ Failed: 3 of 10 simulations did not complete" in result.log
    assert result.exit_code == 1


def test_annotations_begin_with_least_bad_simulation(run_step_with_reports: Callable[..., StepResult]) -> None:
    result = run_step_with_reports(test_set_id="failing1", thresholds=THRESHOLDS)
    worst = [simulation["id"] for simulation in json.loads(result.json)["legs"][0]["simulations"]]
    annotated = [
        re.findall(r"\((\w+)\)$", annotation.data.split("\n")[0])[0] for annotation in result.annotations("warning")
    ]
    assert annotated == worst[:8][::-1]  # of nine: one is left to a warning about the second page


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


def test_reports_without_single_values_have_mean(run_step_with_reports: Callable[..., StepResult]) -> None:
    """The older API has only summaries of metrics, and no names of test cases."""
    result = run_step_with_reports(quirks=Quirks(metric_shape="summary"))
    (latency,) = [metric for metric in json.loads(result.json)["legs"][0]["metrics"] if metric["name"] == "Latency"]
    assert latency["variants"]["agent"]["count"] == 0
    assert latency["variants"]["agent"]["mean"] > 0


@pytest.mark.parametrize("name", ["agent_id", "thresholds"])
def test_other_api_key_in_other_input_is_error_that_does_not_show_it(
    run_step_with_reports: Callable[..., StepResult], github: FakeGitHub, name: str
) -> None:
    other = "coval_sk_prod_OfAnotherOne"
    result = run_step_with_reports(**{name: other})
    assert result.outputs["verdict"] == "error"
    assert name in result.outputs["reason"]
    assert other not in "".join(written_by(result, github).values())


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


PLACES = ("test case", "error", "run")  # where a server repeats the key
ESCAPED = [(name, True) for name in DISGUISES]
UNESCAPED = [(name, False) for name in DISGUISES if "\\" in DISGUISES[name]("_")]


@pytest.mark.parametrize("cases", shares(zip(ESCAPED + UNESCAPED, cycle(PLACES)), one_of=16, of_others=3))
def test_disguised_secrets_in_responses_are_in_no_report(
    cases: list[tuple[tuple[str, bool], str]],
    run_step_with_reports: Callable[..., StepResult],
    github: FakeGitHub,
    subtests: pytest.Subtests,
) -> None:
    for (disguise, escaped), place in cases:
        with subtests.test(f"{disguise} {escaped} {place}"):
            github.faults.clear()
            github.requests_seen.clear()
            assert_no_secret_in_reports(disguise, escaped, place, run_step_with_reports, github)


def assert_no_secret_in_reports(
    disguise: str, escaped: bool, place: str, run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    """A server repeats the key in its texts. If it is not `escaped`, the JSON itself is written that way."""
    key, token = DISGUISES[disguise](KEY), DISGUISES[disguise](TOKEN)
    inside = json.dumps(key)[1:-1] if escaped else in_json(key)
    cases = f'{{"test_cases": [{{"id": "echo", "description": "{inside}"}}]}}'
    error = f'{{"error": {{"message": "no such key {inside}", "details": [{{"description": "{inside}"}}]}}}}'
    run = f'{{"run": {{"status": "FAILED", "error": "{"x" * 300} {inside}", "error_status": "{inside}"}}}}'
    fault, given = {
        "test case": (f"GET /test-cases -> json {cases}", {"test_set_id": "failing1", "thresholds": THRESHOLDS}),
        "error": (f"GET /runs/* #2- -> body {error}", {"max_wait_time": "60"}),
        "run": (f"GET /runs/* #2- -> body {run}", {}),
    }[place]
    github.faults.append(Fault(f"POST */statuses/* -> 422 {token} and {key}"))
    github.faults.append(Fault(f"POST */check-runs #1 -> 422 {token} and {key}"))
    result = run_step_with_reports(fault, check_run="Check", **given)
    for face, text in written_by(result, github).items():
        assert not holds(text, KEY), (fault, face)
        assert not holds(text, TOKEN), (fault, face)


@pytest.mark.parametrize(
    "given",
    [{"run_id": KEY, "mode": "wait"}, {"commit_status": KEY}, {"check_run": KEY}],
    ids=str,
)
def test_api_key_in_wrong_input_does_not_reach_github(
    given: dict[str, str], run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    result = run_step_with_reports(**{"check_run": "Check"} | given)
    assert result.outputs["verdict"] == "error"
    assert github.check_runs
    assert all(KEY not in f"{request.path}{request.query}{request.json}" for request in github.requests_seen)


SKIPPED = {"api_key": "", "on_missing_api_key": "skip", "event": FORK_EVENT}


@pytest.mark.parametrize("given", [{}, {"mode": "wait", **SKIPPED}], ids=str)
def test_run_that_step_never_had_is_not_reported(
    given: dict[str, Any], run_step_with_reports: Callable[..., StepResult]
) -> None:
    result = run_step_with_reports(run_id="someOtherRun", **given)
    assert (result.outputs["run_id"], result.outputs["run_url"]) == ("", "")
    assert json.loads(result.json)["legs"] == []
    assert "runs/someOtherRun" not in f"{result.log}{result.summary}"


def test_interrupt_after_judging_is_reported_alike_everywhere(
    run_step_with_reports: Callable[..., StepResult], clock: VirtualClock
) -> None:
    clock.at(61, clock.interrupt)  # the step fetches test cases, and Coval asks it to retry later
    result = run_step_with_reports(
        "GET /test-cases -> 429 retry-after=7", test_set_id="failing1", thresholds=THRESHOLDS
    )
    (leg,) = json.loads(result.json)["legs"]
    assert result.outputs["verdict"] == json.loads(result.json)["verdict"] == leg["verdict"] == "cancelled"
    assert (result.outputs["pass_rate"], result.outputs["failed_simulations"]) == ("", "")
    assert "❌" not in result.summary


ONLY_ADVISORY = "All thresholds are advisory: the agent's quality did not decide the verdict."


def test_pass_with_advisory_thresholds_only_says_that_they_do_not_decide(run_step: RunStep) -> None:
    result, _ = run_step(test_set_id="failing1", thresholds="? Resolved: rate(YES) >= 90%\n? Latency: avg < 1.5")
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("passed", "All 10 simulations completed.")
    assert result.log.count(ONLY_ADVISORY) == 1
    assert ONLY_ADVISORY in result.summary


def test_failed_criteria_are_those_of_json_report(run_step_with_reports: Callable[..., StepResult]) -> None:
    result = run_step_with_reports(test_set_id="failing1", thresholds=THRESHOLDS, use_metric_targets="true")
    criteria = json.loads(result.outputs["failed_criteria"])
    (leg,) = json.loads(result.json)["legs"]
    missed = [criterion for criterion in leg["criteria"] if criterion["verdict"] == "failed"]
    assert len(criteria) == len(missed) == 8
    assert [{name: criterion[name] for name in CRITERION_FIELDS} | {"leg": ""} for criterion in missed] == criteria


@pytest.mark.parametrize(("name", "annotations"), [("gate-targets", "true"), ("failed", "false")])
def test_log_tells_nothing_twice(name: str, annotations: str, run_step_with_reports: Callable[..., StepResult]) -> None:
    """Each criterion has a line, and its reason another one; each simulation appears once."""
    result = run_step_with_reports(**inputs_of(name), annotations=annotations, silent=annotations == "false")
    (leg,) = json.loads(result.json)["legs"]
    for criterion in leg["criteria"]:
        lines = [
            line for line in result.log.splitlines() if re.match(rf"  \S {re.escape(criterion['criterion'])} ", line)
        ]
        assert len(lines) == 1
        assert result.log.replace("%25", "%").count(criterion["reason"] or "\n\n\n") <= 1
    for simulation in leg["simulations"]:
        assert result.log.count(simulation["id"]) == (simulation["verdict"] != "passed")


END = 17  # lines of a log that its readers see first


@pytest.mark.parametrize(("name", "annotations"), [("readme", "true"), ("all-failed", "true"), ("failed", "false")])
def test_log_of_failing_step_ends_with_worst_simulation_and_verdict(
    name: str, annotations: str, run_step_with_reports: Callable[..., StepResult]
) -> None:
    result = run_step_with_reports(**inputs_of(name), annotations=annotations, silent=annotations == "false")
    (leg,) = json.loads(result.json)["legs"]
    unfolded = re.sub(r"^::group::.*?^::endgroup::\n", "", result.log, flags=re.DOTALL | re.MULTILINE)
    end = "\n".join(text for _, text in [*shown_lines(unfolded.splitlines())][-END:])
    assert f"({leg['simulations'][0]['id']})" in end
    assert leg["reasons"][0].rstrip(".") in end
    assert f"Run: {result.outputs['run_url']}" in end
    fine = {simulation["test_case_id"] for simulation in leg["simulations"] if simulation["verdict"] == "passed"}
    assert ("To repeat only " in end) is bool(fine)  # all of them are simply the step again


def assert_annotations_tell_nothing_twice(result: StepResult) -> None:
    """Assert that a failing step has one error, and that no line of an annotation is in another."""
    errors, others = result.annotations("error"), [*result.annotations("warning"), *result.annotations("notice")]
    assert len(errors) == (result.exit_code != 0)
    lines = {line for error in errors for line in error.data.split("\n")}
    assert not lines & {line for other in others for line in other.data.split("\n")}
    assert len({other.data for other in others}) == len(others)


@pytest.mark.parametrize("path", ["", "/acme"])
def test_row_links_to_simulation_or_has_its_id_where_organization_is_unknown(
    path: str, run_step_with_reports: Callable[..., StepResult], github: FakeGitHub
) -> None:
    result = run_step_with_reports(**inputs_of("gate-flaky") | {"dashboard_url": f"https://app.coval.dev{path}"})
    (comment,) = github.comments[42]
    (leg,) = json.loads(result.json)["legs"]
    missed = [row["id"] for row in leg["simulations"] if row["verdict"] != "passed"]
    assert missed
    for simulation in missed:
        link = f"{result.outputs['run_url']}/results/{simulation}"
        for text in (result.log, result.junit):
            assert simulation in text.replace(link, "")
        for text in (result.summary, comment.body):
            assert (simulation in text.replace(link, "")) is (path == "")
        for text in (result.summary, comment.body, result.log, result.junit):
            assert (link in text) is (path != "")
