"""Finds out where the running code was installed from (PEP 610), so that the files of `init` name that place."""

import json
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from coval_gate import REPOSITORY
from coval_gate.features.systems.plain import commit_of, published_at
from coval_gate.features.systems.variables import repository_of

GITHUB: Final = "https://github.com"
SHA: Final = re.compile(r"[0-9a-f]{40}")
# Without characters that have a meaning in a file
PLACE: Final = re.compile(r"https://[\w.:-]+(/[\w.-]+){2,}", re.ASCII)


class Installation(NamedTuple):
    """`commit`: the SHA of the installed version at this repository; empty if it is not known to be there."""

    server: str = GITHUB
    repository: str = REPOSITORY
    commit: str = ""


def installed_commit() -> str:
    """Return the commit of the checkout, or of the installation; empty if it is unknown."""
    return _installation()[0]


def find_installation() -> Installation:
    """Return the place that this package names itself, without a commit, if the installation names no other one."""
    commit, address = _installation()
    server, repository = repository_of(address)
    if not (SHA.fullmatch(commit) and PLACE.fullmatch(f"{server}/{repository}")):
        return Installation()
    return Installation(server, repository, commit)


def _installation() -> tuple[str, str]:
    """Return the commit and the address of its repository; a directory's is that of its origin."""
    directory, address = Path(__file__).resolve().parents[2], ""
    commit = commit_of(directory)
    if not commit:
        with suppress(PackageNotFoundError, LookupError, TypeError, ValueError):
            origin = json.loads(distribution("coval-gate").read_text("direct_url.json") or "")
            address = origin["url"]
            commit = origin.get("vcs_info", {}).get("commit_id", "")
            if address.startswith("file://"):
                directory, address = Path(unquote(urlsplit(address).path)).resolve(), ""
                commit = commit or commit_of(directory)
    return commit, address or (published_at(directory, commit) if commit else "")
