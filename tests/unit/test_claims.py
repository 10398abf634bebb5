"""With a confidence, a threshold is decided by what the run shows of the agent, or not at all."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import checks_of, only
from coval_gate.coval.model import BASE, Metric, RunResult, Simulation, Summary, Target, Value
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import reasons
from rendering import check_lines

Cases = list[list[Value | None]]  # the values of each test case; None where one is missing
YES_NO = st.sampled_from(["YES", "NO", None])
NUMBERS = st.one_of(st.none(), st.floats(0, 10, allow_subnormal=False))
CONFIDENCES = st.sampled_from([0.6, 0.8, 0.9, 0.95, 0.99, 0.999])


def result_of(cases: Cases, *, name: str = "Metric", target: Target | None = None) -> RunResult:
    """Return a result with one metric, whose simulations belong to these test cases."""
    simulations, values = [], {}
    for number, case in enumerate(cases):
        for place, value in enumerate(case):
            simulation_id = f"s{number}.{place}"
            simulations.append(Simulation(id=simulation_id, status="COMPLETED", test_case_id=f"case {number}"))
            if value is not None:
                values[simulation_id] = value
    metric = Metric(id="m", name=name, values=values, target=target)
    return RunResult(run_id="r", expected=len(simulations), simulations=tuple(simulations), metrics=(metric,))


def judge_cases(cases: Cases, threshold: str, confidence: float | None = 0.95) -> Judgement:
    criteria = Criteria(
        max_failed=Allowance(100, percent=True), thresholds=parse_thresholds(threshold), confidence=confidence
    )
    return judge(result_of(cases), criteria)


def verdict_on(cases: Cases, threshold: str, confidence: float | None = 0.95) -> Verdict:
    return only(judge_cases(cases, threshold, confidence)).verdict


def once(*values: Value | None) -> Cases:
    """Return test cases with one conversation each."""
    return [[value] for value in values]


def yes(hits: int, count: int) -> Cases:
    return once(*["YES"] * hits, *["NO"] * (count - hits))


@pytest.mark.parametrize(
    ("cases", "threshold", "verdict"),
    [
        (yes(29, 29), "Metric: rate(YES) >= 90%", Verdict.PASSED),
        (yes(28, 28), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),
        (yes(40, 50), "Metric: rate(YES) >= 90%", Verdict.FAILED),
        (yes(41, 50), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),
        (yes(0, 29), "Metric: rate(YES) < 11%", Verdict.PASSED),
        (yes(10, 50), "Metric: rate(YES) <= 10%", Verdict.FAILED),
        (once(*[1.0] * 58), "Metric: p(95) < 1.5", Verdict.INCONCLUSIVE),
        (once(*[1.0] * 59), "Metric: p(95) < 1.5", Verdict.PASSED),
        (once(*[1.0] * 3, *[2.0] * 17), "Metric: med < 1.5", Verdict.FAILED),
        (once(*[1.0] * 8, *[2.0] * 12), "Metric: med < 1.5", Verdict.INCONCLUSIVE),
        (once(1.0, 1.1, 0.9, 1.05, 0.95), "Metric: avg < 1.5", Verdict.PASSED),
        (once(1.0, 2.1, 0.9, 1.9, 1.5), "Metric: avg < 1.6", Verdict.INCONCLUSIVE),
        (once(2.0, 2.1, 1.9, 2.05, 1.95), "Metric: avg < 1.6", Verdict.FAILED),
        (once(*[5.0] * 29), "Metric: avg >= 4", Verdict.INCONCLUSIVE),  # so few equal scores may be luck
        (once(*[5.0] * 30), "Metric: avg >= 4", Verdict.PASSED),
    ],
)
def test_threshold_is_decided_by_what_run_shows(cases: Cases, threshold: str, verdict: Verdict) -> None:
    assert verdict_on(cases, threshold) is verdict


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize(
    "threshold",
    [
        "Metric: count(NO) <= 1",
        "Metric: count(NO) == 0",
        "Metric: rate(YES) == 100%",
        "Metric: rate(YES) != 0%",
        "Metric: missing == 0",
        "failed == 0",
        "completed_rate >= 99%",
        "total == 3",
    ],
)
def test_counts_and_equality_are_decided_as_counted(threshold: str, confidence: float | None) -> None:
    judgement = judge_cases(yes(3, 3), threshold, confidence)

    assert only(judgement).verdict is Verdict.PASSED
    assert ("as counted" in "".join(check_lines(findings_of(judgement)))) == (confidence is not None)


@pytest.mark.parametrize("threshold", ["Metric: min > 0.5", "Metric: max < 3", "Metric: stdev < 0.8"])
def test_extremes_and_spread_are_decided_as_counted(threshold: str) -> None:
    assert verdict_on(once(1.0, 2.0), threshold) is Verdict.PASSED


@given(st.lists(st.lists(YES_NO, min_size=1, max_size=4), min_size=1, max_size=25), st.integers(0, 100), CONFIDENCES)
def test_conclusive_verdict_on_rate_agrees_with_the_count(cases: Cases, bound: int, confidence: float) -> None:
    for operator in ("<", "<=", ">", ">="):
        threshold = f"Metric: rate(YES) {operator} {bound}%"
        if (sure := verdict_on(cases, threshold, confidence)) is not Verdict.INCONCLUSIVE:
            assert sure is verdict_on(cases, threshold, None)


@given(
    st.lists(st.lists(NUMBERS, min_size=1, max_size=3), min_size=1, max_size=20),
    st.floats(0, 10),
    st.sampled_from(["avg", "med", "p(5)", "p(90)", "p(95)"]),
    CONFIDENCES,
)
def test_conclusive_verdict_on_numbers_agrees_with_the_count(
    cases: Cases, bound: float, aggregate: str, confidence: float
) -> None:
    for operator in ("<", "<=", ">", ">="):
        threshold = f"Metric: {aggregate} {operator} {bound:.3f}"
        if (sure := verdict_on(cases, threshold, confidence)) is not Verdict.INCONCLUSIVE:
            assert sure is verdict_on(cases, threshold, None)


def test_missing_values_can_be_either() -> None:
    assert verdict_on(yes(60, 60), "Metric: rate(YES) >= 90%") is Verdict.PASSED
    assert verdict_on([*yes(60, 60), *once(*[None] * 4)], "Metric: rate(YES) >= 90%") is Verdict.INCONCLUSIVE
    assert verdict_on(yes(40, 50), "Metric: rate(YES) >= 90%") is Verdict.FAILED
    assert verdict_on([*yes(40, 46), *once(*[None] * 4)], "Metric: rate(YES) >= 90%") is Verdict.INCONCLUSIVE


def test_conversations_of_few_test_cases_show_little() -> None:
    assert verdict_on(yes(30, 30), "Metric: rate(YES) >= 90%") is Verdict.PASSED
    assert verdict_on([["YES"] * 3] * 10, "Metric: rate(YES) >= 90%") is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("threshold", ["Metric: rate(YES) >= 1%", "pass_rate >= 1%"])
def test_unknown_test_cases_decide_nothing(threshold: str) -> None:
    result = result_of(yes(30, 30), target=Target(operator="in", values=("YES",)))
    first, *others = result.simulations
    nameless = Simulation(id=first.id, status=first.status, test_case_id="")
    changed = RunResult(run_id="r", expected=30, simulations=(nameless, *others), metrics=result.metrics)
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(threshold), confidence=0.95)

    judgement = judge(changed, criteria)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "Coval does not say which test case each value belongs to" in reasons(judgement)[0]


def test_summary_decides_nothing() -> None:
    metric = Metric(id="m", name="Metric", values={}, summary=Summary(mean=1.0, min=0.5, max=2.0))
    result = result_of(once(1.0, 2.0))
    summed = RunResult(run_id="r", expected=2, simulations=result.simulations, metrics=(metric,))
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("Metric: avg < 5"), confidence=0.95)

    assert judge(summed, criteria).verdict is Verdict.INCONCLUSIVE


def test_pass_rate_is_decided_over_test_cases() -> None:
    target = Target(operator="in", values=("YES",))
    for cases, verdict in (
        (yes(60, 60), Verdict.PASSED),
        (yes(28, 28), Verdict.INCONCLUSIVE),
        (yes(4, 20), Verdict.FAILED),
    ):
        criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("pass_rate >= 90%"), confidence=0.95)
        assert only(judge(result_of(cases, target=target), criteria)).verdict is verdict


def test_each_variant_is_decided_apart() -> None:
    result = result_of([*yes(30, 30), *yes(10, 30)])
    split = tuple(
        Simulation(
            id=simulation.id,
            status=simulation.status,
            test_case_id=simulation.test_case_id,
            mutation=BASE if number < 30 else "x",
        )
        for number, simulation in enumerate(result.simulations)
    )
    criteria = Criteria(
        max_failed=Allowance(0), thresholds=parse_thresholds("Metric: rate(YES) >= 90%"), confidence=0.95
    )
    both = judge(RunResult(run_id="r", expected=60, simulations=split, metrics=result.metrics), criteria)

    assert [check.verdict for check in checks_of(both)] == [
        Verdict.PASSED,
        Verdict.FAILED,
    ]


@pytest.mark.parametrize(
    ("thresholds", "tolerant", "verdict", "green"),
    [
        ("Metric: rate(YES) >= 50%", False, Verdict.PASSED, True),
        ("Metric: rate(YES) >= 50%\nMetric: rate(YES) >= 90%", False, Verdict.INCONCLUSIVE, False),
        ("Metric: rate(YES) >= 50%\nMetric: rate(YES) >= 90%", True, Verdict.INCONCLUSIVE, True),
        ("Metric: rate(NO) >= 50%\nMetric: rate(YES) >= 90%", True, Verdict.FAILED, False),
        ("Metric: rate(NO) >= 50%\nMetric: rate(YES) >= 90%\nOther: min > 1", True, Verdict.ERROR, False),
    ],
)
def test_gravest_threshold_decides_and_doubt_is_green_only_if_asked_for(
    thresholds: str, *, tolerant: bool, verdict: Verdict, green: bool
) -> None:
    criteria = Criteria(
        max_failed=Allowance(0),
        thresholds=parse_thresholds(thresholds),
        confidence=0.95,
        on_inconclusive="pass" if tolerant else "",
    )
    judgement = judge(result_of(yes(20, 20)), criteria)

    assert (judgement.verdict, judgement.lets_pass) == (verdict, green)
    assert judgement.status == {True: "COMPLETED"}.get(
        green, "ERROR" if verdict is Verdict.ERROR else "COMPLETED_WITH_FAILURES"
    )


def test_claims_read_as_sentences(golden: Callable[[str, str], None]) -> None:
    rng = random.Random(8)
    slow = once(*(round(rng.lognormvariate(0, 0.4), 3) for _ in range(40)))
    samples: Sequence[tuple[str, Cases, str]] = [
        ("enough conversations", yes(49, 50), "Metric: rate(YES) >= 90%"),
        ("too few test cases, whatever the result", yes(10, 10), "Metric: rate(YES) >= 90%"),
        ("in doubt", yes(46, 50), "Metric: rate(YES) >= 90%"),
        ("surely missed", yes(30, 50), "Metric: rate(YES) >= 90%"),
        ("an upper bound", yes(0, 40), "Metric: rate(YES) < 10%"),
        ("one test case", [["YES", "YES", "NO"]], "Metric: rate(YES) >= 50%"),
        ("a percentile", slow, "Metric: p(90) < 3"),
        ("a percentile that needs more test cases", slow, "Metric: p(95) < 3"),
        ("a median, surely missed", slow, "Metric: med < 0.5"),
        ("an average", slow, "Metric: avg < 1.5"),
        ("an average, in doubt", slow, "Metric: avg < 1"),
        ("equal scores", once(*[5.0] * 10), "Metric: avg >= 4"),
        ("as counted", yes(50, 50), "Metric: count(NO) == 0"),
        ("missing values", [*yes(58, 60), *once(None)], "Metric: rate(YES) >= 85%"),
    ]
    blocks = []
    for title, cases, threshold in samples:
        judgement = judge_cases(cases, threshold)
        check = only(judgement)
        lines = [line for line in check_lines(findings_of(judgement)) if threshold in line]
        blocks.append(
            "\n".join([title, *lines, *(f"    {reason}" for reason in reasons(judgement) if not check.passed)])
        )
    golden("confidence.txt", "\n\n".join(blocks) + "\n")
