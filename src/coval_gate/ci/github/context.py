"""Reads a step's context from GitHub's environment variables and event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coval_gate.ci.context import Context, Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.ci.context import Withheld

DEPENDABOT, TARGET = "dependabot[bot]", "pull_request_target"
BRANCHES = "refs/heads/"
BRANCH_EVENTS = ("push", "schedule", "workflow_dispatch")  # before a workflow_run; others may be a pull request's


def read_context(environ: Mapping[str, str], event: Mapping[str, Any]) -> Context:
    """Read the runner's default variables and the event payload (parsed JSON; {} if there is none).

    Source: GitHub's documentation of default environment variables and of webhook events.
    """
    pull_request, issue = _mapping(event.get("pull_request")), _mapping(event.get("issue"))
    head = _mapping(pull_request.get("head"))
    merge_group, before = _mapping(event.get("merge_group")), _mapping(event.get("workflow_run"))
    shas = (head.get("sha"), merge_group.get("head_sha"), before.get("head_sha"))
    event_sha = next((sha for sha in map(_text, shas) if sha), "")
    commented = _number(issue.get("number")) if issue.get("pull_request") else None
    return Context(
        repository=environ.get("GITHUB_REPOSITORY", ""),
        sha=event_sha or environ.get("GITHUB_SHA", ""),
        event=environ.get("GITHUB_EVENT_NAME", ""),
        actor=environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        workflow_file=environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0] or environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        step=environ.get("GITHUB_ACTION", ""),
        server_url=environ.get("GITHUB_SERVER_URL", ""),
        ref=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF", ""),
        branch=_branch(environ, event),
        run_id=environ.get("GITHUB_RUN_ID", ""),
        run_url=_run_url(environ),
        run_attempt=environ.get("GITHUB_RUN_ATTEMPT", ""),
        pull_request=_number(pull_request.get("number")) or commented or _number_of(before),
        secrets_withheld_from=_withheld(environ, event),
        head=_head(before),
        sha_is_known=not commented,
        of_pull_request=bool(
            pull_request
            or commented
            or merge_group
            or _is_of_pull_request(environ.get("GITHUB_EVENT_NAME", ""))
            or (before and before.get("event") not in BRANCH_EVENTS)
        ),
    )


def _branch(environ: Mapping[str, str], event: Mapping[str, Any]) -> str:
    """Return the tested branch; empty for a tag, a merge queue, and any event of a pull request."""
    name, before = environ.get("GITHUB_EVENT_NAME", ""), _mapping(event.get("workflow_run"))
    of_pull_request = event.get("pull_request") or _mapping(event.get("issue")).get("pull_request")
    if of_pull_request or environ.get("GITHUB_HEAD_REF") or name == "merge_group":
        return ""
    if before:  # GITHUB_REF is the default branch in a workflow_run
        return _text(before.get("head_branch")) if before.get("event") in BRANCH_EVENTS else ""
    ref = environ.get("GITHUB_REF", "")
    return ref.removeprefix(BRANCHES) if ref.startswith(BRANCHES) else ""


def _is_of_pull_request(event: str) -> bool:
    """Return whether an event with this name is about a pull request or a merge queue."""
    return event.startswith("pull_request") or event == "merge_group"


def _withheld(environ: Mapping[str, str], event: Mapping[str, Any]) -> Withheld:
    """Return the origin because of which GitHub withholds the repository's secrets; "" if it does not.

    Source: GitHub's documentation of events that trigger workflows, and of Dependabot on GitHub Actions.
    """
    pull_request = _mapping(event.get("pull_request"))
    head, base = _mapping(pull_request.get("head")), _mapping(pull_request.get("base"))
    # After a fork is deleted, the head has no repository. With pull_request_target, a fork's workflow has the secrets.
    if pull_request and _repository(head) != _repository(base) and environ.get("GITHUB_EVENT_NAME") != TARGET:
        return "fork"
    # A re-run has the permissions of the workflow's first actor, not of the user who started the re-run.
    return "dependabot" if environ.get("GITHUB_ACTOR") == DEPENDABOT else ""


def _number_of(workflow_run: Mapping[str, Any]) -> int | None:
    """Return the pull request of a workflow run. GitHub lists none for a pull request from a fork."""
    listed = workflow_run.get("pull_requests")
    sha = workflow_run.get("head_sha")
    for pull_request in listed if isinstance(listed, list) else ():
        if _mapping(_mapping(pull_request).get("head")).get("sha") == sha:
            return _number(_mapping(pull_request).get("number"))
    return None


def _head(workflow_run: Mapping[str, Any]) -> Head | None:
    if workflow_run.get("event") not in ("pull_request", TARGET):
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
