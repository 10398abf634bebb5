"""Detects the host of a step."""

from coval_gate.base.runtime import Runtime
from coval_gate.ci.bitbucket import BitbucketHost
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.gitlab import GitLabHost
from coval_gate.ci.host import Host
from coval_gate.ci.plain import terminal_or_log


def detect_host(runtime: Runtime) -> Host:
    """Return the host of GitHub (also of Gitea, Forgejo and act), GitLab or Bitbucket, a terminal, or a plain log."""
    environ = runtime.environ
    if environ.get("GITHUB_ACTIONS") == "true":
        return GitHubHost(runtime)
    if environ.get("GITLAB_CI") == "true":
        return GitLabHost(runtime)
    if environ.get("BITBUCKET_BUILD_NUMBER"):
        return BitbucketHost(runtime)
    return terminal_or_log(runtime)
