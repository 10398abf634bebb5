"""What is said of a run that did not come to be judged by its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.errors import GateError, InternalError
from coval_gate.judge.verdict import (
    INTERRUPTED,
    UNFINISHED,
    Judgement,
    Verdict,
    errored,
    launched,
    not_completed,
    skipped,
    timed_out,
)
from coval_gate.model.outcomes import Limit
from coval_gate.model.run import Progress, Run

if TYPE_CHECKING:
    from collections.abc import Callable

SEVEN_OF_TEN = Progress(total=10, completed=6, failed=1)


def run(status: str, **fields: Any) -> Run:
    return Run(run_id="r1", status=status, **fields)


CASES: dict[str, Judgement] = {
    "failed": not_completed(run("FAILED", error="The agent's phone number is not in service.")),
    "failed, nobody says why": not_completed(run("FAILED")),
    "broke down": not_completed(run("ERROR", error_status="INTERNAL")),
    "cancelled": not_completed(run("CANCELLED")),
    "deleted": not_completed(run("DELETED")),
    "timed out": timed_out(run("IN PROGRESS", progress=SEVEN_OF_TEN), Limit("max_wait_time", 3600)),
    "timed out without progress": timed_out(run("IN QUEUE"), Limit("max_wait_time", 90)),
    "timed out in the queue": timed_out(run("IN QUEUE"), Limit("max_queue_time", 90)),
    "timed out without a step forward": timed_out(
        run("IN PROGRESS", progress=SEVEN_OF_TEN), Limit("stall_timeout", 600)
    ),
    "timed out on what lags": timed_out(run("COMPLETED"), Limit("max_wait_time", 3600)),
    "launched": launched(),
    "skipped": skipped(", because nobody gave one"),
    "error": errored(GateError("Title", "What happened.", advice="What to do.", link="https://example.com")),
    "defect": errored(InternalError(KeyError("x"))),
    "interrupted": INTERRUPTED,
    "unfinished": UNFINISHED,
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
    assert reason[0].isupper()
    assert reason.endswith(".")


@pytest.mark.parametrize("name", CASES)
def test_only_who_asked_for_no_verdict_passes_without_one(name: str) -> None:
    assert CASES[name].lets_pass is (name in ("launched", "skipped"))
    assert CASES[name].verdict is not Verdict.PASSED
