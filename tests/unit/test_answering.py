"""Who answered the simulations of a run: what records and tags show, the verdict on it, and how it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge_outcome
from coval_gate.judge.verdict import Verdict
from coval_gate.model.attachment import (
    NOT_ATTACHED,
    STALE,
    Answering,
    Attachment,
    AttachRecord,
    answering_of,
    is_deserted,
)
from coval_gate.model.run import Aborted, Completed, Deserted, Limit, NotCompleted, Run, RunProgress, TimedOut
from coval_gate.report.wording.answering import subject_text, warnings
from coval_gate.report.wording.judgements import advice, reason, title
from unit.test_gate import NONE, run_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.model.attachment import Outcome

    Golden = Callable[[str, str], None]

NOW = 1_000.0
CRITERIA = Criteria(max_failed=NONE)
CRASH = Attachment("crashed", "ZeroDivisionError: division by zero", ".coval-gate/logs/s1.log")


def record(*outcomes: Outcome | Attachment, done: bool = True, problem: str = "", changed: float = NOW) -> AttachRecord:
    """Return a record of simulations s0, s1 and so on."""
    ones = [Attachment(one) if isinstance(one, str) else one for one in outcomes]
    simulations = {f"s{number}": one for number, one in enumerate(ones)}
    return AttachRecord("r1", "agent:handle", 0.0, changed, done, problem, simulations)


def seen(*outcomes: Outcome | Attachment, expected: int = 0, problem: str = "", done: bool = True) -> Answering:
    """Return what such a record shows; one that is not done has not changed for long."""
    changed = NOW if done else NOW - STALE - 1
    written = record(*outcomes, done=done, problem=problem, changed=changed)
    return answering_of(written, expected=expected, now=NOW)


def run(status: str = "IN PROGRESS", total: int = 3) -> Run:
    return Run(run_id="r1", status=status, progress=RunProgress(total, 0, total, 0))


EXAMPLES = {
    "one crashed": seen("answered", CRASH),
    "several crashed": seen("answered", CRASH, CRASH, "missed"),
    "a crash without a line": seen("answered", Attachment("crashed")),
    "lost": seen("answered", Attachment("lost", "The relay sent: internal error", ".coval-gate/logs/s1.log")),
    "refused": seen("answered", Attachment("refused", "Coval answered 409")),
    "missed": seen("answered", "missed"),
    "ended too early": seen("answered", "waiting", problem="It received the signal SIGTERM."),
    "gone": seen("answered", "attached", done=False),
    "never saw any": seen(expected=30, done=False),
    "Coval has more": seen("answered", "answered", expected=3),
    "only a tag": Answering(28, 30),
    "one simulation": seen(CRASH),
    "of none": seen(problem="The API key may not read the run"),
    "nothing": NOT_ATTACHED,
}


def test_texts_are_as_in_golden_file(golden: Golden) -> None:
    lines = []
    for name, answering in EXAMPLES.items():
        judgement = judge_outcome(Deserted(run(), answering), CRITERIA)
        if name == "nothing":
            judgement = judge_outcome(NotCompleted(run("FAILED")), CRITERIA, answering=answering)
        lines += [f"== {name}", title(judgement), reason(judgement), advice(judgement)]
        lines += [f"Tested: {subject_text('ag1', '', answering, changed='')}", ""]
    lines += ["== warnings", *warnings(seen("ended_early", "ended_early", Attachment("answered", quiet=True))), ""]
    lines += ["== tested"]
    for base in ("", "ag0"):
        lines += [subject_text("ag1", base, each, changed="") for each in (None, seen("answered"), NOT_ATTACHED)]
        lines += [subject_text("ag1", base, None, changed="with 2 mutations")]
    golden("answering.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("name", EXAMPLES)
def test_whatever_is_not_answered_is_an_error(name: str) -> None:
    """Also where every simulation completed, or failed, and where the data came late."""
    answering = EXAMPLES[name]
    late = Limit("max_wait_time", 60.0)
    for outcome in (
        Completed(run_result()),
        Completed(run_result(failed=3)),
        Completed(run_result(), late=late),
        NotCompleted(run("FAILED")),
        NotCompleted(run("ERROR")),
        Aborted(run(), failed=3),
    ):
        judgement = judge_outcome(outcome, CRITERIA, answering=answering)
        assert (judgement.verdict, judgement.lets_pass) == (Verdict.ERROR, False), outcome
        assert judgement.set_up_problem


@pytest.mark.parametrize("status", ["CANCELLED", "DELETED"])
def test_run_that_a_person_ended_is_cancelled(status: str) -> None:
    judgement = judge_outcome(NotCompleted(run(status)), CRITERIA, answering=EXAMPLES["one crashed"])
    assert judgement.verdict is Verdict.CANCELLED


@pytest.mark.parametrize(("outcome", "verdict"), [("attached", "failed"), ("waiting", "failed"), ("crashed", "error")])
def test_agent_that_fails_while_others_wait_is_given_up_as_ever(outcome: Outcome, verdict: str) -> None:
    """`abort_after_failures` gives up a run whose first simulations were answered, and failed."""
    answering = answering_of(record("answered", "answered", outcome, done=False), expected=30, now=NOW)
    assert judge_outcome(Aborted(run(), failed=2), CRITERIA, answering=answering).verdict == verdict


def test_time_out_stays_one_and_does_not_pass() -> None:
    outcome = TimedOut(run(), Limit("max_wait_time", 60.0))
    assert judge_outcome(outcome, CRITERIA, answering=EXAMPLES["gone"]).verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize("answering", [None, seen("answered", "before", "ended_early")])
def test_rest_is_judged_as_ever(answering: Answering | None) -> None:
    verdicts = {"passed": Completed(run_result()), "failed": Completed(run_result(failed=1))}
    for verdict, outcome in verdicts.items():
        assert judge_outcome(outcome, CRITERIA, answering=answering).verdict == verdict
    assert judge_outcome(NotCompleted(run("FAILED")), CRITERIA, answering=answering).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("written", "expected", "deserted"),
    [
        (record("answered", "answered"), 2, False),
        (record("answered", "answered"), 3, True),
        (record("answered", "crashed"), 2, True),
        (record("answered", "waiting", done=False), 2, False),
        (record("answered", "waiting", done=False, changed=NOW - STALE - 1), 2, True),
        (record("answered", "answered", done=False, changed=NOW - STALE - 1), 2, False),
        (record(done=False), 0, False),
        (record(done=False, changed=NOW - STALE - 1), 0, True),
        (record("answered", problem="It received the signal SIGTERM."), 1, False),
        (record("answered", problem="It received the signal SIGTERM."), 0, True),
        (record("crashed", done=False), 2, False),
    ],
)
def test_run_is_deserted_once_nobody_will_answer_the_rest(written: AttachRecord, expected: int, deserted: bool) -> None:
    assert is_deserted(written, expected=expected, now=NOW) is deserted


def test_simulations_that_coval_does_not_list_make_up_for_none() -> None:
    forged = record("answered", "answered", "answered")
    assert answering_of(forged, ["s0", "x1", "x2"], now=NOW)[:2] == (3, 5)
    assert answering_of(forged, ["s0", "s1", "s2"], now=NOW).is_whole
    assert not answering_of(record(), now=NOW).is_whole
