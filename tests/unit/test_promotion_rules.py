"""Which runs may become a baseline: whatever they showed, unless they failed, lack something or were not compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baselines import MAIN, NO_BASELINE, baseline_of, earlier, judged, numbers, run_of, yes
from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import Judgement, Repetition, SingleRun
from coval_gate.judge.promotion import acceptance_refusal, has_failed_check, lacks_baseline, refusal
from coval_gate.judge.verdict import Verdict
from coval_gate.model.baseline import Baseline, NotFoundKind, NotFoundReason
from coval_gate.model.baseline_source import BaselineSource

RATE = "Resolved: rate(YES) >= baseline - 5pp"
FINE = baseline_of(earlier("old", 2, run_of("old", yes(19, 20))))


def missing(kind: NotFoundKind, source: BaselineSource = MAIN) -> Baseline:
    return Baseline(source=source, missing=NotFoundReason(kind=kind, run_id="old"))


def compared(
    hits: int, baseline: Baseline | None = FINE, thresholds: str = RATE, confidence: float | None = 0.95
) -> Judgement:
    return judged(run_of("now", yes(hits, 20)), baseline, thresholds, confidence=confidence)


@pytest.mark.parametrize("hits", [20, 19, 18, 17])
def test_run_is_promoted_whatever_it_showed(hits: int) -> None:
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
    assert lacks_baseline(judgement) is (not expected)


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
    repetition = Repetition(runs=(single,), together=Verdict.PASSED)
    judgement = replace(compared(19), repetition=repetition)
    assert (refusal(judgement), acceptance_refusal(judgement)) == ("repeated", "repeated")


def accepted(hits: int, thresholds: str) -> Judgement:
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), confidence=0.95, accept=True)
    return judge(run_of("now", yes(hits, 20)), criteria)


def test_accepted_run_is_compared_with_nothing() -> None:
    judgement = accepted(2, RATE)
    assert (judgement.verdict, refusal(judgement), acceptance_refusal(judgement)) == (Verdict.PASSED, "", "")
    (check,) = [each for each in judgement.checks if each.accepted]
    assert (check.decides, check.verdict, check.problem is not None) == (False, Verdict.PASSED, True)


def test_absolute_threshold_of_an_accepted_run_decides() -> None:
    judgement = accepted(2, f"{RATE}\nResolved: rate(YES) >= 50%")
    assert (judgement.verdict, acceptance_refusal(judgement)) == (Verdict.FAILED, "not_passed")


def test_failed_check_counts_although_another_is_an_error() -> None:
    judgement = compared(2, NO_BASELINE, "Resolved: rate(YES) >= 90%\nNo such: avg < 1", confidence=None)
    assert (judgement.verdict, has_failed_check(judgement)) == (Verdict.ERROR, True)
    assert not has_failed_check(compared(19))
