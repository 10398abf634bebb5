"""Turns this tree into a release: make release VERSION=0.1.0 DIGEST=sha256:… REGISTRY=registry.example.

It only edits files, and needs only Python and git. If the tree already is this release, it changes nothing.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from pins import ROOT, identity, set_identity, write_pins

VERSION: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
HOST: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?")
IMAGE_INPUT: Final = '      description: "The image of Coval Gate."'  # of GitLab's component; required until a release
# What a release replaces in the files of examples/ci/, so that each starts from the image: patterns that match once.
PIPELINES: Final = {
    "Jenkinsfile": (
        (r", and the image on the node:\n//   docker build .*", "."),
        (r"image 'coval-gate'", "image 'IMAGE' // TAG"),
    ),
    "azure-pipelines.yml": (
        (
            r"    steps:\n +- task: UsePythonVersion(?:.*\n)+?(?= +- script: \|)",
            "    container: IMAGE # TAG\n    steps:\n",
        ),
    ),
    "bitbucket-pipelines.yml": (
        (r"image: python:.*", "image: IMAGE # TAG"),
        (r" +- >-\n +pip install (?:.*\n)+?(?= +- >-)", ""),
    ),
    "buildkite.yml": (
        (r"and uv on the agent", "and Docker on the agent"),
        # With exec, the shell does not stand between Docker's signals and the command.
        (r">-\n( +)uvx --from \S+ coval-gate run", r">- # exec: a cancellation must reach it\n\1exec coval-gate run"),
        (r"\n(?= +artifact_paths:)", "\nPLUGIN"),
    ),
    "circleci.yml": (
        (r"image: cimg/python:.*", "image: IMAGE # TAG"),
        (r" +- run:\n +name: Install (?:.*\n)+?(?= +- run:)", ""),
    ),
    "gitlab-ci.yml": (
        (r"image: python:.*", "image: IMAGE # TAG"),
        (r" +before_script:\n(?:.*\n)+?(?= +script:)", ""),
    ),
}
PLUGIN: Final = """\
    plugins:
      - docker#v5.13.0:
          image: IMAGE # TAG
          environment:
            - COVAL_API_KEY
          propagate-environment: true
          propagate-uid-gid: true
"""
UNRELEASED: Final = re.compile(r"^## (\S+) \(unreleased\)$", re.MULTILINE)


class Refused(Exception):
    """The reason why nothing was changed."""


def release(root: Path, version: str, digest: str, registry: str, today: date, repository: str = "") -> bool:
    """Edit the tree at `root`; return False if it already is this release. Raises Refused.

    `repository`: the one that publishes the release, if known. The tree must name the same one.
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
        guide: _replaced(guide, "`image` (required)", f"`image` (by default, `{image}`)"),
        changelog: UNRELEASED.sub(rf"## \1 ({today})", history),
    }
    for name, replacements in PIPELINES.items():
        path = root / "examples" / "ci" / name
        # Not every system reads a tag beside a digest.
        texts[path] = _started_from(f"{registry}/{named.lower()}@{digest}", f"v{version}", path, replacements)
    done = _replaced(action, "  image: Dockerfile\n", f"  image: docker://{image}\n")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    set_identity(root, __version__=version, IS_RELEASE=True)
    write_pins(root, named)
    action.write_text(done, encoding="utf-8")  # last, because it marks the release as complete
    return True


def _replaced(path: Path, before: str, after: str) -> str:
    text = path.read_text(encoding="utf-8")
    if text.count(before) != 1:
        raise Refused(f"{path.name} must have the line {before.strip()!r} once")
    return text.replace(before, after)


def _started_from(image: str, tag: str, path: Path, replacements: Iterable[tuple[str, str]]) -> str:
    """Return a pipeline that starts from the image. Raises Refused."""
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in replacements:
        after = replacement.replace("PLUGIN", PLUGIN).replace("IMAGE", image).replace("TAG", tag)
        text, count = re.subn(pattern, after, text)
        if count != 1:
            raise Refused(f"{path.name} must have {pattern!r} once")
    return text


def _changes(root: Path) -> str:
    """Return what is not committed, a line each. Raises Refused without git."""
    command = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Refused("a release is a commit, but this tree is not a git repository, or git is missing") from None


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
