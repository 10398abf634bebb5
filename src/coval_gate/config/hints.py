"""Recognizes what a user meant by an invalid value, where that is certain. Pure.

Each function returns a sentence that says what to write, or an empty text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

QUOTES: Final = "\"'`“”„‘’"
NUMBER: Final = r"\d{1,12}(?:\.\d{1,6})?"
DURATION: Final = re.compile(rf"({NUMBER})\s*([a-zµ]+)\.?", re.IGNORECASE | re.ASCII)
UNITS: Final = {  # in seconds, by their names in singular
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
    """Return a number as it is written in a workflow: "90", "0.5"."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def unquoted(given: str) -> str:
    """Return `given` without a pair of quotes around it."""
    is_quoted = len(given) > 1 and given[0] in QUOTES and given[-1] in QUOTES
    return given[1:-1].strip() if is_quoted else given


def number_meant(given: str) -> str:
    """Return the number that is meant by one with quotes, separators or a decimal comma; `given` if there is none."""
    text = unquoted(given)
    if GROUPED.fullmatch(text):
        return re.sub(r"[,_' ]", "", text)
    return text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text


def seconds_meant(given: str) -> str:
    """Return the seconds that are meant by a duration with a unit, as a number; otherwise as `number_meant`."""
    text = number_meant(given)
    found = DURATION.fullmatch(text)
    unit = found[2].lower() if found else ""
    factor = UNITS.get(unit) or UNITS.get(unit.removesuffix("s"))
    return plain(float(found[1]) * factor) if found and factor else text


def percentage_meant(given: str) -> str:
    """Return the percentage or number that is meant: "5 percent" and "0.05" are "5%"."""
    text = number_meant(given)
    if found := PERCENT.fullmatch(text):
        return f"{found[1]}%"
    is_share = re.fullmatch(r"0?\.\d{1,6}", text, re.ASCII)
    return f"{plain(float(text) * 100)}%" if is_share else text


def flag_meant(given: str) -> str:
    """Return true or false for another word that says so."""
    word = unquoted(given).lower()
    return {**dict.fromkeys(YES, "true"), **dict.fromkeys(NO, "false")}.get(word, word)


def word_meant(given: str, words: Sequence[str]) -> str:
    """Return the one of `words` that is close to `given`; otherwise `given`."""
    from difflib import get_close_matches  # only for errors, and the start is measured

    close = get_close_matches(unquoted(given).lower().replace("-", "_"), words, n=1)
    return close[0] if close else given


def id_meant(given: str) -> str:
    """Return the id in quotes, in a resource's name (`agents/…`) or at the end of a dashboard's address."""
    text = unquoted(given)
    named = RESOURCE.fullmatch(text)
    return named[1] if named else text


def about_id(given: str) -> str:
    """Return what to do about a text that is no id for a known reason."""
    if given.startswith("${{"):
        return " GitHub did not evaluate the expression: write it under `with:` of a step."
    if SHELL_VARIABLE.fullmatch(given):
        name = given.strip("${}")
        return f" Shell variables are not expanded here: write ${{{{ vars.{name} }}}} or ${{{{ env.{name} }}}}."
    return " Write the id, not the name." if " " in given else ""
