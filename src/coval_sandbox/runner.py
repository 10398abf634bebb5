"""A local runner: the part of GitHub's runner around the step of a container action.

It provides variables and files, and reads the files back by the runner's rules, which are stricter than they look.
Sources: actions/runner `ContainerActionHandler.cs`, `FileCommandManager.cs`, `ActionCommand.cs`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

COMMANDS: Final = frozenset(
    [
        "add-mask",
        "add-matcher",
        "add-path",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "notice",
        "remove-matcher",
        "save-state",
        "set-env",
        "set-output",
        "stop-commands",
        "warning",
    ]
)

STYLES: Final = frozenset(["group", "error", "warning", "notice"])  # commands that the log shows as styled text

PULL_REQUEST: Final[Mapping[str, Any]] = {
    "pull_request": {
        "number": 42,
        "head": {"sha": "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f", "repo": {"full_name": "acme/voice-agent"}},
        "base": {"sha": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "repo": {"full_name": "acme/voice-agent"}},
    }
}


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    data: str


class LocalRunner:
    """The files of a step, in `directory`, and the variables that name them."""

    def __init__(self, directory: Path, event: Mapping[str, Any] = PULL_REQUEST) -> None:
        self._output = directory / "output"
        self._state = directory / "state"
        self._summary = directory / "summary.md"
        self._event = directory / "event.json"
        self.workspace = directory / "workspace"
        self.workspace.mkdir(exist_ok=True)
        for file in (self._output, self._state, self._summary):
            file.write_bytes(b"")
        self._event.write_text(json.dumps(event), encoding="utf-8")

    def environ(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a step in a pull request's workflow. Each input becomes `INPUT_<NAME>`."""
        return {
            "CI": "true",
            "GITHUB_ACTION": "__acme_coval-gate",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "mona",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(self._event),
            "GITHUB_HEAD_REF": "better-greeting",
            "GITHUB_JOB": "evaluate",
            "GITHUB_OUTPUT": str(self._output),
            "GITHUB_REF_NAME": "42/merge",
            "GITHUB_REPOSITORY": "acme/voice-agent",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "1234567890",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": "ffffffffffffffffffffffffffffffffffffffff",
            "GITHUB_STATE": str(self._state),
            "GITHUB_STEP_SUMMARY": str(self._summary),
            "GITHUB_TRIGGERING_ACTOR": "mona",
            "GITHUB_WORKFLOW": "Voice gate",
            "GITHUB_WORKSPACE": str(self.workspace),
            **{f"INPUT_{name.replace(' ', '_').upper()}": value for name, value in inputs.items()},
        }

    @property
    def outputs(self) -> dict[str, str]:
        """Raises ValueError if the runner would fail the step."""
        return read_entries(self._output.read_text(encoding="utf-8"))

    @property
    def state(self) -> dict[str, str]:
        """The saved state, for the post step's `STATE_<name>`. Raises ValueError as `outputs` does."""
        return read_entries(self._state.read_text(encoding="utf-8"))

    @property
    def summary(self) -> str:
        """The step summary, in Markdown."""
        return self._summary.read_text(encoding="utf-8")


def read_entries(text: str) -> dict[str, str]:
    """Read `NAME=value` and `NAME<<DELIMITER` entries. Raises ValueError if the runner rejects the file."""
    entries: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        single, several = line.find("="), line.find("<<")
        if single == -1 and several == -1:
            raise ValueError(f"Invalid format: {line!r}")
        if several == -1 or 0 <= single < several:
            name, _, value = line.partition("=")
        else:
            name, _, delimiter = line.partition("<<")
            value = "\n".join(_until(lines, delimiter))
        if not name:
            raise ValueError(f"Invalid format: {line!r}")
        entries[name] = value
    return entries


def read_command(line: str) -> Command | None:
    """Return the command in a line; None if the runner sees none."""
    trimmed = line.lstrip()
    modern = re.match(r"::([\w-]+)(?: ([^\n]*?))?::(.*)", trimmed, re.DOTALL)
    if modern and modern[1].lower() in COMMANDS:
        return Command(modern[1].lower(), _properties(modern[2] or "", ","), _unescape(modern[3]))
    legacy = re.search(r"##\[([\w-]+)(?: ([^\]]*))?\](.*)", line)
    if legacy and legacy[1].lower() in COMMANDS:
        return Command(legacy[1].lower(), _properties(legacy[2] or "", ";"), _unescape(legacy[3]))
    return None


def read_log(log: str) -> list[Command]:
    """Return the commands in a log. The runner also ends a line at a lone carriage return.

    From `::stop-commands::TOKEN` to the line `::TOKEN::`, it reads no commands.
    """
    return [command for _, command in _read_lines(re.split(r"\r\n|\r|\n", log)) if command]


def shown_lines(output: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield style ("group", "error", "warning", "notice" or "") and text of each line on GitHub's page.

    It shows lines that stop and resume commands, but no other commands. Secrets and these tokens are masked. Source:
    `ActionCommandManager.cs`.
    """
    masked: list[str] = []
    for line, command in _read_lines(output):
        name = command.name if command else ""
        if command and name in {"add-mask", "stop-commands"}:
            masked.append(command.data)
        if name not in STYLES | {"", "stop-commands"}:
            continue
        style, text = (name, command.data) if command and name in STYLES else ("", line)
        for secret in masked:
            text = text.replace(secret, "***")
        first, *others = text.split("\n")
        yield style, first
        yield from (("", other) for other in others)


def _read_lines(lines: Iterable[str]) -> Iterator[tuple[str, Command | None]]:
    stopped = ""
    for line in lines:
        command = None if stopped else read_command(line)
        if stopped and line.strip() == f"::{stopped}::":
            stopped = ""
        elif command and command.name == "stop-commands":
            stopped = command.data
        yield line, command


def _until(lines: Iterator[str], delimiter: str) -> Iterator[str]:
    for line in lines:
        if line == delimiter:
            return
        yield line
    raise ValueError(f"Matching delimiter not found: {delimiter!r}")


def _properties(text: str, separator: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(separator) if "=" in pair)
    return {name.strip(): _unescape(value) for name, _, value in pairs}


def _unescape(text: str) -> str:
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text
