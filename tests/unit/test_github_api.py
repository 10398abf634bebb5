"""Requests to GitHub go over a real socket, and meet real faults."""

import socket
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from coval_gate.base.errors import HostError
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.secret import Secret
from coval_gate.ci.calls import BACKOFFS, ApiPage
from coval_gate.ci.github_pages import CheckRun, Comment, CommitStatus, GitHub
from coval_gate.ci.host import Context, PageText
from coval_gate.ci.plain import PlainHost
from coval_gate.inputs.inputs import parse_inputs
from coval_sandbox.github import BOT, LONGEST_BODY, READ_ONLY_TOKEN
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
READ_ONLY = "Workflows of pull requests from forks always get a read-only token"


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

    def comment(self, body: str = BODY, *, create: bool = True) -> str:
        text = PageText("failed", passes=False, name=MARKER, summary=body)
        return self.run(self.page(Comment, "comment").write(NUMBER, text, create=create, until=self.until))

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


OPERATIONS: dict[str, Callable[[Session], object]] = {
    "comment": lambda session: session.comment(),
    "status": lambda session: session.set_status(),
    "head": lambda session: session.head(),
    "find": lambda session: session.find(),
    "check": lambda session: session.set_check_run("success"),
}
PERMISSIONS = {
    "comment": "pull-requests: write",
    "status": "statuses: write",
    "head": "pull-requests: read",
    "find": "pull-requests: read",
    "check": "checks: write",
}


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# Comments


def test_comment_is_created_once_and_then_updated(clock: VirtualClock) -> None:
    with Session(clock) as session:
        url = session.comment()
        assert session.calls == ["POST /graphql", f"GET {COMMENTS}", f"POST {COMMENTS}"]
        assert session.bodies == [BODY]
        assert session.comment(BODY + " Still.") == url == session.server.comments[NUMBER][0].html_url
        assert session.calls[3:] == [f"GET {COMMENTS}", f"PATCH {REPOS}/issues/comments/1"]
        assert session.bodies == [BODY + " Still."]
    assert clock.slept == []


def test_unchanged_comment_is_not_updated(clock: VirtualClock) -> None:
    with Session(clock) as session:
        url = session.comment()
        assert session.comment() == url
        assert len(session.calls) == 4


@pytest.mark.parametrize("place", [0, 99, 100, 249])
def test_comment_is_found_on_any_page(place: int, clock: VirtualClock) -> None:
    with Session(clock) as session:
        for number in range(250):
            ours = number == place
            session.server.add_comment(NUMBER, f"{MARKER} old" if ours else f"Talk {number}", BOT if ours else "jane")
        session.comment()
        assert session.bodies[place] == BODY
        assert len(session.bodies) == 250
        pages = [request.query for request in session.server.requests_seen if request.method == "GET"]
    assert pages == [{"per_page": "100", "page": str(page)} for page in range(1, place // 100 + 2)]


@pytest.mark.parametrize(
    ("body", "author"),
    [
        (BODY, "mallory"),
        (BODY, "github-actions-fan"),
        (BODY, None),
        (f"> {BODY}", BOT),
        (f"Look:\n{BODY}", BOT),
        ("<!-- coval-gate other -->", BOT),
    ],
)
def test_comment_of_other_author_or_step_is_not_updated(body: str, author: str | None, clock: VirtualClock) -> None:
    with Session(clock) as session:
        session.server.add_comment(NUMBER, body, author)
        session.comment()
        assert session.bodies == [body, BODY]


def test_oldest_of_two_own_comments_is_updated(clock: VirtualClock) -> None:
    with Session(clock) as session:
        for text in ("one", "two"):
            session.server.add_comment(NUMBER, f"{MARKER} {text}", BOT)
        session.comment()
        assert session.bodies == [BODY, f"{MARKER} two"]


@pytest.mark.parametrize(
    ("viewer", "author", "token"),
    [
        ("github-actions", BOT, TOKEN),
        (BOT, BOT, TOKEN),
        ("github-actions", BOT, READ_ONLY_TOKEN),
        ("Jane", "jane", PERSONAL_TOKEN),
        ("coval-bot", "Coval-bot[bot]", TOKEN),
        ("coval-bot[bot]", "coval-bot[bot]", PERSONAL_TOKEN),
    ],
)
def test_comment_of_token_owner_is_updated(viewer: str, author: str, token: str, clock: VirtualClock) -> None:
    with Session(clock, token=token) as session:
        session.server.site.viewer = viewer
        session.server.add_comment(NUMBER, MARKER, author)
        if token == READ_ONLY_TOKEN:
            with pytest.raises(HostError, match=f"PATCH {REPOS}/issues/comments/1"):
                session.comment()
            return
        session.comment()
        session.comment(BODY + " Still.")
        assert session.bodies == [BODY + " Still."]


@pytest.mark.parametrize("fault", ["", "POST /graphql -> 403"])
@pytest.mark.parametrize(
    ("viewer", "other", "token"),
    [
        (BOT, "github-actions", TOKEN),
        ("github-actions", "GitHub-Actions", TOKEN),
        ("coval-bot[bot]", "coval-bot", TOKEN),
        ("coval-bot", "coval-bot", TOKEN),
        ("jane", "jane[bot]", PERSONAL_TOKEN),
    ],
)
def test_comment_of_namesake_is_not_updated(
    viewer: str, other: str, token: str, fault: str, clock: VirtualClock
) -> None:
    """A person's login may equal an App's name, and the reverse."""
    with Session(clock, *filter(None, [fault]), token=token) as session:
        session.server.site.viewer = viewer
        session.server.add_comment(NUMBER, BODY, other)
        session.comment(BODY + " Still.")
        assert session.bodies == [BODY, BODY + " Still."]


@pytest.mark.parametrize(
    "fault", ["400", "403", "404", "html", 'json {"errors": [{"type": "FORBIDDEN", "message": "no"}]}', "json []",
              'json {"data": {"viewer": null}}'],
)  # fmt: skip
def test_token_owner_defaults_to_github_actions(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /graphql -> {fault}") as session:
        session.server.add_comment(NUMBER, MARKER, BOT)
        session.comment()
        assert session.bodies == [BODY]
    assert clock.slept == []


def test_token_owner_is_requested_again_after_failure(clock: VirtualClock) -> None:
    with Session(clock, "POST /graphql #1 -> 400", token=PERSONAL_TOKEN) as session:
        session.server.site.viewer = session.server.site.author = "jane"
        session.comment()
        session.comment(BODY + " Still.")
        assert session.bodies == [BODY + " Still."]


@pytest.mark.parametrize(
    "fault",
    ["502", "drop", "secondary 5", "rate-limit 5", 'json {"errors": [{"message": "API rate limit exceeded"}]}'],
)  # fmt: skip
def test_request_for_token_owner_is_retried(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /graphql #1 -> {fault}", token=PERSONAL_TOKEN, time_limit=600) as session:
        session.server.site.viewer = session.server.site.author = "jane"
        session.server.add_comment(NUMBER, MARKER, "jane")
        session.comment()
        assert session.bodies == [BODY]
    assert len(clock.slept) == 1


def test_comment_is_only_updated_without_create(clock: VirtualClock) -> None:
    with Session(clock) as session:
        assert session.comment(create=False) == ""
        assert session.bodies == []
        session.server.add_comment(NUMBER, MARKER, BOT)
        assert session.comment(create=False).startswith("https://")
        assert session.bodies == [BODY]


@pytest.mark.parametrize("count", ["#1", "#1-2"])
def test_comment_is_not_created_twice_after_lost_response(count: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST {COMMENTS} {count} -> drop-after") as session:
        assert session.comment() == session.server.comments[NUMBER][0].html_url
        assert session.bodies == [BODY]
        assert session.calls == ["POST /graphql", f"GET {COMMENTS}", f"POST {COMMENTS}", f"GET {COMMENTS}"]
    assert clock.slept == [BACKOFFS[0]]


@pytest.mark.parametrize("fault", ["302", "307", "moved /elsewhere 307", "html", "json {}", "json []", "json nonsense"])
def test_comment_is_not_created_twice_after_malformed_response(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST {COMMENTS} -> {fault}") as session, pytest.raises(HostError):
        session.comment()
    assert session.calls.count(f"POST {COMMENTS}") == 1


def test_search_for_comment_stops_after_30_pages(clock: VirtualClock) -> None:
    with Session(clock) as session:
        for number in range(3100):
            session.server.add_comment(NUMBER, f"Talk {number}", "jane")
        with pytest.raises(HostError, match="more than 30 pages"):
            session.comment()
        assert session.calls.count(f"POST {COMMENTS}") == 0


# Statuses and pull requests


def test_status_is_set_with_one_request(clock: VirtualClock) -> None:
    with Session(clock) as session:
        session.set_status()
        (request,) = session.server.requests_seen
    assert (request.method, request.path) == ("POST", f"{REPOS}/statuses/{SHA}")
    expected = {
        "context": "coval / gate",
        "state": "success",
        "description": "95% of 40",
        "target_url": "https://app.coval.dev/run/1",
    }
    assert request.json == expected
    assert [status | expected for status in session.server.statuses[SHA]] == session.server.statuses[SHA]
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/vnd.github+json"
    assert request.headers["x-github-api-version"] == "2022-11-28"
    assert request.headers["user-agent"].startswith("coval-gate/")


def test_status_without_description_and_url_omits_them(clock: VirtualClock) -> None:
    with Session(clock) as session:
        text = PageText("skipped", passes=True, name="c", sha=SHA)
        session.show(session.page(CommitStatus, "commit_status"), text)
    assert session.server.requests_seen[-1].json == {"context": "c", "state": "pending"}


def test_pull_request_of_fork_is_found_by_owner_branch_and_commit(clock: VirtualClock) -> None:
    with Session(clock) as session:
        session.server.add_pull_request(50, "b" * 40, "jane", "fix #1 & more")
        session.server.add_pull_request(51, "c" * 40, "jane", "fix #1 & more")
        session.server.add_pull_request(52, "b" * 40, "jane", "other")
        session.server.add_pull_request(53, "b" * 40, "john", "fix #1 & more")
        session.server.add_pull_request(54, "b" * 40, "jane", "fix #1 & more")
        session.server.pull_requests[54].open = False

        def find(owner: str, branch: str, sha: str) -> int | None:
            return session.find(owner, branch, sha)

        assert find("jane", "fix #1 & more", "b" * 40) == 50
        assert len(session.calls) == 1
        assert find("jane", "fix #1 & more", "d" * 40) is None
        assert find("jim", "fix #1 & more", "b" * 40) is None


def test_enterprise_server_urls_are_used(clock: VirtualClock) -> None:
    with Session(clock, enterprise=True) as session:
        session.comment()
        session.set_status()
        assert session.head() == SHA
        session.set_check_run("success", id_=session.set_check_run())
    assert session.calls == [
        "POST /api/graphql",
        f"GET /api/v3{COMMENTS}",
        f"POST /api/v3{COMMENTS}",
        f"POST /api/v3{REPOS}/statuses/{SHA}",
        f"GET /api/v3{REPOS}/pulls/{NUMBER}",
        f"GET /api/v3{REPOS}/commits/{SHA}/check-runs",
        f"POST /api/v3{CHECK_RUNS}",
        f"GET /api/v3{REPOS}/commits/{SHA}/check-runs",
        f"PATCH /api/v3{CHECK_RUNS}/3",
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


def test_check_run_of_earlier_step_is_found_by_name_and_external_id(clock: VirtualClock) -> None:
    with Session(clock) as session:
        for name, external_id in ((CHECK, "run-2"), ("Voice", "run-1"), (CHECK, ""), (CHECK, "run-1")):
            session.server.add_check_run(name, SHA, external_id=external_id, status="in_progress")
        session.server.commits.add("b" * 40)
        session.server.add_check_run(CHECK, "b" * 40, external_id="run-1", status="in_progress")
        session.set_check_run("failure")
        assert [check_run.conclusion for check_run in session.server.check_runs] == [None, None, None, "failure", None]


def test_check_run_is_found_on_any_page(clock: VirtualClock) -> None:
    with Session(clock) as session:
        for number in range(100):
            session.server.add_check_run(CHECK, SHA, external_id=f"run-{number}", status="in_progress")
        session.set_check_run("success", references=("run-99",))
        assert [check[1] for check in session.checks if check[2]] == ["run-99"]


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


@pytest.mark.parametrize("count", ["#1", "#1-2"])
@pytest.mark.parametrize("conclusion", ["", "success"])
def test_check_run_is_not_created_twice_after_lost_response(conclusion: str, count: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST {CHECK_RUNS} {count} -> drop-after") as session:
        session.set_check_run(conclusion)
        assert session.checks == [(CHECK, "run-1", conclusion or None)]
    assert clock.slept == [BACKOFFS[0]]


def test_check_run_is_completed_after_lost_response(clock: VirtualClock) -> None:
    with Session(clock, f"PATCH {CHECK_RUNS}/* #1 -> drop-after") as session:
        id_ = session.set_check_run()
        assert session.set_check_run("failure", id_=id_) == id_
        (check,) = session.server.check_runs
        assert check.conclusion == "failure"


@pytest.mark.parametrize("earlier", ["success", "failure"])
def test_check_run_that_may_be_completed_is_completed_once(earlier: str, clock: VirtualClock) -> None:
    """As in the post step: the main step may have completed it, and a running one comes first."""
    with Session(clock) as session:
        session.set_check_run(earlier)
        session.set_check_run("success", again=True)
        assert [conclusion for *_, conclusion in session.checks] == [earlier, "success"][
            : 1 if earlier == "success" else 2
        ]
        session.set_check_run()
        session.set_check_run("success", again=True)
        assert session.checks[-1] == (CHECK, "run-1", "success")


def test_check_run_takes_on_newer_external_id(clock: VirtualClock) -> None:
    """The run of an earlier attempt may be replaced."""
    with Session(clock) as session:
        id_ = session.set_check_run()
        session.set_check_run(id_=id_, references=("run-1", "run-2"))
        assert session.checks == [(CHECK, "run-2", None)]
        session.set_check_run("success", references=("run-1", "run-2"))
        assert session.checks == [(CHECK, "run-2", "success")]


UNKNOWN = "b" * 40
REJECTED: dict[str, Callable[[Session], object]] = {
    "body is too long (maximum is 65536 characters)": lambda session: session.comment(MARKER + "x" * LONGEST_BODY),
    "No commit found for SHA: bbb": lambda session: session.set_status(UNKNOWN, "fine"),
    "description is too long": lambda session: session.set_status(SHA, "x" * 141),
    "No commit found for SHA": lambda session: session.set_check_run("success", sha=UNKNOWN),
    "title is too long": lambda session: session.set_check_run("success", title="x" * 256),
    "summary exceeds a maximum bytesize of 65535": lambda session: session.set_check_run(
        "success", summary="x" * 65_536
    ),
    "maximum bytesize": lambda session: session.set_check_run("success", summary="é" * 40_000),
}


@pytest.mark.parametrize("message", REJECTED)
def test_rejection_is_error_with_message_from_github(message: str, clock: VirtualClock) -> None:
    with Session(clock) as session, pytest.raises(HostError) as caught:
        REJECTED[message](session)
    assert message in caught.value.what
    assert "returned 422" in caught.value.what
    assert not caught.value.forbidden
    assert clock.slept == []


def test_personal_token_cannot_make_check_runs(clock: VirtualClock) -> None:
    with Session(clock, token=PERSONAL_TOKEN) as session, pytest.raises(HostError, match="GitHub App") as caught:
        session.set_check_run("success")
    assert caught.value.forbidden


# Faults


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "drop", "drop-after"])
def test_request_is_retried_after_transient_fault(fault: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* #1-3 -> {fault}") as session:
        OPERATIONS[operation](session)
        assert session.bodies == ([BODY] if operation == "comment" else [])
    assert clock.slept == list(BACKOFFS)


@pytest.mark.parametrize("fault", ["502", "429", "drop"])
def test_request_is_retried_until_deadline(fault: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* -> {fault}") as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert caught.value.title == "GitHub unavailable"
    assert not caught.value.forbidden
    assert session.time_limit - BACKOFFS[-1] <= clock.now() < session.time_limit
    assert len([call for call in session.calls if REPOS in call]) == len(clock.slept) + 1


def test_no_retry_is_scheduled_after_deadline(clock: VirtualClock) -> None:
    with Session(clock, "* * -> 502", time_limit=3) as session, pytest.raises(HostError):
        session.set_status()
    assert clock.slept == [1]


def test_no_request_is_sent_after_deadline(clock: VirtualClock) -> None:
    with Session(clock, time_limit=-1) as session, pytest.raises(HostError, match="the deadline has passed"):
        session.comment()
    assert session.calls == []


def test_hanging_response_times_out_at_deadline(clock: VirtualClock) -> None:
    """This test runs in real time."""
    with (
        Session(clock, "* * -> hang 9", time_limit=1) as session,
        pytest.raises(HostError, match=r"timed out|took longer"),
    ):
        session.set_status()
    assert len(session.calls) == 1


def test_refused_connection_is_error_after_retries(operation: str, clock: VirtualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    session = Session(clock)
    session.github = GitHub(f"http://127.0.0.1:{port}", Secret(TOKEN), REPOSITORY, runtime(clock))
    with pytest.raises(HostError, match="could not be sent"):
        OPERATIONS[operation](session)
    assert clock.slept[: len(BACKOFFS)] == list(BACKOFFS)


@pytest.mark.parametrize("kind", ["rate-limit", "secondary"])
def test_request_is_retried_when_rate_limit_ends_before_deadline(
    kind: str, operation: str, clock: VirtualClock
) -> None:
    with Session(clock, f"* {REPOS}/* #1 -> {kind} 30") as session:
        OPERATIONS[operation](session)
    assert clock.slept == [30]


@pytest.mark.parametrize("kind", ["rate-limit", "secondary"])
def test_rate_limit_beyond_deadline_is_error_with_its_end(kind: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* -> {kind} 600") as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert clock.slept == []
    assert caught.value.title == "GitHub rate limit"
    assert caught.value.advice == "Retry in 10 min 00 s, at 2026-01-01 00:10:00 UTC.".replace(" 00 s", "")
    assert not caught.value.forbidden


def test_expired_rate_limit_is_retried_after_usual_backoff(clock: VirtualClock) -> None:
    with Session(clock, "* * #1 -> rate-limit -100") as session:
        session.set_status()
    assert clock.slept == [BACKOFFS[0]]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_missing_permission_is_error_without_retry(status: int, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* -> {status}") as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert caught.value.forbidden
    assert f"returned {status}" in caught.value.what
    assert f"`{PERMISSIONS[operation]}`" in caught.value.advice
    assert READ_ONLY in caught.value.advice
    assert ("cannot read it" in caught.value.advice) == (status == 404)
    assert ("github_token" in caught.value.advice) == (status == 401)
    assert clock.slept == []


@pytest.mark.parametrize(
    "response",
    ["html", "json {}", "json null", "json 5", 'json {"url": 5, "head": [], "state": 1}', "json {cut", "json ",
     "json " + "[" * 100_000],
)  # fmt: skip
def test_malformed_response_is_error(response: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* -> {response}") as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert caught.value.title == "Unexpected response"
    assert not caught.value.forbidden
    assert clock.slept == []


@pytest.mark.parametrize("status", [301, 302, 307])
@pytest.mark.parametrize("where", ["http://localhost:{port}/", "http://127.0.0.1:{port}/", "https://127.0.0.1:1/", "/"])
def test_redirect_by_github_is_not_followed(status: int, where: str, operation: str, clock: VirtualClock) -> None:
    with FakeGitHub() as elsewhere:
        port = elsewhere.url.rpartition(":")[2]
        fault = f"* {REPOS}/* #1 -> moved {where.format(port=port)} {status}"
        with Session(clock, fault) as session, pytest.raises(HostError) as caught:
            OPERATIONS[operation](session)
    assert elsewhere.requests_seen == []
    assert session.bodies == []
    assert f"returned {status}" in caught.value.what
    assert "start a new workflow run" in caught.value.advice


@pytest.mark.parametrize("value", ["9" * 30, "soon", "-1", "\xb2", "", "inf"])
@pytest.mark.parametrize("header", ["x-ratelimit-reset", "x-ratelimit-remaining", "retry-after", "link"])
def test_malformed_headers_are_tolerated(header: str, value: str, clock: VirtualClock) -> None:
    session = Session(clock, f"* {REPOS}/* -> 403")
    session.server.headers |= {"x-ratelimit-remaining": "0"} | {header: value}
    with session, pytest.raises(HostError):
        session.comment()


def test_message_from_github_is_one_short_line(clock: VirtualClock) -> None:
    with Session(clock, f"* * -> 422 a\n::error::b{'c' * 900}") as session, pytest.raises(HostError) as caught:
        session.set_status()
    assert '("a ::error::bcc' in caught.value.what
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 320


@pytest.mark.parametrize(
    "fault", ["drop", "html", "401", "403", "404", "422", "502", "rate-limit 900", "moved http://localhost:1/"]
)
def test_token_is_not_in_error(fault: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, f"* {REPOS}/* -> {fault}") as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert "ghs_" not in all_error_text(caught.value, session.github)


@pytest.mark.parametrize("token", ["ghs_with-ümläut…", "ghs_with\r\nline: break", " ghs_blank ", "ghs_nul\0"])
def test_token_with_invalid_characters_is_not_in_error(token: str, operation: str, clock: VirtualClock) -> None:
    with Session(clock, token=token) as session, pytest.raises(HostError) as caught:
        OPERATIONS[operation](session)
    assert "ghs_" not in all_error_text(caught.value, session.github)


def all_error_text(error: HostError, github: GitHub) -> str:
    """Return all text about an error and the client that a log could show."""
    parts = [error.title, error.what, error.advice, error.link, repr(error), repr(github), str(vars(github))]
    return "\n".join([*traceback.format_exception(error), *parts])


@pytest.mark.parametrize("url", ["ftp://github.invalid", "http://", "nonsense", "http://127.0.0.1:99999", ""])
def test_invalid_api_url_is_error(url: str, operation: str, clock: VirtualClock) -> None:
    session = Session(clock)
    session.github = GitHub(url, Secret(TOKEN), REPOSITORY, runtime(clock))
    with pytest.raises(HostError):
        OPERATIONS[operation](session)
