"""The reports for machines stay small where every simulation misses every criterion, and count what they leave out."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.base.errors import InputError
from coval_gate.ci.host import SUMMARY_LIMIT
from coval_gate.coval.model import RunResult
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import ThresholdHolds
from coval_gate.gate.findings import MOST_MISSES
from coval_gate.gate.judgement import Judgement, errored
from coval_gate.gate.problems import NO_VALUES
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.inputs.inputs import Problem
from coval_gate.inputs.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.report import (
    LONGEST_MENTION,
    MOST_CRITERIA,
    MOST_FIGURES,
    MOST_FLIPS,
    MOST_IDS,
    MOST_VALUES,
)
from coval_gate.report.document import document_of as compose
from coval_gate.report.formats.log import MOST_MISSES as MOST_ANNOTATED
from coval_gate.report.formats.pages import CHECK_LIMIT, COMMENT_LIMIT
from coval_gate.report.markdown import utf8_size
from coval_gate.report.model import LegReport, Report
from readers import MarkdownPage
from rendering import FACES, closing, comment, document, findings_in, junit, page_of, summary
from reports import example_reports, large_report

pytestmark = pytest.mark.untraced

SIMULATIONS, THRESHOLDS = 210, 120
MOST_BYTES = 6_000_000 + 15_000 * SIMULATIONS  # of a file


WIDE = "45 variants, a metric for each threshold"
SHAPES: dict[str, dict[str, Any]] = {
    "one metric": {"metrics": 1},
    WIDE: {"metrics": THRESHOLDS, "variants": 45},
}


@cache
def report(shape: str) -> Report:
    return large_report(SIMULATIONS, lines=THRESHOLDS, **SHAPES[shape])


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


@pytest.mark.parametrize("shape", SHAPES)
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
        parsed_leg["criteria"], findings_in(report(shape).legs[0]).checks.by_gravity[:MOST_CRITERIA], strict=True
    ):
        blamed = 0 if check.passed else len(check.simulations)
        assert len(criterion["simulation_ids"]) == min(MOST_IDS, blamed)
        assert criterion["simulation_ids_left_out"] == blamed - len(criterion["simulation_ids"])
    for row in parsed_leg["simulations"]:
        assert len(row["misses"]) == MOST_MISSES
        assert row["misses_left_out"] == THRESHOLDS - MOST_MISSES
        assert len(row["values"]) == min(MOST_VALUES, metrics)
        assert row["values_left_out"] == metrics - len(row["values"])
    explained = parsed_leg["simulations"][0]
    assert len(explained["explanations"]) + explained["explanations_left_out"] == metrics


def test_reports_with_thousands_of_flips_are_small_and_count_what_they_leave_out() -> None:
    large = large_report(SIMULATIONS, lines=THRESHOLDS, compared=True)
    text = document(large)
    assert len(text.encode()) < MOST_BYTES
    assert len(junit(large).encode()) < MOST_BYTES
    assert len(summary(large).encode()) <= SUMMARY_LIMIT
    assert len(comment(large)) <= COMMENT_LIMIT
    assert sum(map(len, closing(large).flips)) < 100_000
    (leg,) = json.loads(text)["legs"]
    checks = findings_in(large.legs[0]).checks.by_gravity[:MOST_CRITERIA]
    for criterion, check in zip(leg["criteria"], checks, strict=True):
        flipped = check.measure.comparison.newly_failing if check.measure and check.measure.comparison else ()
        assert len(criterion["newly_failing"]) == min(MOST_FLIPS, len(flipped))
        assert criterion["newly_failing_left_out"] == len(flipped) - len(criterion["newly_failing"])
    assert any(criterion["newly_failing"] for criterion in leg["criteria"])


def test_criteria_beyond_limit_are_counted_and_gravest_remain() -> None:
    parsed_leg = parsed(WIDE)
    assert len(parsed_leg["criteria"]) == MOST_CRITERIA
    assert {criterion["verdict"] for criterion in parsed_leg["criteria"]} == {"failed"}
    gate = [*ET.fromstring(junit_of(WIDE))][-1]
    assert len(gate.findall("testcase")) == MOST_CRITERIA + 1
    last = gate.findall("testcase")[-1]
    left_out = parsed_leg["criteria_left_out"]
    assert last.attrib["name"] == f"… and {left_out:,} more criteria"
    assert [node.tag for node in last] == ["skipped"]
    assert f"{left_out:,} more are left out" in last[0].attrib["message"]


def test_figures_beyond_limit_are_counted() -> None:
    parsed_leg = parsed(WIDE)
    assert len(parsed_leg["metrics"]) == MOST_FIGURES // 45
    assert parsed("one metric")["metrics_left_out"] == 0


def test_values_and_explanations_of_missed_criteria_come_first() -> None:
    large = large_report(1, metrics=THRESHOLDS, lines=THRESHOLDS)
    (leg,) = large.legs
    last = leg.judgement.checks[-1]
    judgement = leg.judgement._replace(checks=(last,))
    (found,) = json.loads(document(large._replace(legs=(leg._replace(judgement=judgement),))))["legs"]
    (row,) = found["simulations"]
    assert next(iter(row["values"])) == next(iter(row["explanations"])) == last.metric
    assert len(row["values"]) == len(row["explanations"]) == MOST_VALUES


def test_long_criteria_are_cut_where_simulations_name_them() -> None:
    """Twenty criteria of 5,000 characters on each simulation would be 200 MB."""
    large = large_report(200, lines=20)
    (leg,) = large.legs
    text = "x" * 5_000
    long = parse_thresholds("Latency: max < 1")[0]._replace(text=text)
    checks = tuple(replace(check, criterion=ThresholdHolds(threshold=long)) for check in leg.judgement.checks[-20:])
    report = large._replace(legs=(leg._replace(judgement=leg.judgement._replace(checks=checks)),))
    (found,) = json.loads(document(report))["legs"]
    assert {len(miss["text"]) for row in found["simulations"] for miss in row["misses"]} == {LONGEST_MENTION}
    assert {criterion["criterion"] for criterion in found["criteria"]} == {text}
    simulations, gate = ET.fromstring(junit(report))
    assert len(ET.tostring(simulations, encoding="unicode")) < 200 * (MOST_MISSES + 2) * (LONGEST_MENTION + 100)
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
        f"simulation siml{SIMULATIONS - 1:018}",
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


def test_work_grows_no_faster_than_the_run(subtests: pytest.Subtests) -> None:
    small, large = (large_report(size, metrics=2, lines=10) for size in (10, 80))
    documents = compose(small), compose(large)
    assert calls_of(lambda: compose(large)) < 9 * calls_of(lambda: compose(small))
    for name, render in FACES.items():
        render(documents[0])  # imports
        counts = [calls_of(partial(render, document)) for document in documents]
        with subtests.test(name):
            assert counts[1] < 9 * counts[0]


def test_pages_use_their_room_and_count_the_rows_that_they_leave_out() -> None:
    large = large_report(2_500)
    for text, limit, size in (
        (summary(large), SUMMARY_LIMIT, utf8_size),
        (comment(large), COMMENT_LIMIT, len),
        (page_of(large, "check_run").summary, CHECK_LIMIT, utf8_size),
    ):
        assert 0.9 * limit < size(text) <= limit
        (shown, total), *_ = shown_counts(text)
        assert total == 2_500 - UNFOLDED
        assert len(re.findall("^\\| ❌ \\| .*siml.* \\|$", text, re.MULTILINE)) == UNFOLDED + shown


UNFOLDED = 10  # rows of a table that is folded where it is longer


def shown_counts(markdown: str) -> list[tuple[int, int]]:
    notes = re.findall(r"^Showing ([\d,]+) of ([\d,]+)\.$", markdown, re.MULTILINE)
    return [(int(shown.replace(",", "")), int(total.replace(",", ""))) for shown, total in notes]


def test_long_advice_fits_into_markdown() -> None:
    """Every line of the thresholds may be invalid."""
    with pytest.raises(ThresholdSyntaxError) as caught:
        parse_thresholds("\n".join(f"nonsense {number} {'🦜' * 100} ```" for number in range(2000)))
    error = InputError([Problem("thresholds", f"has wrong lines.\n{caught.value}"), Problem("tags", "are too many.")])
    report = Report(judgement=errored(error))
    body, whole = comment(report), summary(report)
    assert len(body) <= COMMENT_LIMIT
    assert len(whole.encode()) <= SUMMARY_LIMIT
    for text in (body, whole):
        assert MarkdownPage(f"{text}\n\n*last*").tags[-4:] == ["p", "em", "/em", "/p"]  # all blocks are closed


def test_3000_reasons_and_criteria_fit_into_markdown() -> None:
    text = "&" * 600  # the character with the longest escaped form
    threshold = parse_thresholds("Latency: max < 1")[0]._replace(text=text)
    criterion = ThresholdHolds(threshold=threshold)
    checks = tuple(
        Check(
            criterion=criterion,
            verdict=Verdict.FAILED,
            problem=NO_VALUES.of(metric=f"{number} {text}"),
            variant=text,
            several=True,
        )
        for number in range(3000)
    )
    judgement = Judgement(
        verdict=Verdict.FAILED, status="", cause=Completed(result=RunResult(run_id="r1", simulations=())), checks=checks
    )
    report = Report(judgement=judgement, legs=(LegReport(judgement=judgement),))
    assert len(comment(report)) <= COMMENT_LIMIT
    assert len(summary(report).encode()) <= SUMMARY_LIMIT
    assert [total for _, total in shown_counts(comment(report))] == [2999, 3000 - UNFOLDED]
