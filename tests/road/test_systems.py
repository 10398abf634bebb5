"""CI systems besides GitHub and GitLab: a step has a log and files, and reports what it leaves out."""

from pathlib import Path

import pytest

from fake_bitbucket import FakeBitbucket, Report, Session, session_with
from fake_github import TOKEN
from road.jobs import Job
from road.test_files import Killed, kill
from road.test_pages_github import PAGES, github_with
from support import KEY, VirtualClock
from unit.test_systems import JOBS, LATER


@pytest.fixture
def job(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    return Job(tmp_path, clock, {})


def test_step_outside_github_has_log_and_files_and_no_pages(job: Job) -> None:
    with github_with(now=job.clock.time) as github:
        given = {"json_path": "coval.json", "junit_path": "reports/junit.xml", "comment": "always", **PAGES}
        assert job.run({"CI": "true", "GITHUB_API_URL": github.url}, **given) == 0
        assert github.requests_seen == []
    lines = [line for line in job.log.splitlines() if "Skipping" in line or "pull request" in line]
    assert lines == [
        "Notice: Skipping comment, commit status and check run: the job has no GitHub repository.",
        "There is no pull request to comment on.",
    ]
    assert job.log.splitlines()[-1].startswith("✅ Passed: ")
    assert (job.outputs["verdict"], job.outputs["json_path"]) == ("passed", "coval.json")
    assert "Outputs: .coval-gate/outputs.json\n" in job.log
    assert "verdict=" not in job.log
    assert list(job.files) == [
        *(".coval-gate/.gitignore", ".coval-gate/outputs.json"),
        *("coval.json", "reports/junit.xml"),
    ]
    assert not any(secret in text for secret in (TOKEN, KEY) for text in job.files.values())


def test_pull_request_is_compared_with_the_last_night_and_a_newer_commit_supersedes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/unit has a table of each system's variables; the rest is the same for all."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(job.checkout.parent))
    branch, pull_request = JOBS["Azure Pipelines"]
    again, later = LATER["Azure Pipelines"]
    job.environ |= branch
    compared = {"baseline": "branch:main", "thresholds": "Latency: avg <= baseline * 1.5"}

    def run_id(env: dict[str, str], **inputs: str) -> str:
        job.run(env, **compared, **inputs)
        return job.outputs["run_id"]

    nights = [run_id({"BUILD_BUILDID": night}) for night in ("6", "7")]
    changed = run_id(pull_request, mode="launch")
    assert run_id(pull_request | again, mode="launch") == changed
    run_id(pull_request | later, supersede="true")
    assert f"Cancelled run {changed}: superseded by this run." in job.log
    assert (job.outputs["verdict"], job.outputs["baseline_run_id"]) == ("passed", nights[-1])
    run_id({"BUILD_BUILDID": "90"})
    assert job.outputs["baseline_run_id"] == nights[-1], "a pull request is none itself"


# A step of Bitbucket Pipelines writes a report on its commit, through the proxy, and never depends on it

SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
BITBUCKET = {
    "CI": "true",
    "BITBUCKET_BUILD_NUMBER": "17",
    "BITBUCKET_STEP_RUN_NUMBER": "1",
    "BITBUCKET_STEP_UUID": "{5a50dd52-5ab7-4225-831c-4db9451375a2}",
    "BITBUCKET_COMMIT": SHA,
    "BITBUCKET_BRANCH": "main",
    "BITBUCKET_WORKSPACE": "acme",
    "BITBUCKET_REPO_SLUG": "voice-agent",
    "BITBUCKET_REPO_FULL_NAME": "acme/voice-agent",
    "BITBUCKET_GIT_HTTP_ORIGIN": "http://bitbucket.org/acme/voice-agent",
}


class Step(Job):
    """A step, whose proxy is reached by a session."""

    def through(self, session: type[Session] | FakeBitbucket) -> "Step":
        if isinstance(session, FakeBitbucket):
            session = session_with(localhost=session.url)
        self.given = {"new_session": session}
        return self

    @property
    def complaints(self) -> list[str]:
        """The lines about the report."""
        return [line for line in self.log.splitlines() if "No report in Bitbucket" in line]


@pytest.fixture
def step(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Step:
    monkeypatch.chdir(tmp_path)
    return Step(tmp_path, clock, BITBUCKET)


def only(bitbucket: FakeBitbucket) -> Report:
    """Return the only report, which is on the tested commit."""
    (((sha, _), report),) = bitbucket.reports.items()
    assert sha == SHA
    return report


def test_passing_step_reports_on_its_commit(step: Step) -> None:
    with FakeBitbucket() as bitbucket:
        assert step.through(bitbucket).run() == 0
    assert (bitbucket.results, step.complaints) == (["PENDING", "PASSED"], [])
    report = only(bitbucket)
    assert report.fields["title"] == "Coval Gate: Front desk, Passing, Plain caller"
    assert report.fields["details"].startswith("✅ Passed\nAll 10 simulations completed.")
    assert report.fields["link"].startswith("https://app.coval.dev/")
    assert report.fields["data"][:3] == [
        {"title": "Pass rate", "type": "PERCENTAGE", "value": 100.0},
        {"title": "Simulations", "type": "NUMBER", "value": 10},
        {"title": "Completed", "type": "NUMBER", "value": 10},
    ]
    assert report.annotations == {}


def test_later_attempt_replaces_the_report_and_its_annotations(step: Step) -> None:
    with FakeBitbucket() as bitbucket:
        assert step.through(bitbucket).run(test_set_id="someFail") == 1
        assert bitbucket.results == ["PENDING", "FAILED"]
        annotations = [*only(bitbucket).annotations.values()]
        assert {one["result"] for one in annotations} == {"FAILED"}
        assert all(one["summary"].startswith("Coval: ") and one["details"] for one in annotations)
        step.run({"BITBUCKET_STEP_RUN_NUMBER": "2"}, test_set_id="someFail", max_failed_simulations="100%")
        report = only(bitbucket)
        assert (report.fields["result"], report.annotations) == ("PASSED", {})
        step.run({"BITBUCKET_PARALLEL_STEP": "1"}, thresholds="pass_rate >= many")
        assert "--threshold" in list(bitbucket.reports.values())[1].fields["details"]
        assert len(bitbucket.reports) == 2, "another step has its own"


def test_proxy_gets_no_credential_and_only_requests_to_bitbucket(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coval's API is reached without it, and no other proxy gets the report. A container has another name for it."""
    with FakeBitbucket() as bitbucket, FakeBitbucket() as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "api.bitbucket.org")
        session = session_with(host_docker_internal=bitbucket.url)
        step.through(session).run(test_set_id="someFail")
    assert step.complaints == []
    assert session.proxies_used[0] == "http://localhost:29418"
    assert set(session.proxies_used[1:]) == {"http://host.docker.internal:29418"}
    assert [request.method for request in bitbucket.requests_seen] == ["DELETE", "PUT", "PUT", "POST"]
    assert other.requests_seen == []
    for request in bitbucket.requests_seen:
        assert request.path.startswith("http://api.bitbucket.org/2.0/repositories/acme/voice-agent/commit/")
        assert request.headers["host"] == "api.bitbucket.org"
        assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
        assert KEY.encode() not in request.body
        assert KEY not in str(request.headers)
    assert any(request.method == "POST" for request in step.requests_seen)


def test_proxy_that_refuses_changes_no_verdict(step: Step) -> None:
    with FakeBitbucket(PUT=302) as bitbucket:
        assert step.through(bitbucket).run(comment="always", commit_status="Voice") == 0
    assert len(step.complaints) == 1
    assert "returned 302" in step.log
    assert "Skipping comment and commit status: the job has no GitHub repository." in step.log
    assert not [line for line in step.log.splitlines() if line.startswith("::")]


def test_proxy_that_accepts_no_annotations_still_has_the_report(step: Step) -> None:
    with FakeBitbucket(POST=500, DELETE=405) as bitbucket:
        step.through(bitbucket).run(test_set_id="someFail")
    assert (bitbucket.results, step.complaints) == (["PENDING", "FAILED"], [])
    assert "The report in Bitbucket lacks its annotations: POST " in step.log


def test_killed_step_leaves_its_report_to_the_post_step(step: Step) -> None:
    with FakeBitbucket() as bitbucket:
        step.clock.at(30, kill)
        with pytest.raises(Killed):
            step.through(bitbucket).run()
        assert bitbucket.results == ["PENDING"]
        step.post()
        assert step.run_statuses == ["CANCELLED"]
        assert bitbucket.results == ["PENDING", "FAILED"]
        assert only(bitbucket).fields["details"] == "⚠️ Error: The step ended before it could reach a verdict."
        before = list(bitbucket.requests_seen)
        step.post()
        assert bitbucket.requests_seen == before


def test_odd_names_of_the_repository_are_not_sent(step: Step) -> None:
    with FakeBitbucket() as bitbucket:
        assert step.through(bitbucket).run({"BITBUCKET_WORKSPACE": "../../evil"}) == 0
    assert bitbucket.requests_seen == []
    assert "Skipping code insights: BITBUCKET_WORKSPACE and BITBUCKET_REPO_SLUG do not name a repository." in step.log
