"""An invalid line of thresholds, as messages show it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple
from unicodedata import east_asian_width

from coval_gate.text import visible

WINDOW: Final = 100  # characters of an invalid line that a message shows


class WrongLine(NamedTuple):
    """An invalid line: its number and the column of the error (from 1), its text, and what the grammar expected.

    `advice` replaces `expected` where there is a better explanation. `correction`: the corrected line, if certain.
    """

    line: int
    column: int
    text: str
    expected: str
    advice: str = ""
    correction: str = ""

    @property
    def problem(self) -> str:
        """What is wrong, as the end of a sentence about the line."""
        return self.advice or f"expected {self.expected}"

    @property
    def shown(self) -> str:
        """The line or a window of it, a caret below the error, and the correction: indented, printable lines."""
        shown = [char if char.isprintable() else " " if char.isspace() else "" for char in self.text]
        whole, before = "".join(shown), "".join(shown[: self.column - 1])
        line = whole.strip()
        caret = max(0, min(len(before) - whole.find(line), len(line)))
        start = max(0, min(caret - WINDOW // 2, len(line) - WINDOW))
        end = start + WINDOW
        head, tail = "…" if start else line[:1], "…" if end < len(line) else line[end - 1 :]
        window = head + line[start + 1 : end - 1] + tail
        # East Asian characters are two columns wide.
        indent = 4 + sum(1 + (east_asian_width(char) in "WF") for char in window[: caret - start])
        correction = "".join(f"\n    {visible(splitline)}" for splitline in self.correction.splitlines())
        return f"    {window}\n{' ' * indent}^" + (f"\nWrite instead:{correction}" if correction else "")

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}\n{self.shown}"
