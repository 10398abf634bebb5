"""How a value of a metric compares with one that a user wrote, or with the metric's own target in Coval. Pure.

Some judges write 0 for NO. Then "no value is NO" is true of every run, and a gate on it could never fail. So a value
that cannot occur among the values of a metric does not count as one that did not occur.

A misspelt value never occurs, so a count of it is 0 in every run. Where a metric's definition lists its values, every
other one is impossible. Where it does not, values that are all YES, NO or UNKNOWN make the metric binary. Of any other
metric, a value that no simulation has may be a rare category, unless it is spelt nearly like one that was seen.

Coval reports no verdict on a target, so its rule is applied here. Where its documentation is silent, a value that
cannot be compared never passes:
- A range includes its bounds, so nbt means outside of them; reversed bounds are swapped.
- A set is `in` if any of its members is, and `nin` if none is.
- A text that reads as a number is that number: "0.9" is 0.9. Other texts compare trimmed and ignoring case, and UNKNOWN
  is a text like any other.
- eq and neq with values instead of a number are in and nin.
- A value that the operator cannot compare (a text with gt or neq, a set with nbt) does not meet the target. A number
  meets nin only if all the values are numbers: 0 for NO would pass because it is not NO.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from coval_gate.base.text import exact_text, folded, most_similar, one_line, quoted, within_letters
from coval_gate.coval.model import BINARY_TEXTS, Metric, Target, Value

UNKNOWN_ANSWER: Final = "unknown"  # the answer of any judge that cannot decide; folded
LETTERS: Final = 2  # the most in which a misspelt value differs from the intended one
NEGATIONS: Final = ("un", "in", "im", "il", "ir", "no", "de", "ab", "a")  # prefixes that make a word's opposite
SEPARATORS: Final = re.compile(r"[\W_]+")
NO_DIGITS: Final = re.compile(r"\D+")
SYNONYMS: Final = {  # of the answers of binary judges; folded
    "yes": ("true", "pass", "passed", "y", "ok", "success"),
    "no": ("false", "fail", "failed", "n", "failure"),
}
TEXT_SHOWN: Final = 100  # characters of a text; texts that begin alike count as one
COMPARISONS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "eq": (operator.eq, "exactly {}"),
    "neq": (operator.ne, "not {}"),
    "gt": (operator.gt, "more than {}"),
    "gte": (operator.ge, "at least {}"),
    "lt": (operator.lt, "less than {}"),
    "lte": (operator.le, "at most {}"),
}
RANGES: Final = {"bt": "between {} and {}", "nbt": "less than {} or more than {}"}
MEMBERSHIPS: Final = ("in", "nin")
TARGET_VALUES: Final = 5  # values that a target names
TARGET_VALUE_SHOWN: Final = 60  # characters of one
OPERATOR_SHOWN: Final = 40  # characters of an unknown operator
EITHER: Final[Mapping[str, str]] = {"eq": "in", "neq": "nin"}  # with texts in place of a number


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
    return comparable(wanted) not in ("", UNKNOWN_ANSWER)


def impossible(values: Iterable[Value], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the `wanted` values if none of them can occur among values of such kinds; empty if one can.

    UNKNOWN shows nothing about the kind, and can always occur. An empty text is no value, so it never occurs.
    """
    read = {value if isinstance(value, frozenset) else comparable(value) for value in values} - {UNKNOWN_ANSWER}
    numbers, texts, sets = (any(isinstance(value, kind) for value in read) for kind in (float, str, frozenset))
    # A judge that has only answered UNKNOWN so far may still answer YES or NO.
    number_may, text_may = numbers or sets, texts or sets or not numbers
    named = tuple(filter(is_named, wanted))
    return () if any(number_may if isinstance(comparable(value), float) else text_may for value in named) else named


@lru_cache(maxsize=1024)  # thousands of values are the same few words
def _read(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else folded(text)


BINARY_ANSWERS: Final = frozenset(comparable(binary_text) for binary_text in BINARY_TEXTS)


class Vocabulary(NamedTuple):
    """`seen`: all simulations' texts, in alphabetical order. `allowed`: the possible ones; empty if there are others.

    `contradicted`: a simulation has a value that is not allowed, so the definition does not fit the metric.
    """

    seen: tuple[str, ...]
    allowed: tuple[str, ...]
    contradicted: bool = False

    @classmethod
    def of(cls, metric: Metric) -> "Vocabulary":
        texts = metric.texts
        shown = {comparable(text): one_line(text, TEXT_SHOWN) for text in sorted(texts, reverse=True)}
        seen = {key: shown[key] for key in sorted(key for key in shown if isinstance(key, str))}
        is_binary = bool(seen) and not metric.numbers and {comparable(text) for text in texts} <= BINARY_ANSWERS
        allowed = metric.defined or (BINARY_TEXTS if is_binary else ())
        possible = {UNKNOWN_ANSWER, *map(comparable, allowed)}
        contradicted = bool(allowed) and not possible.issuperset((*seen, *metric.numbers))
        return cls(seen=tuple(seen.values()), allowed=tuple(allowed), contradicted=contradicted)

    def unseen(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Leave out UNKNOWN and numbers, which are always possible. A definition that does not fit allows nothing."""
        return self._without((*self.seen, *(() if self.contradicted else self.allowed)), wanted)

    def impossible(self, wanted: Iterable[str]) -> tuple[str, ...]:
        new = self._without((*self.seen, *self.allowed), wanted)
        return tuple(text for text in new if self.allowed or self.close_to(text))

    def _without(self, possible: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
        taken = {UNKNOWN_ANSWER, *map(comparable, possible)}
        return tuple(text for text in wanted if isinstance(comparable(text), str) and comparable(text) not in taken)

    def meant_by(self, wanted: str) -> str:
        synonym = next((text for text, words in SYNONYMS.items() if comparable(wanted) in words), "")
        alike = next((text for text in self.allowed if synonym and comparable(text) == synonym), "")
        return alike or self.close_to(wanted) or most_similar(wanted, self.allowed or self.seen)

    def close_to(self, wanted: str) -> str:
        return next((text for text in self.seen if _is_misspelling(comparable(wanted), comparable(text))), "")


def _is_misspelling(wanted: float | str, seen: float | str) -> bool:
    """Return whether a text that was never seen looks like a misspelling of one that was, word by word."""
    if not isinstance(wanted, str) or not isinstance(seen, str) or not within_letters(wanted, seen, LETTERS):
        return False
    words = [SEPARATORS.split(wanted), SEPARATORS.split(seen)]
    pairs = list(zip(*words, strict=True)) if len(words[0]) == len(words[1]) else [(wanted, seen)]
    return all(one == other or _is_slip(one, other) for one, other in pairs)


def _is_slip(one: str, other: str) -> bool:
    """Distinguish a slip from another word (NO, OK), number (P1, P2) or the opposite (resolved, unresolved)."""
    shorter, longer = sorted((one, other), key=len)
    opposite = longer.endswith(shorter) and SEPARATORS.sub("", longer.removesuffix(shorter)) in NEGATIONS
    if opposite or NO_DIGITS.sub("", one) != NO_DIGITS.sub("", other):
        return False
    return within_letters(one, other, min(LETTERS, len(shorter) - 1))


def target_problem(target: Target) -> str:
    """Return why nothing can be compared with `target`, as the end of a sentence; empty if it is valid."""
    name = effective_operator(target)
    if not target.operator.strip():
        return "has no operator"
    if name in MEMBERSHIPS:
        has_value = any(value.strip() for value in target.values)
        return "" if has_value else f"has no value for its operator {target.operator}"
    if name not in (*RANGES, *COMPARISONS):
        return f"has the unknown operator {quoted(target.operator, OPERATOR_SHOWN)}"
    numbers = (target.lower, target.upper) if name in RANGES else (target.upper,)
    needed = f"the {'bounds' if name in RANGES else 'number'} that its operator {name} needs"
    if None in numbers:
        return f"lacks {needed}"
    # NaN stands for anything that is not a number.
    is_number = all(math.isfinite(number) for number in numbers if number is not None)
    return "" if is_number else f"has something other than {needed}"


def meets(target: Target, value: Value) -> bool:
    """Return whether `value` meets `target`. Raises ValueError if `target_problem` finds that the target is invalid."""
    return _condition(target)(value)


def effective_operator(target: Target) -> str:
    return EITHER.get(target.operator, target.operator) if target.upper is None and target.values else target.operator


def named_values(target: Target) -> tuple[str, ...]:
    return target.values if effective_operator(target) in MEMBERSHIPS else ()


def closest_bound(target: Target, number: float) -> float | None:
    """Return the bound of a valid target that is closest to `number`; None for values to equal or to avoid."""
    name = effective_operator(target)
    if name in RANGES:
        return min(target_bounds(target), key=lambda bound: abs(number - bound))
    return target.upper if name in COMPARISONS and name != "neq" else None


def target_bounds(target: Target) -> tuple[float, float]:
    low, high = sorted((target.lower or 0.0, target.upper or 0.0))
    return low, high


@lru_cache(maxsize=256)  # thousands of values are checked against one target
def _condition(target: Target) -> Callable[[Value], bool]:
    if trouble := target_problem(target):
        raise ValueError(f"nothing can be compared with this target: it {trouble}")
    name = effective_operator(target)
    if name in MEMBERSHIPS:
        return _membership(target.values, inside=name == "in")
    if name in RANGES:
        low, high = target_bounds(target)
        return _comparison(lambda number: (low <= number <= high) is (name == "bt"))
    bound, compare = target.upper or 0.0, COMPARISONS[name][0]
    return _comparison(lambda number: compare(number, bound))


def _comparison(holds: Callable[[float], bool]) -> Callable[[Value], bool]:
    def met(value: Value) -> bool:
        number = comparable(value) if isinstance(value, str) else value
        return isinstance(number, float) and holds(number)

    return met


def _membership(values: Sequence[str], *, inside: bool) -> Callable[[Value], bool]:
    members = frozenset(comparable(value) for value in values)
    only_numbers = all(isinstance(member, float) for member in members)

    def met(value: Value) -> bool:
        if isinstance(value, frozenset):
            return any(comparable(text) in members for text in value) is inside
        single = comparable(value)
        if inside:
            return single in members
        return single not in members and (only_numbers or not isinstance(single, float))

    return met


def target_text(target: Target) -> str:
    """Return what meets a sound target: "at most 1.5", "one of YES, MAYBE"."""
    name = effective_operator(target)
    if name in MEMBERSHIPS:
        values = list(dict.fromkeys(one_line(value, TARGET_VALUE_SHOWN) for value in target.values))
        named = [quoted(value, TARGET_VALUE_SHOWN) if "," in value or not value else value for value in values]
        if len(named) == 1:
            return named[0] if name == "in" else f"not {named[0]}"
        more = f" and {len(named) - TARGET_VALUES} more" if len(named) > TARGET_VALUES else ""
        return f"{'one' if name == 'in' else 'none'} of {', '.join(named[:TARGET_VALUES])}{more}"
    if name in RANGES:
        return RANGES[name].format(*map(exact_text, target_bounds(target)))
    return COMPARISONS[name][1].format(exact_text(target.upper or 0.0))
