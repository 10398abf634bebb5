"""A sandbox on a real socket, in a separate thread."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .asgi import TRANSPORT, Application, Receive, Scope, Send
from .clock import SpeedClock
from .faults import FaultScript
from .github import API as GITHUB_API
from .github import BASE as GITHUB_BASE
from .github import GitHub
from .http import BASE, SeenRequest
from .world import World

ACCEPTING: Final = 3  # turns of the loop until a connection that was just accepted can be closed


class Server:
    """Serves `world` on `host`:`port` (0: any free port) while it is open.

    `requests_seen` lists every request since the start, including faulty ones.

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
        relay: bool = False,
        relay_port: int = 0,
        relay_ca: Path | None = None,
    ) -> None:
        self.world = world or World(SpeedClock())
        self.faults = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self.github = GitHub()
        self.requests_seen: list[SeenRequest] = []
        self._address = (host, port)
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
        return f"{self._origin}{GITHUB_BASE}"

    @property
    def _origin(self) -> str:
        return f"http://{self._address[0]}:{self.port}"

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
        from .relay import Relay  # only where it is needed: it takes 0.2 s to import

        if self._relay_ca is None:
            self._relay_ca = Path(stack.enter_context(TemporaryDirectory(prefix="coval-sandbox-"))) / "relay-ca.pem"
        self._relay_ca = self._relay_ca.absolute()
        relay = Relay(self.world, self._address[0], self._relay_port, self._relay_ca)
        relay.start()
        stack.callback(relay.stop)
        self.world.attachments.open(relay.url, self.faults)
        stack.callback(self.world.attachments.close)

    def _open_api(self, stack: ExitStack) -> None:
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
    """It gives the application its connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport
