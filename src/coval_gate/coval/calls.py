"""Makes calls to Coval: sends, parses and retries them, and follows pages."""

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, NamedTuple, Self, TypeVar

from coval_gate.base.errors import CovalError, TooLarge, Unavailable
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, SharedCall, repeat
from coval_gate.base.text import duration
from coval_gate.base.transport import TOO_LATE, NetworkError, Request, Response, Server, Transport
from coval_gate.coval.errors import network_problem, response_problem, unavailable
from coval_gate.coval.resources import Resource
from coval_gate.coval.results import parse_page

T = TypeVar("T")

FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
UNREACHED_TIME: Final = 300.0  # s of launch attempts to an address that has never responded
SMALLER: Final = 10  # the factor by which pages shrink after one was too large
SAME_FAILURE_PAUSE: Final = 60.0  # s between two log lines about the same failure
SHARED: Final = 10.0  # s; as old may a look-up before the launch be in any case, because Coval responds slowly
ALIKE: Final = 1.0  # s by which the deadlines of a shared call may differ


class SharedRead(NamedTuple):
    """`until` is the deadline of the first leg that asked."""

    call: SharedCall[Any]
    until: float

    def serves(self, until: float, now: float) -> bool:
        """Another leg's deadline must not cut a call off, so it must be about the same while the call is under way."""
        if self.call.ended_at is None:
            return abs(until - self.until) <= ALIKE
        return now - self.call.ended_at <= SHARED and not isinstance(self.call.error, Unavailable)


class Calls:
    """`until` is a call's deadline on the clock's now(). At `ends`, all calls have ended.

    A call that a deadline cuts off raises the error before it, because users need to know that one.
    """

    def __init__(self, server: Server, runtime: Runtime, log: Callable[[str], None], *, ends: float = math.inf) -> None:
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session, ends=ends)
        self._ends = ends
        self._failures: dict[str, CovalError] = {}  # current ones by method and path, newest last
        self._shared: dict[tuple[object, ...], SharedRead] = {}  # of all legs, whose calls are copies
        self._clock = runtime.clock
        self._randomness = runtime.randomness
        self._record = runtime.record
        self._log = log
        self._reached = False
        self._final_timeout = server.timeouts.final
        self._response_time = 0.0  # s, of the last success

    def close(self) -> None:
        self._transport.close()

    def logging_to(self, log: Callable[[str], None]) -> Self:
        other = copy(self)
        other._log = log  # noqa: SLF001 - a copy of this object
        return other

    @property
    def lead(self) -> float:
        """How long before a deadline to send a read, in seconds, because Coval responds slowly; usually 0."""
        return self._response_time if self._response_time > self._final_timeout else 0.0

    def server_time(self, moment: float) -> float | None:
        return self._transport.server_time(moment)

    async def _entries(
        self,
        kind: Resource[T],
        until: float,
        *,
        go_on: Callable[[Sequence[T]], bool] = lambda _: True,
        page_size: int = 100,  # of most lists; the maximum of the API
        once: bool = False,
        shared: bool = False,
    ) -> tuple[T, ...]:
        """Stop when `go_on` returns False for the entries so far. Pages shrink after one that is too large.

        `shared`: legs share each page.
        """
        parse = partial(parse_page, keys=[f"{key}s" for key in kind.keys], read=kind.read)
        items: list[T] = []
        token = ""
        while True:
            more = {"page_size": str(page_size)} | ({"page_token": token} if token else {})
            request = Request("GET", kind.path, query={**dict(kind.query), **more})
            self._check_time(request, until)
            reader = kind.read if shared else None
            try:
                page, token = await self._fetch(request, parse, until, once=once, shared_as=reader)
            except TooLarge:
                if page_size == 1:
                    raise
                page_size = max(1, page_size // SMALLER)
                continue
            for item in page:
                items.append(item)
                if not go_on(items):
                    return tuple(items)
            if not token:
                return tuple(items)

    def _check_time(self, request: Request, until: float) -> None:
        if self._clock.now() > min(until, self._ends):
            raise self._too_late(request)

    def _fetch(
        self,
        request: Request,
        parse: Callable[[object], T],
        until: float,
        *,
        once: bool = False,
        shared_as: object = None,
    ) -> Procedure[T]:
        """`shared_as` identifies `parse`: legs that need it at about the same time share the call, and its error."""
        if shared_as is not None:
            return self._shared_fetch(request, parse, shared_as, until, once=once)

        async def attempt() -> T:
            return self._parsed(request, await self._send(request, until), parse)

        if once:
            return attempt()
        until = min(until, self._ends)
        return repeat(
            attempt,
            Unavailable,
            left=lambda: until - self._clock.now(),
            backoff=self._backoff,
            to_the_end=True,
            report=self.retry_reporter(),
        )

    def _parsed(self, request: Request, response: Response, parse: Callable[[object], T]) -> T:
        """Raises Unavailable if `parse` raises ValueError."""
        try:
            return parse(response.content)
        except ValueError as error:
            problem = unavailable(request, f"returned an unreadable response ({error}).", arrived=True)
            problem.misread = str(error)
            raise self._noted(request, problem) from None

    async def _send(self, request: Request, until: float) -> Response:
        """Send a request once. Raises CovalError unless it succeeds."""
        sent = self._clock.now()
        try:
            response = await self._completed(request, self._transport.send(request, until=until))
        except CovalError as error:
            raise self._noted(request, error) from None
        self._failures.pop(str(request), None)
        self._response_time = self._clock.now() - sent
        return response

    async def _completed(self, request: Request, response: Procedure[Response]) -> Response:
        """Raises CovalError unless the request succeeds."""
        try:
            received = await response
        except NetworkError as error:
            raise (self._too_late(request) if error.cause == "deadline" else network_problem(request, error)) from None
        if self._record:
            self._record(request, received)
        if not received.ok:
            problem = response_problem(request, received, reached=self._reached)
            self._reached |= isinstance(problem, Unavailable) and not problem.arrived  # Coval itself asks to wait
            raise problem
        self._reached = True
        return received

    def _too_late(self, request: Request) -> CovalError:
        """Prefer the failure before the deadline. It may be of another leg's call, so it shows nothing of this one."""
        others = (error for error in reversed(self._failures.values()) if isinstance(error, Unavailable))
        cause = self._failures.get(str(request)) or next(others, None)
        if cause is None:
            return unavailable(request, TOO_LATE, arrived=False, too_late=True)
        what = cause.what
        if request.method == "POST":
            what = f"{request} was not sent before max_wait_time was over. The last failure until then: {what}"
        is_limit = isinstance(cause, Unavailable) and cause.is_limit
        return Unavailable(cause.title, what, arrived=False, advice=cause.advice, is_limit=is_limit, too_late=True)

    def _noted(self, request: Request, error: CovalError) -> CovalError:
        if not (isinstance(error, Unavailable) and error.too_late):
            self._failures.pop(str(request), None)  # keep the newest last
            self._failures[str(request)] = error
        return error

    def _shared_fetch(
        self, request: Request, parse: Callable[[object], T], reader: object, until: float, *, once: bool
    ) -> Procedure[T]:
        now = self._clock.now()
        for old in [key for key, shared in self._shared.items() if not shared.serves(shared.until, now)]:
            del self._shared[old]
        key = (str(request), *(request.query or {}).items(), reader, once)
        shared = self._shared.get(key)
        if shared is None or not shared.serves(until, now):
            call = SharedCall(self._fetch(request, parse, until, once=once), self._clock)
            shared = self._shared[key] = SharedRead(call, until)
        return shared.call.result()

    def _retry_launch(self, attempt: Callable[[], Procedure[T]], until: float) -> Procedure[T]:
        """While Coval has never responded, the address may be wrong: retry for at most UNREACHED_TIME."""
        until, unreached_until = min(until, self._ends), self._clock.now() + UNREACHED_TIME

        def left() -> float:
            return (until if self._reached else min(until, unreached_until)) - self._clock.now()

        return repeat(attempt, Unavailable, left=left, backoff=self._backoff, report=self.retry_reporter())

    def _backoff(self, tries: int) -> float:
        """Half of the exponential pause is random, so that jobs do not retry in step."""
        return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._randomness.uniform(0.5, 1)

    def retry_reporter(self) -> Callable[[Unavailable, float], None]:
        """Return a function that logs an error and the pause after it, in seconds, at most once a minute."""
        logged = float("-inf")

        def report(error: Unavailable, pause: float) -> None:
            nonlocal logged
            if self._clock.now() - logged >= SAME_FAILURE_PAUSE:
                self._log(f"{error.what} Retrying {f'in {duration(pause)}' if pause else 'a last time'}.")
                logged = self._clock.now()

        return report
