"""Calls to the API of a CI system, and what the pages that are written by them have in common.

Calls are repeated until a deadline, and responses read field by field. What a header or a message means is the system's
own. A call follows no link or redirect in a response.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from coval_gate.base import titles
from coval_gate.base.clock import Clock
from coval_gate.base.errors import HostError, Transient
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, repeat
from coval_gate.base.text import duration, quoted, value_at
from coval_gate.base.transport import TOO_LATE, NetworkError, Request, Response, Server, Transport
from coval_gate.ci.host import Context, Host, Page, PageText
from coval_gate.inputs.inputs import Inputs

T = TypeVar("T")

BACKOFFS: Final = (1.0, 2.0, 4.0)  # s after each attempt at an operation; the last one repeats
LIMIT_PAUSE: Final = 60.0  # s after a rate limit without a stated pause
LONGEST_LIMIT: Final = 10.0**7  # s; keeps an absurd date from a server within the calendar
ENTRIES_A_PAGE: Final = 100  # the maximum of both systems
Api = TypeVar("Api", bound="HostApi")


class Payload(NamedTuple):
    """`text` and `number` raise HostError for a missing value. `advice`: for a response that is not the system's."""

    call: str
    headers: Mapping[str, str]
    data: Any
    advice: str = ""

    def get(self, *keys: str) -> Any:
        return value_at(self.data, *keys)

    def text(self, *keys: str) -> str:
        return value if isinstance(value := self.get(*keys), str) else self.lacks(".".join(keys))

    def number(self, key: str) -> int:
        return value if isinstance(value := self.get(key), int) else self.lacks(key)

    def lacks(self, what: str) -> NoReturn:
        raise HostError(
            titles.UNEXPECTED_RESPONSE, f"{self.call} returned a response without {what}.", advice=self.advice
        )


class Refused(HostError):
    """A retry would be refused, too."""

    def __init__(self, status: int, title: str, what: str, *, forbidden: bool, advice: str) -> None:
        super().__init__(title, what, forbidden=forbidden, advice=advice)
        self.status = status


class Service(NamedTuple):
    """A CI system's API: what its responses and errors mean.

    `pause`: how long an error response with such a message asks to wait, in seconds.
    `has_next`: whether another page follows these headers. `unauthorized`: advice for a 401, before the `permission`.
    """

    name: str
    too_late: str
    unavailable: str
    limit: str
    rejected: str
    pause: Callable[[Response, str, float], float | None]
    has_next: Callable[[Mapping[str, str]], bool]
    most_pages: int
    unauthorized: str
    permission: str
    moved: str
    address: str
    left: str
    conflicts: tuple[int, ...] = ()  # statuses after which another attempt may succeed


class Operation(NamedTuple):
    """Calls for one purpose, which need a `permission` and must begin by `until`."""

    service: Service
    transport: Transport
    clock: Clock
    permission: str
    until: float

    def repeat(self, attempt: Callable[[], Procedure[T]]) -> Procedure[T]:
        return repeat(
            attempt,
            Transient,
            left=lambda: self.until - self.clock.now(),
            backoff=lambda tries: BACKOFFS[min(tries, len(BACKOFFS) - 1)],
        )

    async def list(
        self,
        path: str,
        matches: Callable[[Payload], bool] = lambda _: True,
        *,
        under: str = "",
        most: int | None = None,
        exists: bool = False,
        **query: str,
    ) -> list[Payload]:
        """Return at most the first `most`. `under`: the key of the list in an object. `exists`: as in `send`.

        Any page may be short, or empty: GitLab cuts pages before it hides what the token may not read.
        """
        selected: list[Payload] = []
        for page in range(1, self.service.most_pages + 1):
            page_query = {"per_page": str(ENTRIES_A_PAGE), **query, "page": str(page)}
            payload = await self.send("GET", path, query=page_query, exists=exists)
            entries = payload.get(under) if under else payload.data
            entries = entries if isinstance(entries, list) else payload.lacks(under or "a list")
            selected += (item for item in (payload._replace(data=entry) for entry in entries) if matches(item))
            if not self.service.has_next(payload.headers) or (most and len(selected) >= most):
                return selected[:most]
        what = f"GET {path} has more than {self.service.most_pages} pages."
        raise HostError(titles.UNEXPECTED_RESPONSE, what, advice=self.service.address)

    async def send(
        self,
        verb: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        exists: bool = False,
    ) -> Payload:
        """Raises Transient if another attempt may help. `exists`: a 404 does not mean a missing permission."""
        service, call = self.service, f"{verb} {path}"
        if self.clock.now() > self.until:
            raise Transient(service.too_late, f"{call} {TOO_LATE}", advice=service.left, too_late=True)
        try:
            response = await self.transport.send(Request(verb, path, query, body), until=self.until)
        except NetworkError as error:
            kind = Transient if error.cause == "transient" else HostError
            raise kind(service.unavailable, f"{call} {error.what}", advice=service.address) from None
        payload = Payload(call, response.headers, response.content, service.address)
        if not response.ok or payload.get("errors"):  # GraphQL fails with 200
            raise self._problem(payload, response, exists=exists)
        return payload

    def _problem(self, payload: Payload, response: Response, *, exists: bool) -> HostError:
        service, status, now = self.service, response.status, self.clock.time()
        message = message_in(payload)
        what = f"{payload.call} returned {status}" + (f" ({quoted(message, 200)})." if message else ".")
        wait = service.pause(response, message, now)
        limited = status < 500 and wait is not None
        if limited or status in (429, *service.conflicts) or status >= 500 or (status == 404 and exists):
            advice = f"Check whether {service.name} has an incident, and re-run the job later."
            if wait:
                again = datetime.fromtimestamp(now + wait, UTC)
                advice = f"Retry in {duration(wait)}, at {again:%Y-%m-%d %H:%M:%S} UTC."
            title = service.limit if limited else service.unavailable
            return Transient(title, what, advice=advice, retry_after=wait or 0.0)
        both = f"Either it does not exist, or the token cannot read it: {service.name} returns 404 for both. "
        forbidden = {401: service.unauthorized, 403: "", 404: both}
        if status in forbidden:
            advice = forbidden[status] + service.permission.format(self.permission)
        else:
            advice = service.moved if 300 <= status < 400 else "A retry would be rejected, too."
        return Refused(status, service.rejected, what, forbidden=status in forbidden, advice=advice)


class HostApi:
    """Every method is a procedure and raises HostError. No request begins after `until`, on the clock's now()."""

    def __init__(self, service: Service, server: Server, runtime: Runtime) -> None:
        self._service = service
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session)
        self._clock = runtime.clock

    def operation(self, permission: str, until: float) -> Operation:
        return Operation(self._service, self._transport, self._clock, permission, until)

    def head_of(self, number: int, *, until: float) -> Procedure[str]:
        """Return the commit of a pull request."""
        raise NotImplementedError

    def text_at(self, path: str, *keys: str, permission: str, until: float) -> Procedure[str]:
        operation = self.operation(permission, until)

        async def attempt() -> str:
            return (await operation.send("GET", path)).text(*keys)

        return operation.repeat(attempt)


def message_in(payload: Payload) -> str:
    """GitHub has `message`, and `errors` that are objects or texts; GitLab a text, or the problems of each field."""
    message = payload.get("message") or payload.get("error_description") or payload.get("error")
    fields = message if isinstance(message, dict) else {}
    errors = payload.get("errors")
    texts = [
        message,
        fields.get("error"),
        *(
            f"{name}: {', '.join(map(str, problems))}"
            for name, problems in fields.items()
            if isinstance(problems, list)
        ),
        *(
            error.get("message") if isinstance(error, dict) else error
            for error in (errors if isinstance(errors, list) else ())
        ),
    ]
    return "; ".join(text for text in texts if isinstance(text, str) and text)


def begins_with(comment: Payload, marker: str) -> bool:
    """GitLab writes some notes itself."""
    return not comment.get("system") and isinstance(body := comment.get("body"), str) and body.startswith(marker)


def pause_in(response: Response, resets: str, now: float) -> float | None:
    """Return the pause in seconds; None if the response asks for none.

    `resets`: its header with the end of a rate limit, in seconds since the epoch.
    """
    pause = response.retry_after
    if pause is None and re.fullmatch(r"\d+", resets, re.ASCII):
        pause = max(0.0, float(resets) - now)
    return None if pause is None else min(pause, LONGEST_LIMIT)


class ApiPage(Page, Generic[Api]):
    def __init__(
        self, input_: str, obstacle: str, host: Host, api: Callable[[], Api], inputs: Inputs, context: Context
    ) -> None:
        super().__init__(input_, obstacle)
        self._host, self._api, self._inputs, self._context = host, api, inputs, context

    def write(self, number: int, text: PageText, *, create: bool, until: float) -> Procedure[str]:
        """Update the oldest comment that begins with the name of `text`. Without one, create it if `create`.

        Return its URL; "" if there is none. A lost attempt may have created it, so every attempt looks for it first.
        """
        raise NotImplementedError

    @property
    def _may_be_judged(self) -> bool:
        """Whether a later step may have judged the run that this step, as it ends, was to report as not judged."""
        return self._inputs.mode == "launch" and not self.certain

    async def locate(self, context: Context, *, until: float) -> Context:
        """Add the pull request's head, if only its number is known."""
        if not context.pull_request:
            return context
        return context._replace(sha=await self._api().head_of(context.pull_request, until=until), sha_is_known=True)

    async def _comment_on(self, number: int, text: PageText, context: Context, until: float) -> None:
        head = await self._api().head_of(number, until=until)
        name = f"{context.web.change} {context.web.mark}{number}"
        if context.sha_is_known and head != context.sha:
            self._host.log(f"{name.capitalize()} has a newer commit, {head[:7]}, so its comment is not updated.")
            return
        # A passing verdict replaces a comment about a failure, even with on_failure.
        create = self._inputs.comment == "always" or not text.passes
        before = self.url
        self.url = await self.write(number, text, create=create, until=until)
        if self.url not in ("", before):  # an update follows the verdict, which is the log's last line
            self._host.log(f"Commented on {name}: {self.url}")
