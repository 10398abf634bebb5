"""The JSON report matches its schema, the schema is described and open to additions, and values are exact."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from baselines import comparison_reports
from coval_gate import __version__
from coval_gate.config.inputs import LAUNCH_IDS, declared, parse_inputs
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import LARGEST, Metric, RunResult, Summary
from coval_gate.report.formats.json import render as document
from coval_gate.report.formats.json import schema
from coval_gate.report.formats.outputs import render as outputs
from coval_gate.report.json_document import SCHEMA_VERSION, VariantFacts
from coval_gate.report.wording.judgements import reason, reasons
from hostile import NAMED, RUN_ID, RUN_URL, WORKFLOW_RUN, example_reports, repeated, report_of, simulation, with_leg
from selection import fewer, shares
from support import other_value
from validation import report_validator

if TYPE_CHECKING:
    from coval_gate.report.model import Report

COMPARISON = (
    "baseline_value",
    "baseline_count",
    "baseline_missing",
    "actual_pooled",
    "baseline_pooled",
    "change",
    "change_lower",
    "change_upper",
    "change_confidence",
    "trend",
    "noticeable_change",
    "shared_test_cases",
    "left_out",
)
ANY = st.text(st.characters())  # with lone surrogates
GOLDEN = Path(__file__).parents[1] / "golden"
PROMOTION = {
    "tag": "stable",
    "promoted": False,
    "obstacle": "newer",
    "previous_run_ids": [],
    "remaining_run_ids": [],
    "text": "",
}


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
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema()["$id"] == f"urn:coval-gate:report:{SCHEMA_VERSION}"
    ours = object_schemas(schema())
    # document, step, leg, run, single run, promotion, case, variant, criterion, metric, its figures, simulation,
    # four of baselines
    assert len(ours) == 16
    whole = [own for own in ours if own["title"] != "Figures"]
    assert [set(own["required"]) for own in whole] == [set(own["properties"]) for own in whole]


def test_figures_of_metrics_are_typed() -> None:
    """A metric of texts has no statistics; one of numbers has no texts."""
    figures = schema()["$defs"]["Figures"]
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
        maps = ("values", "explanations", "inputs", "variants")  # by id, not by field
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
    leg["promotion"] = with_added_fields(PROMOTION) | {"obstacle": "a word of a later version"}
    leg["baseline"]["runs"][0]["unchecked"] = ["a word of a later version"]
    leg["criteria"][0]["kind"] = "a word of a later version"
    leg["simulations"][0]["cause"] = "a word of a later version"
    report_validator().validate(whole | {"schema_version": f"{major}.{int(minor) + 1}"})
    report_validator().validate(whole | {"schema_version": f"{major}.{int(minor) + 10}"})


@pytest.mark.parametrize("version", ["3.9", "5.0", "4", "4.", "4.1.2", "4.x", "14.1", "4.٢"])
def test_schema_is_for_its_major_version_only(version: str) -> None:
    assert not report_validator().is_valid(parsed_document(reports()["failed"]) | {"schema_version": version})


def properties_of(part: Any) -> list[tuple[str, dict[str, Any]]]:
    return [pair for object_schema in object_schemas(part) for pair in object_schema["properties"].items()]


def test_words_may_be_added_only_where_the_description_says_so() -> None:
    definitions = properties_of(schema())
    growing = {name for name, definition in definitions if '"examples"' in json.dumps(definition)}
    assert growing == {"kind", "obstacle", "unchecked", "cause"}
    for name, definition in definitions:
        promises_more = "more words may follow" in definition.get("description", "").lower()
        assert promises_more is (name in growing or name == "problem"), name
        assert not (promises_more and '"enum"' in json.dumps(definition)), name


def test_titles_are_names_of_types() -> None:
    """Generators of code make a type of every title, and number those that are not unique."""
    names = titles(schema())
    assert len(names) == len(set(names)) == len(object_schemas(schema()))
    assert [title for title in names if not re.fullmatch("[A-Z][a-z]+(?:[A-Z][a-z]+)*", title)] == []
    assert schema()["title"] == "CovalGateReport"


def titles(part: Any) -> list[str]:
    """Return every title of a schema; a property may have the name title, but then it is no text."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    own = [part["title"]] if isinstance(part, dict) and isinstance(part.get("title"), str) else []
    return [*own, *(title for item in inner for title in titles(item))]


def test_schema_describes_formats_and_null_values() -> None:
    text = json.dumps(schema())
    for phrase in ("ISO 8601", "null with mode launch", "No secrets", "The last status that Coval reported"):
        assert phrase in text


@pytest.mark.parametrize("kind", example_reports())
def test_document_matches_schema_and_judgement(kind: str) -> None:
    parsed = parsed_document(reports()[kind])
    judgement = reports()[kind].judgement
    assert parsed["schema_version"] == SCHEMA_VERSION
    assert parsed["verdict"] == (str(judgement.verdict) if judgement.verdict else None)
    assert parsed["passed"] is (judgement.verdict is Verdict.PASSED)
    assert parsed["status"] == judgement.status
    assert parsed["reasons"] == list(reasons(judgement))
    assert parsed["reason"] == reason(judgement)
    assert [len(leg["criteria"]) for leg in parsed["legs"]] == [
        len(leg.judgement.checks) for leg in reports()[kind].legs
    ]


@pytest.mark.parametrize("kind", example_reports())
def test_outputs_and_document_agree(kind: str) -> None:
    parsed, step_outputs = parsed_document(reports()[kind]), outputs(reports()[kind])
    assert step_outputs["passed"] == str(parsed["passed"]).lower()
    assert (step_outputs["verdict"], step_outputs["status"], step_outputs["reason"]) == (
        parsed["verdict"] or "",
        parsed["status"],
        parsed["reason"],
    )
    if not parsed["legs"]:
        assert (step_outputs["run_id"], step_outputs["run_url"], step_outputs["pass_rate"]) == ("", "", "")
        return
    (leg,) = parsed["legs"]
    assert (step_outputs["run_id"], step_outputs["run_url"]) == (leg["run"]["id"], leg["run"]["url"])
    if leg["pass_rate"] is None:
        assert step_outputs["pass_rate"] == ""
    else:
        assert float(step_outputs["pass_rate"]) == pytest.approx(leg["pass_rate"])
        not_passed = {row["id"] for row in leg["simulations"] if row["verdict"] != "passed"}
        assert not_passed >= set(json.loads(step_outputs["failed_simulations"]))


@pytest.mark.parametrize("entries", shares(NAMED.items(), one_of=9))
def test_document_with_hostile_text_matches_schema(entries: list[tuple[str, str]]) -> None:
    for name, text in entries:
        parsed = parsed_document(report_of(text[:1000]))
        assert (parsed["verdict"], parsed["legs"][0]["verdict"]) == ("error", "error"), name
        assert parsed["passed"] is False, name
        (leg,) = parsed_document(repeated(report_of(text[:1000])))["legs"]
        assert {case["stability"] for case in leg["failing_cases"]} == {"flaky", "consistent"}, name


@given(ANY)
@settings(max_examples=fewer(3))
def test_any_text_is_kept_except_lone_surrogates(text: str) -> None:
    (leg,) = parsed_document(report_of(text))["legs"]
    criterion = leg["criteria"][0]["criterion"]
    assert len(criterion) == len(text)
    assert all(ours == theirs or "\ud800" <= theirs <= "\udfff" for ours, theirs in zip(criterion, text, strict=True))
    assert leg["metrics"][0]["name"] == criterion


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "great"},
        {"verdict": 1},
        {"passed": "true"},
        {"reasons": "one"},
        {"inputs": {"tags": ["a"]}},
        {"step": {}},
        {"legs": [{}]},
    ],
)
def test_schema_rejects_invalid_document(change: dict[str, Any]) -> None:
    whole = parsed_document(reports()["failed"])
    assert not report_validator().is_valid(whole | change)


@pytest.mark.parametrize(
    "change",
    [
        {"pass_rate": 1.5},
        {"pass_rate": -0.1},
        {"total_simulations": 1.5},
        {"run": {}},
        {"criteria": [{}]},
    ],
)
def test_schema_rejects_invalid_leg(change: dict[str, Any]) -> None:
    whole = parsed_document(reports()["failed"])
    (leg,) = whole["legs"]
    assert not report_validator().is_valid(whole | {"legs": [leg | change]})


@pytest.mark.parametrize("change", [{"operator": "="}, {"unit": "seconds"}, {"actual": "1.5"}, {"count": 1.5}])
def test_schema_rejects_invalid_criterion(change: dict[str, Any]) -> None:
    whole = parsed_document(reports()["failed"])
    (leg,) = whole["legs"]
    assert not report_validator().is_valid(whole | {"legs": [leg | {"criteria": [leg["criteria"][0] | change]}]})


@pytest.mark.parametrize("part", ["run", "step"])
def test_schema_rejects_missing_fields(part: str) -> None:
    whole = parsed_document(reports()["failed"])
    del (whole if part == "step" else whole["legs"][0])[part]["url"]
    assert not report_validator().is_valid(whole)


def test_report_cannot_have_fields_that_the_schema_does_not_describe() -> None:
    """The schema allows them, for the sake of later versions."""
    with pytest.raises(ValidationError, match="extra"):
        VariantFacts(variant="agent", mutation_id="", extra="x")  # type: ignore[call-arg]


def test_document_has_run_and_step() -> None:
    parsed = parsed_document(reports()["failed"])
    (leg,) = parsed["legs"]
    assert leg["run"] == {
        "id": RUN_ID,
        "url": RUN_URL,
        "status": "COMPLETED",
        "agent_id": "agent00000000000000001",
        "persona_id": "p1",
        "test_set_id": "",
        "agent_name": "",
        "persona_name": "",
        "test_set_name": "",
    }
    assert set(LAUNCH_IDS) < set(leg["run"])
    assert parsed["step"] == {
        "repository": "acme/voice-agent",
        "commit": "",
        "pull_request": None,
        "workflow": "Voice gate",
        "job": "evaluate",
        "matrix": "",
        "url": WORKFLOW_RUN,
        "attempt": "",
        "actor": "",
        "began": "2026-01-01T00:00:00Z",
        "duration_seconds": 62.5,
        "coval_gate": __version__,
    }


def test_criterion_has_numbers_texts_and_failing_simulations() -> None:
    criteria = parsed_document(reports()["failed"])["legs"][0]["criteria"]
    assert criteria[1] == {
        "kind": "threshold",
        "criterion": "Latency: max < 1.5",
        "verdict": "failed",
        "actual": 2.5,
        "operator": "<",
        "bound": 1.5,
        "unit": "metric",
        "margin": -1.0,
        "runs": 1,
        "run_id": "",
        "first_actual": None,
        "count": 4,
        "missing": 0,
        "lower": None,
        "upper": None,
        "confidence": None,
        "sides": None,
        "problem": "",
        "actual_text": "2.5",
        "claim_text": "",
        "margin_text": "1 too high",
        "reason": "max of Latency is 2.5, must be < 1.5.",
        "variant": "agent",
        "metric_id": "m1",
        "simulation_ids": ["s4"],
        "simulation_ids_left_out": 0,
        "reference": "",
        "advisory": False,
        **dict.fromkeys(COMPARISON),
        "by_chance": 0,
        "newly_failing": [],
        "newly_failing_left_out": 0,
        "newly_passing": [],
        "newly_passing_left_out": 0,
    }
    assert criteria[2]["verdict"] == "passed"
    assert (criteria[2]["reason"], criteria[2]["simulation_ids"], criteria[2]["margin_text"]) == ("", [], "")
    assert (criteria[2]["actual"], criteria[2]["bound"], criteria[2]["margin"], criteria[2]["unit"]) == (
        0.75,
        0.75,
        0.0,
        "share",
    )


def test_criterion_without_measure_has_problem_and_no_numbers() -> None:
    criterion = parsed_document(reports()["error, no such metric"])["legs"][0]["criteria"][-1]
    numbers = ("actual", "operator", "bound", "unit", "margin", "count", "missing")
    assert [criterion[name] for name in numbers] == [None] * 7
    assert (criterion["kind"], criterion["problem"]) == ("metric_present", "no_such_metric")
    assert criterion["reason"].startswith('The run has no metric "Latncy"')


@pytest.mark.parametrize("kind", example_reports())
def test_margins_in_document_match_verdicts(kind: str) -> None:
    for leg in parsed_document(reports()[kind])["legs"]:
        for criterion in leg["criteria"]:
            assert (criterion["actual"] is None) is (criterion["problem"] != "")
            assert criterion["margin"] is None or criterion["margin"] >= 0 or criterion["verdict"] != "passed"
            assert (
                criterion["margin"] is None
                or criterion["margin"] <= 0
                or criterion["verdict"] in ("passed", "inconclusive")
            )
            assert (criterion["reason"] == "") is (criterion["verdict"] == "passed")


def test_simulations_have_values_and_worst_is_first() -> None:
    simulations = parsed_document(reports()["failed, two criteria"])["legs"][0]["simulations"]
    assert [row["id"] for row in simulations] == ["s4", "s1", "s2", "s3"]
    assert simulations[0] == {
        "id": "s4",
        "run_id": "run00000000000000000001",
        "status": "COMPLETED",
        "variant": "agent",
        "test_case_id": "case-s4",
        "test_case": "A caller who hangs up",
        "iteration": 1,
        "stability": None,
        "verdict": "failed",
        "cause": None,
        "missed_criteria": ["Latency: max < 1.5", "Resolved: count(NO) == 0"],
        "missed_criteria_left_out": 0,
        "error": "",
        "url": f"{RUN_URL}/results/s4",
        "values": {"m1": 2.5, "m2": "NO", "m3": ["time", "way"]},
        "values_left_out": 0,
        "explanations": {"m1": "The agent was slow."},
        "explanations_left_out": 0,
    }
    assert simulations[2]["test_case"] == ""
    assert simulations[2]["verdict"] == "passed"


def test_failed_simulation_has_error_and_no_values() -> None:
    simulations = {
        row["id"]: row
        for row in parsed_document(reports()["failed, simulation did not complete"])["legs"][0]["simulations"]
    }
    assert (simulations["s4"]["verdict"], simulations["s4"]["status"]) == ("error", "FAILED")
    assert (simulations["s4"]["error"], simulations["s4"]["values"]) == ("The line was busy.", {})
    assert simulations["s4"]["explanations"] == {"m1": "The agent was slow."}


def test_tolerated_simulation_is_skipped() -> None:
    for kind in ("passed, tolerated failed simulation", "passed, tolerated missed target"):
        parsed = parsed_document(reports()[kind])
        assert parsed["passed"] is True
        (leg,) = parsed["legs"]
        assert {row["id"]: row["verdict"] for row in leg["simulations"]}["s4"] == "skipped"
        assert not any(criterion["simulation_ids"] for criterion in leg["criteria"] if criterion["verdict"] == "passed")


def test_iterations_are_numbered() -> None:
    simulations = parsed_document(reports()["failed, iteration"])["legs"][0]["simulations"]
    assert {row["id"]: row["iteration"] for row in simulations} == {"s1": 1, "s2": 2, "s3": 3, "s4": 4}


def test_metrics_have_statistics_per_variant() -> None:
    metrics = {metric["id"]: metric for metric in parsed_document(reports()["failed, mutation"])["legs"][0]["metrics"]}
    assert metrics["m1"]["name"] == "Latency"
    assert list(metrics["m1"]["variants"]) == ["agent", "Calmer"]
    agent = metrics["m1"]["variants"]["agent"]
    assert agent["count"] == 4
    assert agent["missing"] == 0
    assert (agent["mean"], agent["min"], agent["median"], agent["max"]) == (1.375, 1.0, 1.0, 2.5)
    assert metrics["m1"]["variants"]["Calmer"]["max"] == 3.5
    assert metrics["m2"]["variants"]["agent"] == {"count": 4, "missing": 0, "values": {"YES": 3, "NO": 1}}
    assert metrics["m3"]["variants"]["agent"]["values"] == {"time": 4, "way": 4}
    assert metrics["m4"]["variants"]["agent"] == {"count": 0, "missing": 4}


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


def test_launched_run_has_no_verdict_and_has_not_passed() -> None:
    parsed = parsed_document(reports()["launched"])
    assert parsed["verdict"] is None
    assert parsed["passed"] is False


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
        {f"INPUT_{declaration.name.upper()}": other_value(declaration) for declaration in declared()}
    )
    assert problems == []
    written = parsed_document(reports()["passed"]._replace(inputs=inputs))["inputs"]
    assert set(written) == {declaration.name for declaration in declared() if declaration.field.name != "secret"}
    assert not [name for name, text in written.items() if not text or "(" in text]
