"""Where the step runs: repository, commit, pull request, workflow run. Pure: environ and event in, facts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPENDABOT = "dependabot[bot]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The provenance of a step; every field is empty (or None) where the runner does not say."""

    repository: str = ""
    sha: str = ""  # the pull request's head, not the merge commit that GitHub makes of it
    actor: str = ""  # who started this attempt
    workflow: str = ""
    run_url: str = ""
    run_attempt: str = ""
    pull_request: int | None = None
    from_fork: bool = False

    @property
    def from_dependabot(self) -> bool:
        """Whether Dependabot started the workflow, which then sees Dependabot's secrets only."""
        return self.actor == DEPENDABOT


def read_context(environ: Mapping[str, str], event: Mapping[str, Any]) -> Context:
    """Read the runner's default variables and the event payload (as parsed JSON; {} where there is none).

    Source: GitHub's documentation of default environment variables and of webhook events.
    """
    pull_request = _mapping(event.get("pull_request"))
    head, base = _mapping(pull_request.get("head")), _mapping(pull_request.get("base"))
    merge_group = _mapping(event.get("merge_group"))
    return Context(
        repository=environ.get("GITHUB_REPOSITORY", ""),
        sha=_text(head.get("sha")) or _text(merge_group.get("head_sha")) or environ.get("GITHUB_SHA", ""),
        actor=environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        run_url=_run_url(environ),
        run_attempt=environ.get("GITHUB_RUN_ATTEMPT", ""),
        pull_request=_pull_request_number(event, pull_request),
        # A fork that was deleted since leaves a head without a repository.
        from_fork=bool(pull_request) and _repository(head) != _repository(base),
    )


def _run_url(environ: Mapping[str, str]) -> str:
    server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
    run_id, attempt = environ.get("GITHUB_RUN_ID"), environ.get("GITHUB_RUN_ATTEMPT")
    if not (server and repository and run_id):
        return ""
    return f"{server}/{repository}/actions/runs/{run_id}" + (f"/attempts/{attempt}" if attempt else "")


def _pull_request_number(event: Mapping[str, Any], pull_request: Mapping[str, Any]) -> int | None:
    issue = _mapping(event.get("issue"))
    number = pull_request.get("number") or (issue.get("number") if issue.get("pull_request") else None)
    return number if isinstance(number, int) else None


def _repository(branch: Mapping[str, Any]) -> str:
    return _text(_mapping(branch.get("repo")).get("full_name"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
