"""Makes a tree that of a release: make release VERSION=0.1.0 DIGEST=sha256:… REGISTRY=registry.example.

It only edits files. Needs only Python and git. On a tree that is this release already, it changes nothing.
"""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from pins import ROOT, hold, identity, write_pins

VERSION: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
HOST: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?")
IMAGE_INPUT: Final = '      description: "The image of Coval Gate."'  # of GitLab's component; required until a release
UNRELEASED: Final = re.compile(r"^## (\S+) \(unreleased\)$", re.MULTILINE)


class Refused(Exception):
    """Why nothing was changed."""


def release(root: Path, version: str, digest: str, registry: str, today: date, repository: str = "") -> bool:
    """Edit the tree at `root`; return False if it is this release already. Raises Refused.

    `repository` is the one that publishes it, if it is known: the tree must name the same.
    """
    for variable, value, pattern, what in (
        ("VERSION", version, VERSION, "three numbers, such as 0.1.0"),
        ("DIGEST", digest, DIGEST, "the image's digest: sha256: and 64 hexadecimal digits"),
        ("REGISTRY", registry, HOST, "the host of the registry that has the image"),
    ):
        if not pattern.fullmatch(value):
            raise Refused(f"{variable} must be {what}; got {value[:90]!r}")
    named = identity(root).repository
    if repository and repository.lower() != named.lower():
        owner, _, name = repository.partition("/")
        raise Refused(f"this tree names {named}, not {repository}: first `make adopt OWNER={owner} NAME={name}`")
    image = f"{registry}/{named.lower()}:v{version}@{digest}"
    action = root / "action.yml"
    changelog = root / "CHANGELOG.md"
    if f"  image: docker://{image}\n" in action.read_text(encoding="utf-8"):
        return False
    if changes := _changes(root):
        raise Refused(f"the tree has changes that are not committed: {changes.splitlines()[0].strip()}")
    history = changelog.read_text(encoding="utf-8")
    if UNRELEASED.findall(history) != [version]:
        raise Refused(f"CHANGELOG.md has no heading `## {version} (unreleased)`, or another one that is not released")
    component, guide = root / "templates" / "run.yml", root / "docs" / "ci.md"
    texts = {
        component: _replaced(component, f"{IMAGE_INPUT}\n", f"{IMAGE_INPUT}\n      default: {image}\n"),
        guide: _replaced(guide, "| `image` | required |", f"| `image` | `{image}` |"),
        changelog: UNRELEASED.sub(rf"## \1 ({today})", history),
    }
    done = _replaced(action, "  image: Dockerfile\n", f"  image: docker://{image}\n")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    hold(root, __version__=version, IS_RELEASE=True)
    write_pins(root, named)
    action.write_text(done, encoding="utf-8")  # last, because it says that all is done
    return True


def _replaced(path: Path, before: str, after: str) -> str:
    text = path.read_text(encoding="utf-8")
    if text.count(before) != 1:
        raise Refused(f"{path.name} must have the line {before.strip()!r} once")
    return text.replace(before, after)


def _changes(root: Path) -> str:
    """Return what is not committed, a line each. Raises Refused without git."""
    command = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Refused("a release is a commit, but this tree is no git repository, or git is missing") from None


def main(root: Path = ROOT) -> int:
    """Return the exit code."""
    version, digest, registry, repository = (
        os.environ.get(f"RELEASE_{name}", "").strip() for name in ("VERSION", "DIGEST", "REGISTRY", "REPOSITORY")
    )
    try:
        changed = release(root, version, digest, registry, datetime.now(UTC).date(), repository)
    except Refused as why:
        print(f"make release: {why}.", file=sys.stderr)
        print("Example: make release VERSION=0.1.0 DIGEST=sha256:… REGISTRY=registry.example", file=sys.stderr)
        return 2
    print(f"This tree is version {version} now; read `git diff`." if changed else "Nothing to change.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
