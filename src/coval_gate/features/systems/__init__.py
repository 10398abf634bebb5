"""CI systems other than GitHub, and laptops. GitLab and Bitbucket have `pages`. `files` knows the workspace."""

from coval_gate.base.runtime import Runtime
from coval_gate.features.systems.bitbucket import BitbucketHost
from coval_gate.features.systems.gitlab import GitLabHost
from coval_gate.features.systems.plain import PlainHost, terminal_or_log


def detect_other(runtime: Runtime) -> PlainHost:
    if runtime.environ.get("GITLAB_CI") == "true":
        return GitLabHost(runtime)
    if runtime.environ.get("BITBUCKET_BUILD_NUMBER"):
        return BitbucketHost(runtime)
    return terminal_or_log(runtime)
