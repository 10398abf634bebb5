"""Reads a metric's target, and the texts that it can have, from its definition in Coval. Pure and total.

An unreadable target must not count as no target: then every value would pass. It becomes a Target with an unknown
operator, which is reported when it is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from coval_gate.coval.calls import IDENTITY
from coval_gate.model.results import BINARY_TEXTS, Target
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATOR_LIMIT: Final = 80  # characters
TARGETS: Final = ("target_condition", "organization_threshold")
UNREADABLE: Final = Target(operator="a response that is not a metric")
NO_TEXT: Final = "a value that is not a text"
BINARY: Final = "_BINARY"  # the end of the types of metrics whose judge says YES, NO or UNKNOWN
CATEGORICAL: Final = "_CATEGORICAL"


def read_target(definition: Mapping[str, Any]) -> Target | None:
    """Return a metric's target from the `metric` object of `GET /metrics/{id}`; None if it has none.

    The organization's threshold, if it has an operator, takes precedence over the metric's own condition. Coval does
    not document which of them applies; this is the order in which Coval lets users override them. Upper bounds and
    single numbers are `target_float` in one and `target_float_upper` in the other; both names are accepted in both.
    """
    if not any(definition.get(key) for key in (*IDENTITY, *TARGETS)):
        return UNREADABLE
    threshold = _target(definition.get("organization_threshold"), operator_required=False)
    return threshold or _target(definition.get("target_condition"), operator_required=True)


def read_texts(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the only texts that a metric can have as values; none where its definition does not say."""
    kind, categories = definition.get("metric_type"), definition.get("categories")
    if not isinstance(kind, str):
        return ()
    if kind.endswith(BINARY):
        return BINARY_TEXTS
    if not kind.endswith(CATEGORICAL) or not isinstance(categories, list):
        return ()
    # Without a category that is unreadable, a value of the metric would look impossible.
    texts = tuple(each.strip() for each in categories if isinstance(each, str) and each.strip())
    return texts if len(texts) == len(categories) else ()


def _target(raw: Any, *, operator_required: bool) -> Target | None:
    """Read a target; None if `raw` is None or all null. A null operator unsets an organization's threshold."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        # Even if this text is an operator, there is no value to compare with.
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
    """Read a number, also from a text; None if it is missing, NaN if it is not a number."""
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
    """Read the texts to compare with; none if any is unreadable, because nin would let more pass without it."""
    values = [_value(each) for each in raw] if isinstance(raw, list) else []
    return tuple(value for value in values if value is not None) if None not in values else ()


def _value(raw: Any) -> str | None:
    if isinstance(raw, bool):
        return str(raw).lower()  # as in the values of metrics
    if isinstance(raw, int | float):
        number = _number(raw)
        return None if number is None or not math.isfinite(number) else f"{number:.17g}"
    return raw if isinstance(raw, str) else None
