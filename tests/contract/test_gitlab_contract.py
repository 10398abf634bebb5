"""The fake GitLab notices what GitLab would reject or ignore, and what it would never answer."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fake_gitlab import TOKEN, FakeGitLab
from gitlab_contract import request_problems, response_problems

SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
NOTES = "projects/7/merge_requests/42/notes"
STATUS = f"projects/7/statuses/{SHA}"
STATUSES = f"projects/7/repository/commits/{SHA}/statuses"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    """Serve a fake GitLab with a merge request."""
    with FakeGitLab() as server:
        server.add_merge_request(42, SHA)
        yield server


def send(gitlab: FakeGitLab, method: str, path: str, body: Any = None) -> requests.Response:
    return requests.request(
        method, f"{gitlab.url}/{path}", json=body, headers={"PRIVATE-TOKEN": TOKEN}, timeout=10, allow_redirects=False
    )


WRONG_REQUESTS = [
    ("GET", f"{NOTES}?order_by=id", None, "order_by does not have a valid value"),
    ("GET", f"{NOTES}?name=Coval", None, "name is unknown"),
    ("GET", "projects/7/merge_requests/main/notes", None, "noteable_id is invalid"),
    ("GET", "projects/7/merge_requests/42?render_html=maybe", None, "render_html is invalid"),
    ("POST", NOTES, {}, "body is missing"),
    ("POST", NOTES, {"body": 7}, "body is invalid"),
    ("POST", NOTES, {"body": "Passed", "note": "Passed"}, "note is unknown"),
    ("PUT", f"{NOTES}/1", {"body": ""}, "body is empty"),
    ("POST", STATUS, {"state": "passed"}, "state does not have a valid value"),
]
UNSAVED = [
    ({"description": "x" * 256}, {"description": ["is too long (maximum is 255 characters)"]}),
    ({"target_url": "https://x/" + "x" * 246}, {"target_url": ["is too long (maximum is 255 characters)"]}),
    ({"target_url": "javascript:x"}, {"target_url": ["is blocked: Only allowed schemes are http, https"]}),
]


@pytest.mark.parametrize(("method", "path", "body", "problem"), WRONG_REQUESTS, ids=str)
def test_wrong_request_is_answered_with_400_and_fails_the_test(
    method: str, path: str, body: Any, problem: str, gitlab: FakeGitLab
) -> None:
    response = send(gitlab, method, path, body)
    assert (response.status_code, response.json()) == (400, {"error": problem})
    assert [line.rpartition(": ")[2] for line in gitlab.violations] == [problem]
    gitlab.violations.clear()


def test_status_that_gitlab_cannot_save(gitlab: FakeGitLab) -> None:
    for body, message in UNSAVED:
        response = send(gitlab, "POST", STATUS, {"state": "success"} | body)
        assert (response.status_code, response.json()) == (400, {"message": message})
        assert len(gitlab.violations) == 1
        gitlab.violations.clear()
    assert gitlab.statuses == {}


def test_call_or_content_that_the_gate_does_not_send_is_noticed(gitlab: FakeGitLab) -> None:
    assert send(gitlab, "GET", "projects/7/issues").status_code == 404
    assert gitlab.violations == ["The request to GET /projects/7/issues: is none of the calls"]
    gitlab.violations.clear()
    problems = request_problems("POST", f"/{NOTES}", {}, {"content-type": "text/plain"}, {"body": "Passed"})
    assert list(map(str, problems)) == ["content-type is not application/json"]


def test_longest_texts_are_taken_and_a_change_keeps_what_it_leaves_out(gitlab: FakeGitLab) -> None:
    body = {"state": "running", "description": "é" * 255, "target_url": "https://x/" + "x" * 245, "name": "n" * 300}
    assert send(gitlab, "POST", STATUS, body).status_code == 201
    changed = send(gitlab, "POST", STATUS, {"state": "success", "name": "n" * 300}).json()
    assert (changed["description"], changed["target_url"]) == (body["description"], body["target_url"])
    assert send(gitlab, "GET", f"{STATUSES}?name={'n' * 300}&per_page=100").json() == [changed]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": None}, "0.id is missing"),
        ({"id": "7"}, "0.id is invalid"),
        ({"status": "passed"}, "0.status does not have a valid value"),
        ({"state": "success"}, "0.state is unknown"),
        ({"author": {"username": "mona"}}, "0.author.id is missing"),
        ({"created_at": "yesterday"}, "0.created_at is invalid"),
    ],
    ids=str,
)
def test_wrong_response_fails_the_test(change: dict[str, Any], problem: str) -> None:
    gitlab = FakeGitLab()
    gitlab.add_merge_request(42, SHA)
    status = gitlab.add_status(SHA, "Coval", "running")
    changed = {name: value for name, value in (status | change).items() if value is not None or name not in change}
    gitlab.statuses[SHA] = [changed]
    with gitlab:
        send(gitlab, "GET", STATUSES)
        found, gitlab.violations = gitlab.violations, []
    assert found
    assert all(line.startswith(f"The response 200 to GET /{STATUSES}: 0.") for line in found)
    assert found[0].endswith(problem)


def test_leaving_the_fake_fails_a_test_that_broke_the_contract() -> None:
    gitlab = FakeGitLab()
    gitlab.__enter__()
    send(gitlab, "GET", f"{NOTES}?page=first")
    with pytest.raises(AssertionError, match="page is invalid"):
        gitlab.__exit__(None)


def test_error_that_a_call_never_has_is_noticed() -> None:
    (problem,) = response_problems("GET", f"/{NOTES}", 409, {"message": "Conflict"})
    assert str(problem) == "has no such status"
    assert response_problems("GET", f"/{NOTES}", 404, {"detail": "Not found"})
    assert not response_problems("GET", f"/{NOTES}", 404, {"message": "404 Not found"})
