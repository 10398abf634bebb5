"""`make adopt` and `make release`, on a copy of the tree: what they edit, leave and refuse."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from ruamel.yaml import YAML

from coval_gate import IS_RELEASE, PIN, REPOSITORY, __version__

pytestmark = pytest.mark.skipif(
    IS_RELEASE or not REPOSITORY.startswith("your-org/"), reason="this copy has an owner, or is a release"
)
ROOT: Final = Path(__file__).resolve().parents[2]
DIGEST: Final = "sha256:" + "5e" * 32
RELEASE: Final = {"VERSION": __version__, "DIGEST": DIGEST, "REGISTRY": "registry.example:5000"}
IMAGE: Final = f"registry.example:5000/your-org/coval-gate:v{__version__}@{DIGEST}"
GH: Final = """\
#!/bin/sh
set -eu
[ -z "${GH_FAILS:-}" ] || exit 1
release=DIRECTORY/releases/$3
case $2 in
    view) [ -e "$release" ] && if grep -qx draft "$release"; then echo true; else echo false; fi ;;
    create) [ ! -e "$release" ] && { echo "$@"; cat; } >"$release" ;;
    delete) rm "$release" ;;
esac
"""
FIX: Final = f"{PIN[1:]}.99"  # a later version of the same minor version
MOVING: Final = f"refs/tags/{PIN}"
BRANCH: Final = f"refs/heads/releases/{PIN}"
STEPS: Final = re.compile(r"([\w.-]+/[\w.-]+)@(v[\w.]+)")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that has all tracked files, in one commit."""
    directory = tmp_path_factory.mktemp("copy") / "coval gate"
    for name in git(ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git(directory, "init", "--quiet", "--initial-branch", "main")
    git(directory, "add", "--all", "--force")
    commit(directory)
    return directory


@pytest.fixture
def copy(repository: Path) -> Iterator[Path]:
    first = git(repository, "rev-parse", "HEAD").strip()
    yield repository
    git(repository, "checkout", "--quiet", "--force", "-B", "main", first)
    git(repository, "clean", "--quiet", "-d", "--force")


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=Mona", "-c", "user.email=mona@example.com", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def commit(directory: Path) -> None:
    git(directory, "commit", "--quiet", "--all", "--no-verify", "--message", "All")


def make(directory: Path, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    values = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "--silent", "--directory", str(directory), f"PYTHON={sys.executable}", target, *values]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, capture_output=True, text=True, env=environ)


def script(name: str) -> dict[str, Any]:
    """Return what a script defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


def changed(directory: Path) -> list[str]:
    return git(directory, "diff", "--name-only").splitlines()


def replaced(directory: Path, *, added: str = "", besides: str = "none") -> list[tuple[str, str]]:
    """Return each line that differs from the commit, as it was and as it is, without the one that was `added`."""
    diff = git(directory, "diff", "--unified=0", "--", ".", f":!{besides}")
    lines = [line for line in diff.splitlines() if line != f"+{added}"]
    old, new = ([line[1:] for line in lines if re.match(rf"[{sign}](?![{sign}])", line)] for sign in ("-", "+"))
    return list(zip(old, new, strict=True))


def test_owner_and_name_must_fit_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopt = script("adopt")["main"]
    for owner in ("", "your-org", "-acme", "acme/x", "a--b", "x" * 40, "acme;id", "é"):
        assert adopt(owner, "voice-gate", tmp_path) == 2
        assert "make adopt: OWNER must be the user or organization" in capsys.readouterr().err
    for name in ("", "..", "x.git", "a/b", "a b", "x" * 101):
        assert adopt("acme", name, tmp_path) == 2
        assert "make adopt: NAME must be your copy's name on GitHub" in capsys.readouterr().err


def test_name_within_a_longer_one_stays() -> None:
    pins = script("pins")
    text = "acme/voice@v0.1 acme/voice.git#v0.1 acme/voice/wiki acme/voice-agent x-acme/voice acme/voice."
    expected = "beta/gate@v0.2 beta/gate.git#v0.2 beta/gate/wiki acme/voice-agent x-acme/voice beta/gate."
    assert pins["pinned"](text, pins["Identity"]("beta/gate", "0.2.0", "v0.2", "main"), "acme/voice") == expected


def test_variables_are_no_commands(copy: Path) -> None:
    text = "$(touch x)`touch x`"
    adopt = make(copy, "adopt", OWNER=text)
    release = make(copy, "release", **RELEASE | {"VERSION": text})
    assert adopt.returncode
    assert release.returncode
    assert (adopt.stdout, release.stdout, changed(copy), (copy / "x").exists()) == ("", "", [], False)


@pytest.mark.parametrize("name", ["coval-gate", "voice-gate"])
def test_owner_and_name_stand_where_people_copy_from_and_nowhere_else(name: str, copy: Path) -> None:
    ours = f"acme-voice/{name}"
    done = make(copy, "adopt", OWNER="acme-voice", NAME=name)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(re.findall(r"^  (\S+)$", done.stdout, re.MULTILINE)) == sorted(changed(copy))
    for before, after in replaced(copy):
        expected = before.replace("your-org/coval-gate", ours)
        assert re.sub(r"Replace `your-org` with .*?, and pin", "Pin", expected) in (after, expected)
    public = [copy / "README.md", *(copy / "docs").rglob("*.md"), *(copy / "examples").rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in public]
    assert not [path for path, text in zip(public, texts, strict=True) if "your-org" in text]
    assert {found for text in texts for found, pin in STEPS.findall(text) if pin == PIN} == {ours, "coval-gate/run"}
    for path in (copy / "examples").glob("*.yml"):
        assert YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"]
    assert make(copy, "adopt", OWNER="acme-voice", NAME=name).stdout.startswith("Nothing to replace")
    make(copy, "adopt", OWNER="other", NAME="gate")
    assert not [path for path in changed(copy) if ours in (copy / path).read_text(encoding="utf-8")]


def test_later_changes_merge_with_a_copy_that_has_an_owner(copy: Path) -> None:
    """Upstream's pins do not change within a minor version, and `make render` names the owner in what is new."""
    first = git(copy, "rev-parse", "HEAD").strip()
    make(copy, "adopt", OWNER="acme", NAME="voice-gate")
    commit(copy)
    adopted = git(copy, "rev-parse", "HEAD").strip()
    git(copy, "checkout", "--quiet", "--detach", first)
    for name in ("CHANGELOG.md", "src/coval_gate/__init__.py", "README.md"):
        path = copy / name
        path.write_text(path.read_text(encoding="utf-8").replace(__version__, "9.9.9") + "\n", encoding="utf-8")
    (copy / "examples" / "new.yml").write_text("- uses: your-org/coval-gate@v0.1\n", encoding="utf-8")
    git(copy, "add", "examples/new.yml")
    commit(copy)
    newer = git(copy, "rev-parse", "HEAD").strip()
    git(copy, "reset", "--quiet", "--hard", adopted)
    git(copy, "merge", "--quiet", "--no-edit", newer)
    assert 'REPOSITORY = "acme/voice-gate"' in (copy / "src/coval_gate/__init__.py").read_text(encoding="utf-8")
    script("pins")["write_pins"](copy)
    assert (copy / "examples" / "new.yml").read_text(encoding="utf-8") == "- uses: acme/voice-gate@v9.9\n"


def test_release_names_its_version_wherever_people_copy_from(copy: Path) -> None:
    done = make(copy, "release", **RELEASE)
    assert (done.returncode, done.stderr) == (0, "")
    for before, after in replaced(copy, added=f"      default: {IMAGE}", besides="examples/ci"):
        wanted = before.replace("coval-gate@main", f"coval-gate@v{__version__}")
        wanted = wanted.replace("/latest/download/", f"/download/v{__version__}/")
        special = ("IS_RELEASE = ", "  image: ", "`image` (by default, ", f"## {__version__} (")
        assert after in (wanted, before) or after.startswith(special), after
    action = YAML(typ="safe").load((copy / "action.yml").read_text(encoding="utf-8"))
    assert action["runs"] == {
        "using": "docker",
        "image": f"docker://{IMAGE}",
        "entrypoint": "/app/entrypoint.py",
        "post-entrypoint": "/app/post_entrypoint.py",
    }
    component, _ = YAML(typ="safe").load_all((copy / "templates/run.yml").read_text(encoding="utf-8"))
    assert component["spec"]["inputs"]["image"]["default"] == IMAGE
    assert re.search(rf"^## {__version__} \(\d{{4}}-\d\d-\d\d\)$", (copy / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"your-org/coval-gate@{PIN}" in (copy / "README.md").read_text(encoding="utf-8")
    commit(copy)
    again = make(copy, "release", **RELEASE)
    assert (again.returncode, again.stdout) == (0, "Nothing to change.\n")
    assert changed(copy) == []


def test_pipelines_of_a_release_start_from_its_image_and_run_the_same(copy: Path) -> None:
    before = pipelines(copy)
    make(copy, "release", **RELEASE)
    image = IMAGE.replace(f":v{__version__}", "")
    for name, text in pipelines(copy).items():
        assert len(re.findall(rf"(?:image:?|container:) '?{image}'? (?:#|//) v{__version__}$", text, re.MULTILINE)) == 1
        assert not re.search(r"pip install|uvx|docker build|python", text), name
        commands = r"coval-gate (?:run\b(?:.|\n)*?--html-path .*|post\b)"
        assert re.findall(commands, text) == re.findall(commands, before[name]) != [], name
        assert ("exec coval-gate run" in text) == (name == "buildkite.yml"), "its cancellation is a signal to the shell"
        if name != "Jenkinsfile":
            YAML(typ="safe").load(text)


def pipelines(copy: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (copy / "examples" / "ci").iterdir()}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"DIGEST": ""}, "DIGEST must be"),
        ({"DIGEST": DIGEST[:-1]}, "DIGEST must be"),
        ({"VERSION": "v1.2.3"}, "VERSION must be three numbers"),
        ({"VERSION": "01.2.3"}, "VERSION must be three numbers"),
        ({"VERSION": "9.9.9"}, "CHANGELOG.md has no heading `## 9.9.9 (unreleased)`"),
        ({"REGISTRY": "https://x"}, "REGISTRY must be"),
    ],
)
def test_release_without_what_it_needs_changes_nothing(change: dict[str, str], why: str, copy: Path) -> None:
    release = script("release")
    with pytest.raises(release["Refused"]) as refused:
        release["release"](copy, *(RELEASE | change).values(), date(2026, 12, 1))
    assert str(refused.value).startswith(why)
    assert changed(copy) == []


def test_release_of_a_copy_that_was_not_adopted_is_refused(copy: Path) -> None:
    """Its action.yml would name an image of another owner, or one that does not exist."""
    done = make(copy, "release", **RELEASE, REPOSITORY="Acme/voice-gate")
    assert "first `make adopt OWNER=Acme NAME=voice-gate`" in done.stderr
    assert (done.returncode, changed(copy)) == (2, [])
    assert make(copy, "release", **RELEASE, REPOSITORY="Your-Org/coval-gate").returncode == 0


def test_release_of_a_dirty_tree_is_refused(copy: Path) -> None:
    (copy / "new.txt").touch()
    done = make(copy, "release", **RELEASE)
    assert "make release: the tree has changes that are not committed: ?? new.txt" in done.stderr
    assert changed(copy) == []


class Origin(NamedTuple):
    """A bare repository, with a `gh` that records its calls. `releases` holds a file for each release."""

    bare: Path
    directory: Path
    releases: Path


@pytest.fixture
def origin(copy: Path, tmp_path: Path) -> Origin:
    made = Origin(tmp_path / "origin.git", tmp_path, tmp_path / "releases")
    git(copy, "clone", "--quiet", "--bare", str(copy), str(made.bare))
    for name in ("programs", "dist", "releases"):
        (tmp_path / name).mkdir()
    (tmp_path / "dist" / "coval_gate.whl").touch()
    gh = tmp_path / "programs" / "gh"
    gh.write_text(GH.replace("DIRECTORY", str(tmp_path)), encoding="utf-8")
    gh.chmod(0o755)
    return made


def test_releases_follow_each_other_on_their_branch(origin: Origin) -> None:
    """The branch is never forced, the tag of the minor version moves, and a version is released once."""
    first = publish(origin, __version__)
    assert (first.returncode, first.stderr) == (0, "")
    heads = refs(origin)
    assert heads[BRANCH] == heads[f"refs/tags/v{__version__}"] == heads[MOVING]
    (image,) = re.findall(r"image: (.*)", git(origin.bare, "show", f"{PIN}:action.yml"))
    assert image == f"docker://{IMAGE}"
    assert "image: Dockerfile" in git(origin.bare, "show", "HEAD:action.yml")
    called = (origin.releases / f"v{__version__}").read_text(encoding="utf-8")
    assert called.startswith(f"release create v{__version__} --verify-tag --latest=true")
    assert "### Added" in called
    assert f"## {__version__}" not in called
    assert sorted(path.name for path in (origin.directory / "dist").iterdir()) == ["SHA256SUMS", "coval_gate.whl"]

    main = next_version(origin, FIX)
    assert publish(origin, FIX).returncode == 0
    later = refs(origin)
    assert later[f"refs/tags/v{__version__}"] == heads[f"refs/tags/v{__version__}"]
    assert later[f"refs/tags/v{FIX}"] == later[MOVING] == later[BRANCH] != heads[MOVING]
    parents = git(origin.bare, "log", "-1", "--format=%P", PIN).split()
    assert parents == [heads[BRANCH], main]
    assert "SHA256SUMS" not in (origin.directory / "dist" / "SHA256SUMS").read_text(encoding="utf-8")

    again = publish(origin, __version__, at=main)
    assert (again.returncode, refs(origin)) == (1, later)
    assert f"The tag v{__version__} exists" in again.stderr
    other_image = publish(origin, FIX, digest="sha256:" + "6f" * 32)
    assert (other_image.returncode, refs(origin)) == (1, later)


@pytest.mark.parametrize("left", ["nothing", "draft", "release"])
def test_release_that_was_interrupted_is_completed(left: str, origin: Origin) -> None:
    """GitHub runs the failed job again, after the tag has been pushed."""
    assert publish(origin, __version__, GH_FAILS="1").returncode != 0
    tag = f"v{__version__}"
    pushed = refs(origin)
    assert pushed[f"refs/tags/{tag}"] == pushed[BRANCH]
    assert MOVING not in pushed
    if left != "nothing":
        (origin.releases / tag).write_text(left, encoding="utf-8")
    done = publish(origin, __version__)
    assert (done.returncode, done.stderr) == (0, "")
    assert refs(origin) == pushed | {MOVING: pushed[f"refs/tags/{tag}"]}
    assert (
        (origin.releases / tag)
        .read_text(encoding="utf-8")
        .startswith("release" if left == "release" else "release create")
    )
    assert publish(origin, __version__).returncode == 0


def test_smaller_version_leaves_branch_and_tag_of_the_newest(origin: Origin) -> None:
    first = git(origin.bare, "rev-parse", "HEAD").strip()
    main = next_version(origin, FIX)
    assert publish(origin, FIX, at=main).returncode == 0
    newest = refs(origin)
    older = publish(origin, __version__, at=first)
    assert (older.returncode, older.stderr) == (0, "")
    assert refs(origin).items() - newest.items() == {
        (f"refs/tags/v{__version__}", refs(origin)[f"refs/tags/v{__version__}"])
    }
    assert refs(origin)[MOVING] == newest[MOVING]
    assert "--latest=false" in (origin.releases / f"v{__version__}").read_text(encoding="utf-8")
    assert git(origin.bare, "log", "-1", "--format=%P", f"v{__version__}").split() == [first]


def test_next_minor_version_leaves_branch_and_tag_of_the_one_before(origin: Origin) -> None:
    assert publish(origin, __version__).returncode == 0
    before = refs(origin)
    main = next_version(origin, "0.99.0")
    assert publish(origin, "0.99.0", at=main).returncode == 0
    added = refs(origin).items() - before.items()
    released = refs(origin)["refs/tags/v0.99.0"]
    assert added == {
        *(("refs/tags/v0.99.0", released), ("refs/tags/v0.99", released)),
        *(("refs/heads/releases/v0.99", released), ("refs/heads/main", main)),
    }
    assert git(origin.bare, "log", "-1", "--format=%P", "v0.99").split() == [main]


def test_nothing_is_pushed_if_the_branch_has_moved_meanwhile(origin: Origin) -> None:
    assert publish(origin, __version__).returncode == 0
    main = next_version(origin, FIX)
    before = refs(origin)
    hook = origin.bare / "hooks" / "pre-receive"  # as if another push had come first
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    assert publish(origin, FIX, at=main).returncode != 0
    assert refs(origin) == before
    assert not (origin.releases / f"v{FIX}").exists()


def next_version(origin: Origin, version: str) -> str:
    """Move main to a version, and return its commit."""
    main = Path(tempfile.mkdtemp(dir=origin.directory)) / "main"
    git(origin.bare, "clone", "--quiet", str(origin.bare), str(main))
    changelog = main / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8").replace(" (unreleased)", " (2026-12-01)")
    changelog.write_text(text.replace("## ", f"## {version} (unreleased)\n\n- Less.\n\n## ", 1), encoding="utf-8")
    commit(main)
    git(main, "push", "--quiet", "origin", "HEAD")
    return git(main, "rev-parse", "HEAD").strip()


def publish(
    origin: Origin, version: str, *, at: str = "HEAD", digest: str = DIGEST, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Do in a new clone what release.yml does once the image has been pushed."""
    clone = Path(tempfile.mkdtemp(dir=origin.directory)) / "clone"
    git(origin.bare, "clone", "--quiet", str(origin.bare), str(clone))
    git(clone, "checkout", "--quiet", "--detach", at)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environ |= {"PATH": f"{origin.directory / 'programs'}:{os.environ['PATH']}", "REGISTRY": RELEASE["REGISTRY"]}
    environ |= {"GH_TOKEN": "t", "GITHUB_REPOSITORY": "Your-Org/coval-gate", **variables}
    command = [str(clone / "scripts" / "publish"), version, digest, str(origin.directory / "dist")]
    return subprocess.run(command, capture_output=True, text=True, env=environ)


def refs(origin: Origin) -> dict[str, str]:
    listed = git(origin.bare, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split() for line in listed)
