import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import BASE, LARGEST, SMALLEST, Metric, Simulation, Summary
from coval_gate.coval.results import read_metrics, read_simulation, read_value, without_numbers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (1, 1.0),
        (0.9, 0.9),
        ("0.9", 0.9),
        (" 7 ", 7.0),
        ("-1e3", -1000.0),
        ("YES", "YES"),
        (" no ", "no"),
        ("", None),
        ("  ", None),
        (None, None),
        (math.nan, None),
        (math.inf, None),
        ("nan", "nan"),
        ("1e999", None),
        (10**400, None),
        (LARGEST, LARGEST),
        (-LARGEST, -LARGEST),
        (1.1e100, None),
        (SMALLEST, SMALLEST),
        (-5e-324, 0.0),
        ("1e-101", 0.0),
        ("-1e101", None),
        ("٣", "٣"),
        (True, "true"),
        (["a", " b "], frozenset({"a", "b"})),
        (["a", None], None),
        ([7, "1234567", 0.12345678], frozenset({"7", "1234567", "0.12345678"})),
        ([], frozenset()),
        ({"a": 1}, None),
    ],
)
def test_value_is_number_text_or_set(raw: object, value: object) -> None:
    assert read_value(raw) == value


def test_metric_with_values_is_parsed() -> None:
    values = [
        {"simulation_output_id": "s1", "value": 0.9},
        {"simulation_output_id": "s2", "value": None},
        {"simulation_output_id": "s3", "value": "1.1"},
        {"simulation_output_id": "s3", "value": 1.1},
    ]
    entry = {"metric_id": "m1", "metric_name": "Latency", "output_type": "float", "values": values}
    assert read_metrics({"m1": entry}) == (Metric(id="m1", name="Latency", values={"s1": 0.9, "s3": 1.1}),)


def test_conflicting_values_of_simulation_are_dropped() -> None:
    values = [{"simulation_output_id": "s1", "value": "YES"}, {"simulation_output_id": "s1", "value": "NO"}]
    (metric,) = read_metrics({"m1": {"values": values}})
    assert metric.values == {}


def test_metric_with_summary_only_is_parsed() -> None:
    assert read_metrics({"availability": {"mean": 0.95, "min": "0.85", "max": None}, "none": {}}) == (
        Metric(id="availability", name="availability", summary=Summary(mean=0.95, min=0.85), is_identified=False),
        Metric(id="none", name="none", is_identified=False),
    )


def test_metric_with_summary_only_may_have_an_id() -> None:
    (metric,) = read_metrics({"Latency": {"metric_id": "m1", "mean": 0.9}})
    assert (metric.id, metric.name, metric.is_identified) == ("m1", "Latency", True)


def test_simulation_is_parsed_without_phone_number() -> None:
    fields = {
        "simulation_id": "s1",
        "status": "in_progress",
        "test_case_id": "t1",
        "mutation_id": "u1",
        "mutation_name": "Faster model",
        "destination": {"type": "phone", "value": "+15550100"},
        "error_message": "No\nanswer",
    }
    assert read_simulation(fields) == Simulation(
        id="s1", status="IN PROGRESS", test_case_id="t1", mutation="Faster model", mutation_id="u1", error="No answer"
    )
    assert read_simulation({"id": "s1", "status": "PAUSED"}) == Simulation(id="s1", status="PAUSED", mutation=BASE)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Could not dial +14155550123.", "Could not dial +…."),
        ("No answer at +49 (30) 123-456 today", "No answer at +… today"),
        ("At 2026-01-01 10:00 it took +5 s", "At 2026-01-01 10:00 it took +5 s"),
    ],
)
def test_phone_numbers_in_text_are_redacted(text: str, redacted: str) -> None:
    assert without_numbers(text) == redacted


@pytest.mark.parametrize(
    "fields",
    [{"simulation_id": id_} for id_ in (None, "", 5, "../x", "a b")]
    + [{"status": None}, {"status": 7}, {"test_case_id": 5}, {"mutation_name": []}, {"error_message": {}}],
)
def test_simulation_of_a_wrong_shape_is_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[a-z_]+: "):
        read_simulation({"simulation_id": "s1", "status": "COMPLETED"} | fields)


@pytest.mark.parametrize("values", [{}, ["odd"], [{"value": 3}], [{"simulation_output_id": 1, "value": 3}]])
def test_values_of_a_wrong_shape_are_error(values: object) -> None:
    with pytest.raises(ValueError, match=r"^(values|simulation_output_id): "):
        read_metrics({"m1": {"values": values}})


@given(JSON)
def test_any_json_is_value_or_none(response: Any) -> None:
    (metric,) = read_metrics({"m": {"values": [{"simulation_output_id": "s1", "value": response}]}})
    assert all(not isinstance(value, float) or math.isfinite(value) for value in metric.values.values())
