"""Verdicts against a baseline fail where a regression is evident, and agree with the numbers and bounds shown."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import (
    RATE,
    Cases,
    baseline_of,
    both,
    checks_of,
    compared,
    comparison,
    comparison_of,
    judged,
    numbers,
    only,
    run_of,
    yes,
)
from coval_gate.coval.model import Value
from coval_gate.gate.checks import Check
from coval_gate.gate.verdict import Verdict

EVEN = "Resolved: rate(YES) >= baseline"


def same(value: Value, count: int = 40) -> dict[str, list[Value | None]]:
    return {f"case{n:03}": [value] for n in range(count)}


def spread(count: int, *, more: float = 0.0) -> dict[str, list[Value | None]]:
    """Return that many cases with different numbers, each larger by `more`."""
    return {f"case{n:03}": [n / 10 + more] for n in range(count)}


COUNTED = [
    (yes(48, 50), yes(48, 50), RATE, Verdict.PASSED),
    (yes(48, 50), yes(46, 50), RATE, Verdict.PASSED),
    (yes(48, 50), yes(45, 50), RATE, Verdict.FAILED),
    (yes(45, 50), yes(48, 50), RATE, Verdict.PASSED),
    (numbers(1, 50), numbers(1, 50), "Resolved: p(90) <= baseline + 0.1", Verdict.PASSED),
    (numbers(1, 50), numbers(1, 50, slower=1.2), "Resolved: max <= baseline * 1.1", Verdict.FAILED),
    (numbers(1, 50), numbers(1, 50), "Resolved: stdev <= baseline", Verdict.PASSED),
    (yes(48, 50), yes(47, 50), "Resolved: count(NO) <= baseline", Verdict.FAILED),
    (yes(48, 50), yes(49, 50), "Resolved: count(NO) <= baseline", Verdict.PASSED),
    (yes(40, 50), yes(41, 50), "Resolved: rate(YES) >= baseline + 5pp", Verdict.FAILED),
    (yes(9, 10), yes(9, 10), "Resolved: rate(YES) < baseline", Verdict.FAILED),
    (yes(9, 10), yes(9, 10), "Resolved: rate(YES) != baseline", Verdict.FAILED),
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
    # An improvement that was asked for has to be ruled out, whatever the change is.
    (yes(48, 50), yes(41, 50), f"{EVEN} + 1pp", Verdict.FAILED, "worse"),
    (yes(41, 50), yes(41, 50), f"{EVEN} + 1pp", Verdict.INCONCLUSIVE, "inconclusive"),
    (yes(41, 50), yes(48, 50), f"{EVEN} + 30pp", Verdict.FAILED, "improved"),
    # Ties are decided as without confidence, or not at all.
    (spread(40), spread(40, more=0.3), "Resolved: avg <= baseline + 0.3", Verdict.PASSED, "worse"),
    (spread(40), spread(40), "Resolved: avg < baseline", Verdict.INCONCLUSIVE, "inconclusive"),
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
    assert verdict in (only(compared(now, before, threshold, confidence=None)).verdict, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("threshold", ["avg <= baseline * 1.1", "avg >= baseline * 0.9"])
def test_a_factor_of_a_negative_value_asks_for_an_improvement(threshold: str) -> None:
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


def test_bounds_are_at_the_level_that_decides() -> None:
    """Among ten thresholds, nine of which show nothing, each bound has a tenth of the error."""
    others = "\n".join(["Resolved: rate(NO, YES) >= baseline - 90pp"] * 9)
    among, alone = (
        checks_of(compared(yes(46, 50), yes(44, 50), lines, confidence=confidence))[0]
        for lines, confidence in ((f"{EVEN}\n{others}", 0.95), (EVEN, 0.995))
    )
    assert shown(among) == pytest.approx(shown(alone))
    change = comparison_of(among).change
    assert change
    assert change.confidence == 0.95, "of all bounds together"


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
    """Test cases of seven runs got worse, and more of one run got better; the permutation weighs the first more."""

    def cases(old: int, new: int) -> Cases:
        return yes(old, 40) | {f"new.{case}": values for case, values in yes(new, 40).items()}

    before = baseline_of(run_of("old0", cases(40, 23)), *(run_of(f"old{n}", yes(40, 40)) for n in range(1, 7)))
    judgement = judged(run_of("now", cases(24, 40)), before, EVEN)
    assert (comparison(judgement).trend, comparison(judgement).value) == ("inconclusive", 0.7875)


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
    assert judgement.lets_pass is {"": default, "pass": True, "fail": False}[on_inconclusive]


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


NUMBERS = st.one_of(st.integers(1, 5).map(float), st.floats(-100, 100))
NUMBER_CASES = st.dictionaries(
    st.integers(0, 60).map("case{:02}".format), st.lists(NUMBERS, min_size=1, max_size=3), min_size=2, max_size=50
)
LIFTS = st.sampled_from([0.0, 0.1, 1.0, 50.0, -50.0])
AGGREGATES = st.sampled_from(["avg", "med", "p(90)", "p(10)"])
OPERATORS = st.sampled_from([">=", ">", "<", "<="])
MARGINS = st.sampled_from(["", " + 0.1", " - 0.1", " + 1", " * 1.1", " * 0.9"])
MARGINS_OF_RATES = ("", " - 5pp", " + 5pp", " * 0.9", " * 1.1")
OTHERS = ("", "\nResolved: avg <= baseline + 1000", "\nResolved: med >= baseline\nResolved: p(90) <= baseline * 2")


@given(NUMBER_CASES, LIFTS, AGGREGATES, OPERATORS, MARGINS, st.sampled_from(OTHERS), st.booleans())
@example({f"case{n:02}": [4.0] for n in range(40)}, 1.0, "med", "<=", "", "", False)
def test_verdicts_and_what_is_shown_agree(
    old: Cases, lift: float, aggregate: str, operator: str, margin: str, others: str, mutated: bool
) -> None:
    """Numbers of all kinds, with ties, negative ones, and few or many test cases."""
    now = run_of("now", {case: [value + lift for value in values] for case, values in old.items()})  # type: ignore[operator]
    before = run_of("old", old)
    if mutated:
        now, before = (both(run, run_of(run.run_id, old, mutation="other")) for run in (now, before))
    thresholds = f"Resolved: {aggregate} {operator} baseline{margin}{others}"
    plain, sure, surer = (
        checks_of(judged(now, baseline_of(before), thresholds, confidence=level)) for level in (None, 0.8, 0.99)
    )
    for counted, one, other in zip(plain, sure, surer, strict=True):
        threshold, change, bounds = one.criterion.threshold, comparison_of(one), shown(one)
        assert threshold
        assert one.verdict in (counted.verdict, Verdict.INCONCLUSIVE)
        assert other.verdict in (one.verdict, Verdict.INCONCLUSIVE)
        assert not any(map(math.isnan, bounds))
        if one.verdict is Verdict.FAILED and change.value > 0 and not threshold.asks_for_improvement:
            assert change.trend == "worse"
        assert_bounds_agree(one)


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
    assert lower <= upper
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
