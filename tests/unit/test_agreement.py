"""Every face of a report shows the same numbers, also where simulations failed, lack values or are not listed."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from coval_gate.coval.model import Metric, RunResult, Simulation, Target
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.model import LegReport, Report
from rendering import FACES, check_lines, composed

NAMES = "pass_rate", "completed_rate", "Resolved: rate(YES)"
THRESHOLDS = "\n".join(f"{name} >= 100%" for name in NAMES)


def shown(face: str, report: Report) -> Any:
    """Return what a format makes of a report."""
    return FACES[face](composed(report))


class Run(NamedTuple):
    """Of `expected` simulations, so many are listed, failed, lack a value or missed the target; the rest passed."""

    expected: int
    listed: int
    failed: int = 0
    valueless: int = 0
    missed: int = 0

    @property
    def passed(self) -> int:
        return self.listed - self.failed - self.valueless - self.missed


RUNS = {
    "none is listed": Run(10, 0),
    "some are not listed": Run(10, 6),
    "some failed": Run(10, 10, failed=3),
    "some lack a value": Run(10, 10, valueless=2),
    "some missed the target": Run(10, 10, missed=4),
    "all of that": Run(16, 12, failed=2, valueless=1, missed=3),
}


def report_of(run: Run) -> Report:
    simulations = tuple(
        Simulation(id=f"s{number}", test_case_id=f"c{number}", status="FAILED" if number < run.failed else "COMPLETED")
        for number in range(run.listed)
    )
    having = [simulation.id for simulation in simulations][run.failed + run.valueless :]
    values = {simulation_id: "NO" if place < run.missed else "YES" for place, simulation_id in enumerate(having)}
    metric = Metric(id="m1", name="Resolved", values=values, target=Target(operator="in", values=("YES",)))
    result = RunResult(run_id="r1", expected=run.expected, simulations=simulations, metrics=(metric,))
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(THRESHOLDS))
    judgement = judge(result, criteria)
    return Report(judgement=judgement, legs=(LegReport(judgement=judgement, result=result, run_id="r1"),))


def shares(text: str, name: str) -> Iterator[tuple[int, int]]:
    """Yield the numbers, such as 6 of 10, that stand where a text shows what was measured for a threshold."""
    for passed, total in re.findall(rf"{re.escape(name)} >= 100%\W.{{0,80}}?\((\d+) of (\d+)\)", text, re.DOTALL):
        yield int(passed), int(total)


def faces(report: Report, name: str) -> dict[str, set[tuple[int, int]]]:
    """Return what each face shows of a threshold, by the face's name."""
    html = re.sub(r"<[^>]*>", " ", shown("html", report)).replace("&gt;", ">")
    junit = {
        testcase.attrib["name"]: " ".join(node.text or "" for node in testcase)
        for testcase in ET.fromstring(shown("junit", report)).iter("testcase")
    }[f"{name} >= 100%"]
    return {
        "summary": set(shares(shown("summary", report).summary, name)),
        "comment": set(shares(shown("comment", report).summary, name)),
        "check run": set(shares(shown("check_run", report).summary, name)),
        "log": set(shares("\n".join(check_lines(findings_of(report.judgement))), name)),
        "HTML": set(shares(re.sub(r"\s+", " ", html), name)),
        **({"JUnit": set(shares(f"{name} >= 100% {junit}", name))} if junit else {}),  # a case that passed says nothing
    }


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_numbers_are_the_same_in_every_face(run: Run) -> None:
    report = report_of(run)
    share = run.passed / run.expected
    outputs = shown("outputs", report)
    (leg,) = json.loads(shown("json", report))["legs"]
    assert float(outputs["pass_rate"]) == leg["pass_rate"] == share
    assert outputs["total_simulations"] == str(leg["total_simulations"]) == str(run.expected)
    (criterion,) = (shown for shown in leg["criteria"] if shown["criterion"] == "pass_rate >= 100%")
    (failed,) = (entry for entry in json.loads(outputs["failed_criteria"]) if entry["criterion"] == "pass_rate >= 100%")
    assert criterion["actual"] == failed["actual"] == share
    assert criterion["verdict"] == "failed"
    assert set(map(frozenset, faces(report, "pass_rate").values())) == {frozenset({(run.passed, run.expected)})}
    completed = run.listed - run.failed
    assert outputs["completed_simulations"] == str(leg["completed_simulations"]) == str(completed)
    assert set(map(frozenset, faces(report, "completed_rate").values())) == {frozenset({(completed, run.expected)})}
    entry = json.loads(outputs["metrics"])["Resolved"]["variants"]["agent"]
    assert entry == leg["metrics"][0]["variants"]["agent"]
    assert (entry["count"], entry["count"] + entry["missing"]) == (completed - run.valueless, run.expected)
    if run.listed:
        rates = faces(report, "Resolved: rate(YES)")
        assert set(map(frozenset, rates.values())) == {frozenset({(run.passed, run.expected)})}


@pytest.mark.parametrize("confidence", [0.95, None])
def test_what_is_not_listed_never_passes(confidence: float | None) -> None:
    """All of the six that are listed passed."""
    result = report_of(RUNS["some are not listed"]).legs[0].result
    assert result
    lines = "pass_rate >= 90%\ncompleted_rate >= 90%\nfailed == 0\nResolved: rate(YES) >= 90%\nResolved: missing == 0"
    criteria = Criteria(max_failed=Allowance(0), confidence=confidence, thresholds=parse_thresholds(lines))
    judgement = judge(result, criteria)
    assert [check.criterion for check in judgement.checks if check.criterion.user_defined and check.passed] == []
    assert judgement.verdict == "error"


def test_each_variant_counts_its_own_simulations_that_are_not_listed() -> None:
    simulations = tuple(
        Simulation(id=f"{name}{number}", test_case_id=f"c{number}", status="COMPLETED", mutation=name)
        for name, listed in (("", 4), ("Fast", 1))
        for number in range(listed)
    )
    result = RunResult(run_id="r1", expected=12, simulations=simulations)
    criteria = Criteria(max_failed=Allowance(0), mutations=2, thresholds=parse_thresholds("completed_rate >= 100%"))
    measures = [check.measure for check in judge(result, criteria).checks if check.criterion.user_defined]
    assert [(measure.hits, measure.total) for measure in measures if measure] == [(4, 4), (1, 4)]
