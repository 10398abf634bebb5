"""A small GitHub beside the local Coval: comments, commit statuses and check runs, and the page that shows them.

Every repository has every commit, and the pull request of `runner.PULL_REQUEST`. Any token may do everything, and
READ_ONLY_TOKEN only read. Sources: GitHub's REST and GraphQL documentation, and error responses of api.github.com.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode

from .github_checks import CheckRun, newest, problems
from .http import JSON, Reply
from .runner import PULL_REQUEST

BASE: Final = "/github"
API: Final = f"{BASE}/api/v3"  # in the form of Enterprise Server
GRAPHQL: Final = f"{BASE}/api/graphql"
EVENT_PATH: Final = f"{BASE}/event.json"
TOKEN: Final = "ghs_sandbox"  # noqa: S105 - an example; any other one is as good
READ_ONLY_TOKEN: Final = "ghs_readonly"  # noqa: S105 - not secret; a word of messages would be masked in them
BOT: Final = "github-actions[bot]"
HTML: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
}
MISSING: Final = "missing"  # no repository has a name that begins so
SHA: Final = re.compile(r"[0-9a-f]{40}")
STATES: Final = ("error", "failure", "pending", "success")
LONGEST_BODY: Final = 65_536  # characters of a comment
LONGEST_DESCRIPTION: Final = 140  # characters of a status
USUAL_PAGE, LARGEST_PAGE = 30, 100  # entries
DOCUMENTATION: Final = "https://docs.github.com/rest"


class Refused(Exception):
    def __init__(self, status: int, message: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
        self.reply = as_reply(status, body | ({"errors": list(errors)} if errors else {}))


class Call(NamedTuple):
    """`origin` is the server as the client sees it."""

    origin: str
    repository: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]


@dataclass
class Comment:
    id: int
    repository: str
    body: str
    edited: bool = False

    def view(self, origin: str) -> dict[str, Any]:
        address = f"{origin}{BASE}#comment-{self.id}"
        return {"id": self.id, "body": self.body, "user": {"login": BOT, "type": "Bot"}, "html_url": address}


class Status(NamedTuple):
    """The newest status of a `context` counts."""

    id: int
    repository: str
    sha: str
    context: str
    state: str
    description: str
    target_url: str

    def view(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if name not in ("repository", "sha")}


@dataclass
class GitHub:
    """What was sent to the small GitHub, oldest first, and its responses."""

    comments: list[Comment] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    check_runs: list[CheckRun] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """`path` begins with BASE; header names are in lower case."""
        origin = f"http://{headers.get('host', '127.0.0.1')}"
        if method == "GET" and path.rstrip("/") == BASE:
            from .github_page import page  # only who looks needs it

            return Reply(200, page(self, f"{origin}{API}").encode(), HTML)
        if method == "GET" and path == EVENT_PATH:
            return as_reply(200, PULL_REQUEST)
        try:
            _check_token(method, path, headers.get("authorization", ""))
            if (method, path) == ("POST", GRAPHQL):
                return as_reply(200, {"data": {"viewer": {"login": BOT}}})
            return self._answer(method, path, dict(parse_qsl(query)), origin, body)
        except Refused as refused:
            return refused.reply

    def _answer(self, method: str, path: str, query: dict[str, str], origin: str, body: bytes) -> Reply:
        match = re.fullmatch(rf"{API}/repos/([^/]+/(?!{MISSING})[^/]+)/(.+)", unquote(path))
        if match is None:
            raise Refused(404, "Not Found")
        call = Call(origin, match[1], path, query, _parsed(body))
        for verb, pattern, operation in self._routes():
            if verb == method and (place := re.fullmatch(pattern, match[2])):
                return operation(call, *place.groups())
        raise Refused(404, "Not Found")

    def _routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        return [
            ("GET", r"pulls", self._list_pulls),
            ("GET", r"pulls/(\d+)", self._get_pull),
            ("GET", r"issues/(\d+)/comments", self._list_comments),
            ("POST", r"issues/(\d+)/comments", self._add_comment),
            ("PATCH", r"issues/comments/(\d+)", self._edit_comment),
            ("GET", r"commits/([^/]+)/statuses", self._list_statuses),
            ("POST", r"statuses/([^/]+)", self._add_status),
            ("GET", r"commits/([^/]+)/check-runs", self._list_check_runs),
            ("POST", r"check-runs", self._add_check_run),
            ("PATCH", r"check-runs/(\d+)", self._change_check_run),
        ]

    def _list_pulls(self, call: Call) -> Reply:
        return _page(call, [_pull()] if call.query.get("state", "open") in ("open", "all") else [])

    def _get_pull(self, _call: Call, number: str) -> Reply:
        _check_pull(number)
        return as_reply(200, _pull())

    def _list_comments(self, call: Call, number: str) -> Reply:
        _check_pull(number)
        comments = [comment for comment in self.comments if comment.repository == call.repository]
        return _page(call, [comment.view(call.origin) for comment in comments])

    def _add_comment(self, call: Call, number: str) -> Reply:
        _check_pull(number)
        comment = Comment(next(self._ids), call.repository, _comment_body(call))
        self.comments.append(comment)
        return as_reply(201, comment.view(call.origin))

    def _edit_comment(self, call: Call, id_: str) -> Reply:
        comment = _with_id(self.comments, id_, call)
        comment.body, comment.edited = _comment_body(call), True
        return as_reply(200, comment.view(call.origin))

    def _list_statuses(self, call: Call, sha: str) -> Reply:
        _check_commit(sha)
        statuses = [status for status in self.statuses if (status.repository, status.sha) == (call.repository, sha)]
        return _page(call, [status.view() for status in reversed(statuses)])

    def _add_status(self, call: Call, sha: str) -> Reply:
        _check_commit(sha)
        state, words = (
            call.body.get("state"),
            [
                str(call.body.get(name) or default)
                for name, default in (("context", "default"), ("description", ""), ("target_url", ""))
            ],
        )
        if state not in STATES:
            raise _invalid("Status", "state", "state is not included in the list")
        if len(words[1]) > LONGEST_DESCRIPTION:
            problem = f"description is too long (maximum is {LONGEST_DESCRIPTION} characters)"
            raise _invalid("Status", "description", problem)
        status = Status(next(self._ids), call.repository, sha, words[0], str(state), *words[1:])
        self.statuses.append(status)
        return as_reply(201, status.view())

    def _list_check_runs(self, call: Call, sha: str) -> Reply:
        _check_commit(sha)
        name = call.query.get("check_name")
        found = [run for run in self.check_runs if (run.repository, run.head_sha) == (call.repository, sha)]
        found = [run for run in found if name in (None, run.name)]
        found = found if call.query.get("filter") == "all" else newest(found)
        views = [run.view(_address(call, run)) for run in found]
        return _page(call, views, lambda entries: {"total_count": len(views), "check_runs": entries})

    def _add_check_run(self, call: Call) -> Reply:
        _check_commit(str(call.body.get("head_sha")))
        _check_check_run(call.body, None)
        created = CheckRun(next(self._ids), call.repository, call.body["name"], call.body["head_sha"])
        created.change(call.body)
        self.check_runs.append(created)
        return as_reply(201, created.view(_address(call, created)))

    def _change_check_run(self, call: Call, id_: str) -> Reply:
        changed = _with_id(self.check_runs, id_, call)
        _check_check_run(call.body, changed)
        changed.change(call.body)
        return as_reply(200, changed.view(_address(call, changed)))


Entry = TypeVar("Entry", Comment, CheckRun)


def as_reply(status: int, body: object, headers: Mapping[str, str] = JSON) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), headers)


def _address(call: Call, check_run: CheckRun) -> str:
    return f"{call.origin}{BASE}#check-run-{check_run.id}"


def _with_id(entries: Sequence[Entry], id_: str, call: Call) -> Entry:
    for entry in entries:
        if (entry.id, entry.repository) == (int(id_), call.repository):
            return entry
    raise Refused(404, "Not Found")


def _pull() -> dict[str, Any]:
    event = PULL_REQUEST["pull_request"]
    return {"number": event["number"], "state": "open", "head": event["head"], "base": event["base"]}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        raise Refused(400, "Problems parsing JSON") from None
    if not isinstance(parsed, dict):
        raise Refused(422, "Invalid request.\n\nThe body is not an object.")
    return parsed


def _check_token(method: str, path: str, authorization: str) -> None:
    token = authorization.partition(" ")[2].strip()
    if not token:
        raise Refused(401, "Requires authentication" if not authorization else "Bad credentials")
    if token == READ_ONLY_TOKEN and method != "GET" and path != GRAPHQL:
        raise Refused(403, "Resource not accessible by integration")


def _check_pull(number: str) -> None:
    if int(number) != PULL_REQUEST["pull_request"]["number"]:
        raise Refused(404, "Not Found")


def _check_commit(sha: str) -> None:
    if not SHA.fullmatch(sha):
        raise Refused(422, f"No commit found for SHA: {sha}")


def _check_check_run(body: Mapping[str, Any], earlier: CheckRun | None) -> None:
    for problem in problems(body, earlier):
        raise Refused(422, f"Invalid request.\n\n{problem}")


def _comment_body(call: Call) -> str:
    body = call.body.get("body")
    if not isinstance(body, str) or not body.strip():
        raise _invalid("IssueComment", "body", "body can't be blank")
    if len(body) > LONGEST_BODY:
        raise _invalid("IssueComment", "body", f"body is too long (maximum is {LONGEST_BODY} characters)")
    return body


def _invalid(resource: str, name: str, message: str) -> Refused:
    error = {"resource": resource, "code": "custom", "field": name, "message": message}
    return Refused(422, "Validation Failed", [error])


def _page(
    call: Call, entries: list[dict[str, Any]], envelope: Callable[[list[dict[str, Any]]], object] = lambda page: page
) -> Reply:
    """Add links to the pages beside it."""
    size = min(LARGEST_PAGE, _whole(call.query.get("per_page")) or USUAL_PAGE)
    number = _whole(call.query.get("page")) or 1
    beside = {"prev": number - 1} if number > 1 else {}
    beside |= {"next": number + 1} if number * size < len(entries) else {}
    links = ", ".join(
        f'<{call.origin}{call.path}?{urlencode({**call.query, "page": page})}>; rel="{name}"'
        for name, page in beside.items()
    )
    headers = {**JSON, "link": links} if links else JSON
    return as_reply(200, envelope(entries[(number - 1) * size : number * size]), headers)


def _whole(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text) else 0
