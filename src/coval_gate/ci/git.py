"""What git says about the working directory, for a run on a laptop."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Final

from coval_gate.base.text import one_line
from coval_gate.ci.host import Context
from coval_gate.ci.systems import repository_of, website_of
from coval_gate.inputs.inputs import KEY_VARIABLE

LONGEST: Final = 5.0  # s for all that git says
# A foreign checkout may hold a repository whose settings name programs: git neither looks for one nor asks fsmonitor.
SETTINGS: Final = ("-c", "core.fsmonitor=false", "-c", "safe.bareRepository=explicit")
SECRET: Final = (KEY_VARIABLE, "INPUT_")  # git and what it may start need none of these variables


def read_git() -> Context:
    """Return a context without a branch: runs of a branch may be its baseline, but it is never theirs."""
    until = time.monotonic() + LONGEST
    commit = _git("rev-parse", "HEAD", until=until)
    server, repository = repository_of(_git("remote", "get-url", "origin", until=until))
    return Context(
        # A path on this machine names no repository.
        repository=repository if server else "",
        server_url=server,
        sha=commit,
        ref=_git("branch", "--show-current", until=until),
        actor=one_line(_git("config", "user.name", until=until)),
        is_local=True,
        web=website_of(server),
        # In a huge repository, git may not come to say that nothing has changed.
        is_changed=bool(commit) and _output("status", "--porcelain", "--untracked-files=no", until=until) != "",
    )


def top_directory() -> str:
    """Empty outside of a repository."""
    return _git("rev-parse", "--show-toplevel")


def origin_host() -> str:
    """Empty without a remote `origin`."""
    return repository_of(_git("remote", "get-url", "origin"))[0].removeprefix("https://")


def whole_commit(start: str) -> str:
    """Return `start` itself if git does not know the commit."""
    return _git("rev-parse", "--verify", "--quiet", f"{start}^{{commit}}") or start


def _git(*arguments: str, until: float | None = None) -> str:
    """Empty without git or a repository."""
    return _output(*arguments, until=until) or ""


def _output(*arguments: str, until: float | None = None) -> str | None:
    """None if the command fails, or takes too long."""
    left = LONGEST if until is None else until - time.monotonic()
    if left <= 0:
        return None
    command = ["git", *SETTINGS, "--no-optional-locks", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(SECRET)}
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, env=environ, capture_output=True, text=True, timeout=left, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
