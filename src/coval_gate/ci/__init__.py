"""Detects the host of a step."""

from coval_gate.base.runtime import Runtime
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.host import Host


def detect_host(runtime: Runtime) -> Host:
    """Return the host of GitHub (also of Gitea, Forgejo and act), GitLab or Bitbucket, a terminal, or a plain log."""
    if runtime.environ.get("GITHUB_ACTIONS") == "true":
        return GitHubHost(runtime)
    from coval_gate.features.systems import detect_other

    return detect_other(runtime)
