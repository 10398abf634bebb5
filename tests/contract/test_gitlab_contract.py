"""The fake GitLab notices what GitLab would reject or ignore."""

from typing import Any

import pytest
import requests

from fake_gitlab import TOKEN, FakeGitLab
from gitlab_contract import JSON, request_problems

SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
NOTES = "projects/7/merge_requests/42/notes"
STATUS = f"projects/7/statuses/{SHA}"


def send(gitlab: FakeGitLab, method: str, path: str, body: Any = None) -> requests.Response:
    headers = {"PRIVATE-TOKEN": TOKEN}
    return requests.request(method, f"{gitlab.url}/{path}", json=body, headers=headers, timeout=10)


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "problem"),
    [
        ("GET", NOTES, {"order_by": "id"}, None, "order_by does not have a valid value"),
        ("GET", "projects/7/issues", {}, None, "is none of the calls"),
        ("POST", NOTES, {}, {}, "body is missing"),
        ("POST", NOTES, {}, {"body": "Passed", "note": "Passed"}, "note is unknown"),
        ("PUT", f"{NOTES}/1", {}, {"body": ""}, "body is empty"),
        ("POST", STATUS, {}, {"state": "passed"}, "state does not have a valid value"),
    ],
    ids=str,
)
def test_wrong_request_is_noticed(method: str, path: str, query: dict[str, str], body: Any, problem: str) -> None:
    headers = {"content-type": JSON}
    assert list(map(str, request_problems(method, f"/{path}", query, headers, body))) == [problem]
    if body:
        other = request_problems(method, f"/{path}", query, {"content-type": "text/plain"}, body)
        assert list(map(str, other)) == ["content-type is not application/json", problem]


def test_wrong_request_is_answered_with_400_and_leaving_the_fake_fails_the_test() -> None:
    gitlab = FakeGitLab()
    gitlab.add_merge_request(42, SHA)
    gitlab.__enter__()
    response = send(gitlab, "GET", f"{NOTES}?page=first")
    assert (response.status_code, response.json()) == (400, {"error": "page is invalid"})
    for body, expected in (
        ({"description": "x" * 256}, {"description": ["is too long (maximum is 255 characters)"]}),
        ({"target_url": "https://x/" + "x" * 246}, {"target_url": ["is too long (maximum is 255 characters)"]}),
        ({"target_url": "javascript:x"}, {"target_url": ["is blocked: Only allowed schemes are http, https"]}),
    ):
        response = send(gitlab, "POST", STATUS, {"state": "success"} | body)
        assert (response.status_code, response.json()) == (400, {"message": expected})
    assert (len(gitlab.violations), gitlab.statuses) == (4, {})
    with pytest.raises(AssertionError, match="page is invalid"):
        gitlab.__exit__(None)
