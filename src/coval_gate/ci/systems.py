"""The CI systems whose variables say what a step tests. Each is a row: a new one needs nothing else.

Sources are the systems' lists of predefined variables:
GitLab: https://docs.gitlab.com/ci/variables/predefined_variables
Bitbucket: https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets
CircleCI: https://circleci.com/docs/reference/variables
Buildkite: https://buildkite.com/docs/pipelines/configure/environment-variables
Jenkins: https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
Azure Pipelines: https://learn.microsoft.com/azure/devops/pipelines/build/variables
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from coval_gate.ci.host import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADS, REMOTE = "refs/heads/", "origin/"
SCP: Final = re.compile(r"(?:[^@/]+@)?([\w.-]+):(?!//)(.+)")  # git@github.com:acme/voice-agent.git
OFF: Final = ("", "0", "false")  # a variable that is not set to anything


class System(NamedTuple):
    """A CI system: its name, the variable by which it is recognized, and the names of its variables.

    Of several names, the first that is set counts. `repository` may be a URL; `server` is then its host. `tag`: set if
    a tag is built, whose name the variable of the branch may have. `numbered_by_job`: each workflow counts its own
    runs, so two of them may have runs of one number. `counts_retries`: the first attempt has the number 0.
    """

    name: str
    marker: str
    repository: tuple[str, ...]
    commit: tuple[str, ...]
    branch: tuple[str, ...]
    server: str = ""
    tag: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()
    pull_request: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    attempt: tuple[str, ...] = ()
    workflow: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    step: tuple[str, ...] = ()  # what distinguishes parallel jobs of one name
    page: tuple[str, ...] = ()
    actor: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    numbered_by_job: bool = False
    counts_retries: bool = False


SYSTEMS: Final = (
    System(
        name="GitLab",
        marker="GITLAB_CI",
        server="CI_SERVER_URL",
        # The pipeline of a merge request from a fork runs in the fork.
        repository=("CI_MERGE_REQUEST_PROJECT_PATH", "CI_PROJECT_PATH"),
        commit=("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"),  # the first where GitLab builds a merge of it
        branch=("CI_COMMIT_BRANCH",),
        ref=("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
        pull_request=("CI_MERGE_REQUEST_IID",),
        run=("CI_PIPELINE_ID",),
        attempt=("CI_JOB_ID",),  # a retry is a new job
        workflow=("CI_PIPELINE_NAME",),
        job=("CI_JOB_NAME",),
        page=("CI_JOB_URL",),
        actor=("GITLAB_USER_LOGIN",),
        event=("CI_PIPELINE_SOURCE",),
    ),
    System(
        name="Bitbucket",
        marker="BITBUCKET_BUILD_NUMBER",
        repository=("BITBUCKET_GIT_HTTP_ORIGIN",),
        commit=("BITBUCKET_COMMIT",),
        branch=("BITBUCKET_BRANCH",),
        tag=("BITBUCKET_TAG",),
        pull_request=("BITBUCKET_PR_ID",),
        run=("BITBUCKET_BUILD_NUMBER",),
        attempt=("BITBUCKET_STEP_RUN_NUMBER",),
        step=("BITBUCKET_PARALLEL_STEP",),
        actor=("BITBUCKET_STEP_TRIGGERER_UUID",),
    ),
    System(
        name="CircleCI",
        marker="CIRCLECI",
        repository=("CIRCLE_REPOSITORY_URL",),
        commit=("CIRCLE_SHA1",),
        branch=("CIRCLE_BRANCH",),
        tag=("CIRCLE_TAG",),
        pull_request=("CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST"),
        run=("CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_ID"),
        attempt=("CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_BUILD_NUM"),
        job=("CIRCLE_JOB",),
        step=("CIRCLE_NODE_INDEX",),
        page=("CIRCLE_BUILD_URL",),
        actor=("CIRCLE_USERNAME",),
    ),
    System(
        name="Buildkite",
        marker="BUILDKITE",
        repository=("BUILDKITE_REPO",),
        commit=("BUILDKITE_COMMIT",),
        branch=("BUILDKITE_BRANCH",),
        tag=("BUILDKITE_TAG",),
        pull_request=("BUILDKITE_PULL_REQUEST",),
        run=("BUILDKITE_BUILD_NUMBER",),
        attempt=("BUILDKITE_RETRY_COUNT",),
        workflow=("BUILDKITE_PIPELINE_SLUG",),
        job=("BUILDKITE_STEP_KEY", "BUILDKITE_LABEL"),
        step=("BUILDKITE_PARALLEL_JOB",),
        page=("BUILDKITE_BUILD_URL",),
        actor=("BUILDKITE_BUILD_CREATOR",),
        event=("BUILDKITE_SOURCE",),
        numbered_by_job=True,
        counts_retries=True,
    ),
    System(
        name="Jenkins",
        marker="JENKINS_URL",
        repository=("GIT_URL",),
        commit=("GIT_COMMIT",),
        branch=("BRANCH_NAME", "GIT_BRANCH"),
        tag=("TAG_NAME",),
        ref=("CHANGE_BRANCH",),
        pull_request=("CHANGE_ID",),
        run=("BUILD_NUMBER",),
        workflow=("JOB_NAME",),
        job=("STAGE_NAME",),
        page=("BUILD_URL",),
        actor=("BUILD_USER_ID", "CHANGE_AUTHOR"),
        numbered_by_job=True,
    ),
    System(
        name="Azure Pipelines",
        marker="TF_BUILD",
        repository=("BUILD_REPOSITORY_URI",),
        commit=("SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"),
        branch=("BUILD_SOURCEBRANCH",),
        ref=("SYSTEM_PULLREQUEST_SOURCEBRANCH",),
        pull_request=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
        run=("BUILD_BUILDID",),
        attempt=("SYSTEM_JOBATTEMPT",),
        workflow=("BUILD_DEFINITIONNAME",),
        job=("SYSTEM_PHASENAME",),
        step=("SYSTEM_JOBPOSITIONINPHASE",),
        actor=("BUILD_REQUESTEDFOR",),
        event=("BUILD_REASON",),
    ),
    System(  # any other, as far as it sets these or its job does
        name="CI",
        marker="CI",
        repository=("CI_REPOSITORY",),
        commit=("CI_COMMIT_SHA",),
        branch=("CI_COMMIT_REF_NAME",),
    ),
)


def system_in(environ: Mapping[str, str]) -> System | None:
    """Return the CI system that set these variables; None on a laptop."""
    return next((row for row in SYSTEMS if environ.get(row.marker, "").lower() not in OFF), None)


def context_in(system: System, environ: Mapping[str, str]) -> Context:
    """Return what a system's variables say about the step."""

    def first(names: tuple[str, ...]) -> str:
        return next((text for name in names if (text := environ.get(name, "").strip())), "")

    server, repository = repository_of(first(system.repository))
    number = _trailing_number(first(system.pull_request))
    branch = first(system.branch).removeprefix(REMOTE)
    is_branch = not (number or first(system.tag) or (branch.startswith("refs/") and not branch.startswith(HEADS)))
    return Context(
        repository=repository,
        sha=first(system.commit),
        event=first(system.event),
        actor=first(system.actor),
        workflow=first(system.workflow),
        workflow_file=first(system.workflow) or system.name,
        job=first(system.job),
        step=first(system.step),
        server_url=environ.get(system.server, "").rstrip("/") or server,
        ref=first(system.ref) or branch,
        branch=branch.removeprefix(HEADS) if is_branch else "",
        run_id=_run_id(system, first(system.run), first(system.workflow)),
        run_url=first(system.page),
        run_attempt=_attempt(system, first(system.attempt)),
        pull_request=number,
        of_pull_request=number is not None,
    )


def repository_of(text: str) -> tuple[str, str]:
    """Return the server and the path of a repository, from any form of its URL; from a path, no server.

    The forms for ssh and https give the same: https://github.com and acme/voice-agent.
    """
    short = SCP.fullmatch(text)
    if short:
        host, path = short[1], short[2]
    elif "://" in text:
        try:
            parts = urlsplit(text)
            host, path = parts.hostname or "", parts.path
            if parts.port and parts.scheme in ("http", "https"):
                host += f":{parts.port}"
        except ValueError:
            return "", ""
    else:
        host, path = "", text
    return f"https://{host.lower()}" if host else "", path.strip("/").removesuffix(".git")


def _run_id(system: System, number: str, workflow: str) -> str:
    """Return what identifies the system's run in the repository: its number, and the job that counts it."""
    if not (number and system.numbered_by_job):
        return number
    return f"{number}-{hashlib.sha256(workflow.encode()).hexdigest()[:8]}"


def _attempt(system: System, text: str) -> str:
    """Return the number or id of the attempt. The first has the number 1."""
    return str(int(text) + 1) if system.counts_retries and re.fullmatch("[0-9]{1,9}", text) else text or "1"


def _trailing_number(text: str) -> int | None:
    """Return the number of a pull request, which may be the end of its URL."""
    match = re.fullmatch(r"(?:.*[/#])?([0-9]{1,9})", text)
    return int(match[1]) or None if match else None
