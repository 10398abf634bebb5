"""GitHub on the simulated clock: it takes commit statuses and check runs, except during outages."""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from campaign.clock import SimulatedClock
from campaign.network import EFFECT
from campaign.schedule import Outage
from coval_sandbox.github_checks import CheckRun
from coval_sandbox.http import SeenRequest
from coval_sandbox.runner import PULL_REQUEST
from fake_github import FakeGitHub
from fake_host import Response

HOST: Final = "localhost"  # Coval is at 127.0.0.1
LATENCY: Final = 0.3  # s
HANG: Final = "hang"  # an outage in which no response arrives
SLOW: Final = "slow"  # an outage in which responses are late; in any other, they have that HTTP status
LATE: Final = 4.0  # s
HEAD: Final[str] = PULL_REQUEST["pull_request"]["head"]["sha"]


@dataclass
class _Pending:
    """A request whose response is outstanding."""

    port: int
    done: threading.Event = field(default_factory=threading.Event)
    response: Response | None = None
    error: Exception | None = None


class GitHub(HTTPAdapter):
    """A transport adapter for `requests`, with one port for each process."""

    def __init__(self, clock: SimulatedClock, outages: Sequence[Outage] = ()) -> None:
        super().__init__()
        self._clock = clock
        self._outages = outages
        self._fake = FakeGitHub(now=clock.time)
        self._fake.add_pull_request(PULL_REQUEST["pull_request"]["number"], HEAD)
        self._pending: list[_Pending] = []
        self._ports = 0  # that were given to processes; only the last one is open

    @property
    def statuses(self) -> list[dict[str, Any]]:
        """Return the commit's statuses in their order."""
        return self._fake.statuses.get(HEAD, [])

    @property
    def check_runs(self) -> list[CheckRun]:
        """Return the check runs in the order in which they were created."""
        return self._fake.check_runs

    def connect(self) -> str:
        """Return the API's URL for one process."""
        self._ports += 1
        return f"http://{HOST}:{self._ports}"

    def disconnect(self) -> None:
        """Close the connections of the last process: what it sent may still take effect, but it gets no response."""
        with self._clock.lock:
            self._ports += 1
            for pending in self._pending:
                self._finish(pending, error=_reset())

    def send(self, request: requests.PreparedRequest, *_: Any, **settings: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        assert parts.hostname == HOST, f"a request to {parts.hostname}"
        pending = _Pending(parts.port or 0)
        with self._clock.lock:
            if pending.port != self._ports:
                raise _reset()
            self._pending.append(pending)
            self._plan(pending, request, settings["timeout"][1])
        self._clock.wait_for_response(pending.done)
        if pending.error or pending.response is None:
            raise pending.error or _reset()
        body = pending.response.content
        headers = {"content-type": "application/json", "content-length": str(len(body))} | pending.response.headers
        raw = urllib3.HTTPResponse(
            io.BytesIO(body), headers=headers, status=pending.response.status, preload_content=False
        )
        return self.build_response(request, raw)

    def _plan(self, pending: _Pending, request: requests.PreparedRequest, limit: float) -> None:
        """Schedule the request's effect and its response."""
        begin = self._clock.now()
        outage = next((candidate for candidate in self._outages if candidate.begin <= begin < candidate.end), None)
        if outage and outage.action == HANG:
            self._clock.at(begin + limit, lambda: self._finish(pending, error=requests.ReadTimeout("timed out")))
            return
        parts = urlsplit(request.url or "")
        body = request.body or b""
        seen = SeenRequest(
            request.method or "",
            parts.path,
            dict(parse_qsl(parts.query)),
            {"host": parts.netloc, **{name.lower(): str(value) for name, value in request.headers.items()}},
            body.encode() if isinstance(body, str) else body,
        )

        def take_effect() -> None:
            fails = outage and outage.action != SLOW
            failure = Response(int(outage.action), {"message": "Something went wrong."}) if outage and fails else None
            pending.response = failure or self._fake.respond_to(seen)

        latency = LATE if outage and outage.action == SLOW else LATENCY
        if latency > limit:
            self._clock.at(begin + limit, lambda: self._finish(pending, error=requests.ReadTimeout("timed out")))
        self._clock.at(begin + EFFECT * latency, take_effect)
        self._clock.at(begin + latency, lambda: self._finish(pending))

    def _finish(self, pending: _Pending, error: Exception | None = None) -> None:
        if not pending.done.is_set():
            pending.error = error
            pending.done.set()
            self._clock.freeze()


def _reset() -> requests.ConnectionError:
    return requests.ConnectionError(ConnectionResetError(104, "Connection reset by peer"))
