from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.models import Progress, Results, Run
from coval_gate.errors import GateError
from coval_gate.judge.verdict import Judgement, Verdict, errored, failures, judge, launched, skipped, timed_out
from coval_gate.kinds import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable


def progress(total: int, failed: int = 0, missing: int = 0) -> Progress:
    return Progress(total_test_cases=total, completed_test_cases=total - failed - missing, failed_test_cases=failed)


def run(**fields: Any) -> Run:
    return Run.model_validate({"run_id": "r1", "status": "COMPLETED", "progress": progress(10)} | fields)


NONE = Allowance(0)


def judged(run: Run, max_failed: Allowance = NONE, min_simulations: int = 1) -> Judgement:
    return judge(run, max_failed=max_failed, min_simulations=min_simulations)


CASES: dict[str, Judgement] = {
    "all completed": judged(run()),
    "the only one completed": judged(run(progress=progress(1))),
    "some failed, none may": judged(run(progress=progress(10, failed=3))),
    "some failed, some may": judged(run(progress=progress(10, failed=2)), Allowance(20, percent=True)),
    "too many failed for the share": judged(run(progress=progress(10, failed=3)), Allowance(25, percent=True)),
    "some never ended": judged(run(progress=progress(10, missing=1))),
    "all failed": judged(run(progress=progress(10, failed=10), error_status="EXECUTION_FAILURE")),
    "tolerated failures are restated": judged(
        run(progress=progress(10, failed=1), error_status="EXECUTION_FAILURE"), Allowance(1)
    ),
    "dirty without a failure": judged(run(error_status="EXECUTION_FAILURE")),
    "dirty with tolerated failures": judged(
        run(progress=progress(10, failed=1), error_status="METRICS_FAILURE"), Allowance(1)
    ),
    "too few": judged(run(), min_simulations=20),
    "no simulation": judged(run(progress=None)),
    "an empty test set": judged(run(progress=progress(0))),
    "outputs without progress": judged(run(progress=None, results=Results(output_ids=["s1", "s2"]))),
    "counts without sense": judged(run(unreadable=True, progress=None, results=Results(output_ids=["s1"]))),
    "outputs of no simulation": judged(run(progress=progress(0), results=Results(output_ids=["s1"]))),
    "all failed, all may": judged(run(progress=progress(2, failed=2)), Allowance(100, percent=True)),
    "completed, with an error": judged(run(error="No metric could be computed.")),
    "timed out on the last counts": timed_out(run(progress=progress(10, missing=1)), 3600),
    "failed": judged(run(status="FAILED", error="The agent's phone number is not in service.")),
    "failed, nobody says why": judged(run(status="FAILED", progress=None)),
    "broke down": judged(run(status="ERROR", error_status="INTERNAL")),
    "cancelled": judged(run(status="CANCELLED")),
    "deleted": judged(run(status="DELETED")),
    "timed out": timed_out(run(status="IN PROGRESS", progress=progress(10, missing=3)), 3600),
    "timed out without progress": timed_out(run(status="IN QUEUE", progress=None), 90),
    "launched": launched(),
    "skipped": skipped(", because nobody gave one"),
}


def test_every_reason_reads_well(golden: Callable[[str, str], None]) -> None:
    lines = [
        f"{name}:\n    {each.verdict or 'no verdict'}, status {each.status}\n    {each.title or '(no title)'}"
        f"\n    {each.reason}\n    {each.advice or '(no advice)'}\n"
        for name, each in CASES.items()
    ]
    golden("verdicts.txt", "\n".join(lines))


@pytest.mark.parametrize("name", CASES)
def test_a_reason_is_one_sentence(name: str) -> None:
    reason = CASES[name].reason
    assert reason.isprintable()
    assert reason[0].isupper() or reason[0].isdigit()
    assert reason.endswith(".")


runs = st.builds(
    run,
    status=st.sampled_from(["COMPLETED", "FAILED", "CANCELLED", "DELETED", "ERROR"]),
    progress=st.none()
    | st.builds(progress, st.integers(80, 99), st.integers(0, 40), st.integers(0, 40))
    | st.just(progress(0)),
    results=st.none() | st.builds(lambda n: Results(output_ids=[f"s{i}" for i in range(n)]), st.integers(0, 50)),
    error_status=st.sampled_from(["", "SUCCESS", "EXECUTION_FAILURE", "?"]),
)
allowances = st.builds(Allowance, st.integers(0, 60)) | st.builds(
    lambda share: Allowance(share, percent=True), st.floats(0, 100)
)


@given(runs, allowances, st.integers(1, 60))
def test_only_a_completed_run_with_simulations_passes(run: Run, max_failed: Allowance, least: int) -> None:
    if judged(run, max_failed, least).verdict is Verdict.PASSED:
        assert run.status == "COMPLETED"
        assert run.simulations - failures(run)[0] >= least
        assert run.is_clean or run.error_status == "EXECUTION_FAILURE"


@given(runs, st.integers(0, 60), st.integers(1, 60))
def test_a_stricter_gate_never_turns_green(run: Run, allowed: int, least: int) -> None:
    if not judged(run, Allowance(allowed), least).lets_pass:
        assert not judged(run, Allowance(max(0, allowed - 1)), least).lets_pass
        assert not judged(run, Allowance(allowed), least + 1).lets_pass


@given(st.integers(1, 50), st.integers(0, 50), allowances)
def test_one_more_failure_never_turns_green(total: int, failed: int, max_failed: Allowance) -> None:
    failed = min(failed, total - 1)
    before = judged(run(progress=progress(total, failed)), max_failed)
    after = judged(run(progress=progress(total, failed + 1)), max_failed)
    assert before.lets_pass or not after.lets_pass


def test_an_error_is_never_a_failure() -> None:
    judgement = errored(GateError("Title", "What happened.", advice="What to do.", link="https://example.com"))
    assert (judgement.verdict, judgement.status, judgement.lets_pass) == (Verdict.ERROR, "ERROR", False)
