"""A step in a job of GitLab: its log, its reports, its note and its commit status, also if it is killed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_gitlab import BASE, READ_ONLY_TOKEN, REPORTER_TOKEN, TOKEN, FakeGitLab
from gitlab_contract import CALLS, call_of
from road.jobs import Job
from road.test_files import Killed, kill
from support import KEY, VirtualClock

SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
MERGED = "0" * 39 + "1"
PAGES = {"comment": "always", "commit_status": "Coval"}
RUNNING = ("running", "⏳ The evaluation is running.")
PASSED = ("success", "✅ Passed: All 10 simulations completed. Agent Front desk as deployed.")
KILLED = ("failed", "⚠️ Error: The step ended before it could reach a verdict.")
SECTION = re.compile("section_(start|end):([0-9]+):([A-Za-z0-9_.-]+)(\\[[a-z=,]*\\])?\r\x1b\\[0K")
NO_TOKEN = "GITLAB_TOKEN is not set, and CI_JOB_TOKEN cannot write notes and statuses."


class GitLabJob(Job):
    """A job of a merge request's pipeline."""

    secrets = (KEY, TOKEN)

    def __init__(self, checkout: Path, clock: VirtualClock, gitlab: FakeGitLab) -> None:
        environ = {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_API_V4_URL": gitlab.url,
            "CI_JOB_TOKEN": "glcbt-the-token-of-the-job",
            "CI_SERVER_URL": "https://gitlab.example",
            "CI_PROJECT_DIR": str(checkout),
            "CI_PROJECT_ID": "7",
            "CI_PROJECT_PATH": "acme/voice-agent",
            "CI_COMMIT_SHA": SHA,
            "CI_PIPELINE_ID": "2201234567",
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_JOB_ID": "12345678901",
            "CI_JOB_NAME": "coval-gate",
            "CI_JOB_URL": "https://gitlab.example/acme/voice-agent/-/jobs/12345678901",
            "CI_MERGE_REQUEST_IID": "42",
            "CI_MERGE_REQUEST_PROJECT_ID": "7",
            "CI_MERGE_REQUEST_PROJECT_PATH": "acme/voice-agent",
            "GITLAB_USER_LOGIN": "mona",
            "GITLAB_TOKEN": TOKEN,
        }
        super().__init__(checkout, clock, environ)
        self.gitlab = gitlab

    @property
    def dotenv(self) -> dict[str, str]:
        """The variables that GitLab reads for later jobs."""
        return read_dotenv((self.checkout / "coval-gate.env").read_bytes())

    @property
    def push_variables(self) -> dict[str, str]:
        """The changes of a job that a push, or a trigger, started on the default branch."""
        unset = {name: "" for name in self.environ if name.startswith("CI_MERGE_REQUEST")}
        return unset | {
            "CI_COMMIT_SHA": "f" * 40,
            "CI_COMMIT_BRANCH": "main",
            "CI_PIPELINE_SOURCE": "push",
        }

    @property
    def links(self) -> list[dict[str, str]]:
        """The links that GitLab shows on the job's page."""
        file = self.checkout / "coval-gate-annotations.json"
        return [entry["external_link"] for entry in json.loads(file.read_text(encoding="utf-8"))["Coval"]]

    @property
    def notes(self) -> list[str]:
        return [note.body for note in self.gitlab.merge_requests[42].notes]

    @property
    def warnings(self) -> list[str]:
        """The titles of warnings and notices."""
        return re.findall(r"^(?:\x1b\[33m)?(?:Warning|Notice): (.*?)(?:\x1b\[0m)?$", self.log, re.MULTILINE)


def read_dotenv(content: bytes) -> dict[str, str]:
    """Read a report as GitLab's ParseDotenvArtifactService does. Raises ValueError where that fails."""
    if len(content) >= 5 * 1024:
        raise ValueError("Dotenv Artifact Too Big")
    variables = {}
    for line in content.decode("utf-8").splitlines(keepends=True):
        match = re.match(r"^(.*?)=(.*)$", line)
        if match is None:
            raise ValueError("Invalid Format")
        if not re.fullmatch(r"\w+", match[1], re.ASCII) or re.search(r"[\s$'\"]", match[2]):
            raise ValueError(f"Not a plain variable: {line!r}")
        variables[match[1]] = match[2]
    return variables


@pytest.fixture
def gitlab(clock: VirtualClock) -> Iterator[FakeGitLab]:
    """Serve a fake GitLab that has the merge request of the job."""
    with FakeGitLab(now=clock.time) as server:
        server.add_merge_request(42, SHA)
        yield server


@pytest.fixture
def job(tmp_path: Path, clock: VirtualClock, gitlab: FakeGitLab) -> GitLabJob:
    (tmp_path / "checkout").mkdir()
    return GitLabJob(tmp_path / "checkout", clock, gitlab)


def test_step_has_reports_a_note_a_status_and_sections_in_its_log(job: GitLabJob, gitlab: FakeGitLab) -> None:
    assert job.run(junit_path="reports/junit.xml", html_path="reports/coval.html", **PAGES) == 0
    (record,) = job.world.runs
    url = f"https://app.coval.dev/runs/{record.run_id}"
    assert job.dotenv == {
        "RUN_ID": record.run_id,
        "RUN_URL": url,
        "VERDICT": "passed",
        "STATUS": "COMPLETED",
        "PASSED": "true",
        "RUN_IDS": record.run_id,
    }
    assert job.links == [{"label": "Run in Coval", "url": url}]
    assert list(job.files) == [
        *(".coval-gate/.gitignore", ".coval-gate/outputs.json", "coval-gate-annotations.json", "coval-gate.env"),
        *("reports/coval.html", "reports/junit.xml"),
    ]
    assert gitlab.history == [RUNNING, PASSED]
    (status,) = gitlab.statuses[SHA]
    assert (status["name"], status["target_url"]) == ("Coval", url)
    (note,) = gitlab.merge_requests[42].notes
    assert note.body.startswith("<!-- coval-gate ")
    page = "https://gitlab.example/acme/voice-agent/-/merge_requests/42"
    assert f"Commented on merge request !42: {page}#note_{note.id}" in job.log
    assert job.warnings == []
    assert record.body["metadata"]["customer"]["github_commit"] == SHA
    assert "\nOutputs: .coval-gate/outputs.json\n" in job.log
    found = sections(job.log)
    assert [kind for kind, _, _ in found] == ["start", "end"] * (len(found) // 2)
    headings = {heading: option for kind, option, heading in found if kind == "start"}
    assert "Outputs" not in headings
    assert next(option for heading, option in headings.items() if heading.startswith("Waiting")) == ""
    names = [marker[3] for marker in SECTION.finditer(job.log) if marker[1] == "start"]
    assert len(set(names)) == len(names)
    assert not re.search(r"[^\x1b]\[0K", job.log)


def test_steps_send_each_call_of_the_contract_and_no_other(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """The fake checks each request and response, and fails the test that broke the contract.

    A job that was killed with its post step leaves a status running, which is no error. The token goes nowhere else.
    """
    gitlab.add_status(SHA, "Coval", "running")
    job.run(**PAGES)
    assert (job.warnings, gitlab.history) == ([], [PASSED])
    to_coval = list(job.requests_seen)
    job.run(thresholds="total >= 99", **PAGES)
    found = [call_of(seen.method, seen.path.removeprefix(BASE)) for seen in gitlab.requests_seen]
    assert {call and call[0].operation for call in found} == {call.operation for call in CALLS}
    assert to_coval
    assert not any(TOKEN in f"{seen.path}{seen.query}{seen.headers}{seen.body!r}" for seen in to_coval)
    for seen in gitlab.requests_seen:
        assert seen.headers["private-token"] == TOKEN
        assert "authorization" not in seen.headers
        assert "job-token" not in seen.headers
        assert TOKEN not in f"{seen.path}{seen.query}{seen.body!r}"
    assert not any(secret in text for secret in (TOKEN, KEY) for text in job.files.values())


def sections(log: str) -> list[tuple[str, str, str]]:
    """Return each marker of a section as GitLab reads it: start or end, its option, and the heading behind it."""
    return [
        (marker[1], marker[4] or "", log[marker.end() :].partition("\n")[0].replace("\x1b[0K", ""))
        for marker in SECTION.finditer(log)
    ]


def test_later_pipeline_updates_the_note_of_the_first(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """It is found behind pages of notes, an empty and a short one among them, because some are hidden."""
    merge_request = gitlab.merge_requests[42]
    notes = [gitlab.add_note(42, f"Note {number}", "mona", is_system=number % 2 == 0) for number in range(250)]
    gitlab.unreadable = {note.id for note in notes[:190]}
    assert job.run(test_set_id="passing1", **PAGES) == 0
    (first,) = [note for note in merge_request.notes if note.body.startswith("<!--")]
    assert "Passed" in first.body
    merge_request.sha = "6" * 40
    gitlab.commits.add("6" * 40)
    gitlab.pipelines["6" * 40] = [2201234599]
    later = {"CI_COMMIT_SHA": "6" * 40, "CI_PIPELINE_ID": "2201234599", "CI_JOB_ID": "12345678999"}
    assert job.run(later, thresholds="total >= 99", **PAGES) == 1
    assert [note for note in merge_request.notes if note.body.startswith("<!--")] == [first]
    assert "6666666" in first.body
    assert "Failed" in first.body


def test_newer_pipeline_of_the_commit_leaves_no_status_running(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """In a pipeline of merged results, the commit is another one than the pipeline's."""
    env = {"CI_COMMIT_SHA": MERGED, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": SHA}
    gitlab.pipelines[SHA] = [2201234567]
    job.clock.at(30, lambda: gitlab.pipelines[SHA].append(2201234999))
    assert job.run(env, **PAGES) == 0
    assert [*gitlab.statuses] == [SHA]
    assert [(one["pipeline_id"], one["status"]) for one in gitlab.statuses[SHA]] == [(2201234567, "success")]
    assert len(job.notes) == 1


def test_status_of_a_child_pipeline_is_set_in_another_one(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """GitLab knows no status in it, but answers that it does not exist."""
    child = {"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_PIPELINE_ID": "2201234600"}
    assert job.run(child, commit_status="Coval") == 0
    assert [(one["pipeline_id"], one["status"]) for one in gitlab.statuses[SHA]] == [(2201234567, "success")]


def test_note_of_another_author_is_left_alone(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """Anybody may write the marker. A note that the token cannot change must not hide the gate's own."""
    job.run(**PAGES)
    (own,) = gitlab.merge_requests[42].notes
    forged = gitlab.add_note(42, own.body.partition("\n")[0] + "\nAll is well.", "mallory")
    own.id, forged.id = forged.id, own.id
    gitlab.merge_requests[42].notes.reverse()
    job.run(thresholds="total >= 99", **PAGES)
    assert forged.body.endswith("All is well.")
    assert [note.author for note in gitlab.merge_requests[42].notes] == ["mallory", "project_7_bot"]
    assert "Failed" in job.notes[1]


def test_merge_request_of_a_fork_has_no_token_and_the_log_explains_it(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """Its pipeline runs in the fork, which has neither the project's token nor, as a rule, the key."""
    fork = {"CI_PROJECT_ID": "8", "CI_PROJECT_PATH": "mallory/voice-agent", "GITLAB_TOKEN": ""}
    assert job.run(fork, check_run="Coval checks", **PAGES) == 0
    lines = [line.partition(": ")[2] for line in job.log.splitlines() if "Skipping" in line]
    assert lines == [f"Skipping comment and commit status: {NO_TOKEN}", "Skipping check run: GitLab has no check runs."]
    assert gitlab.requests_seen == []
    assert job.dotenv["VERDICT"] == "passed"
    assert job.run(fork | {"COVAL_API_KEY": ""}, **PAGES) == 1
    assert "api_key is empty" in job.log
    assert job.dotenv["VERDICT"] == "error"


@pytest.mark.parametrize(("token", "notes"), [(READ_ONLY_TOKEN, 0), (REPORTER_TOKEN, 1)])
def test_token_that_may_not(token: str, notes: int, job: GitLabJob, gitlab: FakeGitLab) -> None:
    assert job.run({"GITLAB_TOKEN": token}, **PAGES) == 0
    assert "GITLAB_TOKEN needs the scope api and the role Developer, or Maintainer where" in job.log
    assert "Warning" not in job.log
    assert (len(job.notes), gitlab.history) == (notes, [])
    assert token not in job.log


def test_hiccup_leaves_one_note_and_the_final_status(job: GitLabJob, gitlab: FakeGitLab) -> None:
    faults = ["statuses/* #1-2 -> 409", "statuses/* #4 -> drop-after", "notes #1 -> drop-after"]
    gitlab.faults += FakeGitLab(faults=[f"POST /projects/*/{fault}" for fault in faults]).faults
    assert job.run(**PAGES) == 0
    assert len(job.notes) == 1
    assert gitlab.statuses[SHA][-1]["status"] == "success"
    assert job.warnings == []


def test_broken_gitlab_changes_nothing_about_the_verdict(job: GitLabJob, gitlab: FakeGitLab) -> None:
    gitlab.faults += FakeGitLab(faults=["* /projects/* -> moved http://127.0.0.1:9/"]).faults
    assert job.run(max_wait_time="600", **PAGES) == 0
    assert job.dotenv["VERDICT"] == "passed"
    assert job.warnings


def test_cancelled_job_cancels_its_run_and_its_status(job: GitLabJob, gitlab: FakeGitLab) -> None:
    job.clock.at(20, job.clock.interrupt)
    assert job.run(test_set_id="slow0001", **PAGES) == 1
    assert job.run_statuses == ["CANCELLED"]
    assert gitlab.history[-1][0] == "canceled"
    assert job.dotenv["VERDICT"] == "cancelled"
    requests = len(gitlab.requests_seen)
    assert job.post(**PAGES) == ""
    assert len(gitlab.requests_seen) == requests


def test_post_ends_the_run_and_the_status_of_a_killed_step(job: GitLabJob, gitlab: FakeGitLab) -> None:
    job.clock.at(30, kill)
    with pytest.raises(Killed):
        job.run(test_set_id="slow0001", commit_status="Coval")
    assert gitlab.history == [RUNNING]
    assert job.dotenv["VERDICT"] == "error"
    assert job.dotenv["RUN_ID"] == job.world.runs[0].run_id
    (state,) = [text for path, text in job.files.items() if "/state-" in path]
    assert not any(secret in state for secret in (TOKEN, KEY))
    job.post(test_set_id="slow0001")  # the status was asked for by the command line alone
    assert job.run_statuses == ["CANCELLED"]
    assert gitlab.history == [RUNNING, KILLED]
    assert not [path for path in job.files if "state-" in path]
    assert job.post(test_set_id="slow0001") == ""


def test_launched_run_is_judged_by_a_triggered_pipeline(job: GitLabJob, gitlab: FakeGitLab) -> None:
    """The later pipeline is of the default branch, and reports on the merge request and in the pipeline of the run."""
    gitlab.pipelines[SHA] = [2201234567]
    assert job.run(mode="launch", **PAGES) == 0
    assert gitlab.history == [RUNNING]
    run_id = job.dotenv["RUN_ID"]
    assert job.post(mode="launch", **PAGES) == ""
    job.clock.sleep(600)
    gitlab.pipelines[SHA].append(2201234999)
    triggered = job.push_variables | {"CI_PIPELINE_SOURCE": "trigger", "CI_PIPELINE_ID": "2201299999"}
    assert job.run(triggered, mode="wait", run_id=run_id, **PAGES) == 0
    assert gitlab.history == [RUNNING, PASSED]
    assert [(one["pipeline_id"], one["status"]) for one in gitlab.statuses[SHA]] == [(2201234567, "success")]
    assert len(job.notes) == 1
