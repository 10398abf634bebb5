"""The texts that a metric can have as values, and whether a user's text is among them. Pure.

A misspelt value never occurs, so a count of it is 0 in every run. If a metric's definition lists its values, all others
are impossible. Otherwise, a metric whose values are all YES, NO or UNKNOWN is binary. For any other metric, a value
that no simulation has may be a rare category, unless it is spelt nearly like one that was seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.comparison import UNKNOWN, comparable
from coval_gate.model.results import BINARY_TEXTS
from coval_gate.text import one_line, within_letters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.model.results import Metric

LETTERS: Final = 2  # the most in which a misspelt value differs from the intended one
NEGATIONS: Final = ("un", "in", "im", "il", "ir", "no", "de", "ab", "a")  # prefixes that make a word's opposite
SEPARATORS: Final = re.compile(r"[\W_]+")
NO_DIGITS: Final = re.compile(r"\D+")
BINARY: Final = frozenset(comparable(binary_text) for binary_text in BINARY_TEXTS)
TEXT_SHOWN: Final = 100  # characters of a text; texts that begin alike count as one


class Vocabulary(NamedTuple):
    """The texts that a metric has in any simulation (`seen`), and those that it can have (`allowed`).

    `allowed` is empty if others are possible. `seen` is in alphabetical order. `contradicted`: a simulation has a value
    that is not allowed, so the definition does not fit the metric.
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
        """Return the `wanted` texts that no simulation has and `allowed` does not list.

        UNKNOWN is always possible, and so is any number. A definition that does not fit the metric allows nothing.
        """
        return self._without((*self.seen, *(() if self.contradicted else self.allowed)), wanted)

    def impossible(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the `wanted` texts that the metric cannot have."""
        new = self._without((*self.seen, *self.allowed), wanted)
        return tuple(text for text in new if self.allowed or self.close_to(text))

    def _without(self, possible: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the `wanted` texts that are neither numbers nor among the `possible` ones."""
        taken = {UNKNOWN, *map(comparable, possible)}
        return tuple(text for text in wanted if isinstance(comparable(text), str) and comparable(text) not in taken)

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
    """Return whether one word looks like a misspelling of another.

    A word that would have to be rewritten entirely is no misspelling (A and B, NO and OK), nor is another number (P1
    and P2), or the opposite (resolved and unresolved).
    """
    shorter, longer = sorted((one, other), key=len)
    opposite = longer.endswith(shorter) and SEPARATORS.sub("", longer.removesuffix(shorter)) in NEGATIONS
    if opposite or NO_DIGITS.sub("", one) != NO_DIGITS.sub("", other):
        return False
    return within_letters(one, other, min(LETTERS, len(shorter) - 1))
