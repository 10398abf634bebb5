"""The log of a step, free of secrets and of CI commands in foreign text."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.secret import SHORTEST_SECRET, redactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO


class Console:
    """A log that masks secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._secrets: list[str] = []

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on."""
        if len(secret) >= SHORTEST_SECRET:  # a shorter one is not a valid key, and may be an ordinary word
            self._secrets.append(secret)

    def redact(self, text: str) -> str:
        """Return `text` with every secret masked, including the beginning of a truncated one."""
        return redactor(*self._secrets).redact(text)

    def redact_together(self, lines: Iterable[str]) -> list[str]:
        """Return lines with every secret masked, even across a line break."""
        return self.redact("\n".join(lines)).split("\n")

    def log(self, text: str = "") -> None:
        """Write one line."""
        self._emit(self._clean(text))

    def _clean(self, text: str) -> str:
        return "\n".join(inert(line) for line in self.redact(text).split("\n"))

    def _emit(self, text: str) -> None:
        # The outputs and files must be written even if the log cannot be.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()


def resembles_command(text: str) -> bool:
    """Return whether a text contains a marker of runner commands."""
    return "::" in text or "##" in text


def inert(line: str) -> str:
    """Return `line` in a form that no CI system reads as a command.

    GitHub's runner also ends a line at a lone carriage return. It looks for `::` after leading white space, and for
    the older `##[` anywhere. Other CI systems have commands such as `##vso[`. A zero-width space breaks them all, and
    they stay readable.
    """
    line = "".join(char if char.isprintable() or char == "\t" else " " for char in line)
    if line.lstrip().startswith("::"):
        line = line.replace("::", ":\u200b:", 1)
    return re.sub(r"##(?=[\[a-zA-Z])", "##\u200b", line)
