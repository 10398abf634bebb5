"""Detects the host of a step. A terminal or an unknown CI system is a host, too: everything goes to its log."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from coval_gate.ci.github.host import GitHubHost
from coval_gate.ci.host import NO_REPOSITORY, Console, Context, Page
from coval_gate.ci.workspace import Workspace
from coval_gate.config.checks import wanted_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from coval_gate.base.runtime import Runtime
    from coval_gate.ci.host import Host, Level
    from coval_gate.config.inputs import Inputs


class PlainHost(Console):
    """A host without outputs, state, summary or pages. It shows the outputs in the log at the end."""

    workspace = Workspace()
    annotates = False
    room_for_warnings = 0

    def __init__(self, stream: TextIO, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(stream)
        self._environ = environ or {}

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
        pass

    def read_state(self, name: str) -> str:  # noqa: ARG002
        return ""

    def add_summary(self, markdown: str) -> None:
        pass


def detect_host(runtime: Runtime) -> Host:
    """Return GitHub's runner, also on Gitea, Forgejo and act, or else a plain terminal."""
    if runtime.environ.get("GITHUB_ACTIONS") == "true":
        return GitHubHost(runtime.environ, runtime.stdout, runtime.randomness)
    return PlainHost(runtime.stdout, runtime.environ)
