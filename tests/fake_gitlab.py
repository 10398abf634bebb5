"""A fake GitLab server: merge requests, notes and commit statuses of one project, with faults.

Sources: GitLab's REST API documentation (Notes, Commits, Merge requests), `CreateCommitStatusService` for what a state
may follow, and `Ci::HasStatus` for the transitions.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from coval_sandbox.server import SeenRequest
from fake_github import Fault, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TOKEN = "glpat-the-token-of-the-project"
REPORTER_TOKEN = "glpat-may-write-notes-only"
READ_ONLY_TOKEN = "glpat-read-only"
USERS = {TOKEN: "project_7_bot", REPORTER_TOKEN: "reporter", READ_ONLY_TOKEN: "reader"}
PROJECT = "7"
FORK = "8"
BASE = "/api/v4"
LONGEST_BODY = 1_000_000  # characters of a note
LONGEST = 255  # characters of a status's description, name and URL
STATES = ("pending", "running", "success", "failed", "canceled")
OPEN = ("pending", "running")
HEADER = "private-token"


@dataclass
class Note:
    """A note on a merge request. `is_system`: GitLab wrote it about an event."""

    id: int
    body: str
    author: str
    is_system: bool = False

    @property
    def json(self) -> dict[str, Any]:
        return {"id": self.id, "body": self.body, "author": {"username": self.author}, "system": self.is_system}


@dataclass
class MergeRequest:
    """A merge request, its head, and its notes."""

    sha: str
    notes: list[Note] = field(default_factory=list)


class FakeGitLab:
    """Context manager that serves while it is open. `url` is the value for CI_API_V4_URL.

    Tests may change the state.
    """

    def __init__(self, *, faults: Iterable[str] = (), now: Callable[[], float] = time.time) -> None:
        self.merge_requests: dict[int, MergeRequest] = {}
        self.statuses: dict[str, list[dict[str, Any]]] = {}  # by commit, the oldest first
        self.history: list[tuple[str, str]] = []  # each state that a status took, with its description
        self.commits: set[str] = set()
        self.requests_seen: list[SeenRequest] = []
        self.faults = [Fault(line) for line in faults]
        self.now = now
        self.closing = Event()
        self.lock = RLock()
        self._ids = count(1)

    @property
    def url(self) -> str:
        """Return the base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_port}{BASE}"

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, args=[0.001], name="fake-gitlab", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_merge_request(self, number: int, sha: str) -> MergeRequest:
        """Open a merge request, whose head commit accepts statuses."""
        self.merge_requests[number] = MergeRequest(sha)
        self.commits.add(sha)
        return self.merge_requests[number]

    def add_note(self, number: int, body: str, author: str, *, is_system: bool = False) -> Note:
        """Add a note of any author."""
        note = Note(next(self._ids), body, author, is_system)
        self.merge_requests[number].notes.append(note)
        return note

    def respond_to(self, request: SeenRequest) -> Response | None:
        """Handle a request; return None to close the connection without a response."""
        with self.lock:
            self.requests_seen.append(request)
            path = request.path.removeprefix(BASE)
            fault = next((planned for planned in self.faults if planned.applies_to(request.method, path)), None)
            if fault is None or fault.action == "drop-after":
                response = self._perform(request, path)
                return None if fault else response
        return self._fault(fault)

    def _fault(self, fault: Fault) -> Response | None:
        match fault.action, fault.argument:
            case "secondary", seconds:
                return _message(429, "429 Too Many Requests", {"retry-after": seconds})
            case "html", _:
                return Response(200, "<html>Sign in</html>", {"content-type": "text/html"})
            case "json", text:
                return Response(200, text)
            case "moved", where:
                return _message(301, "Moved", {"location": where})
            case "hang", seconds:
                self.closing.wait(float(seconds))
                return None
            case "drop", _:
                return None
            case status, message:
                return _message(int(status), message or f"{status} Something")

    def _perform(self, request: SeenRequest, path: str) -> Response:
        token = request.headers.get(HEADER, "")
        if token not in USERS:
            return _message(401, "401 Unauthorized")
        if token == READ_ONLY_TOKEN and request.method != "GET":
            error = "The request requires higher privileges than provided by the access token."
            return Response(403, {"error": "insufficient_scope", "error_description": error, "scope": "api"})
        match path.split("/")[1:]:
            case ["projects", project, *rest] if unquote(project) == PROJECT:
                return self._route(request, rest, token)
            case _:
                return _message(404, "404 Project Not Found")

    def _route(self, request: SeenRequest, path: list[str], token: str) -> Response:
        match request.method, path:
            case "GET", ["merge_requests", number] if merge_request := self._merge_request(number):
                return Response(200, {"iid": int(number), "sha": merge_request.sha, "state": "opened"})
            case _, ["merge_requests", number, "notes", *rest] if merge_request := self._merge_request(number):
                return self._route_notes(request, merge_request, rest, token)
            case "GET", ["repository", "commits", sha, "statuses"] if sha in self.commits:
                name = request.query.get("name")
                return self._page(request, [one for one in self._latest(sha) if name in (None, one["name"])])
            case "POST", ["statuses", sha]:
                return self._set_status(sha, request.json, token)
            case _:
                return _message(404, "404 Not Found")

    def _route_notes(self, request: SeenRequest, merge_request: MergeRequest, path: list[str], token: str) -> Response:
        user = USERS[token]
        match request.method, path:
            case "GET", []:
                notes = sorted(merge_request.notes, key=lambda note: note.id)
                if request.query.get("sort", "desc") == "desc":
                    notes.reverse()
                return self._page(request, [note.json for note in notes])
            case "POST", []:
                if problem := _bad_body(request.json.get("body")):
                    return problem
                merge_request.notes.append(Note(next(self._ids), request.json["body"], user))
                return Response(201, merge_request.notes[-1].json)
            case "PUT", [id_] if note := next((one for one in merge_request.notes if str(one.id) == id_), None):
                if note.author != user:
                    return _message(403, "403 Forbidden")
                if problem := _bad_body(request.json.get("body")):
                    return problem
                note.body = request.json["body"]
                return Response(200, note.json)
            case _:
                return _message(404, "404 Note Not Found")

    def _merge_request(self, number: str) -> MergeRequest | None:
        return self.merge_requests.get(int(number)) if number.isdecimal() else None

    def _latest(self, sha: str) -> list[dict[str, Any]]:
        return list({status["name"]: status for status in self.statuses.get(sha, [])}.values())

    def _set_status(self, sha: str, given: dict[str, Any], token: str) -> Response:
        """Set a status: change the one of this name that is open, or else add one."""
        if token == REPORTER_TOKEN:
            return _message(403, "403 Forbidden")
        if sha not in self.commits:
            return _message(404, "404 Commit Not Found")
        state, name = given.get("state"), given.get("name", "default")
        if state not in STATES:
            return _message(400, "state does not have a valid value")
        long = next((key for key in ("description", "target_url", "name") if len(given.get(key, "")) > LONGEST), "")
        if long:
            return Response(400, {"message": {long: [f"is too long (maximum is {LONGEST} characters)"]}})
        before = next((one for one in reversed(self.statuses.get(sha, [])) if one["name"] == name), None)
        if before and before["status"] in OPEN:
            if state == before["status"] or (state == "pending" and before["status"] == "running"):
                event = "enqueue" if state == "pending" else "run"
                reason = f'Status cannot transition via "{event}"'
                return _message(400, f"Cannot transition status via :{event} from :{state} (Reason(s): {reason})")
        else:
            before = {"id": next(self._ids), "sha": sha, "name": name}
            self.statuses.setdefault(sha, []).append(before)
        before |= {"status": state, "description": given.get("description"), "target_url": given.get("target_url")}
        self.history.append((str(state), given.get("description", "")))
        return Response(201, before)

    def _page(self, request: SeenRequest, entries: list[dict[str, Any]]) -> Response:
        size, page = min(100, int(request.query.get("per_page", 20))), int(request.query.get("page", 1))
        return Response(200, entries[(page - 1) * size : page * size])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, gitlab: FakeGitLab) -> None:
        self.gitlab = gitlab
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def respond(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        seen = SeenRequest(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        response = self.server.gitlab.respond_to(seen)
        if response is None:
            self.close_connection = True
            return
        content = (response.body if isinstance(response.body, str) else json.dumps(response.body)).encode()
        self.send_response(response.status)
        defaults = {"content-type": "application/json", "content-length": str(len(content))}
        for name, value in (defaults | response.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = respond  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _message(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(status, {"message": message}, headers or {})


def _bad_body(body: object) -> Response | None:
    if not isinstance(body, str) or not body:
        return _message(400, '400 Bad request - Note {:note=>["can\'t be blank"]}')
    if len(body) > LONGEST_BODY:
        return _message(400, f"Note is too long (maximum is {LONGEST_BODY} characters)")
    return None
