"""The way to GitLab's REST API with the token of GITLAB_TOKEN: repetition, pages, and errors that say what to do.

A call reads only the fields that it needs, and follows no link or redirect in a response.

Sources: GitLab's "REST API" ("Pagination response headers"), "Notes API", "Commits API" and "Rate limits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.errors import HostError
from coval_gate.base.records import NamedTuple
from coval_gate.base.text import duration, json_in, quoted
from coval_gate.base.transport import TOO_LATE, NetworkError, Request, Server, Timeouts, Transport
from coval_gate.ci.calls import LIMIT_PAUSE, Payload, TooLate, Transient, pause_in, repeat_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.base.clock import Clock
    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.base.secret import Secret
    from coval_gate.ci.calls import T

PAGE_SIZE: Final = 100  # GitLab's maximum
MOST_PAGES: Final = 50  # GitLab allows at most 5,000 comments
NEXT_PAGE: Final = "x-next-page"  # a response's header: a number, empty on the last page
CREDENTIAL_HEADER: Final = "PRIVATE-TOKEN"
TIMEOUTS: Final = Timeouts(connect=10.0, response=15.0, final=1.0)  # GitLab may hold a status for its lock for 10 s
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a page has at most 100 notes, most of them short
FORBIDDEN: Final = {
    401: "GitLab does not accept GITLAB_TOKEN: set a current token. ",
    403: "",
    404: "Either it does not exist, or the token cannot read it: GitLab returns 404 for both. ",
}
CONFLICT: Final = 409  # another request changes the same status
PERMISSION: Final = "GITLAB_TOKEN needs the scope api and the role {}."
NOT_GITLAB: Final = "Check CI_API_V4_URL, the network and any proxies."
LEFT: Final = "The post step sets the commit status."


class Refused(HostError):
    """A retry would be refused, too."""

    def __init__(self, status: int, what: str, *, forbidden: bool, advice: str) -> None:
        super().__init__(titles.GITLAB_REJECTED, what, forbidden=forbidden, advice=advice)
        self.status = status


class GitLabCalls(NamedTuple):
    """Calls for one purpose, which need a `role` in the project and must begin by `until`."""

    transport: Transport
    clock: Clock
    role: str
    until: float

    def repeat(self, attempt: Callable[[], Procedure[T]]) -> Procedure[T]:
        return repeat_until(attempt, self.clock, self.until)

    def list(self, path: str, **query: str) -> Procedure[list[Payload]]:
        """GitLab cuts pages before it hides what the token may not read, so any page may be short, or empty."""
        entries = list[Payload]()
        page = "1"
        for _ in range(MOST_PAGES):
            page_query = {**query, "per_page": str(PAGE_SIZE), "page": page}
            payload = yield from self.send("GET", path, query=page_query)
            listed = payload.data if isinstance(payload.data, list) else payload.lacks("a list")
            entries += (payload._replace(data=entry) for entry in listed)
            page = payload.headers.get(NEXT_PAGE, "")
            if not page:
                return entries
        raise HostError(titles.UNEXPECTED_RESPONSE, f"GET {path} has more than {MOST_PAGES} pages.", advice=NOT_GITLAB)

    def send(
        self,
        verb: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Procedure[Payload]:
        """Raises Transient if another attempt may help."""
        call = f"{verb} {path}"
        if self.until - self.clock.now() < 0:
            raise TooLate(HostError(titles.GITLAB_TOO_LATE, f"{call} {TOO_LATE}", advice=LEFT))
        try:
            response = yield from self.transport.send(Request(verb, path, query, body), until=self.until)
        except NetworkError as error:
            problem = HostError(titles.GITLAB_UNAVAILABLE, f"{call} {error.what}", advice=NOT_GITLAB)
            raise (Transient(problem) if error.cause == "transient" else problem) from None
        payload = Payload(call, response.headers, json_in(response.body), NOT_GITLAB)
        if not response.ok:
            raise self._problem(payload, response.status)
        return payload

    def _problem(self, payload: Payload, status: int) -> HostError | Transient:
        message = _message(payload)
        what = f"{payload.call} returned {status}" + (f" ({quoted(message, 200)})." if message else ".")
        if status in (CONFLICT, 429) or status >= 500:
            limited = status == 429
            headers = payload.headers
            wait = pause_in(headers.get("retry-after", ""), headers.get("ratelimit-reset", ""), self.clock.time())
            wait = (LIMIT_PAUSE if wait is None else wait) if limited else wait or 0.0
            advice = "Check whether GitLab has an incident, and retry the job later."
            if wait:
                advice = f"Retry the job in {duration(wait)}."
            title = titles.GITLAB_LIMIT if limited else titles.GITLAB_UNAVAILABLE
            return Transient(HostError(title, what, advice=advice), wait)
        if status in FORBIDDEN:
            advice = FORBIDDEN[status] + PERMISSION.format(self.role)
        elif 300 <= status < 400:
            advice = "If the project was moved after the job began, start a new pipeline."
        else:
            advice = "A retry would be rejected, too."
        return Refused(status, what, forbidden=status in FORBIDDEN, advice=advice)


def _message(payload: Payload) -> str:
    """An error response has a text, the problems of each field, or a rate limit."""
    message = payload.get("message") or payload.get("error_description") or payload.get("error")
    if isinstance(message, dict):
        if isinstance(limit := message.get("error"), str):
            return limit
        parts = [
            f"{name}: {', '.join(map(str, problems))}"
            for name, problems in message.items()
            if isinstance(problems, list)
        ]
        return "; ".join(parts)
    return message if isinstance(message, str) else ""


class GitLab:
    """Every method is a procedure and raises HostError. No request begins after `until`, on the clock's now()."""

    def __init__(self, api_url: str, token: Secret, runtime: Runtime) -> None:
        server = Server(
            root=api_url.rstrip("/"),
            credential=token,
            credential_header=CREDENTIAL_HEADER,
            headers={"Accept": "application/json"},
            timeouts=TIMEOUTS,
            body_limit=BODY_LIMIT,
        )
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session)
        self._clock = runtime.clock

    def operation(self, role: str, until: float) -> GitLabCalls:
        return GitLabCalls(self._transport, self._clock, role, until)

    def merge_request_head(self, project: str, number: int, *, until: float) -> Procedure[str]:
        operation = self.operation("Reporter", until)

        def attempt() -> Procedure[str]:
            request = yield from operation.send("GET", merge_request_path(project, number))
            return request.text("sha")

        return operation.repeat(attempt)


def project_path(project: str) -> str:
    return f"/projects/{quote(project, safe='')}"


def merge_request_path(project: str, number: int) -> str:
    return f"{project_path(project)}/merge_requests/{number}"
