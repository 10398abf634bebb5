"""The CI systems whose variables show what a step tests. Each is a row: a new one needs nothing else.

Sources are the systems' lists of predefined variables:
GitLab: https://docs.gitlab.com/ci/variables/predefined_variables
Bitbucket: https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets
CircleCI: https://circleci.com/docs/reference/variables
Buildkite: https://buildkite.com/docs/pipelines/configure/environment-variables
Jenkins: https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
Azure Pipelines: https://learn.microsoft.com/azure/devops/pipelines/build/variables
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from coval_gate.ci.host import HEADS, Context, WebPages, context_of
from coval_gate.inputs.naming import Variables

REMOTE = "origin/"
PULL_REF = "pull/"  # a pull request's ref in place of a branch, without `refs/`
COMMIT_HASH: Final = re.compile("[0-9a-f]{7,64}")  # Bitbucket shortens that of a pull request
CHANGE_NUMBER: Final = re.compile(r"(?:.*[/#])?([0-9]{1,9})")  # also at the end of a pull request's URL
VARIABLE: Final = re.compile(r"\{(\w+)\}")
SCP: Final = re.compile(r"(?:[^@/]+@)?([\w.-]+):(?!//)(.+)")  # git@github.com:acme/voice-agent.git
NO_PATH: Final = re.compile(r"[@:\\\s]")  # in what a mistyped address leaves: perhaps a password
MERGE_REQUESTS: Final = WebPages("merge request", "!", "-/merge_requests", "-/commit")
WEBSITES: Final = {  # of repositories, by host
    "github.com": WebPages(changes="pull", commits="commit"),
    "gitlab.com": MERGE_REQUESTS,
    "bitbucket.org": WebPages(changes="pull-requests", commits="commits"),
    "dev.azure.com": WebPages(changes="pullrequest", commits="commit"),
}
OFF: Final = ("", "0", "false")  # a variable that is not set to anything


class System(NamedTuple):
    """A CI system: its name, the variables by which it is recognized, and the names of its variables.

    Of several names, the first that is set counts. `repository` may be a URL; `server` is then its host. `tag`: set if
    a tag is built, whose name the variable of the branch may have. `prefix`: what stands before the name of a branch.
    `remote_branch`: a branch of the remote `origin`, without `branch`. `file`: identifies the workflow if its name does
    not. `page`: has the page's URL, or a pattern of one.

    All variables of `step` and `instance` count. `step` distinguishes jobs of one name in each workflow run alike.
    `instance` has a value of its own in each workflow run, which all attempts at the step share. `attempt` must have an
    order: its variables are numbers, higher in each later attempt. Otherwise, a step could continue a later one's run.

    `by_hand`: variables and the values by which a person is known to have started the pipeline or the job; `start`: how
    a person does so. `variables`: how an input refers to one; None where inputs are flags, which may not be empty.

    `numbered_by_job`: each workflow counts its own runs, so two of them may have runs of one number. `counts_retries`:
    the first attempt has the number 0. `web`: of repositories on its own servers. `colours`: its log shows them.
    """

    name: str
    markers: tuple[str, ...]
    repository: tuple[str, ...]
    commit: tuple[str, ...]
    branch: tuple[str, ...]
    prefix: str = ""
    remote_branch: str = ""
    server: str = ""
    tag: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()
    pull_request: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    attempt: tuple[str, ...] = ()
    attempt_is_id: bool = False
    workflow: tuple[str, ...] = ()
    file: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    instance: tuple[str, ...] = ()
    page: str = ""
    actor: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    by_hand: tuple[tuple[str, str], ...] = ()
    start: str = ""
    variables: Variables | None = None
    numbered_by_job: bool = False
    counts_retries: bool = False
    artifacts: str = ""
    web: WebPages = WebPages()
    colours: bool = False


SYSTEMS: Final = (
    System(
        name="GitLab",
        colours=True,
        markers=("GITLAB_CI",),
        server="CI_SERVER_URL",
        # The pipeline of a merge request from a fork runs in the fork.
        repository=("CI_MERGE_REQUEST_PROJECT_PATH", "CI_PROJECT_PATH"),
        # The first where GitLab builds a merge of it, the second for a repository that GitLab mirrors.
        commit=("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"),
        branch=("CI_COMMIT_BRANCH",),
        ref=("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
        pull_request=("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
        run=("CI_PIPELINE_ID",),
        attempt=("CI_JOB_ID",),  # a retry is a new job
        attempt_is_id=True,
        workflow=("CI_PIPELINE_NAME",),
        file=("CI_CONFIG_PATH",),  # a pipeline's name may have the commit in it
        job=("CI_JOB_NAME",),
        page="CI_JOB_URL",
        artifacts="/artifacts/browse",
        actor=("GITLAB_USER_LOGIN",),
        event=("CI_PIPELINE_SOURCE",),
        by_hand=(("CI_PIPELINE_SOURCE", "web"), ("CI_JOB_MANUAL", "true")),
        start="Select New pipeline in GitLab, or start a job with `when: manual`.",
        web=MERGE_REQUESTS,
        variables=Variables(
            "${}",
            "Variables are set under Settings › CI/CD › Variables. A protected one has a value only on protected "
            "branches and tags.",
            "Set the variable COVAL_API_KEY, masked, under Settings › CI/CD › Variables.",
        ),
    ),
    System(
        name="Bitbucket",
        colours=True,
        markers=("BITBUCKET_BUILD_NUMBER",),
        repository=("BITBUCKET_GIT_HTTP_ORIGIN",),
        commit=("BITBUCKET_COMMIT",),
        branch=("BITBUCKET_BRANCH",),
        tag=("BITBUCKET_TAG",),
        pull_request=("BITBUCKET_PR_ID",),
        run=("BITBUCKET_BUILD_NUMBER",),
        attempt=("BITBUCKET_STEP_RUN_NUMBER",),
        step=("BITBUCKET_PARALLEL_STEP",),
        instance=("BITBUCKET_STEP_UUID",),  # no variable has the name of a step or of its pipeline
        page="https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
        actor=("BITBUCKET_STEP_TRIGGERER_UUID",),
    ),
    System(
        name="CircleCI",
        colours=True,
        markers=("CIRCLECI",),
        repository=("CIRCLE_REPOSITORY_URL",),
        commit=("CIRCLE_SHA1",),
        branch=("CIRCLE_BRANCH",),
        tag=("CIRCLE_TAG",),
        pull_request=("CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST"),
        run=("CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_ID"),
        attempt=("CIRCLE_BUILD_NUM",),  # it counts all jobs of the project
        attempt_is_id=True,
        job=("CIRCLE_JOB",),
        step=("CIRCLE_NODE_INDEX",),
        instance=("CIRCLE_WORKFLOW_WORKSPACE_ID",),  # two workflows of a pipeline may have jobs of one name
        page="CIRCLE_BUILD_URL",
        actor=("CIRCLE_USERNAME",),
    ),
    System(
        name="Buildkite",
        colours=True,
        markers=("BUILDKITE",),
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
        instance=("BUILDKITE_STEP_ID", "BUILDKITE_LABEL"),  # the label distinguishes the jobs of a matrix
        page="BUILDKITE_BUILD_URL",
        actor=("BUILDKITE_BUILD_CREATOR",),
        event=("BUILDKITE_SOURCE",),
        by_hand=(("BUILDKITE_SOURCE", "ui"),),
        start="Select New Build in Buildkite.",
        numbered_by_job=True,
        counts_retries=True,
    ),
    System(
        name="Azure Pipelines",
        colours=True,
        markers=("TF_BUILD",),
        repository=("BUILD_REPOSITORY_URI",),
        commit=("SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"),
        branch=("BUILD_SOURCEBRANCH",),
        prefix=HEADS,
        ref=("SYSTEM_PULLREQUEST_SOURCEBRANCH",),
        pull_request=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
        run=("BUILD_BUILDID",),
        attempt=("SYSTEM_JOBATTEMPT",),
        workflow=("BUILD_DEFINITIONNAME",),
        file=("SYSTEM_DEFINITIONID",),  # pipelines in two folders may share a name
        job=("SYSTEM_PHASENAME",),
        step=("SYSTEM_STAGENAME", "SYSTEM_JOBPOSITIONINPHASE"),  # jobs of one name may be in two stages
        page="{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
        actor=("BUILD_REQUESTEDFOR",),
        event=("BUILD_REASON",),
        by_hand=(("BUILD_REASON", "Manual"),),
        start="Select Run pipeline in Azure Pipelines.",
    ),
    System(  # after the others, whose jobs may have its address to start something there
        name="Jenkins",
        markers=("JENKINS_URL", "JENKINS_HOME"),  # the first only if Jenkins knows its address
        repository=("GIT_URL",),
        # The others are those of the plugins for pull requests of GitHub and merge requests of GitLab.
        commit=("ghprbActualCommit", "gitlabMergeRequestLastCommit", "GIT_COMMIT"),
        branch=("BRANCH_NAME",),
        remote_branch="GIT_BRANCH",
        tag=("TAG_NAME",),
        ref=("CHANGE_BRANCH", "ghprbSourceBranch", "gitlabSourceBranch"),
        pull_request=("CHANGE_ID", "ghprbPullId", "gitlabMergeRequestIid"),
        run=("BUILD_NUMBER",),
        workflow=("JOB_NAME",),
        job=("STAGE_NAME",),
        page="BUILD_URL",
        actor=("BUILD_USER_ID", "CHANGE_AUTHOR"),
        numbered_by_job=True,
    ),
    System(  # any other, as far as it sets these or its job does
        name="CI",
        markers=("CI",),
        repository=("CI_REPOSITORY",),
        commit=("CI_COMMIT_SHA",),
        branch=("CI_COMMIT_REF_NAME",),
        tag=("CI_COMMIT_TAG",),
    ),
)


def system_in(environ: Mapping[str, str]) -> System | None:
    """None on a laptop."""

    def is_set(name: str) -> bool:
        return environ.get(name, "").strip().lower() not in OFF

    return next((row for row in SYSTEMS if any(map(is_set, row.markers))), None)


def context_in(system: System, environ: Mapping[str, str]) -> Context:
    def all_of(names: tuple[str, ...]) -> list[str]:
        return [text for name in names if (text := environ.get(name, "").strip())]

    def first(names: tuple[str, ...]) -> str:
        return next(iter(all_of(names)), "")

    server, repository = repository_of(first(system.repository))
    remote_branch = environ.get(system.remote_branch, "").strip().removeprefix(REMOTE)
    branch = first(system.branch).removeprefix(system.prefix) or remote_branch
    change = first(system.pull_request).lower()
    number = CHANGE_NUMBER.fullmatch(change)
    context = context_of(
        f"refs/{branch}" if branch.startswith(PULL_REF) else branch,
        number=int(number[1]) or None if number else None,
        for_pull_request=change not in OFF,
        is_tag=bool(first(system.tag)),
    )
    sha, workflow = first(system.commit), first(system.workflow)
    run_id, attempt = first(system.run), first(system.attempt)
    if run_id and system.numbered_by_job:  # two workflows may have runs of one number
        run_id += f"-{hashlib.sha256(workflow.encode()).hexdigest()[:8]}"
    if system.counts_retries and re.fullmatch("[0-9]{1,9}", attempt):  # the first has the number 1
        attempt = str(int(attempt) + 1)
    run_url = _page(environ.get(system.page, "").strip(), system.page, environ)
    return context._replace(
        repository=repository,
        sha=sha if COMMIT_HASH.fullmatch(sha) else "",  # Buildkite has "HEAD" until a checkout
        event=first(system.event),
        actor=first(system.actor),
        workflow=workflow,
        workflow_file=first(system.file) or workflow or system.name,
        lasting_workflow=first(system.file),
        job=first(system.job),
        step="/".join(all_of(system.step)),
        instance="/".join(all_of(system.instance)),
        server_url=environ.get(system.server, "").rstrip("/") or server,
        ref=first(system.ref).removeprefix(HEADS) or branch,
        run_id=run_id,
        run_url=run_url,
        artifacts_url=f"{run_url}{system.artifacts}" if run_url and system.artifacts else "",
        run_attempt=attempt or "1",
        attempt_is_id=system.attempt_is_id,
        started_by_person=any(environ.get(name) == value for name, value in system.by_hand),
        start_by_hand=system.start,
        web=website_of(server, system.web),
        variables=system.variables,
    )


def repository_of(text: str) -> tuple[str, str]:
    """The forms for ssh and https give the same: https://github.com and acme/voice-agent. A path gives no server."""
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
    path = path.strip("/").removesuffix(".git")
    if NO_PATH.search(path):
        return "", ""
    return f"https://{host.lower()}" if host else "", path


def website_of(server: str, otherwise: WebPages = WebPages()) -> WebPages:  # noqa: B008 - immutable
    """Return `otherwise` if the server is unknown."""
    return WEBSITES.get(server.removeprefix("https://"), otherwise)


def _page(url: str, pattern: str, environ: Mapping[str, str]) -> str:
    """Without a `url`, fill in the `pattern`. Empty unless all of its variables are set."""
    values = {name: environ.get(name, "").strip() for name in VARIABLE.findall(pattern)}
    if not url and values and all(values.values()):
        url = VARIABLE.sub(lambda match: quote(values[match[1]], safe="/:"), pattern)
    return url if url.startswith(("https://", "http://")) else ""
