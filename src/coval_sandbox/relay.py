"""A relay between simulated callers and agents' processes: WebSockets over TLS, on an own port and thread."""

import asyncio
import json
import logging
import math
import re
import socket
import ssl
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .attachments import LOST_AGENT, Call
from .faults import Action
from .sound import BYTES_PER_SECOND, FRAME_BYTES, FRAME_SECONDS, TURN_FRAMES, Listener, caller_frame
from .world import World

READY: Final = {
    "type": "session_ready",
    "audio": {"encoding": "pcm_s16le", "sample_rate_hz": 16_000, "channels": 1},
}
PATIENCE: Final = 2.0  # s; how long the caller waits at the end until all was acknowledged, and anything answered
LOOKING: Final = 0.1  # s between two looks at whether the run goes on
GOING_AWAY, INTERNAL_ERROR, NORMAL = 1001, 1011, 1000
CLEAN: Final = frozenset({NORMAL, GOING_AWAY})  # close codes after which a conversation may still be complete
MOST_BYTES: Final = 2 * 1024 * 1024  # of a message
CLOSING: Final = 2.0  # s; how long the relay waits for the agent to close
_PATH: Final = re.compile(r"/simulations/([^/?]+)")
_LOG: Final = logging.getLogger("coval_sandbox.relay")
_LOG.addHandler(logging.NullHandler())  # clients often do not trust the certificate


class Relay:
    """`port` 0: any free port. `certificate`: the file to which the new authority's certificate is written."""

    def __init__(self, world: World, host: str, port: int, certificate: Path) -> None:
        self._world = world
        self._address = (host, port)
        self._certificate = certificate
        self._started = Event()
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """For example, wss://127.0.0.1:8443."""
        return f"wss://{self._address[0]}:{self.port}"

    def start(self) -> None:
        """Raises OSError if the port is taken, or the certificate cannot be written."""
        context = tls(self._address[0], self._certificate)
        listener = socket.create_server(self._address)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = listener.getsockname()[1]
        self._thread = Thread(
            target=lambda: asyncio.run(self._serve(listener, context)), name="coval-relay", daemon=True
        )
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await serve(
            self._talk,
            sock=listener,
            ssl=context,
            process_request=self._admit,
            max_size=MOST_BYTES,
            compression=None,
            close_timeout=CLOSING,
            logger=_LOG,
        )
        self._started.set()
        await self._stopped.wait()
        for connection in server.connections:
            connection.transport.abort()
        server.close()
        await server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a connection without a token that works."""
        simulation_id = _simulation(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        with self._world.lock:
            attachments = self._world.attachments
            if scheme != "Bearer" or not attachments.accepts(simulation_id, token):
                return connection.respond(HTTPStatus.UNAUTHORIZED, "The token is not valid.\n")
            action = attachments.fault(simulation_id)
            if action is not None and action.kind == "refuse":
                return connection.respond(HTTPStatus(action.status), "A scripted fault\n")
            call = attachments.begin_call(simulation_id)
        connection.call, connection.action = call, action  # type: ignore[attr-defined]
        watching = asyncio.create_task(self._watch(connection, simulation_id))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return None

    async def _watch(self, connection: ServerConnection, simulation_id: str) -> None:
        """The agent may be lost at any time, even before the handshake ends."""
        await connection.wait_closed()
        with self._world.lock:
            self._world.attachments.end_call(simulation_id, LOST_AGENT)

    async def _talk(self, connection: ServerConnection) -> None:
        call, action = connection.call, connection.action  # type: ignore[attr-defined]
        await _Conversation(self._world, connection, call, action).run()


def _simulation(request: Request) -> str:
    match = _PATH.fullmatch(request.path)
    return match[1] if match else ""


def tls(host: str, certificate: Path) -> ssl.SSLContext:
    """Return a context with a certificate of a new authority; write the authority's certificate to a file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*dict.fromkeys(("127.0.0.1", "localhost", host))).configure_cert(context)
    return context


class _Conversation:
    """The caller speaks in real time, and hears the agent."""

    def __init__(self, world: World, connection: ServerConnection, call: Call, action: Action | None) -> None:
        self._world = world
        self._connection = connection
        self._call = call
        self._action = action
        self._frames = round(call.seconds / FRAME_SECONDS) if math.isfinite(call.seconds) else 0
        self._listener = Listener(min(TURN_FRAMES, self._frames) * FRAME_SECONDS)
        self._acknowledged = 0
        self._progress = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def run(self) -> None:
        """Go on until the caller is done, the agent is gone, or the run is over."""
        hearing = asyncio.create_task(self._hear())
        speaking = asyncio.create_task(self._speak())
        try:
            done, _ = await asyncio.wait((hearing, speaking), return_when=asyncio.FIRST_COMPLETED)
            for task in (speaking, hearing):
                if task in done:
                    task.result()
        except ConnectionClosed:
            pass  # the relay watches for that
        except ValueError as error:
            self._end(f"The agent sent an invalid message: {error}")
            await self._fail(str(error))
        finally:
            for task in (hearing, speaking):
                task.cancel()
            await asyncio.gather(hearing, speaking, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            message = await self._connection.recv()
            if isinstance(message, bytes):
                self._listener.hear(message, self._clock() - self._began)
            else:
                self._acknowledged = _acknowledged(message)
            self._progress.set()

    async def _speak(self) -> None:
        await self._control(READY)
        breaks_at = self._frames // 2 if self._breaks_off else -1
        for number in range(self._frames):
            await asyncio.sleep(self._began + number * FRAME_SECONDS - self._clock())
            if number == breaks_at:
                await self._break_off()
                return
            if not number % round(LOOKING / FRAME_SECONDS) and not self._is_on():
                await self._connection.close(GOING_AWAY)
                return
            await self._connection.send(caller_frame(number))
        if not self._frames:
            await self._wait_for_end_of_run()
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answered(), PATIENCE)
        self._end(None)
        if self._action is None:
            await self._farewell({"type": "session_end"}, NORMAL)
        else:
            await self._connection.close(int(self._action.amount))

    @property
    def _breaks_off(self) -> bool:
        return self._action is not None and not (self._action.kind == "close" and self._action.amount in CLEAN)

    async def _break_off(self) -> None:
        assert self._action is not None  # noqa: S101 - for mypy
        match self._action.kind:
            case "error":
                self._end(f"The relay failed: {self._action.text}")
                await self._fail(self._action.text)
            case "close":
                self._end(f"The relay closed the connection (code {self._action.amount:.0f})")
                await self._connection.close(int(self._action.amount))
            case "drop":
                self._end("The relay lost the connection")
                self._connection.transport.abort()

    async def _fail(self, message: str) -> None:
        with suppress(ConnectionClosed):
            await self._farewell({"type": "error", "message": message}, INTERNAL_ERROR)

    async def _farewell(self, message: dict[str, Any], code: int) -> None:
        """Wait for the agent to close: if it still acknowledges audio, it could otherwise miss the last frame."""
        await self._control(message)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connection.wait_closed(), CLOSING)
        await self._connection.close(code)

    async def _wait_for_end_of_run(self) -> None:
        while self._is_on():
            await asyncio.sleep(LOOKING)
        await self._connection.close(GOING_AWAY)

    async def _answered(self) -> None:
        """Wait until the agent has acknowledged all audio, and has sent some: both may be late on a busy machine."""
        while self._acknowledged < self._frames * FRAME_BYTES or not self._listener.has_heard:
            self._progress.clear()
            await self._progress.wait()

    async def _control(self, message: dict[str, Any]) -> None:
        await self._connection.send(json.dumps(message))

    def _is_on(self) -> bool:
        with self._world.lock:
            return self._world.attachments.is_on(self._call.simulation_id)

    def _end(self, error: str | None) -> None:
        answer = self._listener.answer(self._frames * FRAME_BYTES / BYTES_PER_SECOND)
        with self._world.lock:
            self._world.attachments.end_call(self._call.simulation_id, answer if error is None else error)


def _acknowledged(message: str) -> int:
    """Return a number of bytes. Raises ValueError for any other message."""
    control = json.loads(message)
    if not isinstance(control, dict) or control.get("type") != "audio_ack":
        raise ValueError(f"expected an audio_ack, got {message[:100]}")
    received = control.get("received_bytes")
    if not isinstance(received, int):
        raise ValueError(f"received_bytes must be a whole number, got {received!r}")
    return received
