"""A leg that is paid for in slices ends as soon as its answer is clear, and no slice makes an error more likely."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import pytest

from baselines import answered, baseline_of
from coval_gate.coval.model import RunResult, Target
from coval_gate.features.confidence.bounds import exact_bounds
from coval_gate.features.spending.judge import judge_slices
from coval_gate.features.spending.sequential import Boundaries, Look
from coval_gate.features.spending.step import cut_off
from coval_gate.features.spending.words import after_slice_text, spending_texts
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement, SingleRun
from coval_gate.gate.variants import pooled
from coval_gate.gate.verdict import Limit, Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import advice, reason
from coval_gate.report.wording.checks import claim_text

FIFTY = (10, 20, 30, 40, 50)
RATE = "Resolved: rate(YES) >= 80%"


def slice_of(number: int, answers: str) -> RunResult:
    cases = [f"t{number}.{n}" for n in range(len(answers))]
    return answered(f"r{number}", answers, cases, target=Target(operator="in", values=("YES",)))


def criteria_of(thresholds: str = RATE, max_failed: int = 0, **more: Any) -> Criteria:
    return Criteria(max_failed=Allowance(max_failed), thresholds=parse_thresholds(thresholds), confidence=0.95, **more)


def sliced(slices: Sequence[str], criteria: Criteria, cases: tuple[int, ...] = FIFTY) -> Judgement:
    results = [slice_of(number, answers) for number, answers in enumerate(slices)]
    runs = [SingleRun(result.run_id, judge(result, criteria)) for result in results]
    return judge_slices(runs, criteria, cases)


def answers(hits: int, of: int = 10) -> str:
    return "Y" * hits + "N" * (of - hits)


def clear(judgement: Judgement) -> bool:
    assert judgement.slices
    return judgement.slices.is_clear


@pytest.mark.parametrize("cap", [20, 50, 200, 500])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_errors_at_the_bound_are_as_promised(share: float, cap: int) -> None:
    ends = Boundaries.of(share, tuple(round(cap * k / 5) for k in range(1, 6)), 0.05).ends(share)
    assert ends.passed <= 0.05
    assert ends.failed <= 0.05


def test_the_boundaries_of_two_hundred_conversations() -> None:
    boundaries = Boundaries.of(0.9, (40, 80, 120, 160, 200), 0.05)
    assert boundaries.passes == (41, 78, 115, 152, 188)
    assert boundaries.fails == (30, 65, 100, 136, 171)
    assert [round(boundaries.ends(truth).conversations) for truth in (0.7, 0.8, 0.9, 0.95, 0.99)] == [
        48, 89, 145, 139, 82,
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_bounds_that_are_shown_decide_as_the_boundaries_do(share: float) -> None:
    counts = (3, 7, 10, 14, 17)
    boundaries = Boundaries.of(share, counts, 0.05)
    for look, count in enumerate(counts):
        failing, passing = boundaries.errors(look)
        for hits in range(count + 1):
            lower = exact_bounds(hits, count, 1.0 - passing).lower
            upper = exact_bounds(hits, count, 1.0 - failing).upper
            assert (lower >= share) is (hits >= boundaries.passes[look] or share == 0.0)
            assert (upper < share) is (hits <= boundaries.fails[look])


@pytest.mark.parametrize(("error", "constant"), [(0.05, 1.751), (0.025, 2.040)])
def test_levels_of_looks_match_o_brien_and_fleming(error: float, constant: float) -> None:
    for look in range(1, 6):
        z = NormalDist().inv_cdf(1.0 - Look(look, (1,) * 5).error(error))
        assert z == pytest.approx(constant * (5 / look) ** 0.5, abs=0.003)
    assert Look(1, (1,)).error(error) == pytest.approx(error)


@pytest.mark.parametrize(
    ("slices", "verdict", "is_clear"),
    [
        ([answers(1)], Verdict.FAILED, True),
        ([answers(10)], Verdict.INCONCLUSIVE, False),
        ([answers(10), answers(10)], Verdict.PASSED, True),
        ([answers(8)] * 4, Verdict.INCONCLUSIVE, True),  # an answer is out of reach
        ([answers(9)] * 5, Verdict.INCONCLUSIVE, True),
    ],
)
def test_a_rate_is_decided_as_soon_as_it_is_clear(slices: list[str], verdict: Verdict, is_clear: bool) -> None:
    judgement = sliced(slices, criteria_of())
    assert (judgement.verdict, clear(judgement)) == (verdict, is_clear)


def test_what_is_decided_stays_decided() -> None:
    criteria = criteria_of(f"{RATE}\nLatency: avg < 1.9")
    judgement = sliced([answers(10), answers(10), answers(6), answers(7)], criteria)
    resolved, latency = (check for check in judgement.checks if check.threshold)
    assert (resolved.verdict, resolved.after) == (Verdict.PASSED, 20)
    assert (latency.verdict, latency.after) == (Verdict.INCONCLUSIVE, 0)
    assert not clear(judgement)


@pytest.mark.parametrize("later", [3, 0])
def test_pass_that_later_calls_contradict_is_no_pass(later: int) -> None:
    """Another threshold waits for the last slice, so all of them are called and paid for."""
    for count in (3, 4, 5):
        slices = [answers(10), answers(10), *[answers(later)] * (count - 2)]
        judgement = sliced(slices, criteria_of(f"{RATE}\nLatency: max < 60"))
        (resolved,) = (check for check in judgement.checks if check.threshold and check.threshold.metric == "Resolved")
        assert resolved.verdict in (Verdict.INCONCLUSIVE, Verdict.FAILED), count
        assert resolved.measure
        assert resolved.measure.hits == 20 + later * (count - 2), "all calls so far are shown"


@pytest.mark.parametrize(
    ("threshold", "decided"),
    [
        ("Latency: avg < 1.5", False),
        ("Latency: max < 3", False),
        ("Resolved: count(NO) < 30", False),
        ("Latency: p(50) < 1.5", True),
        ("pass_rate >= 50%", True),
    ],
)
def test_what_needs_all_test_cases_waits_for_the_last_slice(threshold: str, decided: bool) -> None:
    judgement = sliced([answers(10)] * 4, criteria_of(threshold))
    assert clear(judgement) is decided
    assert judgement.verdict is (Verdict.PASSED if decided else Verdict.INCONCLUSIVE)
    # A claim that decides would contradict the verdict.
    assert decided or claim_text(judgement.checks[-1]) in ("as counted", "nothing is certain")
    if "avg" not in threshold:
        assert sliced([answers(10)] * 5, criteria_of(threshold)).verdict is Verdict.PASSED


def test_a_value_that_is_forbidden_ends_the_leg() -> None:
    judgement = sliced([answers(9)], criteria_of("Resolved: count(NO) == 0"))
    assert (judgement.verdict, clear(judgement)) == (Verdict.FAILED, True)


def test_a_target_that_all_must_meet_waits_unless_it_is_missed() -> None:
    criteria = criteria_of("", use_metric_targets=True)
    met, missed = sliced([answers(10)], criteria), sliced([answers(9)], criteria)
    assert (met.verdict, clear(met)) == (Verdict.INCONCLUSIVE, False)
    assert (missed.verdict, clear(missed)) == (Verdict.FAILED, True)


@pytest.mark.parametrize(("failed", "is_clear"), [(1, False), (2, False), (3, True)])
def test_failed_simulations_end_the_leg_once_they_are_too_many_for_all_test_cases(failed: int, is_clear: bool) -> None:
    criteria = criteria_of(max_failed=0)
    criteria = Criteria(max_failed=Allowance(4, percent=True), thresholds=criteria.thresholds, confidence=0.95)
    judgement = sliced(["X" * failed + "Y" * (10 - failed)], criteria)
    assert clear(judgement) is is_clear
    assert judgement.verdict is not Verdict.PASSED


def test_the_chance_of_an_answer_looks_at_all_later_slices() -> None:
    boundaries = Boundaries.of(0.9, (40, 80, 120, 160, 200), 0.05)
    chances = [boundaries.chance(look, round(0.95 * count)) for look, count in enumerate(boundaries.counts)]
    assert chances[0] > 0.6
    assert chances[-1] == 0.0
    for now, later in pairwise(boundaries.ends(truth).passed for truth in (0.9, 0.95, 0.99)):
        assert now < later


def test_a_plan_shows_what_slices_save_and_what_makes_them_pointless() -> None:
    thresholds = "Resolved: rate(YES) >= 90%\nRude: rate(YES) <= 10%\nLatency: p(90) < 2\nLatency: avg < 2"
    assert list(spending_texts(criteria_of(f"{thresholds}\nResolved: rate(YES) >= baseline"), 200)) == [
        "Latency: avg < 2 passes only with all test cases, so spend: until clear saves nothing unless something fails.",
        "Resolved: rate(YES) >= 90% is clear after this many of 200 test cases on average, by its true rate: 48 at "
        "70%, 89 at 80%, 145 at 90%, 139 at 95% and 82 at 99%.",
        "Rude: rate(YES) <= 10% is clear after this many of 200 test cases on average, by its true rate: 48 at "
        "30%, 89 at 20%, 145 at 10%, 139 at 5% and 82 at 1%.",
        "Latency: p(90) < 2 is clear after this many of 200 test cases on average, by its true share of values that "
        "meet it: 48 at 70%, 89 at 80%, 145 at 90%, 139 at 95% and 82 at 99%.",
    ]


def beside(slices: Sequence[str], earlier: Sequence[str], thresholds: str, **more: Any) -> Judgement:
    """Judge slices against a baseline of one run with all test cases."""
    before = pooled([slice_of(number, hits) for number, hits in enumerate(earlier)])._replace(run_id="old")
    old = before._replace(
        simulations=tuple(one._replace(id=f"old.{one.id}") for one in before.simulations),
        metrics=tuple(
            metric._replace(values={f"old.{id_}": value for id_, value in metric.values.items()})
            for metric in before.metrics
        ),
    )
    criteria = criteria_of(thresholds, **more)
    results = [slice_of(number, hits) for number, hits in enumerate(slices)]
    runs = [SingleRun(result.run_id, judge(result, criteria, baseline=baseline_of(old))) for result in results]
    return judge_slices(runs, criteria, FIFTY)


@pytest.mark.parametrize(
    ("slices", "thresholds", "verdict", "trend", "is_clear"),
    [
        ([answers(9)] * 1, "Resolved: rate(YES) >= baseline", Verdict.INCONCLUSIVE, "inconclusive", False),
        ([answers(9)] * 2, "Resolved: rate(YES) >= baseline", Verdict.INCONCLUSIVE, "unchanged", True),
        ([answers(8)] * 2, "Resolved: rate(YES) >= baseline", Verdict.INCONCLUSIVE, "inconclusive", False),
        ([answers(0)], "Resolved: rate(YES) >= baseline", Verdict.INCONCLUSIVE, "inconclusive", False),
        ([answers(2)] * 2, "Resolved: rate(YES) >= baseline - 5pp", Verdict.FAILED, "worse", True),
        ([answers(9)] * 4, "Latency: avg <= baseline", Verdict.INCONCLUSIVE, "inconclusive", False),
        ([answers(9)] * 4, "Latency: med <= baseline", Verdict.INCONCLUSIVE, "inconclusive", False),
    ],
)
def test_comparisons_are_settled_as_soon_as_they_are_clear(
    slices: list[str], thresholds: str, verdict: Verdict, trend: str, is_clear: bool
) -> None:
    judgement = beside(slices, [answers(9)] * 5, thresholds)
    (check,) = (check for check in judgement.checks if check.threshold)
    assert check.comparison
    assert (check.verdict, check.comparison.trend, clear(judgement)) == (verdict, trend, is_clear)
    decided = "0 of 1 threshold decided, 1 unchanged so far." if trend == "unchanged" else "threshold decided."
    assert after_slice_text(judgement).endswith(decided)
    why = "in 2 slices: unchanged so far, so the others were not called."
    assert (why in advice(judgement)) == (trend == "unchanged")


@pytest.mark.parametrize(
    ("hits", "thresholds", "verdict", "tolerated"),
    [
        (9, RATE, Verdict.TIMED_OUT, True),
        (7, RATE, Verdict.TIMED_OUT, False),
        (7, f"Resolved: rate(YES) >= 60%\n? {RATE}", Verdict.TIMED_OUT, True),
        (9, "Resolved: rate(YES) >= baseline - 5pp", Verdict.TIMED_OUT, True),
        (7, "Resolved: rate(YES) >= baseline - 5pp", Verdict.TIMED_OUT, False),
        (9, "Resolved: rate(YES) >= baseline + 5pp", Verdict.TIMED_OUT, False),
        (9, "Resolved: count(NO) <= 1", Verdict.TIMED_OUT, True),
        (9, "Resolved: count(NO) == 0", Verdict.FAILED, False),
    ],
)
def test_leg_that_is_cut_off_timed_out(hits: int, thresholds: str, verdict: Verdict, tolerated: bool) -> None:
    cut = cut_off(beside([answers(hits)], [answers(9)] * 5, thresholds), Limit("max_wait_time", 60.0))
    assert (cut.verdict, cut.passes_gate, cut._replace(timeout_passes=True).passes_gate) == (verdict, False, tolerated)
    assert ("max_wait_time left too little" in reason(cut)) is (verdict is Verdict.TIMED_OUT)


def test_what_cannot_be_known_in_a_later_slice_is_no_answer() -> None:
    criteria = criteria_of("Latency: p(50) < 1.5")
    slices = [slice_of(number, answers(10)) for number in range(3)]
    resolved, latency = slices[2].metrics
    slices[2] = slices[2]._replace(metrics=(resolved, latency._replace(values=dict.fromkeys(latency.values, "slow"))))
    runs = [SingleRun(one.run_id, judge(one, criteria)) for one in slices]
    verdicts = [judge_slices(runs[:number], criteria, FIFTY).verdict for number in (2, 3)]
    assert verdicts == [Verdict.PASSED, Verdict.ERROR]


def test_slices_that_share_too_few_test_cases_with_the_baseline_leave_the_answer_open() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= baseline")
    results = [slice_of(number, answers(9)) for number in range(2)]
    runs = [
        SingleRun(one.run_id, judge(one, criteria, baseline=baseline_of(slice_of(1, answers(9))))) for one in results
    ]
    first, both = judge_slices(runs[:1], criteria, FIFTY), judge_slices(runs, criteria, FIFTY)
    assert (first.verdict, clear(first), clear(both)) == (Verdict.INCONCLUSIVE, False, False)


def test_unchanged_so_far_is_no_answer_where_doubt_fails() -> None:
    thresholds = "Resolved: rate(YES) >= baseline"
    assert not clear(beside([answers(9)] * 2, [answers(9)] * 5, thresholds, on_inconclusive="fail"))


def test_all_test_cases_have_a_baseline_slice_by_slice() -> None:
    judgement = beside([answers(9)] * 3, [answers(9)] * 5, "Resolved: rate(YES) >= baseline")
    (check,) = (check for check in judgement.checks if check.threshold)
    assert check.comparison
    assert check.comparison.cases == 30
