"""Each CI system's variables, as a job of it has them, become a context; on a laptop, git's answers do."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from coval_gate.ci.host import Context
from coval_gate.coval.model import LaunchRequest
from coval_gate.features.comparisons.step import acceptance_problems
from coval_gate.features.systems.plain import PlainHost, read_git
from coval_gate.features.systems.variables import SYSTEMS, System, context_in, repository_of, system_in
from coval_gate.history.tags import branch_tag, tags_for
from support import host_of

SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
MERGE = "0" * 39 + "1"
REQUEST = LaunchRequest("a1", "p1", "t1")

# What a job of the branch main has, and what a job of a pull request has instead.
JOBS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "GitLab": (
        {
            "CI": "true", "GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.com",
            "CI_PROJECT_PATH": "acme/voice-agent", "CI_COMMIT_SHA": SHA, "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_REF_NAME": "main", "CI_PIPELINE_ID": "2201234567", "CI_JOB_ID": "12345678901",
            "CI_JOB_NAME": "evaluate 1/2", "CI_JOB_URL": "https://gitlab.com/acme/voice-agent/-/jobs/12345678901",
            "GITLAB_USER_LOGIN": "mona", "CI_PIPELINE_SOURCE": "push", "CI_CONFIG_PATH": ".gitlab-ci.yml",
            "CI_PIPELINE_NAME": "Commit 1",
        },
        {
            "CI_COMMIT_BRANCH": "", "CI_COMMIT_SHA": MERGE, "CI_COMMIT_REF_NAME": "refs/merge-requests/42/head",
            "CI_PROJECT_PATH": "mallory/voice-agent", "CI_MERGE_REQUEST_PROJECT_PATH": "acme/voice-agent",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": SHA, "CI_MERGE_REQUEST_IID": "42",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic", "CI_PIPELINE_SOURCE": "merge_request_event",
        },
    ),
    "Bitbucket": (
        {
            "CI": "true", "BITBUCKET_BUILD_NUMBER": "17", "BITBUCKET_STEP_RUN_NUMBER": "1", "BITBUCKET_COMMIT": SHA,
            "BITBUCKET_GIT_HTTP_ORIGIN": "http://bitbucket.org/acme/voice-agent", "BITBUCKET_BRANCH": "main",
            "BITBUCKET_REPO_FULL_NAME": "acme/voice-agent", "BITBUCKET_STEP_UUID": "{5a50dd52-5ab7-4225-831c}",
        },
        {"BITBUCKET_BRANCH": "topic", "BITBUCKET_PR_ID": "42"},
    ),
    "CircleCI": (
        {
            "CI": "true", "CIRCLECI": "true", "CIRCLE_REPOSITORY_URL": "git@github.com:acme/voice-agent.git",
            "CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "main", "CIRCLE_JOB": "evaluate", "CIRCLE_NODE_INDEX": "0",
            "CIRCLE_PIPELINE_ID": "4e1ffd3b-c260-43db-a66c-8766eaf7fc88",
            "CIRCLE_BUILD_NUM": "9",
            "CIRCLE_WORKFLOW_WORKSPACE_ID": "9a956048-86ba-436a-aac0-9cd461ae266a",
            "CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/voice-agent/9", "CIRCLE_USERNAME": "mona",
        },
        {"CIRCLE_BRANCH": "topic", "CIRCLE_PULL_REQUEST": "https://github.com/acme/voice-agent/pull/42"},
    ),
    "Buildkite": (
        {
            "CI": "true", "BUILDKITE": "true", "BUILDKITE_REPO": "ssh://git@github.com/acme/voice-agent.git",
            "BUILDKITE_COMMIT": SHA, "BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_BUILD_NUMBER": "7", "BUILDKITE_RETRY_COUNT": "0", "BUILDKITE_PIPELINE_SLUG": "voice",
            "BUILDKITE_STEP_KEY": "evaluate", "BUILDKITE_STEP_ID": "018f-1", "BUILDKITE_BUILD_URL": "https://buildkite.com/acme/voice/builds/7",
            "BUILDKITE_BUILD_CREATOR": "Mona", "BUILDKITE_SOURCE": "webhook",
        },
        {"BUILDKITE_BRANCH": "topic", "BUILDKITE_PULL_REQUEST": "42"},
    ),
    "Azure Pipelines": (
        {
            "TF_BUILD": "True", "BUILD_REPOSITORY_URI": "https://acme@dev.azure.com/acme/voice/_git/agent",
            "BUILD_SOURCEVERSION": SHA, "BUILD_SOURCEBRANCH": "refs/heads/main", "BUILD_BUILDID": "117",
            "SYSTEM_JOBATTEMPT": "1", "SYSTEM_PHASENAME": "evaluate", "BUILD_DEFINITIONNAME": "voice",
            "BUILD_REQUESTEDFOR": "Mona", "BUILD_REASON": "IndividualCI", "SYSTEM_TEAMPROJECT": "Voice agents",
            "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/", "SYSTEM_STAGENAME": "test",
            "SYSTEM_JOBPOSITIONINPHASE": "1", "SYSTEM_DEFINITIONID": "3",
        },
        {
            "BUILD_SOURCEBRANCH": "refs/pull/42/merge", "BUILD_SOURCEVERSION": MERGE,
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "42", "SYSTEM_PULLREQUEST_SOURCECOMMITID": SHA,
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/topic", "BUILD_REASON": "PullRequest",
        },
    ),
    "Jenkins": (
        {
            "JENKINS_URL": "https://ci.acme.example/", "GIT_URL": "https://github.com/acme/voice-agent.git",
            "GIT_COMMIT": SHA, "GIT_BRANCH": "origin/main", "BRANCH_NAME": "main", "BUILD_NUMBER": "7",
            "JOB_NAME": "voice/main", "STAGE_NAME": "Evaluate", "BUILD_URL": "https://ci.acme.example/job/voice/7/",
        },
        {"BRANCH_NAME": "PR-42", "CHANGE_ID": "42", "CHANGE_BRANCH": "topic", "JOB_NAME": "voice/PR-42"},
    ),
    "CI": (
        {
            "CI": "1", "CI_REPOSITORY": "https://git.acme.example:8443/acme/voice-agent", "CI_COMMIT_SHA": SHA,
            "CI_COMMIT_REF_NAME": "main",
        },
        {},
    ),
}  # fmt: skip
# What a later attempt at the same job has instead, and the job of a newer commit.
LATER: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "GitLab": ({"CI_JOB_ID": "12345678999"}, {"CI_PIPELINE_ID": "2201234599", "CI_PIPELINE_NAME": "2"}),
    "Bitbucket": ({"BITBUCKET_STEP_RUN_NUMBER": "2"}, {"BITBUCKET_BUILD_NUMBER": "18"}),
    "CircleCI": ({"CIRCLE_BUILD_NUM": "12"}, {"CIRCLE_PIPELINE_ID": "12345678-bbbb"}),
    "Buildkite": ({"BUILDKITE_RETRY_COUNT": "1"}, {"BUILDKITE_BUILD_NUMBER": "8"}),
    "Jenkins": ({}, {"BUILD_NUMBER": "8"}),
    "Azure Pipelines": ({"SYSTEM_JOBATTEMPT": "2"}, {"BUILD_BUILDID": "118"}),
}
NAMES = list(JOBS)
PULL_REQUEST_SYSTEMS = [name for name, (_, instead) in JOBS.items() if instead]


def read(name: str, others: Mapping[str, str] | None = None, *, pull_request: bool = False) -> Context:
    branch, instead = JOBS[name]
    environ = branch | (instead if pull_request else {}) | dict(others or {})
    system = system_in(environ)
    assert system
    assert system.name == name
    return context_in(system, environ)


def test_every_system_has_a_job_here_and_a_laptop_is_none() -> None:
    assert [system.name for system in SYSTEMS] == NAMES
    assert not any(map(system_in, ({}, {"CI": "false"}, {"CI": ""}, {"BUILDKITE": "false"})))


@pytest.mark.parametrize("name", NAMES)
def test_job_of_a_branch(name: str) -> None:
    context = read(name)
    assert (context.sha, context.branch, context.pull_request, context.for_pull_request) == (SHA, "main", None, False)
    assert context.server_url.startswith("https://")
    assert context.repository
    assert branch_tag(context, "main") in tags_for(context, REQUEST, "00c0ffee").to_send
    if name != "CI":  # a job may have the address of Jenkins to start something there
        assert read(name, {"JENKINS_URL": "https://ci.acme.example/"}) == context


@pytest.mark.parametrize("name", PULL_REQUEST_SYSTEMS)
def test_job_of_a_pull_request(name: str) -> None:
    """It names the source's commit, and its runs are no baseline of a branch, also where a fork made it."""
    context = read(name, pull_request=True)
    assert (context.sha, context.branch, context.pull_request, context.for_pull_request) == (SHA, "", 42, True)
    assert context.repository == read(name).repository
    assert context.ref.endswith("topic")
    assert "/branch/" not in str(tags_for(context, REQUEST, "00c0ffee").to_send)


@pytest.mark.parametrize("name", PULL_REQUEST_SYSTEMS)
def test_later_attempt_continues_and_later_run_supersedes(name: str) -> None:
    again, later = LATER[name]
    first = tags_for(read(name, pull_request=True), REQUEST, "0a")
    second = tags_for(read(name, again, pull_request=True), REQUEST, "0b")
    newer = tags_for(read(name, later, pull_request=True), REQUEST, "0c")
    if again:  # Jenkins has no attempts
        assert second.continues(first.to_send)
    assert not first.continues(first.to_send)
    assert newer.supersedes(first.to_send)
    assert not newer.continues(first.to_send)
    assert not first.continues(second.to_send)
    if name != "CircleCI":  # its pipelines' ids have no order
        assert not first.supersedes(newer.to_send)


def test_attempts_have_an_order() -> None:
    """Each variable that numbers attempts has a number in a job, and a higher one in a later attempt."""
    for system in SYSTEMS:
        numbers = [(JOBS[system.name][0].get(name, ""), LATER[system.name][0].get(name, "")) for name in system.attempt]
        assert all(number.isdecimal() for pair in numbers for number in pair), system.name
        assert all(int(first) < int(second) for first, second in numbers), system.name


BY_HAND = [
    ("GitLab", {"CI_PIPELINE_SOURCE": "web"}),
    ("GitLab", {"CI_PIPELINE_SOURCE": "schedule", "CI_JOB_MANUAL": "true"}),
    ("Buildkite", {"BUILDKITE_SOURCE": "ui"}),
    ("Azure Pipelines", {"BUILD_REASON": "Manual"}),
]


@pytest.mark.parametrize(("name", "others"), BY_HAND, ids=str)
def test_job_that_a_person_started(name: str, others: dict[str, str]) -> None:
    """A manual job of a pull request is its author's, who must not move what main is compared with."""
    assert acceptance_problems(read(name, others)) == []
    (problem,) = acceptance_problems(read(name, others, pull_request=True))
    assert problem.what == "must be false here: only a run of a branch can be accepted."


def test_job_that_an_event_started_accepts_no_run(golden: Callable[[str, str], None]) -> None:
    pushed = Context(repository="acme/voice-agent", event="push", branch="main")
    contexts = {"GitHub": pushed} | {name: read(name) for name in NAMES}
    texts = {name: acceptance_problems(context)[0] for name, context in contexts.items()}
    golden("acceptance.txt", "\n".join(f"{name}\n{' '.join(problem)}\n" for name, problem in texts.items()))


@pytest.mark.parametrize("name", ["Jenkins", "Buildkite"])
def test_builds_of_one_number_are_distinguished(name: str) -> None:
    """Build 7 of a pull request finds build 7 of main as its baseline: they are not the same workflow run."""
    other = {"JOB_NAME": "voice/main", "BUILDKITE_PIPELINE_SLUG": "nightly"}
    ids = {read(name, pull_request=True).run_id, read(name, other).run_id}
    assert len(ids) == 2
    assert all(id_.startswith("7-") for id_ in ids)


# What another job of the same workflow run has instead.
ALIKE: dict[str, dict[str, str]] = {
    "parallel job of GitLab": {"CI_JOB_NAME": "evaluate 2/2"},
    "second step of Bitbucket": {"BITBUCKET_STEP_UUID": "{0}"},
    "parallel step of Bitbucket": {"BITBUCKET_PARALLEL_STEP": "1"},
    "workflow of CircleCI": {"CIRCLE_WORKFLOW_WORKSPACE_ID": "9a-2"},
    "parallel job of CircleCI": {"CIRCLE_NODE_INDEX": "1"},
    "step without a key of Buildkite": {"BUILDKITE_STEP_ID": "018f-2"},
    "matrix of Buildkite": {"BUILDKITE_LABEL": "Evaluate eu"},
    "stage of Azure Pipelines": {"SYSTEM_STAGENAME": "nightly"},
    "matrix of Azure Pipelines": {"SYSTEM_JOBPOSITIONINPHASE": "2"},
    "parallel stage of Jenkins": {"STAGE_NAME": "Evaluate eu"},
}


@pytest.mark.parametrize("case", ALIKE)
def test_attempt_leaves_the_runs_of_other_jobs_alone(case: str) -> None:
    name = case.partition(" of ")[2]
    again, _ = LATER[name]
    later = tags_for(read(name, again), REQUEST, "0a")
    runs = tags_for(read(name, ALIKE[case]), REQUEST, "0b").to_send
    assert not later.continues(runs)
    assert not later.supersedes(runs)
    assert not again or later.continues(tags_for(read(name), REQUEST, "0c").to_send)


QUEUE = "gh-readonly-queue/main/pr-42-5be3a1b0"


@pytest.mark.parametrize(
    ("name", "variables", "number", "for_pull_request"),
    [
        # other signs of a pull request, without what usually marks one
        ("GitLab", {"CI_EXTERNAL_PULL_REQUEST_IID": "42", "CI_COMMIT_BRANCH": "topic"}, 42, True),
        ("CircleCI", {"CIRCLE_BRANCH": "pull/42"}, 42, True),
        ("Azure Pipelines", {"BUILD_SOURCEBRANCH": "refs/pull/42/merge"}, 42, True),
        ("Jenkins", {"BRANCH_NAME": "", "GIT_BRANCH": "origin/topic", "ghprbPullId": "42"}, 42, True),
        # pull requests without a number
        ("CircleCI", {"CIRCLE_PULL_REQUEST": "https://git.acme.example/changes/topic"}, None, True),
        ("Jenkins", {"CHANGE_ID": "I8473b95934b5732ac55d26311a706c9c2bde9940"}, None, True),
        ("Buildkite", {"BUILDKITE_BRANCH": QUEUE}, None, True),
        ("Azure Pipelines", {"BUILD_SOURCEBRANCH": f"refs/heads/{QUEUE}"}, None, True),
        # tags
        ("GitLab", {"CI_COMMIT_BRANCH": "", "CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1"}, None, False),
        ("Jenkins", {"BRANCH_NAME": "v1", "TAG_NAME": "v1"}, None, False),
        ("Azure Pipelines", {"BUILD_SOURCEBRANCH": "refs/tags/v1"}, None, False),
    ],
)
def test_job_of_no_branch(name: str, variables: dict[str, str], number: int | None, for_pull_request: bool) -> None:
    context = read(name, variables)
    assert (context.pull_request, context.for_pull_request, context.branch) == (number, for_pull_request, "")


@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_branch_named_as_a_ref_of_main_is_not_main(system: System) -> None:
    for branch in ("origin/main", "refs/heads/main", "refs/heads/refs/heads/main"):
        context = read(system.name, {system.branch[0]: system.prefix + branch})
        assert branch_tag(context, "main") not in tags_for(context, REQUEST, "00c0ffee").to_send, branch


def test_jenkins_without_multibranch() -> None:
    job = {"BRANCH_NAME": "", "JOB_NAME": "voice", "STAGE_NAME": ""}
    assert read("Jenkins", job).branch == "main"
    assert read("Jenkins", job | {"GIT_BRANCH": "detached"}).branch == ""
    assert read("Jenkins", job | {"JENKINS_URL": "", "JENKINS_HOME": "/var/jenkins_home"}).run_id.startswith("7-")


def test_page_of_the_run() -> None:
    pages = {name: read(name).run_url for name in NAMES}
    assert pages["Bitbucket"] == "https://bitbucket.org/acme/voice-agent/pipelines/results/17"
    assert pages["Azure Pipelines"] == "https://dev.azure.com/acme/Voice%20agents/_build/results?buildId=117"
    assert [name for name, page in pages.items() if not page] == ["CI"]
    assert read("Azure Pipelines", {"SYSTEM_TEAMPROJECT": ""}).run_url == ""
    assert read("Jenkins", {"BUILD_URL": "javascript:alert()"}).run_url == ""


@pytest.mark.parametrize("commit", ["HEAD", "main", "-rf", "x" * 40, SHA.upper(), "5be3a1", "a" * 65])
def test_only_a_hash_is_a_commit(commit: str) -> None:
    assert read("Buildkite", {"BUILDKITE_COMMIT": commit}).sha == ""


def test_absurd_values_are_no_names() -> None:
    for name, (environ, _) in JOBS.items():
        marker = next(one for one in (*SYSTEMS[NAMES.index(name)].markers, "") if one in environ)
        for value in ("\x1b[31m", "9" * 5000, "{BUILD_BUILDID}", "https://[", "\u0663", "a\nb"):
            context = read(name, dict.fromkeys(environ, value) | {marker: environ[marker]})
            assert (context.sha, context.pull_request) == ("", None), (name, value)
            tags = tags_for(context, REQUEST, "0a").to_send
            assert all(len(tag) < 200 and tag.isascii() and tag.isprintable() for tag in tags), (name, value)


@pytest.mark.parametrize(
    ("url", "server", "repository"),
    [
        ("git@github.com:acme/voice-agent.git", "https://github.com", "acme/voice-agent"),
        ("ssh://git@github.com:22/acme/voice-agent", "https://github.com", "acme/voice-agent"),
        ("https://user:password@GitHub.com/acme/voice-agent/", "https://github.com", "acme/voice-agent"),
        ("https://git.acme.example:8443/acme", "https://git.acme.example:8443", "acme"),
        ("", "", ""),
        ("https://github.com:port/acme", "", ""),
    ],
)
def test_repository_that_a_url_names(url: str, server: str, repository: str) -> None:
    assert repository_of(url) == (server, repository)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory that is no repository yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=Mona", "-c", "user.email=mona@acme.example"]
    command = ["git", *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.usefixtures("checkout")
def test_git_is_the_context_of_a_laptop_and_of_a_job_where_no_variable_has_it() -> None:
    environ = JOBS["Jenkins"][0] | {"GIT_URL": "", "GIT_COMMIT": ""}
    assert host_of(PlainHost, environ=environ).context().repository == ""
    assert (read_git().repository, read_git().sha, read_git().is_local) == ("", "", True)
    git("init", "--initial-branch", "topic")
    git("remote", "add", "origin", "git@github.com:acme/voice-agent.git")
    Path("prompt.md").write_text("Hello")
    git("add", ".")
    git("commit", "--message", "Greet")
    context = read_git()
    assert (context.server_url, context.repository) == ("https://github.com", "acme/voice-agent")
    assert (context.ref, context.branch, context.is_changed) == ("topic", "", False)
    assert len(context.sha) == 40
    job = host_of(PlainHost, environ=environ).context()
    assert (job.server_url, job.repository, job.sha) == (context.server_url, context.repository, context.sha)
    assert (job.branch, job.is_local) == ("main", False)
    for start, commit in ((context.sha[:12], context.sha), ("0123456789ab", "0123456789ab")):
        short = JOBS["Bitbucket"][0] | {"BITBUCKET_COMMIT": start}  # as in a pull request
        assert host_of(PlainHost, environ=short).context().sha == commit
    Path("prompt.md").write_text("Good morning")
    assert read_git().is_changed
    git("remote", "set-url", "origin", str(Path.cwd()))
    assert read_git().repository == ""


def test_git_is_not_needed_and_no_local_run_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    context = read_git()
    assert (context.is_local, context.sha) == (True, "")
    (problem,) = acceptance_problems(context)
    assert problem.what == "must be false here: only the runs of a CI system are compared with later ones."
