"""A small fake of Coval that only knows one run whose agent is attached: its calls, and a relay over TLS.

It shares no knowledge of Coval with the sandbox, so that a misunderstanding in one cannot hide in the other. Sources:
the README and the protocol of Coval's Agent SDK for Python.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal, Self

import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from coval_gate.ci.host import AGENT_TYPE
from coval_sandbox.http import SeenRequest
from fake_host import FakeHost, Response

RUN_ID = "run0000000000000000001"
BASE = "/v1"
FRAME, FRAME_SECONDS = b"\1\0" * 320, 0.02
LONGEST = 120.0  # s for what happens at once, unless something is broken
READY = {
    "type": "session_ready",
    "audio": {"encoding": "pcm_s16le", "sample_rate_hz": 16_000, "channels": 1},
}
OVER = ("COMPLETED", "FAILED", "CANCELLED", "SKIPPED")


def hears(frames: int) -> "Callable[[Caller], bool]":
    return lambda caller: len(caller.heard) >= frames * len(FRAME)


def never(_: object) -> bool:
    """The conversation lasts until the agent leaves it."""
    return False


@dataclass
class Caller:
    """A simulated caller, who speaks once an agent is attached, `until` something has happened.

    `end`: how the relay then ends the conversation: as it should, with an error, or without a word. `hiccups`: what
    Coval responds to the first requests for an offer, (status, content).
    """

    id: str
    until: "Callable[[Caller], object]" = field(default=lambda caller: caller.heard)
    end: Literal["well", "error", "drop"] = "well"
    status: str = "IN PROGRESS"
    relay: str = "READY"
    connections: int = 0
    heard: bytearray = field(default_factory=bytearray)
    acknowledged: int = 0
    hiccups: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def json(self) -> dict[str, Any]:
        return {"simulation_id": self.id, "run_id": RUN_ID, "status": self.status}


class FakeRelay(FakeHost):
    """`url` is the API's base URL, `ca` trusts its relay.

    Tests may change the callers. The run is over once all of them are, unless `goes_on` is set.
    """

    def __init__(self, directory: Path, callers: Iterable[Caller], *, tags: Iterable[str] = ("mine",)) -> None:
        super().__init__(BASE)
        self.callers = {caller.id: caller for caller in callers}
        self.tags = list(tags)
        self.refuses_tags = False
        self.agent_type = ""  # as the launch noted it
        self.total = 0  # simulations that the run counts; 0: it shows no progress
        self.goes_on = False
        self.unknown = 0  # requests for the run that are answered by 404 first
        self.ca = directory / "relay-ca.pem"
        self._started = Event()

    @property
    def environ(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return {"INPUT_API_BASE_URL": self.url, "SSL_CERT_FILE": str(self.ca)}

    def __enter__(self) -> Self:
        super().__enter__()
        self._calls = Thread(target=self._serve)
        self._calls.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._calls.join()
        super().__exit__()

    @property
    def run(self) -> dict[str, Any]:
        is_over = all(caller.is_over for caller in self.callers.values()) and not self.goes_on
        noted: dict[str, Any] = {"metadata": {"customer": {AGENT_TYPE: self.agent_type}}} if self.agent_type else {}
        if self.total:
            noted["progress"] = {"total_test_cases": self.total, "completed_test_cases": 0}
        return {"run_id": RUN_ID, "status": "COMPLETED" if is_over else "IN PROGRESS", "tags": self.tags, **noted}

    def perform(self, request: SeenRequest, path: str) -> Response:
        return Response(*self.respond(request.method, path, request.json))

    def respond(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["runs", _] if self.unknown:
                self.unknown -= 1
            case "GET", ["runs", run_id] if run_id == RUN_ID:
                return 200, {"run": self.run}
            case "PATCH", ["runs", run_id] if run_id == RUN_ID and not self.refuses_tags:
                self.tags = body["tags"]
                return 200, {"run": self.run}
            case "PATCH", _:
                return 403, {"error": {"code": "PERMISSION_DENIED", "message": "The key may not write runs."}}
            case "GET", ["simulations"] | ["conversations", "simulated"]:
                return 200, {"simulations": [caller.json for caller in self.callers.values()]}
            case "GET", ["simulations", id_, "connect"] if id_ in self.callers:
                caller = self.callers[id_]
                return caller.hiccups.pop(0) if caller.hiccups else (200, self._offer(caller))
            case "GET", ["simulations", id_] if id_ in self.callers:
                return 200, {"simulation": self.callers[id_].json}
        return 404, {"error": {"code": "NOT_FOUND", "message": "There is no such thing."}}

    def _offer(self, caller: Caller) -> dict[str, Any]:
        if caller.relay != "READY":
            if caller.relay == "FAILED":
                caller.status = "FAILED"
            return {"status": caller.relay}
        url = f"wss://localhost:{self._port}/{caller.id}"
        return {"status": "READY", "wss_url": url, "token": f"token-{caller.id}", "expires_at": time.time() + 60}

    def _serve(self) -> None:
        asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        async with serve(self._call, "localhost", 0, ssl=context, close_timeout=0.2) as server:
            self._port = next(iter(server.sockets)).getsockname()[1]
            self._started.set()
            await self._stopped.wait()

    async def _call(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        caller = self.callers[request.path.strip("/")]
        if request.headers.get("Authorization") != f"Bearer token-{caller.id}" or caller.relay != "READY":
            return
        caller.relay, caller.connections = "CONNECTED", caller.connections + 1
        hearing = asyncio.create_task(_hear(connection, caller))
        try:
            await connection.send(json.dumps(READY))
            for _ in range(round(LONGEST / FRAME_SECONDS)):
                if caller.until(caller):
                    break
                await connection.send(FRAME)
                await asyncio.sleep(FRAME_SECONDS)
            if caller.end == "error":
                await connection.send(json.dumps({"type": "error", "message": "the line broke"}))
            caller.status = "COMPLETED" if caller.end == "well" else "FAILED"
            if caller.end == "well":
                await connection.send(json.dumps({"type": "session_end"}))
            if caller.end != "drop":  # closing now could hide the last frame from a busy agent
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.wait_closed(), LONGEST)
        except ConnectionClosed:
            await hearing  # what the agent said before it left
            caller.status = "FAILED"
        finally:
            caller.relay = "CLOSED"
            hearing.cancel()


async def _hear(connection: ServerConnection, caller: Caller) -> None:
    with suppress(ConnectionClosed):
        async for message in connection:
            if isinstance(message, bytes):
                caller.heard += message
            else:
                caller.acknowledged = json.loads(message)["received_bytes"]
