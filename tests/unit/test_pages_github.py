"""Requests to GitHub go over a real socket, and meet real faults."""

import socket
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from coval_gate.base.errors import HostError
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.secret import Secret
from coval_gate.ci.host import Context, PageText
from coval_gate.features.pages.calls import BACKOFFS, ApiPage, Payload, message_in
from coval_gate.features.pages.github import CheckRun, Comment, CommitStatus, GitHub
from coval_gate.features.systems.plain import PlainHost
from coval_gate.inputs.inputs import parse_inputs
from coval_sandbox.github import BOT
from fake_github import PERSONAL_TOKEN, REPOSITORY, TOKEN, FakeGitHub
from support import VirtualClock, host_of, runtime

T = TypeVar("T")
P = TypeVar("P", bound=ApiPage[GitHub])

NUMBER = 42
SHA = "a" * 40
MARKER = "<!-- coval-gate gate -->"
BODY = f"{MARKER}\nAll is well."
REPOS = f"/repos/{REPOSITORY}"
COMMENTS = f"{REPOS}/issues/{NUMBER}/comments"
CHECK = "Voice gate"
CHECK_RUNS = f"{REPOS}/check-runs"


class Session:
    """A fake GitHub with one pull request, and a client whose calls may take one minute."""

    def __init__(
        self, clock: VirtualClock, *faults: str, token: str = TOKEN, enterprise: bool = False, time_limit: float = 60
    ) -> None:
        self.clock = clock
        self.time_limit = time_limit
        self.server = FakeGitHub(faults=faults, enterprise=enterprise, now=clock.time)
        self.server.add_pull_request(NUMBER, SHA)
        self._token = token

    def __enter__(self) -> "Session":
        self.server.__enter__()
        self.github = GitHub(self.server.url, Secret(self._token), REPOSITORY, runtime(self.clock))
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    @property
    def until(self) -> float:
        return self.clock.now() + self.time_limit

    @property
    def calls(self) -> list[str]:
        """The method and path of each request so far."""
        return [f"{request.method} {request.path}" for request in self.server.requests_seen]

    @property
    def bodies(self) -> list[str]:
        """The bodies of the comments on the pull request."""
        return [comment.body for comment in self.server.comments.get(NUMBER, [])]

    def comment(self, body: str = BODY) -> str:
        text = PageText("failed", passes=False, name=MARKER, summary=body)
        return self.run(self.page(Comment, "comment").write(NUMBER, text, create=True, until=self.until))

    def head(self, number: int = NUMBER) -> str:
        return self.run(self.github.head_of(number, until=self.until))

    def find(self, owner: str = "acme", branch: str = "feature", sha: str = SHA) -> int | None:
        return self.run(self.github.find_pull_request(owner, branch, sha, until=self.until))

    def run(self, procedure: Procedure[T]) -> T:
        return run(procedure, self.clock)

    def set_status(self, sha: str = SHA, description: str = "95% of 40") -> None:
        url = "https://app.coval.dev/run/1"
        text = PageText("passed", passes=True, name="coval / gate", title=description, link=url, sha=sha)
        self.show(self.page(CommitStatus, "commit_status"), text)

    def set_check_run(self, conclusion: str = "", *, id_: int | None = None, again: bool = False, **given: Any) -> int:
        """Set the check run as the step does; `again` as the post step does."""
        fields = {"sha": SHA, "name": CHECK, "references": ("run-1",), "title": "A title", "summary": "A summary"}
        state = {"": "in_progress", "success": "passed", "failure": "failed"}[conclusion]
        page = self.page(CheckRun, "check_run")
        page.made, page.certain = str(id_ or ""), not again
        self.show(page, PageText(state, passes=state != "failed", **fields | given))
        return int(page.made)

    def page(self, kind: type[P], input_: str) -> P:
        """Return a page of a later attempt, which looks for the pages of an earlier one."""
        inputs, _ = parse_inputs({})
        return kind(input_, "", host_of(PlainHost), lambda: self.github, inputs, Context(run_attempt="2"))

    def show(self, page: ApiPage[GitHub], text: PageText) -> None:
        self.run(page.show(text, Context(run_attempt="2"), until=self.until))

    @property
    def checks(self) -> list[tuple[str, str, str | None]]:
        """Name, external id and conclusion of each check run of the head, in order of creation."""
        return [(check_run.name, check_run.external_id, check_run.conclusion) for check_run in self.server.check_runs]


OPERATIONS: dict[str, tuple[Callable[[Session], object], str]] = {
    "comment": (Session.comment, "pull-requests: write"),
    "status": (Session.set_status, "statuses: write"),
    "head": (Session.head, "pull-requests: read"),
    "find": (Session.find, "pull-requests: read"),
    "check": (lambda session: session.set_check_run("success"), "checks: write"),
}


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# Comments


def test_comment_is_created_once_and_then_updated_if_it_changes(clock: VirtualClock) -> None:
    with Session(clock) as session:
        url = session.comment()
        assert session.calls == ["POST /graphql", f"GET {COMMENTS}", f"POST {COMMENTS}"]
        assert session.bodies == [BODY]
        assert session.comment() == url
        assert session.calls[3:] == [f"GET {COMMENTS}"]
        assert session.comment(BODY + " Still.") == url == session.server.comments[NUMBER][0].html_url
        assert session.calls[4:] == [f"GET {COMMENTS}", f"PATCH {REPOS}/issues/comments/1"]
        assert session.bodies == [BODY + " Still."]
    assert clock.slept == []


@pytest.mark.parametrize("place", [0, 99, 100, 249])
def test_oldest_comment_of_the_step_is_found_on_any_page(place: int, clock: VirtualClock) -> None:
    others = [("Talk", "jane"), (BODY, None), (f"> {BODY}", BOT), ("<!-- coval-gate other -->", BOT)]
    with Session(clock) as session:
        for number in range(251):
            session.server.add_comment(NUMBER, *((MARKER, BOT) if number in (place, 250) else others[number % 4]))
        before = session.bodies
        session.comment()
        assert session.bodies == [*before[:place], BODY, *before[place + 1 :]]
        pages = [request.query for request in session.server.requests_seen if request.method == "GET"]
    assert pages == [{"per_page": "100", "page": str(page)} for page in range(1, place // 100 + 2)]


@pytest.mark.parametrize(
    ("viewer", "author", "token", "is_own"),
    [
        ("github-actions", BOT, TOKEN, True),
        (BOT, BOT, TOKEN, True),
        ("Jane", "jane", PERSONAL_TOKEN, True),
        ("coval-bot", "Coval-bot[bot]", TOKEN, True),
        ("coval-bot[bot]", "coval-bot[bot]", PERSONAL_TOKEN, True),
        # A person's login may equal an App's name, and the reverse.
        (BOT, "github-actions", TOKEN, False),
        ("github-actions", "GitHub-Actions", TOKEN, False),
    ],
)
def test_comment_is_updated_if_the_owner_of_the_token_wrote_it(
    viewer: str, author: str, token: str, is_own: bool, clock: VirtualClock
) -> None:
    with Session(clock, token=token) as session:
        session.server.site.viewer = viewer
        session.server.add_comment(NUMBER, MARKER, author)
        session.comment()
        assert session.bodies == [*([] if is_own else [MARKER]), BODY]


@pytest.mark.parametrize("fault", ["403", "html", 'json {"errors": [{"type": "FORBIDDEN"}]}', "json []"])
def test_token_owner_defaults_to_github_actions_and_is_requested_again(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /graphql #1 -> {fault}", token=PERSONAL_TOKEN) as session:
        session.server.add_comment(NUMBER, MARKER, BOT)
        session.server.site.viewer = "jane"
        session.server.add_comment(NUMBER, MARKER, "jane")
        session.comment()
        assert session.bodies == [BODY, MARKER]
        session.comment()
        assert session.bodies == [BODY, BODY]
    assert clock.slept == []


@pytest.mark.parametrize(
    "fault",
    ["502", "drop", "secondary 5", "rate-limit 5", 'json {"errors": [{"message": "API rate limit exceeded"}]}'],
)
def test_request_for_token_owner_is_retried(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /graphql #1 -> {fault}", token=PERSONAL_TOKEN, time_limit=600) as session:
        session.server.site.viewer = session.server.site.author = "jane"
        session.server.add_comment(NUMBER, MARKER, "jane")
        session.comment()
        assert session.bodies == [BODY]
    assert len(clock.slept) == 1


def test_comment_is_not_created_twice_after_lost_response(clock: VirtualClock) -> None:
    with Session(clock, f"POST {COMMENTS} -> drop-after") as session:
        assert session.comment() == session.server.comments[NUMBER][0].html_url
        assert session.bodies == [BODY]
        assert session.calls == ["POST /graphql", f"GET {COMMENTS}", f"POST {COMMENTS}", f"GET {COMMENTS}"]
    assert clock.slept == [BACKOFFS[0]]


# Statuses and pull requests


def test_status_is_set_with_one_request(clock: VirtualClock) -> None:
    with Session(clock) as session:
        session.set_status()
        (request,) = session.server.requests_seen
        text = PageText("skipped", passes=True, name="c", sha=SHA)
        session.show(session.page(CommitStatus, "commit_status"), text)
    assert (request.method, request.path) == ("POST", f"{REPOS}/statuses/{SHA}")
    assert request.json == {
        "context": "coval / gate",
        "state": "success",
        "description": "95% of 40",
        "target_url": "https://app.coval.dev/run/1",
    }
    assert session.server.requests_seen[-1].json == {"context": "c", "state": "pending"}
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/vnd.github+json"
    assert request.headers["x-github-api-version"] == "2022-11-28"
    assert request.headers["user-agent"].startswith("coval-gate/")


def test_pull_request_of_fork_is_found_by_owner_branch_and_commit(clock: VirtualClock) -> None:
    branch, sha = "fix #1 & more", "b" * 40
    with Session(clock) as session:
        session.server.add_pull_request(50, sha, "jane", branch)
        session.server.add_pull_request(51, "c" * 40, "jane", branch)
        session.server.add_pull_request(52, sha, "jane", "other")
        session.server.add_pull_request(53, sha, "john", branch)
        session.server.add_pull_request(54, sha, "jane", branch)
        session.server.pull_requests[54].open = False
        assert session.find("jane", branch, sha) == 50
        assert len(session.calls) == 1
        assert session.find("jane", branch, "d" * 40) is session.find("jim", branch, sha) is None


def test_enterprise_server_urls_are_used(clock: VirtualClock) -> None:
    with Session(clock, enterprise=True) as session:
        session.comment()
        session.set_status()
    assert session.calls == [
        "POST /api/graphql",
        f"GET /api/v3{COMMENTS}",
        f"POST /api/v3{COMMENTS}",
        f"POST /api/v3{REPOS}/statuses/{SHA}",
    ]


# Check runs


def test_check_run_is_created_once_and_then_completed(clock: VirtualClock) -> None:
    with Session(clock) as session:
        id_ = session.set_check_run(title="It runs")
        (check,) = session.server.check_runs
        assert (check.status, check.conclusion, check.title, check.head_sha) == ("in_progress", None, "It runs", SHA)
        assert session.set_check_run("success", id_=id_, title="All is well") == id_ == check.id
        assert (check.status, check.conclusion, check.title) == ("completed", "success", "All is well")
        assert session.calls == [
            f"GET {REPOS}/commits/{SHA}/check-runs",
            f"POST {CHECK_RUNS}",
            f"GET {REPOS}/commits/{SHA}/check-runs",  # another process of a re-run knows only the id
            f"PATCH {CHECK_RUNS}/{id_}",
        ]
        assert session.server.requests_seen[0].query["check_name"] == CHECK


def test_check_run_gets_newer_external_id(clock: VirtualClock) -> None:
    """The run of an earlier attempt may be replaced."""
    with Session(clock) as session:
        id_ = session.set_check_run()
        session.set_check_run(id_=id_, references=("run-1", "run-2"))
        assert session.checks == [(CHECK, "run-2", None)]
        session.set_check_run("success", references=("run-1", "run-2"))
        assert session.checks == [(CHECK, "run-2", "success")]


def test_check_run_of_earlier_step_is_found_by_name_and_external_id_on_any_page(clock: VirtualClock) -> None:
    others = [(CHECK, f"run-{number}") for number in range(2, 60)]
    with Session(clock) as session:
        for name, external_id in (*others, ("Voice", "run-1"), (CHECK, ""), (CHECK, "run-1")):
            session.server.add_check_run(name, SHA, external_id=external_id, status="in_progress")
        session.server.commits.add("b" * 40)
        session.server.add_check_run(CHECK, "b" * 40, external_id="run-1", status="in_progress")
        session.set_check_run("failure")
        assert [check_run.conclusion for check_run in session.server.check_runs][-3:] == [None, "failure", None]
        assert [check for check in session.checks if check[2]] == [(CHECK, "run-1", "failure")]


def test_completed_check_run_is_replaced_by_new_one(clock: VirtualClock) -> None:
    """GitHub does not reopen a completed check run."""
    with Session(clock) as session:
        session.set_check_run("failure")
        id_ = session.set_check_run()
        session.set_check_run("success", id_=id_)
        session.set_check_run("success")
        assert session.checks == [(CHECK, "run-1", conclusion) for conclusion in ("failure", "success", "success")]


def test_check_run_of_other_app_is_not_changed(clock: VirtualClock) -> None:
    with Session(clock) as session:
        other = session.server.add_check_run(CHECK, SHA, external_id="run-1", app="other-app", status="in_progress")
        with pytest.raises(HostError, match="can only be modified") as caught:
            session.set_check_run("success")
        assert caught.value.forbidden
        assert (other.status, len(session.checks)) == ("in_progress", 1)


@pytest.mark.parametrize(("conclusion", "count"), [("", "#1"), ("success", "#1-2")])
def test_check_run_is_not_created_twice_after_lost_response(conclusion: str, count: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST {CHECK_RUNS} {count} -> drop-after") as session:
        session.set_check_run(conclusion)
        assert session.checks == [(CHECK, "run-1", conclusion or None)]
    assert clock.slept == [BACKOFFS[0]]


@pytest.mark.parametrize(("earlier", "conclusions"), [("success", ["success"]), ("failure", ["failure", "success"])])
def test_check_run_that_may_be_completed_is_completed_once(
    earlier: str, conclusions: list[str], clock: VirtualClock
) -> None:
    """As in the post step: the main step may have completed it, and a running one comes first."""
    with Session(clock) as session:
        session.set_check_run(earlier)
        session.set_check_run("success", again=True)
        assert [conclusion for *_, conclusion in session.checks] == conclusions
        session.set_check_run()
        session.set_check_run("success", again=True)
        assert session.checks[-1] == (CHECK, "run-1", "success")


# Faults


@pytest.mark.parametrize(
    ("fault", "slept"),
    [
        *((f"#1-3 -> {fault}", list(BACKOFFS)) for fault in ("500", "502", "429", "drop", "drop-after")),
        ("#1 -> rate-limit 30", [30]),
        ("#1 -> secondary 30", [30]),
    ],
    ids=str,
)
def test_request_is_retried_after_transient_fault(
    fault: str, slept: list[float], operation: str, clock: VirtualClock
) -> None:
    with Session(clock, f"* {REPOS}/* {fault}") as session:
        OPERATIONS[operation][0](session)
        assert session.bodies == ([BODY] if operation == "comment" else [])
    assert clock.slept == slept


def error_of(operation: str, session: Session) -> HostError:
    """Nothing that a log could show has the token."""
    with session, pytest.raises(HostError) as caught:
        OPERATIONS[operation][0](session)
    error = caught.value
    shown = [error.title, error.what, error.advice, error.link, repr(error)]
    shown += [repr(session.github), str(vars(session.github)), *traceback.format_exception(error)]
    assert "ghs_" not in "\n".join(shown)
    return error


@pytest.mark.parametrize(("limit", "slept", "calls"), [(3, [1], 2), (-1, [], 0)])
def test_no_request_is_sent_after_deadline(limit: float, slept: list[float], calls: int, clock: VirtualClock) -> None:
    session = Session(clock, "* * -> 502", time_limit=limit)
    error = error_of("status", session)
    assert (error.title, error.forbidden) == ("GitHub unavailable" if calls else "Too late for GitHub", False)
    assert ("the deadline has passed" in error.what) is (calls == 0)
    assert (clock.slept, len(session.calls)) == (slept, calls)


REJECTED, LIMIT, UNEXPECTED = "GitHub rejected the call", "GitHub rate limit", "Unexpected response"
ODD_BODIES = ["html", "json {}", "json null", 'json {"url": 5, "head": [], "state": 1}', "json {cut", "json "]


@pytest.mark.parametrize(
    ("fault", "title", "said"),
    [
        ("401", REJECTED, "remove github_token"),
        ("403", REJECTED, "Workflows of pull requests from forks always get a read-only token"),
        ("404", REJECTED, "Either it does not exist, or the token cannot read it"),
        ("422 No commit found", REJECTED, 'returned 422 ("No commit found"). A retry would be rejected, too.'),
        (f"422 a\n::error::b{'c' * 900}", REJECTED, '("a ::error::bcc'),
        ("moved / 307", REJECTED, "returned 307"),
        ("moved http://localhost:1/ 301", REJECTED, "start a new workflow run"),
        ("rate-limit 600", LIMIT, "Retry in 10 min, at 2026-01-01 00:10:00 UTC."),
        *((body, UNEXPECTED, "Check GITHUB_API_URL") for body in (*ODD_BODIES, "json " + "[" * 100_000)),
    ],
    ids=lambda text: text[:20],
)
def test_other_response_is_error_without_retry(
    fault: str, title: str, said: str, operation: str, clock: VirtualClock
) -> None:
    session = Session(clock, f"* {REPOS}/* -> {fault}")
    error = error_of(operation, session)
    assert error.title == title
    assert said in f"{error.what} {error.advice}"
    assert "\n" not in error.what
    assert len(error.what) < 320
    assert error.forbidden is (fault in ("401", "403", "404"))
    assert (f"`{OPERATIONS[operation][1]}`" in error.advice) is error.forbidden
    assert (clock.slept, session.bodies) == ([], [])


@pytest.mark.parametrize("url", ["http://127.0.0.1:{closed}", "ftp://github.invalid", "http://", "nonsense", ""])
def test_api_that_cannot_be_reached_is_error(url: str, operation: str, clock: VirtualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    session = Session(clock)
    session.github = GitHub(url.format(closed=closed), Secret(TOKEN), REPOSITORY, runtime(clock))
    with pytest.raises(HostError, match=r"could not be sent|address or a header is not valid"):
        OPERATIONS[operation][0](session)
    assert clock.slept[: len(BACKOFFS)] == (list(BACKOFFS) if "closed" in url else [])


@pytest.mark.parametrize("value", ["9" * 30, "soon", "-1", "\xb2", ""])
@pytest.mark.parametrize("header", ["x-ratelimit-reset", "x-ratelimit-remaining", "retry-after", "link"])
def test_malformed_headers_are_tolerated(header: str, value: str, clock: VirtualClock) -> None:
    session = Session(clock, f"* {REPOS}/* -> 403")
    session.server.headers |= {"x-ratelimit-remaining": "0"} | {header: value}
    error_of("comment", session)


@pytest.mark.parametrize("token", ["ghs_with-ümläut…", "ghs_with\r\nline: break", " ghs_blank ", "ghs_nul\0"])
def test_token_with_invalid_characters_is_not_in_error(token: str, clock: VirtualClock) -> None:
    error_of("status", Session(clock, token=token))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "Validation Failed", "errors": [{"message": "too long"}, "odd", 7]},
         "Validation Failed; too long; odd"),
        ({"message": {"name": ["is too long", "is odd"]}}, "name: is too long, is odd"),
        ({"message": {"error": "Try again later."}}, "Try again later."),
        ({"error": "insufficient_scope", "error_description": "Too few."}, "Too few."),
        ({"message": 7}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_message_of_github_and_gitlab(body: object, message: str) -> None:
    assert message_in(Payload("GET /x", {}, body)) == message
