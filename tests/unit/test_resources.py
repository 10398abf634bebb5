from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Target
from coval_gate.coval.resources import (
    Agent,
    MetricOutput,
    newest,
    read_agent,
    read_definition,
    read_output,
    read_persona,
    read_test_case,
)
from coval_gate.gate.values import target_problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def definition(condition: Any = None, threshold: Any = None) -> dict[str, Any]:
    """Return the fields of a metric in `GET /metrics/{id}` that these tests need."""
    return {
        "id": "metricLatency000000001",
        "metric_name": "Latency",
        "target_condition": condition,
        "organization_threshold": threshold,
    }


@pytest.mark.parametrize(
    ("kind", "categories", "expected"),
    [
        ("METRIC_LLM_BINARY", None, ("YES", "NO", "UNKNOWN")),
        ("METRIC_AUDIO_LLM_BINARY", ["a"], ("YES", "NO", "UNKNOWN")),
        ("METRIC_CATEGORICAL", ["calm", " upset "], ("calm", "upset")),
        ("METRIC_AGENT_JUDGE_CATEGORICAL", ["calm", "calm"], ("calm",)),
        ("METRIC_CATEGORICAL", [], ()),
        ("METRIC_NUMERICAL_LLM_JUDGE", ["calm"], ()),
        (None, ["calm"], ()),
    ],
)
def test_texts_of_definition(kind: Any, categories: Any, expected: tuple[str, ...]) -> None:
    assert read_definition({"id": "m1", "metric_type": kind, "categories": categories}).texts == expected


def test_resource_has_any_name() -> None:
    assert read_agent({"id": "a1", "display_name": "Front\ndesk"}) == Agent("a1", "Front desk")
    assert read_agent({"id": "a1", "name": "Front desk"}) == Agent("a1", "Front desk")


@pytest.mark.parametrize(
    ("read", "fields"),
    [
        *((read_agent, {"id": id_}) for id_ in (None, 5, "a b", "../runs", "${{ x }}")),
        (read_agent, {"id": "a1", "metric_ids": ["m1", None]}),
        (read_agent, {"id": "a1", "metric_ids": "m1"}),
        (read_test_case, {"id": None}),
        (read_test_case, {"id": "c1", "description": 5}),
        (read_output, {"metric_id": None, "status": "COMPLETED"}),
        (read_output, {"metric_id": "m1", "status": 5}),
        (read_definition, {"id": None}),
        (read_definition, {"id": "m1", "metric_type": 5}),
        (read_definition, {"id": "m1", "target_condition": "gte"}),
        (read_definition, {"id": "m1", "target_condition": []}),
        (read_definition, {"id": "m1", "organization_threshold": {"comparison_operator": ["gte"]}}),
        (read_definition, {"id": "m1", "target_condition": {"comparison_operator": "gte", "target_float": "4"}}),
        (read_definition, {"id": "m1", "target_condition": {"comparison_operator": "gte", "target_float": True}}),
        (read_definition, {"id": "m1", "target_condition": {"comparison_operator": "lt", "target_float": 10**400}}),
        (read_definition, {"id": "m1", "target_condition": {"comparison_operator": "in", "target_values": "YES"}}),
        (read_definition, {"id": "m1", "target_condition": {"comparison_operator": "nin", "target_values": ["a", 1]}}),
    ],
)
def test_field_of_a_wrong_type_is_error(read: Callable[[dict[str, Any]], object], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r": (missing|not an? )"):
        read(fields)


def test_small_values_of_delays_and_errors_are_better() -> None:
    kinds: dict[Any, bool] = {
        "METRIC_LLM_TTFB": True,
        "METRIC_TRACE_STT_WER": True,
        "METRIC_PYTHON": False,
        None: False,
    }
    assert {kind: read_definition({"id": "m1", "metric_type": kind}).wants_less for kind in kinds} == kinds


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"description": "A caller\nasks", "input_str": "Hello"}, "A caller asks"),
        ({"description": "", "input_str": "Call +1 415 555 0123 now"}, "Call +… now"),
        ({"input_str": "x" * 101}, "x" * 99 + "…"),
        ({"description": None}, ""),
    ],
)
def test_label_of_test_case_is_short_and_has_no_phone_number(fields: dict[str, Any], label: str) -> None:
    assert read_test_case({"id": "c1"} | fields).label == label


def test_test_case_that_was_never_updated_is_as_old_as_itself() -> None:
    times = {"create_time": "2026-01-01T00:00:00Z", "update_time": None}
    assert read_test_case({"id": "c1"} | times).update_time == "2026-01-01T00:00:00Z"
    assert read_test_case({"id": "c1"} | times | {"update_time": "2026-02-01T00:00:00Z"}).update_time[5:7] == "02"


def output(output_id: str, metric_id: Any, **fields: Any) -> dict[str, Any]:
    return {"metric_output_id": output_id, "metric_id": metric_id, "status": "COMPLETED"} | fields


def test_newest_output_of_each_metric_counts() -> None:
    entries = [output("o3", "m1", value="NO"), output("o1", "m1", value="YES"), output("o2", "m2", value=[None])]
    values = {newest_output.metric_id: newest_output.value for newest_output in newest(map(read_output, entries))}
    assert values == {"m1": "NO", "m2": None}


def test_output_is_read_without_phone_number() -> None:
    fields = output("o1", "m1", status="in_progress", explanation="It dialled +14155550123.", metric_version_ulid=None)
    assert read_output(fields) == MetricOutput("o1", "m1", "IN PROGRESS", None, "It dialled +….", "")


@given(
    st.dictionaries(st.sampled_from(["id", "metric_ids", "metric_output_id", "description", "value", "status"]), JSON)
)
def test_any_resource_is_read_or_error(fields: dict[str, Any]) -> None:
    for read in (read_agent, read_persona, read_test_case, read_output, read_definition):
        with suppress(ValueError):
            read(fields)


def condition(operator: Any, **fields: Any) -> dict[str, Any]:
    return {"comparison_operator": operator, **fields}


NO_THRESHOLD = dict.fromkeys(["id", "comparison_operator", "target_float_upper", "target_float_lower", "target_values"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (condition("gte", target_float=4), Target(operator="gte", upper=4.0)),
        (condition("gte", target_float=0), Target(operator="gte", upper=0.0)),
        (condition(" LTE ", target_float=1.5), Target(operator="lte", upper=1.5)),
        (condition("in", target_values=["YES"]), Target(operator="in", values=("YES",))),
        (condition("in", target_float=None, target_values=["YES"]), Target(operator="in", values=("YES",))),
        (condition("bt", target_float=3, target_float_lower=1), Target(operator="bt", upper=3.0, lower=1.0)),
        (condition("bt", target_float_upper=3, target_float_lower=1), Target(operator="bt", upper=3.0, lower=1.0)),
    ],
)
def test_target_is_parsed(given: dict[str, Any], expected: Target) -> None:
    assert read_definition(definition(given)).target == expected
    assert not target_problem(expected)


def test_organization_threshold_overrides_target() -> None:
    ours = condition("in", target_values=["YES", "UNKNOWN"])
    theirs = NO_THRESHOLD | condition("in", target_values=["YES"])
    assert read_definition(definition(ours, theirs)).target == Target(operator="in", values=("YES",))
    assert read_definition(definition(None, theirs)).target == Target(operator="in", values=("YES",))
    theirs = NO_THRESHOLD | condition("bt", target_float_upper=0.9, target_float_lower=0.5)
    assert read_definition(definition(ours, theirs)).target == Target(operator="bt", upper=0.9, lower=0.5)


@pytest.mark.parametrize("unset", [None, {}, NO_THRESHOLD, {"comparison_operator": None, "target_float_upper": 3}])
def test_organization_threshold_without_operator_is_unset(unset: Any) -> None:
    assert read_definition(definition(condition("gte", target_float=4), unset)).target == Target(
        operator="gte", upper=4.0
    )
    assert read_definition(definition(None, unset)).target is None


@pytest.mark.parametrize("unset", [None, {}, condition(None), condition(None, target_float=None, target_values=None)])
def test_metric_without_target_is_none(unset: Any) -> None:
    assert read_definition(definition(unset)).target is None
    assert read_definition({"id": "m1"}).target is None


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (condition(None, target_float=4), "has no operator"),
        ({"target_values": ["YES"]}, "has no operator"),
        (condition("at least", target_float=4), 'has the unknown operator "at least"'),
        (condition("gte"), "lacks the number that its operator gte needs"),
        (condition("bt", target_float=4), "lacks the bounds that its operator bt needs"),
        (condition("in"), "has no value for its operator in"),
        (condition("in", target_float=4), "has no value for its operator in"),
    ],
)
def test_target_that_cannot_be_compared_with_has_a_problem(broken: Any, text: str) -> None:
    for metric in definition(broken), definition(None, broken):
        target = read_definition(metric).target
        if isinstance(broken, dict) and broken.get("comparison_operator") is None and metric["organization_threshold"]:
            assert target is None  # an organization unsets its threshold this way
        else:
            assert target is not None
            assert target_problem(target) == text
