"""Paths of files in the workspace must not lead outside."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coval_gate.base.errors import RunnerError
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.host import Host
from coval_gate.features.files.workspace import Workspace
from coval_gate.features.systems.plain import PlainHost
from hostile import NAMED
from support import host_of

OUTSIDE_TEXT = "a file outside the workspace"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Create a workspace, and next to it a directory with a file that must not change."""
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text(OUTSIDE_TEXT, encoding="utf-8")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would open one more
    yield tmp_path / "work"
    assert len(os.listdir("/proc/self/fd")) == before, "all files are closed"  # noqa: PTH208
    assert (tmp_path / "outside" / "file").read_text(encoding="utf-8") == OUTSIDE_TEXT
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["file"]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink()) == ["outside", "work"]


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace(str(root))


def files(root: Path) -> list[str]:
    """Return the paths in the workspace, except directories."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("reports/junit.xml", "reports/junit.xml"),
        ("./a//b/./c.xml", "a/b/c.xml"),
        ("a/.hidden/..x/...", "a/.hidden/..x/..."),
        ("a\\..\\b", "a\\..\\b"),
        ("{root}/a/b.xml", "a/b.xml"),
        ("directory/" * 200 + "a", "directory/" * 200 + "a"),
        ("ü" * 127, "ü" * 127),
    ],
    ids=lambda text: text[:20],
)
def test_path_in_workspace_is_written(path: str, place: str, workspace: Workspace, root: Path) -> None:
    path = path.replace("{root}", str(root))
    assert workspace.prepare(path) == place
    assert files(root) == []
    assert (root / place).parent.is_dir()
    workspace.write(place, "text – ü")
    assert files(root) == [place]
    assert (root / place).read_bytes() == "text – ü".encode()
    assert workspace.prepare(path) == place
    assert (root / place).read_bytes() == "text – ü".encode()


@pytest.fixture
def crowded(root: Path) -> Path:
    """Return the workspace with a directory, a file, and links that lead in and out of it."""
    (root / "a").mkdir()
    (root / "a" / "file").write_text("mine", encoding="utf-8")
    (root / "link").symlink_to(root.parent / "outside" / "file")
    (root / "dangling").symlink_to(root.parent / "outside" / "new")
    (root / "linked").symlink_to(root.parent / "outside")
    (root / "a" / "linked").symlink_to("../../outside")
    (root / "within").symlink_to("a/file")
    (root / "up").symlink_to("..")
    return root


REFUSED = {
    "must be a file in the workspace": [
        *("..", "../outside/file", "a/../../outside/file", "a/../b", "a/..", "./..", "/etc/passwd", "//etc/passwd"),
        *("{root}/../outside/file", "{root}-other/file", "{root}/..", "{root}", "{root}/", "", ".", "/", "b/", "b//"),
        *("./", "a/"),
    ],
    "must not be a file of git's": [".git/hooks/pre-commit", "sub/.git/config", ".GIT/config", ".git"],
    "must not lead through a symbolic link": [
        *("link", "dangling", "linked/file", "linked/new", "a/linked/new", "within", "up/work/new", "a/file/b"),
    ],
    "must be a regular file": ["a"],
    "File name too long": ["x" * 256, "ü" * 128, f"{'x' * 256}/a"],
}


@pytest.mark.parametrize(("problem", "path"), [(why, path) for why, paths in REFUSED.items() for path in paths])
def test_refused_path_is_error_and_nothing_is_read_or_written(
    problem: str, path: str, workspace: Workspace, crowded: Path
) -> None:
    """A file of a foreign checkout may choose the path; a hook of git's stays a program when it is replaced."""
    before = files(crowded)
    path = path.replace("{root}", str(crowded))
    if "git" not in problem:
        with pytest.raises(ValueError, match=f"^must .*{problem.removeprefix('must ')}"):
            workspace.read(path, 1024)
    with pytest.raises(ValueError, match=problem) as caught:
        workspace.prepare(path)
    assert str(caught.value).startswith("must ")
    assert len(str(caught.value)) < 300
    with suppress(ValueError):
        assert not workspace.create(path, "text")
    if "link" in problem:
        with pytest.raises(RunnerError, match="cannot be written"):
            workspace.write(path, "text")
    assert files(crowded) == before
    assert (crowded / "a" / "file").read_text(encoding="utf-8") == "mine"
    assert workspace.prepare(".gitlab/report.html") == ".gitlab/report.html"


@pytest.mark.parametrize("target", ["../outside/file", "../outside/new", "../outside"])
def test_file_or_directory_replaced_by_link_after_prepare_is_error(
    target: str, workspace: Workspace, root: Path
) -> None:
    """Background processes of other steps, or an agent under test, may write into the workspace."""
    place = workspace.prepare("reports/junit.xml")
    if target == "../outside":
        (root / "reports").rmdir()
        (root / "reports").symlink_to(target)
    else:
        (root / "reports" / "junit.xml").symlink_to(Path("..") / target)
    with pytest.raises(RunnerError) as caught:
        workspace.write(place, "text")
    assert caught.value.what.startswith("The file reports/junit.xml cannot be written: ")
    assert caught.value.advice


@pytest.mark.parametrize("path", ["./prompts//agent.md", "{root}/prompts/agent.md"])
def test_existing_file_is_read_up_to_a_limit(path: str, workspace: Workspace, root: Path) -> None:
    (root / "prompts").mkdir()
    (root / "prompts" / "agent.md").write_bytes(b"x" * 2048)
    path = path.replace("{root}", str(root))
    assert workspace.read(path, 2048) == ("prompts/agent.md", b"x" * 2048)
    with pytest.raises(ValueError, match=r"^must be a file of at most 1 KB; got a larger one\.$"):
        workspace.read(path, 1024)


@pytest.mark.parametrize("path", ["nowhere.md", "a/b/nowhere.md"])
def test_missing_file_is_error_and_is_not_created(path: str, workspace: Workspace, root: Path) -> None:
    with pytest.raises(ValueError, match=f'^must be an existing file in the workspace; got "{path}"'):
        workspace.read(path, 1024)
    assert list(root.iterdir()) == []


def test_pipe_is_error_and_does_not_block(workspace: Workspace, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ValueError, match=r'^must be writable; got "pipe"'):
        workspace.prepare("pipe")
    with pytest.raises(RunnerError):
        workspace.write("pipe", "text")
    with pytest.raises(ValueError, match=r'^must be a regular file; got "pipe"'):
        workspace.read("pipe", 1024)
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)


def test_missing_workspace_is_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(No such file or directory\)\.$"):
        Workspace(str(tmp_path / "nowhere")).prepare("a")
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_until_write(workspace: Workspace, root: Path) -> None:
    (root / "old.xml").write_text("much older text", encoding="utf-8")
    (root / "old.xml").chmod(0o600)
    assert workspace.prepare("old.xml") == "old.xml"
    assert (root / "old.xml").read_text(encoding="utf-8") == "much older text"
    workspace.write("old.xml", "new")
    assert (root / "old.xml").read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE((root / "old.xml").stat().st_mode) == 0o600


def test_file_is_removed_without_following_links(workspace: Workspace, root: Path) -> None:
    (root / "kept").mkdir()
    (root / "kept" / "a.xml").touch()
    (root / "link").symlink_to(root / "kept")
    (root / "a.xml").symlink_to(root / "kept" / "a.xml")
    for path in ("link/a.xml", "a.xml", "kept", "missing/a.xml"):
        workspace.remove(path)
    assert files(root) == ["kept/a.xml", "link"]


def test_later_steps_can_read_written_file(workspace: Workspace, root: Path) -> None:
    """The container runs as root, but other steps do not."""
    mask = os.umask(0o022)
    try:
        workspace.write(workspace.prepare("a/b.xml"), "text")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((root / "a" / "b.xml").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o755


def test_workspace_may_be_symbolic_link(root: Path) -> None:
    (root.parent / "link").symlink_to("work")
    workspace = Workspace(str(root.parent / "link"))
    workspace.write(workspace.prepare("a.xml"), "text")
    assert workspace.prepare(str(root.parent / "link" / "b.xml")) == "b.xml"
    assert files(root) == ["a.xml"]


@pytest.mark.parametrize("kind", [GitHubHost, PlainHost])
def test_workspace_defaults_to_current_directory(kind: type[Host], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    workspace = host_of(kind).workspace
    assert workspace.prepare(str(root / "b.xml")) == "b.xml"
    with pytest.raises(ValueError, match="in the workspace"):
        workspace.prepare("../outside/file")


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff", "", "\x00\r\n", "💬" * 100_000])
def test_any_text_is_written(text: str, workspace: Workspace, root: Path) -> None:
    workspace.write(workspace.prepare("a.txt"), text)
    assert (root / "a.txt").read_bytes() == text.encode("utf-8", "replace")


@given(st.sampled_from([*NAMED.values()]) | st.text("./\\~ab \x00\n", max_size=30) | st.text(st.characters()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_path_stays_in_workspace(workspace: Workspace, root: Path, path: str) -> None:
    """The fixture asserts that nothing outside the workspace has changed."""
    try:
        place = workspace.prepare(path)
    except ValueError as problem:
        assert str(problem).isprintable()  # it becomes a line of the log
        return
    assert ".." not in place.split("/")
    assert (root / place).resolve().is_relative_to(root.resolve())


def test_new_file_is_created_once(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    assert not workspace.exists("ci/gate.yml")
    assert workspace.create("ci/gate.yml", "mine")
    assert not workspace.create("ci/gate.yml", "yours")
    assert (workspace.exists("ci/gate.yml"), workspace.exists("ci")) == (True, True)
    assert (tmp_path / "ci/gate.yml").read_text() == "mine"
