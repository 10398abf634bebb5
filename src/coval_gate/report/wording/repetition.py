"""A repeated run in English: the verdict on each run, and how often each test case failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.judgement import CaseStability, Repetition

FLAKY, CONSISTENT = "flaky", "consistent"
TOGETHER: Final = {
    Verdict.PASSED: "they pass",
    Verdict.FAILED: "they fail",
    Verdict.INCONCLUSIVE: "they are inconclusive",
}


def all_runs_text(runs: int) -> str:
    """Return "both runs" or "all 3 runs"."""
    return "both runs" if runs == 2 else f"all {runs} runs"


def ran_text(repetition: Repetition) -> str:
    """Return the verdict on each run that counts, and on all together, as a sentence."""
    alone = ", ".join(f"run {run.run_id} {_verdict_text(run.judgement.verdict)}" for run in repetition.runs)
    return f"Ran {len(repetition.runs)} times: {alone}; together {TOGETHER[repetition.together]}."


def stability_word(case: CaseStability) -> str:
    """Return whether a test case always fails, or only sometimes."""
    return FLAKY if case.is_flaky else CONSISTENT


def in_figures(cases: Sequence[CaseStability]) -> str:
    """Return how many test cases are consistent and how many flaky: "1 consistent, 2 flaky"."""
    flaky = sum(case.is_flaky for case in cases)
    counts = {CONSISTENT: len(cases) - flaky, FLAKY: flaky}
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def stability_text(case: CaseStability) -> str:
    """Return the stability with its figures: "flaky, failed 2 of 3"."""
    return f"{stability_word(case)}, failed {case.failed:,} of {case.total:,}"


def again_text(why: str, number: int, most: int) -> str:
    """Return that a run is repeated, and why."""
    return f"The run failed: {why.rstrip('.')}. Repeating it, {number} of at most {most}."


def in_vain_text(why: str) -> str:
    """Return that a failed run is not repeated, because a repetition could not change the result."""
    return f"The run failed, and is not repeated, because a repetition cannot change this: {why}"


def _verdict_text(verdict: Verdict | None) -> str:
    return "was inconclusive" if verdict is Verdict.INCONCLUSIVE else str(verdict)
