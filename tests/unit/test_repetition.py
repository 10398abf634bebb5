"""A failed run and its repetitions are judged together; only what is sampled may turn out better."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import answered, baseline_of, checks_of, only
from coval_gate.base.errors import CovalError
from coval_gate.coval.model import Run, RunResult, Summary, Target
from coval_gate.features.repetition.judge import beyond_saving, is_usable, judge_together, repeats
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge, judge_outcome
from coval_gate.gate.judgement import CaseStability, Judgement, Repetition, SingleRun, errored, redacted
from coval_gate.gate.verdict import Completed, NotCompleted, Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import advice
from coval_gate.report.wording.checks import actual_text, check_reason

YES = Target(operator="in", values=("YES",))
CASES = 10
NONE, ANY = Allowance(0), Allowance(100, percent=True)


def result_of(run_id: str, answers: str, *, target: Target | None = None, summary: Summary | None = None) -> RunResult:
    """Return the results of a run, as `answered`; the test cases begin again after CASES."""
    return answered(run_id, answers, [f"t{n % CASES}" for n in range(len(answers))], target=target, summary=summary)


def criteria_of(thresholds: str = "", max_failed: Allowance = NONE, **more: Any) -> Criteria:
    return Criteria(max_failed=max_failed, thresholds=parse_thresholds(thresholds), **more)


def results_of(runs: Sequence[str]) -> list[RunResult]:
    return [result_of(f"r{n}", answers, target=YES) for n, answers in enumerate(runs, 1)]


def together(*runs: str | RunResult, criteria: Criteria) -> Judgement:
    results = [run if isinstance(run, RunResult) else result_of(f"r{n}", run) for n, run in enumerate(runs, 1)]
    alone = [SingleRun(run_id=result.run_id, judgement=judge(result, criteria)) for result in results]
    return judge_together(alone, criteria)


@pytest.mark.parametrize(
    ("thresholds", "runs", "verdict", "actual"),
    [
        # What is sampled: all conversations together.
        ("Resolved: rate(YES) >= 85%", ("YYYYYYYNNN", "YYYYYYYYYY"), "passed", "85% (17 of 20) over 2 runs"),
        ("Latency: avg < 1.3\nResolved: rate(YES) >= 60%", ("YYYYYYNNNN", "NNNNNNNNNN"), "failed", "30% (6 of 20)"),
        ("Latency: avg < 1.3\nLatency: p(90) < 2", ("YYYYYYNNNN", "YYYYYYYYYY"), "failed", "2"),
        # Everything else: each run. The run that breaks it is named, else the figure closest to the bound is shown.
        ("Resolved: rate(YES) == 90%", ("YYYYYYYNNN", "YYYYYYYYYY"), "failed", "70% (7 of 10)"),
        ("Resolved: count(NO) == 0", ("YYYYYYYNNN", "YYYYYYYYYY"), "failed", "3 of 10"),
        ("Latency: avg < 1.3\nResolved: count(NO) <= 4", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "4 of 10 in"),
        ("Latency: p(90) < 2\nResolved: rate(YES) == 90%", ("YYYYYYYYYN", "YYYYYYYYNN"), "failed", "80% (8 of 10)"),
        ("Latency: avg < 1.1\nLatency: max < 2.1", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "2 in the worst of 2 runs"),
        ("Latency: avg < 1.3\nLatency: missing == 0", ("YYYYYYNNNN", "YYYYYYYYYX"), "failed", "1 of 10"),
        ("Latency: avg < 1.3\ntotal >= 10", ("YYYYYYNNNN", "YYYYYYYYY"), "failed", "9"),
        # A conversation that failed counts, although another run completed it.
        ("completed_rate >= 90%", ("YYYYYYXXXX", "YXXXXXXXXX"), "failed", "35% (7 of 20)"),
        ("completed_rate == 100%", ("YYYYYYYYYX", "XYYYYYYYYY"), "failed", "90% (18 of 20)"),
        ("completed_rate >= 90%", ("YYYYYYYYXX", "YYYYYYYYYY"), "passed", "90% (18 of 20)"),
        ("Latency: avg < 1.5\nResolved: count(NO) == 0", ("XXXXXXXXXX", "YYYYYYYYYY"), "failed", "no simulation has"),
        # The lowest share of a test case is over both runs, also where each misses it in another test case.
        ("Resolved: worst(YES) > 0%", ("NNYYYYYYYYNNYYYYYYYY", "Y" * 20), "passed", "50% (2 of 4)"),
        ("Resolved: worst(YES) > 0%", ("NYYYYYYYYYNYYYYYYYYY", "YNYYYYYYYYYNYYYYYYYY"), "passed", "50% (2 of 4)"),
        ("Resolved: worst(YES) > 0%", ("NYYYYYYYYYNYYYYYYYYY",) * 2, "failed", "0% (0 of 4: t0) over 2 runs"),
    ],
)
def test_every_criterion_is_decided_anew(thresholds: str, runs: tuple[str, ...], verdict: str, actual: str) -> None:
    last = checks_of(together(*results_of(runs), criteria=criteria_of(thresholds, max_failed=ANY)))[-1]
    assert actual_text(last).startswith(actual)
    assert (last.verdict, last.runs) == (verdict, 2)


@pytest.mark.parametrize(
    ("runs", "allowed", "verdict"),
    [
        (("XXXYYYYYYY", "YYYYYYYYYY"), Allowance(0), "failed"),
        (("YYYYYYYYYY", "XXXXXXXXXY"), Allowance(0), "failed"),
        (("XXXYYYYYYY", "YYYYYYYXXX"), Allowance(3), "passed"),
        (("XXXXXXXXXX", "XXXXXXXXXX"), ANY, "failed"),  # without a single conversation, nothing is shown
        (("XXXXYYYYYY", "XXXXYYYYYY"), Allowance(3), "failed"),
        (("XXXXYYYYYY", "XXXXYYYYYY"), Allowance(4), "passed"),  # the limit is one of a single run
        (("XXXXXXYYYY", "XXXXXXYYYY"), Allowance(50, percent=True), "failed"),
    ],
)
def test_no_run_makes_up_for_the_failed_simulations_of_another(
    runs: tuple[str, ...], allowed: Allowance, verdict: str
) -> None:
    assert together(*runs, criteria=criteria_of(max_failed=allowed)).verdict == verdict


def test_what_remains_is_named() -> None:
    judgement = together("XXXYYYYYYY", "YXXYYYYYYY", criteria=criteria_of(max_failed=Allowance(1)))
    (check,) = judgement.missed
    assert check_reason(check) == "3 of 10 simulations did not complete in run r1; max_failed_simulations allows 1."
    assert check.simulations == ("r1.0", "r1.1", "r1.2")
    passed = together("XXXNYYYYYY", "YYYYYYYYYY", criteria=criteria_of("Latency: avg < 1.1", max_failed=Allowance(3)))
    assert actual_text(passed.checks[0]) == "3 of 10 failed in the worst of 2 runs"
    criteria = criteria_of("Latency: avg < 1.35\nResolved: count(NO) <= 5")
    (check,) = together("YYYYYYNNNN", "YYYYNNNNNN", "YYYYYYYYYY", criteria=criteria).missed
    assert (check.run_id, check.simulations) == ("r2", tuple(f"r2.{n}" for n in range(4, 10)))
    assert check_reason(check) == "count(NO) of Resolved is 6 of 10 in run r2, must be <= 5."


@pytest.mark.parametrize("runs", [("YYYYYYYYYX", "YYYYYYYYYN"), ("YYYYYYYYNN", "YYYYYYYYYY")])
def test_target_must_be_met_in_each_run(runs: tuple[str, str]) -> None:
    judgement = together(*results_of(runs), criteria=criteria_of(max_failed=Allowance(1), use_metric_targets=True))
    assert [check.criterion.kind for check in judgement.missed] == ["target_met"]


def test_first_figure_is_shown_beside_the_one_of_all_runs() -> None:
    check = only(together("YYYYYYYNNN", "Y" * 10, criteria=criteria_of("Resolved: rate(YES) >= 85%")))
    assert [(one.hits, one.total) for one in (check.measure, check.first) if one] == [(17, 20), (7, 10)]


def test_summaries_are_not_pooled() -> None:
    """Coval reports no single values, so each run must pass."""
    for means in ((2.0, 1.0), (1.0, 2.0)):
        runs = [result_of(f"r{n}", "Y" * 10, summary=Summary(mean=mean)) for n, mean in enumerate(means, 1)]
        check = only(together(*runs, criteria=criteria_of("Latency: avg < 1.8")))
        assert check.measure
        assert (check.verdict, check.measure.value, check.run_id) == ("failed", 2.0, f"r{means.index(2.0) + 1}")


@pytest.mark.parametrize(
    ("thresholds", "answers", "saved"),
    [
        ("Resolved: rate(YES) >= 90%", "NNNNNNNNNN", False),
        ("Resolved: rate(YES) >= 50%", "NNNNNNNNNN", True),
        ("Resolved: rate(NO) < 40%", "NNNNNNNNNN", False),
        ("Resolved: rate(YES) >= 60%", "NNNNNNNXXX", False),  # 10 of 20 at most
        ("completed_rate == 95%", "XYYYYYYYYY", True),
        ("Latency: avg < 1.01", "NNNNNNNNNN", True),
        ("Resolved: rate(YES) >= 70%\nResolved: count(NO) <= 3", "YYYYYYNNNN", False),
        ("Resolved: rate(YES) >= 70%\n? Resolved: count(NO) <= 3", "YYYYYYNNNN", True),
        ("Resolved: count(NO) == 0", "XXXXXXXXXX", False),
        ("Resolved: worst(YES) > 0%", "NYYYYYYYYYNYYYYYYYYY", True),
        ("Resolved: worst(YES) >= 60%", "NYYYYYYYYYNYYYYYYYYY", False),  # 2 of 4 at most
    ],
)
def test_run_that_nothing_could_save_is_not_repeated(thresholds: str, answers: str, *, saved: bool) -> None:
    failed = judge(result_of("r1", answers, target=YES), criteria_of(thresholds, max_failed=Allowance(10)))
    assert failed.verdict is Verdict.FAILED
    assert (beyond_saving(failed) is None) is saved


def test_what_is_beyond_reach_of_a_repetition() -> None:
    assert beyond_saving(judge(result_of("r1", "YYYYYYYYYX"), criteria_of()))
    # It can change neither a reported error nor what is not pooled.
    for result, kind in (
        (result_of("r1", "Y" * 10)._replace(reported_error="timeout"), "no_error_reported"),
        (result_of("r1", "Y" * 10, summary=Summary(mean=2.0)), "threshold"),
    ):
        found = beyond_saving(judge(result, criteria_of("Latency: avg < 1.8")))
        assert found
        assert found.criterion.kind == kind


ANSWERS = st.lists(st.text("YYNX", min_size=CASES, max_size=CASES), min_size=2, max_size=4)
LINES = (
    "Resolved: rate(YES) >= 60%",
    "pass_rate > 50%",
    "Latency: avg <= 1.5",
    "Latency: max < 2",
    "Resolved: count(NO) <= 2",
    "completed_rate >= 80%",
    "failed <= 1",
    "Latency: missing <= 1",
)
CRITERIA = st.builds(
    lambda lines, failed: criteria_of("\n".join(sorted(lines)), max_failed=Allowance(failed)),
    st.sets(st.sampled_from(LINES)),
    st.sampled_from([0, 2, 10]),
)


@given(ANSWERS, CRITERIA)
def test_repetition_hides_nothing_that_an_honest_reading_shows(runs: list[str], criteria: Criteria) -> None:
    """Every conversation counts, and each run keeps to max_failed_simulations."""
    if together(*results_of(runs), criteria=criteria).verdict is not Verdict.PASSED:
        return
    counted = "".join(runs)
    lines = {threshold.text for threshold in criteria.thresholds}
    assert all(answers.count("X") <= criteria.max_failed.of(CASES) for answers in runs)
    assert not {LINES[0]} <= lines or counted.count("Y") >= 0.6 * len(counted)
    assert not {LINES[1]} <= lines or counted.count("Y") > 0.5 * len(counted)
    assert not {LINES[2]} <= lines or counted.count("N") <= counted.count("Y")
    assert not {LINES[3]} <= lines or "N" not in counted
    assert not {LINES[4]} <= lines or all(answers.count("N") <= 2 for answers in runs)
    assert not {LINES[5]} <= lines or counted.count("X") <= 0.2 * len(counted)


@given(ANSWERS, CRITERIA)
def test_no_criterion_blames_a_simulation_that_no_report_has(runs: list[str], criteria: Criteria) -> None:
    judgement = together(*results_of(runs), criteria=criteria)
    assert isinstance(judgement.cause, Completed)
    blamed = {id_ for check in judgement.checks for id_ in check.simulations}
    assert blamed <= {simulation.id for simulation in judgement.cause.result.simulations}


def test_earlier_runs_decide_if_repetition_is_unusable() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    first = SingleRun(run_id="r1", judgement=judge(result_of("r1", "YYYYYYYNNN"), criteria))
    gone = judge_outcome(NotCompleted(run=Run(run_id="r2", status="FAILED")), criteria)
    lacking = judge(RunResult(run_id="r2", expected=10, simulations=result_of("r2", "Y").simulations), criteria)
    dirty = judge(result_of("r2", "Y" * 10)._replace(reported_error="timeout"), criteria)
    for judgement in (gone, lacking, dirty, errored(CovalError("No response", "GET /runs was not answered."))):
        assert not is_usable(judgement)
    other = SingleRun(run_id="", judgement=errored(CovalError("Rejected", "The key secret is wrong.")))
    kept = first.judgement._replace(repetition=Repetition((first,), unusable=other))
    assert (kept.verdict, kept.checks) == ("failed", first.judgement.checks)
    assert "secret" in advice(kept)
    assert "secret" not in advice(redacted(kept, lambda text: text.replace("secret", "***")))


def test_test_cases_are_classified_over_all_runs() -> None:
    """A case that fails each time is consistent, even if one of the runs passes as a whole."""
    criteria = criteria_of("Resolved: rate(YES) >= 80%")
    judgement = together("NNYYYYYYYN", "NYYYYYYYYY", "NYYYYYYYYY", criteria=criteria)
    assert judgement.verdict is Verdict.PASSED
    assert judgement.repetition
    first, *others = judgement.repetition.cases
    assert first == CaseStability(test_case_id="t0", variant="", failed=3, total=3)
    assert not first.is_flaky
    assert {case.test_case_id: (case.failed, case.total) for case in others if case.is_flaky} == {
        "t1": (1, 3),
        "t9": (1, 3),
    }


@pytest.mark.parametrize(
    ("threshold", "failing"),
    [
        ("Resolved: rate(NO) < 10%", "N"),
        ("Resolved: count(YES) == 20", "NX"),
        ("Latency: avg < 1.1", ""),
        ("completed_rate == 100%", "X"),
        ("pass_rate >= 99%", "NX"),
    ],
)
def test_each_run_is_judged_by_the_same_standard(threshold: str, failing: str) -> None:
    runs = ("YYYYYYYNNX", "YYYYYYYYNX")
    repetition = together(*results_of(runs), criteria=criteria_of(threshold, max_failed=ANY)).repetition
    assert repetition
    expected = {f"r{n}.{at}" for n, words in enumerate(runs, 1) for at, word in enumerate(words) if word in failing}
    assert repetition.failing == expected


def mutated(run_id: str, answers: str) -> RunResult:
    """Return the results of a run whose conversations alternate between a mutation and the agent."""
    result = with_cases(result_of(run_id, answers), [f"t{n // 2}" for n in range(len(answers))])
    simulations = (one._replace(mutation="" if n % 2 else "calm") for n, one in enumerate(result.simulations))
    return result._replace(simulations=tuple(simulations))


@pytest.mark.parametrize("threshold", ["Resolved: rate(YES) >= 75%", "Resolved: count(NO) <= 2"])
def test_mutation_that_fails_only_later_is_decided(threshold: str) -> None:
    runs = [mutated("r1", "YNYNYNYYYY"), mutated("r2", "NYNYNYNYNY")]
    judgement = together(*runs, criteria=criteria_of(f"Latency: avg < 1.5\n{threshold}"))
    checks = [(check.variant, check.verdict) for check in judgement.checks if check.metric == "m1"]
    assert checks[1:] == [("calm", Verdict.FAILED)]


def test_variants_are_pooled_apart() -> None:
    runs = [mutated("r1", "YNYNYYYYYY"), mutated("r2", "YYYYYYYYYY")]
    judgement = together(*runs, criteria=criteria_of("Resolved: rate(YES) >= 75%"))
    assert [(check.variant, check.verdict, check.runs) for check in judgement.checks if check.metric] == [
        ("", "passed", 2),
        ("calm", "passed", 2),
    ]
    assert judgement.repetition
    assert {(case.test_case_id, case.variant) for case in judgement.repetition.cases} == {("t0", ""), ("t1", "")}


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (10, ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", ""], True),
        (10, ["t0", "t1", "t2", "t3", "t4", "t5", ""], False),  # three of four are missing at least
        (0, ["t0", "t1"], True),
        (0, ["t0"], False),
    ],
)
def test_repetition_that_lacks_test_cases_does_not_count(first: int, second: list[str], *, counts: bool) -> None:
    """Coval may not report the test cases; 0: none of the first run, which then has two conversations."""
    then = result_of("r1", "N" * first) if first else with_cases(result_of("r1", "NN"), ["", ""])
    now = with_cases(result_of("r2", "Y" * len(second)), second)
    criteria = criteria_of("Latency: avg < 1.6")
    assert is_usable(repeats(judge(now, criteria), judge(then, criteria))) is counts


def with_cases(result: RunResult, cases: list[str]) -> RunResult:
    pairs = zip(result.simulations, cases, strict=True)
    return result._replace(simulations=tuple(simulation._replace(test_case_id=case) for simulation, case in pairs))


# With a confidence, a comparison with a baseline is repeated: the law is that of two runs


def nights(
    *runs: str, now: Sequence[str], lines: str = "Resolved: rate(YES) >= baseline - 5pp", **more: Any
) -> Judgement:
    """Return the judgement of one or two runs against earlier ones, each a string of answers."""
    criteria = criteria_of(lines, max_failed=ANY, confidence=0.95, **more)
    baseline = baseline_of(*(result_of(f"b{n}", answers) for n, answers in enumerate(runs)))
    alone = [
        SingleRun(run_id=f"r{n}", judgement=judge(result_of(f"r{n}", answers), criteria, baseline=baseline))
        for n, answers in enumerate(now)
    ]
    return judge_together(alone, criteria) if len(alone) > 1 else alone[0].judgement


GOOD = [f"{'Y' * case}N{'Y' * (9 - case)}" for case in range(7)]  # each night, another test case fails


@pytest.mark.parametrize(
    ("now", "verdict", "trend"),
    [
        (["YYYYYYNNNN"], "failed", "worse"),
        (["YYYYYYNNNN", "YYYYYYYYYY"], "inconclusive", "inconclusive"),
        (["YYYYYYNNNN", "NNNYYYYYYY"], "failed", "worse"),
    ],
)
def test_two_runs_decide_a_comparison_together(now: Sequence[str], verdict: str, trend: str) -> None:
    judgement = nights(*GOOD, now=now)
    check = next(check for check in judgement.checks if check.comparison)
    assert (judgement.verdict, check.comparison and check.comparison.trend) == (verdict, trend)
    assert check.runs == len(now)


@pytest.mark.parametrize(
    ("lines", "on_inconclusive", "saved"),
    [
        ("Resolved: rate(YES) >= baseline - 5pp", "", True),
        ("Resolved: rate(YES) >= baseline - 5pp\nResolved: rate(YES) >= 20%", "", True),  # shown by the first run
        ("Resolved: rate(YES) >= baseline - 5pp\nResolved: rate(YES) >= 50%", "pass", True),  # in doubt, which passes
        ("Resolved: rate(YES) >= baseline - 5pp\nResolved: rate(YES) >= 50%", "", False),
        ("Resolved: rate(YES) >= baseline - 5pp\nResolved: rate(YES) >= 99%", "pass", False),
        ("Resolved: rate(YES) >= baseline - 5pp\n? Resolved: rate(YES) >= 99%", "", True),
        ("Resolved: rate(YES) >= baseline - 5pp\nResolved: count(NO) <= 3", "", False),
    ],
)
def test_only_comparisons_are_repeated_with_a_confidence(lines: str, on_inconclusive: str, *, saved: bool) -> None:
    judgement = nights(*GOOD, now=["YYYYYYNNNN"], lines=lines, on_inconclusive=on_inconclusive)
    assert judgement.verdict is Verdict.FAILED
    assert (beyond_saving(judgement) is None) is saved


def test_what_each_run_fails_alone_both_fail() -> None:
    """Together they are in doubt, which would pass: a case that was flaky before hides the two that broke."""
    judgement = nights("YYYYYYYYNY", "YYYYYYYYNY", "YYYYYYYYYY", now=["NNYYYYYYYY", "NNYYYYYYYY"])
    check = next(check for check in judgement.checks if check.comparison)
    assert (judgement.verdict, judgement.is_barred, check.runs) == (Verdict.FAILED, True, 2)
