"""The smallest agent of examples/agents answers when the caller pauses."""

import array
import asyncio
import runpy
import sys
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

AGENTS = Path(__file__).resolve().parents[2] / "examples" / "agents"
CHUNK = 320  # samples; 20 ms
LOUD, QUIET = array.array("h", [8_000] * CHUNK).tobytes(), bytes(2 * CHUNK)
HALF_A_SECOND = 25  # chunks


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


def test_agent_speaks_each_time_the_caller_pauses(answer: Callable[[Connection], None]) -> None:
    connection = Connection(([LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND) * 2)
    answer(connection)
    first, second = connection.sent
    assert first == second
    assert len(first) == 2 * 16_000  # a second
    assert max(array.array("h", first)) == 8_000


def test_agent_says_nothing_to_a_silent_caller_or_while_the_caller_speaks(
    answer: Callable[[Connection], None],
) -> None:
    connection = Connection([QUIET] * HALF_A_SECOND + ([LOUD] * 5 + [QUIET] * 5) * 5 + [LOUD])
    answer(connection)
    assert connection.sent == []


def test_agent_stops_when_the_caller_speaks_again(answer: Callable[[Connection], None]) -> None:
    turns = [LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND
    connection = Connection(turns + [LOUD] * HALF_A_SECOND, pace=HALF_A_SECOND)
    answer(connection)
    assert connection.sent == []


def test_agent_says_what_the_file_says(
    answer: Callable[[Connection], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENT_SPEECH", str(write(tmp_path / "speech.wav", LOUD * 3)))
    connection = Connection([LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND)
    answer(connection)
    assert connection.sent == [LOUD * 3]


@pytest.mark.parametrize(("file", "error"), [("missing.wav", FileNotFoundError), ("fast.wav", ValueError)])
def test_error_reaches_the_caller_of_the_handler(
    answer: Callable[[Connection], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str,
    error: type[Exception],
) -> None:
    write(tmp_path / "fast.wav", LOUD, rate=48_000)
    monkeypatch.setenv("AGENT_SPEECH", str(tmp_path / file))
    with pytest.raises(error, match=file):
        answer(Connection([LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND))


def test_error_while_sending_reaches_the_caller_of_the_handler(answer: Callable[[Connection], None]) -> None:
    class Failing(Connection):
        async def send_audio(self, audio: bytes) -> bool:
            raise OSError(f"lost {len(audio)} bytes")

    with pytest.raises(OSError, match="lost 32000 bytes"):
        answer(Failing([LOUD] * HALF_A_SECOND + [QUIET] * HALF_A_SECOND))


def write(path: Path, audio: bytes, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)
    return path
