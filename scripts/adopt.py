"""Names the owner of your copy where people copy from, and says how to publish it: make adopt OWNER=acme.

Needs only Python and git. Nothing is committed, tagged or sent.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "your-org"
REPOSITORY = re.compile(rf"\b{PLACEHOLDER}(?=/coval-gate\b)")
ADVICE = re.compile(rf"Replace `{PLACEHOLDER}` with [^.,`]+, and pin\b")  # which is followed then
OWNER = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}")  # GitHub's rule
PLACES = (
    *("README.md", "docs", "examples"),
    "mkdocs.yml",
    "src/coval_gate/__init__.py",  # the workflow that `coval-gate init` writes, and links of messages
    "src/coval_sandbox/guide.py",  # the step that `make sandbox` shows
    ".github/zizmor.yml",  # what the check of the examples may find in them
)
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def adopted(text: str, owner: str) -> str:
    """Return a text in which `owner` owns Coval Gate."""
    return REPOSITORY.sub(owner, ADVICE.sub("Pin", text))


def tracked(root: Path) -> list[Path]:
    """Return the files in which people copy the owner's name."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *PLACES]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [root / name for name in listed.split("\0") if name]


def adopt(root: Path, owner: str) -> list[Path]:
    """Name the owner in these files, and return those that changed."""
    changed = []
    for path in tracked(root):
        before = path.read_bytes()
        if PLACEHOLDER.encode() not in before:
            continue  # such as a picture
        after = adopted(before.decode(), owner).encode()
        if after != before:
            path.write_bytes(after)
            changed.append(path)
    return changed


def next_steps(owner: str, version: str) -> str:
    """Return what a person has to do now."""
    tag = f"v{version}"
    return f"""\
Next:
1. Read `git diff`, and commit it. `make test PYTEST_ARGS=--update-golden` writes what `init` shows in tests/golden.
2. Push it to {owner}/coval-gate, and tag it:
     git tag --annotate {tag} --message "Coval Gate {version}"
     git push origin HEAD {tag}
3. Let others use it, in one of these ways:
   - Public: draft a release of {tag} on GitHub, and check "Publish this Action to the GitHub Marketplace". The name in
     action.yml must be free there.
   - Internal: in the repository's settings, under Actions, General, Access, allow the organization's repositories.
   - Mirror, such as on Enterprise Server: git push --mirror ADDRESS, again after each release.
4. Let workflows pin the tag's commit: a tag can be moved, and a commit cannot. This prints the commit:
     git rev-parse "{tag}^{{commit}}"
"""


def main(owner: str, root: Path = ROOT) -> int:
    """Adopt the tree at `root`, and return the exit code."""
    if not OWNER.fullmatch(owner) or owner == PLACEHOLDER:
        shown = f"; got {owner[:60]!r}" if owner else ""
        print(f"make adopt: OWNER must be the user or organization that owns your copy{shown}.", file=sys.stderr)
        print("Example: make adopt OWNER=acme", file=sys.stderr)
        return 2
    changed = adopt(root, owner)
    if not changed:
        print(f"Nothing to replace: no file names {PLACEHOLDER}/coval-gate. git log shows who adopted it.")
        return 0
    print(f"{owner} now stands in place of {PLACEHOLDER} in {len(changed)} files:")
    print("".join(f"  {path.relative_to(root)}\n" for path in changed))
    version = VERSION.search((root / "src" / "coval_gate" / "__init__.py").read_text(encoding="utf-8"))
    print(next_steps(owner, version[1] if version else "1.0.0"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("ADOPT_OWNER", "").strip()))
