"""GitHub's API, and the pages that it shows: the commit status, the check run, and the comment on a pull request."""

from functools import cache
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from coval_gate.base import titles
from coval_gate.base.errors import HostError, Transient
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure
from coval_gate.base.secret import Secret
from coval_gate.base.text import folded, quoted, whole_number
from coval_gate.base.transport import Response, Server, Timeouts
from coval_gate.ci.host import IN_PROGRESS, NO_REPOSITORY, TOLERATED, Context, Host, Page, PageText
from coval_gate.features.pages.calls import (
    LIMIT_PAUSE,
    ApiPage,
    HostApi,
    Operation,
    Payload,
    Service,
    begins_with,
    pause_in,
)
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import Inputs

STATES: Final = {
    "passed": "success",
    TOLERATED: "success",
    "failed": "failure",
    "inconclusive": "failure",
    "skipped": "pending",  # nothing was evaluated, so a required status must not be satisfied
    IN_PROGRESS: "pending",
}  # no other verdict is about the agent: "error"
CONCLUSIONS: Final = {
    "passed": "success",
    TOLERATED: "neutral",
    "timed_out": "timed_out",
    "cancelled": "cancelled",
    IN_PROGRESS: "",
}  # all other verdicts are a "failure", the only other conclusion that stops a merge without asking for an action
CHECK_RUNS_A_PAGE: Final = "30"  # check runs have up to 128 KiB each
CHECK_COMPLETED: Final = "completed"
API_VERSION: Final = "2022-11-28"  # the only one on every Enterprise Server; github.com supports it until 2028
TIMEOUTS: Final = Timeouts(connect=10.0, response=10.0, final=1.0)  # GitHub itself gives up after 10 s
GITHUB_BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes; a page has at most 100 comments of 64 KiB, and their envelope
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
    unauthorized="GitHub does not accept the token: remove github_token, or set a current one. ",
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
            body_limit=GITHUB_BODY_LIMIT,
        )
        super().__init__(SERVICE, server, runtime)
        self.path = f"{parts.path}/repos/{quote(repository)}"
        # Enterprise Server has REST under /api/v3 and GraphQL under /api/graphql.
        self._graphql = f"{parts.path.removesuffix('/v3')}/graphql"
        self._is_app = token.reveal().startswith(INSTALLATION)
        self._author: Author | None = None

    def head_of(self, number: int, *, until: float) -> Procedure[str]:
        path = f"{self.path}/pulls/{number}"
        return self.text_at(path, "head", "sha", permission="pull-requests: read", until=until)

    def find_pull_request(self, owner: str, branch: str, sha: str, *, until: float) -> Procedure[int | None]:
        """Return the open pull request at `sha`. The workflow_run event does not name one from a fork."""
        operation = self.operation("pull-requests: read", until)

        async def attempt() -> int | None:
            pulls = f"{self.path}/pulls"
            matches = await operation.list(
                pulls, lambda pull: pull.text("head", "sha") == sha, most=1, state="open", head=f"{owner}:{branch}"
            )
            return matches[0].number("number") if matches else None

        return operation.repeat(attempt)

    async def find_author(self, operation: Operation) -> "Author":
        """Unlike `GET /user`, GraphQL also works with installation tokens."""
        if not self._author:
            try:
                payload = await operation.send("POST", self._graphql, body={"query": "query { viewer { login } }"})
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


def pages_of(host: Host, api_url: str, inputs: Inputs, context: Context, runtime: Runtime) -> list[Page]:
    @cache
    def github() -> GitHub:
        return GitHub(api_url, inputs.github_token or Secret(""), context.repository, runtime)

    lacks_token = "" if inputs.github_token else "github_token is empty"
    obstacle = lacks_token if context.repository else NO_REPOSITORY
    return [GITHUB_PAGES[page](page, obstacle, host, github, inputs, context) for page in wanted_pages(inputs)]


class CommitStatus(ApiPage[GitHub]):
    """The newest status counts, so setting it twice is harmless."""

    async def show(self, text: PageText, context: Context, *, until: float) -> None:  # noqa: ARG002
        github = self._api()
        operation = github.operation("statuses: write", until)
        status = {
            "state": commit_state_of(text),
            "context": text.name,
            "description": text.title,
            "target_url": text.link,
        }
        body = {name: value for name, value in status.items() if value}

        async def attempt() -> None:
            if self._may_be_judged and await self._is_judged(operation, text):
                return
            path = f"{github.path}/statuses/{quote(text.sha, safe='')}"
            payload = await operation.send("POST", path, body=body, exists=bool(self.made))
            payload.text("state")

        await operation.repeat(attempt)
        self.made = "true"

    async def _is_judged(self, operation: Operation, text: PageText) -> bool:
        """Return whether the newest status of this name has a verdict on the same run."""
        path = f"{self._api().path}/commits/{quote(text.sha, safe='')}/statuses"
        newest = await operation.list(path, lambda status: status.get("context") == text.name, most=1)
        return any(one.get("state") != "pending" and one.get("target_url") == text.link for one in newest)


class CheckRun(ApiPage[GitHub]):
    """GitHub accepts no change of a completed check run's status or conclusion, so a new one replaces it."""

    _forbidden = False
    _searched: tuple[str, ...] = ()  # the references by which it was looked for

    @property
    def problem(self) -> str:
        job = self._context.job
        if folded(self._inputs.check_run) != folded(job):
            return ""
        return (
            f"must differ from the job's id, {quoted(job)}: GitHub shows the job as a check of that name, and a "
            "branch that requires it could not distinguish the two."
        )

    def takes(self, state: str) -> bool:
        """Return False for a step that evaluated nothing: GitHub's own "skipped" would satisfy a required check."""
        return state != "skipped"

    async def show(self, text: PageText, context: Context, *, until: float) -> None:
        """Update check run `made`; without an id, update those in progress with a reference of `text`, or create one.

        Another job or attempt may have created one. If this page is not `certain`, or a response was lost, an earlier
        call may have completed the check run with this conclusion, or created several. Leave one alone that a later
        step completed with another conclusion.
        """
        if self._forbidden:
            return
        id_, was_certain, may_be_judged = whole_number(self.made), self.certain, self._may_be_judged
        conclusion = conclusion_of(text)
        body = {
            "external_id": next(reversed(text.references), ""),
            **({"status": CHECK_COMPLETED, "conclusion": conclusion} if conclusion else {"status": "in_progress"}),
            "output": {"title": text.title, "summary": text.summary},
        }
        repository = self._api().path
        operation = self._api().operation("checks: write", until)
        # Without matrix values: the job that launched the run may have created it.
        stem = self._host.redact(self._inputs.check_run) if self._inputs.mode == "wait" else ""
        is_new = id_ is None or text.references != self._searched
        search = is_new and (self._inputs.mode == "wait" or context.run_attempt != "1")
        tried, creations = not was_certain, 0

        async def attempt() -> int:
            nonlocal tried, creations
            targets = [] if id_ is None else [id_]
            if tried or search:
                check_runs = await _find(operation, repository, text, stem, exists=id_ is not None)
                running = [
                    check_run.number("id") for check_run in check_runs if check_run.get("status") != CHECK_COMPLETED
                ]
                done = [
                    check_run.number("id")
                    for check_run in check_runs
                    if conclusion and (may_be_judged or check_run.get("conclusion") == conclusion)
                ]
                if done and tried and not running:
                    return max(done)
                listed = {check_run.number("id") for check_run in check_runs}
                targets = sorted({*running, *(id_ for id_ in targets if id_ not in listed)})
            tried = True
            if not targets:
                creations += 1
                named = {"name": text.name, "head_sha": text.sha, **body}
                created = await operation.send("POST", f"{repository}/check-runs", body=named)
                return created.number("id")
            for target in targets:
                path = f"{repository}/check-runs/{target}"
                updated = await operation.send("PATCH", path, body=body, exists=True)
                updated.number("id")
            return max(targets)

        self.certain = was_certain and id_ is not None
        try:
            self.made = str(await operation.repeat(attempt))
        except HostError as error:
            if error.forbidden:
                self._forbidden, self.certain = True, was_certain
            raise
        self.certain, self._searched = was_certain and creations <= 1, text.references


class Comment(ApiPage[GitHub]):
    async def show(self, text: PageText, context: Context, *, until: float) -> None:
        number = context.pull_request
        if number is None and context.head:
            number = await self._api().find_pull_request(*context.head, context.sha, until=until)
        if number is None:
            self._host.log(f"Skipping comment: no open pull request has commit {context.sha[:7]} as its head.")
            return
        await self._comment_on(number, text, context, until)

    def write(self, number: int, text: PageText, *, create: bool, until: float) -> Procedure[str]:
        github = self._api()
        operation = github.operation("pull-requests: write", until)
        comments = f"{github.path}/issues/{number}/comments"

        async def attempt() -> str:
            author = await github.find_author(operation)
            listed = await operation.list(
                comments, lambda comment: begins_with(comment, text.name) and author.wrote(comment), most=1
            )
            comment = next(iter(listed), None)
            if comment is None:
                if not create:
                    return ""
                comment = await operation.send("POST", comments, body={"body": text.summary})
            elif comment.get("body") != text.summary:
                path = f"{github.path}/issues/comments/{comment.number('id')}"
                comment = await operation.send("PATCH", path, body={"body": text.summary}, exists=True)
            return comment.text("html_url")

        return operation.repeat(attempt)


GITHUB_PAGES: Final = {"comment": Comment, "commit_status": CommitStatus, "check_run": CheckRun}  # by the input


def commit_state_of(text: PageText) -> str:
    return STATES.get(text.outcome, "error")


def conclusion_of(text: PageText) -> str:
    """Empty while the check run is in progress."""
    return CONCLUSIONS.get(text.outcome, "failure")


async def _find(operation: Operation, repository: str, text: PageText, stem: str, *, exists: bool) -> list[Payload]:
    """The name alone does not prove that the gate created a check run: it needs a reference of `text`.

    If none has the name, return those of another job, whose names begin with `stem`.
    """

    def is_own(check_run: Payload) -> bool:
        return check_run.get("name") == text.name and check_run.get("external_id") in text.references

    def is_launch(check_run: Payload) -> bool:
        name, has_reference = str(check_run.get("name")), check_run.get("external_id") in text.references
        return has_reference and (name == stem or (name.startswith(f"{stem} (") and name.endswith(")")))

    path = f"{repository}/commits/{quote(text.sha, safe='')}/check-runs"
    check_runs = await operation.list(
        path, is_own, under="check_runs", exists=exists, check_name=text.name, filter="all", per_page=CHECK_RUNS_A_PAGE
    )
    if check_runs or stem in ("", text.name):
        return check_runs
    return await operation.list(path, is_launch, under="check_runs", filter="all", per_page=CHECK_RUNS_A_PAGE)
