"""A sandbox on a real socket, in a separate thread, which plays the faults of a script."""

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .deterministic import SpeedClock
from .faults import Action, FaultScript
from .github import API as GITHUB_API
from .github import BASE as GITHUB
from .github import EVENT_PATH, GitHub, as_reply, origin_of
from .http import BASE, CLOCK, JSON, Api, Reply, SeenRequest, as_json
from .problems import Problem, code_for
from .runner import PULL_REQUEST
from .world import World

ACCEPTING: Final = 3  # turns of the loop until a connection that was just accepted can be closed
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "coval_sandbox.transport"
"""Key of the ASGI scope for the connection's asyncio transport."""

CHUNK = 65536
LATE = "late"
HTML = "<!doctype html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>Try again later.</p></body></html>"


class Server:
    """Serves `world` on `host`:`port` (0: any free port) while it is open.

    `requests_seen` lists every request since the start, including faulty ones.

    With `ca`, it serves https, and writes to this file the certificate that clients must trust.

    With `relay`, agents' processes can connect to simulations, on `relay_port` (0: any free port). They must trust the
    certificate in the file `relay_ca`: set SSL_CERT_FILE to its path.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        faults: FaultScript | Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        ca: Path | None = None,
        relay: bool = False,
        relay_port: int = 0,
        relay_ca: Path | None = None,
    ) -> None:
        self.world = world or World(SpeedClock())
        self.faults = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self.github = GitHub()
        self.requests_seen: list[SeenRequest] = []
        self._address = (host, port)
        self._ca = ca
        self._has_relay = relay
        self._relay_port = relay_port
        self._relay_ca = relay_ca
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """For example, http://127.0.0.1:8080/v1."""
        return f"{self._origin}{BASE}"

    @property
    def github_api_url(self) -> str:
        return f"{self._origin}{GITHUB_API}"

    @property
    def github_page(self) -> str:
        """It shows what a pull request would show."""
        return f"{self._origin}{GITHUB}"

    @property
    def _origin(self) -> str:
        return f"{'https' if self._ca else 'http'}://{self._address[0]}:{self.port}"

    def __enter__(self) -> Self:
        """Raises OSError if a port is taken."""
        with ExitStack() as stack:
            if self._has_relay:
                self._open_relay(stack)
            self._open_api(stack)
            self._stack = stack.pop_all()
        return self

    @property
    def relay_ca(self) -> Path:
        """The certificate of the relay's authority, once the server is open."""
        if self._relay_ca is None:
            raise ValueError("the server has no relay; open it with relay=True")
        return self._relay_ca

    def _open_relay(self, stack: ExitStack) -> None:
        from .relay import Relay  # imported only if needed: it takes 0.2 s

        if self._relay_ca is None:
            self._relay_ca = Path(stack.enter_context(TemporaryDirectory(prefix="coval-sandbox-"))) / "relay-ca.pem"
        self._relay_ca = self._relay_ca.absolute()
        relay = Relay(self.world, self._address[0], self._relay_port, self._relay_ca)
        relay.start()
        stack.callback(relay.stop)
        self.world.attachments.open(relay.url, self.faults)
        stack.callback(self.world.attachments.close)

    def _open_api(self, stack: ExitStack) -> None:
        context = None
        if self._ca:
            from .relay import tls  # as above

            context = tls(self._address[0], self._ca)
        listener = socket.create_server(self._address)
        # Accepted connections inherit the option. Without it, the body is sent 40 ms after the headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = listener.getsockname()[1]
        app = Application(self.world, self.github, self.faults, self.requests_seen)
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="off",
            proxy_headers=False,
            date_header=False,  # the API sends the date by the world's clock
            log_config=None,
            log_level="error",
        )
        config.load()
        config.ssl = context
        self._server = _Uvicorn(config)
        self._thread = Thread(target=self._server.run, args=([listener],), name="coval-sandbox", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        stack.callback(self._close_api)

    def _close_api(self) -> None:
        self._server.stop()
        self._thread.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class _Uvicorn(uvicorn.Server):
    """Without its tick, uvicorn starts and stops immediately."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = Event()

    async def main_loop(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self.ready.set()
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for listener in sockets or ():
            listener.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)


class _Connection(H11Protocol):
    """Gives the application its connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport


class Application:
    """`seen` gets every request, also those with a fault. Paths in the script are relative to Coval's base."""

    def __init__(self, world: World, github: GitHub, script: FaultScript, seen: list[SeenRequest]) -> None:
        self._api = Api(world)
        self._clock = world.clock
        self._github = github
        self._script = script
        self._seen = seen
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        method, path, query = scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parameters = dict(parse_qsl(query.decode(errors="replace"), keep_blank_values=True))
        self._seen.append(SeenRequest(method, path, parameters, headers, body, self._clock()))
        usual = {
            "x-request-id": f"sandbox-{next(self._numbers):06d}",
            "date": formatdate(self._clock(), usegmt=True),
        }
        action = self._script.take(method, scope["path"].removeprefix(BASE))
        if action is not None and action.kind == LATE:
            await asyncio.sleep(action.amount)  # even if the client disconnects meanwhile
        reply = Reply(200 if action is None else action.status, b"", {})
        if action is None or action.takes_effect:
            reply = self._answer(method, path, query.decode("latin-1"), headers, body)
        exchange = _Exchange(receive, send, scope[TRANSPORT], usual, reply)
        await (exchange.respond(reply) if action is None else _play(exchange, action))

    def _answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if path == CLOCK and isinstance(self._clock, SpeedClock):
            self._clock.set(float(body))
            return Reply(204, b"", {})
        if not f"{path}/".startswith(f"{GITHUB}/"):
            return self._api.answer(method, path, query, headers, body)
        match method, path.rstrip("/"):
            case "GET", place if place == GITHUB:
                from .github_page import HEADERS, page  # needed only for the page

                return Reply(200, page(self._github, f"{origin_of(headers)}{GITHUB_API}").encode(), HEADERS)
            case "GET", place if place == EVENT_PATH:
                return as_reply(200, PULL_REQUEST)
        return self._github.answer(method, path, query, headers, body)


async def _read(receive: Receive) -> bytes | None:
    """Return the body; None if the client disconnects."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


@dataclass
class _Exchange:
    """`usual`: headers that a response has unless it has its own."""

    receive: Receive
    send: Send
    transport: asyncio.Transport
    usual: Mapping[str, str]
    reply: Reply

    async def respond(self, reply: Reply) -> None:
        self.reply = reply
        await self.start(len(reply.body))
        await self.write(reply.body, more=False)

    async def start(self, length: int) -> None:
        """`length`: the content-length."""
        headers = {**self.usual, **self.reply.headers, "content-length": str(length)}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": self.reply.status, "headers": encoded})

    async def write(self, data: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def gone_within(self, seconds: float) -> bool:
        """Return whether the client disconnects."""

        async def gone() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass

        try:
            await asyncio.wait_for(gone(), seconds)
        except TimeoutError:
            return False
        return True

    async def close(self, *, reset: bool = False) -> None:
        """Send what is buffered first; with `reset`, close at once with a TCP RST."""
        if reset:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        # Until the client disconnects, the server would report an incomplete response as a bug.
        await self.gone_within(5)


async def _play(exchange: _Exchange, action: Action) -> None:
    match action.kind:
        case "reset":
            await exchange.close(reset=True)
        case "hang":
            if not await exchange.gone_within(action.amount):
                await exchange.close()
        case "slow":
            if not await exchange.gone_within(action.amount):
                await exchange.respond(exchange.reply)
        case "drip":
            await _drip(exchange, action.amount)
        case "cut":
            await _cut(exchange, action.amount)
        case "huge":
            await _huge(exchange, int(action.amount))
        case _:
            await exchange.respond(_instead(action) or exchange.reply)


def _instead(action: Action) -> Reply | None:
    """Return the response that replaces the API's; None if the API's arrives."""
    match action.kind:
        case "status":
            headers = {"retry-after": action.retry_after} if action.retry_after is not None else {}
            problem = Problem(action.status, code_for(action.status), "A scripted fault")
            return as_json(action.status, problem.body, JSON | headers)
        case "html":
            page = HTML.format(f"{action.status} {HTTPStatus(action.status).phrase}")
            return Reply(action.status, page.encode(), {"content-type": "text/html; charset=utf-8"})
        case "redirect":
            return Reply(action.status, b"", {"location": action.text})
        case "body" | "json":
            return Reply(200, action.text.encode())
    return None


async def _drip(exchange: _Exchange, pace: float) -> None:
    # Send twenty chunks a second, so that the connection does not look dead in between.
    body, step = exchange.reply.body, max(1, math.ceil(pace / 20))
    await exchange.start(len(body))
    for start in range(0, len(body), step):
        await exchange.write(body[start : start + step], more=start + step < len(body))
        if start + step < len(body) and await exchange.gone_within(step / pace):
            return


async def _cut(exchange: _Exchange, amount: float) -> None:
    body = exchange.reply.body
    kept = len(body) // 2 if math.isnan(amount) else int(amount)
    # The content-length must exceed what is sent, even if the body is shorter than the cut.
    await exchange.start(max(len(body), kept + 1))
    await exchange.write(body[:kept], more=True)
    await exchange.close()


async def _huge(exchange: _Exchange, size: int) -> None:
    head, tail = b'{"padding": "', b'"}'
    rest = max(0, size - len(head) - len(tail))
    exchange.reply = Reply(200, b"")
    await exchange.start(len(head) + rest + len(tail))
    await exchange.write(head, more=True)
    for start in range(0, rest, CHUNK):
        await exchange.write(b"x" * min(CHUNK, rest - start), more=True)
    await exchange.write(tail, more=False)
