"""Detects the host of a step. Only the code of that host is loaded."""

from importlib import import_module

from coval_gate.base.runtime import Runtime
from coval_gate.ci.host import Host


def detect_host(runtime: Runtime) -> Host:
    """Return the host of GitHub (also of Gitea, Forgejo and act), GitLab or Bitbucket, a terminal, or a plain log."""
    environ = runtime.environ
    if environ.get("GITHUB_ACTIONS") == "true":
        module, make = "github", "GitHubHost"
    elif environ.get("GITLAB_CI") == "true":
        module, make = "gitlab", "GitLabHost"
    elif environ.get("BITBUCKET_BUILD_NUMBER"):
        module, make = "bitbucket", "BitbucketHost"
    else:
        module, make = "plain", "terminal_or_log"
    host: Host = getattr(import_module(f"{__name__}.{module}"), make)(runtime)
    return host
