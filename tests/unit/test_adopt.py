"""`make adopt`, on a copy of the tree: it names the owner where people copy from, and changes nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from coval_gate import REPOSITORY, __version__

pytestmark = pytest.mark.skipif(not REPOSITORY.startswith("your-org/"), reason="this copy has an owner")
ROOT = Path(__file__).resolve().parents[2]
STEPS = re.compile(r"[\w-]+(?=/coval-gate@v)")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with all tracked files."""
    directory = tmp_path_factory.mktemp("copy") / "coval gate"
    for name in git(ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git(directory, "init", "--quiet")
    git(directory, "add", "--all", "--force")
    return directory


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def adopt(directory: Path, owner: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "--directory", str(directory), f"PYTHON={sys.executable}", "adopt", f"OWNER={owner}"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, capture_output=True, text=True, env=environ)


@pytest.mark.parametrize("owner", ["", "your-org", "-acme", "acme/x", "a--b", "x" * 40, "$(touch x)", "acme;id", "é"])
def test_owner_must_be_a_name_on_github(owner: str, copy: Path) -> None:
    done = adopt(copy, owner)
    assert done.returncode != 0
    assert "make adopt: OWNER must be the user or organization" in done.stderr
    assert git(copy, "diff", "--name-only") == ""


def test_owner_is_named_where_people_copy_from_and_nowhere_else(copy: Path) -> None:
    done = adopt(copy, "acme-voice")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        changed = git(copy, "diff", "--name-only").splitlines()
        assert sorted(re.findall(r"^  (\S+)$", done.stdout, re.MULTILINE)) == sorted(changed)
        removed, added = (
            [
                line[1:]
                for line in git(copy, "diff", "--unified=0").splitlines()
                if re.match(rf"[{sign}](?![{sign}])", line)
            ]
            for sign in ("-", "+")
        )
        assert len(removed) == len(added)
        for before, after in zip(removed, added, strict=True):
            expected = before.replace("your-org/coval-gate", "acme-voice/coval-gate")
            assert re.sub(r"Replace `your-org` with .*?, and pin", "Pin", expected) in (after, expected)
        public = [copy / "README.md", *(copy / "docs").rglob("*.md"), *(copy / "examples").rglob("*.*")]
        texts = {path: path.read_text(encoding="utf-8") for path in public if path.is_file()}
        assert not [str(path) for path, text in texts.items() if "your-org" in text]
        owners = {owner for path in public for owner in STEPS.findall(texts.get(path, ""))}
        assert owners == {"acme-voice"}
        for path in (copy / "examples").glob("*.yml"):
            assert YAML(typ="safe").load(texts[path])["jobs"]
        again = adopt(copy, "acme-voice")
        assert (again.returncode, again.stdout.split(":")[0]) == (0, "Nothing to replace")
    finally:
        git(copy, "checkout", "--", ".")


def test_next_steps_name_the_tag_of_this_version(copy: Path) -> None:
    done = adopt(copy, "acme")
    git(copy, "checkout", "--", ".")
    assert f"git push origin HEAD v{__version__}\n" in done.stdout
    assert f'git rev-parse "v{__version__}^{{commit}}"\n' in done.stdout
    assert "Marketplace" in done.stdout
    assert "--mirror" in done.stdout


def test_placeholder_stands_only_where_adopt_replaces_it() -> None:
    """Other files derive it, or are about it: the sentence of `init`, golden files, this test and the script."""
    about = (
        "tests/conftest.py",
        "scripts/adopt.py",
        "tests/unit/test_adopt.py",
        "src/coval_gate/init/command.py",
        "CHANGELOG.md",
        "Makefile",
    )
    places = ("README.md", "docs/", "examples/", "mkdocs.yml", ".github/zizmor.yml", "tests/golden/")
    code = ("src/coval_gate/__init__.py", "src/coval_sandbox/guide.py")
    named = git(ROOT, "grep", "--name-only", "--fixed-strings", "your-org").splitlines()
    assert [path for path in named if not path.startswith((*places, *code, *about))] == []
