"""Numbers with the unit of their metric: "2.58 s", "45%". The only place that knows how units are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import folded, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 20  # characters of a unit
PERCENT: Final = "%"
POINTS: Final = "percentage points"
SHORT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("%", "pct", "percent", "percentage"), PERCENT),
    **dict.fromkeys(("db", "decibel", "decibels"), "dB"),
    **dict.fromkeys(("hz", "hertz"), "Hz"),
}


def symbol(unit: str) -> str:
    """Return a unit as people write it: the usual sign of a known one, any other as Coval has it, cut.

    Empty for one that would read as a part of the number: "1.1 99".
    """
    sign = SHORT.get(folded(unit), one_line(unit, LONGEST))
    return sign if sign == PERCENT or sign[:1].isalpha() else ""


def drawn_symbol(unit: str) -> str:
    """Return the sign of a known unit; empty for any other, whose text could be read as a part of a drawing."""
    return SHORT.get(folded(unit), "")


def with_unit(number: str, unit: str) -> str:
    """Return a formatted number with its metric's unit, if it has one."""
    sign = symbol(unit)
    return f"{number}{'' if sign == PERCENT else ' '}{sign}" if sign else number


def difference_with_unit(number: str, unit: str, *, short: bool = False) -> str:
    """Return a formatted difference of two numbers, in percentage points for two percentages."""
    if symbol(unit) != PERCENT:
        return with_unit(number, unit)
    return f"{number}pp" if short else f"{number} {POINTS.removesuffix('s') if number == '1' else POINTS}"


def named_with_unit(name: str, unit: str) -> str:
    """Return the name of a row or a column of numbers, with their unit in brackets."""
    sign = symbol(unit)
    return f"{name} ({sign})" if sign else name
