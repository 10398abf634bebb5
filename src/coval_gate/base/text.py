"""Formats text, numbers and their units for people, and parses text from programs. Pure."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final

# What a terminal reads as a command, such as a colour: a CSI sequence, which the end of a cut text may cut, or an OSC
# sequence. Source: ECMA-48, sections 5.4 and 5.6.
ESCAPE_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+(?:[@-~]|\Z)|\][^\x07\x1b\n]*+(?:\x07|\x1b\\))")
DIGITS: Final = 3  # of a number that people read
LEAST_SHARE: Final = 0.001  # one decimal of a percentage would round a smaller one to nothing
WHOLE_NUMBER: Final = re.compile("[0-9]{1,18}")  # Python refuses to read thousands of digits
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
Day = date  # in UTC
VALUE_SHOWN: Final = 40  # characters of a value
UNIT_SHOWN: Final = 20  # characters of a unit
DEEP: Final = 20  # levels of JSON
NO_BRACKETS: Final = bytes({*range(256)} - {*b"[]{}"})
PERCENT: Final = "%"
SHORT_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("%", "pct", "percent", "percentage"), PERCENT),
    **dict.fromkeys(("db", "decibel", "decibels"), "dB"),
    **dict.fromkeys(("hz", "hertz"), "Hz"),
}


def whole_number(text: str) -> int | None:
    """None if the text is anything else, or the number absurdly long."""
    return int(text) if WHOLE_NUMBER.fullmatch(text) else None


def json_in(text: str | bytes) -> Any:
    """None if it is invalid, or nested too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_shallow(json: bytes) -> bool:
    """Return whether all brackets are pairs, at most DEEP of them nested; those in texts count, too."""
    brackets = json.translate(None, NO_BRACKETS)
    for _ in range(DEEP):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def value_at(content: object, *keys: str) -> Any:
    """Return the value at a path of keys; None if there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def printable(text: str) -> str:
    """Remove terminal escapes, text-direction overrides and all else that is unprintable, but for line breaks."""
    if text.isprintable() or text.replace("\n", "").isprintable():
        return text
    text = ESCAPE_SEQUENCE.sub("", text)  # a rest would split a word
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def _shown(char: str) -> str:
    return char if char.isprintable() else " " if char.isspace() else ""


def one_line(text: object, limit: int = 500) -> str:
    """Remove all but printable characters, and line breaks, too."""
    whole = str(text).strip()
    words = " ".join(printable(whole[: 10 * limit]).split())  # a response may contain megabytes of text
    # The redactor masks a cut secret before an ellipsis.
    is_whole = len(whole) <= 10 * limit and len(words) <= limit
    return words if is_whole else words[: limit - 1] + "…"


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shortened_at_word(text: str, limit: int) -> str:
    """Cut at the end of a word if one is near."""
    if len(text) <= limit:
        return text
    words, _, _ = text[:limit].rpartition(" ")
    return (words.rstrip(",;:–( ") if len(words) > limit // 2 else text[: limit - 1]) + "…"


def visible(line: str) -> str:
    """Replace each unprintable character of a foreign line by a space, so that columns stay aligned."""
    return "".join(char if char.isprintable() else " " for char in line)


@lru_cache(maxsize=4096)  # thousands of values repeat a few texts
def folded(text: str) -> str:
    """Return `text` for comparison: Unicode-normalized, case-folded, and without invisible characters."""
    return one_line(unicodedata.normalize("NFKC", text)).casefold()


def quoted(text: object, limit: int = 80) -> str:
    """Return `text` on one line in quotation marks, for messages that show a value."""
    return f'"{one_line(text, limit)}"'


def most_similar(text: str, names: Iterable[str]) -> str:
    """Empty if none is similar enough."""
    by_folded = {folded(name): name for name in names}
    return next((by_folded[match] for match in get_close_matches(folded(text), by_folded, n=1)), "")


def within_letters(one: str, other: str, most: int) -> bool:
    """The distance counts insertions, removals and replacements."""
    if abs(len(one) - len(other)) > most:
        return False
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    one, other = one[same:], other[same:]
    if not one or not other:
        return True
    changed = ((one[1:], other), (one, other[1:]), (one[1:], other[1:]))
    return most > 0 and any(within_letters(*pair, most - 1) for pair in changed)


def in_words(names: Sequence[str], word: str = "and", most: int | None = None) -> str:
    """Return "a", "a and b", "a, b and c"; with more than `most` names, "a, b and 3 more"."""
    if most is not None and len(names) > most:
        return f"{', '.join(names[:most])} {word} {len(names) - most:,} more"
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return "1 simulation", "2 simulations". `nouns`: an irregular plural."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def number(value: float, digits: int = DIGITS) -> str:
    """Format with this many digits, and the whole part in full: "1.82", "1,235", "0.0012"; others with an exponent."""
    decimals = decimals_of(value, digits)
    return _plain(value, decimals) if is_plain(value) else f"{value:.{max(4, digits)}g}"


def is_plain(value: float) -> bool:
    return not value or 1e-4 <= abs(value) < 1e9


def decimals_of(value: float, digits: int = DIGITS) -> int:
    """Return to how many decimals `number` rounds; below 0 where the last digits of the whole part are zeros."""
    whole = math.floor(math.log10(abs(value))) if value else digits
    return max(0, digits - 1 - whole) if is_plain(value) else max(4, digits) - 1 - whole


def exact_text(bound: float) -> str:
    """Return a bound to its last digit: 1,500 and 0.00015, but 1e+20."""
    return f"{bound + 0.0:,.0f}" if abs(bound) < 1e15 and bound == round(bound) else repr(bound)


def percent(share: float, decimals: int = 1) -> str:
    """Format a share from 0 to 1: "80%", "66.7%"; with more decimals if it would read like nothing or all of it."""
    return _plain(share * 100, decimals_of_percent(share, decimals)) + "%"


def decimals_of_percent(share: float, decimals: int = 1) -> int:
    is_near_end = 0.0 < share < LEAST_SHARE or 1.0 - LEAST_SHARE < share < 1.0
    return max(4, decimals) if is_near_end else decimals


def points(share: float) -> str:
    """Format the size of a difference of shares in percentage points: "46.7pp"."""
    return f"{percent(abs(share)).removesuffix(PERCENT)}pp"


def amount(value: float, unit: str, digits: int = DIGITS) -> str:
    """Format a value with its unit: "2.59 s", and percentages as `percent` does."""
    if symbol(unit) == PERCENT:
        return percent(value / 100, digits - DIGITS + 1)
    return with_unit(number(value, digits), unit)


def _plain(value: float, decimals: int) -> str:
    text = f"{value + 0.0:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def age(seconds: float) -> str:
    """Return "2 days", "5 hours"."""
    days = seconds / 86_400
    return plural(round(days), "day") if days >= 2 else plural(max(1, round(seconds / 3600)), "hour")


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: "45 s", "12 min 05 s", "1 h 02 min"."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    return f"{rest} s"


def stopwatch(seconds: float) -> str:
    """Return "0:05", "12:34", "1:02:03"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def day_text(time: str) -> str:
    day = DATE.match(time)
    return day[0] if day else ""


@lru_cache(maxsize=256)  # thousands of values have few units
def symbol(unit: str) -> str:
    """Return a known unit's usual sign, any other cut; empty for one that would read as a part of a number (1.1 99)."""
    sign = SHORT_UNITS.get(folded(unit), one_line(unit, UNIT_SHOWN))
    return sign if sign == PERCENT or sign[:1].isalpha() else ""


def drawn_symbol(unit: str) -> str:
    """Return the sign of a known unit; empty for any other, whose text could be read as a part of a drawing."""
    return SHORT_UNITS.get(folded(unit), "")


def with_unit(amount: str, unit: str) -> str:
    sign = symbol(unit)
    return f"{amount}{'' if sign == PERCENT else ' '}{sign}" if sign else amount


def difference(value: float, unit: str) -> str:
    """Return the size of a difference of two numbers; pp, as users write percentage points, for two percentages."""
    return points(value / 100) if symbol(unit) == PERCENT else amount(abs(value), unit)


def named_with_unit(name: str, unit: str) -> str:
    sign = symbol(unit)
    return f"{name} ({sign})" if sign else name


def value_text(value: float | str | Iterable[str], unit: str = "") -> str:
    if isinstance(value, float):
        return amount(value, unit)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def day_at(seconds: float) -> Day:
    """`seconds`: since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date()


def day_in(text: str) -> Day:
    """Raises ValueError if the text is anything but a day."""
    return date.fromisoformat(text if DATE.fullmatch(text) else "")
