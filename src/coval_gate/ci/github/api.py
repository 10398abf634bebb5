"""GitHub's REST API: the one comment of ours on a pull request, and a commit's status.

A response is used as far as it says what was asked for; nothing is fetched in addition, and no link or redirect that it
names is followed.
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

BACKOFFS: Final = (1.0, 2.0, 4.0)  # s after each try at an operation but the last
API_VERSION: Final = "2022-11-28"
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, last_look=1.0)  # GitHub itself gives up after 10 s
BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and what is around them
LIMIT_PAUSE: Final = 60.0  # s after a rate limit that does not say how long
LONGEST_WAIT: Final = 10.0**7  # s; keeps a date that a server made up within the calendar
PAGE_SIZE: Final = 100  # the most that GitHub gives at a time
MOST_PAGES: Final = 30  # GitHub takes no more than 2,500 comments
AUTHOR: Final = "github-actions"  # the login of the workflow's own token
ADVICE: Final = {
    401: "GitHub does not know the token: leave github_token out, or give a current one. ",
    403: "",
    404: "Either it does not exist, or the token may not see it: GitHub says the same of both. ",
}
PERMISSION: Final = (
    "The job needs `permissions:` with `{}`. Workflows of pull requests from forks get a read-only token whatever "
    "`permissions` says; so do Dependabot's unless `permissions` asks for more."
)
NOT_GITHUB: Final = "Check GITHUB_API_URL, the network and the proxies on the way."
STATUS_PAGE: Final = "https://www.githubstatus.com"


class GitHub:
    """GitHub at `api_url` (GITHUB_API_URL, Enterprise Server's too), for one `repository` (owner/name).

    Every method is a procedure (see `waiting`). `until`, on the clock's now(), bounds it: no request begins later. All
    of them raise GitHubError.
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
        self._author = ""

    def pull_request_head(self, number: int, *, until: float) -> Procedure[str]:
        """Return the commit at the head of a pull request."""
        operation = self._operation("pull-requests: read", until)

        def attempt() -> Procedure[str]:
            found = yield from operation.send("GET", f"{self._path}/pulls/{number}")
            return found.text("head", "sha")

        return operation.repeat(attempt)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request from `owner`'s `branch` with `sha` at its head; None if there is none.

        For workflow_run, whose event does not name the pull request if that comes from a fork.
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
        """Let the oldest comment of ours that begins with `marker` say `body`; without one, create it if `create`.

        Returns the comment's address, "" if there is none. A try whose response was lost may have created it, so every
        try looks first.
        """
        operation = self._operation("pull-requests: write", until)
        comments = f"{self._path}/issues/{number}/comments"

        def attempt() -> Procedure[str]:
            author = yield from self._find_author(operation)
            found = yield from operation.find(comments, lambda each: _is_ours(each, author, marker))
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
        """Set a commit's status `context`. The newest one counts, so setting it twice does no harm."""
        operation = self._operation("statuses: write", until)
        status = {"state": state, "context": context, "description": description, "target_url": target_url}
        body = {name: text for name, text in status.items() if text}

        def attempt() -> Procedure[None]:
            answer = yield from operation.send("POST", f"{self._path}/statuses/{quote(sha, safe='')}", body=body)
            answer.text("state")

        return operation.repeat(attempt)

    def _operation(self, permission: str, until: float) -> _Operation:
        return _Operation(self._transport, self._clock, permission, until)

    def _find_author(self, operation: _Operation) -> Procedure[str]:
        """Return the login of the token; unlike `GET /user`, GraphQL tells it to installation tokens too."""
        if not self._author:
            try:
                answer = yield from operation.send("POST", self._graphql, body={"query": "query { viewer { login } }"})
                self._author = _plain(answer.text("data", "viewer", "login"))
            except GitHubError:
                return AUTHOR
        return self._author


class _Passing(Exception):
    """A failure that a later try may not meet; GitHub asks for a pause of `wait` seconds (0: it does not say)."""

    def __init__(self, error: GitHubError, wait: float = 0.0) -> None:
        super().__init__(error.what)
        self.error = error
        self.wait = wait


class _Answer(NamedTuple):
    """The JSON that a call brought, or one entry of its list. Asking for what it lacks raises GitHubError."""

    call: str
    headers: Mapping[str, str]
    data: Any

    def get(self, *keys: str) -> Any:
        """Return the value at the end of a path; None where there is no such path."""
        value = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *keys: str) -> str:
        return value if isinstance(value := self.get(*keys), str) else self.lacks(".".join(keys))

    def number(self, key: str) -> int:
        return value if isinstance(value := self.get(key), int) else self.lacks(key)

    def lacks(self, what: str) -> NoReturn:
        raise _senseless(f"{self.call} gave a response without {what}.")


@dataclass(frozen=True, slots=True)
class _Operation:
    """One or more calls to the same end, which need `permission` and have time `until` then."""

    transport: Transport
    clock: Clock
    permission: str
    until: float

    def repeat(self, attempt: Callable[[], Procedure[T]]) -> Procedure[T]:
        """Make `attempt` until it succeeds, fails for good, has failed too often, or has no time left."""

        def pause_after(passing: _Passing, tries: int) -> float | None:
            pause = max(passing.wait, BACKOFFS[tries]) if tries < len(BACKOFFS) else float("inf")
            return pause if pause < self.until - self.clock.now() else None

        try:
            return (yield from repeat(attempt, _Passing, pause_after))
        except _Passing as passing:
            raise passing.error from None

    def find(self, path: str, wanted: Callable[[_Answer], bool], **query: str) -> Procedure[_Answer | None]:
        """Return the first entry of a list that is wanted; None if there is none."""
        for page in range(1, MOST_PAGES + 1):
            answer = yield from self.send("GET", path, query={**query, "per_page": str(PAGE_SIZE), "page": str(page)})
            entries = answer.data if isinstance(answer.data, list) else answer.lacks("a list")
            for entry in entries:
                if wanted(found := answer._replace(data=entry)):
                    return found
            if 'rel="next"' not in answer.headers.get("link", ""):
                return None
        raise _senseless(f"GET {path} has more than {MOST_PAGES} pages.")

    def send(
        self, verb: str, path: str, *, query: dict[str, str] | None = None, body: Mapping[str, str] | None = None
    ) -> Procedure[_Answer]:
        """Send one request, once. Raises _Passing where another try may help, else GitHubError."""
        call = f"{verb} {path}"
        if self.until - self.clock.now() < 0:
            raise GitHubError("GitHub unavailable", f"{call} was not sent: the time is up.")
        try:
            response = yield from self.transport.send(Request(verb, path, query, body), until=self.until)
        except NetworkError as error:
            problem = GitHubError("GitHub unavailable", f"{call} {error.what}", advice=NOT_GITHUB, link=STATUS_PAGE)
            raise (_Passing(problem) if error.trouble == "passing" else problem) from None
        try:
            data = json.loads(response.body)
        except (ValueError, RecursionError):
            data = None
        answer = _Answer(call, response.headers, data)
        if not response.ok or answer.get("errors"):  # GraphQL fails with 200
            raise self._problem(answer, response.status)
        return answer

    def _problem(self, answer: _Answer, status: int) -> GitHubError | _Passing:
        """The error that an answer other than a success stands for."""
        said = _said(answer)
        what = f"{answer.call} answered {status}" + (f" ({quoted(said, 200)})." if said else ".")
        wait = _asked_pause(answer.headers, said, self.clock.time())
        limited = status in (200, 403, 429) and wait is not None
        if limited or status == 429 or status >= 500:
            title = "GitHub rate limit" if limited else "GitHub unavailable"
            advice = "See whether GitHub has an incident, and run the job again later."
            if wait:
                again = datetime.fromtimestamp(self.clock.time() + wait, UTC)
                advice = f"It may be tried again in {duration(wait)}, at {again:%Y-%m-%d %H:%M:%S} UTC."
            return _Passing(GitHubError(title, what, advice=advice, link=STATUS_PAGE), wait or 0.0)
        if status in ADVICE:
            advice = ADVICE[status] + PERMISSION.format(self.permission)
        elif 300 <= status < 400:
            advice = "If the repository has a new name since the job began, run the workflow anew."
        else:
            advice = "The same call would be refused again."
        return GitHubError("GitHub refused the call", what, refused=status in ADVICE, advice=advice)


def _asked_pause(headers: Mapping[str, str], said: str, now: float) -> float | None:
    """The seconds that a rate limit asks for; None if the answer speaks of none. `now`: seconds since the epoch.

    Source: "Rate limits for the REST API" in GitHub's documentation, the part about exceeding one.
    """
    after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
    if re.fullmatch(r"\d+", after, re.ASCII):
        return min(float(after), LONGEST_WAIT)
    if headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"\d+", reset, re.ASCII):
        return min(max(0.0, float(reset) - now), LONGEST_WAIT)
    return LIMIT_PAUSE if "rate limit" in said.lower() else None


def _said(answer: _Answer) -> str:
    """What an error answer says: its message, and those of its `errors`, which are objects or texts."""
    errors = answer.get("errors")
    listed = errors if isinstance(errors, list) else ()
    told = [answer.get("message"), *(each.get("message") if isinstance(each, dict) else each for each in listed)]
    return "; ".join(each for each in told if isinstance(each, str) and each)


def _is_ours(comment: _Answer, author: str, marker: str) -> bool:
    """Whether `author` wrote it and it begins with `marker`. The author of a deleted account is null."""
    login, body = comment.get("user", "login"), comment.get("body")
    return isinstance(login, str) and _plain(login) == author and isinstance(body, str) and body.startswith(marker)


def _plain(login: str) -> str:
    """A login to compare: REST and GraphQL may disagree on the end of a bot's name."""
    return login.casefold().removesuffix("[bot]")


def _senseless(what: str) -> GitHubError:
    return GitHubError("Not GitHub's answer", what, advice=NOT_GITHUB)
