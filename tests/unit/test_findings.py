"""The rows of simulations: what each misses, its cause, and in which order they come, the same in every format."""

from collections.abc import Sequence
from typing import Any

import pytest

from baselines import (
    DEPLOYED,
    RATE,
    Cases,
    also,
    baseline_of,
    earlier,
    judged,
    ran,
    report_on,
    run_of,
    yes,
)
from coval_gate.coval.model import Metric, RunResult, Simulation, Target, Value
from coval_gate.features.comparisons.causes import new_failures
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.gate.measure import Baseline
from coval_gate.gate.statistics import Hits
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document import document_of
from coval_gate.report.document.model import LegReport, Report
from rendering import closing, composed, digest, findings_in, html, junit, rows_of, summary
from support import inputs_of

AT_MOST_2, YES = Target(operator="lte", upper=2.0), Target(operator="in", values=("YES",))


def report_of(
    latency: Sequence[Value | None],
    resolved: Sequence[Value | None],
    lines: str = "",
    *,
    failed: int = 0,
    allowed: int = 0,
    targets: bool = False,
) -> Report:
    """Return the report on a simulation for each pair of values; the last `failed` did not complete."""
    ids = [f"s{place}" for place in range(len(latency))]
    simulations = tuple(
        Simulation(id=name, status="FAILED" if place >= len(ids) - failed else "COMPLETED", test_case_id=name)
        for place, name in enumerate(ids)
    )
    metrics = tuple(
        Metric(
            id=name, name=name, target=target, values={i: v for i, v in zip(ids, given, strict=True) if v is not None}
        )
        for name, given, target in (("Latency", latency, AT_MOST_2), ("Resolved", resolved, YES))
    )
    result = RunResult(run_id="r1", expected=len(ids), simulations=simulations, metrics=metrics)
    criteria = Criteria(max_failed=Allowance(allowed), thresholds=parse_thresholds(lines), use_metric_targets=targets)
    judgement = judge(result, criteria)
    return Report(
        judgement, inputs_of(), (LegReport(judgement=judgement, runs=ran("r1", judgement.verdict), result=result),)
    )


def missed(report: Report) -> dict[str, list[str]]:
    """Return what each simulation to look at misses, in the order of the rows."""
    (leg,) = composed(report).legs
    rows = (row for row in leg.simulations if row.is_to_look_at)
    return {row.id: [" – ".join(filter(None, (miss.text, miss.here))) for miss in row.misses] for row in rows}


SLOW, NO_VALUE = "Latency meets its target: at most 2 – here 3", "Resolved meets its target: YES – here no value"


def test_missing_value_misses_target() -> None:
    """It does not fail the simulation: the step knows nothing about it."""
    report = report_of([1.0, 1.0], ["YES", None], targets=True)
    assert report.judgement.verdict == "error"
    assert missed(report) == {"s1": [NO_VALUE]}
    assert rows_of(report)[0].verdict is Verdict.SKIPPED
    tolerated = report_of([1.0, 3.0, 1.0], ["YES", None, "YES"], targets=True, allowed=1)
    assert missed(tolerated) == {"s1": [SLOW, NO_VALUE]}


def test_miss_that_is_tolerated_is_never_shown_as_passed() -> None:
    """The target is missed by a number and by a missing value, and a share of the simulations may miss it."""
    report = report_of([3.0, 1.0, 1.0], ["YES", None, "YES"], "pass_rate >= 30%", allowed=1)
    assert report.judgement.verdict is Verdict.PASSED
    assert {row.simulation.id: row.verdict for row in rows_of(report)} == {
        "s0": Verdict.SKIPPED, "s1": Verdict.SKIPPED, "s2": Verdict.PASSED,
    }  # fmt: skip
    assert missed(report) == {"s0": [SLOW], "s1": [NO_VALUE]}


def test_criterion_on_pass_rate_is_named_only_without_targets() -> None:
    report = report_of([3.0, 1.0, 1.0], ["YES", "YES", "YES"], "pass_rate == 100%", failed=1)
    assert missed(report) == {"s2": ["pass_rate == 100%"], "s0": [SLOW]}


def test_those_that_fail_come_first_then_those_that_are_tolerated_and_of_each_kind_the_worst() -> None:
    latency, resolved = [2.2, 1.0, 4.0, 9.0, 1.0, 1.0], ["YES", "NO", "NO", "YES", "YES", "YES"]
    # did not complete; 3.5 times the bound; twice the bound and a wrong text; a wrong text; 10% above
    assert [*missed(report_of(latency, resolved, failed=1, targets=True))] == ["s5", "s3", "s2", "s1", "s0"]
    report = report_of(latency, resolved, "Latency: max < 3", failed=1, targets=True, allowed=5)
    kinds = {Verdict.FAILED: ["s3", "s2", "s1", "s0"], Verdict.SKIPPED: ["s5"], Verdict.PASSED: ["s4"]}
    assert [(row.simulation.id, row.verdict) for row in rows_of(report)] == [
        (name, verdict) for verdict, names in kinds.items() for name in names
    ]
    assert [row.simulation.id for row in findings_in(report.legs[0]).to_look_at] == ["s3", "s2", "s1", "s0", "s5"]


def test_flips_of_first_checks_belong_to_the_gravest() -> None:
    baseline = baseline_of(earlier("old1", 2, run_of("old1", yes(19, 20))))
    (leg,) = document_of(report_on(run_of("now", yes(9, 20)), baseline, f"? {RATE}\n{RATE}")).legs
    assert [criterion.advisory for criterion in leg.criteria if criterion.newly_failing] == [False, True]
    assert (leg.flips, leg.flipped_criteria) == (10, 2), "each test case counts once"


FIXED, COMPARED = "Resolved: rate(YES) >= 90%", "Resolved: rate(YES) >= baseline"
FINE: Cases = {"a": ["YES"], "b": ["YES"], "c": ["YES"]}
BROKEN: Cases = {**FINE, "a": ["NO"]}


def ended(result: RunResult, **statuses: str) -> RunResult:
    """Return a run in which the conversations of these test cases ended with other statuses."""
    simulations = (one._replace(status=statuses.get(one.test_case_id, one.status)) for one in result.simulations)
    return result._replace(simulations=tuple(simulations))


def causes(report: Report) -> dict[str, str]:
    """Return the cause of each simulation that did not pass, by its test case and place, in the order of the rows."""
    (leg,) = composed(report).legs
    return {row.id.partition("..")[2]: row.cause_text for row in leg.simulations if row.is_to_look_at}


def against(cases: Cases, then: Cases | None, lines: str = FIXED, **changes: Any) -> Report:
    """Return the report of a run, with a baseline that had these values."""
    threshold = f"{lines}\n? {COMPARED}"  # what compares with a baseline makes the step fetch it
    baseline = baseline_of(earlier("old", 2, run_of("old", then), **changes)) if then else None
    return report_on(run_of("now", cases), baseline, threshold, confidence=None)


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        pytest.param({"a": ["NO"], "b": ["NO"], "c": ["YES"], "d": ["NO"]}, {"a": ["NO"], "b": ["YES"], "c": ["YES"]},
                     {"b.0": "new, passed 1 of 1 before", "d.0": "", "a.0": "failed 1 of 1 before"},
                     id="of a fixed bound, and the baseline lacks d"),
        pytest.param({"a": ["NO"], "b": ["NO"]}, None, {"a.0": "", "b.0": ""}, id="no baseline"),
        pytest.param({**FINE, "a": ["NO"]},
                     {"a": ["YES", "YES", "NO"], "b": ["YES", "NO"], "c": ["YES", "NO", "NO"]},
                     {"a.0": "failed 1 of 3 before"}, id="others failed as often before, and the agent fell nowhere"),
        pytest.param(BROKEN, {**FINE, "a": [None]}, {"a.0": ""}, id="no value in the baseline"),
        pytest.param({**FINE, "a": ["NO", "NO"]}, FINE, dict.fromkeys(("a.0", "a.1"), "new, passed 1 of 1 before"),
                     id="two of one test case"),
        pytest.param({"a": ["NO", "YES"]}, {"a": ["NO"]}, {"a.0": "flaky, failed 1 of 1 before"}, id="flaky"),
        pytest.param({"a": ["NO", "YES"], "b": ["NO", "NO"], "c": ["NO", "YES", "NO"], "d": ["NO", "YES", "YES"]}, None,
                     {**dict.fromkeys(("b.0", "b.1", "c.0", "c.2"), ""), "a.0": "flaky", "d.0": "flaky"},
                     id="most others of its variant pass"),
    ],
)  # fmt: skip
def test_cause_of_each_failure(now: Cases, then: Cases | None, expected: dict[str, str]) -> None:
    assert causes(against(now, then)) == expected


def of(*records: tuple[int, int]) -> dict[str, Hits]:
    return {f"case{place:02}": Hits(*record) for place, record in enumerate(records)}


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        pytest.param([(3, 3)] * 20, [(0, 3)] * 2 + [(3, 3)] * 18, [0, 1], id="two of twenty broke"),
        pytest.param([(3, 3)] * 20, [(2, 3)] * 2 + [(3, 3)] * 18, [], id="two failed once, as agents do now and then"),
        pytest.param([(0, 3)] + [(3, 3)] * 19, [(0, 3)] * 3 + [(3, 3)] * 17, [1, 2], id="one always failed"),
        pytest.param([(3, 3)] * 20, [(0, 3)] * 20, [*range(20)], id="everything broke"),
        pytest.param([(0, 3)] * 20, [(0, 3)] * 20, [], id="everything was broken"),
        pytest.param([(0, 3)] + [(3, 3)] * 19, [(0, 3)] * 20, [*range(1, 20)], id="all but one broke"),
        pytest.param([(1, 1)] * 18 + [(0, 1)] * 2, [(0, 1)] * 2 + [(1, 1)] * 18, [], id="others fail: nothing fell"),
        pytest.param([(9, 9)] * 18 + [(4, 9)] * 2, [(1, 1)] * 17 + [(0, 1)] * 3, [17], id="of three, one never failed"),
        pytest.param([(9, 9)], [(0, 1)], [], id="a single test case shows no fall"),
    ],
)
def test_failure_is_new_if_that_is_more_likely_than_chance(
    before: list[tuple[int, int]], now: list[tuple[int, int]], new: list[int]
) -> None:
    assert sorted(new_failures(of(*before), of(*now))) == [f"case{place:02}" for place in new]


@pytest.mark.parametrize(
    "changes",
    [{"changed_persona": True}, {"changed_metrics": frozenset({"m"})}, {"changed_cases": frozenset({"a"})}],
)
def test_what_cannot_be_compared_has_no_history(changes: dict[str, Any]) -> None:
    assert causes(against(BROKEN, FINE, **changes)) == {"a.0": ""}


@pytest.mark.parametrize(
    ("answer", "seconds", "cause"),
    [
        ("NO", 9.0, "failed 1 of 1 before"),
        ("YES", 1.0, "new, passed 1 of 1 before"),
        ("NO", 1.0, "new, passed 1 of 1 before"),
        ("NO", None, "failed 1 of 1 before"),
        (None, 1.0, "new, passed 1 of 1 before"),
    ],
)
def test_of_several_criteria_the_one_that_was_met_most_often_counts(
    answer: str | None, seconds: float | None, cause: str
) -> None:
    """Of two metrics that it misses, the baseline may lack one, or a value of one."""

    def run(run_id: str, answer: str | None, seconds: float | None) -> RunResult:
        one = run_of(run_id, {**FINE, "a": [answer]})
        slow: Cases = {"a": [seconds], "b": [1.0], "c": [1.0]}
        return also(one, run_of(run_id, slow, name="Latency", metric_id="l")) if seconds else one

    lines = f"{FIXED}\nLatency: max < 2\n? {COMPARED}"
    assert causes(report_on(run("now", "NO", 9.0), baseline_of(run("old", answer, seconds)), lines)) == {"a.0": cause}


def test_conversation_that_did_not_complete_has_the_history_of_what_it_misses() -> None:
    now = ended(run_of("now", {**FINE, "b": [None]}), b="FAILED", c="CANCELLED")
    lines = f"{FIXED}\nfailed == 0\n? {COMPARED}"
    assert causes(report_on(now, None, lines, confidence=None)) == {"b.0": "", "c.0": ""}
    # A dropped call shows nothing of the test case, so it is not new.
    then = baseline_of(ended(run_of("old", FINE), c="FAILED"))
    expected = {"b.0": "passed 1 of 1 before", "c.0": "failed 1 of 1 before"}
    assert causes(report_on(now, then, lines, confidence=None)) == expected


def test_reference_is_named() -> None:
    """As the agent itself is in golden files."""
    now, then, lines = run_of("now", BROKEN), run_of("old", BROKEN), f"{FIXED}\n? {COMPARED}"
    tagged = baseline_of(then, source=BaselineSource(kind="tag", name="stable"))
    assert "look at: 1 failed before\n" in summary(report_on(now, tagged, lines))
    line, base = "Resolved: rate(YES) >= base", baseline_of(then, source=DEPLOYED)
    assert [row.cause for row in rows_of(report_on(now, None, line, base=base)) if row.cause] == []
    beside = report_on(run_of("now", {**BROKEN, "b": ["NO"]}), None, line, base=base)
    assert "look at: 1 new · 1 failed with the base agent\n" in summary(beside)


COUNTS = "1 new · 1 failed before · 1 flaky · 1 other"


def test_rows_are_grouped_by_cause_in_every_format() -> None:
    now: Cases = {"new": ["NO"], "none": ["NO"], "old": ["NO"], "flaky": ["NO", "YES"]}
    report = against(now, {"new": ["YES"], "old": ["NO"], "flaky": ["YES"]})
    words = ("new, passed 1 of 1 before", "", "failed 1 of 1 before", "flaky, passed 1 of 1 before")
    assert [*causes(report).items()] == [*zip(("new.0", "none.0", "old.0", "flaky.0"), words, strict=True)]
    assert f"#### 4 simulations to look at: {COUNTS}\n" in summary(report)
    assert closing(report).simulation_lines()[0] == f"Simulations to look at: 4 ({COUNTS})"
    assert f'<property name="causes" value="{COUNTS}"' in junit(report)
    heads = [line for line in digest(report).splitlines() if line.startswith("### ")]
    assert heads == ["### New: 1", "### Other: 2", "### Flaky: 1"]
    page = html(report)
    for part in ('<th scope="col">cause</th>', 'data-c="new"', 'data-token="c:new"', COUNTS, words[2]):
        assert part in page


def test_every_report_begins_with_the_worst_criterion() -> None:
    """A rate that is missed by 50pp is worse than one that is missed by 40pp."""
    result = run_of("now", {f"c{n}": ["NO"] for n in range(4)})
    document = composed(
        report_on(result, None, "Resolved: rate(NO) < 60%\nResolved: rate(YES) >= 50%", confidence=None)
    )
    assert [one.criterion for one in document.legs[0].criteria][:2] == [
        "Resolved: rate(YES) >= 50%",
        "Resolved: rate(NO) < 60%",
    ]


def test_iterations_of_a_test_case_share_an_annotation() -> None:
    report = against({"often": ["NO", "NO", "YES", "NO"], "once": ["NO"]}, {"often": ["YES"], "once": ["YES"]})
    annotations = closing(report).annotations(9)
    assert sorted(annotation.title for annotation in annotations) == ["Coval: often", "Coval: once"]
    (often,) = (annotation for annotation in annotations if annotation.title == "Coval: often")
    assert [line.partition(" (now")[0] for line in often.message.splitlines() if "of 4)" in line] == [
        f"often ({iteration} of 4)" for iteration in (1, 2, 4)
    ]


def numbered(run_id: str, **values: float) -> RunResult:
    return run_of(run_id, {case: [value] for case, value in values.items()}, name="Latency", metric_id="l")


def slow(lines: str, baseline: Baseline | None = None, **values: float) -> Report:
    return report_on(numbered("now", **values), baseline, lines, confidence=None)


AVERAGES: dict[str, tuple[list[float], list[float], str, float | None, str]] = {
    # now, before, the threshold, its confidence, which value moves it
    "the largest alone": ([1.0, 1.1, 1.2, 27.0], [], "avg <= 2", None, "27"),
    "the smallest alone": ([4.0, 4.1, 0.1], [], "avg >= 3", None, "0.1"),
    "each of the largest": ([1.0, 1.1, 2.0, 2.0], [], "avg <= 1.5", None, ""),
    "none": ([3.0, 3.1, 3.2, 27.0], [], "avg <= 2", None, ""),
    "a wide interval": ([1.0, 1.1, 1.2] * 10 + [20.0], [], "avg <= 1.5", 0.95, "20"),
    "fewer test cases, not the value": ([1.0, 1.1, 1.2, 1.3] * 5, [], "avg <= 1.5", 0.95, ""),
    "the largest rise": ([1.0, 1.1, 1.2, 27.0], [1.0, 1.2, 1.1, 1.0], "avg <= baseline * 1.1", None, "27"),
    "two test cases": ([1.0, 27.0], [1.0, 1.0], "avg <= baseline * 1.1", None, ""),
    "a change that it hides": ([2.0, 2.1, 2.2] * 10 + [400.0], [1.0] * 31, "avg <= baseline", 0.95, "400"),
}


@pytest.mark.parametrize(("now", "before", "threshold", "confidence", "moves"), AVERAGES.values(), ids=AVERAGES)
def test_average_blames_no_simulation_and_names_the_one_value_that_moves_it(
    now: list[float], before: list[float], threshold: str, confidence: float | None, moves: str
) -> None:
    def run(run_id: str, values: list[float]) -> RunResult:
        return numbered(run_id, **{f"c{place}": value for place, value in enumerate(values)})

    baseline = baseline_of(earlier("old", 2, run("old", before))) if before else None
    report = report_on(run("now", now), baseline, f"Latency: {threshold}", confidence=confidence)
    (leg,) = composed(report).legs
    (criterion,) = (one for one in leg.criteria if one.kind == "threshold")
    said = f"one call of {moves} moves this average" if moves else ""
    assert criterion.moved_text == said
    assert not any(check.simulations for check in report.judgement.missed) or "max" in threshold
    for text in (summary(report), html(report), digest(report)):
        assert (said or "moves this average") in text if said else "moves this average" not in text


def test_against_a_baseline_those_come_first_that_got_worse_the_most() -> None:
    then = baseline_of(earlier("old", 2, numbered("old", always=9.0, risen=1.0, faster=5.0)))
    now = numbered("now", always=9.5, risen=4.0, faster=4.5)
    judgement = judged(now, then, "Latency: max < 4\n? Latency: avg <= baseline", confidence=None)
    order = [row.simulation.test_case_id for row in findings_of(judgement, now).to_look_at]
    assert order == ["risen", "always", "faster"], "new first; the others by how much they worsened"
