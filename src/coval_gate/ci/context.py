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

Withheld = Literal["", "fork", "dependabot"]  # the origin because of which GitHub withholds secrets, if any


class Head(NamedTuple):
    """The head branch of a pull request, and its owner."""

    owner: str
    branch: str


class Context(NamedTuple):
    """The provenance of a step. Fields that the runner does not provide are empty or None."""

    repository: str = ""
    sha: str = ""  # the commit under test: the pull request's head, not GitHub's merge commit
    event: str = ""  # the name of the event that started the workflow
    actor: str = ""  # the user who started this attempt
    workflow: str = ""
    workflow_file: str = ""  # its path in the repository; several workflows may share a name
    job: str = ""
    matrix: Matrix = NO_MATRIX  # distinguishes jobs of one name; the runner has no variable for it
    step: str = ""
    server_url: str = ""
    ref: str = ""  # the branch or tag that triggered the workflow
    branch: str = ""  # the branch whose newest commit is tested; empty for a pull request, and for a tag
    run_id: str = ""
    run_url: str = ""
    run_attempt: str = ""
    pull_request: int | None = None
    secrets_withheld_from: Withheld = ""
    head: Head | None = None  # to look up a pull request if the event lacks its number
    sha_is_known: bool = True  # False if `sha` is not the tested commit, as for comments on a pull request
    of_pull_request: bool = False  # a pull request (also from a fork) or a merge queue started the workflow

    @property
    def started_by_person(self) -> bool:
        """Whether a person started the workflow by hand."""
        return self.event == BY_HAND


def with_unknown_commit(context: Context) -> Context:
    """Return `context` for a step that waits for another step's run: only a pull request's commit is known."""
    return context if context.pull_request else context._replace(sha_is_known=False)


def with_run_metadata(context: Context, metadata: Mapping[str, Any]) -> Context:
    """Return `context` with the commit and the pull request from a run's metadata, if they are there.

    A later workflow can then report on the tested commit in place of the job that launched the run. If the step's own
    job has no matrix, it takes that job's matrix. Metadata from another repository are ignored.
    """
    if not context.matrix and metadata.get(REPOSITORY) == context.repository:
        context = context._replace(matrix=matrix_from(metadata.get(MATRIX)))
    sha, number = metadata.get(COMMIT), metadata.get(PULL_REQUEST)
    if metadata.get(REPOSITORY) != context.repository or not (
        isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40,64}", sha)
    ):
        return context._replace(sha_is_known=True)  # without a commit in the metadata, use the event's
    number = int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,9}", number) else number
    is_number = isinstance(number, int) and number > 0
    return context._replace(sha=sha, sha_is_known=True, pull_request=number if is_number else None)
