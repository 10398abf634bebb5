"""Detects the host of a step. Only the code of that host is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_gate.base.runtime import Runtime
    from coval_gate.ci.host import Host


def detect_host(runtime: Runtime) -> Host:
    """Return GitHub's runner, also on Gitea, Forgejo and act, a job of GitLab, or else a plain terminal."""
    environ = runtime.environ
    if environ.get("GITHUB_ACTIONS") == "true":
        from coval_gate.ci.github.host import GitHubHost

        return GitHubHost(environ, runtime.stdout, runtime.randomness)
    if environ.get("GITLAB_CI") == "true":
        from coval_gate.ci.gitlab.host import GitLabHost

        return GitLabHost(environ, runtime.stdout, runtime.clock)
    from coval_gate.ci.plain import PlainHost

    return PlainHost(runtime.stdout, environ)
