"""GitHub's API with the step's token, and lookups that several pages need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlsplit

from coval_gate.ci.github.calls import Operation
from coval_gate.errors import HostError
from coval_gate.transport import Server, Timeouts, Transport

if TYPE_CHECKING:
    from coval_gate.ci.github.calls import Payload
    from coval_gate.runtime import Runtime
    from coval_gate.secret import Secret
    from coval_gate.waiting import Procedure

API_VERSION: Final = "2022-11-28"  # the only one on every Enterprise Server; github.com supports it until 2028
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, final=1.0)  # GitHub itself gives up after 10 s
BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and their envelope
AUTHOR: Final = "github-actions"  # the login of the workflow's own token
BOT: Final = "[bot]"  # suffix of an App's login, impossible in a person's; GraphQL may omit it
INSTALLATION: Final = "ghs_"  # prefix of an App's token


class GitHub:
    """GitHub at `api_url` (GITHUB_API_URL, also for Enterprise Server), for one `repository` (owner/name).

    Every method is a procedure (see `waiting`) and raises HostError. No request begins after `until`, a time on the
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
        self.path = f"{parts.path}/repos/{quote(repository)}"
        # Enterprise Server has REST under /api/v3 and GraphQL under /api/graphql.
        self._graphql = f"{parts.path.removesuffix('/v3')}/graphql"
        self._is_app = token.reveal().startswith(INSTALLATION)
        self._author: Author | None = None

    def pull_request_head(self, number: int, *, until: float) -> Procedure[str]:
        """Return the commit at the head of a pull request."""
        operation = self.operation("pull-requests: read", until)

        def attempt() -> Procedure[str]:
            pull = yield from operation.send("GET", f"{self.path}/pulls/{number}")
            return pull.text("head", "sha")

        return operation.repeat(attempt)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request from `owner`'s `branch` with `sha` at its head; None if there is none.

        The workflow_run event does not name a pull request from a fork.
        """
        operation = self.operation("pull-requests: read", until)

        def attempt() -> Procedure[int | None]:
            pulls = f"{self.path}/pulls"
            match = yield from operation.find(
                pulls, lambda pull: pull.text("head", "sha") == sha, state="open", head=f"{owner}:{branch}"
            )
            return match.number("number") if match else None

        return operation.repeat(attempt)

    def operation(self, permission: str, until: float) -> Operation:
        """Return an operation that needs a permission, and whose requests begin by `until`."""
        return Operation(self._transport, self._clock, permission, until)

    def find_author(self, operation: Operation) -> Procedure[Author]:
        """Return the owner of the token. Unlike `GET /user`, GraphQL also works with installation tokens."""
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
    """The owner of a token: a person or an App. A person's login may equal the name of an App."""

    login: str  # in lower case, and without an App's suffix
    is_app: bool

    def wrote(self, comment: Payload) -> bool:
        """Return whether the owner wrote a comment. The user of a deleted account is null."""
        login, kind = comment.get("user", "login"), comment.get("user", "type")
        if self.is_app and kind != "Bot":
            return False
        return isinstance(login, str) and login.casefold() == self.login + (BOT if self.is_app else "")
