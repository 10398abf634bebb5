"""Foreign text inside Markdown, as GitHub renders it. Pure."""

from __future__ import annotations

import re
from typing import Final

from coval_gate.text import one_line

# Backslash, code, emphasis, strikethrough, links, table cells, formulas; an underscore inside a word means nothing.
ACTIVE: Final = re.compile(r"[\\`*~\[\]|$]|(?<![^\W_])_|_(?![^\W_])")
HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# GitHub makes links of these in the finished text, where neither a backslash nor an entity shows any more: mentions,
# issue numbers, bare addresses. A zero-width space in the middle keeps them text.
LINKED: Final = re.compile(r"[@#]|:(?=//)|www(?=\.)", re.IGNORECASE)


def escape(text: object, limit: int = 500) -> str:
    """`text` on one line, shown as it is: no markup, link, mention or HTML comes of it.

    It stands behind other text or is a whole sentence: what is special only at the start of a line (a list, a
    heading) is not escaped, but for `#` and `>`.
    """
    plain = LINKED.sub(lambda match: match[0] + "\u200b", one_line(text, limit)).translate(HTML)
    return ACTIVE.sub(lambda match: "\\" + match[0], plain)


def code(text: object, limit: int = 200) -> str:
    """`text` on one line in a code span, or nothing. In a table a pipe would end the cell even there."""
    plain = one_line(text, limit).replace("|", "¦")
    fence = "`" * (max((len(run) for run in re.findall(r"`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}" if plain else ""


def link(label: str, url: str) -> str:
    """A link around Markdown that is already safe; the plain label where `url` would break out of it."""
    return f"[{label}]({url})" if re.fullmatch(r"https?://[^\s()<>\[\]\"'`|\\]+", url) else label
