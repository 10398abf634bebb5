"""The official Agent SDK works with the sandbox: a process of its own answers the simulated callers."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest
import requests

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.server import Server
from coval_sandbox.sound import FRAME_BYTES, tone
from coval_sandbox.world import DEFAULT_KEY, World
from slim_client import slim_client
from support import LateModule

Handler = Callable[[Any], Awaitable[None]]


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:coval_sdk")
coval_agent_sdk, errors = LateModule("coval_agent_sdk"), LateModule("coval_agent_sdk.errors")
websockets = LateModule("websockets.asyncio.client")
exceptions = LateModule("websockets.exceptions")

STARTED = 12.0  # s until the first simulations have started, and their offers are ready
CALL_BYTES = 15 * FRAME_BYTES  # of the shortest call, 0.3 s


class Attached(NamedTuple):
    """A sandbox with a relay, and the official client."""

    server: Server
    clock: ManualClock

    @property
    def client(self) -> Any:
        return coval_agent_sdk.CovalVoiceClient(api_key=DEFAULT_KEY, api_base_url=self.server.url)

    def launch(self, test_set_id: str = "passing1", concurrency: int = 1, cases: int = 2) -> list[str]:
        """Launch a run, and return its simulations in the order in which they start."""
        options = {"concurrency": concurrency, "sub_sample_size": cases}
        self.server.world.launch(body(test_set_id) | {"options": options})
        record = self.server.world.runs[-1]
        return [planned.simulation_id for planned in record.plan.simulations]

    def started(self, **options: Any) -> str:
        """Launch a run, and return the first simulation, which waits for a process."""
        simulation_id = self.launch(**options)[0]
        self.clock.advance(STARTED)
        return simulation_id

    def offer(self, simulation_id: str, status: int = 200) -> dict[str, Any]:
        """Return the response to the request for an offer."""
        url, headers = f"{self.server.url}/simulations/{simulation_id}/connect", {"x-api-key": DEFAULT_KEY}
        with requests.get(url, headers=headers, timeout=5) as response:
            assert response.status_code == status
            shown = response.json()
        assert isinstance(shown, dict)
        return shown

    def simulation(self, simulation_id: str) -> tuple[str, str | None]:
        """Return the status and error message of a simulation."""
        shown = self.server.world.get_simulation(simulation_id)["simulated_conversation"]
        return shown["status"], shown["error_message"]

    def answer(self, simulation_id: str, handler: Handler) -> Any:
        """Have a handler answer one caller, and return the client's result."""

        async def call() -> Any:
            async with self.client.connect(simulation_id) as connection:
                await handler(connection)
            return connection.result

        return asyncio.run(call())


def body(test_set_id: str = "passing1") -> dict[str, Any]:
    return {"agent_id": catalogue.OWN_BUILD_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id}


async def echo(connection: Any) -> None:
    async for audio in connection.receive_audio():
        await connection.send_audio(audio)


async def good_build(connection: Any) -> None:
    async for _ in connection.receive_audio():
        await connection.send_audio(tone(440.0))


@pytest.fixture(scope="module", autouse=True)
def _client_of_the_sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the Agent SDK import no more of Coval's API client than it uses, unless another test has imported all."""
    if "coval_sdk" in sys.modules:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(slim_client(tmp_path_factory.mktemp("client")))
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] == "coval_sdk"]:
            del sys.modules[name]


@pytest.fixture
def attached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attached]:
    """A sandbox whose certificate the client trusts; a parameter lists its faults."""
    monkeypatch.setattr("coval_agent_sdk._defaults.POLL_INTERVAL_SECONDS", 0.05)
    clock = ManualClock(time.time())
    with Server(World(clock), faults=getattr(request, "param", ()), relay=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.relay_ca))
        yield Attached(server, clock)


@pytest.mark.parametrize(
    "attached", [[], ["RELAY * #1 -> refuse 503"], ["RELAY * -> close 1001"]], indirect=True, ids=str
)
def test_handler_answers_caller(attached: Attached) -> None:
    """It does so, too, if it has to connect again, and if the connection ends without the session's end."""
    simulation_id = attached.started()
    result = attached.answer(simulation_id, echo)
    assert (result.status, result.received_audio_bytes) == ("COMPLETED", CALL_BYTES)
    assert 0 < result.sent_audio_bytes <= CALL_BYTES
    assert attached.simulation(simulation_id) == ("COMPLETED", None)
    assert attached.offer(simulation_id)["status"] == "CLOSED"


def test_every_state_of_offer(attached: Attached) -> None:
    first, second = attached.launch()
    nothing: dict[str, Any] = dict.fromkeys(("attempt_id", "wss_url", "token", "expires_at"))
    nothing["simulation_id"] = first
    assert attached.offer(first) == {"status": "PENDING", **nothing}
    attached.clock.advance(8.5)
    assert attached.offer(first) == {"status": "PENDING", **nothing}
    assert attached.offer(second) == {"status": "PENDING", **nothing, "simulation_id": second}  # only one at a time
    attached.clock.advance(2)
    offer = attached.offer(first)
    assert offer["status"] == "READY"
    assert offer["wss_url"].startswith("wss://127.0.0.1:")
    assert 50 < offer["expires_at"] - time.time() < 61  # in whole seconds
    attached.clock.advance(60)
    assert attached.offer(first) == {"status": "EXPIRED", **nothing}
    attached.clock.advance(8)
    replacement = attached.offer(first)
    assert replacement["status"] == "READY"
    assert replacement["token"] != offer["token"]
    attached.clock.advance(300)
    assert attached.offer(first) == {"status": "FAILED", **nothing}
    attached.server.world.delete_run(attached.server.world.runs[0].run_id)
    assert attached.offer(second) == {"status": "CANCELLED", **nothing, "simulation_id": second}


def test_unanswered_simulation_fails_and_run_goes_on(attached: Attached) -> None:
    first, second = attached.launch()
    attached.clock.advance(8 + 300)
    assert attached.simulation(first) == ("FAILED", "No agent connected within 300 s")
    assert attached.simulation(second) == ("IN PROGRESS", None)
    attached.clock.advance(2)
    attached.answer(second, good_build)
    run = attached.server.world.get_run(attached.server.world.runs[0].run_id)["run"]
    assert (run["status"], run["error_status"]) == ("COMPLETED", "EXECUTION_FAILURE")
    assert (run["progress"]["completed_test_cases"], run["progress"]["failed_test_cases"]) == (1, 1)


@pytest.mark.parametrize(
    ("attached", "seen", "message"),
    [
        (["OFFER * -> stale"], "returned an expired connection offer", None),
        (["RELAY * -> refuse"], "relay upgrade failed", None),
        (["RELAY * -> error The worker crashed"], "The worker crashed", "The relay failed: The worker crashed"),
        (["RELAY * -> close 1011"], "completion .code 1011", "The relay closed the connection (code 1011)"),
        (["RELAY * -> drop"], "completion .code None", "The relay lost the connection"),
    ],
    indirect=["attached"],
    ids=["stale", "refuse", "error", "close", "drop"],
)
def test_failed_connection_is_seen_on_both_sides(attached: Attached, seen: str, message: str | None) -> None:
    simulation_id = attached.started()
    with pytest.raises(errors.CovalError, match=seen):
        attached.answer(simulation_id, echo)
    assert attached.simulation(simulation_id)[1] == message
