"""The whole result as JSON: it keeps to its schema, the schema says what it means, and values come through."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from coval_gate import __version__
from coval_gate.config.inputs import LAUNCH_IDS, declared, parse_inputs
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import LARGEST, Metric, RunResult, Summary
from coval_gate.report.formats.json import SCHEMA_VERSION, schema
from coval_gate.report.formats.json import render as document
from coval_gate.report.formats.outputs import render as outputs
from coval_gate.report.wording.judgements import reason, reasons
from hostile import NAMED, RUN_ID, RUN_URL, WORKFLOW_RUN, every_kind, report_of, simulation, with_leg

if TYPE_CHECKING:
    from coval_gate.report.model import Report

ANY = st.text(st.characters())  # with lone surrogates


@cache
def reports() -> dict[str, Report]:
    return every_kind()


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def read(report: Report) -> dict[str, Any]:
    """The document, once its schema allows it; what is no JSON to strict readers is refused."""
    text = document(report)
    text.encode()
    found: dict[str, Any] = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    validator().validate(found)
    return found


def objects(part: Any) -> list[dict[str, Any]]:
    """Every part of a schema that describes an object of ours."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    found = [each for value in inner for each in objects(value)]
    return [*([part] if isinstance(part, dict) and isinstance(part.get("properties"), dict) else []), *found]


def test_the_schema_is_one_and_closed() -> None:
    """What is not in it is an error, so that nothing gets in unnoticed; all that is in it is always there."""
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    ours = objects(schema())
    assert len(ours) == 7  # the document, step, leg, run, criterion, metric, simulation
    assert [each["additionalProperties"] for each in ours] == [False] * 7
    assert [set(each["required"]) for each in ours] == [set(each["properties"]) for each in ours]


def test_the_schema_says_what_cannot_be_guessed() -> None:
    text = json.dumps(schema())
    for known in ("ISO 8601", "null with mode launch", "No secrets", "As Coval reported it last"):
        assert known in text


@pytest.mark.parametrize("kind", every_kind())
def test_every_kind_of_report_keeps_to_the_schema(kind: str) -> None:
    found = read(reports()[kind])
    judgement = reports()[kind].judgement
    assert found["schema_version"] == SCHEMA_VERSION
    assert found["verdict"] == (str(judgement.verdict) if judgement.verdict else None)
    assert found["passed"] is (judgement.verdict is Verdict.PASSED)
    assert found["status"] == judgement.status
    assert found["reasons"] == list(reasons(judgement))
    assert found["reason"] == reason(judgement)
    assert [len(leg["criteria"]) for leg in found["legs"]] == [
        len(leg.judgement.checks) for leg in reports()[kind].legs
    ]


@pytest.mark.parametrize("kind", every_kind())
def test_outputs_and_document_say_the_same(kind: str) -> None:
    found, told = read(reports()[kind]), outputs(reports()[kind])
    assert told["passed"] == str(found["passed"]).lower()
    assert (told["verdict"], told["status"], told["reason"]) == (
        found["verdict"] or "",
        found["status"],
        found["reason"],
    )
    if not found["legs"]:
        assert (told["run_id"], told["run_url"], told["pass_rate"]) == ("", "", "")
        return
    (leg,) = found["legs"]
    assert (told["run_id"], told["run_url"]) == (leg["run"]["id"], leg["run"]["url"])
    if leg["pass_rate"] is None:
        assert told["pass_rate"] == ""
    else:
        assert float(told["pass_rate"]) == pytest.approx(leg["pass_rate"])
        ill = {each["id"] for each in leg["simulations"] if each["verdict"] != "passed"}
        assert ill >= set(json.loads(told["failed_simulations"]))


def test_hostile_texts_keep_to_the_schema() -> None:
    for name, text in NAMED.items():
        found = read(report_of(text[:1000]))
        assert (found["verdict"], found["legs"][0]["verdict"]) == ("error", "error"), name
        assert found["passed"] is False, name


@given(ANY)
@settings(max_examples=30)
def test_any_text_comes_through_as_it_is_but_for_what_utf_8_cannot_say(text: str) -> None:
    (found,) = read(report_of(text))["legs"]
    said = found["criteria"][0]["criterion"]
    assert len(said) == len(text)
    assert all(ours == theirs or "\ud800" <= theirs <= "\udfff" for ours, theirs in zip(said, text, strict=True))
    assert found["metrics"][0]["name"] == said


@pytest.mark.parametrize(
    "spoil",
    [
        {"extra": 1},
        {"verdict": "great"},
        {"verdict": 1},
        {"passed": "true"},
        {"reasons": "one"},
        {"inputs": {"tags": ["a"]}},
        {"step": {}},
        {"legs": [{}]},
    ],
)
def test_the_schema_refuses_what_is_no_document(spoil: dict[str, Any]) -> None:
    whole = read(reports()["failed"])
    assert not validator().is_valid(whole | spoil)


@pytest.mark.parametrize(
    "spoil",
    [
        {"extra": 1},
        {"pass_rate": 1.5},
        {"pass_rate": -0.1},
        {"total_simulations": 1.5},
        {"run": {}},
        {"criteria": [{}]},
    ],
)
def test_the_schema_refuses_what_is_no_leg(spoil: dict[str, Any]) -> None:
    whole = read(reports()["failed"])
    (leg,) = whole["legs"]
    assert not validator().is_valid(whole | {"legs": [leg | spoil]})


@pytest.mark.parametrize("spoil", [{"operator": "="}, {"unit": "seconds"}, {"actual": "1.5"}, {"count": 1.5}])
def test_the_schema_refuses_what_is_no_criterion(spoil: dict[str, Any]) -> None:
    whole = read(reports()["failed"])
    (leg,) = whole["legs"]
    assert not validator().is_valid(whole | {"legs": [leg | {"criteria": [leg["criteria"][0] | spoil]}]})


@pytest.mark.parametrize("part", ["run", "step"])
@pytest.mark.parametrize("field", ["extra", "url"])
def test_parts_are_closed_and_whole(part: str, field: str) -> None:
    whole = read(reports()["failed"])
    owner = (whole if part == "step" else whole["legs"][0])[part]
    if field in owner:
        del owner[field]
    else:
        owner[field] = "x"
    assert not validator().is_valid(whole)


def test_run_and_step_are_told() -> None:
    found = read(reports()["failed"])
    (leg,) = found["legs"]
    assert leg["run"] == {
        "id": RUN_ID,
        "url": RUN_URL,
        "status": "COMPLETED",
        "agent_id": "agent00000000000000001",
        "persona_id": "p1",
        "test_set_id": "",
    }
    assert set(LAUNCH_IDS) < set(leg["run"])
    assert found["step"] == {
        "repository": "acme/voice-agent",
        "commit": "",
        "pull_request": None,
        "workflow": "Voice gate",
        "job": "evaluate",
        "url": WORKFLOW_RUN,
        "attempt": "",
        "actor": "",
        "began": "2026-01-01T00:00:00Z",
        "duration_seconds": 62.5,
        "coval_gate": __version__,
    }


def test_criteria_have_numbers_words_and_the_simulations_that_are_to_blame() -> None:
    found = read(reports()["failed"])["legs"][0]["criteria"]
    assert found[1] == {
        "kind": "threshold",
        "criterion": "Latency: max < 1.5",
        "verdict": "failed",
        "actual": 2.5,
        "operator": "<",
        "bound": 1.5,
        "unit": "metric",
        "margin": -1.0,
        "count": 4,
        "missing": 0,
        "problem": "",
        "actual_text": "2.5",
        "margin_text": "1 too high",
        "reason": "max of Latency is 2.5, must be < 1.5.",
        "variant": "agent",
        "metric_id": "m1",
        "simulation_ids": ["s4"],
    }
    assert found[2]["verdict"] == "passed"
    assert (found[2]["reason"], found[2]["simulation_ids"], found[2]["margin_text"]) == ("", [], "")
    assert (found[2]["actual"], found[2]["bound"], found[2]["margin"], found[2]["unit"]) == (0.75, 0.75, 0.0, "share")


def test_a_criterion_without_a_measure_has_no_numbers_but_a_problem() -> None:
    found = read(reports()["error, no such metric"])["legs"][0]["criteria"][-1]
    numbers = ("actual", "operator", "bound", "unit", "margin", "count", "missing")
    assert [found[name] for name in numbers] == [None] * 7
    assert (found["kind"], found["problem"]) == ("metric_present", "no_such_metric")
    assert found["reason"].startswith('The run has no metric "Latncy"')


@pytest.mark.parametrize("kind", every_kind())
def test_margins_and_verdicts_agree(kind: str) -> None:
    for leg in read(reports()[kind])["legs"]:
        for each in leg["criteria"]:
            assert (each["actual"] is None) is (each["problem"] != "")
            assert each["margin"] is None or each["margin"] >= 0 or each["verdict"] != "passed"
            assert each["margin"] is None or each["margin"] <= 0 or each["verdict"] in ("passed", "inconclusive")
            assert (each["reason"] == "") is (each["verdict"] == "passed")


def test_simulations_come_with_their_values_the_worst_first() -> None:
    found = read(reports()["failed twice by one"])["legs"][0]["simulations"]
    assert [each["id"] for each in found] == ["s4", "s1", "s2", "s3"]
    assert found[0] == {
        "id": "s4",
        "status": "COMPLETED",
        "variant": "agent",
        "test_case_id": "case-s4",
        "test_case": "A caller who hangs up",
        "iteration": 1,
        "verdict": "failed",
        "missed_criteria": ["Latency: max < 1.5", "Resolved: count(NO) == 0"],
        "error": "",
        "url": f"{RUN_URL}/results/s4",
        "values": {"m1": 2.5, "m2": "NO", "m3": ["time", "way"]},
        "explanations": {"m1": "The agent was slow."},
    }
    assert found[2]["test_case"] == ""
    assert found[2]["verdict"] == "passed"


def test_a_simulation_that_did_not_complete_has_its_error_and_no_values() -> None:
    found = {each["id"]: each for each in read(reports()["failed by what did not complete"])["legs"][0]["simulations"]}
    assert (found["s4"]["verdict"], found["s4"]["status"]) == ("error", "FAILED")
    assert (found["s4"]["error"], found["s4"]["values"]) == ("The line was busy.", {})
    assert found["s4"]["explanations"] == {"m1": "The agent was slow."}


def test_what_is_tolerated_is_skipped() -> None:
    for kind in ("passed, one did not complete", "passed, one missed its target"):
        found = read(reports()[kind])
        assert found["passed"] is True
        (leg,) = found["legs"]
        assert {each["id"]: each["verdict"] for each in leg["simulations"]}["s4"] == "skipped"
        assert not any(each["simulation_ids"] for each in leg["criteria"])


def test_iterations_are_numbered() -> None:
    found = read(reports()["failed in an iteration"])["legs"][0]["simulations"]
    assert {each["id"]: each["iteration"] for each in found} == {"s1": 1, "s2": 2, "s3": 3, "s4": 4}


def test_metrics_have_their_figures_for_each_variant() -> None:
    found = {each["id"]: each for each in read(reports()["failed in a mutation"])["legs"][0]["metrics"]}
    assert found["m1"]["name"] == "Latency"
    assert list(found["m1"]["variants"]) == ["agent", "Calmer"]
    agent = found["m1"]["variants"]["agent"]
    assert agent["count"] == 4
    assert agent["missing"] == 0
    assert (agent["mean"], agent["min"], agent["median"], agent["max"]) == (1.375, 1.0, 1.0, 2.5)
    assert found["m1"]["variants"]["Calmer"]["max"] == 3.5
    assert found["m2"]["variants"]["agent"] == {"count": 4, "missing": 0, "values": {"YES": 3, "NO": 1}}
    assert found["m3"]["variants"]["agent"]["values"] == {"time": 4, "way": 4}
    assert found["m4"]["variants"]["agent"] == {"count": 0, "missing": 4}


def test_variants_of_any_names_stay_apart() -> None:
    names = ["", "agent", "agent (mutation)", "agent (mutation) (mutation)", "Calm"]
    members = tuple(simulation(f"s{number}", mutation=name) for number, name in enumerate(names))
    metric = Metric(id="m1", name="Latency", values={each.id: 1.0 for each in members})
    report = with_leg(reports()["passed"], result=RunResult(run_id="r1", simulations=members, metrics=(metric,)))
    (found,) = read(report)["legs"]
    assert len(found["metrics"][0]["variants"]) == len(names)
    assert len({each["variant"] for each in found["simulations"]}) == len(names)


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    found = read(reports()["bare"])
    assert (found["legs"], found["inputs"]) == ([], {})
    assert found["verdict"] == "error"
    (leg,) = read(reports()["run broke down"])["legs"]
    assert (leg["total_simulations"], leg["completed_simulations"], leg["pass_rate"]) == (None, None, None)
    assert (leg["criteria"], leg["metrics"], leg["simulations"]) == ([], [], [])


def test_launched_has_no_verdict_and_has_not_passed() -> None:
    found = read(reports()["launched"])
    assert found["verdict"] is None
    assert found["passed"] is False


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1 + 0.2, 1e-300, 5e-324, 12345678.9, LARGEST, -LARGEST])
def test_numbers_come_through_exactly(value: float) -> None:
    members = (simulation("s1"), simulation("s2"))
    metric = Metric(id="m1", name="m", values={"s1": value, "s2": -value}, summary=Summary(mean=1.0))
    result = RunResult(run_id="r1", simulations=members, metrics=(metric,))
    (found,) = read(with_leg(reports()["passed"], result=result))["legs"]
    assert [each["values"]["m1"] for each in found["simulations"]] == [value, -value]


def test_inputs_are_told_as_they_were_given_and_secrets_are_not() -> None:
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
    found = read(replace(reports()["passed"], inputs=inputs))
    assert found["inputs"] == {
        "tags": "nightly\nvoice",
        "thresholds": "Latency: avg < 2\nResolved: rate(YES) >= 90%",
        "metadata": "{team, since}",
        "use_metric_targets": "true",
        "max_wait_time": "90",
        "max_failed_simulations": "5%",
        "iteration_count": "3",
    }
    # Of JSON objects the keys alone.
    assert "secret" not in document(replace(reports()["passed"], inputs=inputs))


def test_every_input_but_secrets_can_be_told() -> None:
    """Where one is given that is not as it is by default."""
    samples = {"text": "text", "id": "id1", "list of ids": "a,b", "list": "a,b", "whole number": "7", "seconds": "77"}
    samples |= {"true or false": "", "JSON object": '{"a": 1}', "thresholds": "total >= 1", "number or %": "7%"}
    samples |= {"URL": "https://example.com", "path": "a.json", "secret": "secret0123456789"}
    given = {}
    for each in declared():
        words = [word.strip("`") for word in each.field.name.split(" or ") if word.startswith("`")]
        other = next((word for word in words if word != each.default), "")
        flag = {"true": "false", "false": "true"}.get(each.default, "")
        given[f"INPUT_{each.name.upper()}"] = other or samples[each.field.name] or flag
    inputs, problems = parse_inputs(given)
    assert problems == []
    found = read(replace(reports()["passed"], inputs=inputs))["inputs"]
    assert set(found) == {each.name for each in declared() if each.field.name != "secret"}
    assert not [name for name, text in found.items() if not text or "(" in text]
