"""The simulated network: passes what `requests` sends straight to Coval or GitHub and applies the schedule's faults.

It is a transport adapter for `requests`, the last layer of Python above the sockets. Everything above it is real: the
session, the headers, the worker thread, reading of the body, and the errors of requests and urllib3.
"""

import http.client
import io
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from campaign.clock import SimulatedClock
from campaign.schedule import CONNECTION_FAULTS, ECHO, REFUSED, UNRESOLVED, Fault, Outage
from coval_sandbox.faults import Action, parse_fault
from coval_sandbox.http import BASE, Reply, as_json
from coval_sandbox.problems import Problem, code_for
from coval_sandbox.server import HTML, LATE
from leaks import SPELLINGS
from support import KEY

CONNECT_TIME: Final = 10.0  # s until connecting to a host that does not respond times out
EFFECT: Final = 0.6  # share of the latency after which a request takes effect


@dataclass
class SentRequest:
    """One request of a process: when it was sent, which fault it met, and its result."""

    number: int
    method: str
    path: str
    query: str
    body: bytes
    sent_at: float
    fault: str = ""  # in the schedule's notation
    took_effect: bool = False
    launched_run: str = ""  # id
    status: int = 0
    answered: bool = False  # whether the process received the complete response
    ended_at: float = 0.0

    def __str__(self) -> str:
        fault = f" met {self.fault}" if self.fault else ""
        effect = (
            f"launched {self.launched_run}" if self.launched_run else "took effect" if self.took_effect else "no effect"
        )
        lost = "" if self.answered else ", response lost"
        request = f"{self.sent_at:8.2f} #{self.number} {self.method} {self.path}"
        return f"{request} -> {self.status or '-'}{fault} ({effect}{lost})"


@dataclass
class Connection:
    """One process's connection to a host, and the requests that it sent."""

    url: str
    requests: list[SentRequest] = field(default_factory=list)
    triggers: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    closed: bool = False  # the process has ended: further requests fail


@dataclass
class _PendingRequest:
    """A request whose response is outstanding."""

    connection: Connection
    request: SentRequest
    done: threading.Event = field(default_factory=threading.Event)
    response: Reply = Reply(0, b"")  # noqa: RUF009 - immutable
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # the content-length header, where the body is shorter
    error: Exception | None = None


class Host(HTTPAdapter):
    """A host on the network, with one port for each process, and the requests that processes send to it.

    `address` is on the loopback interface. `answer` applies a request, with its headers.
    """

    def __init__(
        self,
        address: str,
        answer: Callable[[SentRequest, dict[str, str]], Reply],
        clock: SimulatedClock,
        *,
        faults: Sequence[Fault] = (),
        outages: Sequence[Outage] = (),
        latency: float,
    ) -> None:
        super().__init__()
        self.address = address
        self._answer = answer
        self._clock = clock
        self._faults = [(fault, _parse_action(fault.action)) for fault in faults]
        self._outages = [(outage, _parse_action(outage.action)) for outage in outages]
        self._match_counts = [0] * len(faults)
        self._latency = latency
        self._pending: list[_PendingRequest] = []
        self.fault_count = 0
        self._connections: list[Connection] = []

    def connect(self) -> Connection:
        """Return a connection for one process."""
        self._connections.append(Connection(f"http://{self.address}:{len(self._connections) + 1}"))
        return self._connections[-1]

    def disconnect(self) -> None:
        """Close the last connection: its pending requests may still take effect, but get no response."""
        with self._clock.lock:
            self._connections[-1].closed = True
            for pending in self._pending:
                if pending.connection.closed:
                    self._finish(pending, _reset())

    def send(self, request: requests.PreparedRequest, *_: Any, **settings: Any) -> requests.Response:
        pending = self._start(request, settings["timeout"][1])
        self._clock.wait_for_response(pending.done)
        if pending.error:
            raise pending.error
        reply = pending.response
        length = len(reply.body) if pending.length is None else pending.length
        headers = {"content-type": "application/json", "content-length": str(length)} | pending.headers
        raw = urllib3.HTTPResponse(
            io.BytesIO(reply.body),
            headers=headers,
            status=reply.status,
            preload_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)

    def _start(self, request: requests.PreparedRequest, limit: float) -> _PendingRequest:
        parts = urlsplit(request.url or "")
        assert parts.hostname == self.address, f"a request to {parts.hostname}"
        path, method = str(parts.path).removeprefix(BASE), request.method or ""
        body = request.body or b""
        with self._clock.lock:
            connection = self._connections[(parts.port or 0) - 1]
            if connection.closed:
                raise _reset()
            sent = SentRequest(
                len(connection.requests) + 1,
                method,
                path,
                str(parts.query),
                body.encode() if isinstance(body, str) else body,
                self._clock.now(),
            )
            connection.requests.append(sent)
            pending = _PendingRequest(connection, sent)
            self._pending.append(pending)
            sent.fault, action = self._find_fault(method, path)
            self.fault_count += bool(sent.fault)
            headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
            self._plan_response(pending, action, headers, limit)
            self._fire_triggers(connection, pending)
            return pending

    def _find_fault(self, method: str, path: str) -> tuple[str, Action | None]:
        first: tuple[str, Action | None] = ("", None)
        now = self._clock.now()
        for place, (fault, action) in enumerate(self._faults):
            if fault.matches(method, path):
                self._match_counts[place] += 1
                if not first[0] and fault.first <= self._match_counts[place] <= fault.last:
                    first = (fault.action, action)
        for outage, action in self._outages:
            if outage.begin <= now < outage.end:
                return outage.action, action
        return first

    def _plan_response(
        self, pending: _PendingRequest, action: Action | None, headers: dict[str, str], limit: float
    ) -> None:
        """Schedule the request's effect and its response, as far as its fault allows them."""
        begin, clock = self._clock.now(), self._clock
        if action is not None and action.kind in CONNECTION_FAULTS:
            wait = {REFUSED: 0.0, UNRESOLVED: 0.05}.get(action.kind, min(CONNECT_TIME, limit))
            clock.at(begin + wait, lambda: self._finish(pending, _unreachable(action.kind)))
            return
        extra = _delay(action)
        response_time = begin + self._latency + extra
        effect_time = begin + EFFECT * self._latency + (extra if action and action.kind == LATE else 0.0)
        if action is None or action.takes_effect:
            clock.at(effect_time, lambda: self._apply(pending, headers))
        closed = http.client.RemoteDisconnected("Remote end closed connection without response")
        if action is not None and action.kind == "hang" and extra < limit:
            clock.at(response_time, lambda: self._finish(pending, _connection_error(closed)))
        elif response_time - begin > limit:
            clock.at(begin + limit, lambda: self._finish(pending, requests.ReadTimeout(_TIMED_OUT)))
        else:
            clock.at(response_time, lambda: self._respond(pending, action))

    def _apply(self, pending: _PendingRequest, headers: dict[str, str]) -> None:
        """Apply the request."""
        pending.response = self._answer(pending.request, headers)
        pending.headers |= pending.response.headers
        pending.request.took_effect = pending.response.status == HTTPStatus.OK

    def _respond(self, pending: _PendingRequest, action: Action | None) -> None:
        if pending.done.is_set():
            return  # the process has ended
        if action is None:
            pending.request.answered = True
            self._finish(pending)
            return
        reply = pending.response
        match action.kind:
            case "status" | "echo":
                message = f"The key {KEY} will not do" if action.kind == "echo" else "A scripted fault"
                problem = Problem(action.status, code_for(action.status), message)
                reply = as_json(action.status, problem.body)
                spelled = SPELLINGS[action.text or "plain"](KEY).encode()
                pending.response = reply._replace(body=reply.body.replace(KEY.encode(), spelled))
                if action.retry_after is not None:
                    pending.headers["retry-after"] = action.retry_after
            case "html":
                pending.headers["content-type"] = "text/html"
                pending.response = Reply(action.status, HTML.format(f"{action.status} Bad").encode())
            case "redirect":
                pending.headers["location"] = action.text
                pending.response = Reply(action.status, b"")
            case "reset":
                pending.error = _reset()
            case "cut":
                kept = len(reply.body) // 2 if math.isnan(action.amount) else int(action.amount)
                pending.length = max(len(reply.body), kept + 1)
                pending.response = Reply(action.status if action.status != 200 else reply.status, reply.body[:kept])
            case "body" | "json":
                pending.response = Reply(200, action.text.encode())
            case _:  # slow, late, drip: late, but complete
                pending.request.answered = True
        self._finish(pending)

    def _finish(self, pending: _PendingRequest, error: Exception | None = None) -> None:
        if not pending.done.is_set():
            pending.error = error or pending.error
            pending.request.ended_at = self._clock.now()
            pending.request.status = 0 if pending.error else pending.response.status
            pending.done.set()
            self._clock.freeze()

    def _fire_triggers(self, connection: Connection, pending: _PendingRequest) -> None:
        """Schedule the signals that are aimed at this request of the process."""
        for (method, path, number), (phase, action) in list(connection.triggers.items()):
            matching = sum(_matches(request, method, path) for request in connection.requests)
            if _matches(pending.request, method, path) and matching == number:
                del connection.triggers[method, path, number]
                share = EFFECT / 2 if phase == "before" else (1 + EFFECT) / 2
                self._clock.at(self._clock.now() + share * self._latency, action)


def _matches(request: SentRequest, method: str, path: str) -> bool:
    return method in ("*", request.method) and fnmatchcase(request.path, path)


def _parse_action(action: str) -> Action:
    if action in CONNECTION_FAULTS:
        return Action(action, takes_effect=False)
    kind, _, rest = action.partition(" ")
    if kind == ECHO:
        status, spelling = rest.split()
        return Action(kind, takes_effect=False, status=int(status), text=spelling)
    return parse_fault(f"* * -> {action}").action


def _delay(action: Action | None) -> float:
    if action is None:
        return 0.0
    if action.kind == "drip":
        return 800 / action.amount  # s; about the length of a run's JSON
    return action.amount if action.kind in ("slow", "hang", LATE) else 0.0


_POOL: Final[Any] = urllib3.HTTPConnectionPool("127.0.0.1", 1)
_TIMED_OUT: Final = urllib3.exceptions.ReadTimeoutError(_POOL, "/v1", "Read timed out.")


def _connection_error(error: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", error))


def _reset() -> requests.ConnectionError:
    return _connection_error(ConnectionResetError(104, "Connection reset by peer"))


def _unreachable(kind: str) -> requests.ConnectionError:
    if kind == REFUSED:
        reason: Exception = urllib3.exceptions.NewConnectionError(_POOL, "[Errno 111] Connection refused")
    elif kind == UNRESOLVED:
        reason = urllib3.exceptions.NameResolutionError("api.coval.dev", _POOL, socket.gaierror(-3, "Try again"))
    else:
        timed_out = urllib3.exceptions.ConnectTimeoutError(_POOL, "Connection timed out")
        return requests.ConnectTimeout(urllib3.exceptions.MaxRetryError(_POOL, "/v1", timed_out))
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(_POOL, "/v1", reason))
