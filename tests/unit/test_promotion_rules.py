"""A run may become a baseline unless it failed, lacks data or was not compared."""

from __future__ import annotations

import pytest

from baselines import MAIN, NO_BASELINE, also, baseline_of, both, earlier, judged, latency, numbers, only, run_of, yes
from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import Judgement, Repetition, SingleRun
from coval_gate.judge.promotion import acceptance_refusal, has_failed_check, refusal, seems_first
from coval_gate.judge.verdict import Verdict
from coval_gate.model.baseline import Baseline, BaselineSource, NotFoundKind, NotFoundReason

RATE = "Resolved: rate(YES) >= baseline - 5pp"
FINE = baseline_of(earlier("old", 2, run_of("old", yes(19, 20))))


def missing(kind: NotFoundKind, source: BaselineSource = MAIN) -> Baseline:
    return Baseline(source=source, missing=NotFoundReason(kind=kind, run_id="old"))


def compared(
    hits: int, baseline: Baseline | None = FINE, thresholds: str = RATE, confidence: float | None = 0.95
) -> Judgement:
    return judged(run_of("now", yes(hits, 20)), baseline, thresholds, confidence=confidence)


@pytest.mark.parametrize("hits", [20, 19, 18, 17])
def test_run_is_promoted_whether_better_or_worse(hits: int) -> None:
    judgement = compared(hits)
    assert judgement.verdict in (Verdict.PASSED, Verdict.INCONCLUSIVE)
    assert refusal(judgement) == ""


def test_failed_run_is_never_promoted() -> None:
    judgement = compared(2)
    assert (judgement.verdict, refusal(judgement), acceptance_refusal(judgement)) == (
        Verdict.FAILED,
        "not_passed",
        "not_passed",
    )


def test_doubt_about_a_number_refuses_what_doubt_about_the_baseline_does_not() -> None:
    both = f"{RATE}\nResolved: rate(YES) >= 90%"
    now = run_of("now", yes(19, 20))
    assert refusal(judged(now, FINE, RATE)) == ""
    assert refusal(judged(now, FINE, both, on_inconclusive="pass")) == "in_doubt"
    assert refusal(judged(now, None, "Resolved: rate(YES) >= 90%", on_inconclusive="pass")) == "in_doubt"


def test_step_that_fails_in_doubt_promotes_nothing() -> None:
    assert refusal(judged(run_of("now", yes(18, 20)), FINE, RATE, on_inconclusive="fail")) == "not_passed"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", ""),
        ("pull_request", ""),
        ("too_old", "too_old"),
        ("failed", "not_compared"),
        ("gone", "not_compared"),
        ("unreadable", "not_compared"),
    ],
)
def test_missing_baseline_refuses_unless_no_run_has_its_tag(kind: NotFoundKind, expected: str) -> None:
    judgement = compared(19, missing(kind))
    assert (judgement.verdict, refusal(judgement)) == (Verdict.INCONCLUSIVE, expected)
    assert seems_first(judgement) is (not expected)


@pytest.mark.parametrize("kind", ["gone", "not_completed", "not_over", "itself"])
def test_named_run_that_can_never_be_a_baseline_is_an_error(kind: NotFoundKind) -> None:
    judgement = compared(19, missing(kind, BaselineSource(kind="run", name="old")))
    assert (judgement.verdict, refusal(judgement)) == (Verdict.ERROR, "not_passed")
    unreadable = compared(19, missing("unreadable", BaselineSource(kind="run", name="old")))
    assert unreadable.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "baseline",
    [
        baseline_of(earlier("old", 2, run_of("old", yes(19, 20)), changed_persona=True)),
        baseline_of(earlier("old", 2, run_of("old", yes(19, 20)), changed_metrics=frozenset({"m"}))),
        baseline_of(earlier("old", 2, run_of("old", yes(19, 20)), changed_cases=frozenset(yes(19, 20)))),
        baseline_of(earlier("old", 2, run_of("old", {"another": ["YES"]}))),
        baseline_of(earlier("old", 2, run_of("old", yes(19, 20), name="Other", metric_id="o"))),
        baseline_of(earlier("old", 2, run_of("old", numbers(1, 20)))),
    ],
    ids=["persona", "metric version", "all cases edited", "other cases", "no such metric", "other values"],
)
def test_incomparable_run_is_not_promoted(baseline: Baseline) -> None:
    judgement = compared(19, baseline)
    assert (judgement.verdict, refusal(judgement)) == (Verdict.INCONCLUSIVE, "incomparable")


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ("", "unjudged"),
        ("total >= 1\nfailed <= 9\ncompleted_rate >= 10%\nResolved: missing <= 9", "unjudged"),
        ("? Resolved: rate(YES) >= 50%", "unjudged"),
        ("Resolved: rate(YES) >= 50%", ""),
    ],
)
def test_run_without_criterion_of_quality_is_not_promoted(thresholds: str, expected: str) -> None:
    judgement = compared(19, None, thresholds, confidence=None)
    assert (judgement.verdict, refusal(judgement)) == (Verdict.PASSED, expected)


def test_run_that_passed_with_repetitions_only_becomes_no_baseline() -> None:
    single = SingleRun(run_id="now", judgement=compared(19))
    repetition = Repetition(runs=(single,))
    judgement = compared(19)._replace(repetition=repetition)
    assert (refusal(judgement), acceptance_refusal(judgement)) == ("repeated", "repeated")


def accepted(hits: int, thresholds: str) -> Judgement:
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), confidence=0.95, accept=True)
    return judge(run_of("now", yes(hits, 20)), criteria)


def test_accepted_run_is_compared_with_nothing() -> None:
    judgement = accepted(2, RATE)
    assert (judgement.verdict, refusal(judgement), acceptance_refusal(judgement)) == (Verdict.PASSED, "", "")
    check = only(judgement)
    assert (check.decides, check.verdict, check.problem is not None) == (False, Verdict.PASSED, True)


def test_absolute_threshold_of_an_accepted_run_decides() -> None:
    judgement = accepted(2, f"{RATE}\nResolved: rate(YES) >= 50%")
    assert (judgement.verdict, acceptance_refusal(judgement)) == (Verdict.FAILED, "not_passed")


def test_failed_check_counts_although_another_is_an_error() -> None:
    judgement = compared(2, NO_BASELINE, "Resolved: rate(YES) >= 90%\nNo such: avg < 1", confidence=None)
    assert (judgement.verdict, has_failed_check(judgement)) == (Verdict.ERROR, True)
    assert not has_failed_check(compared(19))


# A run that is better beyond the margin


def scaled(factor: float, thresholds: str, *, confidence: float | None = 0.95) -> str:
    """Return why a run is not promoted whose numbers are about `factor` times its baseline's."""
    then = latency("old", 1)
    metric = then.metrics[0]
    values = {
        simulation_id: round(factor * (value + 0.01 * (-1) ** place), 6)
        for place, (simulation_id, value) in enumerate(metric.values.items())
        if isinstance(value, float)
    }
    now = then._replace(run_id="now", metrics=(metric._replace(values=values),))
    judgement = judged(now, baseline_of(then), thresholds, confidence=confidence)
    assert judgement.lets_pass, judgement
    return refusal(judgement)


@pytest.mark.parametrize("confidence", [0.95, None])
@pytest.mark.parametrize(
    ("thresholds", "factor", "expected"),
    [
        ("Latency: avg <= baseline * 1.1", 0.89, "unconfirmed"),
        ("Latency: avg <= baseline * 1.1", 0.91, ""),
        ("Latency: avg <= baseline * 1.1", 1.09, ""),
        ("Latency: avg < baseline + 0.1", 0.8, "unconfirmed"),
        ("Latency: avg < baseline + 0.5", 0.8, ""),
        ("Latency: avg >= baseline * 0.9", 1.11, "unconfirmed"),
        ("Latency: avg >= baseline * 0.9", 1.09, ""),
        ("Latency: avg >= baseline * 0.9", 0.91, ""),
        ("Latency: med <= baseline * 1.2", 0.7, "unconfirmed"),
        ("Latency: med <= baseline * 1.5", 0.7, ""),
        ("Latency: avg <= baseline", 0.97, "unconfirmed"),
        ("Latency: avg >= baseline", 1.03, "unconfirmed"),
        ("Latency: avg <= baseline", 1.0, ""),
        ("Latency: avg <= baseline * 0.95", 0.9, "unconfirmed"),
    ],
)
def test_better_run_waits_beyond_the_mirror_image_of_the_margin(
    thresholds: str, factor: float, expected: str, confidence: float | None
) -> None:
    assert scaled(factor, thresholds, confidence=confidence) == expected


@pytest.mark.parametrize(
    ("then", "now", "thresholds", "expected"),
    [
        (20, 60, "Resolved: rate(YES) >= baseline - 5pp", "unconfirmed"),
        (40, 60, "Resolved: rate(YES) >= baseline - 19pp", "unconfirmed"),
        (40, 60, "Resolved: rate(YES) >= baseline - 20pp", ""),
        (30, 55, "Resolved: rate(YES) >= baseline - 25pp", ""),
        (60, 90, "Resolved: rate(YES) >= baseline - 30pp", ""),  # the difference of the floats is larger
        (40, 60, "Resolved: rate(YES) >= baseline", "unconfirmed"),
        (40, 60, "Resolved: rate(YES) >= baseline - 25pp", ""),
        (60, 20, "Resolved: rate(YES) <= baseline + 5pp", "unconfirmed"),
        (60, 40, "Resolved: rate(YES) <= baseline + 25pp", ""),
    ],
)
def test_better_rate_waits_beyond_the_mirror_image_of_the_margin(
    then: int, now: int, thresholds: str, expected: str
) -> None:
    judgement = judged(run_of("now", yes(now, 100)), baseline_of(run_of("old", yes(then, 100))), thresholds)
    assert (judgement.verdict, refusal(judgement)) == (Verdict.PASSED, expected)


def test_change_that_is_not_shown_is_promoted_at_once() -> None:
    """As counted, it is beyond the margin, and without confidence that counts."""
    arguments = run_of("now", yes(5, 6)), baseline_of(run_of("old", yes(4, 6))), RATE
    assert refusal(judged(*arguments)) == ""
    assert refusal(judged(*arguments, confidence=None)) == "unconfirmed"


def test_required_improvement_is_no_margin() -> None:
    """The run is better, but not surely by as much as is required."""
    then, now = run_of("old", numbers(1, 40), name="Latency"), run_of("now", numbers(2, 40, slower=0.6), name="Latency")
    thresholds = "Latency: avg <= baseline * 0.55"
    judgement = judged(now, baseline_of(then), thresholds, on_inconclusive="pass")
    assert (judgement.verdict, refusal(judgement)) == (Verdict.INCONCLUSIVE, "unconfirmed")


def test_one_of_several_thresholds_is_enough() -> None:
    now = also(run_of("now", yes(60, 100)), run_of("now", numbers(1, 100), name="Latency", metric_id="l"))
    then = also(run_of("old", yes(20, 100)), run_of("old", numbers(1, 100), name="Latency", metric_id="l"))
    same, better = "Latency: avg <= baseline * 1.1", "Resolved: rate(YES) >= baseline - 5pp"
    for thresholds, expected in ((same, ""), (better, "unconfirmed"), (f"{same}\n{better}", "unconfirmed")):
        assert refusal(judged(now, baseline_of(then), thresholds)) == expected
    advisory = f"{same}\n? {better}"
    assert refusal(judged(now, baseline_of(then), advisory)) == "", "it could not fail the run either"


def test_word_of_reports_decides_among_many_thresholds() -> None:
    """A change that is evident alone is not among so many."""
    now, then = run_of("now", yes(9, 40)), baseline_of(run_of("old", yes(3, 40)))
    many = "\n".join(f"Resolved: rate(YES) >= baseline - {number}pp" for number in range(1, 31))
    assert refusal(judged(now, then, RATE)) == "unconfirmed"
    assert refusal(judged(now, then, many)) == ""


def test_threshold_without_direction_waits_for_nothing() -> None:
    now, then = run_of("now", yes(60, 100)), baseline_of(run_of("old", yes(20, 100)))
    assert refusal(judged(now, then, "Resolved: rate(YES) != baseline", confidence=None)) == ""


def test_mutation_beside_its_agent_waits_for_nothing() -> None:
    now = both(run_of("now", yes(20, 100)), run_of("now", yes(60, 100), mutation="m1"))
    judgement = judged(now, None, "Resolved: rate(YES) >= base - 5pp")
    assert (judgement.verdict, refusal(judgement)) == (Verdict.PASSED, "")


def test_mutation_beside_its_own_baseline_waits() -> None:
    """As it would be red if it were so much worse."""
    now = both(run_of("now", yes(20, 100)), run_of("now", yes(60, 100), mutation="m1"))
    then = both(run_of("old", yes(20, 100)), run_of("old", yes(20, 100), mutation="m1"))
    assert refusal(judged(now, baseline_of(then), RATE)) == "unconfirmed"


def test_first_run_and_accepted_run_wait_for_nothing() -> None:
    assert refusal(compared(20, NO_BASELINE)) == ""
    assert refusal(accepted(20, RATE)) == ""


def test_run_that_must_not_be_promoted_is_not_only_unconfirmed() -> None:
    now, then = run_of("now", yes(60, 100)), baseline_of(run_of("old", yes(20, 100)))
    with_limit = f"{RATE}\nResolved: rate(YES) >= 95%"
    assert refusal(judged(now, then, with_limit)) == "not_passed"
    assert acceptance_refusal(judged(now, then, RATE)) == ""
