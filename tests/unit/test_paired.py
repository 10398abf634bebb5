"""Verdicts against a baseline agree with the numbers as counted, with the bounds shown, and with each other."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import Cases, baseline_of, both, checks_of, comparison, judged, numbers, only, run_of, yes
from coval_gate.coval.model import Metric, Value
from coval_gate.gate.checks import Check
from coval_gate.gate.measure import Comparison
from coval_gate.gate.verdict import Verdict


def same(value: Value, count: int = 40) -> dict[str, list[Value | None]]:
    return {f"case{n:03}": [value] for n in range(count)}


def spread(count: int, *, more: float = 0.0) -> dict[str, list[Value | None]]:
    """Return that many cases with different numbers, each larger by `more`."""
    return {f"case{n:03}": [n / 10 + more] for n in range(count)}


@pytest.mark.parametrize(
    ("before", "now", "threshold", "verdict"),
    [
        (spread(40), spread(40, more=0.1), "Resolved: avg <= baseline + 0.1", Verdict.PASSED),
        (spread(40), spread(40, more=0.3), "Resolved: avg <= baseline + 0.3", Verdict.PASSED),
        (spread(40), spread(40, more=-0.3), "Resolved: avg >= baseline - 0.3", Verdict.PASSED),
        (spread(40), spread(40, more=0.31), "Resolved: avg <= baseline + 0.3", Verdict.FAILED),
        (spread(40), spread(40), "Resolved: avg < baseline", Verdict.INCONCLUSIVE),
        (spread(40), spread(40), "Resolved: avg > baseline", Verdict.INCONCLUSIVE),
        (spread(40), spread(40, more=0.1), "Resolved: avg < baseline + 0.1", Verdict.FAILED),
        (same(4.0), same(4.0), "Resolved: avg >= baseline", Verdict.PASSED),
        (same(4.0, 29), same(4.0, 29), "Resolved: avg >= baseline", Verdict.INCONCLUSIVE),
        (same(0.0), same(0.0), "Resolved: avg <= baseline * 1.1", Verdict.PASSED),
        (same(0.0), same(0.0), "Resolved: p(50) <= baseline", Verdict.INCONCLUSIVE),
        (same(0.2), same(0.3), "Resolved: med <= baseline + 0.1", Verdict.INCONCLUSIVE),
        (same("YES", 2), same("YES", 2), "Resolved: rate(YES) >= baseline - 99pp", Verdict.PASSED),
        (same("NO"), same("NO"), "Resolved: rate(YES) >= baseline * 0.9", Verdict.INCONCLUSIVE),
    ],
)
def test_ties_are_decided_as_without_confidence_or_not_at_all(
    before: Cases, now: Cases, threshold: str, verdict: Verdict
) -> None:
    baseline = baseline_of(run_of("old", before))

    assert only(judged(run_of("now", now), baseline, threshold)).verdict is verdict
    plain = only(judged(run_of("now", now), baseline, threshold, confidence=None)).verdict
    assert verdict in (plain, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("threshold", ["avg <= baseline * 1.1", "avg >= baseline * 0.9"])
def test_a_factor_of_a_negative_value_asks_for_an_improvement(threshold: str) -> None:
    """A family that guards against regressions must not excuse it, although no regression is to be seen."""
    before = {case: [-10.0 - value for value in values] for case, values in numbers(1, 50).items()}  # type: ignore[operator]
    lines = f"Resolved: {threshold}\nResolved: med <= baseline + 99\nResolved: avg >= baseline - 99"
    check = checks_of(judged(run_of("now", before), baseline_of(run_of("old", before)), lines))[0]

    assert check.verdict is Verdict.FAILED


def test_a_regression_that_is_not_evident_itself_does_not_fail() -> None:
    """The excess over `* 1.1` is more certain than the change, which 29 equal differences cannot show."""
    before = {f"case{n:03}": [float(n)] for n in range(29)}
    now = {case: [value + 10.0] for case, (value,) in before.items()}
    judgement = judged(run_of("now", now), baseline_of(run_of("old", before)), "Resolved: avg <= baseline * 1.1")

    assert only(judgement).verdict is Verdict.INCONCLUSIVE
    assert comparison(judgement).by_chance == 0


def moved(hits: int, then: int, count: int = 50) -> tuple[Cases, Cases]:
    """Return that many cases before and now, of which so many are hits."""
    return yes(then, count), yes(hits, count)


@pytest.mark.parametrize(
    ("before", "now", "threshold", "verdict", "trend"),
    [
        # Fourteen points lower: that is a change, but not shown to be more than five points.
        (*moved(41, 48), "Resolved: rate(YES) >= baseline - 5pp", Verdict.FAILED, "worse"),
        (*moved(41, 48), "Resolved: rate(YES) >= baseline - 14pp", Verdict.INCONCLUSIVE, "worse"),
        (*moved(41, 48), "Resolved: rate(YES) >= baseline - 30pp", Verdict.PASSED, "worse"),
        (*moved(45, 48), "Resolved: rate(YES) >= baseline - 5pp", Verdict.INCONCLUSIVE, "inconclusive"),
        (spread(40), spread(40, more=0.31), "Resolved: avg <= baseline + 0.3", Verdict.FAILED, "worse"),
        (spread(40), spread(40, more=0.29), "Resolved: avg <= baseline + 0.3", Verdict.PASSED, "worse"),
        # An improvement that was asked for has to be ruled out, whatever the change is.
        (*moved(41, 48), "Resolved: rate(YES) >= baseline + 1pp", Verdict.FAILED, "worse"),
        (*moved(41, 41), "Resolved: rate(YES) >= baseline + 1pp", Verdict.INCONCLUSIVE, "inconclusive"),
        (*moved(48, 41), "Resolved: rate(YES) >= baseline + 30pp", Verdict.FAILED, "improved"),
    ],
)
def test_change_is_shown_and_margin_is_counted(
    before: Cases, now: Cases, threshold: str, verdict: Verdict, trend: str
) -> None:
    judgement = judged(run_of("now", now), baseline_of(run_of("old", before)), threshold)

    assert (only(judgement).verdict, comparison(judgement).trend) == (verdict, trend)


def test_words_are_ruled_by_the_family_too() -> None:
    """Alone, each change would be evident; among ten, it may be chance."""
    old, worse, better = yes(44, 50), yes(38, 50), yes(49, 50)
    others = "\n".join(["Resolved: rate(NO, YES) >= baseline - 90pp"] * 9)
    for now, trend in ((worse, "worse"), (better, "improved")):
        alone = judged(run_of("now", now), baseline_of(run_of("old", old)), "Resolved: rate(YES) >= baseline - 30pp")
        among = judged(
            run_of("now", now),
            baseline_of(run_of("old", old)),
            f"Resolved: rate(YES) >= baseline - 30pp\n{others}",
            confidence=0.95,
        )
        first = compared(checks_of(among)[0])
        assert (comparison(alone).trend, comparison(alone).by_chance) == (trend, 0)
        assert (first.trend, first.by_chance) == ("unchanged", 10)
        assert first.noticeable
        assert comparison(alone).noticeable
        assert first.noticeable >= (comparison(alone).noticeable or 0.0)


def test_legs_are_one_family() -> None:
    """Alone, a change is evident; in one of ten legs, it may be chance. A large one is evident among a hundred."""
    threshold = "Resolved: rate(YES) >= baseline"
    old, small, large = yes(48, 50), yes(41, 50), yes(5, 50)
    for now, legs, verdict in (
        (small, 1, Verdict.FAILED),
        (small, 10, Verdict.INCONCLUSIVE),
        (large, 100, Verdict.FAILED),
    ):
        judgement = judged(run_of("now", now), baseline_of(run_of("old", old)), threshold, legs=legs)
        assert only(judgement).verdict is verdict
        assert comparison(judgement).by_chance == (legs if verdict is Verdict.INCONCLUSIVE else 0)


def test_advisory_thresholds_have_words_that_are_ruled_among_all() -> None:
    lines = "\n".join(["? Resolved: rate(YES) >= baseline"] + ["Resolved: rate(NO, YES) >= baseline - 90pp"] * 9)
    judgement = judged(run_of("now", yes(38, 50)), baseline_of(run_of("old", yes(44, 50))), lines)

    first = checks_of(judgement)[0]
    assert (first.verdict, compared(first).by_chance) == (Verdict.INCONCLUSIVE, 10)


def test_a_metric_is_found_by_its_id_before_its_name() -> None:
    """In the baseline, another metric had the name that this one has now."""
    now, old = run_of("now", yes(3, 4)), run_of("old", yes(4, 4), name="Former name")
    other = Metric(id="x", name="Resolved", values={simulation.id: "NO" for simulation in old.simulations})
    old = old._replace(metrics=(*old.metrics, other))

    judgement = judged(now, baseline_of(old), "Resolved: rate(YES) >= baseline", confidence=None)

    assert comparison(judgement).value == 1.0


def test_a_name_that_means_two_metrics_in_the_baseline_is_not_compared() -> None:
    now, old = run_of("now", yes(3, 4)), run_of("old", yes(4, 4), metric_id="x")
    old = old._replace(metrics=(*old.metrics, old.metrics[0]._replace(id="y")))

    problem = only(judged(now, baseline_of(old), "Resolved: rate(YES) >= baseline", confidence=None)).problem

    assert problem
    assert problem.kind == "not_in_baseline"


def test_a_missing_value_flips_a_test_case_in_both_directions() -> None:
    now, old = run_of("now", {"a": [None], "b": ["YES"]}), run_of("old", {"a": ["YES"], "b": ["YES"]})
    for threshold in ("Resolved: rate(YES) >= baseline", "Resolved: rate(NO) <= baseline"):
        compared = comparison(judged(now, baseline_of(old), threshold, confidence=None))
        assert (compared.newly_failing, compared.newly_passing) == (("a",), ())


NUMBERS = st.one_of(st.integers(1, 5).map(float), st.floats(-100, 100))
NUMBER_CASES = st.dictionaries(
    st.integers(0, 60).map("case{:02}".format), st.lists(NUMBERS, min_size=1, max_size=3), min_size=2, max_size=50
)
LIFTS = st.sampled_from([0.0, 0.1, 1.0, 50.0, -50.0])
AGGREGATES = st.sampled_from(["avg", "med", "p(90)", "p(10)"])
OPERATORS = st.sampled_from([">=", ">", "<", "<="])
MARGINS = st.sampled_from(["", " + 0.1", " - 0.1", " + 1", " * 1.1", " * 0.9"])
OTHERS = ("", "\nResolved: avg <= baseline + 1000", "\nResolved: med >= baseline\nResolved: p(90) <= baseline * 2")


@given(NUMBER_CASES, LIFTS, AGGREGATES, OPERATORS, MARGINS, st.sampled_from(OTHERS), st.booleans())
@example({f"case{n:02}": [4.0] for n in range(40)}, 1.0, "med", "<=", "", "", False)
def test_verdicts_and_what_is_shown_agree(
    old: Cases, lift: float, aggregate: str, operator: str, margin: str, others: str, mutated: bool
) -> None:
    """Numbers of all kinds, with ties, negative ones, and few or many test cases."""
    now = run_of("now", {case: [value + lift for value in values] for case, values in old.items()})  # type: ignore[operator]
    if mutated:
        now = both(now, run_of("now", old, mutation="other"))
    before = run_of("old", old)
    baseline = baseline_of(both(before, run_of("old", old, mutation="other")) if mutated else before)
    thresholds = f"Resolved: {aggregate} {operator} baseline{margin}{others}"

    plain, sure, surer = (
        checks_of(judged(now, baseline, thresholds, confidence=confidence)) for confidence in (None, 0.8, 0.99)
    )

    for counted, one, other in zip(plain, sure, surer, strict=True):
        assert one.verdict in (counted.verdict, Verdict.INCONCLUSIVE)
        assert other.verdict in (one.verdict, Verdict.INCONCLUSIVE)
        assert not any(map(math.isnan, shown(one)))
        if one.verdict is Verdict.FAILED and compared(one).value > 0 and not asks(one):
            assert compared(one).trend == "worse"
        if compared(one).trend in ("worse", "improved"):
            assert rises(one) is not None
            assert (rises(one) == wants_less(one)) is (compared(one).trend == "worse")


def compared(check: Check) -> Comparison:
    assert check.measure
    assert check.measure.comparison
    return check.measure.comparison


def asks(check: Check) -> bool:
    return check.criterion.threshold.asks_for_improvement  # type: ignore[union-attr]


def wants_less(check: Check) -> bool:
    return check.criterion.threshold.wants_less  # type: ignore[union-attr]


def rises(check: Check) -> bool | None:
    """Return which way the bounds that are shown say that the value moved."""
    lower, upper = shown(check)
    if lower >= 0.0 and upper > 0.0:
        return True
    return False if upper <= 0.0 and lower < 0.0 else None


def shown(check: Check) -> tuple[float, float]:
    change = compared(check).change
    assert change
    return change.lower, change.upper
