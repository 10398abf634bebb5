"""The JSON report matches its schema, the schema is described and open to additions, and values are exact."""

import json
import re
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from baselines import comparison_reports
from coval_gate.coval.model import LARGEST, Metric, RunResult, Summary
from coval_gate.inputs.inputs import effective, parse_inputs
from coval_gate.report.document.base import SCHEMA_VERSION, Link
from coval_gate.report.model import Report
from rendering import document
from reports import example_reports, simulation, with_leg
from support import other_value
from validation import SCHEMA, report_validator

STANDING = {"accepted": False, "tag": "stable", "parts": []}


@cache
def reports() -> dict[str, Report]:
    return example_reports()


def parsed_document(report: Report) -> dict[str, Any]:
    """Return the document, after validation against its schema; a strict parser must accept it."""
    text = document(report)
    text.encode()
    found: dict[str, Any] = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    report_validator().validate(found)
    return found


def object_schemas(part: Any) -> list[dict[str, Any]]:
    """Return every part of a schema that describes an object with known properties."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    schemas = [object_schema for value in inner for object_schema in object_schemas(value)]
    return [*([part] if isinstance(part, dict) and isinstance(part.get("properties"), dict) else []), *schemas]


def test_schema_is_valid_and_requires_all_properties() -> None:
    """A reader can rely on every field that the schema of its version describes."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert SCHEMA["$id"] == f"urn:coval-gate:report:{SCHEMA_VERSION}"
    ours = object_schemas(SCHEMA)
    assert len(ours) == 29
    whole = [own for own in ours if own["title"] != "Figures"]
    assert [set(own["required"]) for own in whole] == [set(own["properties"]) for own in whole]


def test_figures_of_metrics_are_typed() -> None:
    """A metric of texts has no statistics; one of numbers has no texts."""
    figures = SCHEMA["$defs"]["Figures"]
    assert set(figures["required"]) == {"count", "missing"}
    assert {name: field["type"] for name, field in figures["properties"].items()} == {
        **dict.fromkeys(("count", "missing"), "integer"),
        **dict.fromkeys(("mean", "stdev", "min", "median", "p95", "max"), "number"),
        "values": "object",
    }
    wrong = parsed_document(reports()["passed"])
    entry = next(iter(wrong["legs"][0]["metrics"][0]["variants"].values()))
    for field, value in (("mean", "fast"), ("mean", None), ("count", 1.5), ("values", {"YES": "often"})):
        before = dict(entry)
        entry[field] = value
        assert not report_validator().is_valid(wrong)
        entry.clear()
        entry.update(before)
    report_validator().validate(wrong)


def with_added_fields(part: Any) -> Any:
    """Return a document in which every object has a field more."""
    if isinstance(part, dict):
        maps = (
            "values",
            "explanations",
            "inputs",
            "variants",
            "facts",
            "unset",
            "command",
            "averages",
        )  # by id, not by field
        return {
            name: value if name in maps and isinstance(value, dict) else with_added_fields(value)
            for name, value in part.items()
        } | {"added_by_a_later_version": {"any": [1]}}
    return [with_added_fields(item) for item in part] if isinstance(part, list) else part


def test_document_of_later_minor_version_matches_schema() -> None:
    """A minor version may add fields, and words where the description of a field says so."""
    major, _, minor = SCHEMA_VERSION.partition(".")
    whole = with_added_fields(parsed_document(comparison_reports()["worse"]))
    (leg,) = whole["legs"]
    leg["standing"] = with_added_fields(STANDING)
    leg["baseline"]["runs"][0]["unchecked"] = ["a word of a later version"]
    leg["criteria"][0]["kind"] = "a word of a later version"
    leg["simulations"][0]["cause"] = "a word of a later version"
    report_validator().validate(whole | {"schema_version": f"{major}.{int(minor) + 1}"})
    report_validator().validate(whole | {"schema_version": f"{major}.{int(minor) + 10}"})


@pytest.mark.parametrize("version", ["4.9", "6.0", "5", "5.", "5.1.2", "5.x", "15.1", "5.٢"])
def test_schema_is_for_its_major_version_only(version: str) -> None:
    assert not report_validator().is_valid(parsed_document(reports()["failed"]) | {"schema_version": version})


def properties_of(part: Any) -> list[tuple[str, dict[str, Any]]]:
    return [pair for object_schema in object_schemas(part) for pair in object_schema["properties"].items()]


def test_words_may_be_added_only_where_the_description_says_so() -> None:
    definitions = properties_of(SCHEMA)
    growing = {name for name, definition in definitions if '"examples"' in json.dumps(definition)}
    assert growing == {"kind", "unchecked", "cause"}
    for name, definition in definitions:
        promises_more = "more words may follow" in definition.get("description", "").lower()
        assert promises_more is (name in growing or name == "problem"), name
        assert not (promises_more and '"enum"' in json.dumps(definition)), name


def test_titles_are_names_of_types() -> None:
    """Generators of code make a type of every title, and number those that are not unique."""
    names = titles(SCHEMA)
    assert len(names) == len(set(names)) == len(object_schemas(SCHEMA))
    assert [title for title in names if not re.fullmatch("[A-Z][a-z]+(?:[A-Z][a-z]+)*", title)] == []
    assert SCHEMA["title"] == "CovalGateReport"


def titles(part: Any) -> list[str]:
    """Return every title of a schema; a property may have the name title, but then it is no text."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    own = [part["title"]] if isinstance(part, dict) and isinstance(part.get("title"), str) else []
    return [*own, *(title for item in inner for title in titles(item))]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("step", {"verdict": "great"}),
        ("step", {"passed": "true"}),
        ("step", {"inputs": {"tags": ["a"]}}),
        ("step", {"step": {}}),
        ("step", {"legs": [{}]}),
        ("leg", {"pass_rate": 1.5}),
        ("leg", {"total_simulations": 1.5}),
        ("leg", {"run": {}}),
        ("criterion", {"operator": "="}),
        ("criterion", {"unit": "seconds"}),
        ("criterion", {"actual": "1.5"}),
    ],
)
def test_schema_rejects_invalid_document(part: str, change: dict[str, Any]) -> None:
    whole = parsed_document(reports()["failed"])
    (leg,) = whole["legs"]
    {"step": whole, "leg": leg, "criterion": leg["criteria"][0]}[part].update(change)
    assert not report_validator().is_valid(whole)


def test_report_cannot_have_fields_that_the_schema_does_not_describe() -> None:
    """The schema allows them, for the sake of later versions."""
    with pytest.raises(ValidationError, match="extra"):
        Link(text="a", url="", of_run=False, extra="x")  # type: ignore[call-arg]


def test_variants_with_colliding_names_stay_distinct() -> None:
    names = ["", "agent", "agent (mutation)", "agent (mutation) (mutation)", "Calm"]
    members = tuple(simulation(f"s{number}", mutation=name) for number, name in enumerate(names))
    metric = Metric(id="m1", name="Latency", values={member.id: 1.0 for member in members})
    report = with_leg(reports()["passed"], result=RunResult(run_id="r1", simulations=members, metrics=(metric,)))
    (leg,) = parsed_document(report)["legs"]
    assert len(leg["metrics"][0]["variants"]) == len(names)
    assert len({row["variant"] for row in leg["simulations"]}) == len(names)


def test_document_without_result_has_nulls_and_empty_lists() -> None:
    parsed = parsed_document(reports()["no legs"])
    assert (parsed["legs"], parsed["inputs"]) == ([], {})
    assert parsed["verdict"] == "error"
    (leg,) = parsed_document(reports()["run error"])["legs"]
    assert (leg["total_simulations"], leg["completed_simulations"], leg["pass_rate"]) == (None, None, None)
    assert (leg["criteria"], leg["metrics"], leg["simulations"]) == ([], [], [])


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1 + 0.2, 1e-300, 5e-324, 12345678.9, LARGEST, -LARGEST])
def test_numbers_are_exact(value: float) -> None:
    members = (simulation("s1"), simulation("s2"))
    metric = Metric(id="m1", name="m", values={"s1": value, "s2": -value}, summary=Summary(mean=1.0))
    result = RunResult(run_id="r1", simulations=members, metrics=(metric,))
    (leg,) = parsed_document(with_leg(reports()["passed"], result=result))["legs"]
    assert [row["values"]["m1"] for row in leg["simulations"]] == [value, -value]


def test_document_has_inputs_without_secrets() -> None:
    given = {
        "INPUT_API_KEY": "coval_sk_secret_0123456789",
        "INPUT_GITHUB_TOKEN": "ghs_secret_0123456789",
        "INPUT_TAGS": "nightly, voice",
        "INPUT_THRESHOLDS": "Latency: avg < 2  # seconds\nResolved: rate(YES) >= 90%",
        "INPUT_METADATA": '{"team": "a secret", "since": {"year": "secret"}}',
        "INPUT_USE_METRIC_TARGETS": "true",
        "INPUT_MAX_WAIT_TIME": "90",
        "INPUT_MAX_FAILED_SIMULATIONS": "5%",
        "INPUT_ITERATION_COUNT": "3",
    }
    inputs, problems = parse_inputs(given)
    assert problems == []
    parsed = parsed_document(reports()["passed"]._replace(inputs=inputs))
    assert parsed["inputs"] == {
        "tags": "nightly\nvoice",
        "thresholds": "Latency: avg < 2\nResolved: rate(YES) >= 90%",
        "metadata": "{team, since}",
        "use_metric_targets": "true",
        "max_wait_time": "90",
        "max_failed_simulations": "5%",
        "iteration_count": "3",
    }
    # Only the keys of JSON objects are reported.
    assert "secret" not in document(reports()["passed"]._replace(inputs=inputs))


def test_document_can_have_every_input_except_secrets() -> None:
    """Give each input a value that differs from its default."""
    inputs, problems = parse_inputs(
        {f"INPUT_{declaration.name.upper()}": other_value(declaration) for declaration in effective()}
    )
    assert problems == []
    written = parsed_document(reports()["passed"]._replace(inputs=inputs))["inputs"]
    assert set(written) == {declaration.name for declaration in effective() if declaration.field.name != "secret"}
    assert not [name for name, text in written.items() if not text or "(" in text]
