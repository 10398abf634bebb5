"""Where a step runs: repository, commit, pull request, workflow run."""

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


def before_the_run_is_known(context: Context) -> Context:
    """`context` of a step that waits for a run launched elsewhere: without a pull request, its commit is in doubt."""
    return context if context.pull_request else replace(context, sha_is_known=False)


def context_of_run(context: Context, metadata: Mapping[str, Any]) -> Context:
    """`context` with the commit and the pull request that a run was launched for, where its metadata tell.

    So what a later workflow finds out about the run reaches the commit that was tested. Metadata of another repository
    say nothing here.
    """
    sha, number = metadata.get(COMMIT), metadata.get(PULL_REQUEST)
    if metadata.get(REPOSITORY) != context.repository or not (
        isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40,64}", sha)
    ):
        return replace(context, sha_is_known=True)  # the run does not say, so that the event's has to do
    number = int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,9}", number) else number
    known = isinstance(number, int) and number > 0
    return replace(context, sha=sha, sha_is_known=True, pull_request=number if known else None)
