"""Values of metrics as users write them: in quotes if a value would read as several. Pure."""

from __future__ import annotations

import re
from typing import Final

from coval_gate.text import folded, quoted

QUOTED: Final = re.compile(r""""((?:[^"\\]|\\.|"")*+)"|'((?:[^'\\]|\\.|'')*+)'""", re.DOTALL)
ESCAPED, ESCAPE = re.compile(r"""[\\"]"""), r"\\\g<0>"
LISTED: Final = re.compile("[,;|]")  # between values, or in a number such as 1,000


def parse_value(text: str) -> str:
    """Return the value that `text` stands for. Raises ValueError with the end of a sentence."""
    value = text
    if text[:1] in ("'", '"'):
        if not QUOTED.fullmatch(text):
            raise ValueError(f"must end with the quote that it begins with; got {quoted(text)}.")
        value = unquoted(text)
    elif LISTED.search(text):
        raise ValueError(
            f"must be one value, and a number without commas; got {quoted(text)}. A text that contains , ; or | needs "
            "quotes of its own, such as '\"a, b\"'."
        )
    if is_blank(value):
        raise ValueError("must not be blank: an empty value counts as missing.")
    return value


def written_value(value: str) -> str:
    """Return the text that `parse_value` reads as `value`."""
    needs_quotes = LISTED.search(value) or value[:1] in ("'", '"') or value != value.strip()
    return in_quotes(value) if needs_quotes else value


def in_quotes(text: str) -> str:
    """Return a text in quotes, the inverse of `unquoted`."""
    return f'"{ESCAPED.sub(ESCAPE, text)}"'


def unquoted(text: str) -> str:
    """Return a text without its quotes. QUOTED must match it."""
    quote = text[0]
    return re.sub(rf"\\([\\\"'])|{quote}({quote})", lambda escape: escape[1] or escape[2], text[1:-1])


def is_blank(value: str) -> bool:
    """Return whether a value has no visible character; no metric has such a value."""
    return not folded(value)
