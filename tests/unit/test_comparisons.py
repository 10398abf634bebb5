"""Every format shows what a run was compared with, what changed, and what that shows."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from baselines import (
    LABELS,
    NO_BASELINE,
    RATE,
    baseline_of,
    comparison_reports,
    decided_together,
    earlier,
    of_pull_request,
    report_on,
    run_of,
    yes,
)
from browsing import legs_report
from coval_gate.base.errors import GateError
from coval_gate.ci.github_pages import state_of
from coval_gate.gate.checks import Check
from coval_gate.gate.claims import change_text
from coval_gate.gate.criteria import ThresholdHolds
from coval_gate.gate.judgement import errored
from coval_gate.gate.measure import Comparison, Interval, LeftOut, Measure, Trend, Unit
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document.criteria import criterion_of
from coval_gate.report.model import Report
from coval_gate.report.wording.checks import shared_text
from rendering import (
    check_lines,
    closing,
    comment,
    commit_status,
    document,
    findings_in,
    junit,
    marker,
    outputs,
    rows_of,
    summary,
)


@cache
def reports() -> dict[str, Report]:
    return {name: of_pull_request(report) for name, report in comparison_reports().items()}


def file_of(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


SUMMARIES = ("beside another agent", "several runs", "mutations")


def test_each_comparison_reads_as_in_golden_files(
    golden: Callable[[str, str], None], subtests: pytest.Subtests
) -> None:
    """The summary of those whose tables differ, and of the others what the log and GitHub show in lines."""
    golden("compared/legs.md", summary(of_pull_request(legs_report())))
    golden("compared/together.md", summary(of_pull_request(decided_together())))
    for name, report in reports().items():
        with subtests.test(name):
            if name in SUMMARIES:
                golden(f"compared/{file_of(name)}.md", summary(report))
                continue
            end, status = closing(report), commit_status(report)
            lines = [*check_lines(findings_in(report.legs[0])), *end.flips, *end.explanation, end.last_line]
            lines += ["", "Annotation", *end.verdict[:2], "", f"{state_of(status)} {status.title}", ""]
            golden(f"compared/{file_of(name)}.txt", "\n".join(lines))


def test_junit_and_json_show_comparisons(golden: Callable[[str, str], None]) -> None:
    """The golden files hold only the parts that comparisons change: JUnit's last suite, and a criterion in JSON."""
    suite = [*ET.fromstring(junit(reports()["worse"]))][-1]
    ET.indent(suite)
    golden("compared/worse.xml", ET.tostring(suite, encoding="unicode") + "\n")
    (leg,) = json.loads(document(reports()["in doubt"]))["legs"]
    shown = {"baseline": leg["baseline"], "criteria": leg["criteria"][:1]}
    golden("compared/in-doubt.json", json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def test_documentation_shows_a_real_report() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Comparisons\n")
    section = section.partition("\n## ")[0]
    link = re.compile(r"\[(`\w+`)\]\([^)]*\)")
    shown = link.sub(r"\1", summary(reports()["in doubt"])).replace("|  |", "| |").splitlines()
    quoted = re.findall(r"^> ?(.+)", section, re.MULTILINE)
    assert len(quoted) > 4
    assert set(quoted) <= set(shown)


def test_output_names_newest_run_that_was_compared_with() -> None:
    shown = {name: outputs(reports()[name])["baseline_run_id"] for name in ("worse", "several runs", "no baseline")}
    assert shown == {"worse": "old1", "several runs": "old3", "no baseline": ""}
    assert outputs(reports()["mutations"])["baseline_run_id"] == ""
    other = earlier("newer", 3, run_of("newer", yes(4, 4)), changed_persona=True)
    same, now = earlier("old", 2, run_of("old", yes(4, 4))), run_of("now", yes(4, 4))
    named = [outputs(report_on(now, baseline_of(*runs), RATE))["baseline_run_id"] for runs in ((other, same), (other,))]
    assert named == ["old", ""], "one with another persona was not compared"


def test_missed_advisory_threshold_is_red_nowhere() -> None:
    """Neither is one that compares, lacks a baseline, or is about a metric that the run does not have."""
    lines = f"? Resolved: rate(YES) >= 90%\n? {RATE}\n? Tone: avg > 4\n? Resolved: avg > 4"
    for baseline in (NO_BASELINE, baseline_of(earlier("old", 2, run_of("old", yes(20, 20))))):
        report = report_on(run_of("now", yes(2, 20)), baseline, lines)
        assert report.judgement.lets_pass
        assert {row.verdict for row in rows_of(report)} == {Verdict.PASSED}
        assert closing(report).annotations(10) == []
        assert (outputs(report)["failed_criteria"], outputs(report)["failed_simulations"]) == ("[]", "[]")
        root = ET.fromstring(junit(report))
        assert not [*root.iter("failure"), *root.iter("error")]
        messages = [element.attrib["message"] for element in root.iter("skipped")]
        assert sum(message.startswith("Informs only: ") for message in messages) == 4 + 1  # and max_failed_simulations
        marks = [line.split()[0] for line in check_lines(findings_in(report.legs[0])) if " Resolved:" in line]
        assert set(marks) == {"○"}
        assert comment(report).startswith(f"{marker(report)}\n\n### ✅ Passed")


def test_advisory_threshold_hides_no_other_criterion_and_does_not_stand_for_the_step() -> None:
    """The metric of the advisory threshold is missing; the step of the second report ended in an error."""
    lines = "\n".join([*["? Tone: avg > 4"] * 150, "Resolved: rate(YES) >= 90%"])
    report = report_on(run_of("now", yes(2, 20)), None, lines)
    assert any("✗ Resolved" in line for line in check_lines(findings_in(report.legs[0])))
    report = report_on(run_of("now", yes(2, 20)), None, "? Tone: avg > 4")
    root = ET.fromstring(junit(report._replace(judgement=errored(GateError("Title", "What happened.")))))
    assert [element.attrib["name"] for element in root.iter("testcase")][-1] == "evaluation"
    assert len([*root.iter("error")]) == 1


def test_flips_and_criteria_are_named_and_cut() -> None:
    then = baseline_of(earlier("old", 2, run_of("old", yes(30, 30))))
    report = report_on(run_of("now", yes(0, 30)), then, RATE, labels=LABELS)
    assert "<details><summary>Test cases that flipped: 30 fail now</summary>" in summary(report)
    assert "… and 10 more |" in summary(report)
    assert closing(report).flips[-1].endswith("Background noise 5 and 25 more")
    text = summary(report_on(run_of("now", yes(8, 20)), then, "\n".join([RATE] * 120)))
    assert text.count("<summary>110 more criteria</summary>") == text.count("\nShowing 90 of 110.\n") == 1
    assert text.count("\nShowing 100 of 120.\n") == 1, "of the criteria with test cases that flipped"


def test_commonest_ways_of_leaving_out_are_worded() -> None:
    least, most = LeftOut(new=1), LeftOut(new=1, valueless=3)
    found = [Comparison(value=0.5, count=9, cases=9 - n, left_out=left) for n, left in enumerate((least, most))]
    assert shared_text(found[:1]) == "9 shared test cases; left out: 1 not in the baseline"
    assert shared_text(found) == (
        "8 to 9 shared test cases; left out at most: 1 not in the baseline and 3 without a value on one side"
    )


@pytest.mark.parametrize(
    ("change", "unit", "text"),
    [
        ((-0.12, 0.027), "share", "between 12pp lower and 2.7pp higher"),
        ((-0.5, -0.23), "share", "at least 23pp lower"),
        ((-math.inf, 0.04), "share", "at most 4pp higher"),
        ((0.0, 0.04), "share", "at most 4pp higher"),
        ((0.0, math.inf), "metric", "not lower"),
        ((-math.inf, 0.0), "metric", "not higher"),
        ((0.0, 0.0), "metric", "the same"),
        ((-math.inf, math.inf), "metric", "too few test cases to tell"),
        ((1234.5, 2000.0), "metric", "at least 1,234 higher"),
    ],
)
def test_change_is_worded(change: tuple[float, float], unit: Unit, text: str) -> None:
    assert change_text(compared_check(change, unit)) == text


def test_check_in_doubt_names_both_ends_of_an_evident_change() -> None:
    doubtful = replace(compared_check((-0.2, -0.01), "share", trend="worse"), verdict=Verdict.INCONCLUSIVE)
    assert criterion_of(doubtful).shown_text == "worse: between 1pp and 20pp lower, inconclusive at the bound"


def compared_check(change: tuple[float, float], unit: Unit, trend: Trend = "unchanged") -> Check:
    """Return a check that compares, with these bounds of the change."""
    comparison = Comparison(value=0.9, count=9, cases=9, trend=trend, change=Interval(*change, 0.95, 9))
    return Check(
        criterion=ThresholdHolds(threshold=parse_thresholds(RATE)[0], confidence=0.95),
        verdict=Verdict.PASSED,
        measure=Measure(value=0.9, unit=unit, count=9, comparison=comparison),
    )
