"""The interface of a CI system to a step: its context, its log, and its pages, such as a comment or a commit's status.

A new CI system is a host, and a page for each kind that it has. Nothing else knows how it shows them.
"""

import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TextIO

from coval_gate.base.errors import GateError, HostError
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure
from coval_gate.base.secret import SHORTEST_SECRET, redactor
from coval_gate.inputs.checks import COMMIT_PAGES, wanted_pages
from coval_gate.inputs.inputs import Inputs
from coval_gate.inputs.naming import Variables
from coval_gate.inputs.parsing import NO_MATRIX, Matrix

if TYPE_CHECKING:
    from coval_gate.features.files.workspace import Workspace

REPOSITORY, COMMIT, PULL_REQUEST = "github_repository", "github_commit", "github_pull_request"  # in a run's metadata
MATRIX = "github_matrix"
LEG = "coval_gate_leg"  # the key of a leg, which identifies it in the plan of its step
MERGE_QUEUE = "gh-readonly-queue/"  # prefix of the branches on which GitHub tests what it is about to merge
HEADS: Final = "refs/heads/"
PULL: Final = re.compile(r"refs/(?:pull|merge-requests)/([0-9]{1,9})(?:/.*)?")  # a pull request's ref
NO_BRANCH: Final = ("detached", "HEAD")  # what Jenkins and git name a checkout of a commit
REPETITION = "coval_gate_repetition"  # its number, from 1
SLICE = "coval_gate_slice"  # likewise, with `spend: until clear`
IS_BASE = "coval_gate_is_base"  # of the base agent's run beside the tested one
AGENT_TYPE = "coval_gate_agent_type"  # of the agent, as far as the launch could read it

Withheld = Literal["", "fork", "dependabot"]  # the origin because of which GitHub withholds secrets, if any
Level = Literal["error", "warning", "notice"]

GATE_NAME: Final = "Coval Gate"
DIRECTORY: Final = ".coval-gate"  # in the workspace, for what one command leaves for another, or for the user
IGNORED: Final = f"{DIRECTORY}/.gitignore"
BUG: Final = "Details for a bug report"
MOST_WARNINGS: Final = 9  # GitHub's runner shows ten for a step; one is reserved for a late problem
SUMMARY_LIMIT: Final = 1024 * 1024  # bytes of UTF-8; GitHub drops a larger summary
NO_REPOSITORY: Final = "the job has no GitHub repository"
IN_PROGRESS: Final = "in_progress"  # the state of a step without a verdict
TOLERATED: Final = "tolerated"  # an inconclusive verdict or a time-out with which the step passes


class Head(NamedTuple):
    owner: str
    branch: str


class WebPages(NamedTuple):
    """`changes` and `commits`: the paths below the repository's page, up to a number or a hash; empty if unknown."""

    change: str = "pull request"
    mark: str = "#"  # before the number of a change
    changes: str = ""
    commits: str = ""


class Context(NamedTuple):
    """The provenance of a step. Fields that the runner does not provide are empty or None."""

    repository: str = ""
    sha: str = ""  # the commit under test: the pull request's head, not GitHub's merge commit
    event: str = ""  # the name of the event that started the workflow
    actor: str = ""  # the user who started this attempt
    workflow: str = ""
    workflow_file: str = ""  # its path in the repository; several workflows may share a name
    lasting_workflow: str = ""  # identifies the workflow where its name may be another one in each of its runs
    job: str = ""
    matrix: Matrix = NO_MATRIX  # distinguishes jobs of one name; the runner has no variable for it
    step: str = ""
    instance: str = ""  # distinguishes steps of this workflow run if names do not; another one in each workflow run
    given: str = ""  # the texts of the inputs that define what to run
    server_url: str = ""
    ref: str = ""  # the branch or tag that triggered the workflow
    branch: str = ""  # the branch whose newest commit is tested; empty for a pull request, and for a tag
    run_id: str = ""
    run_url: str = ""
    artifacts_url: str = ""  # where files that the job uploads are found; empty if the CI system has no such page
    run_attempt: str = ""
    attempt_is_id: bool = False  # of a job among others, so it does not show how many attempts there were
    pull_request: int | None = None
    secrets_withheld_from: Withheld = ""
    head: Head | None = None  # to look up a pull request if the event lacks its number
    sha_is_known: bool = True  # False if `sha` is not the tested commit, as for comments on a pull request
    for_pull_request: bool = False  # a pull request (also from a fork) or a merge queue started the workflow
    is_local: bool = False  # no CI system runs the step
    is_changed: bool = False  # the working directory differs from the commit
    started_by_person: bool = False  # by hand
    start_by_hand: str | None = None  # how a person does so on this CI system; empty: not shown; None: on GitHub
    variables: Variables | None = None  # those that may be behind an empty input; None where inputs are flags
    web: WebPages = WebPages()
    branch_is_known: bool = True  # False if `sha` comes from elsewhere than the event, so its branch is another one's

    @property
    def shown_branch(self) -> str:
        """Also of a pull request; empty where it is not known for certain."""
        if not (self.branch_is_known and self.sha_is_known):
            return ""
        # The ref of a pull request is a branch only if it is no ref such as refs/pull/42/merge.
        head_branch = self.ref if (self.for_pull_request or self.is_local) and not self.ref.startswith("refs/") else ""
        return self.branch or (self.head.branch if self.head else head_branch)

    @property
    def change_url(self) -> str:
        """Empty without a pull request, or if its address is unknown."""
        return self._page(self.web.changes, str(self.pull_request or ""))

    @property
    def commit_url(self) -> str:
        """Empty if its address is unknown."""
        return self._page(self.web.commits, self.sha if self.sha_is_known else "")

    def _page(self, path: str, name: str) -> str:
        is_known = self.server_url and self.repository and path and name
        return f"{self.server_url}/{self.repository}/{path}/{name}" if is_known else ""

    @property
    def later_attempt(self) -> str:
        """Empty for the first attempt, and where the CI system has ids in place of numbers."""
        is_later = re.fullmatch("[0-9]{1,3}", self.run_attempt) and int(self.run_attempt) > 1
        return self.run_attempt if is_later and not self.attempt_is_id else ""


def context_of(
    name: str, *, number: int | None = None, for_pull_request: bool = False, is_tag: bool = False
) -> Context:
    """Name only whether a pull request, a merge queue or a branch is tested: only a branch's runs become its baseline.

    `name`: that of the branch, or a ref that is none. A branch that is named as a ref could be mistaken for another
    one, so it counts as none. `number` and `for_pull_request`: what the CI system reports.
    """
    pull = PULL.fullmatch(name)
    number = number or (int(pull[1]) or None if pull else None)
    if number or pull or for_pull_request or name.startswith(MERGE_QUEUE):
        return Context(pull_request=number, for_pull_request=True)
    return Context(branch="" if is_tag or name.startswith("refs/") or name in NO_BRANCH else name)


def with_unknown_commit(context: Context) -> Context:
    """Adapt `context` for a step that waits for another step's run: only a pull request's commit is known."""
    return context if context.pull_request else context._replace(sha_is_known=False)


class Console:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._secrets: list[str] = []

    def mask(self, secret: str) -> None:
        if len(secret) >= SHORTEST_SECRET:  # a shorter one is not a valid key, and may be an ordinary word
            self._secrets.append(secret)

    def redact(self, text: str) -> str:
        """Mask also the beginning of a truncated secret."""
        return redactor(*self._secrets).redact(text)

    def log(self, text: str = "") -> None:
        self._emit(self._clean(text))

    def log_error(self, text: str) -> None:
        """Write why the command cannot do its work. On a CI system, that is a part of the log."""
        self.log(text)

    def _clean(self, text: str) -> str:
        return "\n".join(inert(line) for line in self.redact(text).split("\n"))

    def _emit(self, text: str) -> None:
        # The outputs and files must be written even if the log cannot be.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()


def inert(line: str) -> str:
    """Return `line` in a form that no CI system reads as a command.

    GitHub's runner also ends a line at a lone carriage return. It looks for `::` after leading white space, and for the
    older `##[` anywhere. Others have commands such as `##vso[`. A zero-width space breaks them all.
    """
    line = "".join(char if char.isprintable() or char == "\t" else " " for char in line)
    if line.lstrip().startswith("::"):
        line = line.replace("::", ":\u200b:", 1)
    return re.sub(r"##(?=[\[a-zA-Z])", "##\u200b", line)


class Annotation(NamedTuple):
    title: str
    message: str  # may have several lines


class PageFigure(NamedTuple):
    """A count, a percentage from 0 to 100, or seconds."""

    name: str
    value: float
    kind: Literal["count", "percentage", "duration"] = "count"


class PageText(NamedTuple):
    """`state`: the verdict, or IN_PROGRESS. `name` distinguishes the page from others of its kind.

    `references`: the runs that the page is about, newest last.
    """

    state: str
    passes: bool
    name: str
    title: str = ""
    summary: str = ""
    link: str = ""
    annotations: tuple[Annotation, ...] = ()
    references: tuple[str, ...] = ()
    sha: str = ""
    figures: tuple[PageFigure, ...] = ()

    @property
    def outcome(self) -> str:
        """The state, or TOLERATED."""
        return TOLERATED if self.state in ("inconclusive", "timed_out") and self.passes else self.state


class Page:
    """This class itself stands for a page that the host cannot show.

    `input`: the input that requests the page. `obstacle`: why the host cannot show it; empty if it can.
    """

    made = ""
    """The page's id for a later process, once the host has created it."""

    certain = True
    """Whether `made` is the only such page. A request without a response may have created another one."""

    url = ""
    """The page's URL, once known, if the step has it as an output."""

    def __init__(self, input_: str, obstacle: str = "") -> None:
        self.input = input_
        self.obstacle = obstacle

    @property
    def problem(self) -> str:
        """Why the input is invalid on this host; empty if it is valid."""
        return ""

    @property
    def on_commit(self) -> bool:
        """Whether the page is about the tested commit, from the launch on. Others show a pull request the verdict."""
        return self.input in COMMIT_PAGES

    def takes(self, state: str) -> bool:
        return self.on_commit or state != IN_PROGRESS

    async def locate(self, context: Context, *, until: float) -> Context:  # noqa: ARG002
        """Add the tested commit, if the host can find it. Raises HostError."""
        return context

    def show(self, text: PageText, context: Context, *, until: float) -> Procedure[None]:
        """Create or update the page. No request begins after `until`. Raises HostError."""
        raise NotImplementedError


class Host(Console, ABC):
    """A CI system. It treats every text as foreign: it masks secrets, and no text can become a command."""

    root = ""
    """The directory of the workspace; empty for the current one."""

    annotates = False
    """Whether it shows annotations outside the log."""

    folds = False
    """Whether its log shows a group as its title, until a reader opens it."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.stdout)
        self._runtime = runtime
        self._environ = runtime.environ

    @cached_property
    def workspace(self) -> "Workspace":
        """Where files are read and written."""
        from coval_gate.features.files.workspace import Workspace

        return Workspace(self.root)

    @abstractmethod
    def context(self) -> Context: ...

    def has_pages(self, inputs: Inputs) -> bool:
        return bool(wanted_pages(inputs))

    @abstractmethod
    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:
        """Return the pages that the inputs request, in the order of `wanted_pages`, and those that it always shows."""

    def quote(self, *lines: str) -> None:
        """Write lines that may contain foreign text."""
        for line in self.redact("\n".join(lines)).split("\n") if lines else ():
            self._emit(self._clean(line))

    def progress(self, key: str, label: str, seconds: float, line: str, *, is_over: bool) -> bool:  # noqa: ARG002
        """Show how far a run is in place of what was shown last for `key`; return False if the log must show it."""
        return False

    @abstractmethod
    def group(self, title: str) -> AbstractContextManager[None]:
        """Fold the lines written inside under `title`."""

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Write lines that may contain foreign text, folded under `title`."""
        with self.group(title):
            self.quote(*lines)

    @abstractmethod
    def annotate(self, level: Level, title: str, message: str) -> None:
        """`message` may have several lines."""

    @property
    def room_for_warnings(self) -> int:
        """The number of further warnings that the host will show."""
        return 0

    @abstractmethod
    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""

    @abstractmethod
    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        """Show the final outputs in the log if no later step can read them."""

    @abstractmethod
    def save_state(self, state: Mapping[str, str]) -> None:
        """Save values for the post step. Raises RunnerError."""

    def take_over(self) -> None:
        """Adopt the state that killed steps left, so that `read_state` returns it."""

    def release(self) -> None:
        """Leave what is saved to others: the step is at its end."""

    @abstractmethod
    def read_state(self, name: str) -> str:
        """Return a value that the main step saved; empty if it saved none."""

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary. Raises RunnerError."""


@contextmanager
def tolerant(host: Host, undone: str = "A part of the report could not be made") -> Iterator[None]:
    """Report an error from the block, and go on: the verdict does not depend on it."""
    try:
        yield
    except HostError as error:
        message = "\n".join(part for part in (error.what, error.advice) if part)
        host.annotate("notice" if error.forbidden else "warning", f"{GATE_NAME}: {error.title}", message)
    except GateError as error:
        host.annotate("warning", GATE_NAME, error.what)
    except Exception:  # noqa: BLE001 - one broken format must not stop the others
        host.fold(BUG, traceback.format_exc().splitlines())
        host.annotate("warning", GATE_NAME, f"{undone}; the log has details for a bug report.")
