"""How a value of a metric compares with one that a user wrote, and whether the metric can have it at all. Pure.

Some judges write 0 for NO. Then "no value is NO" holds for every run, and a gate on it could never fail. So a value
that cannot occur among the values of a metric is not taken for one that did not occur.

A misspelt value never occurs, so a count of it is 0 in every run. Where a metric's definition lists its values, every
other one is impossible. Where it does not, values that are all YES, NO or UNKNOWN make the metric binary. Of any other
metric, a value that no simulation has may be a rare category, unless it is spelt nearly like one that was seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import folded, most_similar, one_line, within_letters
from coval_gate.coval.model import BINARY_TEXTS, Metric, Value

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


def impossible(values: Iterable[Value], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the `wanted` values if none of them can occur among values of such kinds; empty if one can.

    UNKNOWN says nothing about the kind, and can always occur, so it is ignored beside others. An empty text is no
    value, so it never occurs.
    """
    read = {value if isinstance(value, frozenset) else comparable(value) for value in values} - {UNKNOWN}
    numbers, texts, sets = (any(isinstance(value, kind) for value in read) for kind in (float, str, frozenset))

    def may_occur(value: float | str) -> bool:
        if isinstance(value, float):
            return numbers or sets
        # A judge that has only answered UNKNOWN so far may still answer YES or NO.
        return texts or sets or not numbers

    named = tuple(filter(is_named, wanted))
    return () if any(may_occur(comparable(value)) for value in named) else named


@lru_cache(maxsize=1024)  # thousands of values are the same few words
def _read(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else folded(text)


LETTERS: Final = 2  # the most in which a misspelt value differs from the intended one
NEGATIONS: Final = ("un", "in", "im", "il", "ir", "no", "de", "ab", "a")  # prefixes that make a word's opposite
SEPARATORS: Final = re.compile(r"[\W_]+")
NO_DIGITS: Final = re.compile(r"\D+")
BINARY: Final = frozenset(comparable(binary_text) for binary_text in BINARY_TEXTS)
SYNONYMS: Final = {  # of the answers of binary judges; folded
    "yes": ("true", "pass", "passed", "y", "ok", "success"),
    "no": ("false", "fail", "failed", "n", "failure"),
}
TEXT_SHOWN: Final = 100  # characters of a text; texts that begin alike count as one


class Vocabulary(NamedTuple):
    """`seen`: all simulations' texts, in alphabetical order. `allowed`: the possible ones; empty if there are others.

    `contradicted`: a simulation has a value that is not allowed, so the definition does not fit the metric.
    """

    seen: tuple[str, ...]
    allowed: tuple[str, ...]
    contradicted: bool = False

    @classmethod
    def of(cls, metric: Metric) -> Vocabulary:
        """Return the vocabulary of a metric: by its definition, or else by its values on all simulations."""
        texts = metric.texts
        seen = _shown(texts)
        is_binary = bool(seen) and not metric.numbers and {comparable(text) for text in texts} <= BINARY
        allowed = metric.defined or (BINARY_TEXTS if is_binary else ())
        possible = {UNKNOWN, *map(comparable, allowed)}
        contradicted = bool(allowed) and not possible.issuperset((*seen, *metric.numbers))
        return cls(seen=tuple(seen.values()), allowed=tuple(allowed), contradicted=contradicted)

    def unseen(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Leave out UNKNOWN and numbers, which are always possible. A definition that does not fit allows nothing."""
        return self._without((*self.seen, *(() if self.contradicted else self.allowed)), wanted)

    def impossible(self, wanted: Iterable[str]) -> tuple[str, ...]:
        new = self._without((*self.seen, *self.allowed), wanted)
        return tuple(text for text in new if self.allowed or self.close_to(text))

    def _without(self, possible: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the `wanted` texts that are neither numbers nor among the `possible` ones."""
        taken = {UNKNOWN, *map(comparable, possible)}
        return tuple(text for text in wanted if isinstance(comparable(text), str) and comparable(text) not in taken)

    def meant_by(self, wanted: str) -> str:
        """Return the text that `wanted` probably stands for; empty if none is likely."""
        synonym = next((text for text, words in SYNONYMS.items() if comparable(wanted) in words), "")
        alike = next((text for text in self.allowed if synonym and comparable(text) == synonym), "")
        return alike or self.close_to(wanted) or most_similar(wanted, self.allowed or self.seen)

    def close_to(self, wanted: str) -> str:
        """Return the seen text that `wanted` may misspell; empty if there is none."""
        return next((text for text in self.seen if _is_misspelling(comparable(wanted), comparable(text))), "")


def _shown(texts: Iterable[str]) -> dict[float | str, str]:
    """Return texts as they are shown, by their comparable form, without those that read as numbers."""
    shown = {comparable(text): one_line(text, TEXT_SHOWN) for text in sorted(texts, reverse=True)}
    return {key: shown[key] for key in sorted(key for key in shown if isinstance(key, str))}


def _is_misspelling(wanted: float | str, seen: float | str) -> bool:
    """Return whether a text that was never seen looks like a misspelling of one that was, word by word."""
    if not isinstance(wanted, str) or not isinstance(seen, str) or not within_letters(wanted, seen, LETTERS):
        return False
    words = [SEPARATORS.split(wanted), SEPARATORS.split(seen)]
    pairs = list(zip(*words, strict=True)) if len(words[0]) == len(words[1]) else [(wanted, seen)]
    return all(one == other or _is_slip(one, other) for one, other in pairs)


def _is_slip(one: str, other: str) -> bool:
    """Tell a slip from another word (NO and OK), number (P1 and P2) or the opposite (resolved and unresolved)."""
    shorter, longer = sorted((one, other), key=len)
    opposite = longer.endswith(shorter) and SEPARATORS.sub("", longer.removesuffix(shorter)) in NEGATIONS
    if opposite or NO_DIGITS.sub("", one) != NO_DIGITS.sub("", other):
        return False
    return within_letters(one, other, min(LETTERS, len(shorter) - 1))
