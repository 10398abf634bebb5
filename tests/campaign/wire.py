"""The network of the campaign: what `requests` sends goes straight into the sandbox, and meets the schedule's faults.

It is an adapter of `requests`, the last line of Python before the sockets, so that everything above it is real: the
session, headers, worker thread, reading of the body, the errors of requests and of urllib3.
"""

from __future__ import annotations

import io
import math
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from campaign.schedule import BEYOND, ECHO, REFUSED, UNRESOLVED
from coval_gate.transport import Session
from coval_sandbox.direct import Direct, Reply
from coval_sandbox.fault_injection import HTML
from coval_sandbox.faults import Action, parse_fault
from coval_sandbox.http import BASE
from coval_sandbox.problems import Problem, code_for
from support import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from campaign.moments import Moments
    from campaign.schedule import Fault, Outage
    from coval_sandbox.world import World

CONNECT_TIME: Final = 10.0  # s after which a host that does not answer counts as unreachable
EFFECT: Final = 0.6  # of a request's time: by then it takes effect


@dataclass
class Sent:
    """One request of a step: when, what it met, what came of it."""

    number: int
    method: str
    path: str
    query: str
    body: bytes
    at: float
    met: str = ""  # the fault, as the schedule writes it
    effect: bool = False
    created: str = ""  # the run that it launched
    status: int = 0
    told: bool = False  # whether its answer got back whole
    landed: float = 0.0  # when

    def __str__(self) -> str:
        met = f" met {self.met}" if self.met else ""
        came = f"launched {self.created}" if self.created else "took effect" if self.effect else "no effect"
        told = "" if self.told else ", answer lost"
        return f"{self.at:8.2f} #{self.number} {self.method} {self.path} -> {self.status or '-'}{met} ({came}{told})"


@dataclass
class Line:
    """One process's way to Coval, and what went over it."""

    sent: list[Sent] = field(default_factory=list)
    triggers: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    cut: bool = False  # the process is dead; what it still tries to send gets nowhere


@dataclass
class _Flight:
    """One request under way."""

    line: Line
    sent: Sent
    landed: threading.Event = field(default_factory=threading.Event)
    reply: Reply = Reply(0, b"")  # noqa: RUF009 - frozen
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # what content-length says, where the body is shorter
    error: Exception | None = None


class _Adapter(HTTPAdapter):
    """Sends over the wire what `requests` would send over a socket."""

    def __init__(self, send: Callable[[HTTPAdapter, requests.PreparedRequest, Any], requests.Response]) -> None:
        super().__init__()
        self._send = send

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002
        cert: Any = None,  # noqa: ARG002
        proxies: Any = None,  # noqa: ARG002
    ) -> requests.Response:
        return self._send(self, request, timeout)


class Wire:
    """Coval as a play reaches it: a host of its own on the loopback, one port for each process."""

    def __init__(
        self,
        world: World,
        moments: Moments,
        *,
        faults: Sequence[Fault] = (),
        outages: Sequence[Outage] = (),
        latency: float,
    ) -> None:
        self._world = world
        self._face = Direct(world)
        self._moments = moments
        self._faults = [(fault, _parsed(fault.action)) for fault in faults]
        self._outages = [(outage, _parsed(outage.action)) for outage in outages]
        self._seen = [0] * len(faults)
        self._latency = latency
        self._flights: list[_Flight] = []
        self.met = 0
        self.lines: list[Line] = []
        self.before_launch: list[Any] = []  # what happens once, as a launch reaches Coval

    def new_line(self) -> tuple[Line, str]:
        """A way to Coval for one process, and the API's address on it."""
        self.lines.append(Line())
        return self.lines[-1], f"http://127.0.0.1:{len(self.lines)}{BASE}"

    def new_session(self) -> requests.Session:
        """A session whose requests all go over this wire."""
        session = Session()
        session.mount("http://", _Adapter(self._send))
        return session

    def hang_up(self, line: Line | None = None) -> None:
        """The process at this end is gone, or the play is over: no answer comes back any more, whatever has effect."""
        for cut in self.lines if line is None else [line]:
            cut.cut = True
        for flight in self._flights:
            if flight.line.cut:
                self._land(flight, _lost(ConnectionResetError(104, "Connection reset by peer")))

    def _send(self, adapter: HTTPAdapter, request: requests.PreparedRequest, timeout: Any) -> requests.Response:
        flight = self._take_off(request, timeout[1])
        self._moments.fly(flight.landed)
        if flight.error:
            raise flight.error
        reply = flight.reply
        length = len(reply.body) if flight.length is None else flight.length
        headers = {"content-type": "application/json", "content-length": str(length)} | flight.headers
        raw = urllib3.HTTPResponse(
            io.BytesIO(reply.body),
            headers=headers,
            status=reply.status,
            preload_content=False,
            request_method=request.method,
        )
        return adapter.build_response(request, raw)

    def _take_off(self, request: requests.PreparedRequest, limit: float) -> _Flight:
        parts = urlsplit(request.url or "")
        assert parts.hostname == "127.0.0.1", f"a request to {parts.hostname}"
        path, method = str(parts.path).removeprefix(BASE), request.method or ""
        body = request.body or b""
        with self._moments.lock:
            line = self.lines[(parts.port or 0) - 1]
            if line.cut:
                raise _lost(ConnectionResetError(104, "Connection reset by peer"))
            sent = Sent(
                len(line.sent) + 1,
                method,
                path,
                str(parts.query),
                body.encode() if isinstance(body, str) else body,
                self._moments.now(),
            )
            line.sent.append(sent)
            flight = _Flight(line, sent)
            self._flights.append(flight)
            sent.met, action = self._meets(method, path)
            self.met += bool(sent.met)
            headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
            self._plan(flight, action, headers, limit)
            self._pull_triggers(line, flight)
            return flight

    def _meets(self, method: str, path: str) -> tuple[str, Action | None]:
        found: tuple[str, Action | None] = ("", None)
        now = self._moments.now()
        for place, (fault, action) in enumerate(self._faults):
            if fault.concerns(method, path):
                self._seen[place] += 1
                if not found[0] and fault.first <= self._seen[place] <= fault.last:
                    found = (fault.action, action)
        for outage, action in self._outages:
            if outage.begin <= now < outage.end:
                return outage.action, action
        return found

    def _plan(self, flight: _Flight, action: Action | None, headers: dict[str, str], limit: float) -> None:
        """Have the request take effect, or not, and its answer come back, or not."""
        begin, moments = self._moments.now(), self._moments
        if action is not None and action.kind in BEYOND:
            wait = {REFUSED: 0.0, UNRESOLVED: 0.05}.get(action.kind, min(CONNECT_TIME, limit))
            moments.at(begin + wait, lambda: self._land(flight, _unreachable(action.kind)))
            return
        extra = _delay(action)
        answered = begin + self._latency + extra
        acts = begin + EFFECT * self._latency
        if action is None or action.takes_effect:
            moments.at(acts, lambda: self._act(flight, headers))
        if action is not None and action.kind == "hang" and extra < limit:
            moments.at(answered, lambda: self._land(flight, _lost(_closed())))
        elif answered - begin > limit:
            moments.at(begin + limit, lambda: self._land(flight, requests.ReadTimeout(_TIMED_OUT)))
        else:
            moments.at(answered, lambda: self._answer(flight, action))

    def _act(self, flight: _Flight, headers: dict[str, str]) -> None:
        """The request takes effect; whatever comes of it."""
        sent = flight.sent
        if sent.method == "POST":
            for happens in self.before_launch:
                happens(sent)
            self.before_launch.clear()
        before = len(self._world.runs)
        flight.reply = self._face.answer(sent.method, BASE + sent.path, sent.query, headers, sent.body)
        sent.effect = flight.reply.status == 200
        if sent.method == "POST" and len(self._world.runs) > before:
            sent.created = self._world.runs[-1].run_id

    def _answer(self, flight: _Flight, action: Action | None) -> None:
        if action is None:
            flight.sent.told = True
            self._land(flight)
            return
        reply = flight.reply
        match action.kind:
            case "status":
                problem = Problem(action.status, code_for(action.status), "A scripted fault")
                flight.reply = _json(action.status, problem.body)
                if action.retry_after is not None:
                    flight.headers["retry-after"] = action.retry_after
            case "echo":
                problem = Problem(action.status, code_for(action.status), f"The key {KEY} will not do")
                flight.reply = _json(action.status, problem.body)
            case "html":
                flight.headers["content-type"] = "text/html"
                flight.reply = Reply(action.status, HTML.format(f"{action.status} Bad").encode())
            case "redirect":
                flight.headers["location"] = action.text
                flight.reply = Reply(action.status, b"")
            case "reset":
                flight.error = _lost(ConnectionResetError(104, "Connection reset by peer"))
            case "cut":
                kept = len(reply.body) // 2 if math.isnan(action.amount) else int(action.amount)
                flight.length = max(len(reply.body), kept + 1)
                flight.reply = Reply(action.status if action.status != 200 else reply.status, reply.body[:kept])
            case "body" | "json":
                flight.reply = Reply(200, action.text.encode())
            case _:  # slow, drip: late, but whole
                flight.sent.told = True
        self._land(flight)

    def _land(self, flight: _Flight, error: Exception | None = None) -> None:
        if not flight.landed.is_set():
            flight.error = error or flight.error
            flight.sent.landed = self._moments.now()
            flight.sent.status = 0 if flight.error else flight.reply.status
            flight.landed.set()

    def _pull_triggers(self, line: Line, flight: _Flight) -> None:
        """What the schedule has in store for just this request of the process."""
        for (method, path, number), (phase, action) in list(line.triggers.items()):
            matching = sum(_matches(each, method, path) for each in line.sent)
            if _matches(flight.sent, method, path) and matching == number:
                del line.triggers[method, path, number]
                share = EFFECT / 2 if phase == "before" else (1 + EFFECT) / 2
                self._moments.at(self._moments.now() + share * self._latency, action)


def _matches(sent: Sent, method: str, path: str) -> bool:
    from fnmatch import fnmatchcase

    return method in ("*", sent.method) and fnmatchcase(sent.path, path)


def _parsed(action: str) -> Action:
    if action in BEYOND:
        return Action(action, takes_effect=False)
    kind, _, rest = action.partition(" ")
    if kind == ECHO:
        return Action(kind, takes_effect=False, status=int(rest))
    return parse_fault(f"* * -> {action}").action


def _delay(action: Action | None) -> float:
    if action is None:
        return 0.0
    if action.kind == "drip":
        return 800 / action.amount  # s; about the length of a run's JSON
    return action.amount if action.kind in ("slow", "hang") else 0.0


def _json(status: int, body: object) -> Reply:
    import json

    return Reply(status, json.dumps(body).encode())


_POOL: Final[Any] = urllib3.HTTPConnectionPool("127.0.0.1", 1)
_TIMED_OUT: Final = urllib3.exceptions.ReadTimeoutError(_POOL, "/v1", "Read timed out.")


def _lost(error: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", error))


def _closed() -> Exception:
    import http.client

    return http.client.RemoteDisconnected("Remote end closed connection without response")


def _unreachable(kind: str) -> requests.ConnectionError:
    if kind == REFUSED:
        reason: Exception = urllib3.exceptions.NewConnectionError(_POOL, "[Errno 111] Connection refused")
    elif kind == UNRESOLVED:
        reason = urllib3.exceptions.NameResolutionError("api.coval.dev", _POOL, socket.gaierror(-3, "Try again"))
    else:
        timed_out = urllib3.exceptions.ConnectTimeoutError(_POOL, "Connection timed out")
        return requests.ConnectTimeout(urllib3.exceptions.MaxRetryError(_POOL, "/v1", timed_out))
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(_POOL, "/v1", reason))
