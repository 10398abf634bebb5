"""How a value of a metric compares with a value that a user wrote, and whether the two can be equal at all. Pure.

Some judges write 0 for NO. Then "no value is NO" holds for every run, and a gate on it could never fail. So a value
that cannot occur among the values of a metric is not taken for one that did not occur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from coval_gate.text import folded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.model.results import Value

UNKNOWN: Final = "unknown"  # what a judge of any kind says if it cannot tell; folded


def comparable(value: float | str) -> float | str:
    """Return a value as a number if it reads as one, otherwise as text, trimmed and without regard to case."""
    return _read(value) if isinstance(value, str) else float(value)


def equals(value: Value, wanted: str) -> bool:
    """Return whether a value, or a member of a set, equals `wanted`: as numbers if both are, otherwise as texts."""
    if isinstance(value, frozenset):
        return any(comparable(member) == comparable(wanted) for member in value)
    return comparable(value) == comparable(wanted)


def is_named(wanted: str) -> bool:
    """Return whether a value that a user wrote stands for something that can be told from a missing value."""
    return comparable(wanted) not in ("", UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The kinds of the values of a metric. `texts` are those other than UNKNOWN, which says nothing about the kind."""

    numbers: bool
    texts: bool
    sets: bool

    @classmethod
    def of(cls, values: Iterable[Value]) -> Kinds:
        """Return the kinds of these values."""
        different = set(values)
        single = {comparable(value) for value in different if not isinstance(value, frozenset)}
        return cls(
            numbers=any(isinstance(value_read, float) for value_read in single),
            texts=any(isinstance(value_read, str) and value_read != UNKNOWN for value_read in single),
            sets=any(isinstance(value_as_given, frozenset) for value_as_given in different),
        )

    def impossible(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the `wanted` values if none of them can occur beside values of these kinds; empty if one can.

        UNKNOWN can always occur, so it does not count beside others: count(NO, UNKNOWN) is about NO. An empty text
        never occurs, since it is no value.
        """
        named = tuple(filter(is_named, wanted))
        return () if any(self._allow(comparable(value)) for value in named) else named

    def _allow(self, wanted: float | str) -> bool:
        if isinstance(wanted, float):
            return self.numbers or self.sets
        # Where a judge has only said UNKNOWN so far, it may well say YES or NO.
        return self.texts or self.sets or not self.numbers


@lru_cache(maxsize=1024)  # thousands of values are the same few words
def _read(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else folded(text)
