"""Tools that show test results read the JUnit report alike, and take none of its names for a file."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from io import StringIO
from typing import Any, Final

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from coval_gate.coval.model import RunResult, Turn
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import Report
from hostile import NAMED, example_reports, repeated, report_of, simulation, with_leg
from rendering import junit
from selection import shares
from validation import junit_schema

KINDS: Final = ("passed", "failure", "error", "skipped")

Read = list[tuple[str, str, str]]  # class name, name and kind of each case


def by_standard_library(text: str) -> Read:
    return [
        (case.attrib["classname"], case.attrib["name"], next((e.tag for e in case if e.tag in KINDS), "passed"))
        for case in ET.fromstring(text).iter("testcase")
    ]


def by_junitparser(text: str) -> Read:
    """Read as EnricoMi/publish-unit-test-result-action does."""
    kinds = {Failure: "failure", Error: "error", Skipped: "skipped"}
    root: Any = JUnitXml.fromstring(text)  # or a suite
    return [
        (
            case.classname,
            case.name,
            next((kinds[type(result)] for result in case.result if type(result) in kinds), "passed"),
        )
        for suite in (root if isinstance(root, JUnitXml) else [root])
        for case in suite
    ]


def by_xunitparser(text: str) -> Read:
    """Read as tools around unittest do. The parser itself compares the totals with what it finds."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(StringIO(text))
    return [(case.classname, case.methodname, case.result.replace("success", "passed")) for case in suite]


def by_codecov(text: str) -> Read:
    parser: Any = import_module("test_results_parser")
    kinds = {"pass": "passed", "failure": "failure", "error": "error", "skip": "skipped"}
    return [
        (
            unescaped(testrun.classname),
            unescaped(testrun.name),
            kinds[str(testrun.outcome).rpartition(".")[2].lower()],
        )
        for testrun in parser.parse_junit_xml(text.encode()).testruns
    ]


def unescaped(text: str) -> str:
    """Return a text that Codecov's parser read; it keeps entities."""
    return ET.fromstring(f"<a>{text}</a>").text or ""


READERS: Final[dict[str, Callable[[str], Read]]] = {
    "junitparser": by_junitparser,
    "xunitparser": by_xunitparser,
    "Codecov": by_codecov,
}


@cache
def reports() -> dict[str, Report]:
    return example_reports()


@pytest.mark.parametrize("reader", READERS)
def test_readers_agree_on_every_report(reader: str, subtests: pytest.Subtests) -> None:
    for kind, report in reports().items():
        with subtests.test(kind):
            text = junit(report)
            read_cases, root = READERS[reader](text), ET.fromstring(text)
            assert read_cases == by_standard_library(text)
            counts = Counter(kind for _, _, kind in read_cases)
            assert [len(read_cases), counts["failure"], counts["error"]] == [
                int(root.attrib[name]) for name in ("tests", "failures", "errors")
            ]


@pytest.mark.parametrize("entries", shares(NAMED.items(), one_of=9))
def test_readers_agree_on_hostile_text(entries: list[tuple[str, str]], subtests: pytest.Subtests) -> None:
    for name, hostile in entries:
        report = report_of(hostile)
        for text in (junit(report), junit(repeated(report))):
            junit_schema().validate(text)
            expected = Counter(by_standard_library(text))
            for reader, read in READERS.items():
                with subtests.test(f"{name}, {reader}"):
                    assert Counter(read(text)) == expected


def test_properties_have_one_value_each() -> None:
    """Readers such as xunitparser put the properties of all suites together."""
    for kind, report in reports().items():
        names = [entry.attrib["name"] for entry in ET.fromstring(junit(report)).iter("property")]
        assert len(names) == len(set(names)), kind


def test_result_comes_before_the_output() -> None:
    """A reader that replaces its case at the result loses an output that it has read before."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(StringIO(junit(reports()["failed"])))
    (failed,) = (case for case in suite if case.failed and "simulations" in case.classname)
    assert failed.stdout.startswith("simulation s4")


# What a workspace may have: a file for every word that names of the report consist of.
MUTATIONS: Final = ("agent", "gate", "GPT-4.1 mini", "README.md", "src/agent.py", "*", "Calmer")
STEMS: Final = ("agent", "gate", "coval", "Coval", "Calmer", "README", "criteria", "simulations", "evaluation", "case")
WORKSPACE: Final = [
    f"{folder}{stem}{suffix}"
    for stem in (*STEMS, "GPT-4.1 mini", "1 mini", "4")
    for suffix in ("", ".py", ".md", ".test.ts", ".java")
    for folder in ("", "src/", "coval/", "Coval/", "src/test/java/Coval/")
]


def last_part(case: ET.Element) -> str:
    """Find files as mikepenz/action-junit-report and ScaCap/action-surefire-report do, which search for `**/part.*`."""
    return f"{case.attrib['classname'].rpartition('.')[2]}.*"


def whole_path(case: ET.Element) -> str:
    """Find files as readers of Java do, which take the dots of the class name for folders."""
    return f"{case.attrib['classname'].replace('.', '/')}*"


def class_name(case: ET.Element) -> str:
    """Find files as EnricoMi/publish-unit-test-result-action does, whose annotations have the class name as path."""
    return case.attrib["classname"]


def case_name(case: ET.Element) -> str:
    return case.attrib["name"]


def matching(pattern: str) -> Iterator[str]:
    return (path for path in WORKSPACE if fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}"))


def of_many_names() -> Report:
    members = tuple(simulation(f"s{place}", mutation=name) for place, name in enumerate(("", *MUTATIONS)))
    return with_leg(reports()["passed"], result=RunResult(run_id="r1", simulations=members))


@pytest.mark.parametrize("rule", [last_part, whole_path, class_name])
def test_no_class_name_is_taken_for_a_file(rule: Callable[[ET.Element], str]) -> None:
    for report in (*reports().values(), of_many_names()):
        for case in ET.fromstring(junit(report)).iter("testcase"):
            assert [*matching(rule(case))] == []
            assert "file" not in case.attrib


def test_class_name_has_one_dot_so_that_readers_agree_on_its_package() -> None:
    """Jenkins shows what stands before the last dot as the package, and what follows as the class."""
    for report in (of_many_names(), reports()["passed"]._replace(context=in_matrix(reports()["passed"]))):
        groups = {case.attrib["classname"] for case in ET.fromstring(junit(report)).iter("testcase")}
        assert {group.partition(".")[0] for group in groups} == {"Coval"}
        assert {group.count(".") for group in groups} == {1}
    assert "Coval.simulations of GPT-4·1 mini" in {
        case.attrib["classname"] for case in ET.fromstring(junit(of_many_names())).iter("testcase")
    }


def in_matrix(report: Report) -> Any:
    return report.context._replace(matrix=matrix_of({"python": "3.13", "region": "eu"}))


def test_suite_and_class_have_one_name_so_that_no_reader_shows_both() -> None:
    """dorny/test-reporter puts the cases of a suite under their class, unless both have the same name."""
    for suite in ET.fromstring(junit(reports()["failed, mutation"])):
        assert {case.attrib["classname"] for case in suite.iter("testcase")} == {suite.attrib["name"]}


def test_case_has_the_time_of_its_conversation_where_it_is_known() -> None:
    report = reports()["failed"]
    (leg,) = report.legs
    talk = (Turn(role="agent", text="Hello", start=0.0, end=2.5), Turn(role="persona", text="Bye", start=3.0, end=4.25))
    chat = (Turn(role="agent", text="Hello"), Turn(role="persona", text="Bye"))
    endless = (Turn(role="agent", text="Hello", start=0.0),)
    details = leg.details._replace(transcripts={"s4": talk, "s1": chat, "s2": endless})
    root = ET.fromstring(junit(report._replace(legs=(leg._replace(details=details),))))
    times = {re.findall(r"simulation (\S+)", case.findtext("system-out") or "")[0]: case.get("time") for case in root[0]
             if case.tag == "testcase"}  # fmt: skip
    assert times == {"s4": "4.25", "s1": None, "s2": None, "s3": None}
    assert root[0].attrib["time"] == "4.25"
    assert [case.get("time") for case in root[-1].iter("testcase")] == [None] * 3


def test_times_of_suite_add_up_without_the_errors_of_binary_fractions() -> None:
    report = reports()["failed"]
    (leg,) = report.legs
    talks = {f"s{place}": (Turn(role="agent", text="Hello", end=place / 10),) for place in (1, 2)}
    details = leg.details._replace(transcripts=talks)
    root = ET.fromstring(junit(report._replace(legs=(leg._replace(details=details),))))
    assert root[0].attrib["time"] == "0.3"
