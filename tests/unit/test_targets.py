"""Targets of metrics: how Coval shows them, what meets them, and what they read like."""

import math
from typing import Any

import pytest

from coval_gate.coval.model import Target, Value
from coval_gate.coval.resources import MetricDefinition
from coval_gate.gate.values import meets, target_problem, target_text


def target(operator: str, upper: float | None = None, *values: str, lower: float | None = None) -> Target:
    return Target(operator=operator, upper=upper, lower=lower, values=values)


def one_of(*values: str) -> Target:
    return target("in", None, *values)


def none_of(*values: str) -> Target:
    return target("nin", None, *values)


def value_set(*members: str) -> frozenset[str]:
    return frozenset(members)


def condition(operator: Any, **fields: Any) -> dict[str, Any]:
    return {"comparison_operator": operator, **fields}


def shown(own: Any = None, organization: Any = None) -> Target | None:
    """Return the target of a metric with this condition, and this threshold of its organization."""
    return MetricDefinition.read({"id": "m1", "target_condition": own, "organization_threshold": organization}).target


UNSET = dict.fromkeys(["id", "comparison_operator", "target_float_upper", "target_float_lower", "target_values"])
FOUR, YES = condition("gte", target_float=4), condition("in", target_values=["YES"])


SHOWN: list[tuple[Any, Any, Target | None]] = [
    (FOUR, None, target("gte", 4.0)),
    (condition("gte", target_float=0), None, target("gte", 0.0)),
    (condition(" LTE ", target_float=1.5), {}, target("lte", 1.5)),
    (YES | {"target_float": None}, None, one_of("YES")),
    (condition("bt", target_float_upper=3, target_float_lower=1), None, target("bt", 3.0, lower=1.0)),
    (condition("in", target_values=["NO"]), UNSET | YES, one_of("YES")),
    (YES, condition("bt", target_float_upper=0.9, target_float_lower=0.5), target("bt", 0.9, lower=0.5)),
    (FOUR, {"comparison_operator": None, "target_float_upper": 3}, target("gte", 4.0)),
    (None, {"comparison_operator": None, "target_float_upper": 3}, None),
    (condition(None, target_float=None, target_values=None), UNSET, None),
    (condition(None, target_float=4), None, target("", 4.0)),
    ({"target_values": ["YES"]}, None, target("", None, "YES")),
    (None, condition("At least", target_float=4), target("at least", 4.0)),
]


def test_target_is_the_threshold_of_the_organization_or_else_the_condition(subtests: pytest.Subtests) -> None:
    for own, organization, expected in SHOWN:
        with subtests.test(f"{own} {organization}"):
            assert shown(own, organization) == expected


@pytest.mark.parametrize(
    ("target", "passing", "failing"),
    [
        (target("eq", 4), [4.0, "4", " 4.0 "], [4.0000001, 3.0]),
        (target("neq", 4), [4.0000001, 3.0, "3"], [4.0, "4.0"]),
        (target("gt", 4), [4.5, 1e308], [4.0, -5.0]),
        (target("lt", 1.5), [1.4, -1e308], [1.5]),
        (target("lte", 1.5), [1.5, 0.0, "1.5"], [1.5000001]),
        (target("bt", 3, lower=1), [1.0, 2.0, 3.0], [0.999, 3.001]),
        (target("nbt", 3, lower=1), [0.999, 3.001], [1.0, 2.0, 3.0]),
        (one_of("YES"), ["YES", " yes "], ["NO", "UNKNOWN", "YES!", 1.0]),
        (one_of("STRASSE"), ["straße"], []),
        (none_of("NO"), ["YES", "UNKNOWN"], ["NO", "no", 0.0]),  # a judge may return 0 instead of NO
        (one_of("0.9"), [0.9, "0.90"], [0.8]),
        (one_of("billing"), [value_set("Billing", "refund")], [value_set("refund"), value_set()]),
        (none_of("billing", "refund"), [value_set("greeting"), value_set()], [value_set("greeting", " REFUND ")]),
    ],
    ids=lambda parameter: target_text(parameter) if isinstance(parameter, Target) else "",
)
def test_value_meets_target(target: Target, passing: list[Value], failing: list[Value]) -> None:
    assert [value for value in passing if not meets(target, value)] == []
    assert [value for value in failing if meets(target, value)] == []


@pytest.mark.parametrize("operator", ["eq", "neq", "gt", "gte", "lt", "lte", "bt", "nbt"])
def test_non_numeric_value_never_meets_numeric_target(operator: str) -> None:
    values: list[Value] = ["UNKNOWN", "", "nan", "1_000", "٣", value_set("1"), value_set()]
    assert [value for value in values if meets(target(operator, 1, lower=0), value)] == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (target("eq", 4), "exactly 4"),
        (target("neq", -0.0), "not 0"),
        (target("gt", 1234567), "more than 1,234,567"),
        (target("lte", 1.5), "at most 1.5"),
        (target("bt", 1, lower=3.5), "between 1 and 3.5"),
        (target("nbt", 3, lower=1), "less than 1 or more than 3"),
        (one_of("YES", "MAYBE"), "one of YES, MAYBE"),
        (none_of("NO"), "not NO"),
        (none_of("NO", "no, never"), 'none of NO, "no, never"'),
        (one_of(*"abcdefgh"), "one of a, b, c, d, e and 3 more"),
        (one_of("forged\n::error::\x1b[31m"), "forged ::error::"),
    ],
)
def test_target_as_text(target: Target, text: str) -> None:
    assert target_text(target) == text


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (target("gte", 4), ""),
        (target("foo", 4), 'has the unknown operator "foo"'),
        (target("::error::\n", 4), 'has the unknown operator "::error::"'),
        (target(" ", 4), "has no operator"),
        (target("gt", None, "4"), "lacks the number that its operator gt needs"),
        (target("eq", math.nan, "YES"), "has something other than the number that its operator eq needs"),
        (target("bt", 4), "lacks the bounds that its operator bt needs"),
        (target("nbt", 4, lower=-math.inf), "has something other than the bounds that its operator nbt needs"),
        (one_of(), "has no value for its operator in"),
        (none_of(" "), "has no value for its operator nin"),
    ],
)
def test_invalid_target_has_problem_and_is_never_met(target: Target, text: str) -> None:
    assert target_problem(target) == text
    if text:
        with pytest.raises(ValueError, match="target"):
            meets(target, 4.0)
