"""GitHub's runner as a host: its log, its commands on standard output, and its files.

Sources: GitHub's "Workflow commands for GitHub Actions"; in actions/runner, `ActionCommand.cs` (parses commands in a
line) and `FileCommandManager.cs` (reads the files).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actions_toolkit.command import Command
from actions_toolkit.file_command import prepare_key_value_message

from coval_gate.ci.console import Console, resembles_command
from coval_gate.ci.github.context import read_context
from coval_gate.ci.host import MOST_WARNINGS
from coval_gate.ci.workspace import Workspace
from coval_gate.errors import RunnerError
from coval_gate.secret import SHORTEST_SECRET
from coval_gate.text import json_in, shortened, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from random import Random
    from typing import TextIO

    from coval_gate.ci.context import Context
    from coval_gate.ci.host import Level, Page
    from coval_gate.config.inputs import Inputs
    from coval_gate.runtime import Runtime

API_URL: Final = "https://api.github.com"
FILES_GUIDE: Final = "https://docs.github.com/actions/reference/workflow-commands-for-github-actions"
SUMMARY_LIMIT: Final = 1024 * 1024  # bytes; the runner drops a larger summary entirely
ANNOTATION_LIMIT: Final = 4000  # characters; the runner truncates at 4,096


class GitHubHost(Console):
    """GitHub's runner: commands on standard output, and the files named in the environment.

    Every text passes through `_clean`, so that no foreign text becomes a command and no secret leaks. Of the toolkit,
    only the pure parts are used, which spell commands and file entries: its writers would use the process's environment
    and standard output.
    """

    annotates = True

    def __init__(self, environ: Mapping[str, str], stream: TextIO, randomness: Random) -> None:
        super().__init__(stream)
        self._environ = environ
        self._randomness = randomness
        self._warnings = 0
        self.workspace = Workspace(environ.get("GITHUB_WORKSPACE", ""))

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on, and have the runner mask it in the job's log."""
        super().mask(secret)
        if len(secret) >= SHORTEST_SECRET:
            self._emit(str(Command("add-mask", {}, secret)))

    def context(self) -> Context:
        return read_context(self._environ, self._event())

    def pages(self, inputs: Inputs, context: Context, runtime: Runtime) -> Sequence[Page]:
        from coval_gate.ci.github.pages import pages_of  # most steps have no pages

        return pages_of(self, self._environ.get("GITHUB_API_URL") or API_URL, inputs, context, runtime)

    @property
    def room_for_warnings(self) -> int:
        """The number of further warnings that the runner will annotate for this step; it silently drops more."""
        return max(0, MOST_WARNINGS - self._warnings)

    def annotate(self, level: Level, title: str, message: str, file: str = "") -> None:
        self._warnings += level == "warning"
        lines = map(visible, self.redact(message).split("\n"))
        text = shortened("\n".join(lines), ANNOTATION_LIMIT)
        place = {"file": self._clean(file), "line": 1} if file else {}
        self._emit(str(Command(level, {"title": self._clean(title), **place}, text)))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold the lines written inside under `title`."""
        self._emit(str(Command("group", {}, self._clean(title))))
        try:
            yield
        finally:
            self._emit(str(Command("endgroup", {}, "")))

    def quote(self, *lines: str) -> None:
        """Write lines that may contain foreign text.

        No line can become a command, because `log` breaks commands. Lines that look like commands are also protected by
        stop-commands. Other lines are not, because the runner shows the two lines that stop and resume commands.
        """
        with self._commands_stopped() if any(map(resembles_command, lines)) else nullcontext():
            for line in self.redact_together(lines) if lines else ():
                self.log(line)

    @contextmanager
    def _commands_stopped(self) -> Iterator[None]:
        """Stop the runner from reading commands inside."""
        token = f"{self._randomness.getrandbits(128):032x}"
        self._emit(str(Command("stop-commands", {}, token)))
        try:
            yield
        finally:
            self._emit(f"::{token}::")

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Write lines that may contain foreign text, folded under `title`."""
        with self.group(title):
            self.quote(*lines)

    def _event(self) -> dict[str, Any]:
        """Return the payload of the event that started the workflow; {} if it cannot be read."""
        path = self._environ.get("GITHUB_EVENT_PATH")
        try:
            payload = json_in(Path(path).read_bytes()) if path else {}
        except (OSError, ValueError):
            return {}
        return payload if isinstance(payload, dict) else {}

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""
        self._append("GITHUB_OUTPUT", self._entries(outputs))

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        if not self._environ.get("GITHUB_OUTPUT"):
            self.fold("Outputs", (f"{name}={value}" for name, value in outputs.items()))

    def read_state(self, name: str) -> str:
        return self._environ.get(f"STATE_{name}", "")

    def save_state(self, state: Mapping[str, str]) -> None:
        """Save values for the action's post step. Raises RunnerError."""
        self._append("GITHUB_STATE", self._entries(state))

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary, up to the runner's limit. Raises RunnerError."""
        encoded = self.redact(markdown).encode("utf-8", "replace")
        self._append("GITHUB_STEP_SUMMARY", encoded[:SUMMARY_LIMIT].decode("utf-8", "ignore"))

    def _entries(self, values: Mapping[str, str]) -> str:
        return "".join(prepare_key_value_message(name, self.redact(value)) + "\n" for name, value in values.items())

    def _append(self, variable: str, text: str) -> None:
        path = self._environ.get(variable)
        if not path:
            return
        try:
            with Path(path).open("ab") as file:
                file.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise RunnerError(
                "Runner file not writable",
                f"The file that {variable} names cannot be written: {error.strerror}.",
                advice="Check the runner's disk. The action's container must run as root, as on GitHub's runner.",
                link=FILES_GUIDE,
            ) from None
