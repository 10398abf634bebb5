"""Decide whether a value meets a metric's own target in Coval. Pure; total for every valid target.

Coval reports no verdict, so its rule is applied here. Where its documentation is silent, a value that cannot be
compared never passes:
- A range includes its bounds, so nbt means outside of them; reversed bounds are swapped.
- A set is `in` if any of its members is, and `nin` if none is.
- A text that reads as a number is that number: "0.9" is 0.9. Other texts compare trimmed and ignoring case, and UNKNOWN
  is a text like any other.
- eq and neq with values instead of a number are in and nin.
- A value that the operator cannot compare (a text with gt or neq, a set with nbt) does not meet the target. A number
  meets nin only if all the values are numbers: some judges write 0 for NO, and 0 would pass because it is not NO.
- If none of the values of in and nin can occur at all, there is no verdict: see `comparison`.

Numbers compare exactly: they are single values, not sums or shares with rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from coval_gate.base.text import one_line, quoted
from coval_gate.coval.model import Target, Value
from coval_gate.gate.measure import exact_text
from coval_gate.gate.values import comparable

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "eq": lambda number, bound: number == bound,
    "neq": lambda number, bound: number != bound,
    "gt": lambda number, bound: number > bound,
    "gte": lambda number, bound: number >= bound,
    "lt": lambda number, bound: number < bound,
    "lte": lambda number, bound: number <= bound,
}
RANGES: Final = ("bt", "nbt")
MEMBERSHIPS: Final = ("in", "nin")
TARGET_VALUES: Final = 5  # values that a target names
TARGET_VALUE_SHOWN: Final = 60  # characters of one
PHRASES: Final = {
    "eq": "exactly {}",
    "neq": "not {}",
    "gt": "more than {}",
    "gte": "at least {}",
    "lt": "less than {}",
    "lte": "at most {}",
    "bt": "between {} and {}",
    "nbt": "less than {} or more than {}",
}
OPERATOR_SHOWN: Final = 40  # characters of an unknown operator
EITHER: Final[Mapping[str, str]] = {"eq": "in", "neq": "nin"}  # with texts in place of a number


def problem(target: Target) -> str:
    """Return why nothing can be compared with `target`, as the end of a sentence; empty if it is valid."""
    operator = effective_operator(target)
    if not target.operator.strip():
        return "has no operator"
    if operator in MEMBERSHIPS:
        has_value = any(value.strip() for value in target.values)
        return "" if has_value else f"has no value for its operator {target.operator}"
    if operator not in (*RANGES, *COMPARISONS):
        return f"has the unknown operator {quoted(target.operator, OPERATOR_SHOWN)}"
    numbers = (target.lower, target.upper) if operator in RANGES else (target.upper,)
    needed = f"the {'bounds' if operator in RANGES else 'number'} that its operator {operator} needs"
    if None in numbers:
        return f"lacks {needed}"
    # NaN stands for anything that is not a number.
    is_number = all(math.isfinite(number) for number in numbers if number is not None)
    return "" if is_number else f"has something other than {needed}"


def meets(target: Target, value: Value) -> bool:
    """Return whether `value` meets `target`. Raises ValueError if `problem` says that the target is invalid."""
    return _condition(target)(value)


def effective_operator(target: Target) -> str:
    """Return the operator in effect: with texts in place of a number, eq and neq are in and nin."""
    return EITHER.get(target.operator, target.operator) if target.upper is None and target.values else target.operator


def named_values(target: Target) -> tuple[str, ...]:
    """Return the values of a target with in or nin; none for other operators."""
    return target.values if effective_operator(target) in MEMBERSHIPS else ()


def closest_bound(target: Target, number: float) -> float | None:
    """Return the bound of a valid target that is closest to `number`; None for values to equal or to avoid."""
    operator = effective_operator(target)
    if operator in RANGES:
        return min(bounds(target), key=lambda bound: abs(number - bound))
    return target.upper if operator in COMPARISONS and operator != "neq" else None


def bounds(target: Target) -> tuple[float, float]:
    low, high = sorted((target.lower or 0.0, target.upper or 0.0))
    return low, high


@lru_cache(maxsize=256)  # thousands of values are checked against one target
def _condition(target: Target) -> Callable[[Value], bool]:
    if trouble := problem(target):
        raise ValueError(f"nothing can be compared with this target: it {trouble}")
    operator = effective_operator(target)
    if operator in MEMBERSHIPS:
        return _membership(target.values, inside=operator == "in")
    if operator in RANGES:
        low, high = bounds(target)
        return _comparison(lambda number: (low <= number <= high) is (operator == "bt"))
    bound, compare = target.upper or 0.0, COMPARISONS[operator]
    return _comparison(lambda number: compare(number, bound))


def _comparison(holds: Callable[[float], bool]) -> Callable[[Value], bool]:
    def met(value: Value) -> bool:
        number = None if isinstance(value, frozenset) else comparable(value)
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
    operator = effective_operator(target)
    if operator in MEMBERSHIPS:
        values = list(dict.fromkeys(one_line(value, TARGET_VALUE_SHOWN) for value in target.values))
        return _membership_text(operator, values)
    if operator in RANGES:
        return PHRASES[operator].format(*map(exact_text, bounds(target)))
    return PHRASES[operator].format(exact_text(target.upper or 0.0))


def _membership_text(operator: str, values: list[str]) -> str:
    named = [quoted(value, TARGET_VALUE_SHOWN) if "," in value or not value else value for value in values]
    if len(named) == 1:
        return named[0] if operator == "in" else f"not {named[0]}"
    more = f" and {len(named) - TARGET_VALUES} more" if len(named) > TARGET_VALUES else ""
    return f"{'one' if operator == 'in' else 'none'} of {', '.join(named[:TARGET_VALUES])}{more}"
