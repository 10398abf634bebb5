"""Detects the host of a step. Only the code of that host is loaded."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from coval_gate.base.runtime import Runtime
from coval_gate.ci.host import Host

NO_TERMINAL: Final = ("", "dumb")  # values of TERM


def detect_host(runtime: Runtime) -> Host:
    """Return the host of GitHub (also of Gitea, Forgejo and act), GitLab or Bitbucket, a terminal, or a plain log."""
    environ, stream = runtime.environ, runtime.stdout
    if environ.get("GITHUB_ACTIONS") == "true":
        from coval_gate.ci.github import GitHubHost

        return GitHubHost(environ, stream, runtime.randomness)
    if environ.get("GITLAB_CI") == "true":
        from coval_gate.ci.gitlab import GitLabHost

        return GitLabHost(environ, stream, runtime.clock)
    if environ.get("BITBUCKET_BUILD_NUMBER"):
        from coval_gate.ci.bitbucket import BitbucketHost

        return BitbucketHost(stream, environ)
    from coval_gate.ci.systems import system_in

    if stream.isatty() and environ.get("TERM", "") not in NO_TERMINAL and system_in(environ) is None:
        with suppress(ModuleNotFoundError):  # the image has no rich
            from coval_gate.ci.terminal import TerminalHost

            return TerminalHost(stream, environ)
    from coval_gate.ci.plain import PlainHost

    return PlainHost(stream, environ)
