"""Recognizes what a user meant by an invalid value, if that is certain. Pure.

Each function returns the value that the user meant, or the text unchanged; `about_id` returns a sentence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

QUOTES: Final = "\"'`“”„‘’"
NUMBER: Final = r"\d{1,12}(?:\.\d{1,6})?"
DURATION: Final = re.compile(rf"({NUMBER})\s*([a-zµ]+)\.?", re.IGNORECASE | re.ASCII)
UNITS: Final = {  # in seconds, by singular name
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
    **dict.fromkeys(("ms", "millisecond"), 0.001),
}
GROUPED: Final = re.compile(r"[+-]?[1-9]\d{0,2}(?:[,_' ]\d{3})+(?:\.\d+)?", re.ASCII)  # 1,000 as people write it
DECIMAL_COMMA: Final = re.compile(r"\d+,\d+", re.ASCII)
PERCENT: Final = re.compile(rf"({NUMBER})\s*(?:percent|per cent|pct|pc|%+)\.?", re.IGNORECASE | re.ASCII)
YES: Final = ("yes", "y", "on", "1", "enabled", "always")
NO: Final = ("no", "n", "off", "0", "disabled", "never")
RESOURCE: Final = re.compile(r"(?:https?://[^?#]*/|[a-z-]+/)([\w-]+)/?(?:[?#].*)?", re.ASCII)
SHELL_VARIABLE: Final = re.compile(r"\$\{?\w+\}?", re.ASCII)


def plain(number: float) -> str:
    """Return a number as in a workflow file: "90", "0.5"."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def unquoted(raw: str) -> str:
    """Return `raw` without the quotes around it."""
    is_quoted = len(raw) > 1 and raw[0] in QUOTES and raw[-1] in QUOTES
    return raw[1:-1].strip() if is_quoted else raw


def number_meant(raw: str) -> str:
    """Return a number without quotes and separators, and with a decimal point; any other text unquoted."""
    text = unquoted(raw)
    if GROUPED.fullmatch(text):
        return re.sub(r"[,_' ]", "", text)
    return text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text


def seconds_meant(raw: str) -> str:
    """Return a duration with a unit in seconds; otherwise as `number_meant`."""
    text = number_meant(raw)
    match = DURATION.fullmatch(text)
    unit = match[2].lower() if match else ""
    factor = UNITS.get(unit) or UNITS.get(unit.removesuffix("s"))
    return plain(float(match[1]) * factor) if match and factor else text


def percentage_meant(raw: str) -> str:
    """Return a percentage as "5%", also for "5 percent" and "0.05"."""
    text = number_meant(raw)
    if match := PERCENT.fullmatch(text):
        return f"{match[1]}%"
    is_share = re.fullmatch(r"0?\.\d{1,6}", text, re.ASCII)
    return f"{plain(float(text) * 100)}%" if is_share else text


def flag_meant(raw: str) -> str:
    """Return "true" or "false" for a word such as "yes" or "off"."""
    word = unquoted(raw).lower()
    return {**dict.fromkeys(YES, "true"), **dict.fromkeys(NO, "false")}.get(word, word)


def word_meant(raw: str, words: Sequence[str]) -> str:
    """Return the word that `raw` is a misspelling of; `raw` if it is close to none."""
    from difflib import get_close_matches  # only errors need it; it delays the start

    close = get_close_matches(unquoted(raw).lower().replace("-", "_"), words, n=1)
    return close[0] if close else raw


def id_meant(raw: str) -> str:
    """Return the id from quotes, a resource name (`agents/…`) or the end of a dashboard URL."""
    text = unquoted(raw)
    named = RESOURCE.fullmatch(text)
    return named[1] if named else text


def about_id(raw: str) -> str:
    """Return advice about an invalid id, after a space; "" if the reason is unknown."""
    if raw.startswith("${{"):
        return " GitHub did not evaluate the expression: write it under `with:` of a step."
    if SHELL_VARIABLE.fullmatch(raw):
        name = raw.strip("${}")
        return f" Shell variables are not expanded here: write ${{{{ vars.{name} }}}} or ${{{{ env.{name} }}}}."
    return " Write the id, not the name." if " " in raw else ""
