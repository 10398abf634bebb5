"""Reads metrics and their outputs from Coval's JSON. Pure.

A target with an unknown operator is reported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import one_line
from coval_gate.coval.model import BINARY_TEXTS, LARGEST, Target, normalize_status
from coval_gate.coval.resources import Kind
from coval_gate.coval.results import read_name, read_value
from coval_gate.coval.shapes import needed_id, object_in, text_in, texts_in, without_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.coval.model import Value

EXPLANATION_LIMIT: Final = 300  # characters
OPERATOR_LIMIT: Final = 80  # characters
BINARY: Final = "_BINARY"  # suffix of the types of metrics whose judge says YES, NO or UNKNOWN
CATEGORICAL: Final = "_CATEGORICAL"
LESS_IS_BETTER: Final = ("_TTFB", "_WER")  # likewise: times to the first byte, word error rates
UNIT_LIMIT: Final = 20  # characters


class MetricDefinition(NamedTuple):
    """`texts`: all that its values can be; empty if unknown. `unit`: of its numbers; empty if Coval shows none.

    `wants_less`: it is one of Coval's own measures of delays or errors, so smaller numbers are better.
    """

    id: str
    name: str = ""
    texts: tuple[str, ...] = ()
    target: Target | None = None
    unit: str = ""
    wants_less: bool = False


class MetricOutput(NamedTuple):
    id: str
    metric_id: str
    status: str
    value: Value | None = None
    explanation: str = ""
    version: str = ""


def read_definition(fields: Mapping[str, Any]) -> MetricDefinition:
    """Let the organization's threshold, if it has an operator, precede the metric's own condition.

    Coval does not document which applies; this is the order in which users can override them. Both accept both names of
    upper bounds and single numbers, `target_float` and `target_float_upper`.
    """
    kind, categories = text_in(fields, "metric_type"), texts_in(fields, "categories")
    threshold = _target(object_in(fields, "organization_threshold"), operator_required=False)
    return MetricDefinition(
        id=needed_id(fields, "id"),
        name=read_name(fields, "metric_name"),
        texts=BINARY_TEXTS if kind.endswith(BINARY) else categories if kind.endswith(CATEGORICAL) else (),
        target=threshold or _target(object_in(fields, "target_condition"), operator_required=True),
        unit=one_line(text_in(fields, "unit"), UNIT_LIMIT),
        wants_less=kind.endswith(LESS_IS_BETTER),
    )


METRIC: Final = Kind("/metrics", "metric", read_definition, (("include_builtin", "true"),))


def read_output(fields: Mapping[str, Any]) -> MetricOutput:
    return MetricOutput(
        id=text_in(fields, "metric_output_id"),
        metric_id=needed_id(fields, "metric_id"),
        status=normalize_status(fields.get("status")),
        value=read_value(fields.get("value")),
        explanation=one_line(without_numbers(text_in(fields, "explanation")), EXPLANATION_LIMIT),
        version=text_in(fields, "metric_version_ulid"),
    )


def newest(outputs: Iterable[MetricOutput]) -> tuple[MetricOutput, ...]:
    """A list may contain superseded outputs; ids sort by time."""
    return tuple({output.metric_id: output for output in sorted(outputs, key=lambda output: output.id)}.values())


def _target(fields: Mapping[str, Any], *, operator_required: bool) -> Target | None:
    """None if it is all null. A null operator unsets an organization's threshold."""
    operator = one_line(text_in(fields, "comparison_operator"), OPERATOR_LIMIT).lower()
    upper, values = _number_in(fields, "target_float_upper"), texts_in(fields, "target_values")
    upper = _number_in(fields, "target_float") if upper is None else upper
    lower = _number_in(fields, "target_float_lower")
    if not operator and not (operator_required and (upper is not None or lower is not None or values)):
        return None
    return Target(operator=operator, upper=upper, lower=lower, values=values)


def _number_in(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name}: not a number")
    return float(value)
