"""Foreign text inside Markdown, as GitHub renders it. Pure."""

from __future__ import annotations

import re
from typing import Final

from coval_gate.text import one_line

# Backslash, code, emphasis, strikethrough, links, table cells, formulas; an underscore inside a word means nothing.
ACTIVE: Final = re.compile(r"[\\`*~\[\]|$]|(?<![^\W_])_|_(?![^\W_])")
HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# GitHub acts on these in the finished text, where neither a backslash nor an entity shows any more: mentions, issue
# numbers, bare addresses, emoji codes. A zero-width space in the middle keeps them text.
LINKED: Final = re.compile(r"[@#]|:(?=//|[a-z0-9_+-]+:)|www(?=\.)|GH-(?=\d)", re.IGNORECASE)
# What comes first on its line may begin a list, or be a rule, the underline of a heading, a table's second row.
BLOCK: Final = re.compile(r"(?:[-+*]|\d+[.)])(?=\s|$)|[-=:\s]+$")
LONGEST_FENCE: Final = 40  # backticks; GitHub's parser looks for no more than 80


def escape(text: object, limit: int = 500) -> str:
    """`text` on one line, shown as it is: no markup, link, mention or HTML comes of it.

    Nothing of it begins a list or a heading either, should it come first on its line.
    """
    plain = LINKED.sub(lambda match: match[0] + "\u200b", one_line(text, limit)).translate(HTML)
    escaped = ACTIVE.sub(lambda match: "\\" + match[0], plain)
    return "\u200b" + escaped if BLOCK.match(escaped) else escaped


def code(text: object, limit: int = 200) -> str:
    """`text` on one line in a code span, or nothing. In a table a pipe would end the cell even there."""
    plain = one_line(text, limit).replace("|", "¦")
    plain = re.sub(rf"`{{{LONGEST_FENCE},}}", lambda run: "'" * len(run[0]), plain)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}" if plain else ""


def link(label: str, url: str) -> str:
    """A link around Markdown that is already safe; the plain label where `url` would break out of it."""
    return f"[{label}]({url})" if re.fullmatch(r"https?://[^\s()<>\[\]\"'`|\\]+", url) else label
