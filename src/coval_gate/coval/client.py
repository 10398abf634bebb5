"""Calls to Coval: one session, one key, one host, and answers that are either usable or a readable error.

What is repeated, and why: a read may be repeated after any transient failure. A launch starts phone calls that cost
money, so it is repeated only if it surely had no effect: the connection was refused, the name did not resolve, or
Coval itself says "later" (429, 503).
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import requests
import urllib3

from coval_gate import __version__
from coval_gate.coval.problems import answer_problem, network_problem, unavailable
from coval_gate.errors import LaunchUncertain, Unavailable
from coval_gate.kinds import LOOPBACK
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.clock import Clock
    from coval_gate.coval.models import Run
    from coval_gate.kinds import Secret

T = TypeVar("T")

LAUNCH_PATIENCE: Final = 300.0  # s during which a launch that had no effect is repeated
FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
HEARTBEAT: Final = 60.0  # s between two sentences about the same trouble
IDLE_LIMIT: Final = 5.0  # s; some networks drop an idle connection without a word, and the next call hangs on it
BODY_LIMIT: Final = 64 * 1024 * 1024  # bytes; a run with 10,000 simulations and 10 metrics has about a tenth


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one call in seconds: to connect, for the whole answer, and for an answer asked for at the deadline."""

    connect: float = 10.0
    answer: float = 30.0
    last_look: float = 5.0


class ApiKeyAuth(requests.auth.AuthBase):
    """Puts the key into each request, and into nothing else.

    As the session's `auth` it also keeps requests from adding a password of its own from a .netrc file.
    """

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["x-api-key"] = self._key.reveal()
        return request


class Client:
    """Coval's API at `root` (…/v1). `log` takes a sentence for the people who wait."""

    def __init__(
        self,
        root: str,
        key: Secret,
        *,
        clock: Clock,
        log: Callable[[str], None],
        workspace_id: str = "",
        timeouts: Timeouts = Timeouts(),
        session: requests.Session | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._root = root
        self._clock = clock
        self._log = log
        self._timeouts = timeouts
        self._chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._last_used = clock.now()
        self._session = session or requests.Session()
        self._session.auth = ApiKeyAuth(key)
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"coval-gate/{__version__}"})
        if workspace_id:
            self._session.headers["x-coval-workspace-id"] = workspace_id
        if LOOPBACK.fullmatch(urlsplit(root).hostname or ""):
            # A proxy from the environment would carry the key off this machine, in the clear.
            self._session.trust_env = False

    def close(self) -> None:
        """Close the connections; the next call opens a new one."""
        self._session.close()

    def launch_run(self, body: Mapping[str, Any], *, until: float) -> Run:
        """`POST /runs`. Repeats what surely had no effect, until the deadline or LAUNCH_PATIENCE.

        Raises Rejected, Unavailable (no run exists) or LaunchUncertain (one may exist).
        """
        try:
            return self._repeat(
                lambda: self._launched(body),
                until=min(until, self._clock.now() + LAUNCH_PATIENCE),
                when=lambda error: not error.arrived,
            )
        except Unavailable as error:
            if not error.arrived:
                raise
            raise LaunchUncertain(
                "Launch uncertain",
                f"The launch was sent, but its answer was lost: {error.what}",
                advice="A run may have started. Look for it in Coval before you launch again.",
            ) from None

    def get_run(self, run_id: str, *, until: float) -> Run:
        """`GET /runs/{run_id}`, repeated after transient failures until the deadline, and once more at it.

        Raises Rejected (NotFound for a 404), or Unavailable if there was no usable answer by the deadline.
        """
        path = f"/runs/{quote(run_id, safe='')}"
        return self._repeat(lambda: self._read(path, run_id, until), until=until, when=lambda _: True)

    def _launched(self, body: Mapping[str, Any]) -> Run:
        # A connection that went stale would make a launch uncertain for no reason.
        self.close()
        answer = self._send("POST", "/runs", json=body, within=self._timeouts.answer)
        return self._parsed("POST /runs", answer, launched=True)

    def _read(self, path: str, run_id: str, until: float) -> Run:
        within = max(self._timeouts.last_look, min(self._timeouts.answer, until - self._clock.now()))
        run = self._parsed(f"GET {path}", self._send("GET", path, within=within))
        if run.run_id != run_id:
            raise unavailable(f"GET {path}", f"answered about another run ({run.run_id}).", arrived=True)
        return run

    def _parsed(self, call: str, answer: bytes, *, launched: bool = False) -> Run:
        # pydantic takes longer to import than the rest of the start; the launch is on its way by now.
        from coval_gate.coval.models import parse_run

        try:
            return parse_run(answer, launched=launched)
        except ValueError as error:
            raise unavailable(call, f"gave an answer that makes no sense ({error}).", arrived=True) from None

    def _repeat(self, attempt: Callable[[], T], *, until: float, when: Callable[[Unavailable], bool]) -> T:
        """Make `attempt` until it succeeds, fails for good, or fails at the deadline."""
        told = float("-inf")
        for tries in itertools.count():
            try:
                return attempt()
            except Unavailable as error:
                left = until - self._clock.now()
                if left <= 0 or not when(error):
                    raise
                pause = min(left, error.retry_after or self._backoff(tries))
                if self._clock.now() - told >= HEARTBEAT:
                    self._log(f"{error.what} Trying again in {duration(pause)}.")
                    told = self._clock.now()
                self._clock.sleep(pause)
        raise AssertionError("itertools.count() does not end")

    def _backoff(self, tries: int) -> float:
        """Exponential, with half of it left to chance, so that many jobs do not come back together."""
        return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._chance.uniform(0.5, 1)

    def _send(self, method: str, path: str, *, within: float, json: Mapping[str, Any] | None = None) -> bytes:
        """One request. Returns the body of a 2xx answer; raises Rejected or Unavailable otherwise."""
        call = f"{method} {path}"
        if self._clock.now() - self._last_used > IDLE_LIMIT:
            self.close()
        try:
            response = self._session.request(
                method,
                self._root + path,
                json=json,
                timeout=(min(self._timeouts.connect, within), within),
                allow_redirects=False,
                stream=True,
            )
            with response:
                body = self._body(response, call, until=self._clock.now() + within)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise network_problem(call, error) from None
        finally:
            self._last_used = self._clock.now()
        if 200 <= response.status_code < 300:
            return body
        raise answer_problem(call, response.status_code, response.headers, body, self._clock.time())

    def _body(self, response: requests.Response, call: str, until: float) -> bytes:
        """The whole body, within BODY_LIMIT and, however slowly it drips, about in time."""
        received = bytearray()
        while chunk := response.raw.read1(64 * 1024, decode_content=True):
            received += chunk
            if len(received) > BODY_LIMIT:
                raise unavailable(call, f"answered with more than {BODY_LIMIT >> 20} MiB.", arrived=True)
            if self._clock.now() > until:
                raise unavailable(call, "answered too slowly.", arrived=True)
        return bytes(received)
