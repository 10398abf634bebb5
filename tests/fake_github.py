"""A fake GitHub server: pull requests, issues, comments, statuses and check runs of one repository, with faults.

Sources: GitHub's REST and GraphQL documentation, and error responses of api.github.com.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Event, RLock, Thread
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import SeenRequest
from fake_check_runs import ACTIONS, CheckRun, InvalidCheckRun, latest
from support import VirtualClock

TOKEN = "ghs_the-token-of-the-workflow"
READ_ONLY_TOKEN = "read-only"
PERSONAL_TOKEN = "ghp_the-token-of-a-person"
BOT = "github-actions[bot]"
REPOSITORY = "acme/voice-agent"
LONGEST_BODY = 65_536  # characters of a comment
LONGEST_DESCRIPTION = 140  # characters of a status
DOCUMENTATION = "https://docs.github.com/rest"
HTML = "<!DOCTYPE html><html><body>Please sign in to the guest network.</body></html>"
FAULT = re.compile(r"([A-Z]+|\*)\s+(\S+)(?:\s+#(\d+)(-(\d*))?)?\s+->\s+(\S+)\s*(.*)", re.DOTALL)


@dataclass
class PullRequest:
    """A pull request; if it comes from a fork, its head has another owner. `files`: what GitHub says of each change."""

    sha: str
    owner: str = "acme"
    branch: str = "main"
    open: bool = True
    files: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Comment:
    """A comment; `author` is None if the account was deleted."""

    id: int
    body: str
    author: str | None
    html_url: str

    @property
    def json(self) -> dict[str, Any]:
        user = self.author and {"login": self.author, "type": "Bot" if self.author.endswith("[bot]") else "User"}
        return {"id": self.id, "body": self.body, "user": user or None, "html_url": self.html_url}


@dataclass
class Issue:
    """An issue; its comments are among those of the pull requests, under its number."""

    title: str
    body: str
    author: str
    state: str = "open"

    def json(self, number: int) -> dict[str, Any]:
        user = {"login": self.author}
        return {"number": number, "title": self.title, "body": self.body, "state": self.state, "user": user}


class Response(NamedTuple):
    """A response; a string `body` is sent as it is, any other as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Fault:
    """One line `METHOD PATH-GLOB [#n | #n-m | #n-] -> ACTION`; paths are below the base URL, or /graphql.

    Actions: STATUS [MESSAGE]; rate-limit SECONDS; secondary SECONDS; drop; drop-after; html; json TEXT;
    moved URL [STATUS]; hang SECONDS. Only drop-after lets the request take effect. Raises ValueError for anything else.
    """

    def __init__(self, line: str) -> None:
        match = FAULT.fullmatch(line)
        if match is None or not re.fullmatch(
            r"\d{3}|rate-limit|secondary|drop|drop-after|html|json|moved|hang", match[6]
        ):
            raise ValueError(f"not a fault: {line}")
        self.method, self.path, first, to, last, self.action, self.argument = match.groups()
        self._first = int(first or 1)
        self._last = float(last or ("inf" if to or not first else first))
        self._seen = 0

    def applies_to(self, method: str, path: str) -> bool:
        """Count a matching request, and return whether the fault applies to it."""
        if self.method not in ("*", method) or not fnmatchcase(path, self.path):
            return False
        self._seen += 1
        return self._first <= self._seen <= self._last


class FakeGitHub:
    """Context manager that serves while it is open.

    `url` is the value for GITHUB_API_URL, in the form of Enterprise Server if `enterprise`. `now` returns seconds since
    the epoch. Tests may change the state: `viewer` is the login in GraphQL responses, `author` the one in REST
    responses, and `headers` are in all responses.
    """

    def __init__(
        self,
        *,
        faults: Iterable[str] = (),
        enterprise: bool = False,
        now: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.pull_requests: dict[int, PullRequest] = {}
        self.issues: dict[int, Issue] = {}
        self.comments: dict[int, list[Comment]] = {}
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        self.check_runs: list[CheckRun] = []
        self.commits: set[str] = set()
        self.requests_seen: list[SeenRequest] = []
        self.viewer = BOT
        self.author = BOT
        reset = str(round(now() + 3600))
        self.headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": reset}
        self.faults = [Fault(line) for line in faults]
        self.now = now
        self.closing = Event()
        self.lock = RLock()
        self.base, self.graphql = ("/api/v3", "/api/graphql") if enterprise else ("", "/graphql")
        self._address = (host, port)
        self._ids = count(1)

    @property
    def url(self) -> str:
        """Return the base URL, without a trailing slash."""
        return f"http://{self._address[0]}:{self._server.server_port}{self.base}"

    def __enter__(self) -> Self:
        """Accept connections. Raises OSError if the port is taken."""
        self._server = _Server(self._address, self)
        self._thread = Thread(target=self._server.serve_forever, args=[0.001], name="fake-github", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket and all connections."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Serve at a Unix socket, too: the command gh can be told to send its requests there, in plain HTTP."""
        with _SocketServer(path, self) as server:
            thread = Thread(target=server.serve_forever, args=[0.001], name="fake-github-socket", daemon=True)
            thread.start()
            yield
            server.shutdown()
            thread.join()

    def add_issue(self, title: str, body: str, author: str) -> int:
        """Open an issue of any author, and return its number."""
        with self.lock:
            number = next(self._ids)
            self.issues[number] = Issue(title, body, author)
            return number

    def add_pull_request(self, number: int, sha: str, owner: str = "acme", branch: str = "feature") -> None:
        """Open a pull request, whose head commit accepts statuses."""
        self.pull_requests[number] = PullRequest(sha, owner, branch)
        self.commits.add(sha)

    def add_comment(self, number: int, body: str, author: str | None) -> Comment:
        """Add a comment of any author."""
        with self.lock:
            id_ = next(self._ids)
            comment = Comment(id_, body, author, f"https://github.com/{REPOSITORY}/pull/{number}#issuecomment-{id_}")
            self.comments.setdefault(number, []).append(comment)
            return comment

    def add_check_run(self, name: str, sha: str, **given: Any) -> CheckRun:
        """Add a check run of any App."""
        with self.lock:
            self.check_runs.append(CheckRun(next(self._ids), name, sha, **given))
            return self.check_runs[-1]

    def respond_to(self, request: SeenRequest) -> Response | None:
        """Handle a request; return None to close the connection without a response."""
        with self.lock:
            self.requests_seen.append(request)
            path = "/graphql" if request.path == self.graphql else request.path.removeprefix(self.base)
            fault = next((planned for planned in self.faults if planned.applies_to(request.method, path)), None)
            if fault is None or fault.action == "drop-after":
                response = self._perform(request, path)
                return None if fault else response
        return self._fault(fault)

    def _fault(self, fault: Fault) -> Response | None:
        match fault.action, fault.argument:
            case "rate-limit", seconds:
                headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(round(self.now() + float(seconds)))}
                return _message(403, "API rate limit exceeded for installation ID 1.", headers)
            case "secondary", seconds:
                return _message(403, "You have exceeded a secondary rate limit.", {"retry-after": seconds})
            case "html", _:
                return Response(200, HTML, {"content-type": "text/html; charset=utf-8"})
            case "json", text:
                return Response(200, text)
            case "moved", where:
                url, _, status = where.partition(" ")
                return _message(int(status or 301), "Moved Permanently", {"location": url})
            case "hang", seconds:
                self.closing.wait(float(seconds))
                return None
            case "drop", _:
                return None
            case status, message:
                return _message(int(status), message or "Something went wrong.")

    def _perform(self, request: SeenRequest, path: str) -> Response:
        token = request.headers.get("authorization", "").partition(" ")[2]
        if token not in (TOKEN, READ_ONLY_TOKEN, PERSONAL_TOKEN):
            return _message(401, "Bad credentials")
        if request.path == self.graphql and request.method == "POST":
            return Response(200, {"data": {"viewer": {"login": self.viewer}}})
        if token == READ_ONLY_TOKEN and request.method != "GET":
            return _message(403, "Resource not accessible by integration")
        if token == PERSONAL_TOKEN and request.method != "GET" and "/check-runs" in path:
            return _message(403, "You must authenticate via a GitHub App.")
        if not request.path.startswith(f"{self.base}/repos/{REPOSITORY}/"):
            return _message(404, "Not Found")
        return self._route(request, path.removeprefix(f"/repos/{REPOSITORY}/"))

    def _route(self, request: SeenRequest, path: str) -> Response:
        match request.method, path.split("/"):
            case "GET", ["pulls"]:
                return self._page(request, self._pulls(request.query))
            case "GET", ["pulls", number] if pull := self._pull(number):
                return Response(200, _pull_json(int(number), pull))
            case "GET", ["pulls", number, "files"] if pull := self._pull(number):
                return self._page(request, pull.files)
            case "GET", ["issues", number, "comments"] if self._pull(number):
                return self._page(request, [note.json for note in self.comments.get(int(number), [])])
            case "POST", ["issues", number, "comments"] if self._pull(number) or self._issue(number):
                body = request.json.get("body")
                return _bad_body(body) or Response(201, self.add_comment(int(number), body, self.author).json)
            case "PATCH", ["issues", "comments", id_] if comment := self._comment(id_):
                if problem := _bad_body(body := request.json.get("body")):
                    return problem
                comment.body = body
                return Response(200, comment.json)
            case "GET", ["commits", sha, "statuses"] if sha in self.commits:
                return self._page(request, self.statuses.get(sha, [])[::-1])
            case "POST", ["statuses", sha]:
                return self._set_status(sha, request.json)
            case _:
                return self._route_check_runs(request, path) or self._route_issues(request, path)

    def _route_check_runs(self, request: SeenRequest, path: str) -> Response | None:
        match request.method, path.split("/"):
            case "GET", ["commits", sha, "check-runs"]:
                if sha not in self.commits:
                    return _message(422, f"No commit found for SHA: {sha}")
                found = [check_run for check_run in self.check_runs if check_run.head_sha == sha]
                found = [check for check in found if check.name == request.query.get("check_name", check.name)]
                found = found if request.query.get("filter") == "all" else latest(found)
                page = self._page(request, [check.json for check in found])
                return page._replace(body={"total_count": len(found), "check_runs": page.body})
            case "POST", ["check-runs"]:
                if request.json.get("head_sha") not in self.commits:
                    return _message(422, f"No commit found for SHA: {request.json.get('head_sha')}")
                created = CheckRun(next(self._ids), request.json["name"], request.json["head_sha"])
                response = _changed(created, request.json, 201)
                self.check_runs += [created] if response.status == 201 else []
                return response
            case "PATCH", ["check-runs", id_] if found_run := self._check_run(id_):
                if found_run.app != ACTIONS:
                    return _message(403, "Invalid app_id: a check run can only be modified by the App that created it.")
                return _changed(found_run, request.json, 200)
        return None

    def _check_run(self, id_: str) -> CheckRun | None:
        return next((check_run for check_run in self.check_runs if str(check_run.id) == id_), None)

    def _route_issues(self, request: SeenRequest, path: str) -> Response:
        match request.method, path.split("/"):
            case "GET", ["issues"]:
                return self._page(request, self._issues(request.query))
            case "POST", ["issues"]:
                created = self.add_issue(request.json["title"], request.json["body"], self.author)
                return Response(201, self.issues[created].json(created))
            case "PATCH", ["issues", number] if issue := self._issue(number):
                for name in request.json.keys() & {"title", "body", "state"}:
                    setattr(issue, name, request.json[name])
                return Response(200, issue.json(int(number)))
            case _:
                return _message(404, "Not Found")

    def _pull(self, number: str) -> PullRequest | None:
        return self.pull_requests.get(int(number)) if number.isdecimal() else None

    def _issue(self, number: str) -> Issue | None:
        return self.issues.get(int(number)) if number.isdecimal() else None

    def _issues(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """List issues and, as GitHub does, pull requests; the newest first."""
        state = query.get("state", "open")
        pulls = [
            {**_pull_json(number, pull), "title": "", "user": {"login": pull.owner}, "pull_request": {}}
            for number, pull in self.pull_requests.items()
        ]
        issues = [issue.json(number) for number, issue in self.issues.items()]
        listed = sorted([*pulls, *issues], key=lambda issue: issue["number"], reverse=True)
        return [entry for entry in listed if state in ("all", entry["state"])]

    def _pulls(self, query: dict[str, str]) -> list[dict[str, Any]]:
        head, state = query.get("head", ""), query.get("state", "open")
        return [
            _pull_json(number, pull)
            for number, pull in sorted(self.pull_requests.items(), reverse=True)
            if head in ("", f"{pull.owner}:{pull.branch}") and (state == "all" or pull.open == (state == "open"))
        ]

    def _comment(self, id_: str) -> Comment | None:
        return next(
            (comment for comments in self.comments.values() for comment in comments if str(comment.id) == id_), None
        )

    def _set_status(self, sha: str, status: dict[str, Any]) -> Response:
        if sha not in self.commits:
            return _message(422, f"No commit found for SHA: {sha}")
        if len(status.get("description", "")) > LONGEST_DESCRIPTION:
            return _invalid(
                "Status", "description", f"description is too long (maximum is {LONGEST_DESCRIPTION} characters)"
            )
        if status.get("state") not in ("error", "failure", "pending", "success"):
            return _invalid("Status", "state", "state is not included in the list")
        self.statuses.setdefault(sha, []).append(status)
        return Response(201, status)

    def _page(self, request: SeenRequest, entries: list[dict[str, Any]]) -> Response:
        size, page = min(100, int(request.query.get("per_page", 30))), int(request.query.get("page", 1))
        origin = f"http://{request.headers['host']}"  # where the client sees this server
        links = {"prev": page - 1, "next": page + 1} if page * size < len(entries) else {"prev": page - 1}
        link = ", ".join(
            f'<{origin}{request.path}?{urlencode({**request.query, "page": number})}>; rel="{name}"'
            for name, number in links.items()
            if number
        )
        return Response(200, entries[(page - 1) * size : page * size], {"link": link} if link else {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], github: FakeGitHub) -> None:
        self.github = github
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def server_close(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(2)
        super().server_close()


class _SocketServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, github: FakeGitHub) -> None:
        self.github = github
        self.connections: set[socket.socket] = set()
        super().__init__(str(path), _SocketConnection)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server | _SocketServer

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def respond(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        seen = SeenRequest(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        response = self.server.github.respond_to(seen)
        if response is None:
            self.close_connection = True
            return
        text = response.body if isinstance(response.body, str) else json.dumps(response.body)
        content = text.encode()
        self.send_response(response.status)
        defaults = {"content-type": "application/json; charset=utf-8", "content-length": str(len(content))}
        for name, value in (defaults | self.server.github.headers | response.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = respond  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _SocketConnection(_Connection):
    disable_nagle_algorithm = False  # only TCP has it


@contextmanager
def pull_request_on_github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    """Serve a fake GitHub that has the pull request of the event."""
    with FakeGitHub(now=clock.time) as server:
        server.add_pull_request(42, PULL_REQUEST["pull_request"]["head"]["sha"])
        yield server


def _pull_json(number: int, pull: PullRequest) -> dict[str, Any]:
    head = {"sha": pull.sha, "ref": pull.branch, "label": f"{pull.owner}:{pull.branch}"}
    return {"number": number, "state": "open" if pull.open else "closed", "head": head}


def _message(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
    return Response(status, body, headers or {})


def _invalid(resource: str, field: str, message: str) -> Response:
    error = {"resource": resource, "code": "custom", "field": field, "message": message}
    return Response(422, {"message": "Validation Failed", "errors": [error], "documentation_url": DOCUMENTATION})


def _changed(check_run: CheckRun, body: dict[str, Any], status: int) -> Response:
    try:
        check_run.change(body)
    except InvalidCheckRun as problem:
        return Response(422, {"message": f"Invalid request.\n\n{problem}", "documentation_url": DOCUMENTATION})
    return Response(status, check_run.json)


def _bad_body(body: object) -> Response | None:
    if not isinstance(body, str) or not body:
        return _invalid("IssueComment", "body", "body can't be blank")
    if len(body) > LONGEST_BODY:
        return _invalid("IssueComment", "body", f"body is too long (maximum is {LONGEST_BODY} characters)")
    return None
