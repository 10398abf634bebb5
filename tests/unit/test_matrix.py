"""The values of a matrix distinguish its jobs everywhere that two of them could meet."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.base.text import one_line
from coval_gate.ci.host import Context
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.history.tags import tags_for, with_provenance
from coval_gate.inputs.inputs import CONTEXT_LIMIT, Inputs, declared, parse_inputs
from coval_gate.inputs.parsing import LABEL_LIMIT, NO_MATRIX, matrix_from, matrix_of
from coval_gate.report.model import Report
from coval_gate.step.launch import launch_request
from hostile import HOSTILE
from rendering import comment, commit_status, document, junit, marker, summary
from reports import example_reports

CONTEXT = Context(repository="acme/voice-agent", workflow="Voice gate", job="evaluate", run_id="1", run_attempt="2")
EU, US = ({"region": "eu", "tries": 2}, {"region": "us", "tries": 2})
SHA = "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def parsed(text: str) -> Inputs:
    inputs, problems = parse_inputs({"INPUT_MATRIX": text})
    assert not problems
    return inputs


def report_in(values: dict[str, Any], kind: str = "failed", **inputs: str) -> Report:
    """Return a report of a job whose matrix has these values."""
    report = example_reports()[kind]
    parsed, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})
    assert not problems
    return report._replace(context=report.context._replace(matrix=matrix_of(values)), inputs=parsed)


DEFAULT = next(field.default for field in declared() if field.name == "matrix")


@pytest.mark.parametrize("text", ["", "null", " null\n", "{}", "{ }", DEFAULT, "${{ matrix }}"])
def test_job_without_matrix_has_none(text: str) -> None:
    assert parsed(text).matrix is NO_MATRIX
    assert not NO_MATRIX
    assert NO_MATRIX.after("evaluate") == "evaluate"


@pytest.mark.parametrize("text", ["eu", "[1]", "1", '"eu"', '{"region": ', '{"a": NaN}'])
def test_anything_but_a_json_object_is_an_error(text: str) -> None:
    inputs, (problem,) = parse_inputs({"INPUT_MATRIX": text})
    assert (problem.name, inputs.matrix) == ("matrix", NO_MATRIX)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (EU, "eu, 2"),
        ({"python": "3.12", "os": "ubuntu-latest"}, "3.12, ubuntu-latest"),
        ({"agent": {"id": "a1", "name": "Ann"}, "fast": True, "none": None}, '{"id": "a1", "name": "Ann"}, true, null'),
        ({"city": "Paris, Texas"}, '"Paris, Texas"'),
        ({"a": "", "b": " x"}, '"", " x"'),
    ],
)
def test_label_names_values_as_github_does(values: dict[str, Any], label: str) -> None:
    assert matrix_of(values).label == parsed(json.dumps(values, indent=2)).matrix.label == label


def test_order_of_values_does_not_matter() -> None:
    assert matrix_of({"a": 1, "b": 2}).digest == matrix_of({"b": 2, "a": 1}).digest


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
@example({"a": "x" * 100 + "y"}, {"a": "x" * 100 + "z"})
@example({"a": "x\u200b"}, {"a": "x"})
@example({"a": "1, 2"}, {"a": "1", "b": "2"})
def test_label_is_short_and_plain_and_digest_is_unique(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = matrix_of(first), matrix_of(second)
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (one.digest == other.digest) is same
    for matrix in (one, other):
        assert len(matrix.label) <= LABEL_LIMIT
        assert one_line(matrix.label) == matrix.label
        assert bool(matrix.label) is bool(matrix)
        assert matrix_from(matrix.label).label == matrix.label


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": "x" * 100 + "y"}, {"a": "x" * 100 + "z"}),
        ({"a": "x\u200b"}, {"a": "x"}),
        ({"a": "x  y"}, {"a": "x y"}),
        ({"a": "1, 2"}, {"a": "1", "b": "2"}),
    ],
)
def test_labels_that_would_look_the_same_differ(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert matrix_of(first).label != matrix_of(second).label


def test_tags_of_jobs_differ_and_neither_resumes_nor_supersedes_other() -> None:
    request = LaunchRequest("a1", "p1", "t1")
    eu, us = (CONTEXT._replace(matrix=matrix_of(values)) for values in (EU, US))
    ours = tags_for(eu, request, "1")
    assert len({tags_for(context, request, "1").group for context in (CONTEXT, eu, us)}) == 3
    assert ours.continues(tags_for(eu._replace(run_attempt="1"), request, "2").to_send)
    assert not ours.continues(tags_for(us._replace(run_attempt="1"), request, "2").to_send)
    earlier = {"run_id": "0", "run_attempt": "1"}
    assert ours.supersedes(tags_for(eu._replace(**earlier), request, "2").to_send)  # type: ignore[arg-type]
    assert not ours.supersedes(tags_for(us._replace(**earlier), request, "2").to_send)  # type: ignore[arg-type]


def test_reports_of_jobs_differ() -> None:
    eu, us, alone = (report_in(values, commit_status="Voice gate") for values in (EU, US, {}))
    assert len({marker(report) for report in (eu, us, alone)}) == 3
    assert [commit_status(report).name for report in (eu, us, alone)] == [
        "Voice gate (eu, 2)",
        "Voice gate (us, 2)",
        "Voice gate",
    ]
    assert [json.loads(document(report))["step"]["matrix"] for report in (eu, us, alone)] == ["eu, 2", "us, 2", ""]
    for report, which in ((eu, " (eu, 2)"), (alone, "")):
        assert summary(report).startswith(f"### ❌ Failed: Coval evaluation{which} · persona `p1`\n")
        assert f"/ evaluate{which}" in comment(report)
        root = ET.fromstring(junit(report))
        assert root.attrib["name"] == f"Coval Gate{which}"
        names = [f"Coval.simulations of agent{which}", f"Coval.criteria of the gate{which}"]
        assert [suite.attrib["name"] for suite in root] == names
        assert {case.attrib["classname"] for case in root.iter("testcase")} == {*names}
        properties = {item.attrib["name"]: item.attrib["value"] for item in root.iter("property")}
        assert properties.get("matrix", "") == str(report.context.matrix)


def test_name_of_status_fits_github_and_still_distinguishes_jobs() -> None:
    values = ({"a": "x" * 100 + end} for end in "yz")
    first, second = (commit_status(report_in(value, commit_status="n" * CONTEXT_LIMIT)).name for value in values)
    assert len(first) == len(second) == CONTEXT_LIMIT
    assert first != second
    assert {commit_status(report_in(matrix)).name for matrix in ({}, EU)} == {""}


def test_run_has_matrix_in_metadata_and_display_name() -> None:
    inputs, _ = parse_inputs({})
    metadata = launch_request(inputs, CONTEXT._replace(matrix=matrix_of(EU))).body["metadata"]
    assert metadata["customer"]["github_matrix"] == "eu, 2"
    assert metadata["display_name"] == "acme/voice-agent · Voice gate (eu, 2)"
    assert "github_matrix" not in launch_request(inputs, CONTEXT).body["metadata"]["customer"]


def adopted(context: Context, metadata: dict[str, Any]) -> Context:
    return with_provenance(context, Run("r1", "COMPLETED", metadata=metadata))


METADATA = {"github_repository": "acme/voice-agent", "github_commit": SHA, "github_matrix": "eu, 2"}


def test_step_that_waits_stands_for_the_job_that_launched_the_run() -> None:
    """Its commit status must have the name under which that job set it to pending."""
    waiting = adopted(CONTEXT, METADATA)
    assert waiting.matrix.label == "eu, 2"
    assert waiting.matrix.digest != adopted(CONTEXT, METADATA | {"github_matrix": "us, 2"}).matrix.digest
    own = CONTEXT._replace(matrix=matrix_of(US))
    assert adopted(own, METADATA).matrix == own.matrix
    assert adopted(CONTEXT, METADATA | {"github_repository": "mallory/x"}).matrix is NO_MATRIX


@pytest.mark.parametrize("label", [None, 7, ["eu"], "", " \u200b"])
def test_unusable_matrix_in_metadata_is_none(label: object) -> None:
    assert adopted(CONTEXT, METADATA | {"github_matrix": label}).matrix is NO_MATRIX


def test_hostile_matrix_in_metadata_is_a_short_line() -> None:
    for text in filter(one_line, HOSTILE):
        label = adopted(CONTEXT, METADATA | {"github_matrix": text}).matrix.label
        assert label == one_line(label, LABEL_LIMIT) != "", ascii(text)
