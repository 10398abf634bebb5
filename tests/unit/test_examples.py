"""What people copy: files that name the owner of their copy once `make adopt` ran, and the smallest agent."""

import array
import asyncio
import os
import re
import runpy
import shutil
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_gate import REPOSITORY, __version__

ROOT = Path(__file__).resolve().parents[2]

# The owner, in a copy of the tree

STEPS = re.compile(r"[\w-]+(?=/coval-gate@v)")


without_owner = pytest.mark.skipif(not REPOSITORY.startswith("your-org/"), reason="this copy has an owner")


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


@pytest.mark.parametrize("owner", ["", "your-org", "-acme", "acme/x", "a--b", "x" * 40, "acme;id", "é"])
def test_owner_must_be_a_name_on_github(owner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runpy.run_path(str(ROOT / "scripts" / "adopt.py"))["main"](owner, tmp_path) != 0
    assert "make adopt: OWNER must be the user or organization" in capsys.readouterr().err


@without_owner
def test_owner_is_no_command(copy: Path) -> None:
    done = adopt(copy, "$(touch x)`touch x`")
    assert done.returncode != 0
    assert "make adopt: OWNER must be the user or organization" in done.stderr
    assert git(copy, "ls-files", "--modified", "--others") == ""


@without_owner
def test_owner_is_named_where_people_copy_from_and_nowhere_else(copy: Path) -> None:
    done = adopt(copy, "acme-voice")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert f"git push origin HEAD v{__version__}\n" in done.stdout
        assert f'git rev-parse "v{__version__}^{{commit}}"\n' in done.stdout
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


@without_owner
def test_placeholder_stands_only_where_adopt_replaces_it() -> None:
    """Other files derive it, or are about it: the sentence of `init`, golden files, this test and the script."""
    places = (
        *("README.md", "docs/", "examples/", "mkdocs.yml", ".github/zizmor.yml", "scripts/adopt.py"),
        *("src/coval_gate/__init__.py", "src/coval_sandbox/guide.py", "src/coval_gate/init/command.py"),
        *("tests/golden/", "tests/conftest.py", "tests/unit/test_examples.py", "CHANGELOG.md", "Makefile"),
    )
    named = git(ROOT, "grep", "--name-only", "--fixed-strings", "your-org").splitlines()
    assert [path for path in named if not path.startswith(places)] == []


# The smallest agent

AGENTS = ROOT / "examples" / "agents"
CHUNK = 320  # samples; 20 ms
LOUD, QUIET = array.array("h", [8_000] * CHUNK).tobytes(), bytes(2 * CHUNK)
HALF_A_SECOND = 25  # chunks
TURN = [LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND


class Connection:
    """A connection to a caller. To send something takes as long as `pace` chunks of the caller's audio."""

    simulation_id = "simulation"

    def __init__(self, caller: Sequence[bytes], pace: int = 0) -> None:
        self._caller = caller
        self._pace = pace
        self.sent: list[bytes] = []

    async def receive_audio(self) -> AsyncIterator[bytes]:
        for audio in self._caller:
            yield audio
            for _ in range(3):  # whoever has something to send gets to it
                await asyncio.sleep(0)

    async def send_audio(self, audio: bytes) -> bool:
        for _ in range(3 * self._pace):
            await asyncio.sleep(0)
        self.sent.append(audio)
        return True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Connection], None]:
    """Return the handler, which is found as `attach` finds it: from its own directory."""
    monkeypatch.syspath_prepend(str(AGENTS))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # examples/ has only what is committed
    monkeypatch.delenv("AGENT_SPEECH", raising=False)
    monkeypatch.delitem(sys.modules, "stub", raising=False)
    handler: Any = runpy.run_path(str(AGENTS / "agent.py"))["answer"]
    return lambda connection: asyncio.run(handler(connection))


@pytest.mark.parametrize(
    ("caller", "pace", "times"),
    [
        pytest.param(TURN * 2, 0, 2, id="each time the caller pauses"),
        pytest.param([QUIET] * HALF_A_SECOND, 0, 0, id="not to a silent caller"),
        pytest.param(([LOUD] * 5 + [QUIET] * 5) * 5 + [LOUD], 0, 0, id="not while the caller speaks"),
        pytest.param(TURN + [LOUD] * HALF_A_SECOND, HALF_A_SECOND, 0, id="not once the caller speaks again"),
    ],
)
def test_agent_speaks(answer: Callable[[Connection], None], caller: list[bytes], pace: int, times: int) -> None:
    connection = Connection(caller, pace)
    answer(connection)
    assert [len(speech) for speech in connection.sent] == [2 * 16_000] * times  # a second
    assert {max(array.array("h", speech)) for speech in connection.sent} <= {8_000}


def test_agent_says_what_the_file_says(
    answer: Callable[[Connection], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error reaches the caller of the handler."""
    path = tmp_path / "speech.wav"
    monkeypatch.setenv("AGENT_SPEECH", str(path))
    with pytest.raises(FileNotFoundError, match=r"speech\.wav"):
        answer(Connection(TURN))
    write(path, LOUD, rate=48_000)
    with pytest.raises(ValueError, match=r"speech\.wav"):
        answer(Connection(TURN))
    write(path, LOUD * 3)
    connection = Connection(TURN)
    answer(connection)
    assert connection.sent == [LOUD * 3]


def write(path: Path, audio: bytes, rate: int = 16_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)
