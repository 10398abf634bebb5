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
    Refused,
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
    assignees: list[str] = field(default_factory=list)

    def view(self, number: int) -> dict[str, Any]:
        user = {"login": self.author}
        return {"number": number, "title": self.title, "body": self.body, "state": self.state, "user": user}


WORKFLOW_ID = 77


@dataclass
class WorkflowRun:
    """A run of a workflow, as Actions lists it. `reruns`: how often its failed jobs were started again."""

    id: int
    event: str
    conclusion: str | None
    head_sha: str = ""
    head_branch: str = "main"
    reruns: int = 0

    @property
    def status(self) -> str:
        return "completed" if self.conclusion else "in_progress"

    @property
    def view(self) -> dict[str, Any]:
        names = ("id", "event", "conclusion", "head_sha", "head_branch", "status")
        return {name: getattr(self, name) for name in names} | {"workflow_id": WORKFLOW_ID}

    def is_listed(self, query: dict[str, str]) -> bool:
        names = {"event": "event", "branch": "head_branch", "head_sha": "head_sha", "status": "status"}
        return all(self.view[own] == query[name] for name, own in names.items() if name in query)


@dataclass
class _WithIssues(Repository):
    """`files`: GitHub's entry for each changed file of a pull request, by its number. `dispatches`: events sent to it.

    `workflow_runs`: the newest first. `permissions`: of users by login. `reactions`: by the id of the comment.
    """

    issues: dict[int, Issue] = field(default_factory=dict)
    workflow_runs: list[WorkflowRun] = field(default_factory=list)
    permissions: dict[str, str] = field(default_factory=dict)
    reactions: dict[str, list[str]] = field(default_factory=dict)
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
                return self._respond_of_people(call)

    def _respond_of_people(self, call: Call) -> Reply:
        match call.method, call.path.split("/"):
            case "POST", ["issues", number, "assignees"] if issue := self._issue(number):
                issue.assignees += call.body["assignees"]
                return as_reply(201, issue.view(int(number)))
            case "POST", ["issues", "comments", id_, "reactions"]:
                self.reactions.setdefault(id_, []).append(call.body["content"])
                return as_reply(201, call.body)
            case "GET", ["collaborators", login, "permission"]:
                return as_reply(200, {"permission": self.permissions.get(login, "none")})
            case _, ["actions", *path]:
                return self._respond_of_actions(call, path)
        return super().respond(call)

    def _respond_of_actions(self, call: Call, path: list[str]) -> Reply:
        match call.method, path:
            case "GET", ["runs", id_]:
                return as_reply(200, {"id": int(id_), "workflow_id": WORKFLOW_ID})
            case "GET", ["workflows", _, "runs"]:
                runs = [run.view for run in self.workflow_runs if run.is_listed(call.query)]
                return page_of(call, runs, lambda page: {"total_count": len(runs), "workflow_runs": page})
            case "POST", ["runs", id_, "rerun-failed-jobs"]:
                (run,) = (run for run in self.workflow_runs if run.id == int(id_))
                run.reruns += 1
                return as_reply(201, {})
        raise Refused(404, "Not Found")

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
