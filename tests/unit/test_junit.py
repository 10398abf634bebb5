"""The JUnit report: which cases it has, and that tools take none of its names for a file."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from coval_gate.coval.model import Details, RunResult, Turn
from coval_gate.gate.judgement import OfLegs
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import Report
from rendering import junit, rows_of
from reports import RUN_URL, example_reports, simulation, with_leg
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
    "failed, simulation did not complete": Counts(4 + 1, failures=1, errors=1),
    "failed, error reported": Counts(4 + 1 + 1, failures=1),
    "passed, tolerated failed simulation": Counts(4 + 1 + 1 + 1, skipped=1),
    "passed, tolerated missed target": Counts(4 + 1 + 2 + 1, skipped=1 + 1),
    "failed, mutation": Counts(8 + 2 + 2, failures=1 + 1),
    "failed, iteration": Counts(4 + 1 + 1, failures=1 + 1),
    "error, no such metric": Counts(4 + 1 + 1, errors=1),
    "error and failed": Counts(4 + 1 + 3, failures=1 + 1, errors=2),
    "error, unfinished simulation": Counts(4 + 1, errors=1 + 1),
    "error, no simulations listed": Counts(1, errors=1),
    "run failed": Counts(1, failures=1),
    "run error": Counts(1, errors=1),
    "timed out": Counts(1, errors=1),
    "interrupted": Counts(1, errors=1),
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


def cases_by_name(root: ET.Element) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_expected_counts_cover_all_reports() -> None:
    assert list(EXPECTED) == list(reports())
    assert {report.judgement.verdict for report in reports().values()} == {None, *Verdict}


@pytest.mark.parametrize("kind", EXPECTED)
def test_report_has_expected_counts(kind: str) -> None:
    root = root_of(reports()[kind])
    tags = Counter(node.tag for node in root.iter())
    assert Counts(tags["testcase"], tags["failure"], tags["error"], tags["skipped"]) == EXPECTED[kind]
    assert root[-1].attrib["name"] == GATE


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


def test_result_comes_before_the_output() -> None:
    """A reader that replaces its case at the result loses an output that it has read before."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(io.StringIO(junit(reports()["failed"])))
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
