"""Verdicts and reasons of steps without results to judge."""

from collections.abc import Callable
from typing import Any

import pytest

from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.coval.model import Run, RunProgress, RunResult, Simulation
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import (
    LAUNCH,
    UNFINISHED,
    Judgement,
    errored,
    gravest,
    interrupted,
    redacted,
    runs_cancelled,
    skipped,
)
from coval_gate.gate.verdict import Cancellation, Completed, Limit, NotCompleted, TimedOut, Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.report.document import document_of
from coval_gate.report.model import Report
from coval_gate.report.wording import advice, doubt_lines, reason, reasons, title

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
CASES: dict[str, Judgement] = {
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
    "launched": LAUNCH,
    "runs cancelled": runs_cancelled([*CANCELLATIONS.values()][:3]),
    **{f"skipped{f', {withheld}' if withheld else ''}": skipped(withheld) for withheld in ("", "fork", "dependabot")},
    "error": errored(ERROR),
    **{f"error, the run {name}": errored(ERROR)._replace(cancellation=one) for name, one in CANCELLATIONS.items()},
    "defect": errored(InternalError(KeyError("x"))),
    "interrupted": interrupted(),
    **{f"interrupted, the run {name}": interrupted()._replace(cancellation=one) for name, one in CANCELLATIONS.items()},
    "unfinished": UNFINISHED,
}


def test_reasons_match_golden_file(golden: Callable[[str, str], None]) -> None:
    lines = [
        f"{name}:\n    {judgement.verdict or 'no verdict'}, status {judgement.status}\n"
        f"    {title(judgement) or '(no title)'}\n    {reason(judgement)}\n"
        f"    {advice(judgement, doubt_lines(judgement)) or '(no advice)'}\n"
        for name, judgement in CASES.items()
    ]
    golden("verdicts.txt", "\n".join(lines))


@pytest.mark.parametrize("name", CASES)
def test_reason_is_one_sentence_and_only_steps_without_evaluation_pass(name: str) -> None:
    judgement = CASES[name]
    for sentence in (reason(judgement), *reasons(judgement)):
        assert sentence.isprintable()
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert judgement.lets_pass is name.startswith(("launched", "runs cancelled", "skipped"))
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
        interrupted()._replace(cancellation=cancellation),
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
    assert reason(judgement) == "mode must be run or wait. 1 more problem: thresholds."
    assert "- thresholds, line 1: expected <=\n    Latency: p(95) =< 1" in advice(judgement)


def test_headline_is_cut_at_word() -> None:
    long = [("agent_id", "x" * 10 + " is not an id of an agent in this workspace" * 5 + "."), ("mode", "must be run.")]
    line = document_of(Report(judgement=errored(InputError(long)))).headline(140)
    assert len(line) <= 140
    assert line.startswith("⚠️ Error: agent_id xxxxxxxxxx is not an id")
    assert line.endswith(" of an…")


def test_leg_that_fails_the_step_is_graver_than_a_tolerated_one_with_its_verdict() -> None:
    tolerated, strict = (
        Judgement(verdict=Verdict.INCONCLUSIVE, status="COMPLETED", cause=UNFINISHED.cause, inconclusive_passes=passes)
        for passes in (True, False)
    )
    assert gravest([tolerated, strict]) is strict
    assert gravest([strict, tolerated]) is strict
