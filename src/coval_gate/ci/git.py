"""What git says about the working directory, for a run on a laptop."""

from __future__ import annotations

import subprocess

from coval_gate.ci.host import Context
from coval_gate.ci.systems import repository_of

LONGEST = 5.0  # s for one command


def read_git() -> Context:
    """Return the context of a local run: the repository, the commit and the branch as git shows them, if it does.

    A local run is of no branch: it may be compared with the runs of one, and is none of them.
    """
    commit = _git("rev-parse", "HEAD")
    server, repository = repository_of(_git("remote", "get-url", "origin"))
    return Context(
        repository=repository if server else "",  # a path on this machine names no repository
        server_url=server,
        sha=commit,
        ref=_git("branch", "--show-current"),
        actor=_git("config", "user.name"),
        is_local=True,
        is_changed=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
    )


def top_directory() -> str:
    """Return the top directory of the repository that the current directory is in; empty if it is in none."""
    return _git("rev-parse", "--show-toplevel")


def origin_host() -> str:
    """Return the host of the remote `origin`; empty without one."""
    return repository_of(_git("remote", "get-url", "origin"))[0].removeprefix("https://")


def whole_commit(start: str) -> str:
    """Return the hash of the commit whose hash has this hexadecimal start; the start itself if git does not know it."""
    return _git("rev-parse", "--verify", "--quiet", f"{start}^{{commit}}") or start


def _git(*arguments: str) -> str:
    """Return what a command of git prints; empty without git or a repository."""
    command = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, capture_output=True, text=True, timeout=LONGEST, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
