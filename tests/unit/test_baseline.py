"""Thresholds against a baseline compare test cases that both runs have, and fail where a regression is evident."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import (
    MAIN,
    RATE,
    Cases,
    baseline_of,
    both,
    checks_of,
    comparison,
    judged,
    numbers,
    only,
    run_of,
    yes,
)
from coval_gate.coval.model import Metric, Run, Summary, Target
from coval_gate.gate.findings import findings_of
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundReason
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import BaselineSource
from coval_gate.report.wording import reasons
from coval_gate.report.wording.checks import check_reason
from rendering import check_lines


@pytest.mark.parametrize(
    ("before", "now", "threshold", "confidence", "verdict", "trend"),
    [
        (yes(48, 50), yes(48, 50), RATE, None, Verdict.PASSED, "unchanged"),
        (yes(48, 50), yes(46, 50), RATE, None, Verdict.PASSED, "unchanged"),
        (yes(46, 50), yes(48, 50), RATE, None, Verdict.PASSED, "unchanged"),
        (yes(48, 50), yes(45, 50), RATE, None, Verdict.FAILED, "worse"),
        (yes(45, 50), yes(48, 50), RATE, None, Verdict.PASSED, "improved"),
        (yes(48, 50), yes(46, 50), RATE, 0.95, Verdict.INCONCLUSIVE, "inconclusive"),
        (yes(48, 50), yes(30, 50), RATE, 0.95, Verdict.FAILED, "worse"),
        (yes(30, 50), yes(48, 50), RATE, 0.95, Verdict.PASSED, "improved"),
        (yes(285, 300), yes(285, 300), RATE, 0.95, Verdict.PASSED, "unchanged"),
        (numbers(1, 50), numbers(2, 50, slower=2), "Resolved: avg <= baseline", 0.95, Verdict.FAILED, "worse"),
        (numbers(1, 50), numbers(2, 50, slower=2), "Resolved: med <= baseline * 1.1", 0.95, Verdict.FAILED, "worse"),
        (numbers(1, 50, slower=2), numbers(2, 50), "Resolved: avg <= baseline", 0.95, Verdict.PASSED, "improved"),
        (numbers(1, 50), numbers(1, 50), "Resolved: p(90) <= baseline + 0.1", None, Verdict.PASSED, "unchanged"),
        (numbers(1, 9), numbers(2, 9), "Resolved: p(95) <= baseline", 0.95, Verdict.INCONCLUSIVE, "inconclusive"),
        (numbers(1, 50), numbers(1, 50, slower=1.2), "Resolved: max <= baseline * 1.1", None, Verdict.FAILED, "worse"),
        (numbers(1, 50), numbers(1, 50, slower=1.2), "Resolved: stdev <= baseline", None, Verdict.FAILED, "worse"),
        (numbers(1, 50), numbers(1, 50), "Resolved: stdev <= baseline", None, Verdict.PASSED, "unchanged"),
        (yes(48, 50), yes(47, 50), "Resolved: count(NO) <= baseline", None, Verdict.FAILED, "worse"),
        (yes(48, 50), yes(48, 50), "Resolved: count(NO) == baseline", None, Verdict.PASSED, "unchanged"),
        (yes(48, 50), yes(49, 50), "Resolved: count(NO) <= baseline", None, Verdict.PASSED, "improved"),
        (yes(48, 50), yes(47, 50), "Resolved: count(NO) < baseline + 1", None, Verdict.FAILED, "worse"),
        (yes(40, 50), yes(41, 50), "Resolved: rate(YES) >= baseline + 5pp", None, Verdict.FAILED, "unchanged"),
        (yes(40, 50), yes(39, 50), "Resolved: rate(YES) >= baseline + 5pp", None, Verdict.FAILED, "worse"),
        (yes(9, 10), yes(9, 10), "Resolved: rate(YES) < baseline", None, Verdict.FAILED, "unchanged"),
        (yes(9, 10), yes(9, 10), "Resolved: rate(YES) >= baseline + 5pp", None, Verdict.FAILED, "unchanged"),
        (yes(9, 10), yes(9, 10), "Resolved: rate(YES) != baseline", None, Verdict.FAILED, "unchanged"),
        (yes(9, 10), yes(10, 10), "Resolved: rate(YES) == baseline", None, Verdict.FAILED, "worse"),
        (yes(9, 10), yes(10, 10), "Resolved: rate(YES) != baseline", None, Verdict.PASSED, "improved"),
    ],
)
def test_threshold_compares_with_baseline(
    before: Cases, now: Cases, threshold: str, confidence: float | None, verdict: Verdict, trend: str
) -> None:
    judgement = judged(run_of("now", now), baseline_of(run_of("old", before)), threshold, confidence=confidence)

    assert (only(judgement).verdict, comparison(judgement).trend) == (verdict, trend)


def test_only_shared_test_cases_are_compared_in_any_order() -> None:
    now = run_of("now", {"a": ["YES"], "b": ["NO"], "new": ["NO"], "changed": ["NO"]})
    old = run_of("old", {"changed": ["YES"], "gone": ["NO"], "b": ["NO", "YES"], "a": ["YES", "YES"]})
    changed = BaselineRun(run=Run(run_id="old", status="COMPLETED"), result=old, changed_cases=frozenset({"changed"}))

    judgement = judged(now, baseline_of(changed), RATE, confidence=None)
    measure, compared = only(judgement).measure, comparison(judgement)

    assert measure
    assert (measure.value, measure.count) == (0.5, 2)
    assert (compared.value, compared.count, compared.cases) == (0.75, 4, 2)
    assert compared.left_out._asdict() == {"new": 1, "gone": 1, "changed": 1, "valueless": 0, "runs": 0}


def test_runs_of_baseline_are_pooled_by_test_case() -> None:
    old = [run_of(f"old{n}", {"a": ["YES"], "b": ["NO" if n else "YES"]}) for n in range(3)]

    compared = comparison(judged(run_of("now", {"a": ["YES"], "b": ["NO"]}), baseline_of(*old), RATE, confidence=None))

    assert compared.value == pytest.approx(4 / 6)
    assert (compared.count, compared.cases) == (6, 2)
    assert (compared.newly_failing, compared.newly_passing) == ((), ()), "most conversations of b failed before, too"


def test_flips_are_reported_by_test_case_in_the_direction_of_the_threshold() -> None:
    now, old = (
        run_of("now", {"a": ["NO"], "b": ["YES"], "c": ["YES"]}),
        run_of("old", {"a": ["YES"], "b": ["NO"], "c": ["YES"]}),
    )

    good = comparison(judged(now, baseline_of(old), "Resolved: rate(YES) >= baseline", confidence=None))
    bad = comparison(judged(now, baseline_of(old), "Resolved: rate(NO) <= baseline", confidence=None))

    assert (good.newly_failing, good.newly_passing) == (bad.newly_failing, bad.newly_passing) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("baseline", "kind"),
    [
        (None, "no_baseline"),
        (Baseline(source=MAIN, missing=NotFoundReason(kind="none")), "no_baseline"),
        (baseline_of(run_of("old", {"x": ["YES"], "y": ["YES"]})), "too_few_shared"),
        (baseline_of(run_of("old", {"a": ["YES"]})), "too_few_shared"),
        (baseline_of(run_of("old", {"a": ["YES"], "": ["YES"]})), "cases_unknown"),
        (baseline_of(run_of("old", {"a": ["YES"], "b": ["YES"]}, name="Other", metric_id="o")), "not_in_baseline"),
        (baseline_of(run_of("old", {"a": ["YES"], "b": ["YES"]}, mutation="faster")), "not_in_baseline"),
        (baseline_of(run_of("old", {"a": [None], "b": [None]})), "unusable_baseline"),
        (baseline_of(run_of("old", {"a": [1.0], "b": [0.0]})), "unusable_baseline"),
    ],
)
@pytest.mark.parametrize("confidence", [None, 0.95])
def test_nothing_to_compare_with_is_inconclusive_and_passes_by_policy(
    baseline: Baseline | None, kind: str, confidence: float | None
) -> None:
    now = run_of("now", {"a": ["YES"], "b": ["NO"]})
    judgement = judged(now, baseline, RATE, confidence=confidence)

    problem = only(judgement).problem
    assert problem
    assert (judgement.verdict, problem.kind, judgement.lets_pass) == (Verdict.INCONCLUSIVE, kind, True)
    assert not judged(now, baseline, RATE, confidence=confidence, on_inconclusive="fail").lets_pass


@pytest.mark.parametrize(
    ("difference", "kind"),
    [
        ({"changed_persona": True}, "persona_changed"),
        ({"changed_metrics": frozenset({"m"})}, "judge_changed"),
        ({"changed_cases": frozenset({"case000", "case001", "case002"})}, "too_few_shared"),
    ],
)
def test_run_that_cannot_be_compared_is_reported(difference: dict[str, object], kind: str) -> None:
    old = BaselineRun(run=Run(run_id="old", status="COMPLETED"), result=run_of("old", yes(3, 4)))
    other = old._replace(**difference)  # type: ignore[arg-type]

    alone = only(judged(run_of("now", yes(3, 4)), baseline_of(other), RATE, confidence=None))
    assert alone.problem
    assert (alone.verdict, alone.problem.kind) == (Verdict.INCONCLUSIVE, kind)
    beside = comparison(judged(run_of("now", yes(3, 4)), baseline_of(other, old), RATE, confidence=None))
    assert (beside.cases, beside.left_out.runs) == (4, 0 if kind == "too_few_shared" else 1)


def test_another_judge_of_another_metric_does_not_matter() -> None:
    old = BaselineRun(
        run=Run(run_id="old", status="COMPLETED"), result=run_of("old", yes(3, 4)), changed_metrics=frozenset({"other"})
    )
    assert only(judged(run_of("now", yes(3, 4)), baseline_of(old), RATE, confidence=None)).passed


def test_pass_rate_judges_the_baseline_by_todays_targets() -> None:
    target = Target(operator="in", values=("YES",))
    now = run_of("now", yes(3, 4), target=target)
    old = run_of("old", yes(4, 4), target=Target(operator="in", values=("NO",)))

    judgement = judged(now, baseline_of(old), "pass_rate >= baseline", confidence=None)

    assert comparison(judgement).value == 1.0
    assert judgement.verdict is Verdict.FAILED
    other = run_of("old", yes(4, 4), name="Other", metric_id="o")
    lacking = only(judged(now, baseline_of(other), "pass_rate >= baseline", confidence=None)).problem
    assert lacking
    assert lacking.kind == "not_in_baseline"


def test_counts_need_as_many_conversations() -> None:
    now, old = run_of("now", yes(3, 4)), run_of("old", yes(3, 4, iterations=3))
    for threshold in ("Resolved: count(NO) <= baseline", "failed <= baseline", "Resolved: missing <= baseline"):
        problem = only(judged(now, baseline_of(old), threshold, confidence=None)).problem
        assert problem
        assert problem.kind == "unequal_counts"


def test_summary_without_values_cannot_be_compared() -> None:
    now = run_of("now", yes(3, 4))
    summed = now._replace(metrics=(Metric(id="m", name="Resolved", summary=Summary(mean=1.0)),))
    for one, other, kind, named in (
        (now, summed, "unusable_baseline", "for the baseline"),
        (summed, now, "only_summary", "so rate(YES) is unknown"),
    ):
        check = only(
            judged(one, baseline_of(other._replace(run_id="old")), "Resolved: rate(YES) >= baseline", confidence=None)
        )
        assert check.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)
        assert check.problem
        assert check.problem.kind == kind
        assert named in check_reason(check)


def test_mutations_are_compared_with_the_agent_in_the_same_run() -> None:
    agent, mutation = run_of("now", yes(48, 50)), run_of("now", yes(30, 50), mutation="faster")
    judgement = judged(both(agent, mutation), None, "Resolved: rate(YES) >= base - 5pp")

    check = only(judgement)
    assert (check.variant, check.verdict) == ("faster", Verdict.FAILED)
    alone = judged(agent, None, "Resolved: rate(YES) >= base")
    assert (alone.verdict, only(alone).verdict) == (Verdict.ERROR, Verdict.ERROR), "never silently unused"


def test_mutation_is_compared_with_the_same_mutation() -> None:
    now = both(run_of("now", yes(50, 50)), run_of("now", yes(30, 50), mutation="faster"))
    old = both(run_of("old", yes(30, 50)), run_of("old", yes(50, 50), mutation="faster"))

    agent, faster = checks_of(judged(now, baseline_of(old), RATE))

    assert (agent.verdict, faster.verdict) == (Verdict.PASSED, Verdict.FAILED)


@pytest.mark.parametrize("on_inconclusive", ["", "pass", "fail"])
@pytest.mark.parametrize(
    ("threshold", "default"),
    [
        ("Resolved: rate(YES) >= 90%", False),
        ("Resolved: rate(YES) >= baseline", True),
        ("Resolved: rate(YES) >= baseline + 5pp", False),
    ],
)
def test_doubt_is_red_by_default_except_against_a_baseline(
    threshold: str, on_inconclusive: str, *, default: bool
) -> None:
    judgement = judged(
        run_of("now", yes(45, 50)), baseline_of(run_of("old", yes(44, 50))), threshold, on_inconclusive=on_inconclusive
    )

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.lets_pass is {"": default, "pass": True, "fail": False}[on_inconclusive]


def test_advisory_threshold_is_shown_and_never_red() -> None:
    for threshold in ("? Resolved: rate(YES) >= 90%", "? Latency: avg < 2", "? pass_rate >= 95%", f"? {RATE}"):
        judgement = judged(run_of("now", yes(10, 50)), None, f"{threshold}\nResolved: rate(YES) > 1%", confidence=None)
        assert judgement.verdict is Verdict.PASSED, threshold
        shown = checks_of(judgement)[0]
        assert (shown.decides, shown.informs, shown.passed) == (False, True, False)
        assert not judgement.failing_simulations


def test_advisory_thresholds_do_not_dilute_the_family() -> None:
    lines = "\n".join(["Resolved: rate(YES) >= baseline"] + ["? Resolved: rate(NO, YES) >= baseline - 90%"] * 9)
    judgement = judged(run_of("now", yes(40, 50)), baseline_of(run_of("old", yes(44, 50))), lines, confidence=0.9)

    assert judgement.verdict is Verdict.FAILED


def test_smallest_noticeable_change_is_shown_and_beyond_the_margin() -> None:
    """Where a change that is shown is larger than the margin anyway, the margin costs nothing."""
    now, old = run_of("now", yes(45, 50)), baseline_of(run_of("old", yes(45, 50)))
    without, small, large = (
        comparison(judged(now, old, f"Resolved: rate(YES) >= baseline{margin}")).noticeable
        for margin in ("", " - 2pp", " - 30pp")
    )
    assert without
    assert large
    assert without == small
    assert 0.05 < without < 0.3 < large < 0.5


VALUES = st.sampled_from(["YES", "NO", None])
CASES = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(VALUES, min_size=1, max_size=3), min_size=1)


@given(
    now=CASES,
    old=CASES,
    operator=st.sampled_from([">=", ">", "<", "<="]),
    margin=st.sampled_from(["", " - 5pp", " * 1.1"]),
)
def test_confidence_never_contradicts_the_numbers_as_they_are(
    now: Cases, old: Cases, operator: str, margin: str
) -> None:
    threshold = f"Resolved: rate(YES) {operator} baseline{margin}"
    baseline = baseline_of(run_of("old", old))
    plain = judged(run_of("now", now), baseline, threshold, confidence=None)
    sure = judged(run_of("now", now), baseline, threshold, confidence=0.8)
    surer = judged(run_of("now", now), baseline, threshold, confidence=0.99)

    conclusive = (Verdict.PASSED, Verdict.FAILED)
    if sure.verdict in conclusive:
        assert plain.verdict is sure.verdict
    if surer.verdict in conclusive:
        assert sure.verdict is surer.verdict


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
