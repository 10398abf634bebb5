"""The reports that are files: a table of their formats, each by the name of its input without `_path`."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from coval_gate.inputs.inputs import effective
from coval_gate.report.document import Document
from coval_gate.report.document.history import HistoryDocument
from coval_gate.report.formats import history
from coval_gate.report.formats.digest import render as digest
from coval_gate.report.formats.html import render as html
from coval_gate.report.formats.html.history import render as page
from coval_gate.report.formats.json import render as json
from coval_gate.report.formats.junit import render as junit

RENDERERS: Final[Mapping[str, Callable[[Document], str]]] = {
    "digest": digest,
    "html": html,
    "json": json,
    "junit": junit,
}
HISTORIES: Final[Mapping[str, Callable[[HistoryDocument], str]]] = {"html": page, "json": history.json}
SUFFIXES: Final = {"junit": "xml", "digest": "md"}  # those that are not the format's name


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
        return f"Path of the {self.what} in the workspace."

    def is_written_in(self, mode: str) -> bool:
        return self.name in HISTORIES if mode == "history" else mode != "plan"

    def render(self, document: Document, past: HistoryDocument | None = None) -> str:
        return HISTORIES[self.name](past) if past else RENDERERS[self.name](document)


FILES: Final = tuple(File(one.name, one.field.report) for one in effective() if one.field.report)
