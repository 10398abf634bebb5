"""Markdown as GitHub renders it: foreign text that stays text, and pages that keep to a limit. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice, tee
from typing import Final, NamedTuple

from coval_gate.base.text import one_line, visible
from coval_gate.report.document.base import SentencePart

# Backslash, code, emphasis, strikethrough, links, table cells, formulas; an underscore inside a word means nothing.
ACTIVE: Final = re.compile(r"[\\`*~\[\]|$]|(?<![^\W_])_|_(?![^\W_])")
HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# GitHub acts on these in the rendered text, where backslashes and entities are gone: mentions, issue numbers, bare
# URLs, emoji codes. GitLab does so on !12 (a merge request), &12 (an epic) and %1 (a milestone, also by name), too.
# A zero-width space in the middle keeps them text.
LINKED: Final = re.compile(r"[@#]|:(?=//|[a-z0-9_+-]+:)|www(?=\.)|GH-(?=\d)|[!&](?=\d)|%(?=[\w\"])", re.IGNORECASE)
# At the start of a line, these begin a list, or are a rule, the underline of a heading, or a table's second row.
BLOCK: Final = re.compile(r"(?:[-+*]|\d+[.)])(?=\s|$)|[-=:\s]+$")
MARKS: Final = {"passed": "✅", "failed": "❌", "inconclusive": "❔", "error": "⚠️", "skipped": "⚪"}
LONGEST_FENCE: Final = 40  # backticks; GitHub's parser looks for no more than 80
SHORT_TABLE: Final = 60  # rows


def escape(text: object, limit: int = 500) -> str:
    """Return one line that renders as it is: no markup, link, mention or HTML; no list or heading at its start."""
    escaped = _inline(one_line(text, limit))
    return "\u200b" + escaped if BLOCK.match(escaped) else escaped


def sentence(parts: Iterable[SentencePart]) -> str:
    """Return a sentence of the document, whose texts are on one line, with its marks and links."""
    marked = (
        (part.is_title, link(code(part.text) if part.is_code else _inline(part.text), part.url)) for part in parts
    )
    titles = (
        (is_title, "".join(text for _, text in texts)) for is_title, texts in groupby(marked, lambda mark: mark[0])
    )
    return "".join(f"**{text}**" if is_title else text for is_title, text in titles)


def _inline(text: str) -> str:
    plain = LINKED.sub(lambda match: match[0] + "\u200b", text).translate(HTML)
    return ACTIVE.sub(lambda match: "\\" + match[0], plain)


def code(text: object, limit: int = 200) -> str:
    """Return `text` on one line in a code span; empty without text. A pipe would end a table's cell even there."""
    plain = one_line(text, limit).replace("|", "¦")
    plain = re.sub(rf"`{{{LONGEST_FENCE},}}", lambda run: "'" * len(run[0]), plain)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}" if plain else ""


def fenced(lines: Iterable[str], language: str = "text") -> str:
    """Return a block whose fence no line can close, with unprintable characters as spaces; empty without text."""
    text = "\n".join(map(visible, lines))
    text = re.sub(rf"`{{{LONGEST_FENCE},}}", lambda run: "'" * len(run[0]), text)
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}" if text.strip() else ""


def link(label: str, url: str) -> str:
    """Return a link around a label that is safe Markdown; only the label where `url` would break out of the link."""
    return f"[{label}]({url})" if re.fullmatch(r"https?://[^\s()<>\[\]\"'`|\\]+", url) else label


class Listing(NamedTuple):
    """A list of `total` rows of Markdown between two texts; `rows` is only iterated as far as they fit."""

    rows: Iterable[str]
    total: int
    before: str = ""
    end: str = ""

    def after(self, shown: int) -> str:
        return (f"\nShowing {shown:,} of {self.total:,}.\n" if shown < self.total else "") + self.end


def table(head: tuple[str, ...], rows: Iterable[str], total: int, folded: str = "") -> Listing:
    """Return a table; with `folded`, a click on that text opens it."""
    start = f"{row(*head)}\n|{'---|' * len(head)}\n"
    if not folded:
        return Listing(rows, total, start)
    return Listing(rows, total, f"<details><summary>{escape(folded)}</summary>\n\n{start}", "\n</details>")


def folding(
    head: tuple[str, ...], rows: Iterable[str], total: int, *, most: int, rest: Callable[[int], str]
) -> Iterator[Listing]:
    """Yield a table of the first `most` rows and a folded one of the others; `rest` returns its title."""
    first, others = tee(rows)
    yield table(head=head, rows=islice(first, most), total=min(total, most))
    if total > most:
        others = islice(others, most, None)
        yield table(head=head, rows=others, total=total - most, folded=rest(total - most))


def row(*cells: str) -> str:
    """Return a table's row; the cells must be Markdown that is safe in a table."""
    return f"| {' | '.join(cells)} |"


def page(parts: Sequence[str | Listing], *, limit: int, size: Callable[[str], int] = len) -> str:
    """Return the parts one below the other, without empty ones, in at most `limit` units of `size`.

    Texts and the frames of tables always appear, and must be short. Rows take the remaining room: first those of short
    tables, then all others from the top.
    """
    parts = [part for part in parts if part]
    frames = [part if isinstance(part, str) else part.before + part.after(0) for part in parts]
    room = limit - sum(size(frame) + 2 for frame in frames)
    shown = dict(enumerate(parts))
    tables = [(place, part) for place, part in shown.items() if not isinstance(part, str)]
    for place, part in sorted(tables, key=lambda table: table[1].total > SHORT_TABLE):
        rows: list[str] = []
        for line in part.rows:
            if size(line) + 1 > room:
                break
            room -= size(line) + 1
            rows.append(line)
        shown[place] = part.before + "".join(f"{line}\n" for line in rows) + part.after(len(rows))
    return "\n\n".join(str(text).rstrip("\n") for text in shown.values()) + "\n"


def utf8_size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
