"""In a comparison, every test case weighs the same, and a missing value counts alike on both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import Cases, baseline_of, both, checks_of, comparison, judged, only, run_of, yes
from coval_gate.coval.model import Target, Value
from coval_gate.gate.statistics import percentile, weighted_percentile
from coval_gate.gate.verdict import Verdict


def values(value: Value | None, iterations: int, *, count: int, start: int = 0) -> dict[str, list[Value | None]]:
    """Return that many test cases with the same value in every conversation."""
    return {f"case{n:03}": [value] * iterations for n in range(start, start + count)}


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize("threshold", ["Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline"])
def test_test_set_that_grew_by_hard_cases_is_no_regression(threshold: str, confidence: float | None) -> None:
    """Forty cases were there in three nights, and twenty hard ones in the last; each ends as before."""
    easy, hard = values("YES", 1, count=40), values("NO", 1, count=20, start=40)
    baseline = baseline_of(run_of("old3", easy | hard), run_of("old2", easy), run_of("old1", easy))

    check = only(judged(run_of("now", easy | hard), baseline, threshold, confidence=confidence))

    assert check.verdict is not Verdict.FAILED
    assert check.measure
    assert check.measure.comparison
    assert check.measure.value == pytest.approx(check.measure.comparison.value)


def test_cases_that_broke_are_not_hidden_by_easy_cases_that_came() -> None:
    """Of thirty cases that were there in three nights, eight break, while the set has grown by easy ones."""
    old = values("YES", 1, count=22) | values("NO", 1, count=6, start=30) | values("YES", 1, count=8, start=22)
    new = values("YES", 1, count=30, start=40)
    baseline = baseline_of(run_of("old3", old | new), run_of("old2", old), run_of("old1", old))
    now = old | new | values("NO", 1, count=8, start=22)

    check = only(judged(run_of("now", now), baseline, "Resolved: rate(YES) >= baseline"))

    assert check.verdict is Verdict.FAILED
    assert comparison(judged(run_of("now", now), baseline, "Resolved: rate(YES) >= baseline")).trend == "worse"


@pytest.mark.parametrize("aggregate", ["avg", "p(20)", "p(75)"])
def test_averages_and_percentiles_weigh_cases_the_same(aggregate: str) -> None:
    """The slow cases were there in one night only; none of them has become slower."""
    fast = {f"case{n:03}": [1.0 + n / 1000] for n in range(30)}
    slow = {f"case{n:03}": [3.0 + n / 1000] for n in range(30, 60)}
    baseline = baseline_of(run_of("old3", fast | slow), run_of("old2", fast), run_of("old1", fast))

    for confidence in (None, 0.95):
        threshold = f"Resolved: {aggregate} <= baseline + 0.01"
        judgement = judged(run_of("now", fast | slow), baseline, threshold, confidence=confidence)
        check, measure = only(judgement), only(judgement).measure
        assert check.verdict is not Verdict.FAILED
        assert measure
        assert measure.value == pytest.approx(comparison(judgement).value, abs=0.01)
        assert comparison(judgement).pooled
        assert comparison(judgement).pooled != pytest.approx(measure.value, abs=0.001)


def test_what_is_measured_of_uneven_cases() -> None:
    now = run_of("now", {"a": ["YES", "YES", "NO"], "b": ["NO"]})
    old = run_of("old", {"a": ["YES"], "b": ["YES", "NO"]})

    judgement = judged(now, baseline_of(old), "Resolved: rate(YES) >= baseline", confidence=None)

    measure = only(judgement).measure
    assert measure
    assert (measure.value, measure.pooled) == pytest.approx((1 / 3, 1 / 2))
    assert (measure.hits, measure.total) == (2, 4)
    compared = comparison(judgement)
    assert (compared.value, compared.pooled) == pytest.approx((3 / 4, 2 / 3))
    assert (compared.hits, compared.total) == (2, 3)


def test_base_weighs_cases_the_same_too() -> None:
    agent = run_of("now", {"a": ["YES", "YES", "YES"], "b": ["NO"]})
    mutation = run_of("now", {"a": ["YES"], "b": ["NO"]}, mutation="faster")

    check = only(judged(both(agent, mutation), None, "Resolved: rate(YES) >= base", confidence=None))

    assert check.verdict is Verdict.PASSED


CASES = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from(["YES", "NO", None]), min_size=3, max_size=3), min_size=2
)


@given(now=CASES, old=CASES)
def test_cases_with_as_many_conversations_are_pooled(now: Cases, old: Cases) -> None:
    old = {case: old.get(case, ["YES"] * 3) for case in now}

    for threshold in ("Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline", "pass_rate >= baseline"):
        target = Target(operator="in", values=("YES",))
        for check in checks_of(
            judged(run_of("now", now, target=target), baseline_of(run_of("old", old, target=target)), threshold)
        ):
            if check.measure and check.measure.comparison:
                assert check.measure.pooled is check.measure.comparison.pooled is None
                assert check.measure.value == check.measure.hits / check.measure.total


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize(
    "threshold", ["Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline", "pass_rate >= baseline"]
)
def test_missing_values_count_alike_on_both_sides(threshold: str, confidence: float | None) -> None:
    """A tenth of the calls fails, always other ones: that is no regression."""
    target = Target(operator="in", values=("YES",))
    now, old = yes(80, 100), yes(80, 100)
    now |= {f"case{n:03}": [None] for n in range(10)}
    old |= {f"case{n:03}": [None] for n in range(10, 20)}

    judgement = judged(
        run_of("now", now, target=target),
        baseline_of(run_of("old", old, target=target)),
        threshold,
        confidence=confidence,
    )

    assert only(judgement).verdict is not Verdict.FAILED
    assert only(judgement).measure
    assert only(judgement).measure.value == comparison(judgement).value  # type: ignore[union-attr]
    assert comparison(judgement).cases == 100


def test_more_missing_values_than_before_are_a_regression() -> None:
    now, old = yes(100, 100), yes(100, 100)
    now |= {f"case{n:03}": [None] for n in range(12)}
    old |= {f"case{n:03}": [None] for n in range(12, 14)}

    for threshold in ("Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline"):
        assert only(judged(run_of("now", now), baseline_of(run_of("old", old)), threshold)).verdict is Verdict.FAILED


def test_missing_numbers_are_left_out_on_both_sides_and_reported() -> None:
    now = run_of("now", {"a": [1.0, None], "b": [3.0, 3.0], "c": [None]})
    old = run_of("old", {"a": [1.0], "b": [None, 3.0], "c": [9.0]})

    judgement = judged(now, baseline_of(old), "Resolved: avg <= baseline", confidence=None)

    measure, compared = only(judgement).measure, comparison(judgement)
    assert measure
    assert (measure.value, measure.missing) == (2.0, 1)
    assert (compared.value, compared.missing, compared.left_out.valueless) == (2.0, 1, 1)


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(sorted)


@given(NUMBERS, st.floats(0, 100), st.floats(0.01, 100))
def test_percentile_of_equal_weights_is_the_usual_one(ordered: list[float], n: float, weight: float) -> None:
    weighted = [(value, weight) for value in ordered]

    assert weighted_percentile(weighted, n) == pytest.approx(percentile(ordered, n), rel=1e-6, abs=1e-3)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.01, 5)), min_size=1, max_size=30).map(sorted))
def test_weighted_percentile_goes_from_the_smallest_to_the_largest_value(weighted: list[tuple[float, float]]) -> None:
    percentiles = [weighted_percentile(weighted, n) for n in (0, 10, 50, 90, 100)]

    assert (percentiles[0], percentiles[-1]) == (weighted[0][0], weighted[-1][0])
    assert percentiles == sorted(percentiles)
