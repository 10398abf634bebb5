"""A failed run and its repetitions are judged together: only what a sample can show is softened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.errors import CovalError
from coval_gate.judge.criteria import Criteria, Forbidden
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import CaseStability, SingleRun, errored, not_completed, redacted
from coval_gate.judge.repetition import is_usable, judge_together, pooled
from coval_gate.judge.verdict import Verdict
from coval_gate.model.outcomes import NotCompleted
from coval_gate.model.results import Metric, RunResult, Simulation, Summary, Target
from coval_gate.model.run import Run
from coval_gate.report.wording.judgements import advice

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            id=f"{run_id}.{place}", status="FAILED" if each == "X" else "COMPLETED", test_case_id=f"t{place % CASES}"
        )
        for place, each in enumerate(answers)
    )
    words, numbers = {"Y": "YES", "N": "NO"}, {"Y": 1.0, "N": 2.0}
    resolved = {one.id: words[each] for one, each in zip(simulations, answers, strict=True) if each != "X"}
    latency = {one.id: numbers[each] for one, each in zip(simulations, answers, strict=True) if each != "X"}
    metrics = (
        Metric(id="m1", name="Resolved", values=resolved, target=target),
        Metric(id="m2", name="Latency", values={} if summary else latency, summary=summary),
    )
    return RunResult(run_id=run_id, expected=len(simulations), simulations=simulations, metrics=metrics)


def criteria_of(thresholds: str = "", max_failed: Allowance = NONE, **more: Any) -> Criteria:
    return Criteria(max_failed=max_failed, thresholds=parse_thresholds(thresholds), **more)


def together(*runs: str | RunResult, criteria: Criteria, flaky_fails: bool = False) -> Together:
    results = [each if isinstance(each, RunResult) else result_of(f"r{n}", each) for n, each in enumerate(runs, 1)]
    alone = [SingleRun(run_id=each.run_id, judgement=judge(each, criteria)) for each in results]
    return judge_together(alone, criteria, flaky_fails=flaky_fails)


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


def test_check_that_passed_in_first_run_stays() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 95%\nLatency: avg < 1.45")
    judgement = together("YYYYYYNNNN", "NNNNNNYYYY", criteria=criteria).judgement
    rate, average = (check for check in judgement.checks if check.metric)
    assert (rate.verdict, rate.runs) == (Verdict.FAILED, 2)
    assert (average.verdict, average.runs, average.first) == (Verdict.PASSED, 1, None)


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
    assert [each.id for each in both.result.simulations if each.run_id == "r1"] == [f"r1.{n}" for n in range(8)]


@pytest.mark.parametrize("has_metric", [True, False])
@pytest.mark.parametrize(("answers", "verdict"), [("Y" * 10, "passed"), ("YYYYYYYYYN", "failed")])
def test_run_without_any_result_is_replaced(answers: str, verdict: str, *, has_metric: bool) -> None:
    """Even what is decided as counted is: no simulation has broken it."""
    lost = result_of("r1", "X" * 10)
    lost = lost if has_metric else replace(lost, metrics=())
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
    pool = pooled([result_of(f"r{n}", each) for n, each in enumerate(runs, 1)])
    assert sorted(pool.replaced) == replaced
    assert pool.result.expected == len(pool.result.simulations) == len("".join(runs)) - len(replaced)


def test_min_simulations_counts_those_of_one_run() -> None:
    criteria = criteria_of(max_failed=Allowance(10), min_simulations=8)
    assert together("YYYYYXXXXX", "YYYYYXXXXX", criteria=criteria).judgement.verdict is Verdict.FAILED
    assert together("YYYYYXXXXX", "XXXXXYYYYY", criteria=criteria).judgement.verdict is Verdict.PASSED


def test_summaries_are_not_pooled() -> None:
    """Coval tells no single values, so the first run decides."""
    runs = [result_of(f"r{n}", "Y" * 10, summary=Summary(mean=mean)) for n, mean in enumerate((2.0, 1.0), 1)]
    judgement = together(*runs, criteria=criteria_of("Latency: avg < 1.8")).judgement
    assert judgement.verdict is Verdict.FAILED
    (check,) = (each for each in judgement.checks if each.metric)
    assert check.measure is not None
    assert (check.measure.value, check.runs) == (2.0, 1)


def test_flaky_run_fails_if_asked() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    judgement = together("YYYYYYYNNN", "Y" * 10, criteria=criteria, flaky_fails=True).judgement
    assert judgement.verdict is Verdict.FAILED
    assert [check.criterion.kind for check in judgement.missed] == ["not_flaky"]
    assert judgement.repetition is not None
    assert judgement.repetition.is_flaky


def test_pooled_data_may_leave_doubt() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 80%", confidence=0.95)
    judgement = together("Y" * 5 + "N" * 5, "Y" * 10, criteria=criteria).judgement
    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_first_run_decides_if_repetition_is_unusable() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    first = SingleRun(run_id="r1", judgement=judge(result_of("r1", "YYYYYYYNNN"), criteria))
    gone = not_completed(NotCompleted(run=Run(run_id="r2", status="FAILED")))
    lacking = judge(RunResult(run_id="r2", expected=10, simulations=result_of("r2", "Y").simulations), criteria)
    dirty = judge(replace(result_of("r2", "Y" * 10), reported_error="timeout"), criteria)
    for judgement in (gone, lacking, dirty, errored(CovalError("No response", "GET /runs was not answered."))):
        assert not is_usable(judgement)
        other = SingleRun(run_id="r2", judgement=judgement)
        found = judge_together([first, other], criteria, flaky_fails=False)
        assert found.judgement.verdict is Verdict.FAILED
        assert found.judgement.checks == first.judgement.checks
        assert found.judgement.repetition is not None
        assert found.judgement.repetition.unusable is other
        assert found.result.run_id == "r1"


def test_texts_of_unusable_repetition_are_redacted() -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 85%")
    first = SingleRun(run_id="r1", judgement=judge(result_of("r1", "YYYYYYYNNN"), criteria))
    other = SingleRun(run_id="", judgement=errored(CovalError("Rejected", "The key secret is wrong.")))
    judgement = judge_together([first, other], criteria, flaky_fails=False).judgement
    assert "secret" in advice(judgement)
    assert "secret" not in advice(redacted(judgement, lambda text: text.replace("secret", "***")))


def test_test_cases_are_classified_over_all_runs() -> None:
    """A case that fails each time is consistent, even if one of the runs passes as a whole."""
    criteria = criteria_of("Resolved: rate(YES) >= 80%")
    judgement = together("NNYYYYYYYN", "NYYYYYYYYY", "NYYYYYYYYY", criteria=criteria).judgement
    assert judgement.verdict is Verdict.PASSED
    assert judgement.repetition is not None
    found = {each.test_case_id: each for each in judgement.repetition.cases}
    assert found["t0"] == CaseStability(test_case_id="t0", variant="", failed=3, total=3)
    assert not found["t0"].is_flaky
    assert {each: (case.failed, case.total) for each, case in found.items() if case.is_flaky} == {
        "t1": (1, 3),
        "t9": (1, 3),
    }
    assert next(iter(found)) == "t0"


@pytest.mark.parametrize(
    ("threshold", "failing"),
    [
        ("Resolved: rate(NO) < 10%", "N"),
        ("Resolved: count(NO) == 0", "N"),
        ("Resolved: count(YES) == 20", "NX"),
        ("Latency: avg < 1.1", "N"),
        ("Latency: missing == 0", "X"),
        ("completed_rate == 100%", "X"),
        ("failed == 0", "X"),
        ("total == 99", ""),
        ("pass_rate >= 99%", "NX"),
    ],
)
def test_each_run_is_held_to_same_standard(threshold: str, failing: str) -> None:
    answers = ("YYYYYYYNNX", "YYYYYYYYNX")
    runs = [result_of(f"r{n}", each, target=YES) for n, each in enumerate(answers, 1)]
    repetition = together(*runs, criteria=criteria_of(threshold, max_failed=Allowance(10))).judgement.repetition
    assert repetition is not None
    expected = {f"r{n}.{at}" for n, each in enumerate(answers, 1) for at, word in enumerate(each) if word in failing}
    assert repetition.failing == expected


def test_variants_are_pooled_apart() -> None:
    def mutated(run_id: str, answers: str) -> RunResult:
        result = result_of(run_id, answers)
        simulations = tuple(
            Simulation(id=each.id, status=each.status, test_case_id=f"t{n // 2}", mutation="" if n % 2 else "calm")
            for n, each in enumerate(result.simulations)
        )
        return RunResult(run_id=run_id, expected=10, simulations=simulations, metrics=result.metrics)

    runs = [mutated("r1", "YNYNYYYYYY"), mutated("r2", "YYYYYYYYYY")]
    judgement = together(*runs, criteria=criteria_of("Resolved: rate(YES) >= 75%")).judgement
    agent, calm = (check for check in judgement.checks if check.metric)
    assert (agent.variant, agent.verdict, agent.runs) == ("", Verdict.PASSED, 2)
    assert (calm.variant, calm.verdict, calm.runs) == ("calm", Verdict.PASSED, 1)
    assert judgement.repetition is not None
    assert {(each.test_case_id, each.variant) for each in judgement.repetition.cases} == {("t0", ""), ("t1", "")}


ANSWERS = st.lists(st.text("YYNX", min_size=CASES, max_size=CASES), min_size=2, max_size=4)
LINES = (
    "Resolved: rate(YES) >= 60%",
    "Latency: avg <= 1.5",
    "Latency: max < 2",
    "Resolved: count(NO) <= 2",
    "completed_rate >= 80%",
)


@given(ANSWERS, st.sets(st.sampled_from(LINES)), st.sampled_from([0, 2, 10]), st.sampled_from([None, 0.9]))
def test_green_only_if_pooled_data_are(
    answers: Sequence[str], lines: set[str], failed: int, confidence: float | None
) -> None:
    criteria = criteria_of("\n".join(sorted(lines)), max_failed=Allowance(failed), confidence=confidence)
    found = together(*answers, criteria=criteria).judgement
    first = judge(result_of("r1", answers[0]), criteria)
    whole = judge(pooled([result_of(f"r{n}", each) for n, each in enumerate(answers, 1)]).result, criteria)
    pooled_checks = {(check.criterion, check.variant): check for check in whole.checks}
    for check, before in zip(found.checks, first.checks, strict=True):
        assert check.criterion == before.criterion
        if check.verdict is not before.verdict:
            assert before.verdict is Verdict.FAILED
            assert check.criterion.kind in ("threshold", "max_failed_simulations")
            assert check.verdict is pooled_checks[check.criterion, check.variant].verdict


@given(ANSWERS)
def test_order_of_simulations_is_irrelevant(answers: Sequence[str]) -> None:
    criteria = criteria_of("Resolved: rate(YES) >= 60%", max_failed=Allowance(2))
    results = [result_of(f"r{n}", each) for n, each in enumerate(answers, 1)]
    turned = [replace(each, simulations=each.simulations[::-1]) for each in results]
    one, other = (together(*each, criteria=criteria).judgement for each in (results, turned))
    assert one.verdict is other.verdict
    assert one.repetition is not None
    assert other.repetition is not None
    assert set(one.repetition.cases) == set(other.repetition.cases)
