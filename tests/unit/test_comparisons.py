"""A run is compared with the test cases that it shares with a baseline, each of which weighs the same.

It fails where a regression is evident. Every format shows what it was compared with, what changed, and what that shows,
which agrees with the verdict."""

import json
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import (
    LABELS,
    MAIN,
    NO_BASELINE,
    RATE,
    Cases,
    baseline_of,
    both,
    checks_of,
    compared,
    comparison,
    comparison_of,
    comparison_reports,
    decided_together,
    earlier,
    for_pull_request,
    judged,
    measured,
    numbers,
    only,
    problem_of,
    report_on,
    run_of,
    yes,
)
from browsing import legs_report
from coval_gate.base.errors import GateError, InputError
from coval_gate.ci.host import SLICE
from coval_gate.coval.model import Metric, Run, Summary, Target, Value
from coval_gate.features.comparisons.document import shared_text
from coval_gate.features.comparisons.find import check_spelling
from coval_gate.features.comparisons.problems import UNUSABLE_BASELINE
from coval_gate.features.comparisons.words import change_text
from coval_gate.features.pages.github import commit_state_of
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import ThresholdHolds
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judgement import errored
from coval_gate.gate.measure import (
    Baseline,
    BaselineRun,
    Comparison,
    Interval,
    LeftOut,
    Measure,
    NotFoundReason,
    Trend,
    Unit,
)
from coval_gate.gate.statistics import percentile, weighted_percentile
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document.criteria import criterion_of
from coval_gate.report.document.model import Report
from coval_gate.report.wording import reasons
from coval_gate.report.wording.checks import check_reason
from rendering import (
    check_lines,
    closing,
    comment,
    commit_status,
    document,
    findings_in,
    html,
    junit,
    marker,
    outputs,
    rows_of,
    summary,
)

EVEN, FEWER = "Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline"
IS_YES = Target(operator="in", values=("YES",))


def same(value: Value | None, count: int = 40, start: int = 0) -> dict[str, list[Value | None]]:
    """Return that many test cases with one value."""
    return {f"case{n:03}": [value] for n in range(start, start + count)}


def test_only_shared_test_cases_are_compared_in_any_order() -> None:
    now = run_of("now", {"a": ["YES"], "b": ["NO"], "new": ["NO"], "changed": ["NO"]})
    old = run_of("old", {"changed": ["YES"], "gone": ["NO"], "b": ["NO", "YES"], "a": ["YES", "YES"]})
    changed = BaselineRun(run=Run(run_id="old", status="COMPLETED"), result=old, changed_cases=frozenset({"changed"}))
    judgement = judged(now, baseline_of(changed), RATE, confidence=None)
    measure, then = measured(only(judgement)), comparison(judgement)
    assert (measure.value, measure.count) == (0.5, 2)
    assert (then.value, then.count, then.cases) == (0.75, 4, 2)
    assert then.left_out._asdict() == {"new": 1, "gone": 1, "changed": 1, "valueless": 0, "runs": 0}


@pytest.mark.parametrize("threshold", [EVEN, FEWER])
def test_flips_are_reported_by_test_case_in_the_direction_of_the_threshold(threshold: str) -> None:
    """A missing value is never the right one."""
    now: Cases = {"a": ["NO"], "b": ["YES"], "c": ["YES"], "d": [None]}
    then: Cases = {"a": ["YES"], "b": ["NO"], "c": ["YES"], "d": ["YES"]}
    flips = comparison(compared(now, then, threshold, confidence=None))
    assert (flips.newly_failing, flips.newly_passing) == (("a", "d"), ("b",))


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize("aggregate", ["avg", "p(20)", "p(75)"])
def test_averages_and_percentiles_weigh_cases_the_same(aggregate: str, confidence: float | None) -> None:
    """The slow cases were there in one night only; none of them has become slower."""
    fast = {f"case{n:03}": [1.0 + n / 1000] for n in range(30)}
    slow = {f"case{n:03}": [3.0 + n / 1000] for n in range(30, 60)}
    baseline = baseline_of(run_of("old3", fast | slow), run_of("old2", fast), run_of("old1", fast))
    threshold = f"Resolved: {aggregate} <= baseline + 0.01"
    judgement = judged(run_of("now", fast | slow), baseline, threshold, confidence=confidence)
    now, then = measured(only(judgement)).value, comparison(judgement)
    assert only(judgement).verdict is not Verdict.FAILED
    assert now == pytest.approx(then.value, abs=0.01)
    assert then.pooled
    assert then.pooled != pytest.approx(now, abs=0.001)


def test_what_is_measured_of_uneven_cases() -> None:
    judgement = compared(
        {"a": ["YES", "YES", "NO"], "b": ["NO"]}, {"a": ["YES"], "b": ["YES", "NO"]}, EVEN, confidence=None
    )
    now, then = measured(only(judgement)), comparison(judgement)
    assert (now.value, now.pooled, then.value, then.pooled) == pytest.approx((1 / 3, 1 / 2, 3 / 4, 2 / 3))
    assert (now.hits, now.total, then.hits, then.total) == (2, 4, 2, 3)


def test_test_cases_weigh_the_same_in_a_spread_that_is_compared() -> None:
    often: Cases = {"a": [1.0], "b": [2.0, 2.0], "c": [6.0] * 5}
    spread = "Resolved: stdev <= baseline"
    judgement = compared(often, {"a": [1.0], "b": [2.0], "c": [6.0]}, spread, confidence=None)
    now = measured(only(judgement))
    assert comparison(judgement).value == pytest.approx(statistics.stdev([1, 2, 6]))
    # With weights w, the unbiased variance divides by V1 - V2 / V1, the sums of w and of w squared.
    squares = sum((value - 3) ** 2 for value in (1, 2, 6))
    assert now.value == pytest.approx((squares / (3 - (1 + 1 / 2 + 1 / 5) / 3)) ** 0.5)
    assert now.pooled == pytest.approx(statistics.stdev([1, 2, 2, 6, 6, 6, 6, 6]))
    alike = measured(only(compared({"a": [1.0, 2.0], "b": [4.0, 8.0]}, {"a": [1.0], "b": [2.0]}, spread)))
    assert alike.value == pytest.approx(statistics.stdev([1, 2, 4, 8]))
    assert alike.pooled is None


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize("threshold", [EVEN, FEWER, "pass_rate >= baseline"])
def test_missing_values_count_alike_on_both_sides(threshold: str, confidence: float | None) -> None:
    """A tenth of the calls fails, always other ones: that is no regression."""
    now = run_of("now", yes(80, 100) | same(None, 10), target=IS_YES)
    old = run_of("old", yes(80, 100) | same(None, 10, 10), target=IS_YES)
    judgement = judged(now, baseline_of(old), threshold, confidence=confidence)
    assert only(judgement).verdict is not Verdict.FAILED
    assert measured(only(judgement)).value == comparison(judgement).value
    assert comparison(judgement).cases == 100


@pytest.mark.parametrize("threshold", [EVEN, FEWER])
def test_more_missing_values_than_before_are_a_regression(threshold: str) -> None:
    now, old = yes(100, 100) | same(None, 12), yes(100, 100) | same(None, 2, 12)
    assert only(compared(now, old, threshold)).verdict is Verdict.FAILED


def test_missing_numbers_are_left_out_on_both_sides_and_reported() -> None:
    now: Cases = {"a": [1.0, None], "b": [3.0, 3.0], "c": [None]}
    judgement = compared(now, {"a": [1.0], "b": [None, 3.0], "c": [9.0]}, "Resolved: avg <= baseline", confidence=None)
    measure, then = measured(only(judgement)), comparison(judgement)
    assert (measure.value, measure.missing) == (2.0, 1)
    assert (then.value, then.missing, then.left_out.valueless) == (2.0, 1, 1)


SORTED = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(sorted)


@given(SORTED, st.floats(0, 100), st.floats(0.01, 100))
def test_percentile_of_equal_weights_is_the_usual_one(ordered: list[float], n: float, weight: float) -> None:
    weighted = [(value, weight) for value in ordered]
    assert weighted_percentile(weighted, n) == pytest.approx(percentile(ordered, n), rel=1e-6, abs=1e-3)


TWO: Cases = {"a": ["YES"], "b": ["YES"]}


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize(
    ("baseline", "kind"),
    [
        (None, "no_baseline"),
        (NO_BASELINE, "no_baseline"),
        (baseline_of(run_of("old", {"x": ["YES"], "y": ["YES"]})), "too_few_shared"),
        (baseline_of(run_of("old", {"a": ["YES"]})), "too_few_shared"),
        (baseline_of(run_of("old", {"a": ["YES"], "": ["YES"]})), "cases_unknown"),
        (baseline_of(run_of("old", TWO, name="Other", metric_id="o")), "not_in_baseline"),
        (baseline_of(run_of("old", TWO, mutation="faster")), "not_in_baseline"),
        (baseline_of(run_of("old", {"a": [None], "b": [None]})), "unusable_baseline"),
        (baseline_of(run_of("old", {"a": [1.0], "b": [0.0]})), "unusable_baseline"),
    ],
)
def test_nothing_to_compare_with_is_inconclusive_and_passes_by_policy(
    baseline: Baseline | None, kind: str, confidence: float | None
) -> None:
    now = run_of("now", {"a": ["YES"], "b": ["NO"]})
    judgement = judged(now, baseline, RATE, confidence=confidence)
    assert (judgement.verdict, problem_of(judgement), judgement.passes_gate) == (Verdict.INCONCLUSIVE, kind, True)
    assert not judged(now, baseline, RATE, confidence=confidence, on_inconclusive="fail").passes_gate


@pytest.mark.parametrize(
    ("difference", "kind"),
    [
        ({"changed_persona": True}, "persona_changed"),
        ({"changed_metrics": frozenset({"m"})}, "judge_changed"),
        ({"changed_metrics": frozenset({"other"})}, ""),
        ({"changed_cases": frozenset({"case000", "case001", "case002"})}, "too_few_shared"),
    ],
)
def test_run_that_cannot_be_compared_is_reported(difference: dict[str, object], kind: str) -> None:
    old = BaselineRun(run=Run(run_id="old", status="COMPLETED"), result=run_of("old", yes(3, 4)))
    other = old._replace(**difference)  # type: ignore[arg-type]
    alone = judged(run_of("now", yes(3, 4)), baseline_of(other), RATE, confidence=None)
    assert (alone.verdict, problem_of(alone)) == (Verdict.INCONCLUSIVE if kind else Verdict.PASSED, kind)
    beside = comparison(judged(run_of("now", yes(3, 4)), baseline_of(other, old), RATE, confidence=None))
    assert (beside.cases, beside.left_out.runs) == (4, kind in ("persona_changed", "judge_changed"))


def test_pass_rate_judges_the_baseline_by_todays_targets() -> None:
    now, line = run_of("now", yes(3, 4), target=IS_YES), "pass_rate >= baseline"
    old = run_of("old", yes(4, 4), target=Target(operator="in", values=("NO",)))
    judgement = judged(now, baseline_of(old), line, confidence=None)
    assert (comparison(judgement).value, judgement.verdict) == (1.0, Verdict.FAILED)
    other = run_of("old", yes(4, 4), name="Other", metric_id="o")
    assert problem_of(judged(now, baseline_of(other), line, confidence=None)) == "not_in_baseline"


def test_a_metric_is_found_by_its_id_before_its_name() -> None:
    """In the baseline, another metric had the name that this one has now; a name that two have means none."""
    now, old = run_of("now", yes(3, 4)), run_of("old", yes(4, 4), name="Former name")
    other = Metric(id="x", name="Resolved", values={simulation.id: "NO" for simulation in old.simulations})
    judgement = judged(now, baseline_of(old._replace(metrics=(*old.metrics, other))), EVEN, confidence=None)
    assert comparison(judgement).value == 1.0
    twice = baseline_of(old._replace(metrics=(other, other._replace(id="y"))))
    assert problem_of(judged(now, twice, EVEN, confidence=None)) == "not_in_baseline"


@pytest.mark.parametrize(
    "threshold", ["Resolved: count(NO) <= baseline", "failed <= baseline", "Resolved: missing <= baseline"]
)
def test_counts_need_as_many_conversations(threshold: str) -> None:
    assert problem_of(compared(yes(3, 4), yes(3, 4, iterations=3), threshold, confidence=None)) == "unequal_counts"


def test_summary_without_values_cannot_be_compared() -> None:
    now = run_of("now", yes(3, 4))
    summed = now._replace(metrics=(Metric(id="m", name="Resolved", summary=Summary(mean=1.0)),))
    for one, other, kind, named in (
        (now, summed, "unusable_baseline", "for the baseline"),
        (summed, now, "only_summary", "so rate(YES) is unknown"),
    ):
        judgement = judged(one, baseline_of(other._replace(run_id="old")), EVEN, confidence=None)
        assert only(judgement).verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)
        assert problem_of(judgement) == kind
        assert named in check_reason(only(judgement))


def test_one_value_of_a_baseline_has_no_spread() -> None:
    spread = "Resolved: stdev <= baseline"
    check = only(compared({"a": [1.0], "b": [2.0]}, {"a": [1.0], "b": [None]}, spread, confidence=None))
    why = "the baseline has only one value of Resolved"
    assert (check.verdict, check.problem) == (Verdict.INCONCLUSIVE, UNUSABLE_BASELINE.of(why=why))
    assert why in check_reason(check)


def test_mutations_are_compared_with_the_agent_in_the_same_run() -> None:
    agent, mutation = run_of("now", yes(48, 50)), run_of("now", yes(30, 50), mutation="faster")
    check = only(judged(both(agent, mutation), None, "Resolved: rate(YES) >= base - 5pp"))
    assert (check.variant, check.verdict) == ("faster", Verdict.FAILED)
    alone = judged(agent, None, "Resolved: rate(YES) >= base")
    assert (alone.verdict, only(alone).verdict) == (Verdict.ERROR, Verdict.ERROR), "never silently unused"


def test_mutation_is_compared_with_the_same_mutation() -> None:
    now = both(run_of("now", yes(50, 50)), run_of("now", yes(30, 50), mutation="faster"))
    old = both(run_of("old", yes(30, 50)), run_of("old", yes(50, 50), mutation="faster"))
    agent, faster = checks_of(judged(now, baseline_of(old), RATE))
    assert (agent.verdict, faster.verdict) == (Verdict.PASSED, Verdict.FAILED)


def test_comparisons_read_as_sentences(golden: Callable[[str, str], None]) -> None:
    old, usual = baseline_of(run_of("old", yes(48, 50))), yes(47, 50)
    pulls = BaselineSource(kind="tag", name="stable", last=3)
    missing = {
        "no baseline": (MAIN, NotFoundReason(kind="none")),
        "too old": (MAIN, NotFoundReason(kind="too_old", run_id="r1", age=40 * 86400)),
        "gone": (BaselineSource(kind="run", name="r1"), NotFoundReason(kind="gone", run_id="r1")),
        "only pull requests": (pulls, NotFoundReason(kind="pull_request")),
        "unreadable": (MAIN, NotFoundReason(kind="unreadable", text="GET /runs returned 503.")),
    }
    many, few = baseline_of(run_of("old", numbers(1, 80))), baseline_of(run_of("old", numbers(1, 9)))
    one, often = baseline_of(run_of("old", {"a": ["YES"], "c": ["NO"]})), yes(48, 50, iterations=3)
    count = "Resolved: count(NO) <= baseline"
    samples: list[tuple[str, Cases, Baseline | None, str, float | None]] = [
        ("evidently worse", yes(30, 50), old, RATE, 0.95),
        ("in doubt", yes(46, 50), old, RATE, 0.95),
        ("improved", yes(48, 50), baseline_of(run_of("old", yes(30, 50))), RATE, 0.95),
        ("a percentile", numbers(2, 80, slower=2), many, "Resolved: p(90) <= baseline + 0.1", 0.95),
        ("a percentile of too few", numbers(2, 9), few, "Resolved: p(95) <= baseline", 0.95),
        ("a count", usual, old, count, None),
        *((name, usual, Baseline(source=source, missing=why), RATE, None) for name, (source, why) in missing.items()),
        ("one shared test case", {"a": ["YES"], "b": ["NO"]}, one, RATE, 0.95),
        ("more conversations", usual, baseline_of(run_of("old", often)), count, None),
        ("no mutations", usual, None, "Resolved: rate(YES) >= base", None),
    ]
    blocks = []
    for title, now, baseline, threshold, confidence in samples:
        judgement = judged(run_of("now", now), baseline, threshold, confidence=confidence)
        lines = [line for line in check_lines(findings_of(judgement)) if "simulations failed" not in line]
        blocks.append("\n".join([title, *lines, *(f"    {reason}" for reason in reasons(judgement))]))
    golden("comparisons.txt", "\n\n".join(blocks) + "\n")


def test_tag_is_misspelt_only_if_a_slip_of_the_keyboard_explains_it(subtests: pytest.Subtests) -> None:
    cases = [
        ("stabel", "Stable", True),
        ("nightl", "nightly", True),
        ("prod", "pord", False),
        ("prd", "prod", True),
        ("stable-2", "stable-1", False),
        ("night", "nightly-2", False),
        ("coval-gate/x", "coval-gate/failed", False),
    ]
    for written, existing, is_misspelt in cases:
        with subtests.test(written):
            runs = [Run(run_id="r1", status="COMPLETED", tags=(existing,))]
            try:
                check_spelling(written, runs)
                assert not is_misspelt
            except InputError as error:
                assert is_misspelt
                assert f"did you mean {existing.lower()}?" in error.what
    part = Run(run_id="r1", status="COMPLETED", tags=("stable",), metadata={SLICE: "1"})
    check_spelling("stabel", [part])  # which never stands for a run


def spread(count: int, *, more: float = 0.0) -> dict[str, list[Value | None]]:
    """Return that many cases with different numbers, each larger by `more`."""
    return {f"case{n:03}": [n / 10 + more] for n in range(count)}


COUNTED = [
    (yes(48, 50), yes(48, 50), RATE, Verdict.PASSED),
    (yes(48, 50), yes(46, 50), RATE, Verdict.PASSED),
    (yes(48, 50), yes(45, 50), RATE, Verdict.FAILED),
    (numbers(1, 50), numbers(1, 50, slower=1.2), "Resolved: max <= baseline * 1.1", Verdict.FAILED),
    (yes(48, 50), yes(47, 50), "Resolved: count(NO) <= baseline", Verdict.FAILED),
    (yes(40, 50), yes(41, 50), "Resolved: rate(YES) >= baseline + 5pp", Verdict.FAILED),
    (yes(9, 10), yes(9, 10), "Resolved: rate(YES) < baseline", Verdict.FAILED),
    (yes(9, 10), yes(10, 10), "Resolved: rate(YES) == baseline", Verdict.FAILED),
]
WITH_CONFIDENCE = [
    (yes(48, 50), yes(46, 50), RATE, Verdict.INCONCLUSIVE, "inconclusive"),
    (yes(48, 50), yes(30, 50), RATE, Verdict.FAILED, "worse"),
    (yes(285, 300), yes(285, 300), RATE, Verdict.PASSED, "unchanged"),
    (numbers(1, 50), numbers(2, 50, slower=2), "Resolved: avg <= baseline", Verdict.FAILED, "worse"),
    (numbers(1, 9), numbers(2, 9), "Resolved: p(95) <= baseline", Verdict.INCONCLUSIVE, "inconclusive"),
    # Fourteen points lower: that is a change, but not shown to be more than five points.
    (yes(48, 50), yes(41, 50), RATE, Verdict.FAILED, "worse"),
    (yes(48, 50), yes(41, 50), f"{EVEN} - 14pp", Verdict.INCONCLUSIVE, "worse"),
    (yes(48, 50), yes(41, 50), f"{EVEN} - 30pp", Verdict.PASSED, "worse"),
    (spread(40), spread(40, more=0.31), "Resolved: avg <= baseline + 0.3", Verdict.FAILED, "worse"),
    (spread(40), spread(40, more=0.29), "Resolved: avg <= baseline + 0.3", Verdict.PASSED, "worse"),
    # An improvement that a threshold requires has to be ruled out, whatever the change is.
    (yes(48, 50), yes(41, 50), f"{EVEN} + 1pp", Verdict.FAILED, "worse"),
    (yes(41, 50), yes(41, 50), f"{EVEN} + 1pp", Verdict.INCONCLUSIVE, "inconclusive"),
    (yes(41, 50), yes(48, 50), f"{EVEN} + 30pp", Verdict.FAILED, "improved"),
    # Ties are decided as without confidence, or not at all.
    (spread(40), spread(40, more=0.3), "Resolved: avg <= baseline + 0.3", Verdict.PASSED, "worse"),
    (spread(40), spread(40, more=0.1), "Resolved: avg < baseline + 0.1", Verdict.FAILED, "worse"),
    (same(4.0), same(4.0), "Resolved: avg >= baseline", Verdict.PASSED, "unchanged"),
    (same(4.0, 29), same(4.0, 29), "Resolved: avg >= baseline", Verdict.INCONCLUSIVE, "inconclusive"),
    (same(0.0), same(0.0), "Resolved: p(50) <= baseline", Verdict.INCONCLUSIVE, "inconclusive"),
    (same(0.2), same(0.3), "Resolved: med <= baseline + 0.1", Verdict.INCONCLUSIVE, "worse"),
    (same("YES", 2), same("YES", 2), "Resolved: rate(YES) >= baseline - 99pp", Verdict.PASSED, "unchanged"),
    (same("NO"), same("NO"), "Resolved: rate(YES) >= baseline * 0.9", Verdict.INCONCLUSIVE, "inconclusive"),
]


@pytest.mark.parametrize(
    ("before", "now", "threshold", "verdict", "trend", "confidence"),
    [*((*row, None, None) for row in COUNTED), *((*row, 0.95) for row in WITH_CONFIDENCE)],
)
def test_change_is_shown_and_margin_is_counted(
    before: Cases, now: Cases, threshold: str, verdict: Verdict, trend: str | None, confidence: float | None
) -> None:
    """As counted, nothing is called better or worse: the change may be chance."""
    judgement = compared(now, before, threshold, confidence=confidence)
    assert (only(judgement).verdict, comparison(judgement).trend) == (verdict, trend)
    counted, surer = (only(compared(now, before, threshold, confidence=level)).verdict for level in (None, 0.99))
    assert verdict in (counted, Verdict.INCONCLUSIVE)
    if confidence:
        assert surer in (verdict, Verdict.INCONCLUSIVE)
        assert_bounds_agree(only(judgement))


@pytest.mark.parametrize("threshold", ["avg <= baseline * 1.1", "avg >= baseline * 0.9"])
def test_a_factor_of_a_negative_value_requires_an_improvement(threshold: str) -> None:
    """A family that guards against regressions must not excuse it, although no regression is to be seen."""
    values = {case: [-10.0 - value for value in values] for case, values in numbers(1, 50).items()}  # type: ignore[operator]
    lines = f"Resolved: {threshold}\nResolved: med <= baseline + 99\nResolved: avg >= baseline - 99"
    assert checks_of(compared(values, values, lines))[0].verdict is Verdict.FAILED


def test_a_regression_that_is_not_evident_itself_does_not_fail() -> None:
    """The excess over `* 1.1` is more certain than the change, which 29 equal differences cannot show."""
    before = {f"case{n:03}": [float(n)] for n in range(29)}
    now = {case: [value + 10.0] for case, (value,) in before.items()}
    judgement = compared(now, before, "Resolved: avg <= baseline * 1.1")
    assert (only(judgement).verdict, comparison(judgement).trend) == (Verdict.INCONCLUSIVE, "inconclusive")


@pytest.mark.parametrize("advisory", ["", "? "])
@pytest.mark.parametrize(("hits", "trend"), [(38, "worse"), (49, "improved")])
def test_words_are_ruled_by_the_family_too(hits: int, trend: str, advisory: str) -> None:
    """Alone, each change would be evident; among ten, it may be chance."""
    line = f"{advisory}{EVEN} - 30pp"
    others = "\n".join(["Resolved: rate(NO, YES) >= baseline - 90pp"] * 9)
    alone, among = (
        comparison_of(checks_of(compared(yes(hits, 50), yes(44, 50), lines))[0])
        for lines in (line, f"{line}\n{others}")
    )
    assert (alone.trend, among.trend) == (trend, "unchanged")
    assert among.noticeable
    assert alone.noticeable
    assert among.noticeable >= alone.noticeable


@pytest.mark.parametrize(
    ("hits", "legs", "verdict"),
    [(42, 1, Verdict.FAILED), (42, 10, Verdict.INCONCLUSIVE), (5, 100, Verdict.FAILED)],
)
def test_legs_are_one_family(hits: int, legs: int, verdict: Verdict) -> None:
    """Alone, a change is evident; in one of ten legs, it may be chance. A large one is evident among a hundred."""
    judgement = compared(yes(hits, 50), yes(48, 50), EVEN, legs=legs)
    assert only(judgement).verdict is verdict
    assert comparison(judgement).trend == ("inconclusive" if verdict is Verdict.INCONCLUSIVE else "worse")


def test_what_several_runs_show_is_red_although_bounds_of_the_change_would_include_none() -> None:
    """Two of ten cases fail that passed in three runs: by chance, half as often as in one of 16 steps."""
    before = baseline_of(*(run_of(f"old{n}", yes(10, 10)) for n in range(3)))
    judgement = judged(run_of("now", yes(8, 10)), before, f"{EVEN} - 5pp")
    assert (only(judgement).verdict, shown(only(judgement))[1]) == (Verdict.FAILED, 0.0)


@pytest.mark.parametrize(
    ("was", "now", "threshold", "verdict"),
    [
        (yes(17, 20), yes(20, 20), EVEN, Verdict.PASSED),
        (yes(17, 20), yes(20, 20), f"{EVEN} + 5pp", Verdict.INCONCLUSIVE),
        (yes(2, 2), yes(0, 2), f"{EVEN} + 5pp", Verdict.FAILED),
    ],
)
def test_what_is_shown_settles_what_the_bounds_leave_open(
    was: Cases, now: Cases, threshold: str, verdict: Verdict
) -> None:
    before = baseline_of(*(run_of(f"old{n}", was) for n in range(3)))
    judgement = judged(run_of("now", now), before, threshold)
    trend = comparison(judgement).trend
    assert (only(judgement).verdict, trend) == (verdict, "worse" if verdict is Verdict.FAILED else "improved")


def test_a_rate_that_rose_as_counted_is_not_called_worse() -> None:
    """Test cases of seven runs got worse, and more of one run got better."""

    def cases(old: int, new: int) -> Cases:
        return yes(old, 40) | {f"new.{case}": values for case, values in yes(new, 40).items()}

    before = baseline_of(run_of("old0", cases(40, 23)), *(run_of(f"old{n}", yes(40, 40)) for n in range(1, 7)))
    judgement = judged(run_of("now", cases(24, 40)), before, EVEN)
    assert (comparison(judgement).trend, comparison(judgement).value) == ("improved", 0.7875)


def test_advisory_threshold_does_not_dilute_the_family() -> None:
    lines = "\n".join([EVEN] + ["? Resolved: rate(NO, YES) >= baseline - 90%"] * 9)
    assert compared(yes(40, 50), yes(44, 50), lines, confidence=0.9).verdict is Verdict.FAILED


@pytest.mark.parametrize("on_inconclusive", ["", "pass", "fail"])
@pytest.mark.parametrize(
    ("threshold", "default"),
    [("Resolved: rate(YES) >= 90%", False), (EVEN, True), (f"{EVEN} + 5pp", False)],
)
def test_doubt_is_red_by_default_except_against_a_baseline(
    threshold: str, on_inconclusive: str, *, default: bool
) -> None:
    judgement = compared(yes(45, 50), yes(44, 50), threshold, on_inconclusive=on_inconclusive)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.passes_gate is {"": default, "pass": True, "fail": False}[on_inconclusive]
    assert judgement.status == ("COMPLETED" if judgement.passes_gate else "COMPLETED_WITH_FAILURES")


def test_doubt_that_fails_the_step_is_the_first_reason() -> None:
    lines = f"{EVEN}\nResolved: rate(YES) >= 90%"
    judgement = compared(yes(18, 20), yes(19, 20), lines)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert [check.criterion.doubt_passes for check in judgement.missed] == [False, True]


def test_smallest_noticeable_change_is_shown_and_beyond_the_margin() -> None:
    """Where a change that is shown is larger than the margin anyway, the margin costs nothing."""
    without, small, large = (
        comparison(compared(yes(45, 50), yes(45, 50), f"{EVEN}{margin}")).noticeable
        for margin in ("", " - 2pp", " - 30pp")
    )
    assert without
    assert large
    assert without == small
    assert 0.05 < without < 0.3 < large < 0.5


MARGINS_OF_RATES = ("", " - 5pp", " + 5pp", " * 0.9", " * 1.1")
HITS = st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=2, max_size=25)


@given(HITS, st.booleans(), st.sampled_from([*MARGINS_OF_RATES]), st.sampled_from(["", f"\n{EVEN} - 50pp"]))
@example([[0, 2, 2, 2]] * 3 + [[2, 2, 2, 2]] * 20, True, "", "")
def test_shown_bounds_of_rates_agree_with_what_several_runs_decide(
    hits: list[list[int]], wants_more: bool, margin: str, others: str
) -> None:
    """The permutation decides, and may be sharper than the bounds, or blunter."""
    now, *before = (
        run_of(f"run{n}", {f"case{case:02}": ["YES"] * row[n] + ["NO"] * (2 - row[n]) for case, row in enumerate(hits)})
        for n in range(4)
    )
    line = f"Resolved: rate(YES) >= baseline{margin}" if wants_more else f"Resolved: rate(NO) <= baseline{margin}"
    for check in checks_of(judged(now, baseline_of(*before), line + others)):
        assert_bounds_agree(check)


def assert_bounds_agree(check: Check) -> None:
    threshold, change, (lower, upper) = check.criterion.threshold, comparison_of(check), shown(check)
    assert threshold
    assert lower <= upper or lower == pytest.approx(upper)
    if change.trend in ("worse", "improved"):
        rises = threshold.wants_less is (change.trend == "worse")
        assert lower >= 0.0 < upper if rises else lower < 0.0 >= upper
    else:
        assert lower <= 0.0 <= upper
    if check.verdict is Verdict.PASSED:
        worst = change.value + (upper if threshold.wants_less else lower)
        assert threshold.against(change.value).holds(worst)


def shown(check: Check) -> tuple[float, float]:
    """Return the bounds that are shown of the change."""
    change = comparison_of(check).change
    assert change
    return change.lower, change.upper


@cache
def reports() -> dict[str, Report]:
    return {name: for_pull_request(report) for name, report in comparison_reports().items()}


def file_of(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


SUMMARIES = ("beside another agent", "several runs", "mutations")


def test_each_comparison_reads_as_in_golden_files(
    golden: Callable[[str, str], None], subtests: pytest.Subtests
) -> None:
    """The summary of those whose tables differ, and of the others what the log and GitHub show in lines."""
    golden("compared/legs.md", summary(for_pull_request(legs_report())))
    together, _, _ = summary(for_pull_request(decided_together())).partition("\n#### calm\n")
    golden("compared/together.md", together)  # the legs themselves read as in legs.md
    for name, report in reports().items():
        with subtests.test(name):
            if name in SUMMARIES:
                golden(f"compared/{file_of(name)}.md", summary(report))
                continue
            end, status = closing(report), commit_status(report)
            lines = [*check_lines(findings_in(report.legs[0])), *end.flips, *end.explanation, end.last_line]
            lines += ["", "Annotation", *end.verdict[:2], "", f"{commit_state_of(status)} {status.title}", ""]
            golden(f"compared/{file_of(name)}.txt", "\n".join(lines))


def test_junit_and_json_show_comparisons(golden: Callable[[str, str], None]) -> None:
    """The golden files contain only the parts that comparisons change: JUnit's last suite, and a criterion in JSON."""
    suite = [*ET.fromstring(junit(reports()["worse"]))][-1]
    ET.indent(suite)
    golden("compared/worse.xml", ET.tostring(suite, encoding="unicode") + "\n")
    (leg,) = json.loads(document(reports()["in doubt"]))["legs"]
    shown = {"baseline": leg["baseline"], "criteria": leg["criteria"][:1]}
    golden("compared/in-doubt.json", json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def test_every_format_shows_how_the_runs_of_a_pool_vary() -> None:
    """Each over the compared test cases. A run that lacks one of them is left out, and a single run does not vary."""
    now, old = run_of("now", yes(19, 20)), run_of("old1", yes(18, 20))
    pool = baseline_of(old, run_of("old2", yes(20, 20)), run_of("old3", yes(10, 10)))
    report = report_on(now, pool, RATE)
    (leg,) = json.loads(document(report))["legs"]
    shown = next(criterion for criterion in leg["criteria"] if criterion["compared_with"] == "baseline")
    assert (shown["baseline_lowest"], shown["baseline_highest"]) == (0.9, 1.0)
    assert shown["range_text"] == "2 runs: 90% to 100%"
    assert "<br>2 runs: 90% to 100% |" in summary(report)
    assert '<div class="quiet">2 runs: 90% to 100%</div>' in html(report)
    assert any(", 2 runs: 90% to 100% → " in line for line in check_lines(findings_in(report.legs[0])))
    assert "runs: " not in summary(report_on(now, baseline_of(old), RATE))
    assert "2 runs: 90% each" in summary(report_on(now, baseline_of(old, run_of("old4", yes(18, 20))), RATE))


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
        assert report.judgement.passes_gate
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


def test_advisory_threshold_does_not_stand_for_a_step_that_ended_in_an_error() -> None:
    """The metric of the threshold is missing, too."""
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
        ((0.0, math.inf), "metric", "not lower"),
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
