"""One module for each format of a report, and the table of them.

Each module has one function `render(report)`; what it returns is what its surface takes. A new format is a module and
a row.
"""

from __future__ import annotations

from enum import Enum, auto
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from coval_gate.report.model import Report


class Surface(Enum):
    """Where a rendered report goes."""

    OUTPUTS = auto()  # the step's outputs: dict[str, str]
    FILE = auto()  # a file in the workspace, at the path that the input gives: str
    SUMMARY = auto()  # the step's summary: str
    LOG = auto()  # the step's log and its annotations: log.Closing
    PAGE = auto()  # a page of the host that the same input asks for: ci.host.PageText


class Format(NamedTuple):
    """One way to show a report.

    `input` is the input that asks for it, empty where it is always there. `output`: of a file, the description of the
    output that gives its path; the output has the name of the input.
    """

    name: str
    input: str
    surface: Surface
    output: str = ""

    def render(self, report: Report) -> Any:
        """Return the report in this format; what that takes is imported here, where it is needed."""
        return import_module(f"{__name__}.{self.name}").render(report)

    def brief(self, report: Report) -> Any:
        """Return the report so short that the state of the step can hold it, where the format is longer."""
        module = import_module(f"{__name__}.{self.name}")
        return getattr(module, "brief", module.render)(report)


FORMATS: Final = (
    Format(name="outputs", input="", surface=Surface.OUTPUTS),
    Format(
        name="junit",
        input="junit_path",
        surface=Surface.FILE,
        output="The path of the JUnit report in the workspace, if `junit_path` asked for it.",
    ),
    Format(
        name="json",
        input="json_path",
        surface=Surface.FILE,
        output="The path of the result as JSON in the workspace, if `json_path` asked for it.",
    ),
    Format(
        name="html",
        input="html_path",
        surface=Surface.FILE,
        output="The path of the HTML report in the workspace, if `html_path` asked for it.",
    ),
    Format(
        name="digest",
        input="digest_path",
        surface=Surface.FILE,
        output="The path of the digest for coding agents in the workspace, if `digest_path` asked for it.",
    ),
    Format(name="summary", input="summary", surface=Surface.SUMMARY),
    Format(name="log", input="annotations", surface=Surface.LOG),
    Format(name="status", input="commit_status", surface=Surface.PAGE),
    Format(name="check", input="check_run", surface=Surface.PAGE),
    Format(name="comment", input="comment", surface=Surface.PAGE),
)


def formats(surface: Surface) -> tuple[Format, ...]:
    """Return the formats that go to a surface."""
    return tuple(each for each in FORMATS if each.surface is surface)


def rendered(surface: Surface, report: Report) -> Any:
    """Return the report in the one format that goes to a surface."""
    (only,) = formats(surface)
    return only.render(report)
