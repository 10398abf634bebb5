"""The page of the small GitHub: what a pull request shows of its comments, commit statuses and check runs."""

import re
from collections.abc import Sequence
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from .github import GitHub, Json, Repository
from .github_checks import CheckRun, newest
from .runner import PULL_REQUEST

RAW: Final = re.compile(r"<!--.*?(?:-->|\Z)|<(/?)(details|summary|br|sub)\s*/?>", re.DOTALL | re.IGNORECASE)
HERE: Final = Path(__file__).resolve().parent
HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
}
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


def page(github: GitHub, api_url: str) -> str:
    """Return the page as HTML that needs no other file."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["markdown"] = lambda text: Markup(rendered(text))  # noqa: S704 - it is escaped there
    values: dict[str, Any] = {"number": PULL_REQUEST["pull_request"]["number"], "api_url": api_url}
    template = environment.get_template("github_page.html.j2")
    shown = {name: repository for name, repository in github.repositories.items() if _has_anything(repository)}
    return template.render(repositories=shown, commits=commits, mark=mark, **values)


def _has_anything(repository: Repository) -> bool:
    return bool(repository.comments or repository.statuses or repository.check_runs)


def commits(repository: Repository) -> list[Commit]:
    """Return the commits, newest first."""
    newest_last = sorted(
        [(status["id"], sha) for sha, statuses in repository.statuses.items() for status in statuses]
        + [(check_run.id, check_run.head_sha) for check_run in repository.check_runs]
    )
    shas = dict.fromkeys(sha for _, sha in reversed(newest_last))
    return [_commit(sha, repository.statuses.get(sha, []), repository.check_runs) for sha in shas]


def _commit(sha: str, statuses: list[Json], check_runs: list[CheckRun]) -> Commit:
    latest = {status["context"]: status for status in statuses}
    shown = newest(check_run for check_run in check_runs if check_run.head_sha == sha)
    rows = [
        Row(*mark(run.outcome), run.name, in_words(run.outcome), run.title, f"#check-run-{run.id}") for run in shown
    ]
    for name, status in latest.items():
        state, link = status["state"], _safe(status["target_url"])
        rows.append(Row(*mark(state), name, in_words(state), status["description"], link))
    return Commit(sha, sha == PULL_REQUEST["pull_request"]["head"]["sha"], rows, shown)


def mark(outcome: str) -> tuple[str, str]:
    """Return the style and the mark."""
    return MARKS.get(outcome, RUNNING)


def in_words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _safe(url: str) -> str:
    return url if url.startswith(("https://", "http://")) else ""


def rendered(markdown: str) -> str:
    """Render as GitHub does in comments: tables, and of HTML only a few tags. Everything else is escaped."""
    return str(_parser().render(markdown))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"])
    parser.disable("image")  # the page loads nothing from elsewhere
    parser.add_render_rule("html_block", _raw)
    parser.add_render_rule("html_inline", _raw)
    parser.add_render_rule("link_open", _link)
    return parser


def _raw(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    """Keep the tags that GitHub allows, without attributes; drop comments, and escape the rest."""
    text, parts, end = tokens[index].content, list[str](), 0
    for tag in RAW.finditer(text):
        parts += [_escaped(text[end : tag.start()]), f"<{tag[1]}{tag[2].lower()}>" if tag[2] else ""]
        end = tag.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return escape(unescape(text))  # as HTML, the text may contain entities


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    tokens[index].attrSet("rel", "nofollow noreferrer")
    return self.renderToken(tokens, index, options, env)
