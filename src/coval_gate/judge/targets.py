"""Whether a value meets a metric's own target in Coval. Pure; total for every target that makes sense.

Coval shows no verdict, so its rule is applied here. What its documentation leaves open is settled so that a value that
cannot be compared never passes:
- Bounds of a range belong to it, so nbt means outside of them; reversed bounds are swapped.
- A set is `in` where any of its members is, `nin` where none is.
- A text that reads as a number is that number: "0.9" is 0.9. Other texts compare trimmed and in any capitals, and
  UNKNOWN is a text like any other.
- eq and neq with values instead of a number are in and nin.
- A value that the operator cannot compare (a text with gt or neq, a set with nbt) does not meet the target. Nor does a
  number meet nin unless all the values are numbers: some judges write 0 for NO, and 0 would pass as not being NO.

Numbers compare exactly: values are compared as they are, not as sums or shares that rounding has touched.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from coval_gate.text import folded, one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coval_gate.model.results import Target, Value

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
EITHER: Final[Mapping[str, str]] = {"eq": "in", "neq": "nin"}  # with texts in place of a number
PHRASES: Final[Mapping[str, str]] = {
    "eq": "exactly {}",
    "neq": "not {}",
    "gt": "more than {}",
    "gte": "at least {}",
    "lt": "less than {}",
    "lte": "at most {}",
    "bt": "between {} and {}",
    "nbt": "less than {} or more than {}",
}
MOST_NAMED: Final = 5  # values
LONGEST: Final = 60  # characters of a value


def problem(target: Target) -> str:
    """Why nothing can be compared with `target`, as the end of a sentence without a full stop; empty if it is sound."""
    operator = _operator(target)
    if not target.operator.strip():
        return "has no operator"
    if operator in MEMBERSHIPS:
        return (
            ""
            if any(value.strip() for value in target.values)
            else f"names no value for its operator {target.operator}"
        )
    if operator in RANGES:
        return _no_number(operator, "bounds", target.lower, target.upper)
    if operator in COMPARISONS:
        return _no_number(operator, "number", target.upper)
    return f"has the operator {quoted(target.operator, 40)}, which is not known"


def meets(target: Target, value: Value) -> bool:
    """Whether `value` meets `target`. Raises ValueError where `problem` says that the target makes no sense."""
    return _condition(target)(value)


def describe(target: Target) -> str:
    """What a value must be, for people: "at most 1.5", "one of YES, MAYBE"; of a target without sense, what ails it."""
    if trouble := problem(target):
        return f"a target that {trouble}"
    operator = _operator(target)
    if operator in MEMBERSHIPS:
        return _describe_values(operator, list(dict.fromkeys(one_line(value, LONGEST) for value in target.values)))
    if operator in RANGES:
        return PHRASES[operator].format(*map(_shown, _range(target)))
    return PHRASES[operator].format(_shown(target.upper or 0.0))


@lru_cache(maxsize=256)  # a target is met or missed by thousands of values
def _condition(target: Target) -> Callable[[Value], bool]:
    if trouble := problem(target):
        raise ValueError(f"The target {trouble}.")
    operator = _operator(target)
    if operator in MEMBERSHIPS:
        return _membership(target.values, inside=operator == "in")
    if operator in RANGES:
        low, high = _range(target)
        return _comparison(lambda number: (low <= number <= high) is (operator == "bt"))
    bound, compare = target.upper or 0.0, COMPARISONS[operator]
    return _comparison(lambda number: compare(number, bound))


def _comparison(holds: Callable[[float], bool]) -> Callable[[Value], bool]:
    def met(value: Value) -> bool:
        found = None if isinstance(value, frozenset) else _comparable(value)
        return isinstance(found, float) and holds(found)

    return met


def _membership(values: Sequence[str], *, inside: bool) -> Callable[[Value], bool]:
    wanted = frozenset(_comparable(value) for value in values)
    only_numbers = all(isinstance(each, float) for each in wanted)

    def met(value: Value) -> bool:
        if isinstance(value, frozenset):
            return any(_comparable(member) in wanted for member in value) is inside
        found = _comparable(value)
        if inside:
            return found in wanted
        return found not in wanted and (only_numbers or not isinstance(found, float))

    return met


def _operator(target: Target) -> str:
    """The operator as it works; texts turn eq and neq into in and nin."""
    return EITHER.get(target.operator, target.operator) if target.upper is None and target.values else target.operator


def _range(target: Target) -> tuple[float, float]:
    low, high = sorted((target.lower or 0.0, target.upper or 0.0))
    return low, high


def _no_number(operator: str, what: str, *numbers: float | None) -> str:
    """The problem with the numbers that an operator needs; NaN stands for something that is no number."""
    if any(number is None for number in numbers):
        return f"lacks the {what} that its operator {operator} needs"
    finite = all(number is not None and math.isfinite(number) for number in numbers)
    return "" if finite else f"has something else in place of the {what} that its operator {operator} needs"


def _comparable(value: float | str) -> float | str:
    """The number that a value is or reads as, otherwise its text as it is compared."""
    return _read(value) if isinstance(value, str) else float(value)


@lru_cache(maxsize=1024)  # thousands of values are the same few words
def _read(text: str) -> float | str:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else folded(text)


def _describe_values(operator: str, values: list[str]) -> str:
    named = [quoted(value, LONGEST) if "," in value or not value else value for value in values[:MOST_NAMED]]
    if len(values) == 1:
        return named[0] if operator == "in" else f"not {named[0]}"
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return f"{'one' if operator == 'in' else 'none'} of {', '.join(named)}{more}"


def _shown(number: float) -> str:
    """A bound to its last digit: 1,500 and 0.00015, but 1e+20."""
    whole = number == math.floor(number) and abs(number) < 1e15
    return f"{number + 0.0:,.0f}" if whole else repr(number)
