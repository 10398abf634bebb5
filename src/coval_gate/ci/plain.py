"""The host of a step on a terminal or an unknown CI system: everything goes to its log."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import RunnerError
from coval_gate.base.text import json_in
from coval_gate.ci.host import NAME, NO_REPOSITORY, Console, Context, Page
from coval_gate.ci.workspace import Workspace
from coval_gate.config.checks import wanted_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from coval_gate.base.runtime import Runtime
    from coval_gate.ci.host import Level
    from coval_gate.config.inputs import Inputs


DIRECTORY: Final = ".coval-gate"  # in the workspace, for what one command leaves for another
STATE: Final = f"{DIRECTORY}/state.json"
IGNORED: Final = f"{DIRECTORY}/.gitignore"
MOST_STATE: Final = 1024 * 1024  # bytes


class PlainHost(Console):
    """A host without outputs, summary or pages. It shows the outputs in the log at the end.

    A file in the workspace holds the state for the post step, as long as something is open.
    """

    workspace = Workspace()
    annotates = False
    room_for_warnings = 0

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(stream)
        self._environ = environ or {}
        self._state: dict[str, str] = {}

    def context(self) -> Context:
        from coval_gate.ci.systems import context_in, system_in

        system = system_in(self._environ)
        if system:
            return context_in(system, self._environ)
        from coval_gate.ci.git import read_git

        return read_git()

    def pages(self, inputs: Inputs, context: Context, runtime: Runtime) -> Sequence[Page]:  # noqa: ARG002
        return [Page(page, NO_REPOSITORY) for page in wanted_pages(inputs)]

    def quote(self, *lines: str) -> None:
        for line in self.redact_together(lines) if lines else ():
            self.log(line)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        self.log(title)
        yield

    def fold(self, title: str, lines: Iterable[str]) -> None:
        with self.group(title):
            self.quote(*lines)

    def annotate(self, level: Level, title: str, message: str, file: str = "") -> None:  # noqa: ARG002
        self.log(f"{level.capitalize()}: {title}\n{message}")

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        pass

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        self.fold("Outputs", (f"{name}={value}" for name, value in outputs.items()))

    def save_state(self, state: Mapping[str, str]) -> None:
        self._state |= state
        try:
            if any(map(_is_open, self._state.values())):
                self.workspace.write(IGNORED, "*\n")
                self.workspace.write(STATE, self.redact(json.dumps(self._state)))
            else:
                self.workspace.remove(STATE, IGNORED)
        except RunnerError as error:
            self.annotate("warning", NAME, f"{error.what} If this step is killed, nothing ends its run.")

    def read_state(self, name: str) -> str:
        try:
            state = json_in(self.workspace.read(self.workspace.find(STATE), MOST_STATE))
        except ValueError:
            return ""
        value = state.get(name) if isinstance(state, dict) else None
        return value if isinstance(value, str) else ""

    def add_summary(self, markdown: str) -> None:
        pass


def _is_open(state: str) -> bool:
    """Return whether an entry of the state is not done."""
    entries = json_in(state)
    return isinstance(entries, list) and any(not (isinstance(one, dict) and one.get("is_done")) for one in entries)
