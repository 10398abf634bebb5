"""Detects the host: the CI system that a step runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.ci.github.host import GitHubHost
from coval_gate.ci.plain import PlainHost

if TYPE_CHECKING:
    from coval_gate.ci.host import Host
    from coval_gate.runtime import Runtime


def detect_host(runtime: Runtime) -> Host:
    """Return GitHub's runner, also on Gitea, Forgejo and act, or else a plain terminal."""
    if runtime.environ.get("GITHUB_ACTIONS") == "true":
        return GitHubHost(runtime.environ, runtime.stdout, runtime.randomness)
    return PlainHost(runtime.stdout)
