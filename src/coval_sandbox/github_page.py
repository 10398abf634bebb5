"""The page of the small GitHub: what a pull request shows of its comments, commit statuses and check runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .github import BOT, Comment, GitHub, Status
from .github_checks import CheckRun, newest
from .github_markdown import rendered
from .runner import PULL_REQUEST

HERE: Final = Path(__file__).resolve().parent
MARKS: Final = {  # of states, statuses and conclusions
    **dict.fromkeys(("success",), ("good", "✓")),
    **dict.fromkeys(("failure", "error", "timed_out", "action_required"), ("bad", "✕")),
    **dict.fromkeys(("neutral", "skipped", "cancelled"), ("neutral", "▪")),
}
RUNNING: Final = ("running", "●")


class Row(NamedTuple):
    """`style` is the class of its `mark`."""

    style: str
    mark: str
    name: str
    state: str
    about: str
    link: str


class Commit(NamedTuple):
    """`rows` has the newest checks, `check_runs` the newest check runs in full."""

    sha: str
    is_head: bool
    rows: list[Row]
    check_runs: list[CheckRun]


class Repository(NamedTuple):
    """The newest commit comes first."""

    name: str
    comments: list[Comment]
    commits: list[Commit]


def page(github: GitHub, api_url: str) -> str:
    """The HTML needs no other file."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["markdown"] = lambda text: Markup(rendered(text))  # noqa: S704 - it is escaped there
    values: dict[str, Any] = {"number": PULL_REQUEST["pull_request"]["number"], "bot": BOT, "api_url": api_url}
    template = environment.get_template("github_page.html.j2")
    return template.render(repositories=list(repositories(github)), mark=mark, **values)


def repositories(github: GitHub) -> Iterator[Repository]:
    lists = (github.comments, github.statuses, github.check_runs)
    for name in dict.fromkeys(entry.repository for entries in lists for entry in entries):
        statuses = [status for status in github.statuses if status.repository == name]
        check_runs = [check_run for check_run in github.check_runs if check_run.repository == name]
        newest_last = sorted(
            [(status.id, status.sha) for status in statuses]
            + [(check_run.id, check_run.head_sha) for check_run in check_runs]
        )
        shas = dict.fromkeys(sha for _, sha in reversed(newest_last))
        yield Repository(
            name,
            [comment for comment in github.comments if comment.repository == name],
            [_commit(sha, statuses, check_runs) for sha in shas],
        )


def _commit(sha: str, statuses: list[Status], check_runs: list[CheckRun]) -> Commit:
    latest = {status.context: status for status in statuses if status.sha == sha}
    shown = newest(check_run for check_run in check_runs if check_run.head_sha == sha)
    rows = [
        *(
            Row(
                *mark(check_run.outcome),
                check_run.name,
                in_words(check_run.outcome),
                check_run.title,
                f"#check-run-{check_run.id}",
            )
            for check_run in shown
        ),
        *(
            Row(
                *mark(status.state),
                status.context,
                in_words(status.state),
                status.description,
                _safe(status.target_url),
            )
            for status in latest.values()
        ),
    ]
    return Commit(sha, sha == PULL_REQUEST["pull_request"]["head"]["sha"], rows, shown)


def mark(outcome: str) -> tuple[str, str]:
    """Return the style and the mark."""
    return MARKS.get(outcome, RUNNING)


def in_words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _safe(url: str) -> str:
    return url if url.startswith(("https://", "http://")) else ""
