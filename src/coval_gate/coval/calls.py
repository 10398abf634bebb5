"""How calls to Coval are made: sent, read, retried, and followed from page to page."""

from __future__ import annotations

import math
from copy import copy
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from coval_gate.coval.errors import network_problem, response_problem, unavailable
from coval_gate.errors import Rejected, TooLarge, Unavailable
from coval_gate.network import NetworkError
from coval_gate.text import duration, json_in
from coval_gate.transport import TOO_LATE, Request, Transport
from coval_gate.waiting import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.errors import CovalError
    from coval_gate.runtime import Runtime
    from coval_gate.transport import Exchange, Response, Server
    from coval_gate.waiting import Procedure

T = TypeVar("T")

IDENTITY: Final = ("id", "name", "metric_name")  # every definition has them
FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
UNREACHED_TIME: Final = 300.0  # s for launches to an address from which no response has come
SMALL_PAGE: Final = 100  # entries of most lists; the API's maximum
SMALLER: Final = 10  # factor by which pages shrink after one that was too large
CLOSE: Final = 0.01  # s; an attempt that is sent so soon before a deadline is one at the deadline
HEARTBEAT: Final = 60.0  # s between two log lines about the same failure


def parse_object(body: bytes) -> dict[str, Any]:
    """Read the JSON object in a response. Raises ValueError if there is none.

    Damaged text (half a surrogate, an invalid byte) is tolerated.
    """
    content = json_in(body.decode("utf-8-sig", "replace"))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def enveloped(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object that a response has under one of these names, or else the response itself."""
    return next((content[key] for key in keys if isinstance(content.get(key), dict)), content)


class Calls:
    """Calls to one server. `until`, a time on the clock's now(), is the deadline of a call; all have ended at `ends`.

    A call that a deadline cuts off fails with what went wrong before: that is what users have to know.
    """

    def __init__(self, server: Server, runtime: Runtime, log: Callable[[str], None], *, ends: float = math.inf) -> None:
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session, ends=ends)
        self._ends = ends
        self._lasting: dict[str, Unavailable] = {}  # what goes wrong by now, by the method and path of calls
        self._refused: dict[str, Rejected] = {}  # what Coval refused when it was asked last, likewise
        self._clock = runtime.clock
        self._randomness = runtime.randomness
        self._log = log
        self._reached = False
        self._final_timeout = server.timeouts.final
        self._response_time = 0.0  # s, of the last success

    def close(self) -> None:
        """Close the connections; the next call opens a new one."""
        self._transport.close()

    def logging_to(self, log: Callable[[str], None]) -> Calls:
        """Return calls over the same connections whose lines are written with `log`."""
        other = copy(self)
        other._log = log  # noqa: SLF001 - a copy of this object
        return other

    @property
    def lead(self) -> float:
        """How long before a deadline a read has to be sent, in seconds, as Coval responds so slowly; usually 0."""
        return self._response_time if self._response_time > self._final_timeout else 0.0

    def exchange(self, request: Request, until: float, *, open_for: float) -> Exchange:
        """Prepare to send a request once; it is sent when its response is waited for. `open_for`: as in `Transport`."""
        return self._transport.exchange(request, until=until, open_for=open_for)

    def pages(
        self,
        path: str,
        query: Mapping[str, str],
        keys: tuple[str, ...],
        until: float,
        take: Callable[[dict[str, Any]], bool],
        *,
        page_size: int,
        once: bool = False,
    ) -> Procedure[None]:
        """Fetch a list page by page, and pass its entries to `take` while it returns True.

        `keys` are the possible names of the list in a response. Where a page is too large, the next ones are smaller.
        `once`: do not retry.
        """
        tokens: set[str] = set()
        token = ""
        while True:
            more = {"page_size": str(page_size)} | ({"page_token": token} if token else {})
            request = Request("GET", path, query={**query, **more})
            self.check_time(request, until)
            try:
                entries, following = yield from self.read(partial(self.page, request, keys, until), until, once=once)
            except TooLarge:
                if page_size == 1:
                    raise
                page_size = max(1, page_size // SMALLER)
                continue
            except Rejected as error:
                if token and error.status == HTTPStatus.BAD_REQUEST:
                    raise unavailable(request, "rejected the page token that it had returned.", arrived=True) from None
                raise
            if not all(take(entry) for entry in entries) or not following:
                return
            if following in tokens:
                raise unavailable(request, "returned the same page token twice.", arrived=True)
            tokens.add(following)
            token = following

    def entries(
        self,
        path: str,
        query: Mapping[str, str],
        key: str,
        read: Callable[[dict[str, Any]], T],
        until: float,
        *,
        go_on: Callable[[T], bool] = lambda _: True,
        once: bool = False,
    ) -> Procedure[tuple[T, ...]]:
        """Return what `read` makes of the entries of a list, up to the first one of which `go_on` returns False.

        `key`: the name of the list in a response. `once`: do not retry.
        """
        found: list[T] = []

        def take(entry: dict[str, Any]) -> bool:
            found.append(read(entry))
            return go_on(found[-1])

        yield from self.pages(path, query, (key,), until, take, page_size=SMALL_PAGE, once=once)
        return tuple(found)

    def page(
        self, request: Request, keys: tuple[str, ...], until: float
    ) -> Procedure[tuple[list[dict[str, Any]], str]]:
        """Fetch one page of a list once, and return its entries and the token of the next one. Raises CovalError."""
        content = yield from self.json(request, until)
        entries = next((content[key] for key in keys if key in content), ...)
        if not (entries is None or isinstance(entries, list)):
            raise unavailable(request, f"returned a response without {keys[0]}.", arrived=True)
        if not all(isinstance(each, dict) for each in entries or ()):
            raise unavailable(request, f"returned {keys[0]} that cannot be read.", arrived=True)
        token = content.get("next_page_token")
        if isinstance(token, bool) or not isinstance(token, str | int | None):
            raise unavailable(request, "returned an invalid page token.", arrived=True)
        return entries or [], str(token or "")

    def check_time(self, request: Request, until: float) -> None:
        """Raise Unavailable if the deadline for a series of calls has passed."""
        if self._clock.now() > min(until, self._ends):
            raise self._cause(unavailable(request, TOO_LATE, arrived=False, sent=False), request)

    def get(
        self,
        path: str,
        wanted: str,
        key: str,
        read: Callable[[dict[str, Any]], T],
        until: float,
        *,
        once: bool = False,
    ) -> Procedure[T]:
        """Return what `read` makes of an object, by its id.

        `key` is the name that the object may have in a response; `once`: do not retry.
        """
        request = Request("GET", f"{path}/{quote(wanted, safe='')}")
        self.check_time(request, until)

        def attempt() -> Procedure[T]:
            content = yield from self.json(request, until)
            found = enveloped(content, key)
            if found.get("id") not in (None, wanted):
                raise unavailable(request, f"returned another {key}.", arrived=True)
            if not any(found.get(name) for name in IDENTITY):
                raise unavailable(request, f"returned a response without a {key}.", arrived=True)
            return read(found)

        return (yield from self.read(attempt, until, once=once))

    def json(self, request: Request, until: float) -> Procedure[dict[str, Any]]:
        """Send a request once, and return the JSON object of its response. Raises CovalError."""
        return self.parsed(request, (yield from self.send(request, until)), parse_object)

    def parsed(self, request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
        """Return what `parse` makes of a response. Raises Unavailable where it raises ValueError."""
        try:
            return parse(response.body)
        except ValueError as error:
            problem = unavailable(request, f"returned an unreadable response ({error}).", arrived=True)
            self._note(problem)
            raise problem from None

    def send(self, request: Request, until: float) -> Procedure[Response]:
        """Send a request once, and return its response. Raises CovalError if that is not a success."""
        sent = self._clock.now()
        try:
            response = self.succeeded(request, (yield from self._transport.send(request, until=until)))
        except NetworkError as error:
            problem = self._cause(network_problem(request, error), request)
            self._note(problem)
            raise problem from None
        except Unavailable as error:
            self._note(error)
            raise
        except Rejected as error:
            self._refused[str(request)] = error
            raise
        self._lasting.pop(str(request), None)
        self._refused.pop(str(request), None)
        self._response_time = self._clock.now() - sent
        return response

    def _cause(self, problem: CovalError, request: Request) -> CovalError:
        """Return the problem itself or, if it is only that a deadline has passed, what went wrong before that."""
        if not isinstance(problem, Unavailable) or problem.call:
            return problem
        same = self._lasting.get(str(request))
        if same is None and (refused := self._refused.get(str(request))):
            # It is no refusal of this request, which Coval never saw.
            return Unavailable(
                refused.title, refused.what, arrived=False, call=str(request), advice=refused.advice, link=refused.link
            )
        return same or next(reversed(self._lasting.values()), problem)

    def _note(self, error: CovalError) -> None:
        if isinstance(error, Unavailable) and error.call:
            self._lasting.pop(error.call, None)  # the newest is the last
            self._lasting[error.call] = error

    def succeeded(self, request: Request, response: Response) -> Response:
        """Return a response that is a success. Raises CovalError for any other."""
        if not response.ok:
            problem = response_problem(request, response, now=self._clock.time(), reached=self._reached)
            self._reached |= isinstance(problem, Unavailable) and not problem.arrived  # Coval itself asks to wait
            raise problem
        self._reached = True
        return response

    def read(self, attempt: Callable[[], Procedure[T]], until: float, *, once: bool = False) -> Procedure[T]:
        """Make an attempt that changes nothing, and retry it until the deadline, and always a last time at it.

        An attempt that hangs is cut off at the deadline, so that the last one gets its time. `once`: do not retry.
        """
        if once:
            return attempt()
        until = min(until, self._ends)
        backoff = self.backoff(until)
        sent = self._clock.now()

        def send() -> Procedure[T]:
            nonlocal sent
            sent = self._clock.now()
            return attempt()

        def pause_after(error: Unavailable, tries: int) -> float | None:
            pause = backoff(error, tries)
            if pause is None and sent < until - CLOSE:
                self._log(f"{error.what} Retrying a last time.")
                return 0.0
            return pause

        return repeat(send, Unavailable, pause_after)

    def read_series(self, attempt: Callable[[], Procedure[T]], until: float) -> Procedure[T]:
        """Make an attempt that consists of reads, and retry it until the deadline."""
        return repeat(attempt, Unavailable, self.backoff(until))

    def backoff(self, until: float, *, launches: bool = False) -> Callable[[Unavailable, int], float | None]:
        """Return a function for the pause after an error, in seconds; None: do not retry.

        The pause grows exponentially, and half of it is random, so that jobs do not retry in step. A read is retried a
        last time exactly at `until`. A launch is retried only if it certainly had no effect, and only before `until`;
        for UNREACHED_TIME at most while Coval has never responded, because the address may be wrong.
        """
        report_retry = self.retry_reporter()
        began = self._clock.now()
        until = min(until, self._ends)

        def pause_after(error: Unavailable, tries: int) -> float | None:
            self._note(error)
            unreached = launches and not self._reached
            left = min(until, began + UNREACHED_TIME if unreached else until) - self._clock.now()
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._randomness.uniform(0.5, 1)
            pause = error.retry_after or backoff
            if left <= 0 or (launches and (error.arrived or pause >= left)):
                return None
            pause = min(left, pause)
            report_retry(error, pause)
            return pause

        return pause_after

    def retry_reporter(self) -> Callable[[Unavailable, float], None]:
        """Return a function that logs an error and the pause after it, in seconds: the first one, then one a minute."""
        logged = float("-inf")

        def report(error: Unavailable, pause: float) -> None:
            nonlocal logged
            if self._clock.now() - logged >= HEARTBEAT:
                self._log(f"{error.what} Retrying in {duration(pause)}.")
                logged = self._clock.now()

        return report
