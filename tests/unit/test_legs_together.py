"""All legs of a step are compared at once with what each refers to."""

from collections.abc import Sequence

import pytest

from baselines import DEPLOYED, RATE, Cases, baseline_of, both, judged, numbers, run_of, yes
from coval_gate.coval.model import Target
from coval_gate.features.legs.judge import compare_legs
from coval_gate.features.repetition.judge import judge_together
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import Judgement, SingleRun
from coval_gate.gate.verdict import Together, Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds

Judged = tuple[Judgement | None, Criteria]


def named(leg: str, cases: Cases) -> Cases:
    """Return the test cases of a leg with a test set of its own."""
    return {f"{leg}.{case}": values for case, values in cases.items()}


def leg(
    now: Cases,
    *before: Cases,
    lines: str = RATE,
    name: str = "a",
    confidence: float | None = 0.95,
    mutated: bool = False,
) -> Judged:
    """Return a leg of two that was compared with earlier runs, the newest first."""
    criteria = Criteria(
        max_failed=Allowance(100, percent=True), thresholds=parse_thresholds(lines), confidence=confidence, legs=2
    )
    target = Target(operator="in", values=("YES",)) if "pass_rate" in lines else None
    runs = [run_of(f"{name}{place}", cases, target=target) for place, cases in enumerate(before)]
    result = run_of(f"{name} now", now, target=target)
    if mutated:
        result = both(result, run_of(f"{name} now", now, mutation="Calmer"))
        runs = [
            both(run, run_of(run.run_id, cases, mutation="Calmer")) for run, cases in zip(runs, before, strict=True)
        ]
    return judged(result, baseline_of(*runs), lines, confidence=confidence, on_inconclusive="fail", legs=2), criteria


def apart(now: Cases, before: Cases, count: int, lines: str = RATE) -> list[Judged]:
    """Return so many legs that are alike, each with a test set of its own."""
    return [leg(named(name, now), named(name, before), lines=lines, name=name) for name in "abcdefgh"[:count]]


def found(legs: Sequence[Judged]) -> Judgement:
    judgement = compare_legs(legs)
    assert judgement
    return judgement


FALLS = (yes(17, 20), yes(19, 20))
STAYS = (yes(19, 20), yes(19, 20))


@pytest.mark.parametrize(
    ("legs", "verdict", "trend"),
    [
        pytest.param(apart(*FALLS, 8), "failed", "worse", id="all a little worse"),
        pytest.param(apart(*STAYS, 8), "passed", "unchanged", id="unchanged"),
        pytest.param([*apart(*STAYS, 8)[1:], *apart(*FALLS, 1)], "passed", "unchanged", id="one a little worse"),
        pytest.param(apart(FALLS[1], FALLS[0], 8), "passed", "improved", id="all a little better"),
        pytest.param(apart(*FALLS, 8, "pass_rate >= baseline - 5pp"), "failed", "worse", id="rate without a metric"),
        pytest.param(
            apart(numbers(1, 20, slower=1.3), numbers(1, 20), 3, "Resolved: avg <= baseline * 1.1"),
            "failed",
            "worse",
            id="averages",
        ),
    ],
)
def test_all_legs_show_what_none_shows_alone(legs: list[Judged], verdict: str, trend: str) -> None:
    judgement = found(legs)
    (check,) = judgement.checks
    assert (judgement.verdict, check.comparison and check.comparison.trend) == (verdict, trend)
    assert check.runs == len(legs)


def test_no_leg_of_many_is_red_alone() -> None:
    assert {own.verdict for own, _ in apart(*FALLS, 8) if own} == {Verdict.INCONCLUSIVE}


def test_doubt_passes_whatever_the_policy_of_single_legs() -> None:
    judgement = found(apart(yes(18, 20), yes(20, 20), 2))
    assert (judgement.verdict, judgement.passes_gate) == (Verdict.INCONCLUSIVE, True)


ONLY_ONCE = apart(*STAYS, 1)
ERROR = leg(*(named("c", cases) for cases in STAYS), lines=f"{RATE}\nLatncy: avg < 2", name="c")


@pytest.mark.parametrize(
    "legs",
    [
        pytest.param(ONLY_ONCE, id="one leg"),
        pytest.param([*ONLY_ONCE, (None, ONLY_ONCE[0][1])], id="the other one has no judgement"),
        pytest.param([*ONLY_ONCE, ERROR], id="the other one ended in an error"),
        pytest.param([leg(*STAYS, confidence=None), leg(*STAYS, confidence=None)], id="as counted"),
        pytest.param(apart(*STAYS, 2, f"? {RATE}"), id="advisory"),
        pytest.param(apart(*STAYS, 2, "Resolved: rate(YES) >= 5%"), id="against a number"),
        pytest.param(apart(*STAYS, 2, "Resolved: rate(YES) >= baseline + 5pp"), id="asks for an improvement"),
        pytest.param([*ONLY_ONCE, *apart(*STAYS, 1, "Resolved: rate(YES) >= baseline - 6pp")], id="other thresholds"),
        pytest.param([*ONLY_ONCE, leg(STAYS[0])], id="no baseline"),
    ],
)
def test_nothing_is_compared_together(legs: list[Judged]) -> None:
    assert compare_legs(legs) is None


def test_row_shows_how_many_legs_are_counted() -> None:
    legs = [*apart(*STAYS, 2), ERROR]
    some, every = Together((0, 1), 3), Together((0, 1), 2)
    assert (found(legs).cause, found(legs[:2]).cause) == (some, every)
    assert (some.name, every.name) == ("2 of 3 legs together", "all legs together")


def test_threshold_is_the_same_whatever_its_place_and_spelling() -> None:
    lines = "# at another place\n'resolved': rate('YES')   >=  baseline  -  5pp"
    legs = [*ONLY_ONCE, leg(*(named("b", cases) for cases in STAYS), lines=lines, name="b")]
    assert len(found(legs).checks) == 1


def test_variants_are_compared_apart() -> None:
    legs = [leg(*(named(name, cases) for cases in STAYS), name=name, mutated=name != "c") for name in "abc"]
    assert {check.variant: check.runs for check in found(legs).checks} == {"": 3, "Calmer": 2}


def test_test_case_that_legs_share_is_one_unit() -> None:
    (check,) = found([leg(*FALLS, name="a"), leg(*STAYS, name="b")]).checks
    assert check.measure
    assert check.comparison
    assert (check.comparison.cases, check.measure.total, check.comparison.count) == (20, 40, 40)
    assert (check.measure.value, check.comparison.value) == (0.9, 0.95)


def test_leg_with_more_earlier_runs_weighs_no_more_in_a_shared_test_case() -> None:
    """Otherwise legs that differ, and are unchanged, would look worse or better."""
    good, bad = yes(20, 20), yes(10, 20)
    (check,) = found([leg(good, *[good] * 4, name="a"), leg(bad, *[bad] * 2, name="b")]).checks
    assert check.measure
    assert check.comparison
    assert (check.measure.value, check.comparison.value, check.comparison.count) == (0.75, 0.75, 80)


def test_legs_that_share_a_base_agent_each_have_its_conversations() -> None:
    line = "Resolved: rate(YES) >= base - 5pp"
    base = baseline_of(run_of("base", yes(20, 20)), source=DEPLOYED)
    thresholds = tuple(one._replace(bound=one.bound._replace(reference="base_agent")) for one in parse_thresholds(line))
    criteria = Criteria(max_failed=Allowance(0), thresholds=thresholds, confidence=0.95, legs=2)
    legs = [(judged(run_of(name, yes(15, 20)), None, line, base=base, legs=2), criteria) for name in "ab"]
    (check,) = found(legs).checks
    assert check.measure
    assert check.comparison
    assert (check.verdict, check.measure.total, check.comparison.count) == (Verdict.FAILED, 40, 40)


def test_half_of_the_error_is_for_all_legs_together() -> None:
    """Eight failing cases of twenty show a change at 2.5 %, not at the 1.25 % of each of two legs."""
    for legs, verdict in ((1, Verdict.FAILED), (2, Verdict.INCONCLUSIVE)):
        own = judged(run_of("now", yes(15, 20)), baseline_of(run_of("old", yes(20, 20))), RATE, legs=legs)
        assert own.verdict is verdict


def repeated(now: Sequence[Cases], before: Cases, name: str) -> Judged:
    """Return a leg that ran twice."""
    alone = [leg(cases, before, name=f"{name}{place}") for place, cases in enumerate(now)]
    runs = [
        SingleRun(run_id=f"{name}{place}", judgement=judgement)
        for place, (judgement, _) in enumerate(alone)
        if judgement
    ]
    return judge_together(runs, alone[0][1]), alone[0][1]


def test_leg_that_ran_twice_counts_with_both_runs() -> None:
    """A test case that it shares with a leg that ran once is a unit of each: its runs could not be permuted."""
    twice = [repeated([yes(17, 20), yes(20, 20)], yes(19, 20), name) for name in "ab"]
    (check,) = found(twice).checks
    assert check.measure
    assert check.comparison
    assert (check.measure.total, check.comparison.cases, check.comparison.count) == (80, 20, 40)
    assert check.measure.value == 0.925
    (mixed,) = found([twice[0], leg(*STAYS, name="c")]).checks
    assert mixed.measure
    assert mixed.comparison
    assert (mixed.measure.total, mixed.comparison.cases) == (60, 40)
    # Each test case of each leg weighs the same: 92.5 % and 95 % make 93.75 %.
    assert mixed.measure.value == 0.9375
