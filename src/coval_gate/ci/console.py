"""The log of a step: lines that hold no secret, and no command of a CI system but our own."""

from __future__ import annotations

import html
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.secret import SHORTEST_SECRET

if TYPE_CHECKING:
    from typing import TextIO


class Console:
    """Writes to a stream and keeps secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._secrets: list[str] = []

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on."""
        if len(secret) < SHORTEST_SECRET:
            return  # it is refused as a key, and would blot out ordinary words
        # As it is, and as it stands in JSON, HTML and XML.
        forms = (secret, json.dumps(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False))
        self._secrets += dict.fromkeys(forms)

    def redact(self, text: str) -> str:
        """Return `text` without any secret, and without the beginning of one that was cut off."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
            if "…" in text:
                for length in range(len(secret) - 1, SHORTEST_SECRET - 1, -1):
                    text = text.replace(f"{secret[:length]}…", "***…")
        return text

    def log(self, text: str = "") -> None:
        """Write one line."""
        self._emit(self._clean(text))

    def _clean(self, text: str) -> str:
        return "\n".join(inert(line) for line in self.redact(text).split("\n"))

    def _emit(self, text: str) -> None:
        # A log that cannot be written any more must not cost the outputs and files.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()


def inert(line: str) -> str:
    """Return `line` such that no CI system reads a command in it.

    GitHub's runner ends a line at a lone carriage return too, looks for `::` behind leading white space, and for the
    older `##[` anywhere; other CI systems have commands like `##vso[`. A zero-width space in the middle keeps all of
    them readable.
    """
    line = "".join(char if char.isprintable() or char == "\t" else " " for char in line)
    if line.lstrip().startswith("::"):
        line = line.replace("::", ":\u200b:", 1)
    return re.sub(r"##(?=[\[a-zA-Z])", "##\u200b", line)
