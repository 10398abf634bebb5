"""The local runner reads files and commands as GitHub's does, and the small GitHub shows what a step sends."""

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from coval_sandbox.github import API, READ_ONLY_TOKEN, TOKEN, GitHub
from coval_sandbox.github_page import page
from coval_sandbox.runner import PULL_REQUEST, Command, read_command, read_entries, read_log, shown_lines


def test_read_entries_with_one_or_several_lines() -> None:
    text = "one=1\n\nmany<<END\nfirst\n\nEN\nEND\nodd=a<<b\nempty=\n"
    assert read_entries(text) == {"one": "1", "many": "first\n\nEN", "odd": "a<<b", "empty": ""}
    for malformed, problem in (
        ("neither", "Invalid format: 'neither'"),
        ("=value", "Invalid format: '=value'"),
        ("<<END\nvalue\nEND", "Invalid format: '<<END'"),
        ("name<<END\nvalue\n", "Matching delimiter not found: 'END'"),
    ):
        with pytest.raises(ValueError, match=f"^{problem}$"):
            read_entries(malformed)


def test_read_commands_of_both_syntaxes() -> None:
    modern = read_command("  ::error title=a%2Cb,file=c%3Ad::25%25 off%0Anow")
    assert modern == Command("error", {"title": "a,b", "file": "c:d"}, "25% off\nnow")
    assert read_command("said ##[warning file=x;line=3]careful") == Command(
        "warning", {"file": "x", "line": "3"}, "careful"
    )


OUTPUT = """\
::add-mask::secret-key
Launched with secret-key
::group::Waiting
::stop-commands::0123456789abcdef
  ::error::said the agent
::0123456789abcdef::
::endgroup::
::error title=Gate failed::Too slow.%0ASee the summary.
::set-output name=a::b
"""


def test_page_shows_lines_that_stop_and_resume_commands() -> None:
    assert list(shown_lines(OUTPUT.splitlines())) == [
        ("", "Launched with ***"),
        ("group", "Waiting"),
        ("", "::stop-commands::***"),
        ("", "  ::error::said the agent"),
        ("", "::***::"),
        ("error", "Too slow."),
        ("", "See the summary."),
    ]
    names = [command.name for command in read_log(OUTPUT)]
    assert names == ["add-mask", "group", "stop-commands", "endgroup", "error", "set-output"]


# The small GitHub: what it accepts, and the page that shows it

SHA = PULL_REQUEST["pull_request"]["head"]["sha"]
REPOSITORY = f"{API}/repos/acme/voice-agent"
COMMENTS = f"{REPOSITORY}/issues/42/comments"
ON_COMMIT = f"{REPOSITORY}/commits/{SHA}/comments"
CHECK_RUNS = f"{REPOSITORY}/commits/{SHA}/check-runs"


def send(
    github: GitHub, method: str, path: str, body: object = None, *, token: str = TOKEN, query: str = ""
) -> tuple[int, Any]:
    headers = {"host": "127.0.0.1:8765"} | ({"authorization": f"Bearer {token}"} if token else {})
    reply = github.answer(method, path, query, headers, b"" if body is None else json.dumps(body).encode())
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"{REPOSITORY}/pulls/41", None, 404),
        ("POST", COMMENTS, {"body": " "}, 422),
        ("POST", COMMENTS, [], 422),
        ("PATCH", f"{REPOSITORY}/issues/comments/9", {"body": "x"}, 404),
        ("GET", f"{REPOSITORY}/commits/nothing/comments", None, 422),
        ("POST", f"{REPOSITORY}/statuses/{SHA}", {"state": "passed"}, 422),
        ("POST", f"{REPOSITORY}/statuses/{SHA}", {"state": "success", "description": "x" * 141}, 422),
        ("PATCH", f"{REPOSITORY}/check-runs/9", {}, 404),
    ],
)
def test_unknown_is_404_and_invalid_is_422(method: str, path: str, body: object, status: int) -> None:
    answered, content = send(GitHub(), method, path, body)
    assert (answered, "message" in content) == (status, True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": None}, '"name"'),
        ({"status": "done"}, "done is not a member"),
        ({"status": "completed"}, '"conclusion"'),
        ({"output": {"title": "t" * 256, "summary": "s"}}, "title is too long"),
        ({"output": {"title": "t", "summary": "é" * 32_768}}, "summary exceeds"),
    ],
)
def test_wrong_check_run_is_refused(change: dict[str, Any], problem: str) -> None:
    github = GitHub()
    body = {"name": "Voice", "head_sha": SHA, "status": "in_progress"}
    answered, content = send(github, "POST", f"{REPOSITORY}/check-runs", body | change)
    assert answered == 422
    assert problem in content["message"]
    assert github.repositories["acme/voice-agent"].check_runs == []


def test_completed_check_run_is_final_and_a_new_one_replaces_it() -> None:
    github, body = GitHub(), {"name": "Voice", "head_sha": SHA}
    _, created = send(github, "POST", f"{REPOSITORY}/check-runs", body | {"status": "in_progress"})
    path = f"{REPOSITORY}/check-runs/{created['id']}"
    assert send(github, "PATCH", path, {"status": "completed", "conclusion": "failure"})[1]["conclusion"] == "failure"
    assert send(github, "PATCH", path, {"conclusion": "success"})[0] == 422
    assert send(github, "PATCH", path, {"status": "in_progress"})[0] == 422
    assert send(github, "PATCH", path, {"output": {"title": "t", "summary": "s"}})[0] == 200
    send(github, "POST", f"{REPOSITORY}/check-runs", body | {"conclusion": "success"})
    assert [run["conclusion"] for run in send(github, "GET", CHECK_RUNS)[1]["check_runs"]] == ["success"]
    assert send(github, "GET", CHECK_RUNS, query="filter=all&check_name=Voice")[1]["total_count"] == 2
    assert send(github, "GET", CHECK_RUNS, query="check_name=Other")[1]["total_count"] == 0


def test_comments_on_a_commit_are_none_of_its_pull_request() -> None:
    github = GitHub()
    status, comment = send(github, "POST", ON_COMMIT, {"body": "first"})
    assert status == 201
    assert send(github, "PATCH", f"{REPOSITORY}/issues/comments/{comment['id']}", {"body": "x"})[0] == 404
    assert send(github, "PATCH", f"{REPOSITORY}/comments/{comment['id']}", {"body": "second"})[0] == 200
    assert [comment["body"] for comment in send(github, "GET", ON_COMMIT)[1]] == ["second"]
    assert send(github, "GET", COMMENTS)[1] == []
    assert f"commented on commit <code>{SHA[:7]}</code> · edited" in page(github, API)


@pytest.mark.parametrize(
    ("token", "method", "status"),
    [("", "GET", 401), ("any", "POST", 201), (READ_ONLY_TOKEN, "GET", 200), (READ_ONLY_TOKEN, "POST", 403)],
)
def test_tokens(token: str, method: str, status: int) -> None:
    assert send(GitHub(), method, COMMENTS, {"body": "x"}, token=token)[0] == status


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


HOSTILE = [
    "<script>alert(1)</script>",
    "a <img src=x onerror=alert(1)> b",
    "<details open ontoggle=alert(1)><summary onclick=alert(1)>x</summary></details>",
    "[x](javascript:alert(1)) [y](data:text/html,x) <javascript:alert(1)>",
    "&lt;script&gt; <b>&lt;script&gt;</b>",
    '![x](https://tracker.example/pixel.png "t")',
    "<style>body { display: none }</style>\n\n<iframe src=//x>",
    "```html\n<script>\n```\n\n|a|\n|-|\n|<script>|",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_cannot_forge_the_page(text: str) -> None:
    github = GitHub()
    send(github, "POST", COMMENTS, {"body": text})
    send(github, "POST", ON_COMMIT, {"body": text})
    output = {"title": text, "summary": text, "text": text}
    body = {"name": text, "head_sha": SHA, "output": output}
    assert send(github, "POST", f"{REPOSITORY}/check-runs", body)[0] == 201
    target = {"state": "success", "context": text, "description": text, "target_url": "javascript:alert(1)"}
    send(github, "POST", f"{REPOSITORY}/statuses/{SHA}", target)
    elements = Elements(page(github, API)).found
    assert not {"script", "img", "iframe", "b"} & {tag for tag, _ in elements}
    assert [tag for tag, _ in elements].count("style") == 1
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        if tag == "details":
            assert attributes == {}
        assert (attributes.get("href") or "#").startswith(("#", "https://", "http://"))
