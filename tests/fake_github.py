"""The sandbox's GitHub as a server of its own, with one repository, known tokens, issues and faults."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlencode

from coval_sandbox.github import (
    DOCUMENTATION,
    READ_ONLY_TOKEN,
    Call,
    Comment,
    GitHub,
    PullRequest,
    Repository,
    as_reply,
    page_of,
)
from coval_sandbox.github_checks import CheckRun
from coval_sandbox.http import Reply, SeenRequest
from coval_sandbox.runner import PULL_REQUEST
from fake_host import FakeHost, Response
from support import VirtualClock

TOKEN = "ghs_the-token-of-the-workflow"
PERSONAL_TOKEN = "ghp_the-token-of-a-person"
REPOSITORY = "acme/voice-agent"
PAGE = f"https://github.com/{REPOSITORY}/pull/42"


@dataclass
class Issue:
    """An issue; its comments are among those of the pull requests, under its number."""

    title: str
    body: str
    author: str
    state: str = "open"

    def view(self, number: int) -> dict[str, Any]:
        user = {"login": self.author}
        return {"number": number, "title": self.title, "body": self.body, "state": self.state, "user": user}


@dataclass
class _WithIssues(Repository):
    """`files`: what GitHub says of each change of a pull request, by its number. `dispatches`: events sent to it."""

    issues: dict[int, Issue] = field(default_factory=dict)
    dispatches: list[dict[str, Any]] = field(default_factory=list)
    files: dict[int, list[dict[str, str]]] = field(default_factory=dict)

    def respond(self, call: Call) -> Reply:
        match call.method, call.path.split("/"):
            case "POST", ["dispatches"] if call.body.get("event_type"):
                self.dispatches.append(call.body)
                return Reply(204, b"", {})
            case "GET", ["pulls", number, "files"] if self.pull(number):
                return page_of(call, self.files.get(int(number), []))
            case "POST", ["issues", number, "comments"] if self._issue(number):
                return self.comment_on(int(number), call)
            case "GET", ["issues"]:
                return page_of(call, self._listed(call.query.get("state", "open")))
            case "POST", ["issues"]:
                created = self.add_issue(call.body["title"], call.body["body"], call.author)
                return as_reply(201, self.issues[created].view(created))
            case "PATCH", ["issues", number] if issue := self._issue(number):
                for name in call.body.keys() & {"title", "body", "state"}:
                    setattr(issue, name, call.body[name])
                return as_reply(200, issue.view(int(number)))
            case _:
                return super().respond(call)

    def add_issue(self, title: str, body: str, author: str) -> int:
        number = next(self.ids)
        self.issues[number] = Issue(title, body, author)
        return number

    def _issue(self, number: str) -> Issue | None:
        return self.issues.get(int(number)) if number.isdecimal() else None

    def _listed(self, state: str) -> list[dict[str, Any]]:
        """List issues and, as GitHub does, pull requests; the newest first."""
        pulls = [
            {**pull.view(number), "title": "", "user": {"login": pull.owner}, "pull_request": {}}
            for number, pull in self.pull_requests.items()
        ]
        issues = [issue.view(number) for number, issue in self.issues.items()]
        listed = sorted([*pulls, *issues], key=lambda entry: entry["number"], reverse=True)
        return [entry for entry in listed if state in ("all", entry["state"])]


class FakeGitHub(FakeHost):
    """`url` is the value for GITHUB_API_URL, in the form of Enterprise Server if `enterprise`.

    Tests may change the state of its repository and of `site`: `site.viewer` is the login in GraphQL responses,
    `site.author` the one in REST responses.
    """

    def __init__(self, *, faults: Iterable[str] = (), enterprise: bool = False, **address: Any) -> None:
        base, graphql = ("/api/v3", "/api/graphql") if enterprise else ("", "/graphql")
        super().__init__(base, faults=faults, **address)
        reset = str(round(self.now() + 3600))
        self.headers |= {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": reset}
        self.commits: set[str] = set()
        self.repository = _WithIssues(count(1), commits=self.commits)
        self.pull_requests, self.comments = self.repository.pull_requests, self.repository.comments
        self.statuses, self.check_runs = self.repository.statuses, self.repository.check_runs
        self.issues, self.add_issue = self.repository.issues, self.repository.add_issue
        tokens = (TOKEN, READ_ONLY_TOKEN, PERSONAL_TOKEN)
        self.site = GitHub(base, graphql, page=PAGE, repositories={REPOSITORY: self.repository}, tokens=tokens)

    def add_pull_request(self, number: int, sha: str, owner: str = "acme", branch: str = "feature") -> None:
        """Open a pull request, whose head commit accepts statuses."""
        self.pull_requests[number] = PullRequest(sha, owner, branch)
        self.commits.add(sha)

    def add_comment(self, number: int, body: str, author: str | None) -> Comment:
        """Add a comment of any author."""
        return self.repository.add_comment(number, body, author, PAGE)

    def add_check_run(self, name: str, sha: str, **given: Any) -> CheckRun:
        """Add a check run of any App."""
        self.check_runs.append(CheckRun(next(self.repository.ids), name, sha, **given))
        return self.check_runs[-1]

    def path_of(self, request: SeenRequest) -> str:
        return "/graphql" if request.path == self.site.graphql else super().path_of(request)

    def perform(self, request: SeenRequest, _path: str) -> Response:
        reply = self.site.answer(request.method, request.path, urlencode(request.query), request.headers, request.body)
        return Response(reply.status, reply.body, dict(reply.headers))

    def refusal(self, status: int, message: str, headers: dict[str, str]) -> Response:
        return Response(status, {"message": message, "documentation_url": DOCUMENTATION}, headers)

    def too_many(self, seconds: str) -> Response:
        return self.refusal(403, "You have exceeded a secondary rate limit.", {"retry-after": seconds})


@contextmanager
def pull_request_on_github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    """Serve a fake GitHub that has the pull request of the event."""
    with FakeGitHub(now=clock.time) as server:
        server.add_pull_request(42, PULL_REQUEST["pull_request"]["head"]["sha"])
        yield server
