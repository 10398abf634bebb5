"""The interface of a CI system to a step, with its pages: a comment on a pull request, say, or the status of a commit.

A new CI system is a host, and a page for each kind that it has. Nothing else knows how it shows them.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from coval_gate.config.checks import OF_COMMIT
from coval_gate.errors import GateError, HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from coval_gate.ci.context import Context
    from coval_gate.ci.workspace import Workspace
    from coval_gate.config.inputs import Inputs
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure

Level = Literal["error", "warning", "notice"]

NAME: Final = "Coval Gate"
BUG: Final = "Details for a bug report"
MOST_WARNINGS: Final = 9  # of the ten that GitHub's runner shows of a step; one is reserved for a late problem
NO_REPOSITORY: Final = "the job has no GitHub repository"
IN_PROGRESS: Final = "in_progress"  # the state of a step without a verdict


class Annotation(NamedTuple):
    """A title, a message of one or more lines, and the file of the repository that it is shown on, if any."""

    title: str
    message: str
    file: str = ""


class PageText(NamedTuple):
    """What a page shows of a step. The host puts the state into its own words.

    `state` is the verdict, or that the step is in progress; `passes`: whether the step does. `name` tells the page from
    others of its kind. The page is about the commit `sha`, empty where that is not known, and about what `references`
    name; the newest is the last.
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


class Page:
    """A page of a host. This class itself stands for one that the host cannot show.

    `input` is the input that asks for the page, and `obstacle` why the host cannot show it, empty if it can.
    """

    made = ""
    """What tells the page to a later process, once the host has it."""

    certain = True
    """Whether `made` is all that the host has of it. A request without a response may have made another one."""

    url = ""
    """The page's address, once it is known, where a step has it as an output."""

    def __init__(self, input_: str, obstacle: str = "") -> None:
        self.input = input_
        self.obstacle = obstacle

    @property
    def problem(self) -> str:
        """What is wrong with the input on this host; empty if nothing is."""
        return ""

    @property
    def of_commit(self) -> bool:
        """Whether it is about the tested commit, from the launch on. Any other tells a pull request the verdict."""
        return self.input in OF_COMMIT

    def takes(self, state: str) -> bool:
        """Return whether it shows a step in this state."""
        return self.of_commit or state != IN_PROGRESS

    def locate(self, context: Context, *, until: float) -> Procedure[Context]:  # noqa: ARG002
        """Return `context` with the tested commit, where the host can find it out. Raises HostError."""
        yield from ()
        return context

    def show(self, text: PageText, context: Context, *, until: float) -> Procedure[None]:
        """Create the page or bring it up to date. No request begins after `until`. Raises HostError."""
        raise NotImplementedError


class Host(Protocol):
    """A CI system. A host treats every text as foreign: it masks secrets, and lets no text become a command."""

    workspace: Workspace
    """Where files are read and written."""

    annotates: bool
    """Whether it shows annotations elsewhere than in the log."""

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on."""

    def redact(self, text: str) -> str:
        """Return `text` with every secret masked, including the beginning of a truncated one."""

    def context(self) -> Context:
        """Return the context that the step runs in."""

    def pages(self, inputs: Inputs, context: Context, runtime: Runtime) -> Sequence[Page]:
        """Return the pages that the inputs ask for, in the order of `wanted_pages`."""

    def log(self, text: str = "") -> None:
        """Write one line."""

    def quote(self, *lines: str) -> None:
        """Write lines that may contain foreign text."""

    def group(self, title: str) -> AbstractContextManager[None]:
        """Fold the lines written inside under `title`."""

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Write lines that may be foreign, folded under `title`."""

    def annotate(self, level: Level, title: str, message: str, file: str = "") -> None:
        """Show a message of one or more lines as an annotation, on the first line of a `file` of the repository."""

    @property
    def room_for_warnings(self) -> int:
        """The number of further warnings that the host will show."""

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        """Show the final outputs in the log if no later step can read them."""

    def save_state(self, state: Mapping[str, str]) -> None:
        """Save values for the post step. Raises RunnerError."""

    def read_state(self, name: str) -> str:
        """Return a value that the main step saved; empty if it saved none."""

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary. Raises RunnerError."""


@contextmanager
def tolerant(host: Host, undone: str = "A part of the report could not be made") -> Iterator[None]:
    """Report what goes wrong inside, and go on: the verdict does not rest on it."""
    try:
        yield
    except HostError as error:
        message = "\n".join(each for each in (error.what, error.advice) if each)
        host.annotate("notice" if error.forbidden else "warning", f"{NAME}: {error.title}", message)
    except GateError as error:
        host.annotate("warning", NAME, error.what)
    except Exception:  # noqa: BLE001 - a format that fails must not take the others along
        host.fold(BUG, traceback.format_exc().splitlines())
        host.annotate("warning", NAME, f"{undone}; the log has details for a bug report.")
