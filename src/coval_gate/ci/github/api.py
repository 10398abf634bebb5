"""The way to GitHub's APIs with the step's token: repetition, pages, rate limits, and errors that say what to do.

A call reads only the fields that it needs, and follows no link or redirect in a response.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

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

T = TypeVar("T")

PAGE_SIZE: Final = 100  # GitHub's maximum
MOST_PAGES: Final = 30  # GitHub allows at most 2,500 comments
ADVICE: Final = {
    401: "GitHub does not accept the token: remove github_token, or set a current one. ",
    403: "",
    404: "Either it does not exist, or the token cannot read it: GitHub returns 404 for both. ",
}
PERMISSION: Final = (
    "The job needs `permissions:` with `{}`. Workflows of pull requests from forks always get a read-only token; "
    "those that Dependabot starts get one unless `permissions` grants more."
)
NOT_GITHUB: Final = "Check GITHUB_API_URL, the network and any proxies."
LEFT: Final = "The post step sets the commit status and completes the check run."
API_VERSION: Final = "2022-11-28"  # the only one on every Enterprise Server; github.com supports it until 2028
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, final=1.0)  # GitHub itself gives up after 10 s
BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and their envelope
AUTHOR: Final = "github-actions"  # the login of the workflow's own token
BOT: Final = "[bot]"  # suffix of an App's login, impossible in a person's; GraphQL may omit it
INSTALLATION: Final = "ghs_"  # prefix of an App's token


class GitHubCalls(NamedTuple):
    """Calls for one purpose, which need `permission` and must begin by `until`."""

    transport: Transport
    clock: Clock
    permission: str
    until: float

    def repeat(self, attempt: Callable[[], Procedure[T]]) -> Procedure[T]:
        return repeat_until(attempt, self.clock, self.until)

    def find(self, path: str, matches: Callable[[Payload], bool], **query: str) -> Procedure[Payload | None]:
        first = yield from self.find_all(path, matches, most=1, exists=False, **query)
        return first[0] if first else None

    def find_all(
        self,
        path: str,
        matches: Callable[[Payload], bool],
        *,
        under: str = "",
        most: int | None = None,
        exists: bool = False,
        **query: str,
    ) -> Procedure[list[Payload]]:
        """Return at most the first `most`. `under`: the key of the list in an object. `exists`: as in `send`."""
        selected = list[Payload]()
        for page in range(1, MOST_PAGES + 1):
            page_query = {"per_page": str(PAGE_SIZE), **query, "page": str(page)}
            payload = yield from self.send("GET", path, query=page_query, exists=exists)
            entries = payload.get(under) if under else payload.data
            entries = entries if isinstance(entries, list) else payload.lacks(under or "a list")
            selected += (item for item in (payload._replace(data=entry) for entry in entries) if matches(item))
            if 'rel="next"' not in payload.headers.get("link", "") or (most and len(selected) >= most):
                return selected[:most]
        raise unexpected(f"GET {path} has more than {MOST_PAGES} pages.")

    def send(
        self,
        verb: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        exists: bool = False,
    ) -> Procedure[Payload]:
        """Raises Transient if another attempt may help. `exists`: a 404 does not mean a missing permission."""
        call = f"{verb} {path}"
        if self.until - self.clock.now() < 0:
            raise TooLate(HostError(titles.GITHUB_TOO_LATE, f"{call} {TOO_LATE}", advice=LEFT))
        try:
            response = yield from self.transport.send(Request(verb, path, query, body), until=self.until)
        except NetworkError as error:
            problem = HostError(titles.GITHUB_UNAVAILABLE, f"{call} {error.what}", advice=NOT_GITHUB)
            raise (Transient(problem) if error.cause == "transient" else problem) from None
        payload = Payload(call, response.headers, json_in(response.body), NOT_GITHUB)
        if not response.ok or payload.get("errors"):  # GraphQL fails with 200
            raise self._problem(payload, response.status, exists=exists)
        return payload

    def _problem(self, payload: Payload, status: int, *, exists: bool) -> HostError | Transient:
        message = _messages(payload)
        what = f"{payload.call} returned {status}" + (f" ({quoted(message, 200)})." if message else ".")
        wait = _rate_limit_pause(payload.headers, message, self.clock.time())
        limited = status in (200, 403, 429) and wait is not None
        if limited or status == 429 or status >= 500 or (status == 404 and exists):
            title = titles.GITHUB_LIMIT if limited else titles.GITHUB_UNAVAILABLE
            advice = "Check whether GitHub has an incident, and re-run the job later."
            if wait:
                again = datetime.fromtimestamp(self.clock.time() + wait, UTC)
                advice = f"Retry in {duration(wait)}, at {again:%Y-%m-%d %H:%M:%S} UTC."
            return Transient(HostError(title, what, advice=advice), wait or 0.0)
        if status in ADVICE:
            advice = ADVICE[status] + PERMISSION.format(self.permission)
        elif 300 <= status < 400:
            advice = "If the repository was renamed after the job began, start a new workflow run."
        else:
            advice = "A retry would be rejected, too."
        return HostError(titles.GITHUB_REJECTED, what, forbidden=status in ADVICE, advice=advice)


def _rate_limit_pause(headers: Mapping[str, str], message: str, now: float) -> float | None:
    """Return seconds; None without a rate limit. Source: "Rate limits for the REST API" in GitHub's documentation."""
    resets = headers.get("x-ratelimit-reset", "") if headers.get("x-ratelimit-remaining") == "0" else ""
    pause = pause_in(headers.get("retry-after", ""), resets, now)
    if pause is not None:
        return pause
    return LIMIT_PAUSE if "rate limit" in message.lower() else None


def _messages(payload: Payload) -> str:
    """An error response may also have `errors`, which are objects or texts."""
    errors = payload.get("errors")
    listed = errors if isinstance(errors, list) else ()
    messages = [
        payload.get("message"),
        *(error.get("message") if isinstance(error, dict) else error for error in listed),
    ]
    return "; ".join(message for message in messages if isinstance(message, str) and message)


def unexpected(what: str) -> HostError:
    return HostError(titles.UNEXPECTED_RESPONSE, what, advice=NOT_GITHUB)


class GitHub:
    """`api_url` is GITHUB_API_URL, also of Enterprise Server; `repository` is owner/name.

    Every method is a procedure and raises HostError. No request begins after `until`, a time on the clock's now().
    """

    def __init__(self, api_url: str, token: Secret, repository: str, runtime: Runtime) -> None:
        parts = urlsplit(api_url.rstrip("/"))
        server = Server(
            root=f"{parts.scheme}://{parts.netloc}",
            credential=token,
            credential_header="Authorization",
            credential_prefix="Bearer ",
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION},
            timeouts=TIMEOUTS,
            body_limit=BODY_LIMIT,
        )
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session)
        self._clock = runtime.clock
        self.path = f"{parts.path}/repos/{quote(repository)}"
        # Enterprise Server has REST under /api/v3 and GraphQL under /api/graphql.
        self._graphql = f"{parts.path.removesuffix('/v3')}/graphql"
        self._is_app = token.reveal().startswith(INSTALLATION)
        self._author: Author | None = None

    def pull_request_head(self, number: int, *, until: float) -> Procedure[str]:
        operation = self.operation("pull-requests: read", until)

        def attempt() -> Procedure[str]:
            pull = yield from operation.send("GET", f"{self.path}/pulls/{number}")
            return pull.text("head", "sha")

        return operation.repeat(attempt)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request at `sha`. The workflow_run event does not name one from a fork."""
        operation = self.operation("pull-requests: read", until)

        def attempt() -> Procedure[int | None]:
            pulls = f"{self.path}/pulls"
            match = yield from operation.find(
                pulls, lambda pull: pull.text("head", "sha") == sha, state="open", head=f"{owner}:{branch}"
            )
            return match.number("number") if match else None

        return operation.repeat(attempt)

    def operation(self, permission: str, until: float) -> GitHubCalls:
        return GitHubCalls(self._transport, self._clock, permission, until)

    def find_author(self, operation: GitHubCalls) -> Procedure[Author]:
        """Unlike `GET /user`, GraphQL also works with installation tokens."""
        if not self._author:
            try:
                payload = yield from operation.send("POST", self._graphql, body={"query": "query { viewer { login } }"})
                login = payload.text("data", "viewer", "login").casefold()
            except HostError:
                return Author(AUTHOR, is_app=True)
            is_app = self._is_app or login.endswith(BOT) or login == AUTHOR
            self._author = Author(login.removesuffix(BOT), is_app=is_app)
        return self._author


class Author(NamedTuple):
    """The owner of a token. A person's login may equal the name of an App."""

    login: str  # in lower case, and without an App's suffix
    is_app: bool

    def wrote(self, comment: Payload) -> bool:
        """The user of a deleted account is null."""
        login, kind = comment.get("user", "login"), comment.get("user", "type")
        if self.is_app and kind != "Bot":
            return False
        return isinstance(login, str) and login.casefold() == self.login + (BOT if self.is_app else "")
