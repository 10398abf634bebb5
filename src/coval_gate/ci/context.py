"""Where the step runs: repository, commit, pull request, workflow run. Pure: environ and event in, facts out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPENDABOT = "dependabot[bot]"
REPOSITORY, COMMIT, PULL_REQUEST = "github_repository", "github_commit", "github_pull_request"  # in a run's metadata


class Head(NamedTuple):
    """The branch that a pull request wants to bring in, and whose it is."""

    owner: str
    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The provenance of a step; every field is empty (or None) where the runner does not say."""

    repository: str = ""
    sha: str = ""  # what is under test: the pull request's head, not the merge commit that GitHub makes of it
    actor: str = ""  # who started this attempt
    workflow: str = ""
    workflow_file: str = ""  # its path in the repository; several workflows may have one name
    job: str = ""
    step: str = ""
    server_url: str = ""
    ref: str = ""  # the branch or tag that the workflow runs for
    run_id: str = ""
    run_url: str = ""
    run_attempt: str = ""
    pull_request: int | None = None
    from_fork: bool = False
    head: Head | None = None  # where to find a pull request whose number the event does not tell
    sha_is_known: bool = True  # False where only the pull request's number is, and `sha` is something else

    @property
    def secrets_withheld_from(self) -> str:
        """Who started the workflow, where GitHub keeps the repository's secrets from them: fork, dependabot or ""."""
        return "fork" if self.from_fork else "dependabot" if self.actor == DEPENDABOT else ""


def read_context(environ: Mapping[str, str], event: Mapping[str, Any]) -> Context:
    """Read the runner's default variables and the event payload (as parsed JSON; {} where there is none).

    Source: GitHub's documentation of default environment variables and of webhook events.
    """
    pull_request, issue = _mapping(event.get("pull_request")), _mapping(event.get("issue"))
    head, base = _mapping(pull_request.get("head")), _mapping(pull_request.get("base"))
    merge_group, before = _mapping(event.get("merge_group")), _mapping(event.get("workflow_run"))
    shas = (head.get("sha"), merge_group.get("head_sha"), before.get("head_sha"))
    known = next((each for each in map(_text, shas) if each), "")
    commented = _number(issue.get("number")) if issue.get("pull_request") else None
    return Context(
        repository=environ.get("GITHUB_REPOSITORY", ""),
        sha=known or environ.get("GITHUB_SHA", ""),
        actor=environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        workflow_file=environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0] or environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        step=environ.get("GITHUB_ACTION", ""),
        server_url=environ.get("GITHUB_SERVER_URL", ""),
        ref=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF", ""),
        run_id=environ.get("GITHUB_RUN_ID", ""),
        run_url=_run_url(environ),
        run_attempt=environ.get("GITHUB_RUN_ATTEMPT", ""),
        pull_request=_number(pull_request.get("number")) or commented or _number_of(before),
        # A fork that was deleted since leaves a head without a repository.
        from_fork=bool(pull_request) and _repository(head) != _repository(base),
        head=_head(before),
        sha_is_known=not commented,
    )


def before_the_run_is_known(context: Context) -> Context:
    """`context` of a step that waits for a run launched elsewhere: without a pull request, its commit is in doubt."""
    return context if context.pull_request else replace(context, sha_is_known=False)


def context_of_run(context: Context, metadata: Mapping[str, Any]) -> Context:
    """`context` with the commit and the pull request that a run was launched for, where its metadata tell.

    So what a later workflow finds out about the run reaches the commit that was tested. Metadata of another repository
    say nothing here.
    """
    sha, number = _text(metadata.get(COMMIT)), metadata.get(PULL_REQUEST)
    if metadata.get(REPOSITORY) != context.repository or not re.fullmatch(r"[0-9a-f]{40,64}", sha):
        return replace(context, sha_is_known=True)  # the run does not say, so that the event's has to do
    number = int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,9}", number) else _number(number)
    return replace(context, sha=sha, sha_is_known=True, pull_request=number)


def _number_of(workflow_run: Mapping[str, Any]) -> int | None:
    """The pull request that a workflow ran for; GitHub names none that comes from a fork."""
    listed = workflow_run.get("pull_requests")
    sha = workflow_run.get("head_sha")
    for each in listed if isinstance(listed, list) else ():
        if _mapping(_mapping(each).get("head")).get("sha") == sha:
            return _number(_mapping(each).get("number"))
    return None


def _head(workflow_run: Mapping[str, Any]) -> Head | None:
    if workflow_run.get("event") not in ("pull_request", "pull_request_target"):
        return None
    owner = _text(_mapping(_mapping(workflow_run.get("head_repository")).get("owner")).get("login"))
    branch = _text(workflow_run.get("head_branch"))
    return Head(owner, branch) if owner and branch else None


def _run_url(environ: Mapping[str, str]) -> str:
    server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
    run_id, attempt = environ.get("GITHUB_RUN_ID"), environ.get("GITHUB_RUN_ATTEMPT")
    if not (server and repository and run_id):
        return ""
    return f"{server}/{repository}/actions/runs/{run_id}" + (f"/attempts/{attempt}" if attempt else "")


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _repository(branch: Mapping[str, Any]) -> str:
    return _text(_mapping(branch.get("repo")).get("full_name"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
