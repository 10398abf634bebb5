"""Compare a metric's values with a value that a user wrote, and say whether the two can ever be equal. Pure.

Some judges write 0 for NO. Then "no value is NO" holds for every run, and a gate on it could never fail. So a value
that cannot occur is distinguished from one that merely did not.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.text import folded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.model.results import Value

UNKNOWN: Final = "unknown"  # the answer of any judge that cannot decide; folded


def comparable(value: float | str) -> float | str:
    """Return a value as a number if it reads as one, otherwise as text, trimmed and with case folded."""
    return _read(value) if isinstance(value, str) else float(value)


def equals(value: Value, wanted: str) -> bool:
    """Return whether a value, or a member of a set, equals `wanted`: as numbers if both are, otherwise as texts."""
    if isinstance(value, frozenset):
        return any(comparable(member) == comparable(wanted) for member in value)
    return comparable(value) == comparable(wanted)


def is_named(wanted: str) -> bool:
    """Return whether a value that a user wrote differs from a missing value: it is neither empty nor UNKNOWN."""
    return comparable(wanted) not in ("", UNKNOWN)


class Kinds(NamedTuple):
    """The kinds of a metric's values. `texts` does not count UNKNOWN, which says nothing about the kind."""

    numbers: bool
    texts: bool
    sets: bool

    @classmethod
    def of(cls, values: Iterable[Value]) -> Kinds:
        """Return the kinds of these values."""
        distinct = set(values)
        read = {value if isinstance(value, frozenset) else comparable(value) for value in distinct} - {UNKNOWN}
        numbers, texts, sets = (any(isinstance(value, kind) for value in read) for kind in (float, str, frozenset))
        return cls(numbers=numbers, texts=texts, sets=sets)

    def impossible(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the `wanted` values if none of them can occur among values of these kinds; empty if one can.

        UNKNOWN can always occur, so it is ignored beside others: count(NO, UNKNOWN) is about NO. An empty text is no
        value, so it never occurs.
        """
        named = tuple(filter(is_named, wanted))
        return () if any(self._allow(comparable(value)) for value in named) else named

    def _allow(self, wanted: float | str) -> bool:
        if isinstance(wanted, float):
            return self.numbers or self.sets
        # A judge that has only answered UNKNOWN so far may still answer YES or NO.
        return self.texts or self.sets or not self.numbers


@lru_cache(maxsize=1024)  # thousands of values are the same few words
def _read(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else folded(text)
