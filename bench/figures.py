"""A measured figure next to its yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A claimed figure, its yardstick, and whether the claim holds."""

    name: str
    value: float
    unit: str
    yardstick_name: str = ""  # such as "fixed 30 s interval"
    yardstick: float | None = None  # in the same unit; None if there is only a bound
    bound: float | None = None  # the largest acceptable value; None for a figure without a claim
    ok: bool = True


def table(figures: Sequence[Figure]) -> str:
    """Return a table of the figures, one per line, with a header."""
    rows = [("figure", "ours", "yardstick", "bound", "ok")]
    for f in figures:
        unit = f" {f.unit}" if f.unit else ""
        yardstick = f.yardstick_name if f.yardstick is None else f"{f.yardstick:.2f}{unit} ({f.yardstick_name})"
        bound = "" if f.bound is None else f"<= {f.bound:.2f}{unit}"
        ok = "NO" if not f.ok else "yes" if bound else ""
        rows.append((f.name, f"{f.value:.2f}{unit}", yardstick, bound, ok))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
