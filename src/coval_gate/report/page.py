"""A page of Markdown that keeps within a limit: whole rows are left out, never half of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.report.markdown import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SHORT: Final = 60  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of `total` rows, each of which is Markdown that stands by itself; made only as far as they fit."""

    rows: Iterable[str]
    total: int

    @property
    def before(self) -> str:
        """What stands above the rows."""
        return ""

    def after(self, shown: int) -> str:
        """What stands below the rows."""
        return f"\nShowing {shown:,} of {self.total:,}.\n" if shown < self.total else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Listing):
    """A table, whose rows are one line each. With `folded` it is behind that text, to be opened by a click."""

    head: tuple[str, ...]
    folded: str = ""

    @property
    def before(self) -> str:
        bar = "|" + "---|" * len(self.head)
        table = f"{row(*self.head)}\n{bar}\n"
        return f"<details><summary>{escape(self.folded)}</summary>\n\n{table}" if self.folded else table

    def after(self, shown: int) -> str:
        note = Listing.after(self, shown)
        return f"{note}\n</details>" if self.folded else note


def row(*cells: str) -> str:
    """A table's row; cells are Markdown that is safe in one."""
    return f"| {' | '.join(cells)} |"


def page(parts: Sequence[str | Listing], *, limit: int, size: Callable[[str], int] = len) -> str:
    """The parts one below the other, empty ones left out, in at most `limit` of whatever `size` counts.

    Texts and the frames of tables are always there, and must be short. Rows take the room that is left: first those of
    short tables, then all others from above.
    """
    parts = [part for part in parts if part]
    frames = [part if isinstance(part, str) else part.before + part.after(0) for part in parts]
    room = limit - sum(size(frame) + 2 for frame in frames)
    shown = dict(enumerate(parts))
    for place, part in sorted(shown.items(), key=lambda item: not _is_short(item[1])):
        if not isinstance(part, str):
            rows = list(_fitting(part.rows, room, size))
            room -= sum(size(each) + 1 for each in rows)
            shown[place] = part.before + "".join(f"{each}\n" for each in rows) + part.after(len(rows))
    return "\n\n".join(str(each).rstrip("\n") for each in shown.values()) + "\n"


def _is_short(part: str | Listing) -> bool:
    return isinstance(part, str) or part.total <= SHORT


def _fitting(rows: Iterable[str], room: int, size: Callable[[str], int]) -> Iterator[str]:
    for each in rows:
        room -= size(each) + 1
        if room < 0:
            return
        yield each
