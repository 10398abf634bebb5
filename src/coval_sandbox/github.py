"""A small GitHub: pull requests, comments, commit statuses and check runs. It serves the sandbox, and the tests.

Sources: GitHub's REST and GraphQL documentation, its OpenAPI description, and error responses of api.github.com.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from .github_checks import ACTIONS, CheckRun, newest, problems
from .http import JSON, Reply
from .runner import PULL_REQUEST

BASE: Final = "/github"
API: Final = f"{BASE}/api/v3"  # in the form of Enterprise Server
GRAPHQL: Final = f"{BASE}/api/graphql"
EVENT_PATH: Final = f"{BASE}/event.json"  # of the pull request
TOKEN: Final = "ghs_sandbox"  # noqa: S105 - an example; any other one is as good
READ_ONLY_TOKEN: Final = "ghs_readonly"  # noqa: S105 - not secret; a word of messages would be masked in them
PERSONAL: Final = "ghp_"  # the start of people's tokens, which have no GitHub App
BOT: Final = "github-actions[bot]"
MISSING: Final = "missing"  # no repository exists whose name begins with this
SHA: Final = re.compile(r"[0-9a-f]{40}")
STATES: Final = ("error", "failure", "pending", "success")
LONGEST_BODY: Final = 65_536  # characters of a comment
LONGEST_DESCRIPTION: Final = 140  # characters of a status
USUAL_PAGE, LARGEST_PAGE = 30, 100  # entries
DOCUMENTATION: Final = "https://docs.github.com/rest"
Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, message: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
        self.reply = as_reply(status, body | ({"errors": list(errors)} if errors else {}))


class Call(NamedTuple):
    """`path` is below the repository, `url` the whole address. `page`: where people see what it sends, as `author`."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    url: str
    page: str
    author: str


@dataclass
class PullRequest:
    """From a fork, its head has another owner. Without a branch, it belongs to every branch."""

    sha: str
    owner: str = ""
    branch: str = ""
    open: bool = True

    @property
    def label(self) -> str:
        return f"{self.owner}:{self.branch}"

    def is_listed(self, query: Mapping[str, str]) -> bool:
        head, state = query.get("head", ""), query.get("state", "open")
        return head in ("", self.label if self.branch else head) and (state == "all" or self.open == (state == "open"))

    def view(self, number: int) -> Json:
        head = {"sha": self.sha, "ref": self.branch, "label": self.label}
        return {"number": number, "state": "open" if self.open else "closed", "head": head}


@dataclass
class Comment:
    """`author` is None if the account was deleted. `html_url`: where people see it."""

    id: int
    body: str
    author: str | None
    html_url: str
    edited: bool = False

    @property
    def view(self) -> Json:
        user = self.author and {"login": self.author, "type": "Bot" if self.author.endswith("[bot]") else "User"}
        return {"id": self.id, "body": self.body, "user": user or None, "html_url": self.html_url}


@dataclass
class Repository:
    """All lists begin with the oldest entry.

    `commits`: the existing ones; None: all exist. `comments`: by the number of their pull request, or by their commit.
    `statuses`: by commit.
    """

    ids: Iterator[int]
    pull_requests: dict[int, PullRequest] = field(default_factory=dict)
    commits: set[str] | None = None
    comments: dict[int | str, list[Comment]] = field(default_factory=dict)
    statuses: dict[str, list[Json]] = field(default_factory=dict)
    check_runs: list[CheckRun] = field(default_factory=list)

    def respond(self, call: Call) -> Reply:
        """Raises Refused."""
        match call.method, call.path.split("/"):
            case "GET", ["pulls"]:
                pulls = sorted(self.pull_requests.items(), reverse=True)
                return page_of(call, [pull.view(number) for number, pull in pulls if pull.is_listed(call.query)])
            case "GET", ["pulls", number] if pull := self.pull(number):
                return as_reply(200, pull.view(int(number)))
            case "GET", ["issues", number, "comments"] if self.pull(number):
                return page_of(call, [comment.view for comment in self.comments.get(int(number), [])])
            case "POST", ["issues", number, "comments"] if self.pull(number):
                return self.comment_on(int(number), call)
            case "PATCH", ["issues", "comments", id_] if comment := self._comment(id_, int):
                return _edit(comment, call)
            case _:
                return self._respond_for_commit(call)

    def _respond_for_commit(self, call: Call) -> Reply:
        match call.method, call.path.split("/"):
            case "GET", ["commits", sha, "statuses"]:
                self._check_commit(sha)
                return page_of(call, self.statuses.get(sha, [])[::-1])
            case "POST", ["statuses", sha]:
                return self._add_status(sha, call.body)
            case "GET", ["commits", sha, "comments"]:
                self._check_commit(sha)
                return page_of(call, [comment.view for comment in self.comments.get(sha, [])])
            case "POST", ["commits", sha, "comments"]:
                self._check_commit(sha)
                return self.comment_on(sha, call)
            case "PATCH", ["comments", id_] if comment := self._comment(id_, str):
                return _edit(comment, call)
            case "GET", ["commits", sha, "check-runs"]:
                return self._list_check_runs(sha, call)
            case "POST", ["check-runs"]:
                return self._add_check_run(call)
            case "PATCH", ["check-runs", id_] if check_run := self._check_run(id_):
                return _change(check_run, call)
            case _:
                raise Refused(404, "Not Found")

    def pull(self, number: str) -> PullRequest | None:
        return self.pull_requests.get(int(number)) if number.isdecimal() else None

    def comment_on(self, place: int | str, call: Call) -> Reply:
        return as_reply(201, self.add_comment(place, _comment_body(call), call.author, call.page).view)

    def add_comment(self, place: int | str, body: str, author: str | None, page: str) -> Comment:
        id_ = next(self.ids)
        comment = Comment(id_, body, author, f"{page}#comment-{id_}")
        self.comments.setdefault(place, []).append(comment)
        return comment

    def _comment(self, id_: str, kind: type[int] | type[str]) -> Comment | None:
        """Return the comment on a pull request (`int`) or on a commit (`str`); None if there is none."""
        comments = (comment for place, placed in self.comments.items() if isinstance(place, kind) for comment in placed)
        return next((comment for comment in comments if str(comment.id) == id_), None)

    def _check_run(self, id_: str) -> CheckRun | None:
        return next((check_run for check_run in self.check_runs if str(check_run.id) == id_), None)

    def _check_commit(self, sha: object) -> None:
        if not (SHA.fullmatch(str(sha)) if self.commits is None else sha in self.commits):
            raise Refused(422, f"No commit found for SHA: {sha}")

    def _add_status(self, sha: str, given: Json) -> Reply:
        self._check_commit(sha)
        if given.get("state") not in STATES:
            raise _invalid("Status", "state", "state is not included in the list")
        if len(given.get("description") or "") > LONGEST_DESCRIPTION:
            problem = f"description is too long (maximum is {LONGEST_DESCRIPTION} characters)"
            raise _invalid("Status", "description", problem)
        usual = {"context": "default", "description": "", "target_url": ""}
        status = {"id": next(self.ids), "state": given["state"]}
        status |= {name: given.get(name) or default for name, default in usual.items()}
        self.statuses.setdefault(sha, []).append(status)
        return as_reply(201, status)

    def _list_check_runs(self, sha: str, call: Call) -> Reply:
        self._check_commit(sha)
        listed = [check_run for check_run in self.check_runs if check_run.head_sha == sha]
        listed = [check_run for check_run in listed if check_run.name == call.query.get("check_name", check_run.name)]
        listed = listed if call.query.get("filter") == "all" else newest(listed)
        views = [check_run.view(call.page) for check_run in listed]
        return page_of(call, views, lambda entries: {"total_count": len(views), "check_runs": entries})

    def _add_check_run(self, call: Call) -> Reply:
        self._check_commit(call.body.get("head_sha"))
        _check(call.body, None)
        created = CheckRun(next(self.ids), call.body["name"], call.body["head_sha"])
        created.change(call.body)
        self.check_runs.append(created)
        return as_reply(201, created.view(call.page))


class GitHub:
    """`base` and `graphql` are its paths; `page`: where people see what it has, on this server unless it is a URL.

    `repositories` maps names to the only ones that exist. By default, every one exists, with every commit and the pull
    request of the runner's event. `tokens`: the only ones that work. `author` is the login of a step's token in REST
    responses, `viewer` the one in GraphQL responses.
    """

    def __init__(
        self,
        base: str = API,
        graphql: str = GRAPHQL,
        *,
        page: str = BASE,
        repositories: Mapping[str, Repository] | None = None,
        tokens: Collection[str] = (),
    ) -> None:
        self.base, self.graphql, self.page = base, graphql, page
        self.repositories: dict[str, Repository] = dict(repositories or {})
        self.ids = count(1)
        self.author = self.viewer = BOT
        self._has_all = repositories is None
        self._tokens = tokens

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Header names are in lower case."""
        try:
            self._check_token(method, path, headers.get("authorization", ""))
            if (method, path) == ("POST", self.graphql):
                return as_reply(200, {"data": {"viewer": {"login": self.viewer}}})
            match = re.fullmatch(rf"{self.base}/repos/([^/]+/[^/]+)/(.+)", unquote(path))
            name, below = match.groups() if match else ("", "")
            repository = self._repository(name)
            origin = origin_of(headers)
            page = f"{origin}{self.page}" if self.page.startswith("/") else self.page
            parameters, content = dict(parse_qsl(query)), _parsed(body)
            return repository.respond(Call(method, below, parameters, content, f"{origin}{path}", page, self.author))
        except Refused as refused:
            return refused.reply

    def _repository(self, name: str) -> Repository:
        """Raises Refused."""
        if name not in self.repositories:
            if not self._has_all or not name or name.partition("/")[2].startswith(MISSING):
                raise Refused(404, "Not Found")
            event = PULL_REQUEST["pull_request"]
            pull = PullRequest(event["head"]["sha"])
            self.repositories[name] = Repository(self.ids, {event["number"]: pull})
        return self.repositories[name]

    def _check_token(self, method: str, path: str, authorization: str) -> None:
        token = authorization.partition(" ")[2].strip()
        if not token or (self._tokens and token not in self._tokens):
            raise Refused(401, "Bad credentials" if authorization else "Requires authentication")
        if method == "GET" or path == self.graphql:
            return
        if token == READ_ONLY_TOKEN:
            raise Refused(403, "Resource not accessible by integration")
        if token.startswith(PERSONAL) and "/check-runs" in path:
            raise Refused(403, "You must authenticate via a GitHub App.")


def as_reply(status: int, body: object, headers: Mapping[str, str] = JSON) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), headers)


def origin_of(headers: Mapping[str, str]) -> str:
    """Return the server as the client sees it."""
    return f"http://{headers.get('host', '127.0.0.1')}"


def page_of(call: Call, entries: list[Json], envelope: Callable[[list[Json]], object] = lambda page: page) -> Reply:
    """Return a page of the entries, with links to the pages before and after it."""
    size = min(LARGEST_PAGE, _whole(call.query.get("per_page")) or USUAL_PAGE)
    number = _whole(call.query.get("page")) or 1
    beside = {"prev": number - 1} if number > 1 else {}
    beside |= {"next": number + 1} if number * size < len(entries) else {}
    links = ", ".join(
        f'<{call.url}?{urlencode({**call.query, "page": page})}>; rel="{name}"' for name, page in beside.items()
    )
    headers = {**JSON, "link": links} if links else JSON
    return as_reply(200, envelope(entries[(number - 1) * size : number * size]), headers)


def _change(check_run: CheckRun, call: Call) -> Reply:
    if check_run.app != ACTIONS:
        raise Refused(403, "Invalid app_id: a check run can only be modified by the App that created it.")
    _check(call.body, check_run)
    check_run.change(call.body)
    return as_reply(200, check_run.view(call.page))


def _check(body: Json, earlier: CheckRun | None) -> None:
    for problem in problems(body, earlier):
        raise Refused(422, f"Invalid request.\n\n{problem}")


def _edit(comment: Comment, call: Call) -> Reply:
    comment.body, comment.edited = _comment_body(call), True
    return as_reply(200, comment.view)


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


def _parsed(body: bytes) -> Json:
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        raise Refused(400, "Problems parsing JSON") from None
    if not isinstance(parsed, dict):
        raise Refused(422, "Invalid request.\n\nThe body is not an object.")
    return parsed


def _whole(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text) else 0
