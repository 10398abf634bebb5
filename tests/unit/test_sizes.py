"""The reports for machines stay small where every simulation misses every criterion, and count what they leave out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.coval.model import Details, Metric, Run, RunResult, Simulation
from coval_gate.gate.compared import Baseline, BaselineRun
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import MOST_MISSES
from coval_gate.gate.judge import judge
from coval_gate.gate.kinds import ThresholdHolds
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_gate.report.compose import document_of as compose
from coval_gate.report.document import Document
from coval_gate.report.formats.log import MOST_MISSES as MOST_ANNOTATED
from coval_gate.report.formats.pages import COMMENT_LIMIT
from coval_gate.report.formats.summary import LIMIT as SUMMARY_LIMIT
from coval_gate.report.limits import (
    LONGEST_MENTION,
    MOST_CRITERIA,
    MOST_FIGURES,
    MOST_FLIPS,
    MOST_IDS,
    MOST_VALUES,
)
from coval_gate.report.model import LegReport, Report
from hostile import example_reports
from rendering import FACES, closing, comment, document, findings_in, junit, summary
from selection import some_of

pytestmark = pytest.mark.untraced

SIMULATIONS, THRESHOLDS = 210, 120
MOST_BYTES = 6_000_000 + 15_000 * SIMULATIONS  # of a file
ID = "{}{:0>18}".format  # as long as Coval's


def report_of(*, metrics: int, variants: int = 1, simulations: int = SIMULATIONS, lines: int = THRESHOLDS) -> Report:
    """Return the report on simulations that are to blame for every threshold; these are spread over the metrics."""
    members = tuple(
        Simulation(
            id=ID("siml", number),
            status="COMPLETED",
            test_case_id=ID("case", number),
            mutation=f"Mutation {number % variants}" if number % variants else "",
        )
        for number in range(simulations)
    )
    measured = tuple(
        Metric(
            id=ID("metr", number),
            name=f"Seconds until the answer, {number}",
            values={listed.id: 2.0 + place / 7 for place, listed in enumerate(members)},
        )
        for number in range(metrics)
    )
    result = RunResult(run_id=ID("runs", 1), simulations=members, metrics=measured)
    judgement = judge(result, Criteria(max_failed=Allowance(0), thresholds=thresholds(metrics, lines)))
    explained = {
        member.id: {metric.id: "The agent was slow. " * 15 for metric in measured} for member in members[-20:]
    }  # the worst
    labels = {member.test_case_id: f"A caller who wants to know the way, number {member.id}" for member in members}
    leg = LegReport(judgement=judgement, result=result, details=Details(labels=labels, texts=explained))
    return Report(judgement=judgement, legs=(leg,))


def thresholds(metrics: int, lines: int) -> tuple[Threshold, ...]:
    """Return thresholds that every simulation misses."""
    return parse_thresholds(
        "\n".join(f'"Seconds until the answer, {number % metrics}": max < 1.{number:03}' for number in range(lines))
    )


def compared_report_of(*, metrics: int, variants: int = 1, simulations: int = SIMULATIONS) -> Report:
    """Return the report on simulations that all miss every threshold against a baseline, in which they all met it."""
    large = report_of(metrics=metrics, variants=variants, simulations=simulations)
    (leg,) = large.legs
    assert leg.result
    now = leg.result._replace(
        metrics=tuple(metric._replace(values=dict.fromkeys(metric.values, "NO")) for metric in leg.result.metrics),
    )
    then = now._replace(
        run_id=ID("runs", 0),
        metrics=tuple(metric._replace(values=dict.fromkeys(metric.values, "YES")) for metric in now.metrics),
    )
    baseline = Baseline(
        source=BaselineSource(kind="branch", name="main", last=1),
        runs=(BaselineRun(run=Run(run_id=then.run_id, status="COMPLETED"), result=then),),
    )
    lines = [
        f'"Seconds until the answer, {number % metrics}": rate(YES) >= baseline - 0.{number:03}'
        for number in range(THRESHOLDS)
    ]
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("\n".join(lines)))
    judgement = judge(now, criteria, baseline=baseline)
    return large._replace(judgement=judgement, legs=(leg._replace(judgement=judgement, result=now),))


COMPARED_SHAPES: dict[str, dict[str, Any]] = {
    "compared, one metric": {"metrics": 1},
    "compared, a metric for each threshold": {"metrics": THRESHOLDS},
    "compared, 101 variants": {"metrics": 1, "variants": 101},
}
SHAPES: dict[str, dict[str, Any]] = {
    "one metric": {"metrics": 1},
    "a metric for each threshold": {"metrics": THRESHOLDS},
    "101 variants": {"metrics": 1, "variants": 101},
    "101 variants, a metric for each threshold": {"metrics": THRESHOLDS, "variants": 101},
}


@cache
def report(shape: str) -> Report:
    return report_of(**SHAPES[shape])


@cache
def compared_report(shape: str) -> Report:
    return compared_report_of(**COMPARED_SHAPES[shape])


@cache
def document_of(shape: str) -> str:
    return document(report(shape))


@cache
def junit_of(shape: str) -> str:
    return junit(report(shape))


@cache
def parsed(shape: str) -> dict[str, Any]:
    (leg,) = json.loads(document_of(shape))["legs"]
    return dict(leg)


@pytest.mark.parametrize("shape", some_of(SHAPES, "101 variants, a metric for each threshold"))
def test_files_are_small_and_count_what_they_leave_out(shape: str) -> None:
    assert len(document_of(shape).encode()) < MOST_BYTES
    assert len(junit_of(shape).encode()) < MOST_BYTES
    judgement, parsed_leg = report(shape).legs[0].judgement, parsed(shape)
    metrics, variants = SHAPES[shape]["metrics"], SHAPES[shape].get("variants", 1)
    assert len(parsed_leg["simulations"]) == SIMULATIONS
    assert len(parsed_leg["criteria"]) + parsed_leg["criteria_left_out"] == len(judgement.checks) > THRESHOLDS
    assert len(parsed_leg["reasons"]) + parsed_leg["reasons_left_out"] == THRESHOLDS * variants
    assert len(parsed_leg["metrics"]) + parsed_leg["metrics_left_out"] == metrics
    for criterion, check in zip(
        parsed_leg["criteria"], findings_in(report(shape).legs[0]).checks.first(MOST_CRITERIA), strict=True
    ):
        blamed = 0 if check.passed else len(check.simulations)
        assert len(criterion["simulation_ids"]) == min(MOST_IDS, blamed)
        assert criterion["simulation_ids_left_out"] == blamed - len(criterion["simulation_ids"])
    for row in parsed_leg["simulations"]:
        assert len(row["missed_criteria"]) == MOST_MISSES
        assert row["missed_criteria_left_out"] == THRESHOLDS - MOST_MISSES
        assert len(row["values"]) == min(MOST_VALUES, metrics)
        assert row["values_left_out"] == metrics - len(row["values"])
    explained = parsed_leg["simulations"][0]
    assert len(explained["explanations"]) + explained["explanations_left_out"] == metrics


@pytest.mark.parametrize("shape", some_of(COMPARED_SHAPES, "compared, one metric"))
def test_reports_with_thousands_of_flips_are_small_and_count_what_they_leave_out(shape: str) -> None:
    large = compared_report(shape)
    text = document(large)
    assert len(text.encode()) < MOST_BYTES
    assert len(junit(large).encode()) < MOST_BYTES
    assert len(summary(large).encode()) <= SUMMARY_LIMIT
    assert len(comment(large)) <= COMMENT_LIMIT
    assert sum(map(len, closing(large).flips)) < 100_000
    (leg,) = json.loads(text)["legs"]
    checks = findings_in(large.legs[0]).checks.first(MOST_CRITERIA)
    for criterion, check in zip(leg["criteria"], checks, strict=True):
        flipped = check.measure.comparison.newly_failing if check.measure and check.measure.comparison else ()
        assert len(criterion["newly_failing"]) == min(MOST_FLIPS, len(flipped))
        assert criterion["newly_failing_left_out"] == len(flipped) - len(criterion["newly_failing"])
    assert any(criterion["newly_failing"] for criterion in leg["criteria"])


def test_criteria_beyond_limit_are_counted_and_gravest_remain() -> None:
    shape = "101 variants, a metric for each threshold"
    parsed_leg = parsed(shape)
    assert len(parsed_leg["criteria"]) == MOST_CRITERIA
    assert {criterion["verdict"] for criterion in parsed_leg["criteria"]} == {"failed"}
    gate = [*ET.fromstring(junit_of(shape))][-1]
    assert len(gate.findall("testcase")) == MOST_CRITERIA + 1
    last = gate.findall("testcase")[-1]
    left_out = parsed_leg["criteria_left_out"]
    assert last.attrib["name"] == f"… and {left_out:,} more criteria"
    assert [node.tag for node in last] == ["skipped"]
    assert f"{left_out:,} more are left out" in last[0].attrib["message"]


def test_figures_beyond_limit_are_counted() -> None:
    parsed_leg = parsed("101 variants, a metric for each threshold")
    assert len(parsed_leg["metrics"]) == MOST_FIGURES // 101
    assert parsed("a metric for each threshold")["metrics_left_out"] == 0


def test_values_and_explanations_of_missed_criteria_come_first() -> None:
    large = report_of(metrics=THRESHOLDS, simulations=1)
    (leg,) = large.legs
    last = leg.judgement.checks[-1]
    judgement = leg.judgement._replace(checks=(last,))
    (found,) = json.loads(document(large._replace(legs=(leg._replace(judgement=judgement),))))["legs"]
    (row,) = found["simulations"]
    assert next(iter(row["values"])) == next(iter(row["explanations"])) == last.metric
    assert len(row["values"]) == len(row["explanations"]) == MOST_VALUES


def test_long_criteria_are_cut_where_simulations_name_them() -> None:
    """Twenty criteria of 5,000 characters on each simulation would be 200 MB."""
    large = report_of(metrics=1, simulations=200)
    (leg,) = large.legs
    text = "x" * 5_000
    long = parse_thresholds("Latency: max < 1")[0]._replace(text=text)
    checks = tuple(replace(check, criterion=ThresholdHolds(threshold=long)) for check in leg.judgement.checks[-20:])
    report = large._replace(legs=(leg._replace(judgement=leg.judgement._replace(checks=checks)),))
    (found,) = json.loads(document(report))["legs"]
    assert {len(text) for row in found["simulations"] for text in row["missed_criteria"]} == {LONGEST_MENTION}
    assert {criterion["criterion"] for criterion in found["criteria"]} == {text}
    simulations, gate = ET.fromstring(junit(report))
    assert len(ET.tostring(simulations)) < 200 * (MOST_MISSES + 2) * (LONGEST_MENTION + 100)
    assert len(ET.tostring(gate)) < 20 * (len(text) + 6 * (LONGEST_MENTION + 100) + 1_000)
    names = [entry.attrib["name"] for entry in gate.iter("property")]
    assert len(names) == len(set(names)) > 20 * 6


def test_texts_for_people_count_what_they_leave_out() -> None:
    large = report("one metric")
    more = f"… and {THRESHOLDS - MOST_MISSES:,} more criteria"
    assert f"{more} |" in summary(large)
    assert f"    {more}" in closing(large).simulation_lines()
    more_in_annotation = f"… and {THRESHOLDS - MOST_ANNOTATED:,} more criteria"
    assert all(annotation.message.endswith(f"\n{more_in_annotation}") for annotation in closing(large).annotations(10))
    case = next(ET.fromstring(junit(large)).iter("testcase"))
    failure = case.find("failure")
    assert failure is not None
    assert (failure.text or "").splitlines()[-2:] == [
        more,
        f"simulation {ID('siml', SIMULATIONS - 1)}",
    ]


def test_small_report_leaves_nothing_out() -> None:
    text = json.dumps(json.loads(document(example_reports()["failed, two criteria"])))
    assert set(re.findall(r'_left_out": (\d+)', text)) == {"0"}


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions a piece of work calls, which measures it without a clock."""
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(scope="module")
def of_two_sizes() -> tuple[Report, Report]:
    """Two reports whose simulations all fail; the second has eight times as many."""
    small, large = (report_of(metrics=2, simulations=size, lines=20) for size in (30, 240))
    return small, large


@pytest.fixture(scope="module")
def documents(of_two_sizes: tuple[Report, Report]) -> list[Document]:
    return [compose(size) for size in of_two_sizes]


@pytest.mark.parametrize("face", FACES)
def test_work_of_a_format_grows_no_faster_than_the_run(face: str, documents: list[Document]) -> None:
    small, large = documents
    render = FACES[face]
    for size in documents:
        render(size)  # imports
    assert calls_of(lambda: render(large)) < 9 * calls_of(lambda: render(small))


def test_work_that_formats_share_grows_no_faster_than_the_run(of_two_sizes: tuple[Report, Report]) -> None:
    small, large = of_two_sizes
    assert calls_of(lambda: compose(large)) < 9 * calls_of(lambda: compose(small))
