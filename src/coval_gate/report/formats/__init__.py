"""The formats of a report: a module for each, whose `render` returns what its surface takes.

A file's format is the module with the name of its input: `junit` makes the file of `junit_path`.
"""

from importlib import import_module
from typing import Any, Final, NamedTuple

from coval_gate.inputs.inputs import effective
from coval_gate.report.document import Document

SUFFIXES: Final = {"junit": "xml", "digest": "md"}  # those that are not the format's name
ALWAYS: Final = ("outputs", "log", "pages")  # what most reports are made with


class File(NamedTuple):
    """A report as a file in the workspace, at the path in the input. An output of that name has the path."""

    input: str
    what: str

    @property
    def name(self) -> str:
        return self.input.removesuffix("_path")

    @property
    def example(self) -> str:
        return f"reports/coval.{SUFFIXES.get(self.name, self.name)}"

    @property
    def output(self) -> str:
        """The description of the output."""
        return f"The path of the {self.what} in the workspace, if `{self.input}` is set."


FILES: Final = tuple(File(one.name, one.field.report) for one in effective() if one.field.report)


def load() -> None:
    """Import what most reports are made with: on a busy machine, a cancelled step has no time for it at its end."""
    for name in ("document", *(f"formats.{name}" for name in ALWAYS)):
        _module(name)


def rendered(name: str, document: Document, *given: Any, **around: Any) -> Any:
    """Return the document in a format, whose module is imported only here. The rest is what is not in the document."""
    return _module(f"formats.{name}").render(document, *given, **around)


def _module(name: str) -> Any:
    return import_module(f"coval_gate.report.{name}")
