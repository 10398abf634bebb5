"""The cause of each simulation that did not do well, the order of simulations, and the counts of causes."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import (
    DEPLOYED,
    Cases,
    also,
    baseline_of,
    both,
    comparison_reports,
    earlier,
    judged,
    report_on,
    run_of,
)
from coval_gate.coval.model import RunResult, Simulation
from coval_gate.gate.findings import MOST_CONTRIBUTORS, Cause, cause_of, findings_of
from coval_gate.gate.measure import Baseline
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import BaselineSource
from coval_gate.report.model import Report
from rendering import closing, digest, document, findings_in, html, junit, rows_of, summary

FLAKY, OLD, NEW = Cause
LATENCY = "l"
FIXED, COMPARED = "Resolved: rate(YES) >= 90%", "Resolved: rate(YES) >= baseline"
FINE: Cases = {"a": ["YES"], "b": ["YES"], "c": ["YES"]}


@pytest.mark.parametrize(
    ("passing", "others", "before", "cause"),
    [
        (0, 0, (), None),
        (1, 1, (), FLAKY),
        (2, 3, (), FLAKY),
        (1, 2, (), None),
        (0, 2, (), None),
        (0, 0, (True,), OLD),
        (0, 0, (False,), NEW),
        (0, 0, (None,), None),
        (0, 0, (None, True), None),
        (0, 0, (None, False), NEW),
        (0, 0, (True, False), NEW),
        (1, 1, (True,), FLAKY),
        (1, 1, (False,), FLAKY),
    ],
)
def test_first_cause_that_fits_is_taken(
    passing: int, others: int, before: tuple[bool | None, ...], cause: Cause | None
) -> None:
    assert cause_of(passing, others, before) is cause


def ended(result: RunResult, **statuses: str) -> RunResult:
    """Return a run in which the conversations of these test cases ended with other statuses."""

    def of(simulation: Simulation) -> Simulation:
        return simulation._replace(status=statuses.get(simulation.test_case_id, simulation.status))

    return result._replace(simulations=tuple(map(of, result.simulations)))


def causes(report: Report) -> dict[str, str | None]:
    """Return the cause of each simulation that did not pass, by its test case and place, in the order of the rows."""
    return {row.simulation.id.partition("..")[2]: row.cause for row in rows_of(report) if row.is_to_look_at}


def against(cases: Cases, then: Cases | None, lines: str = FIXED, **changes: Any) -> Report:
    """Return the report of a run, with a baseline that had these values."""
    threshold = f"{lines}\n? {COMPARED}"  # what compares with a baseline makes the step fetch it
    baseline = baseline_of(earlier("old", 2, run_of("old", then), **changes)) if then else None
    return report_on(run_of("now", cases), baseline, threshold, confidence=None)


def test_failure_is_old_or_new_also_for_a_fixed_bound() -> None:
    now: Cases = {"a": ["NO"], "b": ["NO"], "c": ["YES"], "d": ["NO"]}
    report = against(now, {"a": ["NO"], "b": ["YES"], "c": ["YES"]})
    assert causes(report) == {"b.0": NEW, "d.0": None, "a.0": OLD}, "the baseline lacks d"
    assert causes(against(now, None)) == {"a.0": None, "b.0": None, "d.0": None}


def test_test_case_of_baseline_fails_unless_most_of_its_conversations_pass() -> None:
    now: Cases = {case: ["NO"] for case in "abc"}
    then: Cases = {"a": ["YES", "YES", "NO"], "b": ["YES", "NO"], "c": ["YES", "NO", "NO"]}
    assert causes(against(now, then)) == {"a.0": NEW, "b.0": OLD, "c.0": OLD}


@pytest.mark.parametrize(
    "changes",
    [{"changed_persona": True}, {"changed_metrics": frozenset({"m"})}, {"changed_cases": frozenset({"a"})}],
)
def test_what_cannot_be_compared_is_neither_old_nor_new(changes: dict[str, Any]) -> None:
    assert causes(against({**FINE, "a": ["NO"]}, FINE, **changes)) == {"a.0": None}


def test_conversation_without_a_value_in_the_baseline_shows_nothing() -> None:
    assert causes(against({**FINE, "a": ["NO"]}, {**FINE, "a": [None]})) == {"a.0": None}


TWO = f"{FIXED}\nLatency: max < 2"


def two_metrics(run_id: str, text: str | None, number: float) -> RunResult:
    """Return a run of three test cases with two metrics. The first test case has these values."""
    numbers: Cases = {"a": [number], "b": [1.0], "c": [1.0]}
    return also(run_of(run_id, {**FINE, "a": [text]}), run_of(run_id, numbers, name="Latency", metric_id=LATENCY))


def test_old_failure_hides_none_of_a_metric_that_the_baseline_lacks() -> None:
    now, then = two_metrics("now", "NO", 9.0), run_of("old", {**FINE, "a": ["NO"]})
    assert causes(report_on(now, baseline_of(then), f"{TWO}\n? {COMPARED}")) == {"a.0": None}


def test_conversation_that_did_not_complete_has_the_cause_of_what_it_misses() -> None:
    now = ended(run_of("now", {**FINE, "b": [None]}), b="FAILED", c="CANCELLED")
    lines = f"{FIXED}\nfailed == 0\n? {COMPARED}"
    assert causes(report_on(now, None, lines, confidence=None)) == {"b.0": None, "c.0": None}
    then = ended(run_of("old", FINE), c="FAILED")
    assert causes(report_on(now, baseline_of(then), lines, confidence=None)) == {"b.0": NEW, "c.0": None}


def test_conversation_is_flaky_if_most_others_of_its_variant_pass() -> None:
    now: Cases = {"a": ["NO", "YES"], "b": ["NO", "NO"], "c": ["NO", "YES", "NO"], "d": ["NO", "YES", "YES"]}
    assert causes(against(now, None)) == {
        **dict.fromkeys(("b.0", "b.1", "c.0", "c.2")),
        "a.0": FLAKY,
        "d.0": FLAKY,
    }
    two = both(run_of("now", {"a": ["NO"]}), run_of("now", {"a": ["YES"]}, mutation="Faster"))
    (row,) = [row for row in rows_of(report_on(two, None, FIXED)) if row.verdict is not Verdict.PASSED]
    assert row.cause is None, "the other conversation is another variant's"


def test_reference_is_named() -> None:
    now = run_of("now", {**FINE, "a": ["NO"]})
    then = run_of("old", {**FINE, "a": ["NO"]})
    assert "look at: 1 also fails on main\n" in summary(report_on(now, baseline_of(then), f"{FIXED}\n? {COMPARED}"))
    tagged = baseline_of(then, source=BaselineSource(kind="tag", name="stable"))
    assert "look at: 1 also fails in the baseline\n" in summary(report_on(now, tagged, f"{FIXED}\n? {COMPARED}"))
    beside = report_on(now, None, "Resolved: rate(YES) >= base", base=baseline_of(then, source=DEPLOYED))
    assert [row.cause for row in rows_of(beside) if row.cause] == []
    worse = run_of("now", {**FINE, "a": ["NO"], "b": ["NO"]})
    beside = report_on(worse, None, "Resolved: rate(YES) >= base", base=baseline_of(then, source=DEPLOYED))
    assert "look at: 1 new · 1 also fails with the base agent\n" in summary(beside)
    mutated = both(now, run_of("now", {**FINE, "a": ["NO"], "b": ["NO"]}, mutation="Faster"))
    assert "look at: 1 new · 1 also fails with the agent itself\n" in summary(
        report_on(mutated, None, "Resolved: rate(YES) >= base")
    )


def mixed() -> Report:
    """Return a report with each cause, and one test case whose cause is unknown."""
    now: Cases = {"new": ["NO"], "none": ["NO"], "old": ["NO"], "flaky": ["NO", "YES"]}
    then = run_of("old", {"new": ["YES"], "old": ["NO"], "flaky": ["YES"]})
    baseline = baseline_of(earlier("old", 2, then))
    return report_on(run_of("now", now), baseline, f"{FIXED}\n? {COMPARED}", confidence=None)


COUNTS = "1 new · 1 also fails on main · 1 flaky"


def test_rows_are_grouped_by_cause_in_every_format() -> None:
    report = mixed()
    order = ["new.0", "none.0", "old.0", "flaky.0"]
    assert [*causes(report).items()] == [*zip(order, (NEW, None, OLD, FLAKY), strict=True)]
    text = summary(report)
    assert f"#### 4 simulations to look at: {COUNTS}\n" in text
    assert "|  | simulation | cause | missed criteria |" in text
    end = closing(report)
    assert end.simulation_lines()[0] == f"Simulations to look at: 4 ({COUNTS})"
    assert "Cause: new" in end.annotations(1)[0].message.split("\n")
    rows = json.loads(document(report))["legs"][0]["simulations"]
    assert [row["cause"] for row in rows] == ["new", None, "old", "flaky", None]
    suite, gate = ET.fromstring(junit(report))
    messages = [part.attrib["message"].partition(":")[0] for case in suite for part in case if "message" in part.attrib]
    assert messages == ["new", "missed", "old", "flaky"]
    assert {entry.attrib["name"]: entry.attrib["value"] for entry in gate.iter("property")}["causes"] == COUNTS
    heads = [line for line in digest(report).splitlines() if line.startswith("### ")]
    titles = ("New", "Cause unknown", "Also fail on main", "Flaky")
    assert heads == [f"### {title}: 1".replace("Also fail on main", "`Also fail on main`") for title in titles]
    page = html(report)
    assert '<th scope="col">cause</th>' in page
    assert 'data-c="new"' in page
    assert 'data-token="c:new"' in page
    assert COUNTS in page


def test_test_case_counts_once_for_the_first_of_its_causes() -> None:
    report = against({**FINE, "a": ["NO", "NO"]}, FINE)
    assert [*causes(report).values()] == [NEW, NEW]
    assert "#### 2 simulations to look at: 1 new\n" in summary(report)


def test_page_without_causes_has_no_column_for_them() -> None:
    report = against({**FINE, "a": ["NO"]}, None)
    assert "cause" not in summary(report)
    assert "data-c=" not in html(report)
    assert "### Case 1:" in digest(report)


def numbered(run_id: str, **values: float) -> RunResult:
    return run_of(run_id, {case: [value] for case, value in values.items()}, name="Latency", metric_id="l")


def slow(lines: str, baseline: Baseline | None, **values: float) -> Report:
    return report_on(numbered("now", **values), baseline, lines, confidence=None)


def test_average_blames_none_and_names_those_that_contribute_the_most() -> None:
    values = {f"c{place}": 2.0 + place for place in range(10)} | {"fast": 1.0}
    report = slow("Latency: avg <= 1.5", None, **values)
    assert report.judgement.verdict is Verdict.FAILED
    assert report.judgement.failing_simulations == ()
    named = [row for row in rows_of(report) if row.contributes]
    assert [row.simulation.test_case_id for row in named] == ["c9", "c8", "c7", "c6", "c5"]
    assert len(named) == MOST_CONTRIBUTORS
    assert {row.verdict for row in named} == {Verdict.SKIPPED}
    assert {row.cause for row in named} == {None}
    assert "here 11, one of the 5 highest of 11 |" in summary(report)
    assert len(closing(report).rows) == 5


def test_average_that_is_too_low_names_the_lowest() -> None:
    report = slow("Latency: avg >= 3", None, a=1.0, b=2.0, c=4.0)
    assert [row.simulation.test_case_id for row in rows_of(report) if row.contributes] == ["a", "b"]
    assert "here 1, one of the 2 lowest of 3 |" in summary(report)


def test_average_in_doubt_names_those_that_make_it_worse() -> None:
    """It may be on the right side of its bound, as measured."""
    report = comparison_reports()["in doubt"]
    (check,) = [check for check in report.legs[0].judgement.checks if check.metric == "l"]
    assert check.measure
    assert check.requirement
    assert check.measure.value < check.requirement.bound
    contributions = [
        miss.contribution for row in findings_in(report.legs[0]).simulations if row.contributes for miss in row.misses
    ]
    assert len(contributions) == MOST_CONTRIBUTORS
    assert all(contribution and contribution.rises for contribution in contributions)


def test_spread_names_no_simulation() -> None:
    assert not [row for row in rows_of(slow("Latency: stdev < 0.1", None, a=1.0, b=9.0)) if row.is_to_look_at]


def test_against_a_baseline_those_come_first_that_got_worse_the_most() -> None:
    then = baseline_of(earlier("old", 2, numbered("old", always=9.0, risen=1.0, faster=5.0)))
    report = slow("Latency: avg <= baseline", then, always=9.5, risen=4.0, faster=4.5)
    named = [(row.simulation.test_case_id, row.misses[0].contribution) for row in rows_of(report) if row.contributes]
    assert [name for name, _ in named] == ["risen", "always"]
    assert "here 4, before 1: one of the 2 largest rises of 3 |" in summary(report)
    judgement = judged(
        numbered("now", always=9.5, risen=4.0, faster=4.5),
        then,
        "Latency: max < 4\n? Latency: avg <= baseline",
        confidence=None,
    )
    order = [
        row.simulation.test_case_id
        for row in findings_of(judgement, numbered("now", always=9.5, risen=4.0, faster=4.5)).to_look_at
    ]
    assert order == ["risen", "always", "faster"], "new first; the others by how much they worsened"


def test_percentile_blames_those_beyond_its_bound() -> None:
    report = slow("Latency: p(95) < 3", None, a=1.0, b=2.0, c=9.0)
    assert [row.simulation.test_case_id for row in rows_of(report) if row.fails] == ["c"]


CASES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(["YES", "NO", "UNKNOWN", None]), min_size=1, max_size=3),
    min_size=1,
)


@given(
    CASES,
    CASES | st.none(),
    st.sampled_from([FIXED, "Resolved: count(NO) == 0", "Resolved: missing == 0", "pass_rate == 100%"]),
)
def test_only_those_that_did_not_do_well_have_a_cause(now: Cases, then: Cases | None, line: str) -> None:
    report = against(now, then, line)
    for row in rows_of(report):
        if row.verdict is Verdict.PASSED or row.contributes:
            assert row.cause is None
        if not then:
            assert row.cause not in (OLD, NEW)
        if row.cause in (OLD, NEW):
            assert then
            assert row.simulation.test_case_id in then
    assert [row.order for row in rows_of(report)] == sorted(row.order for row in rows_of(report))
