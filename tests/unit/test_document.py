"""The JSON report matches its schema, the schema is described and open to additions, and values are exact.

Explanations of judges that only repeat a metric and its value stand in it, and nowhere else.
"""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from baselines import comparison_reports
from coval_gate.coval.model import LARGEST_VALUE, Metric, RunResult, Value
from coval_gate.inputs.inputs import effective, parse_inputs
from coval_gate.report.document.base import SCHEMA_VERSION, Link
from coval_gate.report.document.model import Report
from coval_gate.report.document.simulations import says_more
from rendering import Written, document, findings_in
from reports import example_reports, simulation, with_leg
from support import inputs_of, other_value
from validation import SCHEMA, report_validator

MAPS = ("values", "explanations", "inputs", "variants", "facts", "unset", "command")  # by id, not by field


@cache
def reports() -> dict[str, Report]:
    return example_reports()


def parsed_document(report: Report) -> dict[str, Any]:
    """Return the document, after validation against its schema; a strict parser must accept it."""
    found: dict[str, Any] = json.loads(document(report), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    report_validator().validate(found)
    return found


def object_schemas(part: Any) -> list[dict[str, Any]]:
    """Return every part of a schema that describes an object with known properties."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    schemas = [object_schema for value in inner for object_schema in object_schemas(value)]
    return [*([part] if isinstance(part, dict) and isinstance(part.get("properties"), dict) else []), *schemas]


def test_schema_is_valid_and_requires_all_properties_but_the_figures_of_a_metric() -> None:
    """A metric of texts has no statistics; one of numbers has no texts."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert SCHEMA["$id"] == f"urn:coval-gate:report:{SCHEMA_VERSION}"
    ours = {own["title"]: own for own in object_schemas(SCHEMA)}
    assert len(ours) == len(object_schemas(SCHEMA)) == 31, "generators of code make a type of every title"
    figures = ours.pop("Figures")
    assert [set(own["required"]) for own in ours.values()] == [set(own["properties"]) for own in ours.values()]
    assert set(figures["required"]) == {"count", "missing"}
    assert {name: field["type"] for name, field in figures["properties"].items()} == {
        **dict.fromkeys(("count", "missing"), "integer"),
        **dict.fromkeys(("mean", "stdev", "min", "median", "p95", "max"), "number"),
        "values": "object",
    }


def with_added_fields(part: Any) -> Any:
    """Return a document in which every object has a field more."""
    if isinstance(part, dict):
        return {
            name: value if name in MAPS and isinstance(value, dict) else with_added_fields(value)
            for name, value in part.items()
        } | {"added_by_a_later_version": {"any": [1]}}
    return [with_added_fields(item) for item in part] if isinstance(part, list) else part


def test_document_of_later_minor_version_matches_schema() -> None:
    """A minor version may add fields, and words where the description of a field allows it."""
    major, _, minor = SCHEMA_VERSION.partition(".")
    whole = with_added_fields(parsed_document(comparison_reports()["worse"]))
    (leg,) = whole["legs"]
    leg["standing"] = with_added_fields({"accepted": False, "tag": "stable", "parts": []})
    for part, field in ((leg["criteria"][0], "kind"), (leg["simulations"][0], "cause")):
        part[field] = "a word of a later version"
    leg["baseline"]["runs"][0]["unchecked"] = ["a word of a later version"]
    for later in (1, 10):
        report_validator().validate(whole | {"schema_version": f"{major}.{int(minor) + later}"})
    for other in ("7.9", "9.0", "8", "8.", "8.1.2", "8.x", "18.1", "8.٢"):
        assert not report_validator().is_valid(whole | {"schema_version": other})


def test_words_may_be_added_only_where_the_description_allows_it() -> None:
    definitions = [pair for object_schema in object_schemas(SCHEMA) for pair in object_schema["properties"].items()]
    growing = {name for name, definition in definitions if '"examples"' in json.dumps(definition)}
    assert growing == {"kind", "unchecked", "cause"}
    for name, definition in definitions:
        promises_more = "more words may follow" in definition.get("description", "").lower()
        assert promises_more is (name in growing or name == "problem"), name
        assert not (promises_more and '"enum"' in json.dumps(definition)), name


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("step", {"verdict": "great"}),
        ("step", {"inputs": {"tags": ["a"]}}),
        ("leg", {"pass_rate": 1.5}),
        ("criterion", {"operator": "="}),
        ("criterion", {"actual": "1.5"}),
        ("figures", {"mean": None}),
        ("figures", {"values": {"YES": "often"}}),
    ],
)
def test_schema_rejects_invalid_document(part: str, change: dict[str, Any]) -> None:
    whole = parsed_document(reports()["failed"])
    (leg,) = whole["legs"]
    figures = next(iter(leg["metrics"][0]["variants"].values()))
    {"step": whole, "leg": leg, "criterion": leg["criteria"][0], "figures": figures}[part].update(change)
    assert not report_validator().is_valid(whole)


def test_report_cannot_have_fields_that_the_schema_does_not_describe() -> None:
    """The schema allows them, for the sake of later versions."""
    with pytest.raises(ValidationError, match="extra"):
        Link(text="a", url="", is_run=False, extra="x")  # type: ignore[call-arg]


def test_document_without_result_has_nulls_and_empty_lists() -> None:
    parsed = parsed_document(reports()["no legs"])
    assert (parsed["legs"], parsed["inputs"], parsed["verdict"]) == ([], {}, "error")
    (leg,) = parsed_document(reports()["run error"])["legs"]
    assert (leg["total_simulations"], leg["completed_simulations"], leg["pass_rate"]) == (None, None, None)
    assert (leg["criteria"], leg["metrics"], leg["simulations"]) == ([], [], [])


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1 + 0.2, 1e-300, 5e-324, 12345678.9, LARGEST_VALUE])
def test_numbers_are_exact(value: float) -> None:
    metric = Metric(id="m1", name="m", values={"s1": value, "s2": -value})
    result = RunResult(run_id="r1", simulations=(simulation("s1"), simulation("s2")), metrics=(metric,))
    (leg,) = parsed_document(with_leg(reports()["passed"], result=result))["legs"]
    assert [row["values"]["m1"] for row in leg["simulations"]] == [value, -value]


def test_document_has_inputs_without_secrets() -> None:
    """Only the keys of JSON objects are reported."""
    given = {
        "INPUT_API_KEY": "coval_sk_secret_0123456789",
        "INPUT_GITHUB_TOKEN": "ghs_secret_0123456789",
        "INPUT_TAGS": "nightly, voice",
        "INPUT_THRESHOLDS": "Latency: avg < 2  # seconds\nResolved: rate(YES) >= 90%",
        "INPUT_METADATA": '{"team": "a secret", "since": {"year": "secret"}}',
        "INPUT_USE_METRIC_TARGETS": "true",
        "INPUT_MAX_WAIT_TIME": "90",
        "INPUT_MAX_FAILED_SIMULATIONS": "5%",
    }
    report = reports()["passed"]._replace(inputs=parse_inputs(given)[0])
    assert parsed_document(report)["inputs"] == {
        "tags": "nightly\nvoice",
        "thresholds": "Latency: avg < 2\nResolved: rate(YES) >= 90%",
        "metadata": "{team, since}",
        "use_metric_targets": "true",
        "max_wait_time": "90",
        "max_failed_simulations": "5%",
    }
    assert "secret" not in document(report)


def test_document_can_have_every_input_except_secrets() -> None:
    """Give each input a value that differs from its default."""
    inputs = inputs_of(**{declaration.name: other_value(declaration) for declaration in effective()})
    written = parsed_document(reports()["passed"]._replace(inputs=inputs))["inputs"]
    assert set(written) == {declaration.name for declaration in effective() if declaration.field.name != "secret"}
    assert not [name for name, text in written.items() if not text or "(" in text]


@pytest.mark.parametrize(
    ("text", "name", "value", "expected"),
    [
        ("Latency is 1.6 for this conversation.", "Latency", 1.601, False),
        ("Measured value: 1.6010", "Latency", 1.601, False),
        ("85.5%", "Speaking time", 0.855, False),
        ("Resolved is NO for this conversation.", "Resolved", "NO", False),
        ("Topics: refund, opening hours", "Topics", frozenset({"opening hours", "refund"}), False),
        ("", "Latency", 1.0, False),
        ("Latency is 1.601, mostly because of the refund.", "Latency", 1.601, True),
        ("Latency is 2.5 for this conversation.", "Latency", 1.601, True),
        ("The resolved conversation is not YES.", "Resolved", "NO", True),
        ("1e999", "Huge", 1.0, True),
        ("²", "Area", 2.0, True),
        ("Resolved is NO.", "Resolved", None, True),
    ],
)
def test_text_says_more_than_metric_and_value(text: str, name: str, value: Value | None, *, expected: bool) -> None:
    assert says_more(text, name, value) is expected


@given(st.floats(0.01, 1e9), st.integers(0, 6))
def test_any_rounding_is_the_value(value: float, digits: int) -> None:
    assert not says_more(f"Latency is {value:.{digits}f} for this conversation.", "Latency", value)


@pytest.mark.parametrize("text", ["Resolved is {value} for this conversation.", "{value}"])
def test_only_what_says_more_is_shown_and_json_keeps_all(text: str) -> None:
    repeats = with_explanations(text.format(value="NO")).texts
    says = with_explanations("The agent never confirmed the date.").texts
    for name in ("summary", "comment", "digest", "log", "junit", "html"):
        assert "never confirmed" in says[name], name
        assert "for this conversation" not in repeats[name], name
    assert "here NO<br>The agent" in says["summary"]
    assert "<br>NO" not in repeats["summary"]
    assert text.format(value="NO") in repeats["json"]


def with_explanations(text: str) -> Written:
    """Write a report in which the judge explains each missed value with the text."""
    report = comparison_reports()["worse"]
    (leg,) = report.legs
    assert leg.result
    (resolved,) = (metric.values for metric in leg.result.metrics if metric.id == "m")
    bad = [row.simulation.id for row in findings_in(leg).to_look_at if resolved[row.simulation.id] == "NO"]
    return Written(with_leg(report, details=leg.details._replace(texts={one: {"m": text} for one in bad})))
