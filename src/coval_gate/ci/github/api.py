"""The way to GitHub's APIs with the step's token: rate limits, and errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from coval_gate.base import titles
from coval_gate.base.errors import HostError, Transient
from coval_gate.base.records import NamedTuple
from coval_gate.base.transport import Server, Timeouts
from coval_gate.ci.calls import LIMIT_PAUSE, HostApi, Service, pause_in

if TYPE_CHECKING:
    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.base.secret import Secret
    from coval_gate.base.transport import Response
    from coval_gate.ci.calls import Operation, Payload

API_VERSION: Final = "2022-11-28"  # the only one on every Enterprise Server; github.com supports it until 2028
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, final=1.0)  # GitHub itself gives up after 10 s
BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and their envelope
AUTHOR: Final = "github-actions"  # the login of the workflow's own token
BOT: Final = "[bot]"  # suffix of an App's login, impossible in a person's; GraphQL may omit it
INSTALLATION: Final = "ghs_"  # prefix of an App's token


def _pause(response: Response, message: str, now: float) -> float | None:
    """Source: "Rate limits for the REST API" in GitHub's documentation."""
    if response.status not in (200, 403, 429) and response.status < 500:
        return None
    headers = response.headers
    resets = headers.get("x-ratelimit-reset", "") if headers.get("x-ratelimit-remaining") == "0" else ""
    pause = pause_in(response, resets, now)
    return LIMIT_PAUSE if pause is None and "rate limit" in message.lower() else pause


SERVICE: Final = Service(
    name="GitHub",
    too_late=titles.GITHUB_TOO_LATE,
    unavailable=titles.GITHUB_UNAVAILABLE,
    limit=titles.GITHUB_LIMIT,
    rejected=titles.GITHUB_REJECTED,
    pause=_pause,
    has_next=lambda headers: 'rel="next"' in headers.get("link", ""),
    most_pages=30,  # GitHub allows at most 2,500 comments
    forbidden={
        401: "GitHub does not accept the token: remove github_token, or set a current one. ",
        403: "",
        404: "Either it does not exist, or the token cannot read it: GitHub returns 404 for both. ",
    },
    permission=(
        "The job needs `permissions:` with `{}`. Workflows of pull requests from forks always get a read-only token; "
        "those that Dependabot starts get one unless `permissions` grants more."
    ),
    moved="If the repository was renamed after the job began, start a new workflow run.",
    address="Check GITHUB_API_URL, the network and any proxies.",
    left="The post step sets the commit status and completes the check run.",
)


class GitHub(HostApi):
    """`api_url` is GITHUB_API_URL, also of Enterprise Server; `repository` is owner/name."""

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
        super().__init__(SERVICE, server, runtime)
        self.path = f"{parts.path}/repos/{quote(repository)}"
        # Enterprise Server has REST under /api/v3 and GraphQL under /api/graphql.
        self._graphql = f"{parts.path.removesuffix('/v3')}/graphql"
        self._is_app = token.reveal().startswith(INSTALLATION)
        self._author: Author | None = None

    def pull_request_head(self, number: int, *, until: float) -> Procedure[str]:
        path = f"{self.path}/pulls/{number}"
        return self.text_at(path, "head", "sha", permission="pull-requests: read", until=until)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request at `sha`. The workflow_run event does not name one from a fork."""
        operation = self.operation("pull-requests: read", until)

        def attempt() -> Procedure[int | None]:
            pulls = f"{self.path}/pulls"
            matches = yield from operation.list(
                pulls, lambda pull: pull.text("head", "sha") == sha, most=1, state="open", head=f"{owner}:{branch}"
            )
            return matches[0].number("number") if matches else None

        return operation.repeat(attempt)

    def find_author(self, operation: Operation) -> Procedure[Author]:
        """Unlike `GET /user`, GraphQL also works with installation tokens."""
        if not self._author:
            try:
                payload = yield from operation.send("POST", self._graphql, body={"query": "query { viewer { login } }"})
                login = payload.text("data", "viewer", "login").casefold()
            except Transient:
                raise
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
