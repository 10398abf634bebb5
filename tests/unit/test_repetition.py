"""A failed run and its repetitions are judged together; only statistics of a sample may turn out better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from baselines import checks_of, only
from coval_gate.base.errors import CovalError
from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.criteria import Criteria, Forbidden, ThresholdHolds
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import CaseStability, SingleRun, errored, not_completed, redacted
from coval_gate.judge.repetition import is_usable, judge_together, pool_of, repeats, unchangeable
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import Metric, RunResult, Simulation, Summary, Target
from coval_gate.model.run import NotCompleted, Run
from coval_gate.report.wording.checks import actual_text, check_reason
from coval_gate.report.wording.judgements import advice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.repetition import Together

NONE = Allowance(0)
YES = Target(operator="in", values=("YES",))
CASES = 10


def result_of(run_id: str, answers: str, *, target: Target | None = None, summary: Summary | None = None) -> RunResult:
    """Return the results of a run: a letter for each of the test cases, which begin again after CASES.

    Y and N are answers, and X is a simulation that did not complete. Latency is 1 for Y and 2 for N.
    """
    simulations = tuple(
        Simulation(
            id=f"{run_id}.{place}", status="FAILED" if answer == "X" else "COMPLETED", test_case_id=f"t{place % CASES}"
        )
        for place, answer in enumerate(answers)
    )
    words, numbers = {"Y": "YES", "N": "NO"}, {"Y": 1.0, "N": 2.0}
    resolved = {one.id: words[answer] for one, answer in zip(simulations, answers, strict=True) if answer != "X"}
    latency = {one.id: numbers[answer] for one, answer in zip(simulations, answers, strict=True) if answer != "X"}
    metrics = (
        Metric(id="m1", name="Resolved", values=resolved, target=target),
        Metric(id="m2", name="Latency", values={} if summary else latency, summary=summary),
    )
    return RunResult(run_id=run_id, expected=len(simulations), simulations=simulations, metrics=metrics)


def criteria_of(thresholds: str = "", max_failed: Allowance = NONE, **more: Any) -> Criteria:
    return Criteria(max_failed=max_failed, thresholds=parse_thresholds(thresholds), **more)


def together(*runs: str | RunResult, criteria: Criteria) -> Together:
    results = [run if isinstance(run, RunResult) else result_of(f"r{n}", run) for n, run in enumerate(runs, 1)]
    alone = [SingleRun(run_id=result.run_id, judgement=judge(result, criteria)) for result in results]
    return judge_together(alone, criteria)


@pytest.mark.parametrize(
    ("threshold", "verdict"),
    [
        ("Resolved: rate(YES) >= 85%", "passed"),
        ("Resolved: rate(NO) < 20%", "passed"),
        ("Latency: avg < 1.2", "passed"),
        ("Latency: p(80) <= 1.2", "passed"),
        ("Resolved: rate(YES) >= 95%", "failed"),
        # As counted: the first run broke them, and no other run repairs that.
        ("Resolved: count(NO) == 0", "failed"),
        ("Resolved: count(NO) <= 1", "failed"),
        ("Latency: max < 2", "failed"),
        ("Resolved: rate(YES) == 90%", "failed"),
    ],
)
def test_only_what_sample_can_show_is_softened(threshold: str, verdict: str) -> None:
    judgement = together("YYYYYYYNNN", "Y" * 10, criteria=criteria_of(threshold)).judgement
    assert judgement.verdict == verdict
    assert judgement.repetition is not None
    assert judgement.repetition.together == verdict


def test_check_has_pooled_figures_and_those_of_first_run() -> None:
    (check,) = (
        check
        for check in together(
            "YYYYYYYNNN", "Y" * 10, criteria=criteria_of("Resolved: rate(YES) >= 85%")
        ).judgement.checks
        if check.metric
    )
    assert check.measure is not None
    assert check.first is not None
    assert (check.measure.hits, check.measure.total, check.first.hits, check.first.total, check.runs) == (
        17,
        20,
        7,
        10,
        2,
    )


@pytest.mark.parametrize(
    ("thresholds", "runs", "verdict", "actual"),
    [
        # A statistic: all conversations together.
        ("Latency: avg < 1.3\nResolved: rate(YES) >= 60%", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "80% (16 of 20)"),
        ("Latency: avg < 1.3\nResolved: rate(YES) >= 60%", ("YYYYYYNNNN", "NNNNNNNNNN"), "failed", "30% (6 of 20)"),
        ("Latency: avg < 1.3\nLatency: p(90) < 2", ("YYYYYYNNNN", "YYYYYYYYYY"), "failed", "2"),
        ("Latency: avg < 1.3\npass_rate >= 60%", ("YYYYYYNNNN", "NNNNNNNNNN"), "failed", "30% (6 of 20)"),
        # As counted: each run. The run that breaks it is named, else the figure closest to the bound is shown.
        ("Latency: avg < 1.3\nResolved: count(NO) <= 4", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "4 of 10"),
        ("Latency: avg < 1.9\nResolved: count(NO) <= 9", ("NNNNNNNNNY", "NNNNNNNNNN"), "failed", "10 of 10"),
        ("Latency: p(90) < 2\nResolved: rate(YES) == 90%", ("YYYYYYYYYN", "YYYYYYYYNN"), "failed", "80% (8 of 10)"),
        ("Latency: avg < 1.1\nLatency: max < 2.1", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "2 in the worst of 2 runs"),
        ("Latency: avg < 1.3\nLatency: missing == 0", ("YYYYYYNNNN", "YYYYYYYYYX"), "failed", "1 of 10"),
        ("Latency: avg < 1.3\nfailed == 0", ("YYYYYYNNNN", "YYYYYYYYYX"), "failed", "1 of 10"),
        ("Latency: avg < 1.3\ntotal >= 10", ("YYYYYYNNNN", "YYYYYYYYYY"), "passed", "10"),
        ("Latency: avg < 1.3\ntotal >= 10", ("YYYYYYNNNN", "YYYYYYYYY"), "failed", "9"),
        # The population: all runs, after replacement.
        ("Latency: avg < 1.3\ncompleted_rate >= 90%", ("YYYYYYNNNN", "YXXXXXXXXX"), "failed", "55% (11 of 20)"),
        ("Latency: avg < 1.3\ncompleted_rate == 100%", ("YYYYYYNNNX", "YYYYYYYYYY"), "passed", "100% (19 of 19)"),
        ("Latency: avg < 1.3\ncompleted_rate == 100%", ("YYYYYYNNNN", "YYYYYYYYYX"), "failed", "95% (19 of 20)"),
    ],
)
def test_every_criterion_is_decided_anew(thresholds: str, runs: tuple[str, ...], verdict: str, actual: str) -> None:
    criteria = criteria_of(thresholds, max_failed=Allowance(50, percent=True))
    results = [result_of(f"r{n}", answers, target=YES) for n, answers in enumerate(runs, 1)]
    judgement = together(*results, criteria=criteria).judgement
    last = checks_of(judgement)[-1]
    assert actual_text(last).startswith(actual)
    assert last.verdict == verdict


def test_run_that_breaks_what_is_counted_is_named() -> None:
    criteria = criteria_of("Latency: avg < 1.35\nResolved: count(NO) <= 5")
    judgement = together("YYYYYYNNNN", "YYYYNNNNNN", "YYYYYYYYYY", criteria=criteria).judgement
    (check,) = judgement.missed
    assert (check.run_id, check.simulations) == ("r2", tuple(f"r2.{n}" for n in range(4, 10)))
    assert check_reason(check) == "count(NO) of Resolved is 6 of 10 in run r2, must be <= 5."
    assert judgement.repetition is not None
    assert not judgement.repetition.is_flaky


def test_closest_run_is_shown_where_each_has_to_hold() -> None:
    criteria = criteria_of("Latency: avg < 1.35\nResolved: count(NO) <= 5")
    judgement = together("YYYYYYNNNN", "YYYYYYYYYY", criteria=criteria).judgement
    average, count = (check for check in judgement.checks if check.metric)
    assert actual_text(average) == "1.2 over 2 runs"
    assert actual_text(count) == "4 of 10 in the worst of 2 runs"
    assert judgement.verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"use_metric_targets": True}, "Resolved missed its target (YES) on 1 simulation in run r2."),
        (
            {"forbidden": Forbidden(metric="Resolved", value="no")},
            'Resolved is "no" on 1 simulation in run r2; fail_on_metric_value forbids it.',
        ),
    ],
)
def test_later_run_breaks_target_or_has_forbidden_value(more: dict[str, Any], reason: str) -> None:
    """The first run failed only because it lost a simulation."""
    runs = [result_of("r1", "YYYYYYYYYX", target=YES), result_of("r2", "YYYYYYYYYN", target=YES)]
    judgement = together(*runs, criteria=criteria_of("", **more)).judgement
    assert judgement.verdict is Verdict.FAILED
    assert [check_reason(check) for check in judgement.missed] == [reason]


def test_later_run_without_results_is_excused_only_by_a_later_one() -> None:
    criteria = criteria_of("Latency: avg < 1.3\nResolved: count(NO) <= 4", max_failed=Allowance(50, percent=True))
    lost = together("YYYYYYNNNN", "X" * 10, criteria=criteria).judgement
    assert "Resolved has no values in run r2." in [check_reason(check) for check in lost.missed]
    assert together("YYYYYYNNNN", "X" * 10, "Y" * 10, criteria=criteria).judgement.verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (("XXXYYYYYYN", "XXXYYYYYYY"), "passed"),  # each keeps the limit, which is one of a single run
        (("XXXXYYYYYY", "XXXYYYYYYY"), "failed"),
        (("XXXXYYYYYY", "YYYYYYYXXX"), "passed"),
        (("XXXXYYYYYY", "YYYYYYXXXX"), "failed"),  # no run keeps it
    ],
)
def test_few_failed_counts_all_runs_after_replacement(runs: tuple[str, ...], verdict: str) -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 55%", max_failed=Allowance(3))
    assert together(*runs, criteria=criteria).judgement.verdict == verdict


def test_run_that_keeps_no_limit_alone_keeps_none_together() -> None:
    """Replacement would leave 8 of 16 failed, but each run lost six of ten."""
    criteria = criteria_of(max_failed=Allowance(50, percent=True))
    judgement = together("XXXXXXYYYY", "YYYYXXXXXX", criteria=criteria).judgement
    assert judgement.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("thresholds", "answers", "changes"),
    [
        ("Resolved: rate(YES) >= 70%", "YYYYYYNNNN", True),
        ("Resolved: rate(YES) >= 70%\nResolved: count(NO) <= 9", "YYYYYYNNNN", True),
        ("Resolved: rate(YES) >= 70%\nResolved: count(NO) <= 3", "YYYYYYNNNN", False),
        ("Resolved: rate(YES) >= 70%\n? Resolved: count(NO) <= 3", "YYYYYYNNNN", True),
        ("Resolved: rate(YES) == 90%", "YYYYYYNNNN", False),
        ("completed_rate == 100%", "YYYYYYYYYX", True),
        ("failed == 0", "YYYYYYYYYX", False),
        ("Resolved: count(NO) == 0", "X" * 10, True),
        ("", "YYYYYYYYYX", True),
    ],
)
def test_repetition_cannot_change_what_is_counted(thresholds: str, answers: str, *, changes: bool) -> None:
    judgement = judge(result_of("r1", answers), criteria_of(thresholds))
    assert judgement.verdict is Verdict.FAILED
    assert bool(unchangeable(judgement)) is not changes


@pytest.mark.parametrize(
    ("threshold", "answers", "left", "changes"),
    [
        ("Resolved: rate(YES) >= 90%", "N" * 10, 1, False),
        ("Resolved: rate(YES) >= 90%", "N" * 10, 5, False),
        ("Resolved: rate(YES) >= 50%", "N" * 10, 1, True),
        ("Resolved: rate(YES) > 50%", "N" * 10, 1, True),
        ("Resolved: rate(YES) >= 60%", "N" * 10, 1, False),
        ("Resolved: rate(YES) >= 60%", "N" * 10, 2, True),
        ("Resolved: rate(NO) < 40%", "N" * 10, 1, False),
        ("Resolved: rate(NO) <= 50%", "N" * 10, 1, True),
        ("Resolved: rate(YES) >= 90%", "X" * 10, 1, True),  # others replace them
        ("Resolved: rate(YES) >= 90%", "NNNNNNNXXX", 1, False),  # 10 of 17 at most
        ("completed_rate >= 99%", "X" * 10, 1, True),
        ("pass_rate >= 90%", "N" * 10, 1, False),
        ("Latency: avg < 1.01", "N" * 10, 1, True),
    ],
)
def test_rate_beyond_reach_is_not_repeated(threshold: str, answers: str, left: int, *, changes: bool) -> None:
    judgement = judge(result_of("r1", answers, target=YES), criteria_of(threshold, max_failed=Allowance(10)))
    assert judgement.verdict is Verdict.FAILED
    assert bool(unchangeable(judgement, left=left)) is not changes


def test_rate_of_two_runs_may_be_beyond_reach_of_the_last() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 60%")
    assert unchangeable(together("N" * 10, "N" * 10, criteria=criteria).judgement, left=1)
    assert not unchangeable(together("N" * 10, "YYYYYYYYNN", criteria=criteria).judgement, left=1)


def test_variant_that_only_a_repetition_lists_is_not_beyond_reach() -> None:
    """Coval may list it late."""
    later = result_of("r2", "N" * 10)
    fast = tuple(one._replace(mutation="Fast", mutation_id="m") for one in later.simulations)
    later = later._replace(simulations=fast)
    failed = together("N" * 10, later, criteria=criteria_of("Resolved: rate(YES) >= 90%")).judgement
    assert {check.variant for check in unchangeable(failed, left=1)} == {""}


@given(
    st.lists(st.text("YNX", min_size=10, max_size=10), min_size=2, max_size=4),
    st.sampled_from([">=", ">", "<", "<="]),
    st.integers(0, 100),
    st.sampled_from(["Resolved: rate(YES)", "pass_rate", "completed_rate"]),
)
def test_what_is_not_repeated_would_fail_with_any_repetition(
    runs: list[str], operator: str, bound: int, aggregate: str
) -> None:
    criteria = criteria_of(f"{aggregate} {operator} {bound}%", max_failed=Allowance(10))
    first = judge(result_of("r1", runs[0], target=YES), criteria)
    results = [result_of(f"r{n}", answers, target=YES) for n, answers in enumerate(runs, 1)]
    is_failed = together(*results, criteria=criteria).judgement.verdict is Verdict.FAILED
    assert is_failed or first.verdict is not Verdict.FAILED or not unchangeable(first, left=len(runs) - 1)


def test_repetition_cannot_change_reported_error_or_what_is_not_pooled() -> None:
    criteria = criteria_of("Latency: avg < 1.8")
    dirty = judge(result_of("r1", "Y" * 10)._replace(reported_error="timeout"), criteria)
    summary = judge(result_of("r1", "Y" * 10, summary=Summary(mean=2.0)), criteria)
    assert [check.criterion.kind for check in unchangeable(dirty)] == ["no_error_reported"]
    assert [check.criterion.kind for check in unchangeable(summary)] == ["threshold"]
    assert not unchangeable(judge(result_of("r1", "N" * 10), criteria))


@pytest.mark.parametrize(
    "more", [{"use_metric_targets": True}, {"forbidden": Forbidden(metric="Resolved", value="no")}]
)
def test_targets_and_forbidden_values_are_not_softened(more: dict[str, Any]) -> None:
    runs = [result_of("r1", "YYYYYYYNNN", target=YES), result_of("r2", "Y" * 10, target=YES)]
    assert together(*runs, criteria=criteria_of("", **more)).judgement.verdict is Verdict.FAILED


def test_simulation_without_result_is_replaced_and_wrong_answer_is_not() -> None:
    both = together("YYYYYYYNXX", "Y" * 10, criteria=criteria_of())
    assert both.judgement.verdict is Verdict.PASSED
    assert both.judgement.repetition is not None
    assert both.judgement.repetition.replaced == {"r1.8", "r1.9"}
    assert [simulation.id for simulation in both.result.simulations if simulation.run_id == "r1"] == [
        f"r1.{n}" for n in range(8)
    ]


@pytest.mark.parametrize("has_metric", [True, False])
@pytest.mark.parametrize(("answers", "verdict"), [("Y" * 10, "passed"), ("YYYYYYYYYN", "failed")])
def test_run_without_any_result_is_replaced(answers: str, verdict: str, *, has_metric: bool) -> None:
    """Criteria that are decided as counted are, too: no simulation has broken them."""
    lost = result_of("r1", "X" * 10)
    lost = lost if has_metric else lost._replace(metrics=())
    criteria = criteria_of("Resolved: count(NO) == 0\nLatency: avg < 1.5")
    judgement = together(lost, result_of("r2", answers), criteria=criteria).judgement
    assert judgement.verdict == verdict
    assert len([check for check in judgement.checks if check.metric and check.runs == 2]) == 2


def test_runs_that_all_lose_simulations_do_not_pass_together() -> None:
    runs = ["XYYYYYYYYY", "YXYYYYYYYY", "YYXYYYYYYY"]
    assert together(*runs, criteria=criteria_of()).judgement.verdict is Verdict.FAILED
    assert together(*runs, "Y" * 10, criteria=criteria_of()).judgement.verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("runs", "replaced"),
    [
        (["X", "X"], []),
        (["XX", "YX"], ["r1.0"]),
        (["X", "X", "Y"], ["r1.0"]),  # one for one
        (["X", "Y", "Y"], ["r1.0"]),
        (["Y", "X"], []),  # never by an earlier run
        (["Y" * CASES + "X", "N"], ["r1.10"]),  # never by an iteration of its own run
        (["XYYYYYYYYYY"], []),
    ],
)
def test_completed_simulation_of_later_run_replaces_one(runs: list[str], replaced: list[str]) -> None:
    pool = pool_of([result_of(f"r{n}", answers) for n, answers in enumerate(runs, 1)])
    assert sorted(pool.replaced) == replaced
    assert pool.result.expected == len(pool.result.simulations) == len("".join(runs)) - len(replaced)


def test_run_without_a_completed_simulation_is_replaced_by_a_later_one() -> None:
    criteria = criteria_of(max_failed=Allowance(10))
    assert together("X" * 10, "X" * 10, criteria=criteria).judgement.verdict is Verdict.FAILED
    assert together("X" * 10, "XXXXXXXXXY", criteria=criteria).judgement.verdict is Verdict.PASSED


def test_summaries_are_not_pooled() -> None:
    """Coval reports no individual values, so each run must pass."""
    for means in ((2.0, 1.0), (1.0, 2.0)):
        runs = [result_of(f"r{n}", "Y" * 10, summary=Summary(mean=mean)) for n, mean in enumerate(means, 1)]
        judgement = together(*runs, criteria=criteria_of("Latency: avg < 1.8")).judgement
        assert judgement.verdict is Verdict.FAILED
        check = only(judgement)
        assert check.measure is not None
        assert (check.measure.value, check.run_id) == (2.0, f"r{means.index(2.0) + 1}")


def test_pooled_data_may_leave_doubt() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 80%", confidence=0.95)
    judgement = together("Y" * 5 + "N" * 5, "Y" * 10, criteria=criteria).judgement
    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_first_run_decides_if_repetition_is_unusable() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    first = SingleRun(run_id="r1", judgement=judge(result_of("r1", "YYYYYYYNNN"), criteria))
    gone = not_completed(NotCompleted(run=Run(run_id="r2", status="FAILED")))
    lacking = judge(RunResult(run_id="r2", expected=10, simulations=result_of("r2", "Y").simulations), criteria)
    dirty = judge(result_of("r2", "Y" * 10)._replace(reported_error="timeout"), criteria)
    for judgement in (gone, lacking, dirty, errored(CovalError("No response", "GET /runs was not answered."))):
        assert not is_usable(judgement)
        other = SingleRun(run_id="r2", judgement=judgement)
        pair = judge_together([first, other], criteria)
        assert pair.judgement.verdict is Verdict.FAILED
        assert pair.judgement.checks == first.judgement.checks
        assert pair.judgement.repetition is not None
        assert pair.judgement.repetition.unusable is other
        assert pair.result.run_id == "r1"


def test_texts_of_unusable_repetition_are_redacted() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    first = SingleRun(run_id="r1", judgement=judge(result_of("r1", "YYYYYYYNNN"), criteria))
    other = SingleRun(run_id="", judgement=errored(CovalError("Rejected", "The key secret is wrong.")))
    judgement = judge_together([first, other], criteria).judgement
    assert "secret" in advice(judgement)
    assert "secret" not in advice(redacted(judgement, lambda text: text.replace("secret", "***")))


def test_test_cases_are_classified_over_all_runs() -> None:
    """A case that fails each time is consistent, even if one of the runs passes as a whole."""
    criteria = criteria_of("Resolved: rate(YES) >= 80%")
    judgement = together("NNYYYYYYYN", "NYYYYYYYYY", "NYYYYYYYYY", criteria=criteria).judgement
    assert judgement.verdict is Verdict.PASSED
    assert judgement.repetition is not None
    stabilities = {stability.test_case_id: stability for stability in judgement.repetition.cases}
    assert stabilities["t0"] == CaseStability(test_case_id="t0", variant="", failed=3, total=3)
    assert not stabilities["t0"].is_flaky
    assert {case_id: (case.failed, case.total) for case_id, case in stabilities.items() if case.is_flaky} == {
        "t1": (1, 3),
        "t9": (1, 3),
    }
    assert next(iter(stabilities)) == "t0"


@pytest.mark.parametrize(
    ("threshold", "failing"),
    [
        ("Resolved: rate(NO) < 10%", "N"),
        ("Resolved: count(NO) == 0", "N"),
        ("Resolved: count(YES) == 20", "NX"),
        ("Latency: avg < 1.1", ""),
        ("Latency: missing == 0", "X"),
        ("completed_rate == 100%", "X"),
        ("failed == 0", "X"),
        ("total == 99", ""),
        ("pass_rate >= 99%", "NX"),
    ],
)
def test_each_run_is_held_to_same_standard(threshold: str, failing: str) -> None:
    answers = ("YYYYYYYNNX", "YYYYYYYYNX")
    runs = [result_of(f"r{n}", words, target=YES) for n, words in enumerate(answers, 1)]
    repetition = together(*runs, criteria=criteria_of(threshold, max_failed=Allowance(10))).judgement.repetition
    assert repetition is not None
    expected = {f"r{n}.{at}" for n, words in enumerate(answers, 1) for at, word in enumerate(words) if word in failing}
    assert repetition.failing == expected


def mutated(run_id: str, answers: str) -> RunResult:
    """Return the results of a run whose conversations alternate between a mutation and the agent."""
    result = result_of(run_id, answers)
    simulations = tuple(
        Simulation(
            id=simulation.id, status=simulation.status, test_case_id=f"t{n // 2}", mutation="" if n % 2 else "calm"
        )
        for n, simulation in enumerate(result.simulations)
    )
    return RunResult(run_id=run_id, expected=10, simulations=simulations, metrics=result.metrics)


@pytest.mark.parametrize("threshold", ["Resolved: rate(YES) >= 75%", "Resolved: count(NO) <= 2"])
def test_mutation_that_fails_only_later_is_decided(threshold: str) -> None:
    runs = [mutated("r1", "YNYNYNYYYY"), mutated("r2", "NYNYNYNYNY")]
    criteria = criteria_of(f"Latency: avg < 1.5\n{threshold}")
    judgement = together(*runs, criteria=criteria).judgement
    assert [(check.variant, check.verdict) for check in judgement.checks if check.metric == "m1"][1:] == [
        ("calm", Verdict.FAILED)
    ]


def test_variants_are_pooled_apart() -> None:
    runs = [mutated("r1", "YNYNYYYYYY"), mutated("r2", "YYYYYYYYYY")]
    judgement = together(*runs, criteria=criteria_of("Resolved: rate(YES) >= 75%")).judgement
    agent, calm = (check for check in judgement.checks if check.metric)
    assert (agent.variant, agent.verdict, agent.runs) == ("", Verdict.PASSED, 2)
    assert (calm.variant, calm.verdict, calm.runs) == ("calm", Verdict.PASSED, 2)
    assert judgement.repetition is not None
    assert {(case.test_case_id, case.variant) for case in judgement.repetition.cases} == {("t0", ""), ("t1", "")}


ANSWERS = st.lists(st.text("YYNX", min_size=CASES, max_size=CASES), min_size=2, max_size=4)
LINES = (
    "Resolved: rate(YES) >= 60%",
    "Latency: avg <= 1.5",
    "Latency: max < 2",
    "Resolved: count(NO) <= 2",
    "completed_rate >= 80%",
)


@given(ANSWERS, st.sets(st.sampled_from(LINES)), st.sampled_from([0, 2, 10]), st.sampled_from([None, 0.9]))
def test_verdict_of_all_runs_follows_from_each_and_from_pool(
    answers: Sequence[str], lines: set[str], failed: int, confidence: float | None
) -> None:
    """A criterion that every run and all together meet never fails; a counted one that any run breaks always does."""
    criteria = criteria_of("\n".join(sorted(lines)), max_failed=Allowance(failed), confidence=confidence)
    results = [result_of(f"r{n}", words) for n, words in enumerate(answers, 1)]
    alone = [{place(check): check for check in judge(result, criteria).checks} for result in results]
    pool = {place(check): check for check in judge(pool_of(results).result, criteria).checks}
    assume(all(check.verdict is not Verdict.ERROR for checks in alone for check in checks.values()))
    decided = {place(check): check for check in together(*results, criteria=criteria).judgement.checks}
    assert decided.keys() >= {spot for checks in alone for spot, check in checks.items() if check.measure}
    for spot, check in decided.items():
        own = [checks[spot] for checks in alone if spot in checks]
        if all(one.passed for one in (*own, pool.get(spot, check))):
            assert check.passed
        if any(one.verdict is Verdict.FAILED and one.measure for one in own) and is_counted(check):
            assert check.verdict is Verdict.FAILED
        if all(one.verdict is Verdict.FAILED for one in own) and len(own) == len(alone):
            assert check.verdict is not Verdict.PASSED or spot not in pool or pool[spot].passed


def place(check: Check) -> tuple[object, str]:
    return check.criterion, check.variant


def is_counted(check: Check) -> bool:
    criterion = check.criterion
    return isinstance(criterion, ThresholdHolds) and criterion.threshold.aggregate.name in ("max", "count")


@given(ANSWERS)
def test_order_of_simulations_is_irrelevant(answers: Sequence[str]) -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 60%", max_failed=Allowance(2))
    results = [result_of(f"r{n}", words) for n, words in enumerate(answers, 1)]
    turned = [result._replace(simulations=result.simulations[::-1]) for result in results]
    one, other = (together(*runs, criteria=criteria).judgement for runs in (results, turned))
    assert one.verdict is other.verdict
    assert one.repetition is not None
    assert other.repetition is not None
    assert set(one.repetition.cases) == set(other.repetition.cases)


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (10, ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", ""], True),
        (10, ["t0", "t1", "t2", "t3", "t4", "t5", ""], False),  # three of four are missing at least
        (10, [""] * 10, True),
        (10, [""] * 5, False),
        (0, ["t0", "t1"], True),
        (0, ["t0"], False),
        (0, ["", ""], True),
        (0, [""], False),
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
