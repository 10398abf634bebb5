"""Each simulation in words: its test case, what it missed, its values with what the judge says, and its last turns."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from coval_gate.base.units import value_text
from coval_gate.report.document.base import AGENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from coval_gate.coval.model import Value

TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?|[^\W\d_]+", re.IGNORECASE)
NUMBER: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)*(?:e[+-]?[0-9]{1,3})?")
GROUPED: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
MUTATION: Final = " (mutation)"  # distinguishes a mutation with the name of the agent itself
SCALES: Final = (1.0, 100.0, 1000.0)  # a share as a percentage, seconds as milliseconds
EXPLANATION_READ: Final = 300  # characters; a longer text says more than a value
FILLERS: Final = frozenset(
    TOKEN.findall(
        "a an and as at be been by call conversation equal equals evaluated final for given got had has have in is it"
        " its measured metric ms of on output percent result returned s score scored second seconds simulation that the"
        " this to unit units value was were with"
    )
)


def variant_key(variant: str) -> str:
    """Return a unique name for a variant, also for the agent itself."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def says_more(text: str, name: str, value: Value | None) -> bool:
    """Return whether an explanation says more than that the metric `name` has this value, in whatever rounding."""
    if len(text) > EXPLANATION_READ or value is None:
        return bool(text)
    words = TOKEN.findall(text.casefold())
    of_value = {*TOKEN.findall(value_text(value).casefold())} if not isinstance(value, float) else set()
    of_name = {*TOKEN.findall(name.casefold())}
    values = [word for word in words if word in of_value or _is_number(word, value)]
    rest = [word for word in words if word not in FILLERS | of_name and word not in values]
    return bool(rest) or bool(text and not values)


def _is_number(word: str, value: Value) -> bool:
    """Return whether a word is the value, rounded or cut off after any of its digits."""
    if not isinstance(value, float) or not NUMBER.fullmatch(word):
        return False
    return any(abs(shown - abs(value) * scale) < step for shown, step in _readings(word) for scale in SCALES)


def _readings(word: str) -> Iterator[tuple[float, float]]:
    """Yield the numbers that a word may stand for, each with the value of its last digit."""
    plain = word.replace(",", "") if GROUPED.fullmatch(word) else word.replace(",", ".")
    digits, _, exponent = plain.partition("e")
    whole, _, decimals = digits.partition(".")
    if "." not in decimals and whole and abs(int(exponent or 0)) < 300:
        yield float(plain), 10.0 ** (int(exponent or 0) - len(decimals))


def case_names(labels: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that names a test case: its label if it has one, with the id if several share the label."""
    shared = {label for label, count in Counter(labels.values()).items() if count > 1}

    def name(case: str) -> str:
        label = labels.get(case, "")
        return f"{label} [{case}]" if label in shared else label or case

    return name
