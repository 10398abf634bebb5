"""One request to Coval and its answer, within a time and a size: the key goes to one host and nowhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3

from coval_gate import __version__
from coval_gate.clock import Aside
from coval_gate.config.fields import LOOPBACK
from coval_gate.coval.errors import answer_problem, network_problem, unavailable
from coval_gate.errors import Unavailable
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.clock import Clock
    from coval_gate.secret import Secret

IDLE_LIMIT: Final = 5.0  # s; some networks drop an idle connection without a word, and the next call hangs on it
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a run with 10,000 simulations and 10 metrics has about a third
ERROR_LIMIT: Final = 1024 * 1024  # bytes of an answer that only explains itself
NETWORK_ERRORS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one call in seconds: to connect, for the whole answer, and for an answer asked for at the deadline."""

    connect: float = 10.0
    answer: float = 30.0
    last_look: float = 2.0


USUAL_TIMEOUTS: Final = Timeouts()
HURRIED_TIMEOUTS: Final = Timeouts(connect=1.5, answer=2.0, last_look=0.5)  # where the process is to be killed soon


class Request(NamedTuple):
    """What to send. `query` and `json` are left out where they are None."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """For messages; without the query, which tells nobody more."""
        return f"{self.method} {self.path}"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiKeyAuth(requests.auth.AuthBase):
    """Puts the key into each request, and into nothing else.

    As the session's `auth` it also keeps requests from adding a password of its own from a .netrc file.
    """

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["x-api-key"] = self._key.reveal()
        return request


class Session(requests.Session):
    """Follows no redirect, and does not read the body of one either, as requests does to find the next address."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None


class Transport:
    """Coval's API at `root` (…/v1), one call at a time."""

    def __init__(self, root: str, key: Secret, *, clock: Clock, timeouts: Timeouts, workspace_id: str = "") -> None:
        self._root = root
        self._key = key
        self._clock = clock
        self._timeouts = timeouts
        self._workspace_id = workspace_id
        self._session = self._new_session()
        self._last_used = clock.now()
        self._reached = False
        self._left: tuple[Request, Aside[Answer]] | None = None

    def close(self) -> None:
        """Close the connections; the next call opens a new one."""
        self._session.close()

    def send(self, request: Request, *, until: float) -> bytes:
        """Send once. Returns the body of a 2xx answer; raises a CovalError otherwise.

        It is sent beside this thread, because no timeout of a socket bounds the whole: a server may drip its headers,
        and the look-up of its name has no timeout at all.
        """
        within = max(self._timeouts.last_look, min(self._timeouts.answer, until - self._clock.now()))
        if request.method == "POST" or self._clock.now() - self._last_used > IDLE_LIMIT:
            self.close()  # a connection that went stale would make a launch uncertain for no reason
        self._clock.check()
        exchange = Aside(partial(self._exchange, request, within))
        if request.method == "POST":
            self._left = (request, exchange)
        ended = exchange.wait(within, self._clock)
        self._last_used = self._clock.now()
        if not ended:
            self._session = self._new_session()  # the old one is still in use
            raise unavailable(str(request), f"took longer than {duration(within)}.", arrived=True)
        return self._body(request, exchange)

    def late_answer(self, within: float) -> bytes:
        """The body of the answer to the last POST, which nobody had the time to wait for. Raises as `send` does."""
        if self._left is None:
            raise unavailable("The launch", "was never sent.", arrived=False)
        request, exchange = self._left
        if not exchange.wait(within, self._clock):
            raise unavailable(str(request), "has no answer yet.", arrived=True)
        return self._body(request, exchange)

    def _body(self, request: Request, exchange: Aside[Answer]) -> bytes:
        try:
            ended = exchange.result
        except Unavailable:
            raise
        except NETWORK_ERRORS as error:
            raise network_problem(str(request), error) from None
        body = self._without_key(ended.body)
        if 200 <= ended.status < 300:
            self._reached = True
            return body
        raise answer_problem(
            str(request), ended.status, ended.headers, body, now=self._clock.time(), reached=self._reached
        )

    def _without_key(self, body: bytes) -> bytes:
        """An answer may repeat the key; whatever is made of it later, it must not hold it."""
        key = self._key.reveal()
        for form in (key, json.dumps(key)[1:-1]):
            body = body.replace(form.encode(), b"***")
        return body

    def _exchange(self, request: Request, within: float) -> Answer:
        """Send the request and read the answer."""
        with self._session.request(
            request.method,
            self._root + request.path,
            params=request.query,
            json=request.json,
            timeout=(min(self._timeouts.connect, within), within),
            allow_redirects=False,
            stream=True,
        ) as response:
            return Answer(response.status_code, response.headers, _read(response, request))

    def _new_session(self) -> Session:
        session = Session()
        session.auth = ApiKeyAuth(self._key)
        session.headers.update({"Accept": "application/json", "User-Agent": f"coval-gate/{__version__}"})
        if self._workspace_id:
            session.headers["x-coval-workspace-id"] = self._workspace_id
        if LOOPBACK.fullmatch(urlsplit(self._root).hostname or ""):
            # A proxy from the environment would carry the key off this machine, in the clear.
            session.trust_env = False
        return session


def _read(response: requests.Response, request: Request) -> bytes:
    """The whole body of an answer. Raises Unavailable if it is larger than any honest one."""
    limit = BODY_LIMIT if response.ok else ERROR_LIMIT
    received = bytearray()
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        received += chunk
        if len(received) > limit:
            what = f"answered {response.status_code} with more than {limit >> 20} MiB."
            raise unavailable(str(request), what, arrived=True)
    return bytes(received)
