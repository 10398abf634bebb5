"""What stands where in the summary and the comment, for a reader who has ten seconds."""

import re

import pytest

from baselines import baseline_of, earlier, latency, report_on, run_of, yes
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import Report
from rendering import comment, summary

SLOW = "Latency: avg < 1"


def slow_report(lines: str = SLOW, **inputs: str) -> Report:
    """Return the report of a run that is slower than it must be, in a step with these inputs."""
    report = report_on(latency("now", seed=1, slower=2), None, lines, confidence=None)
    given = {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
    return report._replace(inputs=parse_inputs(given)[0])


def heading(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("### "))


@pytest.mark.parametrize("render", [summary, comment])
def test_heading_names_test_set_and_persona(render: type) -> None:
    text = render(slow_report(test_set_id="smoke123", persona_id="patient"))
    assert heading(text) == "### ❌ Failed: Coval evaluation · test set `smoke123` · persona `patient`"
    assert heading(render(slow_report())) == "### ❌ Failed: Coval evaluation"


def test_heading_names_what_matrix_names_once() -> None:
    report = slow_report(test_set_id="smoke123", persona_id="patient")
    matrix = matrix_of({"region": "eu", "test_set": "smoke123"})
    text = comment(report._replace(context=report.context._replace(matrix=matrix)))
    assert heading(text) == "### ❌ Failed: Coval evaluation (eu, smoke123) · persona `patient`"


@pytest.mark.parametrize("hostile", ["`<b>` | x", "# @octocat", "--> <script>"])
def test_id_of_run_in_heading_is_code(hostile: str) -> None:
    report = slow_report()
    (leg,) = report.legs
    assert leg.run
    text = summary(report._replace(legs=(leg._replace(run=leg.run._replace(test_set_id=hostile)),)))
    assert len([line for line in text.splitlines() if line.startswith("### ")]) == 1
    assert re.search(r"test set (`+) ?.* ?\1", heading(text))


def test_column_without_a_cell_is_left_out() -> None:
    report = report_on(latency("now", seed=1), None, "Latency: avg < 99", confidence=None)
    (leg,) = report.legs
    checks = tuple(check for check in leg.judgement.checks if not check.informs)
    text = summary(report._replace(legs=(leg._replace(judgement=leg.judgement._replace(checks=checks)),)))
    assert text.splitlines()[4] == "|  | criterion | actual |"
    assert "|  | simulation | missed criteria |\n" in comment(slow_report())


def test_confidence_is_told_where_claims_are() -> None:
    claim = "what it shows (each bound with 95% confidence)"
    baseline = baseline_of(earlier("old", 2, latency("old", seed=1)))
    for lines in (SLOW, "Latency: avg <= baseline * 1.1"):
        assert claim in summary(report_on(latency("now", seed=1, slower=3), baseline, lines))
        assert claim not in summary(report_on(latency("now", seed=1, slower=3), baseline, lines, confidence=None))


@pytest.mark.parametrize("render", [summary, comment])
def test_simulations_after_the_worst_ten_are_folded(render: type) -> None:
    text = render(slow_report("Latency: max < 1"))
    count = int(re.findall(r"^#### (\d+) simulations to look at$", text, re.MULTILINE)[0])
    assert count > 10
    unfolded, _, folded = text.partition(f"<details><summary>{count - 10} more simulations to look at</summary>")
    assert unfolded.count("here ") == 10
    assert folded.partition("</details>")[0].count("here ") == count - 10


def test_ten_simulations_are_not_folded() -> None:
    text = comment(report_on(run_of("now", yes(2, 12)), None, "Resolved: rate(YES) >= 90%", confidence=None))
    assert "#### 10 simulations to look at" in text
    assert "<details>" not in text


def test_criteria_after_the_gravest_ten_are_folded() -> None:
    met = "\n".join(f"Latency: avg < {n}" for n in range(50, 62))
    text = summary(slow_report(f"{met}\n{SLOW}\nLatency: med < 0.5"))
    unfolded, _, folded = text.partition("<details><summary>5 more criteria, all met</summary>")
    assert unfolded.count("| ❌ | `Latency: ") == 2
    assert "❌" not in folded.partition("</details>")[0]
    missed = "\n".join(f"Latency: avg < 0.{n}" for n in range(10, 22))
    assert "<details><summary>3 more criteria</summary>" in summary(slow_report(missed))


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ("Latency: avg < 2", "How Latency is distributed (orange: 2 or more):"),
        ("Latency: avg <= 2", "How Latency is distributed (orange: above 2):"),
        ("Latency: avg > 4", "How Latency is distributed (orange: 4 or less):"),
        ("Latency: p(90) >= 90", "How Latency is distributed (all below 90):"),
        ("Latency: max < 99", "How Latency is distributed (all below 99):"),
        ("Latency: avg == 1", "How Latency is distributed:"),
        ("Latency: max < 99\nLatency: avg < 2", "How Latency is distributed (orange: 2 or more):"),
    ],
)
def test_chart_says_where_bound_is(lines: str, title: str) -> None:
    assert title in summary(slow_report(lines)).splitlines()
