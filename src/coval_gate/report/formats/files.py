"""The reports that are files: a table of their formats, each by the name of its input without `_path`."""

from typing import Final, NamedTuple

from coval_gate.inputs.inputs import effective

HISTORIES: Final = ("html", "json")  # formats of a history
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


FILES: Final = tuple(File(one.name, one.field.report) for one in effective() if one.field.report)
