"""The gate judges any result, and passes only if every criterion is certainly met; verdicts of steps without any."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import Cases, judged, only, run_of, yes
from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.coval.model import CANCELLED, Metric, Run, RunProgress, RunResult, Simulation, Summary, Target, Value
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge, judge_outcome
from coval_gate.gate.judgement import (
    INTERRUPTED_STEP,
    LAUNCHED_RUN,
    UNFINISHED_RUN,
    Judgement,
    errored,
    gravest,
    redacted,
)
from coval_gate.gate.verdict import (
    SKIPPED_STEP,
    Aborted,
    Cancellation,
    Completed,
    Limit,
    NotCompleted,
    Outcome,
    RunsCancelled,
    Skipped,
    TimedOut,
    Verdict,
)
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import OPERATORS, parse_thresholds
from coval_gate.report.wording import advice, reason, reasons, title
from coval_gate.report.wording.checks import actual_text, doubts
from rendering import check_lines

NONE = Allowance(0)
LATENCY = Target(operator="lte", upper=1.5)
YES = Target(operator="in", values=("YES",))


def run_result(
    named: dict[str, Sequence[Value | None]] | None = None, /, *, failed: int = 0, **changes: Any
) -> RunResult:
    """Return a result with one simulation per value; all metrics have as many, and the last `failed` are FAILED."""
    named = named or {}
    total = max((len(values) for values in named.values()), default=3)
    simulations = tuple(
        Simulation(id=f"s{n}", status="FAILED" if n >= total - failed else "COMPLETED", test_case_id=f"t{n}")
        for n in range(total)
    )
    given = {
        name: {f"s{n}": value for n, value in enumerate(values) if value is not None} for name, values in named.items()
    }
    metrics = tuple(Metric(id=f"id-{name}", name=name, values=values) for name, values in given.items())
    return RunResult(run_id="r1", expected=total, simulations=simulations, metrics=metrics)._replace(**changes)


def with_targets(result: RunResult, **targets: Target) -> RunResult:
    """Return the result with targets on some of its metrics."""
    return result._replace(metrics=tuple(metric._replace(target=targets.get(metric.name)) for metric in result.metrics))


def with_mutations(result: RunResult, *names: str) -> RunResult:
    """Return the result with its simulations assigned in turn to mutations of these names ("" is the agent itself)."""
    simulations = tuple(
        simulation._replace(mutation=names[n % len(names)]) for n, simulation in enumerate(result.simulations)
    )
    return result._replace(simulations=simulations)


def judge_result(
    result: RunResult, thresholds: str = "", *, max_failed: Allowance = NONE, **criteria: Any
) -> Judgement:
    return judge(result, Criteria(max_failed=max_failed, thresholds=parse_thresholds(thresholds), **criteria))


VOICE = run_result(
    {
        "Latency": [0.9, 1.1, 1.2, 1.0, 1.9],
        "Resolved": ["YES", "yes ", "YES", "NO", "UNKNOWN"],
        "Topics": [*map(frozenset, (("billing", "refund"), ("billing",), (), ("x",), ()))],
    }
)
LACKING, EMPTY = (run_result({"Latency": values}) for values in ([1.0, None, 1.0], [None, None]))
NONE_COMPLETED = run_result({"Latency": [None, None]}, failed=2)
ONE_OF_FOUR_FAILED = run_result({"Latency": [1.0] * 4}, failed=1)
MUTE_FAILED = with_mutations(run_result({"Latency": [1.0, None]}, failed=1), "", "mute")
MISSED = with_targets(VOICE, Latency=LATENCY, Resolved=YES)
CASES: dict[str, Judgement] = {
    "all holds": judge_result(VOICE, "Latency: p(50) <= 1.1\nResolved: rate(YES) >= 60%\nTopics: count(refund) == 1"),
    "a percentile is missed": judge_result(VOICE, "Latency: p(95) < 1.5"),
    "two are missed": judge_result(VOICE, "Latency: max < 1.5\nResolved: rate(YES) >= 90%"),
    "unknown is not yes": judge_result(VOICE, "Resolved: rate(YES) == 60%\nResolved: count(UNKNOWN) == 1"),
    "a number too many": judge_result(VOICE, "Resolved: count(NO) == 0"),
    "sets": judge_result(VOICE, "Topics: rate(billing, x) > 60%"),
    "failed ones count against a rate": judge_result(
        run_result({"Resolved": ["YES"] * 10}, failed=2), "Resolved: rate(YES) >= 90%", max_failed=Allowance(2)
    ),
    "more failed than may": judge_result(run_result({"Latency": [1.0] * 10}, failed=3), "Latency: avg < 2"),
    "a value is missing": judge_result(LACKING, "Latency: avg < 2"),
    "a value may be missing": judge_result(LACKING, "Latency: avg < 2", max_failed=Allowance(1)),
    "how many may be missing is asked": judge_result(LACKING, "Latency: missing <= 1"),
    "no value at all": judge_result(EMPTY, "Latency: avg < 2", max_failed=Allowance(2)),
    "none completed": judge_result(
        NONE_COMPLETED,
        "Latency: avg < 2\nResolved: rate(YES) >= 90%\npass_rate >= 90%",
        use_metric_targets=True,
    ),
    "none completed, and all may fail": judge_result(NONE_COMPLETED, "Latency: avg < 2", max_failed=Allowance(2)),
    "none completed of a mutation": judge_result(MUTE_FAILED, "Latency: avg < 2"),
    "none completed of a mutation, and no such metric": judge_result(MUTE_FAILED, "Latncy: avg < 2"),
    "no such metric": judge_result(VOICE, "Latncy: avg < 2\nSpeed: max < 1"),
    "no metrics at all": judge_result(run_result(), "Latency: avg < 2"),
    "two metrics of one name": judge_result(
        VOICE._replace(metrics=(*VOICE.metrics, VOICE.metrics[0]._replace(id="id-2", name="LATENCY"))),
        "latency: avg < 2",
    ),
    "by id": judge_result(VOICE, "id-Latency: avg < 2"),
    "no numbers": judge_result(VOICE, "Resolved: avg > 1"),
    "summaries only": judge_result(
        run_result(metrics=(Metric(id="m", name="Latency", summary=Summary(mean=1.0, min=0.5, max=2.0)),)),
        "Latency: avg < 1.5\nLatency: max < 1.5\nLatency: p(95) < 1.5",
    ),
    "rates of the run": judge_result(
        ONE_OF_FOUR_FAILED, "completed_rate >= 75%\nfailed <= 0\ntotal == 4", max_failed=Allowance(1)
    ),
    "targets are met": judge_result(
        with_targets(VOICE, Resolved=Target(operator="in", values=("YES", "NO", "UNKNOWN"))), use_metric_targets=True
    ),
    "targets are missed": judge_result(MISSED, use_metric_targets=True),
    "enough simulations pass": judge_result(MISSED, "pass_rate >= 60%", use_metric_targets=True),
    "too few simulations pass": judge_result(MISSED, "pass_rate >= 90%"),
    "no targets": judge_result(VOICE, use_metric_targets=True),
    "a target without sense": judge_result(
        with_targets(VOICE, Latency=Target(operator="about", upper=1.0)), use_metric_targets=True
    ),
    "a forbidden value": judge_result(VOICE, "resolved: count(no) == 0"),
    "a forbidden number": judge_result(VOICE, "Latency: count(1.90) == 0"),
    "a word among numbers": judge_result(VOICE, "Latency: count(NO) == 0"),
    "a number among words": judge_result(with_mutations(VOICE, "", "b"), "Resolved: count(0) == 0"),
    "a target on a number among words": judge_result(
        with_targets(VOICE, Resolved=Target(operator="nin", values=("0",))), "pass_rate >= 90%"
    ),
    "a forbidden value of no metric": judge_result(VOICE, "Nothing: count(NO) == 0"),
    "mutations are judged apart": judge_result(with_mutations(VOICE, "", "fast model"), "Latency: max < 1.5"),
    "a mutation fails more than it may": judge_result(with_mutations(ONE_OF_FOUR_FAILED, "", "b")),
    "simulations are not listed": judge_result(VOICE._replace(expected=8)),
    "a simulation never ended": judge_result(
        VOICE._replace(simulations=(*VOICE.simulations[:4], Simulation(id="s4", status="IN PROGRESS")))
    ),
    "more to come": judge_result(VOICE._replace(settled=False)),
    "announced metric": judge_result(VOICE._replace(absent_metrics=("Tone",)), use_metric_targets=True),
    "nothing ran": judge_result(RunResult(run_id="r1", simulations=())),
    "Coval complains": judge_result(VOICE._replace(reported_error="METRICS_FAILURE: no judge could be reached.")),
    "an error is graver than a failure": judge_result(VOICE, "Latency: max < 1.5\nNothing: avg < 1"),
}


def test_judgements_match_golden_file(golden: Callable[[str, str], None]) -> None:
    blocks = []
    for name, judgement in CASES.items():
        checks = "\n".join(f"  {line}" for line in check_lines(findings_of(judgement)))
        lines = "\n".join(f"    - {line}" for line in reasons(judgement))
        blocks.append(f"{name}: {judgement.verdict}, {judgement.status}\n    {reason(judgement)}\n{lines}\n{checks}\n")
    golden("gate.txt", "\n".join(blocks))


@pytest.mark.parametrize(
    ("names", "mutations", "verdict"),
    [
        (["", "fast"], 1, "passed"),
        (["fast", "calm"], 1, "error"),
        (["fast", "calm"], 2, "error"),
        (["", "fast", "calm"], 1, "passed"),
    ],
)
def test_agent_and_its_mutations_must_have_simulations(names: list[str], mutations: int, verdict: str) -> None:
    result = with_mutations(run_result({"M": [1.0] * len(names)}), *names)
    judgement = judge_result(result, "M: max <= 1", mutations=mutations)
    assert judgement.verdict == verdict
    if "" not in names:
        assert "and none of the agent itself" in reason(judgement)


def test_count_is_as_counted() -> None:
    result = run_result({"R": ["NO"] * 2 + ["YES"] * 6 + [None, "NO"]}, failed=1)
    lenient = Allowance(2)
    passing = [
        one for one in OPERATORS if judge_result(result, f"R: count(NO) {one} 2", max_failed=lenient).passes_gate
    ]
    assert {*passing} == {"<=", ">=", "=="}


@given(
    st.lists(st.sampled_from(["YES", "NO", None]), min_size=1, max_size=12).filter(any),
    st.sampled_from(OPERATORS),
    st.integers(0, 12),
    st.integers(1, 12),
)
@example(["YES", None], "==", 0, 1)
@example(["YES", None, None], "!=", 1, 3)
def test_rate_is_met_if_it_is_met_for_every_number_of_missing_hits(
    values: list[str | None], operator: str, part: int, whole: int
) -> None:
    line = f"R: rate(NO) {operator} {min(part, whole) / whole!r}"
    missing = [n for n, value in enumerate(values) if value is None]

    def filled(hits: int) -> list[str | None]:
        return [value or ("NO" if n in missing[:hits] else "YES") for n, value in enumerate(values)]

    possible = [judge_result(run_result({"R": filled(hits)}), line).passes_gate for hits in range(len(missing) + 1)]
    judgement = judge_result(run_result({"R": values}), line, max_failed=Allowance(len(values)))
    assert judgement.passes_gate is all(possible)


def test_miss_that_missing_values_cause_names_them() -> None:
    result = run_result({"R": ["NO", "YES", "YES", "YES", None]}, failed=1)
    for line, text, blamed in (
        ("R: rate(UNKNOWN) == 0%", "20% (1 of 5), 1 of them without a value, must be == 0%", ("s4",)),
        ("R: rate(NO) == 20%", "40% (2 of 5), 1 of them without a value, must be == 20%", ("s4",)),
        ("R: rate(NO) != 40%", "40% (2 of 5), 1 of them without a value, must be != 40%", ("s4",)),
        ("R: rate(NO) <= 10%", "40% (2 of 5), 1 of them without a value, must be <= 10%", ("s0", "s4")),
        ("R: rate(NO) != 20%", "20% (1 of 5), 1 of them without a value, must be != 20%", ("s0",)),
        ("R: rate(YES) == 100%", "60% (3 of 5), 1 of them without a value, must be == 100%", ("s0", "s4")),
    ):
        judgement = judge_result(result, line, max_failed=Allowance(1))
        assert text in reason(judgement)
        assert judgement.missed[0].simulations == blamed


def test_missing_values_that_are_tolerated_are_shown_as_no_misses() -> None:
    """The rate counts them as misses all the same."""
    late = run_result({"R": ["YES"] * 24 + [None] * 26})
    target = with_targets(late, R=Target(operator="in", values=("YES",)))
    judgement = judge_result(target, "R: rate(YES) >= 40%", max_failed=Allowance(26), use_metric_targets=True)
    shown = {actual_text(check) for check in judgement.checks if check.metric}
    assert (judgement.verdict, shown) == (
        Verdict.PASSED,
        {"24 of 24, 26 without a value", "met on 24 of 24, 26 without a value"},
    )
    missed = judge_result(late, "R: rate(YES) >= 90%", max_failed=Allowance(26))
    assert "is 48% (24 of 50), 26 of them without a value, must be >= 90%" in reason(missed)


def test_target_without_values_is_error_for_any_allowance() -> None:
    lenient = Allowance(100, percent=True)
    judgement = judge_result(with_targets(EMPTY, Latency=LATENCY), use_metric_targets=True, max_failed=lenient)
    assert judgement.verdict is Verdict.ERROR


@pytest.mark.parametrize("value", ["NO", "no ", "NO\u200b", "\uff2e\uff2f"])
def test_forbidden_value_is_normalized_before_comparison(value: str) -> None:
    judgement = judge_result(run_result({"R": [value, "YES"]}), "r: count(NO) == 0")
    assert [check.simulations for check in judgement.checks if check.forbids] == [("s0",)]


ANSWERS = st.lists(st.floats(0, 3) | st.sampled_from(["YES", "NO", "UNKNOWN"]), min_size=1, max_size=20)
UPPER = [f"M: {aggregate} < 1.5" for aggregate in ("avg", "med", "min", "max", "p(95)", "p(50)")]
RULES = st.sampled_from([*UPPER, "M: rate(YES) >= 50%", "M: rate(YES) == 100%", "M: count(NO) <= 3", "failed == 0"])


@given(ANSWERS, RULES, st.floats(1.5, 1e9), st.integers(0, 19), st.integers(0, 3))
def test_what_gets_worse_never_makes_gate_pass(
    values: list[Value], line: str, bad: float, lost: int, failed: int
) -> None:
    """By default, no simulation may fail or lack a value."""
    before = judge_result(run_result({"M": values}), line)
    fewer: list[Value | None] = [None if n == lost % len(values) else value for n, value in enumerate(values)]
    lacking = judge_result(run_result({"M": fewer}), line)
    assert before.passes_gate or not lacking.passes_gate
    assert not (line.startswith("M") and lacking.passes_gate)
    worse: Value = "NO" if "NO" in line or "YES" in line else bad
    assert before.passes_gate or not judge_result(run_result({"M": [*values, worse]}), line).passes_gate
    one, two = (
        judge_result(run_result({"M": values}, failed=min(more, len(values))), line, max_failed=Allowance(1))
        for more in (failed, failed + 1)
    )
    assert one.passes_gate or not two.passes_gate


LIMIT = Limit("max_wait_time", 60.0)


@pytest.mark.parametrize(
    ("outcome", "unanswered", "answered"),
    [
        (Completed(run_result()), "error", "passed"),
        (Completed(run_result(failed=3)), "error", "failed"),
        (Completed(run_result(), late=LIMIT), "error", "passed"),  # more time would not help
        (NotCompleted(Run("r1", "FAILED")), "error", "failed"),
        (NotCompleted(Run("r1", "CANCELLED")), "cancelled", "cancelled"),
        (Aborted(Run("r1", "IN PROGRESS"), failed=3), "error", "failed"),
        (TimedOut(Run("r1", "IN PROGRESS"), LIMIT), "timed_out", "timed_out"),
    ],
)
def test_run_that_no_job_answered_shows_nothing_of_the_agent(outcome: Outcome, unanswered: str, answered: str) -> None:
    judged = judge_outcome(outcome, Criteria(max_failed=NONE), attached=False)
    assert (judged.verdict, judged.passes_gate, judged.is_unanswered) == (unanswered, False, unanswered == "error")
    assert judge_outcome(outcome, Criteria(max_failed=NONE), attached=True).verdict == answered


SEVEN_OF_TEN = RunProgress(total=10, completed=6, failed=1)


def run(status: str, **fields: Any) -> Run:
    return Run(run_id="r1", status=status, **fields)


def not_completed(status: str, **fields: Any) -> Judgement:
    return judge_outcome(NotCompleted(run=run(status, **fields)), CRITERIA)


def timed_out(status: str, name: str = "max_wait_time", seconds: float = 90, **fields: Any) -> Judgement:
    return judge_outcome(TimedOut(run=run(status, **fields), limit=Limit(name, seconds)), CRITERIA)


CRITERIA = Criteria(max_failed=Allowance(0))
LATE = Completed(
    result=RunResult(run_id="r1", expected=3, simulations=(Simulation(id="s1", status="COMPLETED"),)),
    late=Limit("max_wait_time", 3600),
)
ERROR = GateError("Title", "What happened.", advice="What to do.", link="https://example.com")
CANCELLATIONS = {
    "cancelled": Cancellation(outcome="cancelled", run_id="r1"),
    "over": Cancellation(outcome="over", run_id="r1", status="COMPLETED"),
    "gone": Cancellation(outcome="gone", run_id="r1"),
    "not launched": Cancellation(outcome="not_launched"),
    "left": Cancellation(outcome="left", run_id="r1"),
    "maybe left": Cancellation(outcome="maybe_left"),
    "not cancelled": Cancellation(outcome="failed", run_id="r1", reason="Coval is not available."),
}
ENDS: dict[str, Judgement] = {
    "failed": not_completed("FAILED", error="The agent's phone number is not in service."),
    "failed for no reason that is told": not_completed("FAILED"),
    "broke down": not_completed("ERROR", error_status="INTERNAL"),
    "cancelled": not_completed("CANCELLED"),
    "deleted": not_completed("DELETED"),
    "timed out": timed_out("IN PROGRESS", "max_wait_time", 3600, progress=SEVEN_OF_TEN),
    "timed out without progress": timed_out("IN QUEUE"),
    "timed out in the queue": timed_out("IN QUEUE", "max_queue_time"),
    "timed out on what lags": judge_outcome(LATE, CRITERIA),
    **{
        f"timed out, the run {name}": timed_out("IN QUEUE")._replace(cancellation=one)
        for name, one in CANCELLATIONS.items()
    },
    "launched": LAUNCHED_RUN,
    "runs cancelled": Judgement(None, CANCELLED, RunsCancelled(tuple(CANCELLATIONS.values())[:3])),
    **{
        f"skipped{f', {withheld}' if withheld else ''}": Judgement(Verdict.SKIPPED, SKIPPED_STEP, Skipped(withheld))
        for withheld in ("", "fork", "dependabot")
    },
    "error": errored(ERROR),
    "error, the run cancelled": errored(ERROR)._replace(cancellation=CANCELLATIONS["cancelled"]),
    "defect": errored(InternalError(KeyError("x"))),
    "interrupted": INTERRUPTED_STEP,
    **{
        f"interrupted, the run {name}": INTERRUPTED_STEP._replace(cancellation=one)
        for name, one in CANCELLATIONS.items()
    },
    "unfinished": UNFINISHED_RUN,
}


def test_reasons_match_golden_file(golden: Callable[[str, str], None]) -> None:
    lines = [
        f"{name}:\n    {judgement.verdict or 'no verdict'}, status {judgement.status}\n"
        f"    {title(judgement) or '(no title)'}\n    {reason(judgement)}\n"
        f"    {advice(judgement, doubts(judgement)) or '(no advice)'}\n"
        for name, judgement in ENDS.items()
    ]
    golden("verdicts.txt", "\n".join(lines))


@pytest.mark.parametrize("name", ENDS)
def test_reason_is_one_sentence_and_only_steps_without_evaluation_pass(name: str) -> None:
    judgement = ENDS[name]
    for sentence in (reason(judgement), *reasons(judgement)):
        assert sentence.isprintable()
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert judgement.passes_gate is name.startswith(("launched", "runs cancelled", "skipped"))
    assert judgement.verdict is not Verdict.PASSED


def test_late_results_do_not_matter_if_no_criterion_needs_them() -> None:
    """Some results were missing at the deadline, but the verdict does not depend on them."""
    result = RunResult(run_id="r1", expected=1, simulations=(Simulation(id="s1", status="COMPLETED"),))
    judgement = judge_outcome(LATE._replace(result=result), CRITERIA)
    assert judgement.verdict is Verdict.PASSED
    assert reason(judgement) == "The one simulation completed."


def test_texts_of_judgements_are_redacted() -> None:
    error = GateError("a secret", "A secret.", advice="the secret", link="https://secret.example")
    cancellation = Cancellation(outcome="failed", reason="secret")
    for judgement in (
        errored(error)._replace(cancellation=cancellation),
        INTERRUPTED_STEP._replace(cancellation=cancellation),
        not_completed("ERROR", error="secret", error_status="secret"),
        timed_out("IN QUEUE")._replace(cancellation=cancellation),
        errored(InputError([("mode", "got secret."), ("tags", "got secret.")])),
    ):
        shown = redacted(judgement, lambda text: text.replace("secret", "***"))
        assert "secret" not in f"{title(shown)}{reasons(shown)}{advice(shown)}"
        assert (shown.verdict, shown.status) == (judgement.verdict, judgement.status)


def test_reason_states_first_problem_with_inputs_and_names_others() -> None:
    problems = [("mode", "must be run or wait."), ("thresholds", ", line 1: expected <=\n    Latency: p(95) =< 1")]
    judgement = errored(InputError(problems))
    assert reason(judgement) == "mode must be run or wait. 1 more problem: line 1 of thresholds."
    assert "- thresholds, line 1: expected <=\n    Latency: p(95) =< 1" in advice(judgement)


def test_leg_that_fails_the_step_is_graver_than_a_tolerated_one_with_its_verdict() -> None:
    tolerated, strict = (
        Judgement(
            verdict=Verdict.INCONCLUSIVE, status="COMPLETED", cause=UNFINISHED_RUN.cause, inconclusive_passes=passes
        )
        for passes in (True, False)
    )
    assert gravest([tolerated, strict]) is strict
    assert gravest([strict, tolerated]) is strict


# With a confidence, a threshold is decided by what the run shows of the agent, or not at all


def judge_cases(cases: Cases, thresholds: str, confidence: float | None = 0.95) -> Judgement:
    return judged(run_of("now", cases, name="Metric", target=YES), None, thresholds, confidence=confidence)


def once(*values: Value | None) -> dict[str, list[Value | None]]:
    """Return test cases with one conversation each."""
    return {f"other{n:03}": [value] for n, value in enumerate(values)}


@pytest.mark.parametrize(
    ("cases", "threshold", "verdict"),
    [
        (yes(29, 29), "Metric: rate(YES) >= 90%", Verdict.PASSED),
        (yes(28, 28), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),
        (yes(40, 50), "Metric: rate(YES) >= 90%", Verdict.FAILED),
        (
            yes(60, 60) | once(*[None] * 4),
            "Metric: rate(YES) >= 90%",
            Verdict.INCONCLUSIVE,
        ),  # a missing value can be either
        (yes(10, 10, iterations=3), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),  # few test cases show little
        (yes(60, 60), "pass_rate >= 90%", Verdict.PASSED),
        (yes(4, 20), "pass_rate >= 90%", Verdict.FAILED),
        (once(*[1.0] * 58), "Metric: p(95) < 1.5", Verdict.INCONCLUSIVE),
        (once(*[1.0] * 59), "Metric: p(95) < 1.5", Verdict.PASSED),
        (once(*[1.0] * 3, *[2.0] * 17), "Metric: med < 1.5", Verdict.FAILED),
        (once(*[1.0, 1.1, 0.9, 1.05] * 5), "Metric: avg < 1.5", Verdict.PASSED),
        (once(*[1.0, 1.1, 0.9, 1.05] * 4), "Metric: avg < 1.5", Verdict.INCONCLUSIVE),  # too few for an average
        (once(*[5.0] * 29), "Metric: avg >= 4", Verdict.INCONCLUSIVE),  # so few equal scores may be luck
        (once(*[5.0] * 30), "Metric: avg >= 4", Verdict.PASSED),
        *((once(1.0, 2.0), f"Metric: {line}", Verdict.PASSED) for line in ("min > 0.5", "max < 3", "stdev < 0.8")),
    ],
)
def test_threshold_is_decided_by_what_run_shows(cases: Cases, threshold: str, verdict: Verdict) -> None:
    assert only(judge_cases(cases, threshold)).verdict is verdict


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize(
    "threshold",
    [
        "Metric: count(NO) <= 1",
        "Metric: rate(YES) == 100%",
        "Metric: missing == 0",
        "failed == 0",
        "completed_rate >= 99%",
        "total == 3",
    ],
)
def test_counts_and_equality_are_decided_as_counted(threshold: str, confidence: float | None) -> None:
    judgement = judge_cases(yes(3, 3), threshold, confidence)
    assert only(judgement).verdict is Verdict.PASSED
    assert ("as counted" in "".join(check_lines(findings_of(judgement)))) == (confidence is not None)


@pytest.mark.parametrize("threshold", ["Metric: rate(YES) >= 1%", "pass_rate >= 1%"])
def test_unknown_test_cases_decide_nothing(threshold: str) -> None:
    judgement = judge_cases({"": ["YES"], **yes(29, 29)}, threshold)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "values without test cases cannot show >= 1%" in reasons(judgement)[0]


def test_summary_decides_nothing() -> None:
    summed = Metric(id="m", name="Metric", values={}, summary=Summary(mean=1.0, min=0.5, max=2.0))
    result = run_of("now", once(1.0, 2.0))._replace(metrics=(summed,))
    assert judged(result, None, "Metric: avg < 5").verdict is Verdict.INCONCLUSIVE


MOST_WORDS = 20  # of a reason


def test_claims_read_as_sentences(golden: Callable[[str, str], None]) -> None:
    rng = random.Random(8)
    slow = once(*(round(rng.lognormvariate(0, 0.4), 3) for _ in range(40)))
    samples: Sequence[tuple[str, Cases, str]] = [
        ("enough conversations", yes(49, 50), "Metric: rate(YES) >= 90%"),
        ("too few test cases, whatever the result", yes(10, 10), "Metric: rate(YES) >= 90%"),
        ("in doubt", yes(46, 50), "Metric: rate(YES) >= 90%"),
        ("surely missed", yes(30, 50), "Metric: rate(YES) >= 90%"),
        ("one test case", {"case": ["YES", "YES", "NO"]}, "Metric: rate(YES) >= 50%"),
        ("a percentile", slow, "Metric: p(90) < 3"),
        ("a percentile that needs more test cases", slow, "Metric: p(95) < 3"),
        ("an average", slow, "Metric: avg < 1.5"),
        ("an average, in doubt", slow, "Metric: avg < 1"),
        ("equal scores", once(*[5.0] * 10), "Metric: avg >= 4"),
        ("as counted", yes(50, 50), "Metric: count(NO) == 0"),
        ("missing values", yes(58, 60) | once(None), "Metric: rate(YES) >= 85%"),
    ]
    blocks = []
    for name, cases, threshold in samples:
        judgement = judge_cases(cases, threshold)
        lines = [line for line in check_lines(findings_of(judgement)) if threshold in line]
        told = [f"    {reason}" for reason in reasons(judgement) if not only(judgement).passed]
        assert all(len(reason.split()) <= MOST_WORDS for reason in told)
        blocks.append("\n".join([name, *lines, *told]))
    golden("confidence.txt", "\n\n".join(blocks) + "\n")
