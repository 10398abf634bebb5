"""The JUnit report is valid, and other parsers read the same results from it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from coval_gate.coval.model import Details, RunResult, Turn
from coval_gate.gate.judgement import OfLegs
from coval_gate.gate.verdict import Verdict
from coval_gate.report.model import Report
from hostile import RUN_URL, example_reports, simulation, with_leg
from rendering import junit, rows_of
from validation import junit_schema

GATE = "Coval.criteria of the gate"


class Counts(NamedTuple):
    """The totals that tools show for a report."""

    tests: int
    failures: int = 0
    errors: int = 0
    skipped: int = 0


# Counted by hand: simulations, criteria that apply to every run, criteria from the inputs, and one case for the
# evaluation if no criterion explains the verdict.
EXPECTED = {
    "passed": Counts(4 + 1 + 2 + 1),
    "passed, no criteria": Counts(4 + 1 + 1),
    "failed": Counts(4 + 1 + 2, failures=1 + 1),
    "failed, two criteria": Counts(4 + 1 + 2, failures=1 + 2),
    "failed, target": Counts(4 + 1 + 1, failures=1 + 1),
    "failed, forbidden value": Counts(4 + 1 + 1, failures=1 + 1),
    "failed, simulation did not complete": Counts(4 + 1, failures=1, errors=1),
    "failed, error reported": Counts(4 + 1 + 1, failures=1),
    "passed, tolerated failed simulation": Counts(4 + 1 + 1 + 1, skipped=1),
    "passed, tolerated missed target": Counts(4 + 1 + 2 + 1, skipped=1 + 1),
    "failed, mutation": Counts(8 + 2 + 2, failures=1 + 1),
    "failed, iteration": Counts(4 + 1 + 1, failures=1 + 1),
    "error, no such metric": Counts(4 + 1 + 1, errors=1),
    "error, no values": Counts(4 + 1 + 2, errors=2),
    "error and failed": Counts(4 + 1 + 3, failures=1 + 1, errors=2),
    "error, unfinished simulation": Counts(4 + 1, errors=1 + 1),
    "error, no simulations listed": Counts(1, errors=1),
    "run failed": Counts(1, failures=1),
    "run error": Counts(1, errors=1),
    "run cancelled": Counts(1, errors=1),
    "run deleted": Counts(1, errors=1),
    "timed out": Counts(1, errors=1),
    "interrupted": Counts(1, errors=1),
    "unfinished": Counts(1, errors=1),
    "skipped": Counts(1, skipped=1),
    "launched": Counts(1, skipped=1),
    "step error": Counts(1, errors=1),
    "timed out, missing values": Counts(4 + 1 + 2 + 1, errors=2 + 1),
    "inconclusive": Counts(4 + 1, failures=1, skipped=1),
    "no legs": Counts(1, errors=1),
}


@cache
def reports() -> dict[str, Report]:
    return example_reports()


def root_of(report: Report) -> ET.Element:
    """Return the report as the standard library parses it, after validation against the schema."""
    text = junit(report)
    junit_schema().validate(text)
    return ET.fromstring(text)


def count_results(root: ET.Element) -> Counts:
    """Count the cases and their results, independently of the attributes."""
    tags = Counter(node.tag for node in root.iter())
    return Counts(tags["testcase"], tags["failure"], tags["error"], tags["skipped"])


def count_attributes(suites: list[ET.Element]) -> Counts:
    """Return the sums of the attributes of the suites."""
    return Counts(
        *(sum(int(suite.attrib[name]) for suite in suites) for name in ("tests", "failures", "errors", "skipped"))
    )


def cases_by_name(root: ET.Element) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_expected_counts_cover_all_reports() -> None:
    assert list(EXPECTED) == list(reports())
    assert {report.judgement.verdict for report in reports().values()} == {None, *Verdict}


@pytest.mark.parametrize("kind", EXPECTED)
def test_report_is_valid_and_has_expected_counts(kind: str) -> None:
    root = root_of(reports()[kind])
    suites = list(root)
    assert count_results(root) == count_attributes(suites) == EXPECTED[kind]
    assert [count_results(suite) for suite in suites] == [count_attributes([suite]) for suite in suites]
    assert [int(root.attrib[name]) for name in ("tests", "failures", "errors")] == [*EXPECTED[kind][:3]]
    assert suites[-1].attrib["name"] == GATE


def test_case_names_are_unique() -> None:
    for kind, report in reports().items():
        names = [(case.attrib["classname"], case.attrib["name"]) for case in root_of(report).iter("testcase")]
        assert len(names) == len(set(names)), kind


def test_mutations_named_like_our_suites_stay_distinct() -> None:
    """Two suites must not have the same name."""
    members = tuple(
        simulation(f"s{number}", mutation=name) for number, name in enumerate(["", "gate", "agent", "Calm"])
    )
    report = with_leg(reports()["passed"], result=RunResult(run_id="r1", simulations=members))
    root = root_of(report)
    assert [(suite.attrib["name"], suite.attrib["tests"]) for suite in root][:-1] == [
        ("Coval.simulations of agent", "1"),
        ("Coval.simulations of Calm", "1"),
        ("Coval.simulations of agent (mutation)", "1"),
        ("Coval.simulations of gate", "1"),
    ]
    assert root[-1].attrib["name"] == GATE
    assert "evaluation" in cases_by_name(root[-1])


def of_legs(*names: str, decisive: str = "") -> Report:
    """Return a report on several legs of these names, which differ in nothing else."""
    report = reports()["failed"]
    legs = tuple(report.legs[0]._replace(name=name, run_id=f"run {name}") for name in names)
    return report._replace(legs=legs, judgement=report.judgement._replace(of_legs=OfLegs(len(legs), decisive)))


def test_each_leg_has_suites_of_the_shape_that_the_only_leg_has() -> None:
    alone, root = root_of(reports()["failed"]), root_of(of_legs("one", "two", decisive="one"))
    assert [suite.attrib["name"] for suite in root] == [
        f"Coval.{name}: {suite.attrib['name'].removeprefix('Coval.')}" for name in ("one", "two") for suite in alone
    ]
    for suite, own in zip(root, [*alone, *alone], strict=True):
        assert [shown(case) for case in suite.iter("testcase")] == [shown(case) for case in own.iter("testcase")]


def shown(case: ET.Element) -> list[object]:
    """Return a case without its class name."""
    return [case.attrib["name"], [(node.tag, node.attrib, node.text) for node in case]]


def test_suites_of_legs_have_distinct_names() -> None:
    """A dot becomes a "·", and names of legs may hold what we write ourselves."""
    names = [suite.attrib["name"] for suite in root_of(of_legs("v1.2", "v1·2", "v1", decisive="v1"))]
    assert names[1::2] == [
        "Coval.v1·2: criteria of the gate",
        "Coval.v1·2: criteria of the gate (2)",
        "Coval.v1: criteria of the gate",
    ]
    assert len(set(names)) == len(names) == 6


def test_properties_of_legs_are_told_apart() -> None:
    """Each leg's suite has its own, with its name. What the legs share is in the first of these suites, once."""
    root = root_of(of_legs("one", "two", decisive="one"))
    one, two = (
        {entry.attrib["name"]: entry.attrib["value"] for entry in suite.iter("property")} for suite in [*root][1::2]
    )
    assert (one["one: run"], two["two: run"]) == ("run one", "run two")
    assert (one["one: url"], two["two: url"]) == (RUN_URL, RUN_URL)
    assert (one["workflow"], one["one: persona"]) == ("Voice gate", "p1")
    assert one["one: Latency: max < 1.5: actual"] == two["two: Latency: max < 1.5: actual"]
    assert {name.partition(": ")[0] for name in two} == {"two"}
    assert not one.keys() & two.keys()


def test_suite_without_known_times_has_the_time_of_the_step() -> None:
    root = root_of(reports()["passed"]._replace(seconds=62.50049))
    assert {element.attrib["time"] for element in (root, *root)} == {"62.5"}
    assert not [case for case in root.iter("testcase") if "time" in case.attrib]


def test_whole_takes_no_less_than_any_suite() -> None:
    """Conversations are held side by side, so all of them together may be longer than the step."""
    report = reports()["passed"]._replace(seconds=2.5)
    turns = (Turn(role="agent", text="Hello.", start=0.0, end=40.25),)
    details = Details(transcripts={row.simulation.id: turns for row in rows_of(report)})
    root = root_of(with_leg(report, details=details))
    first, gate = root
    assert first.attrib["time"] == root.attrib["time"] == str(40.25 * len(rows_of(report)))
    assert gate.attrib["time"] == "2.5"


@pytest.mark.parametrize("seconds", [0.0, 0.00001, 1e-7, 59.9994, 123456.789, 432000.0])
def test_time_is_plain_decimal(seconds: float) -> None:
    assert float(root_of(reports()["passed"]._replace(seconds=seconds)).attrib["time"]) == round(seconds, 3)


def test_url_with_invalid_characters_is_cleaned() -> None:
    """The value of dashboard_url is in every link."""
    report = with_leg(reports()["passed"], run_url="https://a.example/\x01\ud800<&'\"/runs/r1")
    root = root_of(report)
    assert {entry.attrib["value"] for entry in root.iter("property") if entry.attrib["name"] == "url"} == {
        "https://a.example/?<&'\"/runs/r1"
    }


def test_test_cases_with_same_name_get_distinct_names() -> None:
    report = reports()["passed"]
    result = report.legs[0].result
    assert result
    labels = dict.fromkeys((member.test_case_id for member in result.simulations), "Same name")
    twins = with_leg(report, details=Details(labels=labels))
    members = root_of(twins).iter("testcase")
    names = [case.attrib["name"] for case in members if case.attrib["classname"] != GATE]
    assert len(set(names)) == len(names) > 1
