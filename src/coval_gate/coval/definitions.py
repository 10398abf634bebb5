"""A metric's target, from its definition as Coval has it. Pure and total.

A target that is there but cannot be read is never taken for none, which would let everything pass: it becomes a Target
that makes no sense, and says so when it is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from coval_gate.model.results import Target
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATOR_LIMIT: Final = 80  # characters
IDENTITY: Final = ("id", "name", "metric_name")  # every definition has them
TARGETS: Final = ("target_condition", "organization_threshold")
UNREADABLE: Final = Target(operator="an answer that is no metric")
NO_TEXT: Final = "something that is no text"


def read_target(definition: Mapping[str, Any]) -> Target | None:
    """The target of a metric, from the `metric` object of `GET /metrics/{id}`; None where it has none.

    The organization's threshold, once it has an operator, stands before the metric's own condition. Which of the two
    rules is not documented; that is the order in which they can be overridden. Upper bounds and single numbers are
    `target_float` in the one and `target_float_upper` in the other; either is understood in both.
    """
    if not any(definition.get(key) for key in (*IDENTITY, *TARGETS)):
        return UNREADABLE
    threshold = _target(definition.get("organization_threshold"), operator_required=False)
    return threshold or _target(definition.get("target_condition"), operator_required=True)


def _target(raw: Any, *, operator_required: bool) -> Target | None:
    """`raw` is None or all null where nobody set a target; an organization's threshold is unset by a null operator."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        # Even where this text is an operator, there is nothing to compare with.
        return Target(operator=_operator(raw))
    operator = raw.get("comparison_operator")
    upper = raw.get("target_float_upper")
    upper = raw.get("target_float") if upper is None else upper
    operands = (upper, raw.get("target_float_lower"), raw.get("target_values"))
    if operator is None and not (operator_required and any(each is not None for each in operands)):
        return None
    return Target(
        operator=_operator(operator),
        upper=_number(upper),
        lower=_number(operands[1]),
        values=_values(operands[2]),
    )


def _operator(raw: Any) -> str:
    if raw is None:
        return ""
    return one_line(raw, OPERATOR_LIMIT).lower() if isinstance(raw, str) else NO_TEXT


def _number(raw: Any) -> float | None:
    """A number, also one that is written as a text; None where there is none, NaN for what is none."""
    text = raw.strip() if isinstance(raw, str) else raw
    if text is None or text == "":
        return None
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        return math.nan
    if isinstance(text, str) and ("_" in text or not text.isascii()):
        return math.nan
    try:
        return float(text)
    except (ValueError, OverflowError):
        return math.nan


def _values(raw: Any) -> tuple[str, ...]:
    """The texts to compare with. None of them where only one cannot be read: without it, nin would let more pass."""
    values = [_value(each) for each in raw] if isinstance(raw, list) else []
    return tuple(value for value in values if value is not None) if None not in values else ()


def _value(raw: Any) -> str | None:
    if isinstance(raw, bool):
        return str(raw).lower()  # as the values of metrics read
    if isinstance(raw, int | float):
        number = _number(raw)
        return None if number is None or not math.isfinite(number) else f"{number:.17g}"
    return raw if isinstance(raw, str) else None
