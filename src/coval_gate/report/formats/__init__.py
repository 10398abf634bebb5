"""The formats of a report: a module for each, and a table of them.

Each module has a function `render` that returns what its surface takes. A new format is a module and a row.
"""

from __future__ import annotations

from enum import Enum, auto
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from coval_gate.report.document.step import Document


class Surface(Enum):
    """Where a rendered report goes."""

    OUTPUTS = auto()  # the step's outputs: dict[str, str]
    FILE = auto()  # a file in the workspace, at the path in the input: str
    SUMMARY = auto()  # the step's summary: str
    LOG = auto()  # the step's log and its annotations: log.Closing
    PAGE = auto()  # a page of the host with the same input: ci.host.PageText


class Format(NamedTuple):
    """`input` turns it on; empty if always on. The output of that name has a file's path, and `what` is its title."""

    name: str
    input: str
    surface: Surface
    what: str = ""

    @property
    def output(self) -> str:
        """The description of the output with the path of a file."""
        return f"The path of the {self.what} in the workspace, if `{self.input}` is set."

    def render(self, document: Document, **around: Any) -> Any:
        """Return the document in this format, whose module is imported only here. `around`: what is not in it."""
        return import_module(f"{__name__}.{self.name}").render(document, **around)

    def brief(self, document: Document) -> Any:
        """Return a version that is short enough for the state of the step."""
        module = import_module(f"{__name__}.{self.name}")
        return getattr(module, "brief", module.render)(document)


FORMATS: Final = (
    Format(name="outputs", input="", surface=Surface.OUTPUTS),
    Format(name="junit", input="junit_path", surface=Surface.FILE, what="JUnit report"),
    Format(name="json", input="json_path", surface=Surface.FILE, what="JSON report"),
    Format(name="html", input="html_path", surface=Surface.FILE, what="HTML report"),
    Format(name="digest", input="digest_path", surface=Surface.FILE, what="digest for coding agents"),
    Format(name="summary", input="summary", surface=Surface.SUMMARY),
    Format(name="log", input="annotations", surface=Surface.LOG),
    Format(name="status", input="commit_status", surface=Surface.PAGE),
    Format(name="check", input="check_run", surface=Surface.PAGE),
    Format(name="comment", input="comment", surface=Surface.PAGE),
    Format(name="insights", input="code_insights", surface=Surface.PAGE),
)


def load() -> None:
    """Import what most reports are made with: on a busy machine, a cancelled step has no time for it at its end."""
    always = [candidate.name for candidate in FORMATS if candidate.surface is not Surface.FILE]
    for name in ("report.compose.step", *(f"report.formats.{name}" for name in always)):
        import_module(f"coval_gate.{name}")


def formats(surface: Surface) -> tuple[Format, ...]:
    return tuple(candidate for candidate in FORMATS if candidate.surface is surface)


def rendered(surface: Surface, document: Document, **around: Any) -> Any:
    """Return the document in the only format that goes to a surface."""
    (only,) = formats(surface)
    return only.render(document, **around)
