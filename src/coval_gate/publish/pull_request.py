"""What GitHub's own pages are told of a step: a commit's status, and one comment on its pull request.

All of it only informs: nothing that goes wrong here changes the verdict.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.errors import GateError, GitHubError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coval_gate.ci.context import Context
    from coval_gate.ci.github.api import GitHub
    from coval_gate.ci.github.host import Runner
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.report.formats.comment import Status
    from coval_gate.report.model import Report

NAME: Final = "Coval Gate"
BUG: Final = "Details for a bug report"
GITHUB_API: Final = "https://api.github.com"
PATIENCE: Final = 30.0  # s for all that GitHub is told at the end
ANNOUNCING: Final = 10.0  # s for what it is told at the launch
HURRIED: Final = 2.0  # s, where the runner is about to kill the step


class Feedback:
    """Finds the commit and the pull request that a step is about, and tells them."""

    def __init__(self, runner: Runner, environ: Mapping[str, str], clock: Clock) -> None:
        self._runner = runner
        self._api_url = environ.get("GITHUB_API_URL") or GITHUB_API
        self._clock = clock
        self._status: Status | None = None
        self._github: GitHub | None = None
        self._told = False

    def locate(self, context: Context, inputs: Inputs) -> Context:
        """`context` with the pull request's head, where the event tells its number only and somebody needs it."""
        wanted = inputs.comment != "never" or inputs.commit_status
        github = self._reach(context, inputs) if wanted and not context.sha_is_known else None
        if github and context.pull_request:
            until = self._clock.now() + ANNOUNCING
            with tolerant(self._runner):
                return replace(
                    context, sha=github.pull_request_head(context.pull_request, until=until), sha_is_known=True
                )
        return context

    def announce(self, report: Report, *, until: float) -> None:
        """Set the commit's status to pending."""
        self._set_status(report, until=min(until, self._clock.now() + ANNOUNCING))

    def conclude(self, report: Report, *, hurry: bool) -> str:
        """Give the commit its final status, and comment; returns the comment's address, empty where there is none."""
        until = self._clock.now() + (HURRIED if hurry else PATIENCE)
        self._set_status(report, until=until)
        return self._comment(report, until=until)

    def close(self, report: Report) -> None:
        """Give the commit its final status, in place of a main step that did not come to it."""
        self._set_status(report, until=self._clock.now() + PATIENCE)

    def _set_status(self, report: Report, *, until: float) -> None:
        name = report.inputs.commit_status if report.inputs else ""
        if not (report.inputs and name) or report.inputs.mode == "cancel":
            return
        from coval_gate.report.formats.comment import commit_status

        status = commit_status(report)
        if not report.context.sha_is_known:
            self._runner.notice(NAME, "No commit status: which commit was tested is not known.")
            return
        if status == self._status or not (github := self._reach(report.context, report.inputs)):
            return
        with tolerant(self._runner):
            github.set_status(
                report.context.sha,
                context=name,
                state=status.state,
                description=self._runner.redact(status.description),
                target_url=status.target_url,
                until=until,
            )
            self._status = status

    def _comment(self, report: Report, *, until: float) -> str:
        """The address of the comment; empty where there is none, or it was left alone."""
        inputs, context = report.inputs, report.context
        if inputs is None or inputs.comment == "never" or inputs.mode == "cancel" or report.judgement.verdict is None:
            return ""
        if context.pull_request is None and context.head is None:
            self._runner.line("There is no pull request to comment on.")
            return ""
        if not (github := self._reach(context, inputs)):
            return ""
        from coval_gate.report.formats.comment import comment, marker

        with tolerant(self._runner):
            number = context.pull_request
            if number is None and context.head:
                number = github.find_pull_request(*context.head, context.sha, until=until)
            if number is None:
                self._runner.line(f"There is no open pull request of commit {context.sha[:7]} to comment on.")
                return ""
            head = github.pull_request_head(number, until=until)
            if context.sha_is_known and head != context.sha:
                self._runner.line(f"Pull request #{number} has moved on to {head[:7]}: its comment is left alone.")
                return ""
            mark = marker(report, inputs)
            # Good news replaces bad news that is there, even where only failures are to appear.
            create = inputs.comment == "always" or not report.judgement.lets_pass
            body = self._runner.redact(comment(report, mark))
            url = github.comment(number, body, marker=mark, create=create, until=until)
            if url:
                self._runner.line(f"Commented on pull request #{number}: {url}")
            return url
        return ""

    def _reach(self, context: Context, inputs: Inputs) -> GitHub | None:
        """GitHub, where there is a token and a repository; says so once where there is not."""
        if self._github is None and inputs.github_token and context.repository:
            from coval_gate.ci.github.api import GitHub

            self._github = GitHub(self._api_url, inputs.github_token, context.repository, clock=self._clock)
        elif self._github is None and not self._told:
            self._told = True
            lacking = "github_token is empty" if context.repository else "this is no repository on GitHub"
            self._runner.notice(NAME, f"Neither comment nor commit status: {lacking}.")
        return self._github


@contextmanager
def tolerant(runner: Runner) -> Iterator[None]:
    """What only informs may go wrong: it is told, and that is all."""
    try:
        yield
    except GitHubError as error:
        tell = runner.notice if error.refused else runner.warning
        tell(f"{NAME}: {error.title}", "\n".join(each for each in (error.what, error.advice) if each))
    except GateError as error:
        runner.warning(NAME, error.what)
    except Exception:  # noqa: BLE001 - one face less must not take the others along
        runner.fold(BUG, traceback.format_exc().splitlines())
        runner.warning(NAME, "A part of the report could not be made; the log has details for a bug report.")
