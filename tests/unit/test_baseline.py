"""A run is compared with the test cases that it shares with a baseline, each of which weighs the same."""

import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import (
    MAIN,
    NO_BASELINE,
    RATE,
    Cases,
    baseline_of,
    both,
    checks_of,
    compared,
    comparison,
    judged,
    measured,
    numbers,
    only,
    problem_of,
    run_of,
    yes,
)
from coval_gate.base.errors import InputError
from coval_gate.ci.host import SLICE
from coval_gate.coval.model import Metric, Run, Summary, Target, Value
from coval_gate.gate.findings import findings_of
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundReason
from coval_gate.gate.problems import UNUSABLE_BASELINE
from coval_gate.gate.statistics import percentile, weighted_percentile
from coval_gate.gate.verdict import Verdict
from coval_gate.history.tags import check_spelling
from coval_gate.inputs.fields import BaselineSource
from coval_gate.report.wording import reasons
from coval_gate.report.wording.checks import check_reason
from rendering import check_lines

EVEN, FEWER = "Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline"
IS_YES = Target(operator="in", values=("YES",))


def values(value: Value | None, *, count: int, start: int = 0) -> dict[str, list[Value | None]]:
    """Return that many test cases with the same value."""
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


def test_runs_of_baseline_are_pooled_by_test_case() -> None:
    old = [run_of(f"old{n}", {"a": ["YES"], "b": ["NO" if n else "YES"]}) for n in range(3)]
    then = comparison(judged(run_of("now", {"a": ["YES"], "b": ["NO"]}), baseline_of(*old), RATE, confidence=None))
    assert then.value == pytest.approx(4 / 6)
    assert (then.count, then.cases) == (6, 2)
    assert (then.newly_failing, then.newly_passing) == ((), ()), "most conversations of b failed before, too"


@pytest.mark.parametrize("threshold", [EVEN, FEWER])
def test_flips_are_reported_by_test_case_in_the_direction_of_the_threshold(threshold: str) -> None:
    """A missing value is never the right one."""
    now: Cases = {"a": ["NO"], "b": ["YES"], "c": ["YES"], "d": [None]}
    then: Cases = {"a": ["YES"], "b": ["NO"], "c": ["YES"], "d": ["YES"]}
    flips = comparison(compared(now, then, threshold, confidence=None))
    assert (flips.newly_failing, flips.newly_passing) == (("a", "d"), ("b",))


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize("threshold", [EVEN, FEWER])
def test_test_set_that_grew_by_hard_cases_is_no_regression(threshold: str, confidence: float | None) -> None:
    """Forty cases were there in three nights, and twenty hard ones in the last; each ends as before."""
    easy, hard = values("YES", count=40), values("NO", count=20, start=40)
    baseline = baseline_of(run_of("old3", easy | hard), run_of("old2", easy), run_of("old1", easy))
    judgement = judged(run_of("now", easy | hard), baseline, threshold, confidence=confidence)
    assert only(judgement).verdict is not Verdict.FAILED
    assert measured(only(judgement)).value == pytest.approx(comparison(judgement).value)


def test_cases_that_broke_are_not_hidden_by_easy_cases_that_came() -> None:
    """Of thirty cases that were there in three nights, eight break, while the set has grown by easy ones."""
    old = values("YES", count=30) | values("NO", count=6, start=30)
    new = values("YES", count=30, start=40)
    baseline = baseline_of(run_of("old3", old | new), run_of("old2", old), run_of("old1", old))
    judgement = judged(run_of("now", old | new | values("NO", count=8, start=22)), baseline, EVEN)
    assert only(judgement).verdict is Verdict.FAILED


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
    now = run_of("now", yes(80, 100) | values(None, count=10), target=IS_YES)
    old = run_of("old", yes(80, 100) | values(None, count=10, start=10), target=IS_YES)
    judgement = judged(now, baseline_of(old), threshold, confidence=confidence)
    assert only(judgement).verdict is not Verdict.FAILED
    assert measured(only(judgement)).value == comparison(judgement).value
    assert comparison(judgement).cases == 100


@pytest.mark.parametrize("threshold", [EVEN, FEWER])
def test_more_missing_values_than_before_are_a_regression(threshold: str) -> None:
    now, old = yes(100, 100) | values(None, count=12), yes(100, 100) | values(None, count=2, start=12)
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
    assert (judgement.verdict, problem_of(judgement), judgement.lets_pass) == (Verdict.INCONCLUSIVE, kind, True)
    assert not judged(now, baseline, RATE, confidence=confidence, on_inconclusive="fail").lets_pass


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
        ("satble", "stable", True),
        ("stabel", "Stable", True),
        ("nightl", "nightly", True),
        ("prod", "pord", False),
        ("prd", "prod", True),
        ("staging", "stable", False),
        ("stable-2", "stable-1", False),
        ("side-b", "side-a", False),
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
