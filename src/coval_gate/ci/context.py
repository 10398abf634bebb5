"""The context of a step: repository, commit, pull request, workflow run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from coval_gate.model.matrix import NO_MATRIX, Matrix, matrix_from

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY, COMMIT, PULL_REQUEST = "github_repository", "github_commit", "github_pull_request"  # in a run's metadata
MATRIX = "github_matrix"
BY_HAND = "workflow_dispatch"  # the event of a workflow that a person starts

Withheld = Literal["", "fork", "dependabot"]  # the origin of a workflow from which GitHub withholds the secrets, if any


class Head(NamedTuple):
    """The head branch of a pull request, and its owner."""

    owner: str
    branch: str


class Context(NamedTuple):
    """The provenance of a step. A field is empty (or None) where the runner does not provide it."""

    repository: str = ""
    sha: str = ""  # the commit under test: the pull request's head, not GitHub's merge commit
    event: str = ""  # the name of the event that started the workflow
    actor: str = ""  # the user who started this attempt
    workflow: str = ""
    workflow_file: str = ""  # its path in the repository; several workflows may share a name
    job: str = ""
    matrix: Matrix = NO_MATRIX  # tells the job from others of that name; the runner has no variable for it
    step: str = ""
    server_url: str = ""
    ref: str = ""  # the branch or tag that triggered the workflow
    branch: str = ""  # the branch whose newest commit is tested; empty for a pull request, and for a tag
    run_id: str = ""
    run_url: str = ""
    run_attempt: str = ""
    pull_request: int | None = None
    secrets_withheld_from: Withheld = ""
    head: Head | None = None  # to look up a pull request whose number the event does not contain
    sha_is_known: bool = True  # False if the event contains only the pull request's number: `sha` is another commit
    of_pull_request: bool = False  # whether a pull request, from a fork or not, or a merge queue started the workflow

    @property
    def started_by_person(self) -> bool:
        """Whether a person started the workflow by hand."""
        return self.event == BY_HAND


def with_unknown_commit(context: Context) -> Context:
    """Return `context` for a step that waits for another step's run: its commit is known only for a pull request."""
    return context if context.pull_request else context._replace(sha_is_known=False)


def with_run_metadata(context: Context, metadata: Mapping[str, Any]) -> Context:
    """Return `context` with the commit and the pull request from a run's metadata, if those name them.

    A later workflow can then report on the commit that was tested, in place of the job that launched the run: if the
    step's own job has no matrix, that job's counts. Metadata from another repository are ignored.
    """
    if not context.matrix and metadata.get(REPOSITORY) == context.repository:
        context = context._replace(matrix=matrix_from(metadata.get(MATRIX)))
    sha, number = metadata.get(COMMIT), metadata.get(PULL_REQUEST)
    if metadata.get(REPOSITORY) != context.repository or not (
        isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40,64}", sha)
    ):
        return context._replace(sha_is_known=True)  # the metadata name no commit, so use the event's
    number = int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,9}", number) else number
    known = isinstance(number, int) and number > 0
    return context._replace(sha=sha, sha_is_known=True, pull_request=number if known else None)
