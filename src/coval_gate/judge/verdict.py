"""What we say of a run: a verdict, the status to report, and one sentence of reason. Pure and total."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coval_gate.coval.statuses import CANCELLED, COMPLETED, DELETED, ERROR, FAILED
from coval_gate.text import duration, one_line, plural

if TYPE_CHECKING:
    from coval_gate.coval.models import Run
    from coval_gate.errors import GateError
    from coval_gate.kinds import Allowance

COMPLETED_WITH_FAILURES: Final = "COMPLETED_WITH_FAILURES"
TIMEOUT: Final = "TIMEOUT"
LAUNCHED: Final = "LAUNCHED"
SKIPPED: Final = "SKIPPED"


class Verdict(StrEnum):
    """`failed` is about the agent; `error` about us, the API or the configuration. They are never mixed."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The end of the road for a run. `verdict` is None where none was asked for (mode launch).

    `title` and `advice` head and follow the reason where a person is told what to do about it.
    """

    verdict: Verdict | None
    status: str
    reason: str
    title: str = ""
    advice: str = ""
    link: str = ""

    @property
    def lets_pass(self) -> bool:
        """Whether the step succeeds."""
        return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED)


UNFINISHED: Final = Judgement(
    verdict=Verdict.ERROR, status=ERROR, reason="The step ended before it could reach a verdict.", title="Unfinished"
)
INTERRUPTED: Final = Judgement(
    verdict=Verdict.CANCELLED, status=CANCELLED, reason="The step was interrupted.", title="Cancelled"
)


def judge(run: Run, *, max_failed: Allowance, min_simulations: int) -> Judgement:
    """Judge a run that is over: it passes if it completed, cleanly, with enough simulations and few failures."""
    if run.status != COMPLETED:
        return _not_completed(run)
    if run.simulations == 0:
        return _nothing_known("Coval reports no simulation of it", "Check that the test set has active test cases.")
    if run.unreadable or (run.progress and run.progress.total == 0):
        return _nothing_known("Coval's counts of its simulations make no sense", "Look at the run in Coval.")
    failed, total = failures(run)
    if failed > max_failed.of(total):
        return _failed(
            f"{failed:,} of {plural(total, 'simulation')} did not complete; max_failed_simulations allows {max_failed}."
        )
    # Coval reports EXECUTION_FAILURE for a single failed conversation: where some may fail, that says nothing new.
    if not run.is_clean and not (failed and run.error_status.upper() == "EXECUTION_FAILURE"):
        return _failed(f"The run completed, but Coval reports the error status {one_line(run.error_status, 80)}.")
    if run.error:
        return _failed(f"The run completed, but Coval reports an error: {one_line(run.error).rstrip('.')}.")
    completed = run.simulations - failed
    if completed < min_simulations:
        return _failed(f"{plural(completed, 'simulation')} completed; min_simulations asks for {min_simulations:,}.")
    return Judgement(verdict=Verdict.PASSED, status=COMPLETED, reason=_all_well(failed, run.simulations, max_failed))


def failures(run: Run) -> tuple[int, int]:
    """How many simulations of a run that is over did not complete, and out of how many.

    What neither completed nor failed is missing, and missing is never taken for well. Without progress, only the
    outputs are counted: they hold failed simulations too, and `error_status` tells whether there are any.
    """
    if run.progress is None:
        return 0, run.simulations
    return max(run.progress.failed, run.progress.total - run.progress.completed), run.progress.total


def timed_out(run: Run, max_wait_time: float) -> Judgement:
    """The deadline came before the end of the run, or before Coval had accounted for all of a run that completed."""
    if run.is_over:
        state = "had completed, but Coval had not accounted for all of its simulations"
    else:
        progress = run.progress
        done = f" with {progress.done:,} of {plural(progress.total, 'simulation')} done" if progress else ""
        state = f"was still {run.status}{done}"
    return Judgement(
        verdict=Verdict.TIMED_OUT,
        status=TIMEOUT,
        reason=f"The run {state} after {duration(max_wait_time)}, the limit of max_wait_time.",
        title="Timed out",
        advice="The run goes on in Coval. Raise max_wait_time, or wait in a later step with mode wait and its run_id.",
    )


def errored(error: GateError) -> Judgement:
    """The road ended in an error of ours, of the API or of the configuration."""
    return Judgement(
        verdict=Verdict.ERROR,
        status=ERROR,
        reason=error.what,
        title=error.title,
        advice=error.advice,
        link=error.link,
    )


def launched() -> Judgement:
    """The run was launched, and nobody asked for more."""
    return Judgement(verdict=None, status=LAUNCHED, reason="The run was launched; nothing waits for it in this step.")


def skipped(why: str) -> Judgement:
    """There is no API key, and that means to skip; `why` goes on after "there is no API key"."""
    return Judgement(
        verdict=Verdict.SKIPPED,
        status=SKIPPED,
        reason=f"Nothing was evaluated: there is no API key{why}.",
        title="Skipped",
    )


def _not_completed(run: Run) -> Judgement:
    verdict = {FAILED: Verdict.FAILED, ERROR: Verdict.ERROR}.get(run.status, Verdict.CANCELLED)
    why = one_line(run.error or ("" if run.is_clean else run.error_status)).rstrip(".")
    said = {DELETED: "was deleted", CANCELLED: "was cancelled"}.get(run.status, f"ended with the status {run.status}")
    return Judgement(
        verdict=verdict,
        status=run.status,
        reason=f"The run {said}{f': {why}' if why else ''}.",
        title={Verdict.FAILED: "Run failed", Verdict.ERROR: "Run broke down"}.get(verdict, "Run cancelled"),
    )


def _nothing_known(why: str, advice: str) -> Judgement:
    return Judgement(
        verdict=Verdict.ERROR,
        status=ERROR,
        reason=f"The run completed, but {why}: nothing is known to have been evaluated.",
        title="Nothing evaluated",
        advice=advice,
    )


def _failed(reason: str) -> Judgement:
    return Judgement(verdict=Verdict.FAILED, status=COMPLETED_WITH_FAILURES, reason=reason, title="Gate failed")


def _all_well(failed: int, total: int, max_failed: Allowance) -> str:
    if failed:
        completed = f"{total - failed:,} of {plural(total, 'simulation')} completed"
        return f"{completed}; max_failed_simulations allows {max_failed}."
    return f"All {total:,} simulations completed." if total > 1 else "The one simulation completed."
