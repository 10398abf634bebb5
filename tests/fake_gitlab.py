"""A fake GitLab server: merge requests, notes and commit statuses of one project, with faults.

Every request that reaches it is checked against `gitlab_contract`.

Sources: GitLab's REST API documentation (Notes, Commits, Merge requests), `CreateCommitStatusService` for what a state
may follow, and `Ci::HasStatus` for the transitions.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote

from coval_sandbox.http import SeenRequest
from fake_host import FakeHost, Response
from gitlab_contract import Problem, call_of, request_problems

TOKEN = "glpat-the-token-of-the-project"
REPORTER_TOKEN = "glpat-may-write-notes-only"
READ_ONLY_TOKEN = "glpat-read-only"
USERS = {TOKEN: "project_7_bot", REPORTER_TOKEN: "reporter", READ_ONLY_TOKEN: "reader"}
PROJECT = "7"
BASE = "/api/v4"
LONGEST_BODY = 1_000_000  # characters of a note
OPEN = ("pending", "running")
EVENTS = {"pending": "enqueue", "running": "run", "skipped": "skip"}  # what a running status refuses
SITE = "https://gitlab.example"
TIME = "2026-01-01T00:00:00.000Z"
HEADER = "private-token"
PIPELINE = 2201234567


@dataclass
class Note:
    """`is_system`: GitLab wrote it about an event."""

    id: int
    body: str
    author: str
    is_system: bool = False

    @property
    def json(self) -> dict[str, Any]:
        author, system = _user(self.author), self.is_system
        return {"id": self.id, "body": self.body, "author": author, "created_at": TIME, "system": system}


@dataclass
class MergeRequest:
    """A merge request, its head, and its notes."""

    number: int
    sha: str
    notes: list[Note] = field(default_factory=list)

    @property
    def json(self) -> dict[str, Any]:
        return {
            "id": 1000 + self.number,
            "iid": self.number,
            "project_id": int(PROJECT),
            "state": "opened",
            "sha": self.sha,
            "web_url": f"{SITE}/acme/voice-agent/-/merge_requests/{self.number}",
        }


class FakeGitLab(FakeHost):
    """`url` is the value for CI_API_V4_URL.

    Tests may change the state. Leaving it fails if a request broke GitLab's contract; a test that means
    to do so clears `violations`.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(BASE, **given)
        self.merge_requests: dict[int, MergeRequest] = {}
        self.statuses: dict[str, list[dict[str, Any]]] = {}  # by commit, the oldest first
        self.history: list[tuple[str, str]] = []  # each state that a status had, with its description
        self.commits: set[str] = set()
        self.pipelines: dict[str, list[int]] = {}  # by commit, the newest last; PIPELINE if a commit has none
        self.unreadable: set[int] = set()  # ids that the lists hide
        self.violations: list[str] = []
        self._ids = count(1)

    def __exit__(self, *error: object) -> None:
        super().__exit__()
        assert any(error) or not self.violations, self.violations

    def add_merge_request(self, number: int, sha: str) -> MergeRequest:
        """Open a merge request, whose head commit accepts statuses."""
        self.merge_requests[number] = MergeRequest(number, sha)
        self.commits.add(sha)
        return self.merge_requests[number]

    def add_note(self, number: int, body: str, author: str, *, is_system: bool = False) -> Note:
        """Add a note of any author."""
        note = Note(next(self._ids), body, author, is_system)
        self.merge_requests[number].notes.append(note)
        return note

    def add_status(
        self, sha: str, name: str, state: str, author: str = USERS[TOKEN], pipeline: int = PIPELINE
    ) -> dict[str, Any]:
        """Add a status of any author."""
        status = {
            "id": next(self._ids),
            "sha": sha,
            "status": state,
            "name": name,
            "target_url": None,
            "description": None,
            "created_at": TIME,
            "pipeline_id": pipeline,
            "author": _user(author),
        }
        self.statuses.setdefault(sha, []).append(status)
        return status

    def respond_to(self, request: SeenRequest) -> Response | None:
        path = self.path_of(request)
        problems = request_problems(request.method, path, request.query, request.headers, request.json)
        self.violations += [f"{request.method} {path}: {problem}" for problem in problems]
        return super().respond_to(request)

    def refusal(self, status: int, message: str, headers: dict[str, str]) -> Response:
        return Response(status, {"message": message}, headers)

    def too_many(self, seconds: str) -> Response:
        reply = {"error": "This endpoint has been requested too many times. Try again later."}
        return Response(429, {"message": reply}, {"retry-after": seconds})

    def perform(self, request: SeenRequest, path: str) -> Response:
        problems = request_problems(request.method, path, request.query, request.headers, request.json)
        token = request.headers.get(HEADER, "")
        if token not in USERS:
            return _message(401, "401 Unauthorized")
        if token == READ_ONLY_TOKEN and request.method != "GET":
            error = "The request requires higher privileges than provided by the access token."
            return Response(403, {"error": "insufficient_scope", "error_description": error, "scope": "api"})
        wrong = [problem for problem in problems if not problem.from_model]
        if wrong and call_of(request.method, path):
            return Response(400, {"error": ", ".join(map(str, wrong))})
        match path.split("/")[1:]:
            case ["projects", project, *rest] if unquote(project) == PROJECT:
                return self._route(request, rest, token, problems)
            case _:
                return _message(404, "404 Project Not Found")

    def _route(self, request: SeenRequest, path: list[str], token: str, problems: list[Problem]) -> Response:
        match request.method, path:
            case "GET", ["merge_requests", number] if merge_request := self._merge_request(number):
                return Response(200, merge_request.json)
            case _, ["merge_requests", number, "notes", *rest] if merge_request := self._merge_request(number):
                return self._route_notes(request, merge_request, rest, token)
            case "GET", ["repository", "commits", sha, "statuses"] if sha in self.commits:
                name = request.query.get("name")
                return self._page(request, [one for one in self._latest(sha) if name in (None, one["name"])])
            case "POST", ["statuses", sha]:
                return self._set_status(sha, request.json, token, problems)
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
                return Response(201, self.add_note(merge_request.number, request.json["body"], user).json)
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
        """Return the newest status of each name in each pipeline."""
        newest = {(status["pipeline_id"], status["name"]): status for status in self.statuses.get(sha, [])}
        return list(newest.values())

    def _set_status(self, sha: str, given: dict[str, Any], token: str, problems: list[Problem]) -> Response:
        """Set a status: change the one of this name that is open, or else add one."""
        if token == REPORTER_TOKEN:
            return _message(403, "403 Forbidden")
        if sha not in self.commits:
            return _message(404, "404 Commit Not Found")
        if problems:
            return Response(400, {"message": {problem.name: [problem.text] for problem in problems}})
        state, name = given["state"], given.get("name") or "default"
        *_, newest = pipelines = self.pipelines.get(sha, [PIPELINE])
        pipeline = given.get("pipeline_id", newest)
        if pipeline not in pipelines:
            return _message(404, "404 Pipeline for pipeline_id, sha and ref Not Found")
        same_name = [one for one in self.statuses.get(sha, []) if (one["name"], one["pipeline_id"]) == (name, pipeline)]
        before = same_name[-1] if same_name else None
        if before and before["status"] in OPEN:
            event = EVENTS.get(state)
            if event and (state == before["status"] or before["status"] == "running"):
                reason = f'Status cannot transition via "{event}"'
                reply = f"Cannot transition status via :{event} from :{before['status']} (Reason(s): {reason})"
                return _message(400, reply)
        else:
            before = self.add_status(sha, name, state, USERS[token], pipeline)
        before["status"] = state
        before |= {key: given[key] for key in ("target_url", "description") if key in given}
        self.history.append((state, given.get("description", "")))
        return Response(201, before)

    def _page(self, request: SeenRequest, entries: list[dict[str, Any]]) -> Response:
        """Cut a page before hiding what the token may not read, as GitLab does."""
        size, page = min(100, int(request.query.get("per_page", 20))), int(request.query.get("page", 1))
        following = str(page + 1) if page * size < len(entries) else ""
        shown = [entry for entry in entries[(page - 1) * size : page * size] if entry.get("id") not in self.unreadable]
        return Response(200, shown, {"x-next-page": following})


def _user(name: str) -> dict[str, Any]:
    return {"id": 1 + sum(name.encode()), "username": name}


def _message(status: int, message: str) -> Response:
    return Response(status, {"message": message})


def _bad_body(body: object) -> Response | None:
    if not isinstance(body, str) or not body:
        return _message(400, '400 Bad request - Note {:note=>["can\'t be blank"]}')
    if len(body) > LONGEST_BODY:
        return _message(400, f"Note is too long (maximum is {LONGEST_BODY} characters)")
    return None
