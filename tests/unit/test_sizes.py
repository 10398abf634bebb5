"""Reports stay small where every simulation misses every criterion, and count what they leave out."""

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.base.errors import InputError
from coval_gate.ci.host import SUMMARY_LIMIT
from coval_gate.coval.model import Metric, RunResult, Simulation
from coval_gate.features.pages.texts import CHECK_LIMIT, COMMENT_LIMIT
from coval_gate.gate.criteria import ThresholdHolds
from coval_gate.gate.findings import MISSES_LISTED
from coval_gate.gate.judgement import UNFINISHED_RUN, Judgement, errored
from coval_gate.gate.measure import Totals
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.inputs.inputs import InvalidInput
from coval_gate.inputs.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.report import (
    LONGEST_MENTION,
    MOST_CRITERIA,
    MOST_IDS,
    MOST_SIMULATIONS,
)
from coval_gate.report.document.model import LegReport, Report
from coval_gate.report.formats.log import MOST_MISSES as MOST_ANNOTATED
from coval_gate.report.formats.outputs import MOST_OUTPUT
from coval_gate.report.markdown import utf8_size
from readers import MarkdownPage
from rendering import closing, comment, document, findings_in, junit, outputs, page_of, summary
from reports import example_reports, large_report
from support import inputs_of

pytestmark = pytest.mark.untraced

SIMULATIONS, THRESHOLDS, VARIANTS = 110, 120, 45
MOST_BYTES = 8_000_000 + 15_000 * SIMULATIONS  # of a file
PARROT = "🦜"  # four bytes


def leg_of(text: str) -> dict[str, Any]:
    (leg,) = json.loads(text)["legs"]
    return dict(leg)


@pytest.mark.parametrize(
    ("metrics", "variants"), [(1, 1), (THRESHOLDS, VARIANTS)], ids=["one metric", "a metric for each threshold"]
)
def test_files_are_small_and_count_what_they_leave_out(metrics: int, variants: int) -> None:
    large = large_report(SIMULATIONS, lines=THRESHOLDS, metrics=metrics, variants=variants)
    text, xml = document(large), junit(large)
    assert len(text.encode()) < MOST_BYTES
    assert len(xml.encode()) < MOST_BYTES
    leg, checks = leg_of(text), findings_in(large.legs[0]).checks.by_gravity
    assert len(leg["simulations"]) == SIMULATIONS
    assert len(leg["criteria"]) == min(MOST_CRITERIA, len(checks))
    assert len(leg["criteria"]) + leg["criteria_left_out"] == len(checks) > THRESHOLDS
    for criterion, check in zip(leg["criteria"], checks[:MOST_CRITERIA], strict=True):
        blamed = 0 if check.passed else len(check.simulations)
        assert len(criterion["simulation_ids"]) == min(MOST_IDS, blamed)
    for row in leg["simulations"]:
        assert len(row["misses"]) == MISSES_LISTED
        assert row["misses_left_out"] == THRESHOLDS - MISSES_LISTED
        assert len(row["values"]) == metrics
    if left_out := leg["criteria_left_out"]:
        assert {criterion["verdict"] for criterion in leg["criteria"]} == {"failed"}, "the gravest remain"
        cases = [*ET.fromstring(xml)][-1].findall("testcase")
        assert len(cases) == MOST_CRITERIA + 1
        assert cases[-1].attrib["name"] == f"… and {left_out:,} more criteria"
        assert [node.tag for node in cases[-1]] == ["skipped"]
        assert f"{left_out:,} more are left out" in cases[-1][0].attrib["message"]


def test_flips_are_few_where_people_read_them() -> None:
    large = large_report(SIMULATIONS, lines=THRESHOLDS, compared=True)
    assert len(document(large).encode()) < MOST_BYTES
    assert sum(map(len, closing(large).flips)) < 100_000


def test_long_criteria_are_cut_where_simulations_name_them() -> None:
    """Twenty criteria of 5,000 characters on each simulation would be 200 MB."""
    large = large_report(SIMULATIONS, lines=20)
    (leg,) = large.legs
    text = "x" * 5_000
    long = ThresholdHolds(threshold=parse_thresholds("Latency: max < 1")[0]._replace(text=text))
    checks = tuple(replace(check, criterion=long) for check in leg.judgement.checks[-20:])
    report = large._replace(legs=(leg._replace(judgement=leg.judgement._replace(checks=checks)),))
    found = leg_of(document(report))
    assert {len(miss["text"]) for row in found["simulations"] for miss in row["misses"]} == {LONGEST_MENTION}
    assert {criterion["criterion"] for criterion in found["criteria"]} == {text}
    simulations, gate = ET.fromstring(junit(report))
    assert len(ET.tostring(simulations)) < SIMULATIONS * (MISSES_LISTED + 2) * (LONGEST_MENTION + 400)
    assert len(ET.tostring(gate)) < 20 * (len(text) + 6 * (LONGEST_MENTION + 100) + 1_000)
    names = [entry.attrib["name"] for entry in gate.iter("property")]
    assert len(names) == len(set(names)) > 20 * 6


@pytest.mark.parametrize(
    ("length", "name"),
    [(LONGEST_MENTION, "x" * LONGEST_MENTION), (LONGEST_MENTION + 1, f"{'x' * (LONGEST_MENTION - 1)}… (1)")],
)
def test_property_of_junit_repeats_a_criterion_up_to_the_limit(length: int, name: str) -> None:
    large = large_report(1, lines=1)
    (leg,) = large.legs
    long = ThresholdHolds(threshold=parse_thresholds("Latency: max < 1")[0]._replace(text="x" * length))
    checks = (replace(leg.judgement.checks[-1], criterion=long),)
    report = large._replace(legs=(leg._replace(judgement=leg.judgement._replace(checks=checks)),))
    names = [entry.attrib["name"] for entry in ET.fromstring(junit(report)).iter("property")]
    assert f"{name}: actual" in names


def test_texts_for_people_count_what_they_leave_out() -> None:
    large = large_report(SIMULATIONS, lines=THRESHOLDS)
    more = f"… and {THRESHOLDS - MISSES_LISTED:,} more criteria"
    assert f"{more} |" in summary(large)
    assert f"    {more}" in closing(large).simulation_lines()
    in_annotation = f"\n… and {THRESHOLDS - MOST_ANNOTATED:,} more criteria"
    assert all(annotation.message.endswith(in_annotation) for annotation in closing(large).annotations(10))
    failure = next(ET.fromstring(junit(large)).iter("failure"))
    assert (failure.text or "").splitlines()[-2:] == [more, f"simulation siml{SIMULATIONS - 1:018}"]
    small = document(example_reports()["failed, two criteria"])
    assert set(re.findall(r'_left_out": ?(\d+)', small)) == {"0"}, "a small report leaves nothing out"


def test_outputs_are_limited() -> None:
    members = tuple(Simulation(id=f"s{n:017}", status="FAILED") for n in range(MOST_SIMULATIONS + 100))
    totals = Totals(total=len(members), completed=0, unpassed=tuple(member.id for member in members))
    result = RunResult(run_id="r1", simulations=members)
    judgement = Judgement(Verdict.PASSED, "COMPLETED", Completed(result=result), totals=totals)
    written = outputs(
        Report(judgement=judgement, inputs=inputs_of(), legs=(LegReport(judgement=judgement, result=result),))
    )
    assert len(json.loads(written["failed_simulations"])) == MOST_SIMULATIONS
    assert sum(map(len, written.values())) < 300_000

    metrics = tuple(
        Metric(id=f"m{number}", name=f"{number} {PARROT * 90}", values={"s1": PARROT * 300}) for number in range(500)
    )
    result = RunResult(run_id="r1", simulations=(Simulation(id="s1", status="COMPLETED"),), metrics=metrics)
    text = outputs(
        Report(judgement=UNFINISHED_RUN, inputs=inputs_of(), legs=(LegReport(judgement=UNFINISHED_RUN, result=result),))
    )["metrics"]
    shown = json.loads(text).values()
    assert MOST_OUTPUT - 4000 < len(text.encode()) <= MOST_OUTPUT
    assert {len(value) for entry in shown for value in entry["variants"]["agent"]["values"]} == {100}
    assert [entry["id"] for entry in shown] == [f"m{number}" for number in range(len(shown))]


UNFOLDED = 10  # rows of a table that is folded where it is longer


def shown_counts(markdown: str) -> list[tuple[int, int]]:
    notes = re.findall(r"^Showing ([\d,]+) of ([\d,]+)\.$", markdown, re.MULTILINE)
    return [(int(shown.replace(",", "")), int(total.replace(",", ""))) for shown, total in notes]


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


def test_long_advice_fits_into_markdown() -> None:
    """Every line of the thresholds may be invalid."""
    with pytest.raises(ThresholdSyntaxError) as caught:
        parse_thresholds("\n".join(f"nonsense {number} {PARROT * 100} ```" for number in range(2000)))
    error = InputError(
        [InvalidInput("thresholds", f"has wrong lines.\n{caught.value}"), InvalidInput("tags", "are too many.")]
    )
    report = Report(judgement=errored(error), inputs=inputs_of())
    body, whole = comment(report), summary(report)
    assert len(body) <= COMMENT_LIMIT
    assert len(whole.encode()) <= SUMMARY_LIMIT
    for text in (body, whole):
        assert MarkdownPage(f"{text}\n\n*last*").tags[-4:] == ["p", "em", "/em", "/p"]  # all blocks are closed
