"""Splits a list that the user wrote. Pure. Raises ValueError with the end of a sentence."""

from __future__ import annotations

import re
from typing import Final

from coval_gate.config.json_text import read_json
from coval_gate.text import one_line, quoted

EXAMPLE: Final = '["first", "second"]'
MARKER: Final = re.compile(r"[-*•]\s+(?=\S)")  # of a list in YAML or Markdown


def entries(raw: str) -> list[str]:
    """Split a list written as JSON, comma-separated or one entry per line; drop blank entries."""
    if raw.startswith(("[", "{")):
        value = read_json(raw, f"{EXAMPLE}, or without brackets: first, second")
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ValueError(f"must be a JSON list of strings, such as {EXAMPLE}.")
    else:
        value = raw.splitlines() if "\n" in raw else raw.split(",")
        value = [entry.strip().rstrip(",") for entry in value]
        if marked := next((entry for entry in value if MARKER.match(entry)), ""):
            plain = MARKER.sub("", marked)
            raise ValueError(f"must be a list without markers; got {quoted(marked)}. Write {one_line(plain, 80)}.")
    return [entry.strip() for entry in value if entry.strip()]
