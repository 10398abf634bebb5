"""The JUnit report: which cases it has, and that tools take none of its names for a file.

Every report of the table is valid, counts its cases and is read alike: unit/test_reports.py.
"""

import io
import re
from functools import cache
from importlib import import_module
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.coval.model import Details, RunResult, Turn
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import Report
from rendering import junit, rows_of
from reports import example_reports, simulation, with_leg

GATE = "Coval.criteria of the gate"


@cache
def reports() -> dict[str, Report]:
    return example_reports()


def root_of(report: Report) -> ET.Element:
    return ET.fromstring(junit(report))


def cases_of(report: Report) -> list[ET.Element]:
    return [*root_of(report).iter("testcase")]


def test_mutations_named_like_our_suites_stay_distinct() -> None:
    """Two suites must not have the same name."""
    root = root_of(of_mutations("gate", "agent", "Calm"))
    assert [(suite.attrib["name"], suite.attrib["tests"]) for suite in root] == [
        ("Coval.simulations of agent", "1"),
        ("Coval.simulations of Calm", "1"),
        ("Coval.simulations of agent (mutation)", "1"),
        ("Coval.simulations of gate", "1"),
        (GATE, "4"),
    ]


def of_mutations(*mutations: str) -> Report:
    """Return a report on a simulation of the agent and one of each mutation."""
    members = tuple(simulation(f"s{place}", mutation=name) for place, name in enumerate(("", *mutations)))
    return with_leg(reports()["passed"], result=RunResult(run_id="r1", simulations=members))


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 62.50049, 432000.0])
def test_suite_without_known_times_has_the_time_of_the_step_as_plain_decimal(seconds: float) -> None:
    root = root_of(reports()["passed"]._replace(seconds=seconds))
    assert {float(element.attrib["time"]) for element in (root, *root)} == {round(seconds, 3)}
    assert not [case for case in root.iter("testcase") if "time" in case.attrib]


def conversed(report: Report, transcripts: dict[str, tuple[Turn, ...]]) -> ET.Element:
    """Return the report with these conversations."""
    return root_of(with_leg(report, details=report.legs[0].details._replace(transcripts=transcripts)))


def said(start: float | None = None, end: float | None = None) -> Turn:
    return Turn(role="agent", text="Hello", start=start, end=end)


def test_case_has_the_time_of_its_conversation_where_it_is_known() -> None:
    """Times add up without the errors of binary fractions."""
    talks = {"s4": (said(0.0, 2.5), said(3.0, 4.25)), "s1": (said(), said()), "s2": (said(0.0),)}
    root = conversed(reports()["failed"], talks)
    cases = [case for case in root[0] if case.tag == "testcase"]
    ids = [re.findall(r"simulation (\S+)", case.findtext("system-out") or "")[0] for case in cases]
    times = dict(zip(ids, (case.get("time") for case in cases), strict=True))
    assert times == {"s4": "4.25", "s1": None, "s2": None, "s3": None}
    assert root[0].attrib["time"] == "4.25"
    assert [case.get("time") for case in root[-1].iter("testcase")] == [None] * 3
    tenths = conversed(reports()["failed"], {f"s{place}": (said(end=place / 10),) for place in (1, 2)})
    assert tenths[0].attrib["time"] == "0.3"


def test_whole_takes_no_less_than_any_suite() -> None:
    """Conversations are held side by side, so all of them together may be longer than the step."""
    report = reports()["passed"]._replace(seconds=2.5)
    root = conversed(report, {row.simulation.id: (said(0.0, 40.25),) for row in rows_of(report)})
    first, gate = root
    assert first.attrib["time"] == root.attrib["time"] == str(40.25 * len(rows_of(report)))
    assert gate.attrib["time"] == "2.5"


def test_url_with_invalid_characters_is_cleaned() -> None:
    """The value of dashboard_url is in every link."""
    root = root_of(with_leg(reports()["passed"], run_url="https://a.example/\x01\ud800<&'\"/runs/r1"))
    assert {entry.attrib["value"] for entry in root.iter("property") if entry.attrib["name"] == "url"} == {
        "https://a.example/?<&'\"/runs/r1"
    }


def test_test_cases_with_same_name_get_distinct_names() -> None:
    report = reports()["passed"]
    labels = dict.fromkeys((row.simulation.test_case_id for row in rows_of(report)), "Same name")
    cases = cases_of(with_leg(report, details=Details(labels=labels)))
    names = [case.attrib["name"] for case in cases if case.attrib["classname"] != GATE]
    assert len(set(names)) == len(names) > 1


def test_result_comes_before_the_output() -> None:
    """A reader that replaces its case at the result loses an output that it has read before."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(io.StringIO(junit(reports()["failed"])))
    (failed,) = (case for case in suite if case.failed and "simulations" in case.classname)
    assert failed.stdout.startswith("simulation s4")


def test_no_class_name_is_taken_for_a_file_and_each_has_one_dot() -> None:
    """Tools look for a file that is named like what stands behind the last dot, or like all of it as a path.

    Jenkins shows what stands before the last dot as the package.
    """
    report = reports()["passed"]
    in_matrix = report._replace(context=report.context._replace(matrix=matrix_of({"python": "3.13", "region": "eu"})))
    named = of_mutations("agent", "gate", "GPT-4.1 mini", "README.md", "src/agent.py", "*", "Calmer")
    cases = [case for one in (*reports().values(), named, in_matrix) for case in cases_of(one)]
    groups = {case.attrib["classname"] for case in cases}
    assert "Coval.simulations of GPT-4·1 mini" in groups
    assert [group for group in groups if not re.fullmatch(r"Coval\.(simulations|criteria) of [^.]+", group)] == []
    assert not [case for case in cases if "file" in case.attrib]
