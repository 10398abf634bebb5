"""GitHub's REST API: the gate's comment on a pull request, and a commit's status.

The client reads only the fields that it needs, makes no further calls for missing ones, and follows no link or
redirect in a response.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

from coval_gate.errors import GitHubError
from coval_gate.network import NetworkError
from coval_gate.text import duration, quoted
from coval_gate.transport import Request, Server, Timeouts, Transport
from coval_gate.waiting import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.clock import Clock
    from coval_gate.runtime import Runtime
    from coval_gate.secret import Secret
    from coval_gate.waiting import Procedure

T = TypeVar("T")

BACKOFFS: Final = (1.0, 2.0, 4.0)  # s after each attempt at an operation; the last one is repeated
API_VERSION: Final = "2022-11-28"  # the only one that every Enterprise Server knows; github.com has it until 2028
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, final=1.0)  # GitHub itself gives up after 10 s
BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and their envelope
LIMIT_PAUSE: Final = 60.0  # s after a rate limit that names no pause
LONGEST_WAIT: Final = 10.0**7  # s; keeps an absurd date from a server within the calendar
PAGE_SIZE: Final = 100  # GitHub's maximum
MOST_PAGES: Final = 30  # GitHub allows at most 2,500 comments
AUTHOR: Final = "github-actions"  # the login of the workflow's own token
BOT: Final = "[bot]"  # the end of an App's login, which no person's login can have; GraphQL may omit it
INSTALLATION: Final = "ghs_"  # the beginning of an App's token
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
STATUS_PAGE: Final = "https://www.githubstatus.com"


class GitHub:
    """GitHub at `api_url` (GITHUB_API_URL, also for Enterprise Server), for one `repository` (owner/name).

    Every method is a procedure (see `waiting`) and raises GitHubError. No request begins after `until`, a time on the
    clock's now().
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
        self._path = f"{parts.path}/repos/{quote(repository)}"
        # Enterprise Server has REST under /api/v3 and GraphQL under /api/graphql.
        self._graphql = f"{parts.path.removesuffix('/v3')}/graphql"
        self._is_app = token.reveal().startswith(INSTALLATION)
        self._author: _Author | None = None

    def pull_request_head(self, number: int, *, until: float) -> Procedure[str]:
        """Return the commit at the head of a pull request."""
        operation = self._operation("pull-requests: read", until)

        def attempt() -> Procedure[str]:
            found = yield from operation.send("GET", f"{self._path}/pulls/{number}")
            return found.text("head", "sha")

        return operation.repeat(attempt)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request from `owner`'s `branch` with `sha` at its head; None if there is none.

        The workflow_run event does not name a pull request from a fork, so it has to be looked up.
        """
        operation = self._operation("pull-requests: read", until)

        def attempt() -> Procedure[int | None]:
            pulls = f"{self._path}/pulls"
            found = yield from operation.find(
                pulls, lambda each: each.text("head", "sha") == sha, state="open", head=f"{owner}:{branch}"
            )
            return found.number("number") if found else None

        return operation.repeat(attempt)

    def comment(self, number: int, body: str, *, marker: str, create: bool, until: float) -> Procedure[str]:
        """Set the gate's oldest comment that begins with `marker` to `body`. Without one, create it if `create`.

        Returns the comment's URL, "" if there is no comment. An attempt whose response was lost may have created the
        comment, so every attempt looks for it first.
        """
        operation = self._operation("pull-requests: write", until)
        comments = f"{self._path}/issues/{number}/comments"

        def attempt() -> Procedure[str]:
            author = yield from self._find_author(operation)
            found = yield from operation.find(comments, lambda each: _begins_with(each, marker) and author.wrote(each))
            if found is None:
                if not create:
                    return ""
                found = yield from operation.send("POST", comments, body={"body": body})
            elif found.get("body") != body:
                path = f"{self._path}/issues/comments/{found.number('id')}"
                found = yield from operation.send("PATCH", path, body={"body": body})
            return found.text("html_url")

        return operation.repeat(attempt)

    def set_status(
        self, sha: str, *, context: str, state: str, description: str, target_url: str, until: float
    ) -> Procedure[None]:
        """Set a commit's status `context`. The newest one counts, so setting it twice is harmless."""
        operation = self._operation("statuses: write", until)
        status = {"state": state, "context": context, "description": description, "target_url": target_url}
        body = {name: text for name, text in status.items() if text}

        def attempt() -> Procedure[None]:
            payload = yield from operation.send("POST", f"{self._path}/statuses/{quote(sha, safe='')}", body=body)
            payload.text("state")

        return operation.repeat(attempt)

    def _operation(self, permission: str, until: float) -> _Operation:
        return _Operation(self._transport, self._clock, permission, until)

    def _find_author(self, operation: _Operation) -> Procedure[_Author]:
        """Return the owner of the token. Unlike `GET /user`, GraphQL also works with installation tokens."""
        if not self._author:
            try:
                payload = yield from operation.send("POST", self._graphql, body={"query": "query { viewer { login } }"})
                login = payload.text("data", "viewer", "login").casefold()
            except GitHubError:
                return _Author(AUTHOR, is_app=True)
            is_app = self._is_app or login.endswith(BOT) or login == AUTHOR
            self._author = _Author(login.removesuffix(BOT), is_app=is_app)
        return self._author


class _Transient(Exception):
    """A failure that may pass. `wait` is the pause that GitHub asks for, in seconds; 0 if it names none."""

    def __init__(self, error: GitHubError, wait: float = 0.0) -> None:
        super().__init__(error.what)
        self.error = error
        self.wait = wait


class _Payload(NamedTuple):
    """The JSON of a response, or one entry of its list. `text` and `number` raise GitHubError for a missing value."""

    call: str
    headers: Mapping[str, str]
    data: Any

    def get(self, *keys: str) -> Any:
        """Return the value at a path of keys; None if there is none."""
        value = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *keys: str) -> str:
        return value if isinstance(value := self.get(*keys), str) else self.lacks(".".join(keys))

    def number(self, key: str) -> int:
        return value if isinstance(value := self.get(key), int) else self.lacks(key)

    def lacks(self, what: str) -> NoReturn:
        raise _unexpected(f"{self.call} returned a response without {what}.")


class _Author(NamedTuple):
    """The owner of a token: a person or an App. A person may have the name of an App as login."""

    login: str  # in lower case, and without an App's suffix
    is_app: bool

    def wrote(self, comment: _Payload) -> bool:
        """Tell whether the owner wrote a comment. The user of a deleted account is null."""
        login, kind = comment.get("user", "login"), comment.get("user", "type")
        if self.is_app and kind != "Bot":
            return False
        return isinstance(login, str) and login.casefold() == self.login + (BOT if self.is_app else "")


@dataclass(frozen=True, slots=True)
class _Operation:
    """One or more calls for one purpose, which need `permission` and must begin by `until`."""

    transport: Transport
    clock: Clock
    permission: str
    until: float

    def repeat(self, attempt: Callable[[], Procedure[T]]) -> Procedure[T]:
        """Repeat `attempt` until it succeeds, fails permanently, or has no time left."""

        def pause_after(failure: _Transient, tries: int) -> float | None:
            pause = max(failure.wait, BACKOFFS[min(tries, len(BACKOFFS) - 1)])
            return pause if pause < self.until - self.clock.now() else None

        try:
            return (yield from repeat(attempt, _Transient, pause_after))
        except _Transient as failure:
            raise failure.error from None

    def find(self, path: str, wanted: Callable[[_Payload], bool], **query: str) -> Procedure[_Payload | None]:
        """Return the first entry of a list for which `wanted` returns True; None if there is none."""
        for page in range(1, MOST_PAGES + 1):
            payload = yield from self.send("GET", path, query={**query, "per_page": str(PAGE_SIZE), "page": str(page)})
            entries = payload.data if isinstance(payload.data, list) else payload.lacks("a list")
            for entry in entries:
                if wanted(found := payload._replace(data=entry)):
                    return found
            if 'rel="next"' not in payload.headers.get("link", ""):
                return None
        raise _unexpected(f"GET {path} has more than {MOST_PAGES} pages.")

    def send(
        self, verb: str, path: str, *, query: dict[str, str] | None = None, body: Mapping[str, str] | None = None
    ) -> Procedure[_Payload]:
        """Send a request once. Raises _Transient if another attempt may help, else GitHubError."""
        call = f"{verb} {path}"
        if self.until - self.clock.now() < 0:
            raise GitHubError("GitHub unavailable", f"{call} was not sent: the deadline has passed.")
        try:
            response = yield from self.transport.send(Request(verb, path, query, body), until=self.until)
        except NetworkError as error:
            problem = GitHubError("GitHub unavailable", f"{call} {error.what}", advice=NOT_GITHUB, link=STATUS_PAGE)
            raise (_Transient(problem) if error.cause == "transient" else problem) from None
        try:
            data = json.loads(response.body)
        except (ValueError, RecursionError):
            data = None
        payload = _Payload(call, response.headers, data)
        if not response.ok or payload.get("errors"):  # GraphQL fails with 200
            raise self._problem(payload, response.status)
        return payload

    def _problem(self, payload: _Payload, status: int) -> GitHubError | _Transient:
        """Return the error for a response that is not a success."""
        message = _messages(payload)
        what = f"{payload.call} returned {status}" + (f" ({quoted(message, 200)})." if message else ".")
        wait = _rate_limit_pause(payload.headers, message, self.clock.time())
        limited = status in (200, 403, 429) and wait is not None
        if limited or status == 429 or status >= 500:
            title = "GitHub rate limit" if limited else "GitHub unavailable"
            advice = "Check whether GitHub has an incident, and re-run the job later."
            if wait:
                again = datetime.fromtimestamp(self.clock.time() + wait, UTC)
                advice = f"Retry in {duration(wait)}, at {again:%Y-%m-%d %H:%M:%S} UTC."
            return _Transient(GitHubError(title, what, advice=advice, link=STATUS_PAGE), wait or 0.0)
        if status in ADVICE:
            advice = ADVICE[status] + PERMISSION.format(self.permission)
        elif 300 <= status < 400:
            advice = "If the repository was renamed after the job began, start a new workflow run."
        else:
            advice = "A retry would be rejected too."
        return GitHubError("GitHub rejected the call", what, forbidden=status in ADVICE, advice=advice)


def _rate_limit_pause(headers: Mapping[str, str], message: str, now: float) -> float | None:
    """Return the pause that a rate limit asks for, in seconds; None if the response reports no rate limit.

    `now`: seconds since the epoch. Source: "Rate limits for the REST API" in GitHub's documentation, "Exceeding the
    rate limit".
    """
    after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
    if re.fullmatch(r"\d+", after, re.ASCII):
        return min(float(after), LONGEST_WAIT)
    if headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"\d+", reset, re.ASCII):
        return min(max(0.0, float(reset) - now), LONGEST_WAIT)
    return LIMIT_PAUSE if "rate limit" in message.lower() else None


def _messages(payload: _Payload) -> str:
    """Return the messages of an error response: its own, and those of its `errors`, which are objects or texts."""
    errors = payload.get("errors")
    listed = errors if isinstance(errors, list) else ()
    messages = [payload.get("message"), *(each.get("message") if isinstance(each, dict) else each for each in listed)]
    return "; ".join(each for each in messages if isinstance(each, str) and each)


def _begins_with(comment: _Payload, marker: str) -> bool:
    return isinstance(body := comment.get("body"), str) and body.startswith(marker)


def _unexpected(what: str) -> GitHubError:
    return GitHubError("Unexpected response", what, advice=NOT_GITHUB)
