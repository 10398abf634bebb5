"""What the fakes of hosts and of a relay have in common: a server over real sockets, and scripted faults."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Event, RLock, Thread
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from coval_sandbox.http import SeenRequest

HTML = "<!DOCTYPE html><html><body>Please sign in to the guest network.</body></html>"
FAULT = re.compile(r"([A-Z]+|\*)\s+(\S+)(?:\s+#(\d+)(-(\d*))?)?\s+->\s+(\S+)\s*(.*)", re.DOTALL)
ACTION = re.compile(r"\d{3}|rate-limit|secondary|drop|drop-after|html|json|moved|hang")


class Response(NamedTuple):
    """A response; a text or bytes in `body` are sent as they are, anything else as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class Fault:
    """One line `METHOD PATH-GLOB [#n | #n-m | #n-] -> ACTION`; paths are below the base URL, or /graphql.

    Actions: STATUS [MESSAGE]; rate-limit SECONDS; secondary SECONDS; drop; drop-after; html; json TEXT;
    moved URL [STATUS]; hang SECONDS. Only drop-after has the request take effect. Raises ValueError for anything else.
    """

    def __init__(self, line: str) -> None:
        match = FAULT.fullmatch(line)
        if match is None or not ACTION.fullmatch(match[6]):
            raise ValueError(f"not a fault: {line}")
        self.method, self.path, first, to, last, self.action, self.argument = match.groups()
        self._first = int(first or 1)
        self._last = float(last or ("inf" if to or not first else first))
        self._seen = 0

    def applies_to(self, method: str, path: str) -> bool:
        """Count a matching request, and return whether the fault applies to it."""
        if self.method not in ("*", method) or not fnmatchcase(path, self.path):
            return False
        self._seen += 1
        return self._first <= self._seen <= self._last


class FakeHost:
    """Context manager that serves while it is open. `base`: the path of its API. `now`: seconds since the epoch.

    Tests may change the faults, and `headers`, which all responses have.
    """

    def __init__(
        self,
        base: str,
        *,
        faults: Iterable[str] = (),
        now: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.base = base
        self.requests_seen: list[SeenRequest] = []
        self.faults = [Fault(line) for line in faults]
        self.now = now
        self.headers = {"content-type": "application/json; charset=utf-8"}
        self._closing = Event()
        self._lock = RLock()
        self._address = (host, port)

    @property
    def url(self) -> str:
        """Return the base URL, without a trailing slash."""
        return f"http://{self._address[0]}:{self._server.server_port}{self.base}"

    def __enter__(self) -> Self:
        """Accept connections. Raises OSError if the port is taken."""
        self._server = _Server(self._address, self)
        self._thread = Thread(target=self._server.serve_forever, args=[0.01], name="fake-host", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket and all connections."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Serve at a Unix socket, too: the command gh can send its requests there, in plain HTTP."""
        with _SocketServer(path, self) as server:
            thread = Thread(target=server.serve_forever, args=[0.01], name="fake-host-socket", daemon=True)
            thread.start()
            yield
            server.shutdown()
            thread.join()

    def respond_to(self, request: SeenRequest) -> Response | None:
        """Handle a request; return None to close the connection without a response."""
        with self._lock:
            self.requests_seen.append(request)
            path = self.path_of(request)
            fault = next((planned for planned in self.faults if planned.applies_to(request.method, path)), None)
            if fault is None or fault.action == "drop-after":
                response = self.perform(request, path)
                return None if fault else response
        return self._play(fault)

    def path_of(self, request: SeenRequest) -> str:
        return request.path.removeprefix(self.base)

    def perform(self, request: SeenRequest, path: str) -> Response:
        """Handle a request without a fault; `path` is below the base."""
        raise NotImplementedError

    def refusal(self, status: int, message: str, headers: dict[str, str]) -> Response:
        """Return a fault's response, in the host's form."""
        raise NotImplementedError

    def too_many(self, seconds: str) -> Response:
        """Return the response to too many requests at a time."""
        raise NotImplementedError

    def _play(self, fault: Fault) -> Response | None:
        match fault.action, fault.argument:
            case "rate-limit", seconds:
                headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(round(self.now() + float(seconds)))}
                return self.refusal(403, "API rate limit exceeded for installation ID 1.", headers)
            case "secondary", seconds:
                return self.too_many(seconds)
            case "html", _:
                return Response(200, HTML, {"content-type": "text/html; charset=utf-8"})
            case "json", text:
                return Response(200, text)
            case "moved", where:
                url, _, status = where.partition(" ")
                return self.refusal(int(status or 301), "Moved Permanently", {"location": url})
            case "hang", seconds:
                self._closing.wait(float(seconds))
                return None
            case "drop", _:
                return None
            case status, message:
                return self.refusal(int(status), message or "Something went wrong.", {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], fake: FakeHost) -> None:
        self.fake = fake
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def server_close(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(2)
        super().server_close()


class _SocketServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, fake: FakeHost) -> None:
        self.fake = fake
        self.connections: set[socket.socket] = set()
        super().__init__(str(path), _SocketConnection)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server | _SocketServer

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def respond(self) -> None:
        path, _, query = self.path.partition("?")  # a proxy gets the whole address
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fake = self.server.fake
        response = fake.respond_to(SeenRequest(self.command, path, dict(parse_qsl(query)), headers, body))
        if response is None:
            self.close_connection = True
            return
        content = response.content
        self.send_response(response.status)
        for name, value in (fake.headers | response.headers | {"content-length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = respond  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _SocketConnection(_Connection):
    disable_nagle_algorithm = False  # only TCP has it
