"""Tells GitHub's own pages about a step: a commit's status and check run, and one comment on its pull request.

All of it only informs: nothing that goes wrong here changes the verdict.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.checks import github_pages
from coval_gate.errors import GitHubError, RunnerError
from coval_gate.judge.judgement import UNFINISHED
from coval_gate.publish.check_run import CheckRunPublisher, name_problems
from coval_gate.publish.github import Reach, may_be_located, tolerant
from coval_gate.report.formats import Surface, rendered
from coval_gate.text import json_in

if TYPE_CHECKING:
    from coval_gate.ci.context import Context
    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs, Problem
    from coval_gate.report.model import Report
    from coval_gate.runtime import Runtime
    from coval_gate.times import Times
    from coval_gate.waiting import Procedure

CONCLUDED: Final = "concluded"  # the name of the state that says that the commit needs no further status
MADE: Final = "status_made"  # the name of the state that says that the commit has a status of this step
OWED: Final = "status"  # the name of the state that holds the final status, for the post step


class OwedStatus(NamedTuple):
    """The final status of a commit. The post step sets it if the main step could not.

    `context` is its name: the post step may not know the matrix of the job that launched the run.
    """

    sha: str
    context: str
    state: str
    description: str
    target_url: str


class PullRequestPublisher:
    """Finds the commit and the pull request that a step is about, and tells them."""

    def __init__(self, host: Host, runtime: Runtime) -> None:
        self._host = host
        self._clock = runtime.clock
        self._reach = Reach(host, runtime)
        self._check_run = CheckRunPublisher(host, runtime.clock, self._reach)
        self._status: OwedStatus | None = None  # what GitHub shows
        self._owed: OwedStatus | None = None

    def problems(self, inputs: Inputs, context: Context) -> list[Problem]:
        """Return what is wrong with the inputs where the step runs."""
        return name_problems(inputs, context)

    def locate(self, context: Context, inputs: Inputs, *, until: float) -> Procedure[Context]:
        """Return `context` with the pull request's head, where the event tells only its number and it is needed."""
        needed = github_pages(inputs) and not context.sha_is_known
        github = self._reach.github(context, inputs) if needed else None
        if github and context.pull_request:
            with tolerant(self._host):
                sha = yield from github.pull_request_head(context.pull_request, until=until)
                return replace(context, sha=sha, sha_is_known=True)
        return context

    def owe(self, report: Report) -> None:
        """Hand the commit's final status and check run to the post step, in case this step cannot set them.

        Where the run is only launched, a later step sets them.
        """
        self._check_run.owe(report)
        if report.judgement.verdict is None:
            self._conclude()
        owed = self._owed_status(report) if report.judgement.verdict and may_be_located(report) else None
        if owed and owed != self._owed:
            self._owed = owed
            with suppress(RunnerError):
                self._host.save_state({OWED: json.dumps(owed._asdict())})

    def announce(self, report: Report, *, until: float) -> Procedure[None]:
        """Set the commit's status to pending, and create its check run."""
        self.owe(replace(report, judgement=UNFINISHED))
        yield from self._set_status(report, until=until)
        yield from self._check_run.announce(report, until=until)

    def conclude(self, report: Report, times: Times) -> Procedure[str]:
        """Give the commit its final status and check run, and comment.

        Returns the comment's address, empty if there is none.
        """
        first = self._clock.now()
        if (yield from self._set_status(report, until=times.telling_of(first, first))):
            self._conclude()
        yield from self._check_run.conclude(report, until=times.telling_of(self._clock.now(), first))
        return (yield from self._comment(report, until=times.telling_of(self._clock.now(), first)))

    def _conclude(self) -> None:
        with suppress(RunnerError):
            self._host.save_state({CONCLUDED: "true"})

    def is_open(self, inputs: Inputs) -> bool:
        """Tell the post step whether the commit still needs its final status or check run."""
        return self._needs_status(inputs) or self._check_run.is_open(inputs)

    def has_saved(self, inputs: Inputs) -> bool:
        """Tell the post step whether the main step saved all that is to be set, and on which commit."""
        owed = read_owed(self._host.read_state(OWED))
        status_is_saved = owed is not None and bool(owed.sha)
        return (status_is_saved or not self._needs_status(inputs)) and (
            self._check_run.is_saved or not self._check_run.is_open(inputs)
        )

    def close(self, report: Report, times: Times) -> Procedure[None]:
        """Give the commit the status and check run that the main step saved; if it saved none, those of `report`."""
        first = self._clock.now()
        if report.inputs and self._needs_status(report.inputs):
            owed = read_owed(self._host.read_state(OWED))
            if owed and not owed.sha:
                here = self._owed_status(report) or owed
                owed = owed._replace(sha=here.sha, context=here.context)
            if owed is None or owed.sha:  # else the main step has said that the commit is not known
                yield from self._set_status(report, until=times.telling_of(first, first), owed=owed)
        if report.inputs and self._check_run.is_open(report.inputs):
            yield from self._check_run.close(report, until=times.telling_of(self._clock.now(), first))

    def _needs_status(self, inputs: Inputs) -> bool:
        return bool(inputs.commit_status) and inputs.mode != "cancel" and self._host.read_state(CONCLUDED) != "true"

    def _owed_status(self, report: Report) -> OwedStatus | None:
        """Return the commit's status; None if the user wants none."""
        if not (report.inputs and report.inputs.commit_status) or report.inputs.mode == "cancel":
            return None
        from coval_gate.report.formats.status import context_name

        sha = report.context.sha if report.context.sha_is_known else ""
        return OwedStatus(sha, context_name(report), *rendered(Surface.STATUS, report))

    def _set_status(self, report: Report, *, until: float, owed: OwedStatus | None = None) -> Procedure[bool]:
        """Set the commit's status. Returns False if a later attempt may succeed."""
        status = owed or self._owed_status(report)
        if status is None or report.inputs is None:
            return True
        if not (owed or self._reach.knows_commit(report.context, report.inputs)):
            return not may_be_located(report)
        if status == self._status or not (github := self._reach.github(report.context, report.inputs)):
            return True
        forbidden = False
        with tolerant(self._host):
            try:
                yield from github.set_status(
                    status.sha,
                    context=self._host.redact(status.context),
                    state=status.state,
                    description=self._host.redact(status.description),
                    target_url=self._host.redact(status.target_url),
                    until=until,
                    exists=self._status is not None or self._host.read_state(MADE) == "true",
                )
            except GitHubError as error:
                forbidden = error.forbidden
                raise
            self._status = status
            with suppress(RunnerError):
                self._host.save_state({MADE: "true"})
        return forbidden or self._status == status

    def _comment(self, report: Report, *, until: float) -> Procedure[str]:
        """Return the address of the comment; empty where there is none, or it was left alone."""
        inputs, context = report.inputs, report.context
        if inputs is None or inputs.comment == "never" or inputs.mode == "cancel" or report.judgement.verdict is None:
            return ""
        if context.pull_request is None and context.head is None:
            self._host.log("There is no pull request to comment on.")
            return ""
        if not (github := self._reach.github(context, inputs)):
            return ""
        from coval_gate.report.formats.comment import marker

        with tolerant(self._host):
            number = context.pull_request
            if number is None and context.head:
                number = yield from github.find_pull_request(*context.head, context.sha, until=until)
            if number is None:
                self._host.log(f"There is no open pull request of commit {context.sha[:7]} to comment on.")
                return ""
            head = yield from github.pull_request_head(number, until=until)
            if context.sha_is_known and head != context.sha:
                self._host.log(f"Pull request #{number} has a newer commit, {head[:7]}, so its comment stays as it is.")
                return ""
            # Good news replaces bad news that is there, even where only failures are to appear.
            create = inputs.comment == "always" or not report.judgement.lets_pass
            body = self._host.redact(rendered(Surface.COMMENT, report))
            url = yield from github.comment(number, body, marker=marker(report), create=create, until=until)
            if url:
                self._host.log(f"Commented on pull request #{number}: {url}")
            return url
        return ""


def read_owed(text: str) -> OwedStatus | None:
    """Read the status that the main step saved; None if it saved none, or it cannot be read."""
    given = json_in(text)
    try:
        status = OwedStatus(**given) if isinstance(given, dict) else None
    except TypeError:
        return None
    return status if status and all(isinstance(each, str) for each in status) else None
