"""The runner's side of a step: its log and commands on standard output, its files.

Sources: GitHub's "Workflow commands for GitHub Actions"; actions/runner `ActionCommand.cs` (how a line becomes a
command) and `FileCommandManager.cs` (how the files are read).
"""

from __future__ import annotations

import html
import json
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from actions_toolkit.command import Command
from actions_toolkit.file_command import prepare_key_value_message

from coval_gate.errors import RunnerError
from coval_gate.secret import SHORTEST_SECRET
from coval_gate.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

FILES_GUIDE: Final = "https://docs.github.com/actions/reference/workflow-commands-for-github-actions"
SUMMARY_LIMIT: Final = 1024 * 1024  # bytes; the runner drops a larger summary whole
MOST_WARNINGS: Final = 9  # of the runner's ten; one is left for what may yet go wrong
ANNOTATION_LIMIT: Final = 4000  # characters; the runner cuts at 4,096


class Runner:
    """Writes to the log and to the files that the runner named in the environment.

    Every text passes through `_clean`: no foreign text can become a command, and no secret gets out. The toolkit's
    own writers would take both the environment and standard output from the process, so only its pure parts serve
    here: how a command and a file entry are spelled.
    """

    def __init__(self, environ: Mapping[str, str], stream: TextIO) -> None:
        self._environ = environ
        self._stream = stream
        self._secrets: list[str] = []
        self._warnings = 0
        self.on_github = environ.get("GITHUB_ACTIONS") == "true"

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on, and have the runner keep it out of the job's log."""
        if len(secret) < SHORTEST_SECRET:
            return  # it is refused as a key, and would blot out ordinary words
        # As it is, and as it stands in JSON, HTML and XML.
        forms = (secret, json.dumps(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False))
        self._secrets += dict.fromkeys(forms)
        # Elsewhere the command would be no command, but the secret in plain sight.
        if self.on_github:
            self._emit(str(Command("add-mask", {}, secret)))

    def line(self, text: str = "") -> None:
        """One line of plain log."""
        self._emit(self._clean(text))

    @property
    def room_for_warnings(self) -> int:
        """How many more warnings the runner shows as annotations of this step; it drops the rest without a word."""
        return max(0, MOST_WARNINGS - self._warnings)

    def warning(self, title: str, message: str) -> None:
        self._warnings += 1
        self._annotate("warning", title, message)

    def notice(self, title: str, message: str) -> None:
        self._annotate("notice", title, message)

    def error(self, title: str, message: str) -> None:
        self._annotate("error", title, message)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold the lines written inside under `title`."""
        if not self.on_github:
            self.line(title)
            yield
            return
        self._emit(str(Command("group", {}, self._clean(title))))
        try:
            yield
        finally:
            self._emit(str(Command("endgroup", {}, "")))

    @contextmanager
    def quotation(self) -> Iterator[None]:
        """The lines written inside are foreign: the runner reads no command in them, whatever they hold."""
        if not self.on_github:
            yield
            return
        token = uuid4().hex
        self._emit(str(Command("stop-commands", {}, token)))
        try:
            yield
        finally:
            self._emit(f"::{token}::")

    def quote(self, text: str) -> None:
        """One line that may hold foreign text."""
        with self.quotation():
            self.line(text)

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Several lines that may be foreign, folded away under `title`."""
        with self.group(title), self.quotation():
            for line in lines:
                self.line(line)

    def event(self) -> dict[str, Any]:
        """The payload of the event that started the workflow; {} where there is none to read."""
        path = self._environ.get("GITHUB_EVENT_PATH")
        try:
            payload = json.loads(Path(path).read_bytes()) if path else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return payload if isinstance(payload, dict) else {}

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""
        self._append("GITHUB_OUTPUT", self._entries(outputs))

    def save_state(self, state: Mapping[str, str]) -> None:
        """Hand values to the action's post step. Raises RunnerError."""
        self._append("GITHUB_STATE", self._entries(state))

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary, within the runner's limit. Raises RunnerError."""
        encoded = self.redact(markdown).encode("utf-8", "replace")
        self._append("GITHUB_STEP_SUMMARY", encoded[:SUMMARY_LIMIT].decode("utf-8", "ignore"))

    @property
    def has_output_file(self) -> bool:
        """Whether step outputs have somewhere to go; on other CI systems they have not."""
        return bool(self._environ.get("GITHUB_OUTPUT"))

    def _annotate(self, level: str, title: str, message: str) -> None:
        lines = map(visible, self.redact(message).split("\n"))
        title, message = self._clean(title), "\n".join(lines)[:ANNOTATION_LIMIT]
        if self.on_github:
            self._emit(str(Command(level, {"title": title}, message)))
        else:
            self._emit(self._clean(f"{level.capitalize()}: {title}\n{message}"))

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
                advice="Check the runner's disk; the action's container must run as root, as GitHub's runner has it.",
                link=FILES_GUIDE,
            ) from None

    def _emit(self, text: str) -> None:
        # Nobody may read the log any more; outputs and files matter all the same.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    def _clean(self, text: str) -> str:
        return "\n".join(inert(line) for line in self.redact(text).split("\n"))

    def redact(self, text: str) -> str:
        """`text` without any secret, and without the beginning of one that was cut off."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
            if "…" in text:
                for length in range(len(secret) - 1, SHORTEST_SECRET - 1, -1):
                    text = text.replace(f"{secret[:length]}…", "***…")
        return text


def inert(line: str) -> str:
    """`line` such that the runner cannot read a command in it.

    The runner ends a line at a lone carriage return too, looks for `::` behind leading white space, and for the
    older `##[` anywhere; other CI systems have commands like `##vso[`. A zero-width space in the middle keeps all
    of them readable.
    """
    line = "".join(char if char.isprintable() or char == "\t" else " " for char in line)
    if line.lstrip().startswith("::"):
        line = line.replace("::", ":\u200b:", 1)
    return re.sub(r"##(?=[\[a-zA-Z])", "##\u200b", line)
