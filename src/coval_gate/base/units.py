"""Numbers and values with their units: 2.58 s, 45%. The only place that knows how units are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from coval_gate.base.text import folded, number, one_line

VALUE_SHOWN: Final = 40  # characters of a value
UNIT_SHOWN: Final = 20  # characters of a unit
PERCENT: Final = "%"
SHORT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("%", "pct", "percent", "percentage"), PERCENT),
    **dict.fromkeys(("db", "decibel", "decibels"), "dB"),
    **dict.fromkeys(("hz", "hertz"), "Hz"),
}


@lru_cache(maxsize=256)  # thousands of values have few units
def symbol(unit: str) -> str:
    """Return a known unit's usual sign, any other cut; empty for one that would read as a part of a number (1.1 99)."""
    sign = SHORT.get(folded(unit), one_line(unit, UNIT_SHOWN))
    return sign if sign == PERCENT or sign[:1].isalpha() else ""


def drawn_symbol(unit: str) -> str:
    """Return the sign of a known unit; empty for any other, whose text could be read as a part of a drawing."""
    return SHORT.get(folded(unit), "")


def with_unit(number: str, unit: str) -> str:
    sign = symbol(unit)
    return f"{number}{'' if sign == PERCENT else ' '}{sign}" if sign else number


def difference_with_unit(number: str, unit: str) -> str:
    """Return a formatted difference of two numbers; pp, as users write percentage points, for two percentages."""
    return f"{number}pp" if symbol(unit) == PERCENT else with_unit(number, unit)


def named_with_unit(name: str, unit: str) -> str:
    sign = symbol(unit)
    return f"{name} ({sign})" if sign else name


def value_text(value: float | str | Iterable[str], unit: str = "") -> str:
    if isinstance(value, float):
        return with_unit(number(value), unit)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)
