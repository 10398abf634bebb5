"""What all publishers to GitHub share: the way to its API, and the tolerance of what goes wrong there."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from coval_gate import NAME
from coval_gate.config.checks import COMMENT, github_pages
from coval_gate.errors import GateError, GitHubError
from coval_gate.text import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.ci.context import Context
    from coval_gate.ci.github.api import GitHub
    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs
    from coval_gate.report.model import Report
    from coval_gate.runtime import Runtime

BUG: Final = "Details for a bug report"


class Reach:
    """Reaches GitHub's API with the step's token."""

    def __init__(self, host: Host, runtime: Runtime) -> None:
        self._host = host
        self._runtime = runtime
        self._github: GitHub | None = None
        self._skips = False
        self._skips_commit = False

    def github(self, context: Context, inputs: Inputs) -> GitHub | None:
        """Return GitHub, where there is a token and a repository; where there is not, say so once."""
        if self._github is None and inputs.github_token and context.repository:
            from coval_gate.ci.github.api import GitHub

            self._github = GitHub(self._host.api_url, inputs.github_token, context.repository, self._runtime)
        elif self._github is None and not self._skips:
            self._skips = True
            why = "github_token is empty" if context.repository else "the job has no GitHub repository"
            self._host.annotate("notice", NAME, f"Skipping {in_words(github_pages(inputs))}: {why}.")
        return self._github

    def knows_commit(self, context: Context, inputs: Inputs) -> bool:
        """Return whether the tested commit is known; where it is not, say so once."""
        if not (context.sha_is_known or self._skips_commit):
            self._skips_commit = True
            pages = in_words([each for each in github_pages(inputs) if each != COMMENT])
            self._host.annotate("notice", NAME, f"Skipping {pages}: the tested commit is not known.")
        return context.sha_is_known


def may_be_located(report: Report) -> bool:
    """Return whether the commit is known, or the post step may find it out: the run that is waited for names it."""
    return report.context.sha_is_known or (report.inputs is not None and report.inputs.mode == "wait")


@contextmanager
def tolerant(host: Host, undone: str = "A part of the report could not be made") -> Iterator[None]:
    """Report what goes wrong inside, and go on: the verdict does not rest on it."""
    try:
        yield
    except GitHubError as error:
        message = "\n".join(each for each in (error.what, error.advice) if each)
        host.annotate("notice" if error.forbidden else "warning", f"{NAME}: {error.title}", message)
    except GateError as error:
        host.annotate("warning", NAME, error.what)
    except Exception:  # noqa: BLE001 - a format that fails must not take the others along
        host.fold(BUG, traceback.format_exc().splitlines())
        host.annotate("warning", NAME, f"{undone}; the log has details for a bug report.")
