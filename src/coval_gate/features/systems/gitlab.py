"""A job of GitLab as a host: sections of its log, reports that GitLab reads from the workspace, and its API.

It shows two pages: the commit status, and the note on a merge request.
Sources: GitLab's "Custom collapsible sections", "CI/CD artifacts reports types" (dotenv, annotations), and GitLab's
`ParseDotenvArtifactService`, which reads a dotenv report line by line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure
from coval_gate.base.secret import Secret
from coval_gate.base.text import json_in, one_line, shortened, whole_number
from coval_gate.base.transport import Response, Server, Timeouts, parse_address
from coval_gate.ci.host import IN_PROGRESS, TOLERATED, Context, Page, PageText
from coval_gate.features.pages.calls import (
    LIMIT_PAUSE,
    ApiPage,
    HostApi,
    Operation,
    Payload,
    Refused,
    Service,
    begins_with,
    pause_in,
)
from coval_gate.features.systems.plain import PlainHost
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import Inputs

DOTENV: Final = "coval-gate.env"
DOTENV_LIMIT: Final = 5 * 1024  # bytes; GitLab drops a report of this size or more
REPORTED: Final = ("run_id", "run_url", "verdict", "status", "passed")  # outputs in the dotenv report
RUN_IDS: Final = "run_ids"  # the same for all runs, for a later job that waits for them
DOTENV_VALUE: Final = re.compile(
    r"[\w.,:/?&=%+@~-]*", re.ASCII
)  # GitLab allows no spaces, and expands what follows a $
ANNOTATIONS: Final = "coval-gate-annotations.json"
LONGEST_LABEL: Final = 100  # characters
SECTION: Final = re.compile(r"section_(?=(?:start|end):)")
TO_LINE_START: Final = "\x1b[0K"  # what GitLab's own sections begin and end with
GITLAB_API, PROJECT = "CI_API_V4_URL", "CI_PROJECT_ID"
LACKS_TOKEN: Final = "GITLAB_TOKEN is not set, and CI_JOB_TOKEN cannot write notes and statuses"  # noqa: S105 - a sentence
HEADER_VALUE: Final = re.compile(r"[!-~]+")  # what a header can carry
CHILD: Final = "parent_pipeline"  # the source of a pipeline that another one started
PIPELINE_RUNNING: Final = "running"
GITLAB_UNDECIDED: Final = ("created", "pending", PIPELINE_RUNNING)
GITLAB_STATES: Final = {
    "passed": "success",
    "cancelled": "canceled",
    # Nothing was evaluated. A pipeline that must succeed does not, and one that is pending would never end.
    "skipped": "canceled",
    IN_PROGRESS: PIPELINE_RUNNING,
    TOLERATED: "success",
}  # all other verdicts are "failed"
LONGEST_DESCRIPTION: Final = 255  # characters
LONGEST_LINK: Final = 255  # characters
COMMAND: Final = re.compile(r"^(\s*)/", re.MULTILINE)  # a line that GitLab may read as a quick action
NEXT_PAGE: Final = "x-next-page"  # a response's header: a number, empty on the last page
GITLAB_TIMEOUTS: Final = Timeouts(connect=10.0, response=15.0, final=1.0)  # GitLab may keep a status locked for 10 s
GITLAB_BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a page has at most 100 notes, most of them short
CONFLICT: Final = 409  # another request changes the same status


class GitLabHost(PlainHost):
    """Later jobs read its dotenv report as variables, and its page links to the run in Coval."""

    folds = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._sections = 0
        root = self._environ.get("CI_PROJECT_DIR", "")
        # A script begins there. Tools that run jobs on a laptop may name a directory of the container.
        self.root = root if Path(root).is_dir() else ""
        self._token = self._environ.get("GITLAB_TOKEN", "").strip()
        self.mask(self._token)

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:
        @cache
        def gitlab() -> GitLab:
            return GitLab(self._environ, self._token, self._runtime)

        obstacle = "" if HEADER_VALUE.fullmatch(self._token) else LACKS_TOKEN
        if not (self._environ.get(PROJECT) and parse_address(self._environ.get(GITLAB_API, ""))):
            obstacle = f"{GITLAB_API} or {PROJECT} is not set"
        return [
            GITLAB_PAGES[page](page, obstacle, self, gitlab, inputs, context)
            if page in GITLAB_PAGES
            else Page(page, "GitLab has no check runs")
            for page in wanted_pages(inputs)
        ]

    def _clean(self, text: str) -> str:
        """Break markers of sections, too. Without carriage returns and escapes, which are gone, they have no effect."""
        return SECTION.sub("section\u200b_", super()._clean(text))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Leave the section open: people watch the run's progress in it."""
        with self._section(title):
            yield

    def fold(self, title: str, lines: Iterable[str]) -> None:
        with self._section(title, "[collapsed=true]"):
            self.quote(*lines)

    @contextmanager
    def _section(self, title: str, option: str = "") -> Iterator[None]:
        self._sections += 1
        # Names must differ within the log, which the post step writes to, too.
        name = f"coval_gate_{self._time()}_{self._sections}"
        heading = self._clean(one_line(title))
        self._emit(f"{TO_LINE_START}section_start:{self._time()}:{name}{option}\r{TO_LINE_START}{heading}")
        try:
            yield
        finally:
            self._emit(f"{TO_LINE_START}section_end:{self._time()}:{name}\r{TO_LINE_START}")

    def _time(self) -> int:
        return int(self._runtime.clock.time())

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Write those that GitLab can show or hand over. Raises RunnerError."""
        super().set_outputs(outputs)
        self.workspace.write(DOTENV, dotenv(self._outputs))
        links = links_in(self._outputs)
        if links:
            self.workspace.write(ANNOTATIONS, json.dumps({"Coval": links}, ensure_ascii=False) + "\n")
        else:
            self.workspace.remove(ANNOTATIONS)  # an earlier step's, or one of the repository


def dotenv(outputs: Mapping[str, str]) -> str:
    """Leave a value with special characters empty, because a changed id or URL would be a wrong one."""
    runs = json_in(outputs.get(RUN_IDS, ""))
    values = {name: outputs.get(name, "") for name in REPORTED}
    values[RUN_IDS] = ",".join(map(str, runs)) if isinstance(runs, list) else ""
    lines, room = [], DOTENV_LIMIT - 1
    for left, (name, value) in enumerate(values.items(), 1 - len(values)):
        line = f"{name.upper()}={value if DOTENV_VALUE.fullmatch(value) else ''}\n"
        # Each of the lines that follow needs room at least for its name.
        if len(line) > room + left * len("PASSED=\n") * 2:
            line = f"{name.upper()}=\n"
        lines.append(line)
        room -= len(line)
    return "".join(lines)


def links_in(outputs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Link the first run, or the run of each leg."""
    legs = json_in(outputs.get("legs", ""))
    shown_legs = [leg for leg in legs if isinstance(leg, dict)] if isinstance(legs, list) else []
    named = {f"Run of {leg.get('name')}": str(leg.get("run_url") or "") for leg in shown_legs[:20]}
    urls = named if len(shown_legs) > 1 else {"Run in Coval": outputs.get("run_url", "")}
    return [
        {"external_link": {"label": one_line(label, LONGEST_LABEL), "url": url}} for label, url in urls.items() if url
    ]


def _pause(response: Response, message: str, now: float) -> float | None:  # noqa: ARG001
    if response.status not in (CONFLICT, 429) and response.status < 500:
        return None
    pause = pause_in(response, response.headers.get("ratelimit-reset", ""), now)
    return LIMIT_PAUSE if pause is None and response.status == 429 else pause


GITLAB_SERVICE: Final = Service(
    name="GitLab",
    too_late=titles.GITLAB_TOO_LATE,
    unavailable=titles.GITLAB_UNAVAILABLE,
    limit=titles.GITLAB_LIMIT,
    rejected=titles.GITLAB_REJECTED,
    pause=_pause,
    has_next=lambda headers: bool(headers.get(NEXT_PAGE)),
    most_pages=50,  # GitLab allows at most 5,000 comments
    unauthorized="GitLab does not accept GITLAB_TOKEN: set a current token. ",
    permission="GITLAB_TOKEN needs the scope api and the role {}.",
    moved="If the project was moved after the job began, start a new pipeline.",
    address="Check CI_API_V4_URL, the network and any proxies.",
    left="The post step sets the commit status.",
    conflicts=(CONFLICT,),
)


class GitLab(HostApi):
    """The job's pipeline and its merge request may be of two projects."""

    def __init__(self, environ: Mapping[str, str], token: str, runtime: Runtime) -> None:
        server = Server(
            root=environ.get(GITLAB_API, "").rstrip("/"),
            credential=Secret(token),
            credential_header="PRIVATE-TOKEN",
            headers={"Accept": "application/json"},
            timeouts=GITLAB_TIMEOUTS,
            body_limit=GITLAB_BODY_LIMIT,
        )
        super().__init__(GITLAB_SERVICE, server, runtime)
        project = environ.get(PROJECT, "")
        target = environ.get("CI_MERGE_REQUEST_PROJECT_ID") or project
        self.project = f"/projects/{quote(project, safe='')}"
        self._merge_requests = f"/projects/{quote(target, safe='')}/merge_requests"
        # GitLab sets no status in a child pipeline.
        is_child = environ.get("CI_PIPELINE_SOURCE") == CHILD
        self.pipeline_id = None if is_child else whole_number(environ.get("CI_PIPELINE_ID", ""))
        self.pipeline_sha = environ.get("CI_COMMIT_SHA", "")

    def merge_request(self, number: int) -> str:
        return f"{self._merge_requests}/{number}"

    def head_of(self, number: int, *, until: float) -> Procedure[str]:
        return self.text_at(self.merge_request(number), "sha", permission="Reporter", until=until)


class PipelineStatus(ApiPage[GitLab]):
    """It goes from state to state, and GitLab refuses to set the one that it has.

    Each pipeline of a commit has a status of this name. Without the pipeline's id, GitLab sets that of the newest
    pipeline, and one that an earlier pipeline began would go on for ever.
    """

    _forbidden = False

    async def show(self, text: PageText, context: Context, *, until: float) -> None:  # noqa: ARG002
        if self._forbidden:  # GitLab refused it when the step announced the run
            return
        operation = self._api().operation("Developer, or Maintainer where the branch is protected", until)
        status = {
            "state": pipeline_state_of(text),
            "name": text.name,
            "description": shortened(text.title, LONGEST_DESCRIPTION),
            "target_url": text.link if len(text.link) <= LONGEST_LINK else "",
        }
        body = {name: value for name, value in status.items() if value}
        path = f"{self._api().project}/statuses/{quote(text.sha, safe='')}"

        async def attempt() -> None:
            if self._may_be_judged and await self._is_judged(operation, text):
                return
            pipeline = await self._pipeline(operation, text)
            try:
                await operation.send("POST", path, body={**body, **({"pipeline_id": pipeline} if pipeline else {})})
            except Refused as refused:
                self._forbidden = refused.forbidden
                if refused.status != 400:
                    raise
                statuses = await self._statuses(operation, text)
                own = (status for status in statuses if pipeline in (None, status.get("pipeline_id")))
                if next((status.get("status") for status in own), "") != body["state"]:
                    raise

        await operation.repeat(attempt)
        self.made, self.certain = "true", True  # there is one of each name, whatever became of earlier calls

    async def _is_judged(self, operation: Operation, text: PageText) -> bool:
        """Return whether the newest status of this name has a verdict on the same run."""
        statuses = await self._statuses(operation, text)
        return any(
            one.get("status") not in GITLAB_UNDECIDED and one.get("target_url") == text.link for one in statuses[:1]
        )

    async def _pipeline(self, operation: Operation, text: PageText) -> int | None:
        """Return the job's own pipeline or, for another commit, the one whose status an earlier job left undecided."""
        gitlab = self._api()
        if text.sha == gitlab.pipeline_sha and gitlab.pipeline_id:
            return gitlab.pipeline_id
        statuses = await self._statuses(operation, text)
        undecided = (status for status in statuses if status.get("status") in GITLAB_UNDECIDED)
        return next((status.number("pipeline_id") for status in undecided), None)

    async def _statuses(self, operation: Operation, text: PageText) -> list[Payload]:
        """Return those of this name, newest first."""
        path = f"{self._api().project}/repository/commits/{quote(text.sha, safe='')}/statuses"
        statuses = await operation.list(path, name=text.name)
        named = (status for status in statuses if status.get("name") == text.name)
        return sorted(named, key=lambda status: status.number("id"), reverse=True)


class Note(ApiPage[GitLab]):
    """Its marker identifies it, not its author: a project's access token is another user after each rotation."""

    async def show(self, text: PageText, context: Context, *, until: float) -> None:
        if context.pull_request:
            await self._comment_on(context.pull_request, text, context, until)

    async def write(self, number: int, text: PageText, *, create: bool, until: float) -> str:
        """A note that the token may not change was written with another token."""
        operation = self._api().operation("Reporter", until)
        notes = f"{self._api().merge_request(number)}/notes"
        body = without_commands(text.summary)

        async def attempt() -> int:
            listed = await operation.list(notes, sort="asc", order_by="created_at")
            for note in listed:
                if not begins_with(note, text.name):
                    continue
                id_ = note.number("id")
                if str(note.get("body")).strip() == body.strip():
                    return id_
                try:
                    await operation.send("PUT", f"{notes}/{id_}", body={"body": body})
                except Refused as refused:
                    if not refused.forbidden:
                        raise
                else:
                    return id_
            if not create:
                return 0
            return (await operation.send("POST", notes, body={"body": body})).number("id")

        id_ = await operation.repeat(attempt)
        return (
            f"{self._context.server_url}/{self._context.repository}/-/merge_requests/{number}#note_{id_}" if id_ else ""
        )


GITLAB_PAGES: Final = {"comment": Note, "commit_status": PipelineStatus}  # by the input


def pipeline_state_of(text: PageText) -> str:
    return GITLAB_STATES.get(text.outcome, "failed")


def without_commands(markdown: str) -> str:
    """Keep lines from beginning with a slash: GitLab would run `/merge` with the token's rights."""
    return COMMAND.sub("\\1\u200b/", markdown)
