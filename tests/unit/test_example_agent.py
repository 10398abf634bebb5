"""The smallest agent, which people copy."""

import array
import asyncio
import runpy
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
            for _ in range(3):  # a task that has something to send gets its turn
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
