"""Names your copy where people copy from, and shows how to publish it: make adopt OWNER=acme NAME=voice-gate.

Needs only Python. Nothing is committed, tagged or sent.
"""

import os
import re
import sys
from pathlib import Path
from typing import Final

from pins import IDENTITY_FILE, PLACEHOLDER, ROOT, identity, set_identity, write_pins

OWNER: Final = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}")  # GitHub's rules
NAME: Final = re.compile(r"(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}")


def next_steps(repository: str, version: str) -> str:
    """Return the steps that a person must do next."""
    return f"""\
Next:
1. Read `git diff`, and commit it. After a merge of later changes, `make render` names {repository} in what is new.
   An archive has no history to merge with: clone the repository, and adopt the clone.
2. Push it to {repository}. In its settings, under Secrets and variables, Actions, Variables, set REGISTRY to the host
   of GitHub's own container registry: a release requires it. docs/releasing.md, under Once, lists the other
   settings: immutable releases, and rules for branches and tags.
3. Start the first release:
     git tag release/{version}
     git push origin HEAD release/{version}
4. Make it available to others in one of these ways:
   - Public: edit the release on GitHub, and check "Publish this Action to the GitHub Marketplace". The name in
     action.yml must be free there.
   - Internal: in the repository's settings, under Actions, General, Access, allow the organization's repositories.
   - Mirror, such as on Enterprise Server: git push --mirror ADDRESS, again after each release.
"""


def main(owner: str, name: str, root: Path = ROOT) -> int:
    """Adopt the tree at `root`, and return the exit code."""
    for variable, value, pattern, what in (
        ("OWNER", owner, OWNER, "the user or organization that owns your copy"),
        ("NAME", name, NAME, "your copy's name on GitHub"),
    ):
        if not pattern.fullmatch(value) or value == PLACEHOLDER.partition("/")[0]:
            shown = f"; got {value[:60]!r}" if value else ""
            print(f"make adopt: {variable} must be {what}{shown}.", file=sys.stderr)
            print("Example: make adopt OWNER=acme NAME=voice-gate", file=sys.stderr)
            return 2
    before, repository = identity(root), f"{owner}/{name}"
    set_identity(root, REPOSITORY=repository)
    changed = write_pins(root, before.repository)
    if before.repository == repository and not changed:
        print(f"Nothing to replace: this copy already names {repository}.")
        return 0
    print(f"Replaced {before.repository} by {repository} in {len(changed) + 1} files:")
    print("".join(f"  {path.relative_to(root)}\n" for path in [root / IDENTITY_FILE, *changed]))
    print(next_steps(repository, before.version), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("ADOPT_OWNER", "").strip(), os.environ.get("ADOPT_NAME", "").strip() or "coval-gate"))
