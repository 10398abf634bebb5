"""GitHub's REST API: the one comment of ours on a pull request, and a commit's status.

PyGithub brings the connection, the credentials and the address of GraphQL. Its objects stay out: they fetch what an
answer lacks, follow the links that it names, and take a redirect for a success.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

from coval_gate import __version__
from coval_gate.clock import Aside
from coval_gate.errors import GitHubError
from coval_gate.text import duration, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from coval_gate.clock import Clock
    from coval_gate.secret import Secret

T = TypeVar("T")

BACKOFFS: Final = (1.0, 2.0, 4.0)  # s after each try at an operation but the last
LONGEST_REQUEST: Final = 10  # s; GitHub itself gives up then
LIMIT_PAUSE: Final = 60.0  # s after a rate limit that does not say how long
LONGEST_WAIT: Final = 10.0**7  # s; keeps a date that a server made up within the calendar
PAGE_SIZE: Final = 100  # the most that GitHub gives at a time
MOST_PAGES: Final = 30  # GitHub takes no more than 2,500 comments
GRAPHQL: Final = "/graphql"
AUTHOR: Final = "github-actions"  # whose name the workflow's own token writes in
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

    `until`, on the clock's now(), bounds every operation: no request begins later. All of them raise GitHubError.
    """

    def __init__(self, api_url: str, token: Secret, repository: str, *, clock: Clock) -> None:
        self._api_url = api_url.rstrip("/")
        self._token = token
        self._path = f"/repos/{quote(repository)}"
        self._clock = clock
        self._author = ""

    def pull_request_head(self, number: int, *, until: float) -> str:
        """The commit at the head of a pull request."""
        operation = self._operation("pull-requests: read", until)
        return operation.repeat(lambda: operation.send("GET", f"{self._path}/pulls/{number}").text("head", "sha"))

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> int | None:
        """The open pull request from `owner`'s `branch` with `sha` at its head; None if there is none.

        For workflow_run, whose event does not name the pull request if that comes from a fork.
        """
        operation = self._operation("pull-requests: read", until)

        def attempt() -> int | None:
            found = operation.pages(f"{self._path}/pulls", state="open", head=f"{owner}:{branch}")
            return next((each.number("number") for each in found if each.text("head", "sha") == sha), None)

        return operation.repeat(attempt)

    def comment(self, number: int, body: str, *, marker: str, create: bool, until: float) -> str:
        """Let the oldest comment of ours that begins with `marker` say `body`; without one, create it if `create`.

        Returns the comment's address, "" if there is none. A try whose answer was lost may have created it, so every
        try looks first.
        """
        operation = self._operation("pull-requests: write", until)
        comments = f"{self._path}/issues/{number}/comments"

        def attempt() -> str:
            author = self._find_author(operation)
            found = next((each for each in operation.pages(comments) if _is_ours(each, author, marker)), None)
            if found is None:
                return operation.send("POST", comments, body={"body": body}).text("html_url") if create else ""
            if found.get("body") != body:
                path = f"{self._path}/issues/comments/{found.number('id')}"
                found = operation.send("PATCH", path, body={"body": body})
            return found.text("html_url")

        return operation.repeat(attempt)

    def set_status(
        self, sha: str, *, context: str, state: str, description: str, target_url: str, until: float
    ) -> None:
        """Set a commit's status `context`. The newest one counts, so that one set twice does no harm."""
        operation = self._operation("statuses: write", until)
        status = {"state": state, "context": context, "description": description, "target_url": target_url}
        body = {name: text for name, text in status.items() if text}
        path = f"{self._path}/statuses/{quote(sha, safe='')}"
        operation.repeat(lambda: operation.send("POST", path, body=body).text("state"))

    def _operation(self, permission: str, until: float) -> _Operation:
        return _Operation(self._api_url, self._token, self._clock, permission, until)

    def _find_author(self, operation: _Operation) -> str:
        """The login that the token writes under; unlike `GET /user`, GraphQL tells it to installation tokens too."""
        if not self._author:
            try:
                answer = operation.send("POST", GRAPHQL, body={"query": "query { viewer { login } }"})
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
        """The value at the end of a path; None where there is no such path."""
        value = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *keys: str) -> str:
        return value if isinstance(value := self.get(*keys), str) else self.lacks(".".join(keys))

    def number(self, key: str) -> int:
        return value if isinstance(value := self.get(key), int) else self.lacks(key)

    def lacks(self, what: str) -> NoReturn:
        raise _senseless(f"{self.call} gave an answer without {what}.")


@dataclass(frozen=True, slots=True)
class _Operation:
    """One or more calls to the same end, which need `permission` and have time `until` then."""

    api_url: str
    token: Secret
    clock: Clock
    permission: str
    until: float

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Make `attempt` until it succeeds, fails for good, has failed too often, or has no time left."""
        tries = 0
        while True:
            try:
                return attempt()
            except _Passing as passing:
                pause = max(passing.wait, BACKOFFS[tries]) if tries < len(BACKOFFS) else float("inf")
                if pause >= self.until - self.clock.now():
                    raise passing.error from None
            self.clock.sleep(pause)
            tries += 1

    def pages(self, path: str, **query: str) -> Iterator[_Answer]:
        """The entries of a list, page after page."""
        for page in range(1, MOST_PAGES + 1):
            answer = self.send("GET", path, query={**query, "per_page": str(PAGE_SIZE), "page": str(page)})
            entries = answer.data if isinstance(answer.data, list) else answer.lacks("a list")
            yield from (answer._replace(data=entry) for entry in entries)
            if 'rel="next"' not in answer.headers.get("link", ""):
                return
        raise _senseless(f"GET {path} has more than {MOST_PAGES} pages.")

    def send(
        self, verb: str, path: str, *, query: dict[str, str] | None = None, body: Mapping[str, str] | None = None
    ) -> _Answer:
        """Send one request, once. Raises _Passing where another try may help, else GitHubError."""
        from github import Auth, Github

        call = f"{verb} {path}"
        left = self.until - self.clock.now()
        if left < 0:
            raise GitHubError("GitHub unavailable", f"{call} was not sent: the time is up.")
        try:
            with Github(
                auth=Auth.Token(self.token.reveal()),
                base_url=self.api_url,
                timeout=max(1, int(min(LONGEST_REQUEST, left))),
                user_agent=f"coval-gate/{__version__}",
                retry=None,
                seconds_between_requests=None,
                seconds_between_writes=None,
            ) as github:
                url = github.requester.graphql_url if path == GRAPHQL else path
                exchange = Aside(partial(github.requester.requestJson, verb, url, query, None, body))
                within = max(1.0, min(LONGEST_REQUEST, left))
                status, headers, text = exchange.result_within(within, self.clock)
        except OSError as error:  # the parent of all that requests raises; its text may hold the token
            what = f"{call} got no answer ({type(error).__name__})."
            raise _Passing(GitHubError("GitHub unavailable", what, advice=NOT_GITHUB, link=STATUS_PAGE)) from None
        except Exception as error:  # noqa: BLE001 - PyGithub asserts and parses on its way
            raise _senseless(f"{call} failed ({type(error).__name__}).") from None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        answer = _Answer(call, headers, data)
        if not 200 <= status < 300 or answer.get("errors"):  # GraphQL fails with 200
            raise self._problem(answer, status)
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
