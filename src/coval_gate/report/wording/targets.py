"""A metric's target in Coval in English: what a value must be, or why the target is unusable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.judge.targets import MEMBERSHIPS, RANGES, bounds, effective_operator
from coval_gate.text import one_line, quoted

if TYPE_CHECKING:
    from coval_gate.judge.targets import TargetProblem
    from coval_gate.model.results import Target

OPERATOR_SHOWN: Final = 40  # characters of an unknown operator
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


def target_text(target: Target) -> str:
    """Return what meets a sound target: "at most 1.5", "one of YES, MAYBE"."""
    operator = effective_operator(target)
    if operator in MEMBERSHIPS:
        values = list(dict.fromkeys(one_line(value, TARGET_VALUE_SHOWN) for value in target.values))
        return _membership_text(operator, values)
    if operator in RANGES:
        return PHRASES[operator].format(*map(exact_text, bounds(target)))
    return PHRASES[operator].format(exact_text(target.upper or 0.0))


def target_problem_text(problem: TargetProblem) -> str:
    """Return why a target is unusable, as the end of a sentence."""
    needed = "bounds" if problem.operator in RANGES else "number"
    match problem.kind:
        case "no_operator":
            return "has no operator"
        case "unknown_operator":
            return f"has the unknown operator {quoted(problem.operator, OPERATOR_SHOWN)}"
        case "no_value":
            return f"has no value for its operator {problem.operator}"
        case "no_number":
            return f"lacks the {needed} that its operator {problem.operator} needs"
        case "not_a_number":
            return f"has something other than the {needed} that its operator {problem.operator} needs"
    assert_never(problem.kind)


def exact_text(bound: float) -> str:
    """Return a bound to its last digit: 1,500 and 0.00015, but 1e+20."""
    return f"{bound + 0.0:,.0f}" if abs(bound) < 1e15 and bound == round(bound) else repr(bound)


def _membership_text(operator: str, values: list[str]) -> str:
    named = [quoted(value, TARGET_VALUE_SHOWN) if "," in value or not value else value for value in values]
    if len(named) == 1:
        return named[0] if operator == "in" else f"not {named[0]}"
    more = f" and {len(named) - TARGET_VALUES} more" if len(named) > TARGET_VALUES else ""
    return f"{'one' if operator == 'in' else 'none'} of {', '.join(named[:TARGET_VALUES])}{more}"
